"""Rotations against scipy, and as a group."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinema.motion import rotations as rot

ORDERS = ["".join(order) for order in permutations("XYZ")]

checked = settings(max_examples=60, deadline=None, derandomize=True)

number = st.floats(-1, 1, allow_nan=False)
quaternions = (
    st.tuples(number, number, number, number)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)
vectors = st.tuples(number, number, number).map(np.array)
directions = vectors.filter(lambda v: np.linalg.norm(v) > 0.1).map(lambda v: v / np.linalg.norm(v))


def to_scipy(quats: np.ndarray) -> Rotation:
    return Rotation.from_quat(np.asarray(quats).reshape(-1, 4), scalar_first=True)


def assert_same_rotation(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(np.abs(np.sum(np.asarray(a) * b, -1)), 1, atol=tolerance)
    np.testing.assert_allclose(rot.to_matrix(a), rot.to_matrix(b), atol=np.sqrt(tolerance))


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """Random rotations together with those at which formulas break: none, tiny, near and exact half turns."""
    rng = np.random.default_rng(3)
    axes = rot.normalize(np.concatenate([np.eye(3), -np.eye(3), rng.normal(size=(10, 3))]))
    angles = np.array([0, 1e-12, 1e-7, 1e-4, np.pi / 2, np.pi - 1e-7, np.pi, np.pi + 1e-7, 2 * np.pi])
    special = rot.from_axis_angle(axes[:, None], np.broadcast_to(angles, (16, 9)))
    return np.concatenate([rot.normalize(rng.normal(size=(300, 4))), special.reshape(-1, 4), -special.reshape(-1, 4)])


def test_multiply_inverse_and_rotate_agree_with_scipy(samples: np.ndarray) -> None:
    other, points = samples[::-1], np.random.default_rng(0).normal(size=(len(samples), 3))
    assert_same_rotation(rot.multiply(samples, other), (to_scipy(samples) * to_scipy(other)).as_quat(scalar_first=True))
    assert_same_rotation(rot.inverse(samples), to_scipy(samples).inv().as_quat(scalar_first=True))
    np.testing.assert_allclose(rot.rotate(samples, points), to_scipy(samples).apply(points), atol=1e-12)


def test_matrices_agree_with_scipy_and_return(samples: np.ndarray) -> None:
    np.testing.assert_allclose(rot.to_matrix(samples), to_scipy(samples).as_matrix(), atol=1e-12)
    back = rot.from_matrix(rot.to_matrix(samples))
    assert_same_rotation(back, samples)
    assert (back[:, 0] >= 0).all()


def test_rotation_vectors_agree_with_scipy_and_return(samples: np.ndarray) -> None:
    vectors = rot.to_rotation_vector(samples)
    assert np.linalg.norm(vectors, axis=-1).max() <= np.pi + 1e-12
    # at a half turn both signs are right: compare the rotations
    np.testing.assert_allclose(Rotation.from_rotvec(vectors).as_matrix(), rot.to_matrix(samples), atol=1e-9)
    np.testing.assert_allclose(rot.to_matrix(rot.from_rotation_vector(vectors)), rot.to_matrix(samples), atol=1e-9)
    inner = np.linalg.norm(vectors, axis=-1) < np.pi - 1e-3
    np.testing.assert_allclose(vectors[inner], to_scipy(samples[inner]).as_rotvec(), atol=1e-9)


def test_rotation_vectors_longer_than_a_turn() -> None:
    vectors = np.random.default_rng(1).normal(0, 20, (50, 3))
    np.testing.assert_allclose(
        rot.to_matrix(rot.from_rotation_vector(vectors)), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-10
    )


def test_tiny_rotation_vectors_keep_their_digits() -> None:
    for size in (1e-3, 1e-5, 1e-9, 1e-15, 1e-200, 0.0):
        vector = size * np.array([0.6, -0.8, 0.0])
        np.testing.assert_allclose(rot.to_rotation_vector(rot.from_rotation_vector(vector)), vector, rtol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_agree_with_scipy(order: str) -> None:
    rng = np.random.default_rng(2)
    angles = rng.uniform([-np.pi, -np.pi / 2 + 0.01, -np.pi], [np.pi, np.pi / 2 - 0.01, np.pi], (200, 3))
    quats = rot.from_euler(angles, order)
    assert_same_rotation(quats, Rotation.from_euler(order, angles).as_quat(scalar_first=True))  # capitals: intrinsic
    np.testing.assert_allclose(rot.to_euler(quats, order), angles, atol=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_at_gimbal_lock_give_the_same_rotation(order: str) -> None:
    rng = np.random.default_rng(4)
    for second in (np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-7, -np.pi / 2 + 3e-6, np.pi / 2 - 1e-4):
        angles = rng.uniform(-np.pi, np.pi, (50, 3))
        angles[:, 1] = second
        quats = rot.from_euler(angles, order)
        back = rot.to_euler(quats, order)
        assert np.isfinite(back).all()
        assert rot.angle_between(quats, rot.from_euler(back, order)).max() < 2e-5


def test_euler_of_one_axis() -> None:
    angles = np.array([[0.3], [-2.0]])
    np.testing.assert_allclose(rot.from_euler(angles, "Y"), rot.about_y(angles[:, 0]))


def test_6d_is_the_first_two_columns_and_returns(samples: np.ndarray) -> None:
    six = rot.to_6d(samples)
    matrices = to_scipy(samples).as_matrix()
    np.testing.assert_allclose(six[:, :3], matrices[:, :, 0], atol=1e-12)
    np.testing.assert_allclose(six[:, 3:], matrices[:, :, 1], atol=1e-12)
    assert_same_rotation(rot.from_6d(six), samples)


def test_from_6d_orthonormalises_any_two_directions() -> None:
    six = np.random.default_rng(5).normal(size=(100, 6)) * 7
    matrices = rot.to_matrix(rot.from_6d(six))
    np.testing.assert_allclose(
        matrices @ np.swapaxes(matrices, 1, 2), np.broadcast_to(np.eye(3), (100, 3, 3)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    np.testing.assert_allclose(matrices[:, :, 0], rot.normalize(six[:, :3]), atol=1e-9)
    assert (np.sum(matrices[:, :, 1] * six[:, 3:], -1) > 0).all()


def test_angle_between_agrees_with_scipy(samples: np.ndarray) -> None:
    other = np.roll(samples, 7, axis=0)
    expected = (to_scipy(samples).inv() * to_scipy(other)).magnitude()
    np.testing.assert_allclose(rot.angle_between(samples, other), expected, atol=1e-7)
    assert rot.angle_between(samples, -samples).max() < 1e-7


def test_slerp_agrees_with_scipy_and_takes_the_short_way() -> None:
    from scipy.spatial.transform import Slerp

    rng = np.random.default_rng(6)
    for _ in range(20):
        a, b = rot.normalize(rng.normal(size=(2, 4)))
        t = np.linspace(0, 1, 11)
        expected = Slerp([0, 1], to_scipy(np.stack([a, b])))(t).as_quat(scalar_first=True)
        for sign in (1, -1):
            ours = rot.slerp(np.tile(a, (11, 1)), np.tile(sign * b, (11, 1)), t)
            assert_same_rotation(ours, expected)


@checked
@given(quaternions, directions)
def test_twist_is_about_the_axis_and_the_swing_is_across(q: np.ndarray, axis: np.ndarray) -> None:
    twist = rot.twist(q, axis)
    np.testing.assert_allclose(np.linalg.norm(twist), 1)
    np.testing.assert_allclose(np.cross(twist[1:], axis), 0, atol=1e-12)
    swing = rot.multiply(q, rot.inverse(twist))
    if np.hypot(q[0], q[1:] @ axis) > 1e-6:  # a half turn about an axis across has no twist to tell
        assert abs(swing[1:] @ axis) < 1e-8


@checked
@given(directions, directions)
def test_between_is_the_smallest_rotation(a: np.ndarray, b: np.ndarray) -> None:
    q = rot.between(3 * a, 0.2 * b)
    np.testing.assert_allclose(rot.rotate(q, a), b, atol=1e-7)
    np.testing.assert_allclose(np.cos(rot.angle_between(rot.IDENTITY, q)), np.clip(a @ b, -1, 1), atol=1e-7)


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0.95, 0.3, 0.05)])
@pytest.mark.parametrize("off", [0.0, 1e-9, 1e-6, 1e-3])
def test_between_opposite_directions(direction: tuple[float, ...], off: float) -> None:
    a = rot.normalize(np.array(direction))
    b = rot.normalize(-a + off * np.array([0.3, -0.5, 0.8]))
    q = rot.between(a, b)
    np.testing.assert_allclose(np.linalg.norm(q), 1)
    np.testing.assert_allclose(rot.rotate(q, a), b, atol=1e-6)


def test_between_with_a_zero_vector_does_nothing() -> None:
    up, zero = np.array([0.0, 1, 0]), np.zeros(3)
    for a, b in ((zero, up), (up, zero), (zero, zero)):
        np.testing.assert_allclose(rot.between(a, b), rot.IDENTITY)


@checked
@given(quaternions, quaternions, quaternions, vectors)
def test_group_axioms(a: np.ndarray, b: np.ndarray, c: np.ndarray, v: np.ndarray) -> None:
    np.testing.assert_allclose(rot.multiply(a, rot.multiply(b, c)), rot.multiply(rot.multiply(a, b), c), atol=1e-12)
    np.testing.assert_allclose(rot.multiply(a, rot.inverse(a)), rot.IDENTITY, atol=1e-12)
    np.testing.assert_allclose(rot.multiply(rot.IDENTITY, a), a)
    np.testing.assert_allclose(rot.rotate(rot.multiply(a, b), v), rot.rotate(a, rot.rotate(b, v)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(rot.rotate(a, v)), np.linalg.norm(v), atol=1e-12)


def test_unroll_removes_sign_flips_and_nothing_else() -> None:
    rng = np.random.default_rng(8)
    smooth = rot.from_rotation_vector(np.cumsum(rng.normal(0, 0.2, (200, 3, 3)), axis=0))
    flipped = smooth * rng.choice([-1.0, 1.0], (200, 3, 1))
    unrolled = rot.unroll(flipped)
    assert (np.sum(unrolled[1:] * unrolled[:-1], -1) > 0).all()
    np.testing.assert_array_equal(np.abs(unrolled), np.abs(flipped))
    np.testing.assert_array_equal(unrolled[0], flipped[0])


def test_functions_broadcast_over_leading_axes() -> None:
    rng = np.random.default_rng(9)
    a = rot.normalize(rng.normal(size=(5, 1, 4)))
    b = rot.normalize(rng.normal(size=(3, 4)))
    product = rot.multiply(a, b)
    assert product.shape == (5, 3, 4)
    np.testing.assert_allclose(product[4, 2], rot.multiply(a[4, 0], b[2]))
    assert rot.rotate(a, np.ones(3)).shape == (5, 1, 3)
    assert rot.to_euler(product, "ZXY").shape == (5, 3, 3)
