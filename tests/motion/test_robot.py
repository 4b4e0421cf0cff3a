"""Robots: hinges, their angles, and motions of people within their limits; MuJoCo is not needed here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.robot import Hinge, Robot, hinge_angles, joint_speeds, pose
from kinema.motion.robot_retarget import match_links, retarget_to_robot

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def make_robot(legs: float = 0.3) -> Robot:
    """A small humanoid: three hinges a hip and a shoulder, one a knee, elbow and wrist, two an ankle, one the waist."""
    links: list[tuple[str, str, tuple[float, float, float], tuple[float, float, float] | None, float, float]] = [
        ("base", "", (0, 0, 0), None, 0, 0),
        ("waist_yaw_link", "base", (0, 0.1, 0), Y, -2, 2),
        ("torso_link", "waist_yaw_link", (0, 0.05, 0), X, -0.5, 0.5),
    ]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = (-0.4, 2.0) if sign > 0 else (-2.0, 0.4)
        chain = [
            ("hip_pitch", "base", (0.07 * sign, -0.1, 0), X, -2.5, 2.5),
            ("hip_roll", "hip_pitch", (0.04 * sign, 0, 0), Z, *swing),
            ("hip_yaw", "hip_roll", (0, -0.1, 0), Y, -2.5, 2.5),
            ("knee", "hip_yaw", (0, 0.1 - legs, 0), X, 0.0, 2.6),
            ("ankle_pitch", "knee", (0, -legs, 0), X, -0.9, 0.6),
            ("ankle_roll", "ankle_pitch", (0, -0.02, 0), Z, -0.3, 0.3),
            ("shoulder_pitch", "torso_link", (0.1 * sign, 0.2, 0), X, -3, 3),
            ("shoulder_roll", "shoulder_pitch", (0.04 * sign, 0, 0), Z, *((-0.5, 3) if sign > 0 else (-3, 0.5))),
            ("shoulder_yaw", "shoulder_roll", (0, -0.1, 0), Y, -2.6, 2.6),
            ("elbow", "shoulder_yaw", (0, -0.1, 0), X, -2.4, 0.0),
            ("wrist_yaw", "elbow", (0, -0.2, 0), Y, -1.9, 1.9),
        ]
        for name, parent, offset, axis, low, high in chain:
            above = parent if parent in ("base", "torso_link") else f"{side}_{parent}_link"
            links.append((f"{side}_{name}_link", above, offset, axis, low, high))
    names = [link[0] for link in links]
    hinges = tuple(
        Hinge(f"{name}_joint", joint, axis, low, high)
        for joint, (name, _, _, axis, low, high) in enumerate(links)
        if axis is not None
    )
    parents = tuple(names.index(link[1]) if link[1] else -1 for link in links)
    corners = [(x, -0.03, z) for x in (-0.03, 0.03) for z in (-0.05, 0.12)]
    feet = [names.index(f"{side}_ankle_roll_link") for side in ("left", "right")]
    return Robot(
        name="made",
        skeleton=Skeleton(tuple(names), parents, np.array([link[2] for link in links])),
        hinges=hinges,
        height=2 * legs + 0.15,
        contact_joints=np.repeat(feet, 4),
        contact_points=np.array(corners * 2),
        contact_radii=np.full(8, 0.005),
    )


ROBOT = make_robot()


def random_angles(robot: Robot, frames: int, seed: int) -> np.ndarray:
    low, high = robot.limits.T
    return np.random.default_rng(seed).uniform(low, high, (frames, len(robot.hinges)))


def as_motion(robot: Robot, angles: np.ndarray) -> Motion:
    root = np.zeros((len(angles), 3)), np.tile(rot.IDENTITY, (len(angles), 1))
    return Motion(robot.skeleton, 30.0, *pose(robot, *root, angles))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_angles_come_back_from_the_rotations(seed: int) -> None:
    angles = random_angles(ROBOT, 5, seed)
    assert np.allclose(hinge_angles(ROBOT, as_motion(ROBOT, angles)), angles, atol=1e-9)


def test_default_angles_are_the_rest_pose() -> None:
    hinges = tuple(Hinge(h.name, h.joint, h.axis, h.low, h.high, default=(h.low + h.high) / 3) for h in ROBOT.hinges)
    robot = Robot("ref", ROBOT.skeleton, hinges)
    angles = np.array([[hinge.default for hinge in hinges]])
    motion = as_motion(robot, angles)
    assert np.allclose(motion.rotations, rot.IDENTITY)
    assert np.allclose(hinge_angles(robot, motion), angles)


def test_a_hinge_without_limits_turns_on_and_on() -> None:
    skeleton = Skeleton(("base", "wheel"), (-1, 0), np.array([[0, 0, 0], [0, 0.1, 0]]))
    robot = Robot("cart", skeleton, (Hinge("axle", 1, X, -np.inf, np.inf),))
    angles = np.linspace(0.5, 40, 300)[:, None]
    found = hinge_angles(robot, as_motion(robot, angles))
    assert np.allclose(np.diff(found, axis=0), np.diff(angles, axis=0))  # up to full turns in all
    assert np.allclose(joint_speeds(robot, as_motion(robot, angles)), 39.5 / 299 * 30)


def test_rotations_that_no_hinge_makes_are_refused_by_name() -> None:
    motion = as_motion(ROBOT, random_angles(ROBOT, 4, 0))
    quats = np.array(motion.rotations)
    knee = ROBOT.skeleton.index("left_knee_link")
    quats[2, knee] = rot.multiply(quats[2, knee], rot.from_axis_angle(np.array(Z), np.array(0.3)))
    with pytest.raises(ValueError, match=r"frame 2: joint 'left_knee_link' turns by 1[0-9]\.\d degrees"):
        hinge_angles(ROBOT, motion.replace(rotations=quats))


def test_a_motion_of_another_skeleton_is_refused(walk: Motion) -> None:
    with pytest.raises(ValueError, match="not on the skeleton of made"):
        hinge_angles(ROBOT, walk)


@pytest.mark.parametrize(
    ("hinges", "message"),
    [
        ((Hinge("a", 0, X, -1, 1),), "joint of its own below the root"),
        ((Hinge("a", 1, X, -1, 1), Hinge("b", 1, Y, -1, 1)), "joint of its own"),
        ((Hinge("a", 1, (1.0, 1.0, 0.0), -1, 1),), "unit length"),
        ((Hinge("a", 1, X, 1, -1),), "wrong way round"),
        ((Hinge("a", 1, X, -1, float("nan")),), "wrong way round"),
    ],
)
def test_hinges_that_do_not_fit_are_refused(hinges: tuple[Hinge, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Robot("bad", ROBOT.skeleton, hinges)


def test_links_are_told_by_their_names() -> None:
    links = match_links(ROBOT.skeleton)
    names = {part: ROBOT.skeleton.names[joint] for part, joint in links.items()}
    assert names["pelvis"] == "base"
    assert names["torso"] == "torso_link"
    assert names["left_hip"] == "left_hip_roll_link"
    assert names["right_ankle"] == "right_ankle_roll_link"
    assert names["right_wrist"] == "right_wrist_yaw_link"


def renamed(robot: Robot, change: Callable[[str], str]) -> Robot:
    skeleton = robot.skeleton
    other = Skeleton(tuple(change(name) for name in skeleton.names), skeleton.parents, skeleton.offsets)
    return Robot(robot.name, other, robot.hinges, robot.root_rest, robot.height, robot.contact_joints,
                 robot.contact_points, robot.contact_radii)  # fmt: skip


def test_links_without_telling_names_can_be_given() -> None:
    robot = renamed(ROBOT, lambda name: name.replace("left_knee", "left_part"))
    with pytest.raises(ValueError, match="left_knee"):
        match_links(robot.skeleton)
    links = match_links(robot.skeleton, {"left_knee": "left_part_link"})
    assert links == match_links(ROBOT.skeleton)
    with pytest.raises(ValueError, match="no joint 'nose'"):
        match_links(robot.skeleton, {"left_knee": "nose"})
    with pytest.raises(ValueError, match="does not hang below"):
        match_links(robot.skeleton, {"left_knee": "right_knee_link"})
    with pytest.raises(ValueError, match="nose"):
        match_links(ROBOT.skeleton, {"nose": "torso_link"})


def test_a_walk_keeps_limits_feet_and_pace(walk: Motion) -> None:
    result = retarget_to_robot(walk, ROBOT)
    assert len(result) == len(walk)
    assert result.fps == walk.fps
    assert result.metadata["robot"] == "made"
    assert result.metadata["source"] == "constructed"
    angles = hinge_angles(ROBOT, result)
    low, high = ROBOT.limits.T
    assert (angles >= low).all()
    assert (angles <= high).all()
    assert joint_speeds(ROBOT, result).max() < 15
    # steps fit the legs: the way is scaled by the ratio of the legs
    travelled = result.root_position[-1] - result.root_position[0]
    assert np.allclose(travelled, 0.62 / 0.834 * (walk.root_position[-1] - walk.root_position[0]), atol=0.03)
    assert soles(result)[..., 1].min() > -1e-9


def soles(motion: Motion) -> np.ndarray:
    """(T, 8, 3) lowest points of the contact spheres."""
    positions, world = forward_kinematics(motion.skeleton, motion.root_position, motion.rotations)
    joints = ROBOT.contact_joints
    points = positions[:, joints] + rot.rotate(world[:, joints], ROBOT.contact_points)
    return points - ROBOT.contact_radii[:, None] * (0, 1, 0)


def stand(frames: int, change: Callable[[np.ndarray], None] | None = None) -> Motion:
    """BODY standing with its arms down; `change` edits the rotations (T, 22, 4)."""
    quats = np.tile(rot.IDENTITY, (frames, len(BODY), 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        quats[:, BODY.index(f"{side}_shoulder")] = rot.from_axis_angle(np.array(Z), np.array(-sign * 1.4))
    if change:
        change(quats)
    return Motion(BODY, 30.0, np.tile([0.0, 1.031, 0.0], (frames, 1)), quats)


def turn(quats: np.ndarray, joint: str, axis: tuple[float, float, float], angle: float | np.ndarray) -> None:
    index = BODY.index(joint)
    quats[:, index] = rot.multiply(quats[:, index], rot.from_axis_angle(np.array(axis), np.full(len(quats), angle)))


def test_standing_feet_are_flat_on_the_ground_and_do_not_move() -> None:
    def sway(quats: np.ndarray) -> None:
        turn(quats, "spine2", Z, 0.3 * np.sin(np.arange(60) / 5))

    result = retarget_to_robot(stand(60, sway), ROBOT)
    points = soles(result)
    assert np.abs(points[..., 1]).max() < 0.002
    assert np.ptp(points[..., [0, 2]], axis=0).max() < 0.002
    ankles = [ROBOT.skeleton.index(f"{side}_ankle_roll_link") for side in ("left", "right")]
    assert result.contacts is not None
    assert result.contacts[:, ankles].all()


def direction(motion: Motion, above: str, below: str) -> np.ndarray:
    positions = motion.joint_positions()
    index = motion.skeleton.index
    return rot.normalize(positions[:, index(below)] - positions[:, index(above)])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("pose_of_arm", "upper", "fore"),
    [
        # raised forwards, forearm up; hanging, forearm forwards
        ([("shoulder", Y, -1.4), ("elbow", Z, 1.4)], (0.17, 0.0, 0.98), (0.03, 0.98, 0.17)),
        ([("shoulder", Z, -1.4), ("elbow", Y, -1.4)], (0.17, -0.98, 0.0), (0.03, -0.17, 0.98)),
    ],
)
def test_arms_point_where_the_persons_do(side: str, pose_of_arm: list, upper: tuple, fore: tuple) -> None:
    sign = 1.0 if side == "left" else -1.0

    def move(quats: np.ndarray) -> None:
        quats[:, BODY.index(f"{side}_shoulder")] = rot.IDENTITY
        for joint, axis, angle in pose_of_arm:
            turn(quats, f"{side}_{joint}", axis, sign * angle)

    result = retarget_to_robot(stand(20, move), ROBOT)
    mirrored = np.array([sign, 1, 1])
    found = direction(result, f"{side}_shoulder_roll_link", f"{side}_elbow_link")
    assert np.degrees(np.arccos(np.clip(found @ rot.normalize(mirrored * upper), -1, 1))).max() < 4
    found = direction(result, f"{side}_elbow_link", f"{side}_wrist_yaw_link")
    assert np.degrees(np.arccos(np.clip(found @ rot.normalize(mirrored * fore), -1, 1))).max() < 4


def test_what_the_robot_cannot_do_ends_at_the_limit_without_a_jump() -> None:
    def bow(quats: np.ndarray) -> None:
        lift = 2.4 * np.sin(np.pi * np.arange(90) / 89)
        turn(quats, "left_hip", X, -lift)
        turn(quats, "left_ankle", X, 3 * np.sin(np.arange(90) / 2))  # beyond any ankle
        turn(quats, "right_wrist", X, 2.9 * np.sin(np.arange(90) / 3))

    result = retarget_to_robot(stand(90, bow), ROBOT)
    angles = hinge_angles(ROBOT, result)
    low, high = ROBOT.limits.T
    assert (angles >= low).all()
    assert (angles <= high).all()
    assert joint_speeds(ROBOT, result).max() < 20
    assert soles(result)[..., 1].min() > -1e-9


def test_long_clips_are_solved_in_stretches_without_a_seam(monkeypatch: pytest.MonkeyPatch, walk: Motion) -> None:
    whole = retarget_to_robot(walk, ROBOT)
    monkeypatch.setattr("kinema.motion.robot_retarget._WINDOW", 35)
    pieces = retarget_to_robot(walk, ROBOT)
    assert np.abs(hinge_angles(ROBOT, pieces) - hinge_angles(ROBOT, whole)).max() < 0.05
    assert np.abs(pieces.root_position - whole.root_position).max() < 0.003


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_motions(frames: int) -> None:
    result = retarget_to_robot(stand(frames), ROBOT)
    assert len(result) == frames
    assert np.abs(soles(result)[..., 1]).max() < 0.002


def test_feet_without_geoms_stand_where_the_file_puts_the_root() -> None:
    robot = Robot("bare", ROBOT.skeleton, ROBOT.hinges, height=ROBOT.height)
    result = retarget_to_robot(stand(10), robot)
    ankle = result.joint_positions()[:, robot.skeleton.index("left_ankle_roll_link"), 1]
    assert np.allclose(ankle, 0.15 - 0.12, atol=0.003)


def test_the_same_motion_at_another_rate_is_the_same(walk: Motion) -> None:
    from kinema.motion.editing import resample

    slow = hinge_angles(ROBOT, retarget_to_robot(walk, ROBOT))
    fast = hinge_angles(ROBOT, retarget_to_robot(resample(walk, 120.0), ROBOT))
    assert np.degrees(np.abs(fast[::4][: len(slow)] - slow[: len(fast[::4])])).mean() < 2
