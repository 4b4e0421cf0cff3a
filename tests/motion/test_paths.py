"""A motion that is led along a path goes there, on feet that stand where they stood in the steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.motion.contacts import ANKLE_HEIGHT, foot_contacts, foot_skating
from kinema.motion.editing import heading
from kinema.motion.kinematics import two_bone_ik
from kinema.motion.paths import follow_path


def turned(motion: Motion, yaw: float, shift: tuple[float, float, float] = (0, 0, 0)) -> Motion:
    turn = rot.about_y(np.array(yaw))
    rotations = np.array(motion.rotations)
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    return motion.replace(root_position=rot.rotate(turn, motion.root_position) + np.array(shift), rotations=rotations)


def nearest(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance of each point (N, 2) from a line through many points."""
    return np.linalg.norm(points[:, None] - line[None], axis=-1).min(1)


@pytest.fixture(scope="module")
def steps() -> tuple[Motion, np.ndarray]:
    """A walk of 1 m/s along +Z on flat feet that do not slide, and (T, 2) where left and right toes stand."""
    time = np.arange(120) / 30
    root = np.stack([np.zeros(120), np.full(120, 0.93), time], -1)
    rotations = np.tile(rot.IDENTITY, (120, 22, 1))
    stands = np.zeros((120, 2), dtype=bool)
    for side, name in enumerate(("left", "right")):
        cycle, phase = np.divmod(time + 0.5 * side + 0.3, 1.0)  # stands 0.6 s, swings 0.4 s
        swing = np.clip((phase - 0.6) / 0.4, 0, 1)
        across, up = 0.088 - 0.176 * side, ANKLE_HEIGHT + 0.1 * np.sin(np.pi * swing) ** 2
        target = np.stack([np.full(120, across), up, cycle - 0.5 * side + swing**2 * (3 - 2 * swing)], -1)
        rotations = two_bone_ik(BODY, rotations, root, BODY.index(f"{name}_ankle"), target)
        stands[:, side] = phase < 0.6
    return Motion(BODY, 30, root, rotations, metadata={"source": "steps"}), stands


def arc(length: float, angle: float) -> np.ndarray:
    """From the origin along +Z, turning to the left by an angle."""
    turns = np.linspace(0, angle, 400)
    return length / angle * np.stack([1 - np.cos(turns), np.sin(turns)], -1)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.floats(0.3, 2.5), st.floats(0.75, 1.3), st.booleans(), st.floats(-3, 3))
def test_a_walk_goes_where_it_is_led(
    steps: tuple[Motion, np.ndarray], angle: float, stretch: float, right: bool, yaw: float
) -> None:
    walk, stands = turned(steps[0], yaw, (5, 0, 1)), steps[1]  # wherever it came from
    line = arc(stretch * 119 / 30, angle) * (-1 if right else 1, 1) + (2, -7)
    led = follow_path(walk, line)
    track = led.root_position[:, [0, 2]]
    assert nearest(track, line).max() < 0.04
    np.testing.assert_allclose(track[[0, -1]], line[[0, -1]], atol=0.03)
    # it faces along the path, as it did before
    facing = np.unwrap(heading(led))
    turn = -angle if right else angle
    assert abs(facing[-15] - facing[14] - turn * 91 / 119) < 0.1
    assert led.metadata == {"source": "steps", "stride_scale": pytest.approx(stretch, rel=0.02)}
    # feet that stood stand, though the body turned and strode on above them
    toes = led.joint_positions()[:, [BODY.index("left_foot"), BODY.index("right_foot")]]
    speed = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * 30
    inner = stands[1:] & stands[:-1] & led.contacts[1:, [10, 11]] & led.contacts[:-1, [10, 11]]
    assert inner.sum() > 100
    assert speed[inner].max() < 0.1
    assert foot_skating(led) < foot_skating(walk) + 0.06
    jumps = [np.linalg.norm(np.diff(m.joint_positions(), 2, axis=0), axis=-1).max() for m in (walk, led)]
    assert jumps[1] < 2 * jumps[0]


def test_the_way_that_it_goes_already_changes_little(walk: Motion) -> None:
    led = follow_path(walk, walk.root_position)
    assert led.metadata["stride_scale"] == pytest.approx(1, abs=1e-3)
    moved = np.linalg.norm(led.joint_positions() - walk.joint_positions(), axis=-1)
    feet = [joint for joint, name in enumerate(BODY.names) if name.endswith(("knee", "ankle", "foot"))]
    assert np.delete(moved, feet, 1).max() < 0.01  # feet are locked, which the constructed walk's are not quite
    np.testing.assert_array_equal(led.contacts, foot_contacts(walk))


def test_sway_is_kept_beside_the_path(walk: Motion) -> None:
    sway = 0.03 * np.sin(2 * np.pi * 1.8 * np.arange(len(walk)) / 30)
    swaying = walk.replace(root_position=walk.root_position + sway[:, None] * (1, 0, 0))
    led = follow_path(swaying, arc(1.2 * 89 / 30, np.pi / 2) @ np.array([[0.0, 1.0], [1.0, 0.0]]))  # sets out along +X
    inner = slice(20, 70)
    off = nearest(led.root_position[:, [0, 2]], arc(1.2 * 89 / 30, np.pi / 2)[:, ::-1])
    assert np.ptp(off[inner]) > 0.015
    assert off.max() < 0.07


def test_corners_are_rounded(walk: Motion) -> None:
    led = follow_path(walk, np.array([[0, 0], [0, 1.8], [1.8, 1.8]]))
    turns = np.abs(np.diff(heading(led)))
    assert turns.max() < np.radians(15)  # a frame
    np.testing.assert_allclose(led.root_position[-1, [0, 2]], [1.8, 1.8], atol=0.05)


def test_heights_of_a_path_are_not_used(walk: Motion) -> None:
    line = arc(3.5, 1.0)
    flat, high = (follow_path(walk, points) for points in (line, np.insert(line, 1, 9.0, axis=1)))
    np.testing.assert_array_equal(flat.root_position, high.root_position)


@pytest.mark.parametrize(
    "path, sentence",
    [
        ([[0, 0]], "at least 2 points"),
        ([[0, 0, 0, 0], [1, 1, 1, 1]], "at least 2 points"),
        ([0, 1], "at least 2 points"),
        ([[0, 0], [0, np.nan]], "finite"),
        ([[0, 0], [0, 1e300]], "finite"),
        ([[0, 0], [0, 100]], "the path is 100.00 m long and the motion travels 3.5"),
        ([[0, 0], [0, 0]], "the path is 0.00 m long"),
        ([[0, 0], [0, 1e-9]], "the path is 0.00 m long"),
    ],
)
def test_paths_that_cannot_be_walked_are_refused(walk: Motion, path: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        follow_path(walk, np.array(path, dtype=float))


def test_a_motion_on_the_spot_cannot_be_led() -> None:
    still = Motion(BODY, 30, np.full((60, 3), 0.93), np.tile(rot.IDENTITY, (60, 22, 1)))
    with pytest.raises(ValueError, match=r"travels 0\.00 m, which is too little"):
        follow_path(still, np.array([[0, 0], [0, 3.0]]))
