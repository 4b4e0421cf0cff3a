"""Rotations from points: forward kinematics must come back, and limbs must not flip where points show no roll."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.fitting import fit_rotations

ONE_CHILD = ["spine1", "spine2", "neck", "left_collar", "right_collar"]
HINGES = {"left_knee": (1, 0, 0), "right_knee": (1, 0, 0), "left_elbow": (0, -1, 0), "right_elbow": (0, 1, 0)}


def poses(frames: int, **turns: np.ndarray) -> np.ndarray:
    """(T, 22, 4) local rotations; turns by joint, as rotation vectors (T, 3) or (3,)."""
    quats = np.tile(rot.IDENTITY, (frames, len(BODY), 1))
    for joint, vectors in turns.items():
        quats[:, BODY.index(joint)] = rot.from_rotation_vector(np.broadcast_to(vectors, (frames, 3)))
    return quats


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0, 3), frames=st.integers(1, 40))
def test_any_pose_of_body_comes_back(seed, spread, frames):
    rng = np.random.default_rng(seed)
    quats = rot.from_rotation_vector(spread * rng.normal(size=(frames, len(BODY), 3)))
    motion = Motion(BODY, 30, rng.normal(size=(frames, 3)), quats)
    positions = motion.joint_positions()
    fitted = fit_rotations(positions, 30)
    np.testing.assert_allclose(fitted.skeleton.offsets, BODY.offsets, atol=1e-9)
    np.testing.assert_allclose(fitted.joint_positions(), positions, atol=1e-9)
    # pelvis and chest are shown whole by the points on them
    for joint in ("pelvis", "spine3"):
        ours, theirs = (world_rotation(one, joint) for one in (fitted, motion))
        assert rot.angle_between(ours, theirs).max() < 1e-6


def world_rotation(motion: Motion, joint: str) -> np.ndarray:
    world, index = rot.IDENTITY, BODY.index(joint)
    while index >= 0:
        world = rot.multiply(motion.rotations[:, index], world)
        index = BODY.parents[index]
    return world


def test_limbs_that_bend_as_limbs_do_come_back_as_rotations():
    """Hips and shoulders turned and rolled at will, knees and elbows bent about their hinges by 25 to 140 degrees."""
    rng = np.random.default_rng(0)
    frames = 60
    turns = {"pelvis": rng.normal(0, 1, (frames, 3)), "spine3": rng.normal(0, 0.3, (frames, 3))}
    for joint, axis in HINGES.items():
        turns[joint] = rng.uniform(np.radians(25), np.radians(140), (frames, 1)) * axis
        turns[BODY.names[BODY.parents[BODY.index(joint)]]] = rng.normal(0, 0.5, (frames, 3))
    motion = Motion(BODY, 30, np.zeros((frames, 3)), poses(frames, **turns))
    fitted = fit_rotations(motion.joint_positions(), 30)
    angles = rot.angle_between(fitted.rotations, motion.rotations).max(0)
    for joint in (*HINGES, "left_hip", "right_hip", "left_shoulder", "right_shoulder"):
        assert angles[BODY.index(joint)] < 1e-6, joint


def test_a_walk_comes_back(walk):
    fitted = fit_rotations(walk.joint_positions(), walk.fps)
    angles = np.degrees(rot.angle_between(fitted.rotations, walk.rotations))
    assert angles.max() < 4  # the elbows are bent by 17 degrees, where the hinge is not yet quite sure


def test_joints_with_one_bone_turn_without_twist():
    rng = np.random.default_rng(1)
    turns = {joint: rng.normal(0, 0.4, (30, 3)) for joint in ONE_CHILD}
    positions = Motion(BODY, 30, np.zeros((30, 3)), poses(30, **turns)).joint_positions()
    fitted = fit_rotations(positions, 30)
    for joint in ("neck", "left_collar", "right_collar"):
        child = {"neck": "head", "left_collar": "left_shoulder", "right_collar": "right_shoulder"}[joint]
        axis = rot.normalize(BODY.offsets[BODY.index(child)])
        twist = rot.twist(fitted.rotations[:, BODY.index(joint)], axis)
        # the smallest rotation of a bone has its axis across the bone
        np.testing.assert_allclose(np.abs(twist[:, 0]), 1, atol=1e-9)


def test_the_twist_of_the_spine_is_shared():
    twist = np.array([0.0, 0.9, 0.0])
    positions = Motion(BODY, 30, np.zeros((2, 3)), poses(2, spine1=twist)).joint_positions()
    fitted = fit_rotations(positions, 30)
    for joint in ("spine1", "spine2", "spine3"):
        vector = rot.to_rotation_vector(fitted.rotations[0, BODY.index(joint)])
        np.testing.assert_allclose(vector, twist / 3, atol=1e-9)


@pytest.mark.parametrize("joint", list(HINGES))
def test_a_straight_limb_with_noise_does_not_flip(joint):
    rng = np.random.default_rng(2)
    upper = BODY.names[BODY.parents[BODY.index(joint)]]
    swing = 0.6 * np.sin(np.arange(120) / 15)[:, None] * np.array([0.0, 0, 1])
    motion = Motion(BODY, 60, np.zeros((120, 3)), poses(120, **{upper: swing}))
    positions = motion.joint_positions() + rng.normal(0, 0.001, (120, len(BODY), 3))
    fitted = fit_rotations(positions, 60)
    steps = np.degrees(rot.angle_between(fitted.rotations[1:], fitted.rotations[:-1]))
    assert steps[:, BODY.index(upper)].max() < 8
    error = np.degrees(rot.angle_between(fitted.rotations, motion.rotations))[:, BODY.index(upper)]
    assert error.max() < 20


@pytest.mark.parametrize("joint", list(HINGES))
def test_a_limb_that_straightens_keeps_its_roll_and_moves_smoothly(joint):
    """Bent, straight for a quarter of a second, bent again, with the upper bone rolled by 70 degrees."""
    fps = 120
    time = np.arange(2 * fps) / fps
    bend = np.radians(90) * np.clip(np.abs(time - 1) - 0.125, 0, 0.5) * 2
    upper = BODY.names[BODY.parents[BODY.index(joint)]]
    bone = rot.normalize(BODY.offsets[BODY.index(joint)])
    turns = {joint: bend[:, None] * np.array(HINGES[joint]), upper: np.radians(70) * bone}
    motion = Motion(BODY, fps, np.zeros((len(time), 3)), poses(len(time), **turns))
    fitted = fit_rotations(motion.joint_positions(), fps)
    steps = np.degrees(rot.angle_between(fitted.rotations[1:], fitted.rotations[:-1]))
    assert steps[:, BODY.index(upper)].max() < 2
    error = np.degrees(rot.angle_between(fitted.rotations, motion.rotations))[:, BODY.index(upper)]
    assert error.max() < 15


def test_bones_that_change_their_lengths_keep_their_directions():
    rng = np.random.default_rng(3)
    quats = rot.from_rotation_vector(0.5 * rng.normal(size=(50, len(BODY), 3)))
    exact = Motion(BODY, 30, np.zeros((50, 3)), quats).joint_positions()
    bones = exact[:, 1:] - exact[:, list(BODY.parents[1:])]
    bones *= rng.uniform(0.98, 1.02, (50, len(BODY) - 1, 1))
    positions = np.zeros_like(exact)
    for joint in range(1, len(BODY)):
        positions[:, joint] = positions[:, BODY.parents[joint]] + bones[:, joint - 1]
    fitted = fit_rotations(positions, 30)
    found = fitted.joint_positions()
    assert np.linalg.norm(found - positions, axis=-1).max() < 0.05
    limbs = [joint for joint in range(4, len(BODY)) if BODY.names[BODY.parents[joint]] not in ("pelvis", "spine3")]
    ours = rot.normalize(found[:, limbs] - found[:, [BODY.parents[joint] for joint in limbs]])
    theirs = rot.normalize(bones[:, np.array(limbs) - 1])
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_points_of_a_body_of_another_build(data_dir):
    """SMPL's own joints: no bone of the pelvis or the chest lies as BODY's do."""
    positions = np.load(data_dir / "humanml3d" / "golden" / "012314_joints.npy").astype(float)
    fitted = fit_rotations(positions, 20)
    assert np.linalg.norm(fitted.joint_positions() - positions, axis=-1).max() < 1e-5


def test_a_resting_body_of_smpl_looks_ahead_on_flat_feet():
    """Head joint 30 degrees ahead of the neck, toes outward, collar joints apart: none of this is a turn."""
    offsets = np.array(BODY.offsets)
    for joint, offset in (("neck", (0, 0.219, 0)), ("left_collar", (0.072, 0.12, 0)), ("head", (0, 0.089, 0.051))):
        offsets[BODY.index(joint)] = offset
    offsets[BODY.index("right_collar")] = (-0.072, 0.12, 0)
    offsets[BODY.index("left_foot")], offsets[BODY.index("right_foot")] = (0.032, -0.06, 0.126), (-0.033, -0.063, 0.132)
    positions = Skeleton(BODY.names, BODY.parents, offsets).rest_positions[None]
    fitted = fit_rotations(positions, 20)
    assert np.degrees(rot.angle_between(fitted.rotations, rot.IDENTITY)).max() < 2
    np.testing.assert_allclose(fitted.joint_positions(), positions, atol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "positions",
    [
        np.zeros((4, 22, 3)),
        np.ones((1, 22, 3)) * 1e5,
        np.linspace(0, 1, 22)[None, :, None] * np.ones((3, 1, 3)),  # all on one line
        np.where(np.arange(22)[:, None] < 3, 0.0, BODY.rest_positions)[None].repeat(3, 0),  # hips in the pelvis
        np.where(np.arange(6)[:, None, None] < 3, 0.0, BODY.rest_positions),  # gaps at first
    ],
)
def test_points_that_are_no_body_still_make_a_motion(positions):
    fitted = fit_rotations(positions, 30)
    assert len(fitted) == len(positions)
    np.testing.assert_array_equal(fitted.root_position, positions[:, 0])


def test_a_gap_takes_the_last_good_frame():
    positions = Motion(BODY, 30, np.zeros((4, 3)), poses(4, pelvis=np.array([0.0, 1.0, 0.0]))).joint_positions().copy()
    positions[2, [1, 2]] = positions[2, [0]]
    fitted = fit_rotations(positions, 30)
    np.testing.assert_allclose(rot.to_rotation_vector(fitted.rotations[2, 0]), [0, 1, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (np.zeros((3, 21, 3)), r"\(T, 22, 3\)"),
        (np.zeros((0, 22, 3)), r"\(T, 22, 3\)"),
        (np.zeros((22, 3)), r"\(T, 22, 3\)"),
        (np.full((2, 22, 3), np.nan), "finite"),
        (np.full((2, 22, 3), 1e300), "finite"),
    ],
)
def test_wrong_points_are_refused(positions, words):
    with pytest.raises(ValueError, match=words):
        fit_rotations(positions, 30)


@pytest.mark.parametrize("fps", [0, -1e300, np.nan, np.inf])
def test_impossible_frame_rates_are_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="fps must be"):
        fit_rotations(np.ones((2, 22, 3)), fps)
