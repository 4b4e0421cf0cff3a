"""Onto any humanoid: rest poses, fingers, other numbers of joints, and what feet and hands do on other proportions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.editing import ground
from kinema.motion.kinematics import forward_kinematics, local_rotations, two_bone_ik
from kinema.motion.retarget import retarget
from kinema.motion.skeleton import BODY_WITH_HANDS as HANDS

X, Y, Z = np.eye(3)
SIDES = ("left", "right")


def reframed(motion: Motion, frames: np.ndarray, names: tuple[str, ...] | None = None) -> Motion:
    """The same motion on a skeleton whose joint axes in the T-pose are `frames` (J, 4), and whose rest pose is that in
    which all axes are those of the world."""
    skeleton = motion.skeleton
    above = np.concatenate([rot.IDENTITY[None], frames[list(skeleton.parents[1:])]])
    offsets = rot.rotate(rot.inverse(above), skeleton.offsets)
    tips = rot.rotate(rot.inverse(frames), skeleton.tips)
    other = Skeleton(names or skeleton.names, skeleton.parents, offsets, tips)
    _, world = forward_kinematics(skeleton, motion.root_position, motion.rotations)
    return Motion(other, motion.fps, motion.root_position, local_rotations(other, rot.multiply(world, frames)))


def a_pose(skeleton: Skeleton) -> np.ndarray:
    """Frames of a rest pose with hanging arms, spread legs, palms turned forward and curled fingers."""
    frames = np.tile(rot.IDENTITY, (len(skeleton), 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turn = rot.from_axis_angle(Z, np.array(-0.9 * sign))
        rolled = rot.multiply(turn, rot.from_axis_angle(X, np.array(-0.7)))
        for joint, name in enumerate(skeleton.names):
            part = name.removeprefix(f"{side}_")
            if part == name:
                continue
            if part in ("hip", "knee", "ankle", "foot"):
                frames[joint] = rot.inverse(rot.from_axis_angle(Z, np.array(0.25 * sign)))
            elif part in ("shoulder", "elbow"):
                frames[joint] = rot.inverse(turn if part == "shoulder" else rolled)
            elif part == "wrist" or part.startswith("thumb"):
                frames[joint] = rot.inverse(rolled)
            elif part != "collar":
                curl = rot.from_axis_angle(Z, np.array(-0.15 * sign * int(part[-1])))
                frames[joint] = rot.inverse(rot.multiply(rolled, curl))
    return frames


def along_x(skeleton: Skeleton) -> np.ndarray:
    """Frames of a rest pose in which every bone lies along its joint's X axis, as Bandai-Namco has them."""
    frames = np.tile(rot.IDENTITY, (len(skeleton), 1))
    for joint, name in enumerate(skeleton.names):
        side, _, part = name.rpartition("_")
        children = [child for child in skeleton.children[joint] if "collar" not in skeleton.names[child]]
        along = rot.normalize(skeleton.offsets[children[-1]] if children else skeleton.tips[joint])
        if part == "wrist":
            along = X if side == "left" else -X
        if name in ("pelvis", "spine3"):
            along = Y
        limb = side and part != "collar" and part[-1] not in "123"
        if limb:  # the joints of a limb bend about the same of their axes
            hinge = X if part in ("hip", "knee", "ankle", "foot") else Y
            frames[joint] = rot.from_matrix(np.stack([along, hinge, np.cross(along, hinge)], -1))
        elif part[-1:].isdigit() and side:  # fingers go on from the wrist without a roll
            above = frames[skeleton.parents[joint]]
            frames[joint] = rot.multiply(rot.between(rot.rotate(above, X), along), above)
        else:
            frames[joint] = rot.between(X, along)
    return frames


REST_POSES = {"T": lambda skeleton: np.tile(rot.IDENTITY, (len(skeleton), 1)), "A": a_pose, "along X": along_x}


def renamed(skeleton: Skeleton) -> tuple[str, ...]:
    """Other names for BODY's joints, so that it is another skeleton."""
    return tuple(f"Actor:{name}" for name in skeleton.names)


def scaled(lengths: dict[str, float], skeleton: Skeleton = BODY, wider: float = 1.0) -> Skeleton:
    """BODY with bones of other lengths, by the part at their end."""
    factors = [lengths.get(name.rpartition("_")[2], 1.0) for name in skeleton.names]
    wide = np.where([[name.endswith("hip")] for name in skeleton.names], (wider, 1, 1), 1)
    offsets = skeleton.offsets * np.array(factors)[:, None] * wide
    return Skeleton(renamed(skeleton), skeleton.parents, offsets, skeleton.tips)


LONG_LEGS = scaled({"knee": 1.25, "ankle": 1.0, "elbow": 0.85, "wrist": 0.85, "foot": 1.2}, wider=1.3)
SHORT_LEGS = scaled({"knee": 0.7, "ankle": 0.9, "elbow": 1.2, "wrist": 1.1})


def on(skeleton: Skeleton, motion: Motion, name: str) -> np.ndarray:
    """(T, 3) path of a joint by BODY's name."""
    return motion.joint_positions()[:, skeleton.index(name if skeleton == BODY else f"Actor:{name}")]


def with_fingers(walk: Motion) -> Motion:
    """The walk on BODY_WITH_HANDS, every finger joint moving in its own way."""
    rng = np.random.default_rng(3)
    rotations = np.tile(rot.IDENTITY, (len(walk), len(HANDS), 1))
    rotations[:, : len(BODY)] = walk.rotations
    time = np.arange(len(walk)) / walk.fps
    for joint in range(len(BODY), len(HANDS)):
        swing = rng.uniform(0.2, 0.9) * np.sin(rng.uniform(1, 5) * time)
        rotations[:, joint] = rot.from_axis_angle(rot.normalize(rng.normal(size=3)), swing)
    return Motion(HANDS, walk.fps, walk.root_position, rotations)


def assert_same(found: Motion, expected: Motion, degrees: float = 1e-3) -> None:
    turned = np.degrees(rot.angle_between(found.rotations, expected.rotations)).max(0)
    names = expected.skeleton.names
    assert {name: angle for name, angle in zip(names, turned, strict=True) if angle > degrees} == {}
    np.testing.assert_allclose(found.joint_positions(), expected.joint_positions(), atol=1e-5)


# --- rest poses and fingers


@pytest.mark.parametrize("onto", REST_POSES)
@pytest.mark.parametrize("source", REST_POSES)
def test_rest_poses_do_not_matter(walk: Motion, source: str, onto: str) -> None:
    """Of the same body, in all pairs, fingers included. A target along X is known by a motion on it."""
    truth = ground(with_fingers(walk))
    given = reframed(truth, REST_POSES[source](HANDS), renamed(HANDS))
    names = tuple(f"Other:{name}" for name in HANDS.names)
    expected = reframed(truth, REST_POSES[onto](HANDS), names)
    if source == "A" or onto == "A":
        # how far a thumb stands off is each rig's own, and here that is the same
        assert given.skeleton != expected.skeleton
    assert_same(retarget(given, expected), expected)


def test_a_skeleton_along_x_alone_has_its_joints_in_the_right_places(walk: Motion) -> None:
    truth = ground(with_fingers(walk))
    expected = reframed(truth, along_x(HANDS), renamed(HANDS))
    found = retarget(truth, expected.skeleton)
    np.testing.assert_allclose(found.joint_positions(), expected.joint_positions(), atol=1e-5)


def test_fingers_survive_the_way_there_and_back(walk: Motion) -> None:
    truth = ground(with_fingers(walk))
    there = retarget(truth, scaled({"elbow": 0.8, "wrist": 0.9, "collar": 1.3, "thumb1": 1.2, "index2": 0.8}, HANDS))
    assert_same(retarget(there, HANDS), truth)


def test_fingers_that_the_source_lacks_stay_at_rest(walk: Motion) -> None:
    found = retarget(walk, HANDS)
    assert np.abs(found.rotations[:, len(BODY) :] - rot.IDENTITY).max() < 1e-12
    np.testing.assert_allclose(found.joint_positions()[:, : len(BODY)], ground(walk).joint_positions(), atol=1e-6)


# --- other numbers of joints


def inserted(skeleton: Skeleton, below: dict[str, tuple[str, float]], extra: dict[str, str]) -> Skeleton:
    """With joints in line above others {joint: (name of the new one, share of the bone)} and more as leaves."""
    names, parents, offsets, tips = [], [], [], []
    place: dict[int, int] = {}
    for joint, name in enumerate(skeleton.names):
        parent, offset = place.get(skeleton.parents[joint], -1), skeleton.offsets[joint]
        if name in below:
            new, share = below[name]
            names.append(new)
            parents.append(parent)
            offsets.append(offset * share)
            tips.append(np.zeros(3))
            parent, offset = len(names) - 1, offset * (1 - share)
        place[joint] = len(names)
        names.append(name)
        parents.append(parent)
        offsets.append(offset)
        tips.append(skeleton.tips[joint])
    for name, above in extra.items():
        parents.append(names.index(above))
        names.append(name)
        offsets.append(np.array([0.05, -0.02, 0.03]))
        tips.append(np.zeros(3))
    return Skeleton(tuple(names), tuple(parents), np.array(offsets), np.array(tips))


TWISTS = {
    f"{side}_{part}": (f"{side}_{above}_twist", 0.5)
    for side in SIDES
    for above, part in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
}
EXTRA = {"ponytail": "head", "left_calf_twist_1": "left_knee", "skirt": "pelvis", "sword": "right_wrist"}


def test_twist_bones_in_line_and_other_joints_are_carried_along(walk: Motion) -> None:
    rig = inserted(LONG_LEGS, {f"Actor:{name}": new for name, new in TWISTS.items()}, {})
    rig = inserted(rig, {}, {new: f"Actor:{above}" for new, above in EXTRA.items()})
    found, expected = retarget(walk, rig), retarget(walk, LONG_LEGS)
    kept = [rig.index(name) for name in LONG_LEGS.names]
    np.testing.assert_allclose(found.joint_positions()[:, kept], expected.joint_positions(), atol=1e-6)
    others = [joint for joint in range(len(rig)) if joint not in kept]
    assert len(others) == 12
    assert np.abs(found.rotations[:, others] - rot.IDENTITY).max() < 1e-12


def test_what_twist_bones_of_the_source_turn_is_not_lost(walk: Motion) -> None:
    rig = inserted(BODY, TWISTS, {})
    source = retarget(walk, rig)
    rotations, expected = np.array(source.rotations), np.array(walk.rotations)
    for side, share in (("left", 0.4), ("right", -0.7)):
        turn = rot.from_axis_angle(X, np.full(len(walk), share))
        rotations[:, rig.index(f"{side}_elbow_twist")] = turn
        elbow, wrist = BODY.index(f"{side}_elbow"), BODY.index(f"{side}_wrist")
        expected[:, elbow] = rot.multiply(expected[:, elbow], turn)
        assert np.abs(expected[:, wrist] - rot.IDENTITY).max() < 1e-12
    assert_same(retarget(source.replace(rotations=rotations)), ground(walk.replace(rotations=expected)))


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_spines_of_other_lengths_share_out_the_turn(walk: Motion, count: int) -> None:
    """Onto a spine of so many joints: the chest turns as far, no joint more than its share; and back the same chest."""
    names = [name for name in BODY.names if not name.startswith("spine")]
    above = {"neck", "left_collar", "right_collar"}
    parents, offsets, joints = [], [], []
    for name in ["pelvis", *(f"spine{k + 1}" for k in range(count)), *names[1:]]:
        if name.startswith("spine"):
            parents.append(len(joints) - 1)
            offsets.append(np.array([0, 0.231 / count, 0]))
        else:
            over = BODY.parents[BODY.index(name)]
            parents.append(-1 if over < 0 else count if name in above else joints.index(BODY.names[over]))
            offsets.append(BODY.offsets[BODY.index(name)])
        joints.append(name)
    other = Skeleton(tuple(joints), tuple(parents), np.array(offsets))
    rotations = np.array(walk.rotations)
    time = np.arange(len(walk)) / walk.fps
    for name in ("spine1", "spine2", "spine3"):
        rotations[:, BODY.index(name)] = rot.from_axis_angle(rot.normalize(X + 0.5 * Y), 0.3 * np.sin(2 * time))
    bent = walk.replace(rotations=rotations)
    found = retarget(bent, other)
    chest, spine = other.parents[other.index("neck")], [other.index(f"spine{k + 1}") for k in range(count)]
    world = forward_kinematics(other, found.root_position, found.rotations)[1]
    truth = forward_kinematics(BODY, bent.root_position, bent.rotations)[1]
    assert rot.angle_between(world[:, chest], truth[:, BODY.index("spine3")]).max() < 1e-6
    angles = rot.angle_between(found.rotations[:, spine], rot.IDENTITY).max(0)
    assert angles.sum() == pytest.approx(0.9, abs=0.01)
    assert angles.max() < 0.31 if count > 2 else angles.max() < 0.91
    back = forward_kinematics(BODY, *(lambda m: (m.root_position, m.rotations))(retarget(found)))[1]
    assert rot.angle_between(back[:, BODY.index("spine3")], truth[:, BODY.index("spine3")]).max() < 1e-6


def test_a_root_above_the_pelvis_stays_at_rest(walk: Motion) -> None:
    rig = Skeleton(
        ("root", *BODY.names),
        (-1, *(parent + 1 for parent in BODY.parents)),
        np.concatenate([np.zeros((1, 3)), [[0, 0.93, 0.0]], BODY.offsets[1:]]),
        np.concatenate([np.zeros((1, 3)), BODY.tips]),
    )
    found = retarget(walk, rig)
    np.testing.assert_allclose(found.joint_positions()[:, 1:], ground(walk).joint_positions(), atol=1e-6)
    assert np.abs(found.rotations[:, 0] - rot.IDENTITY).max() < 1e-12


def test_overrides_name_the_joints(walk: Motion) -> None:
    names = tuple("zyx"[k % 3] * (k + 1) for k in range(len(BODY)))
    other = Skeleton(names, BODY.parents, BODY.offsets, BODY.tips)
    which = dict(zip(BODY.names, names, strict=True))
    expected = ground(walk)
    assert_same(retarget(walk, other, onto_joints=which), expected.replace(skeleton=other))
    assert_same(retarget(walk.replace(skeleton=other), joints=which), expected)


# --- feet and hands


@pytest.mark.parametrize("rig", [LONG_LEGS, SHORT_LEGS], ids=["long legs", "short legs"])
def test_feet_that_stand_still_stand_still_on_another_body(walk: Motion, rig: Skeleton) -> None:
    """Feet held by inverse kinematics while the body sways over them."""
    time = np.arange(len(walk)) / walk.fps
    sway = np.stack([0.12 * np.sin(2 * time), 0.96 - 0.05 * np.sin(3 * time), 0.08 * np.cos(2 * time)], -1)
    rotations = np.tile(rot.IDENTITY, (len(walk), len(BODY), 1))
    rotations[:, BODY.index("spine1")] = rot.from_axis_angle(Z, 0.1 * np.sin(2 * time))
    for side, place in (("left", 0.15), ("right", -0.2)):
        ankle = np.broadcast_to((place, 0.098, 0.1 * place), (len(walk), 3))
        rotations = two_bone_ik(BODY, rotations, sway, BODY.index(f"{side}_ankle"), ankle)
    source = Motion(BODY, 30, sway, rotations)
    found = retarget(source, rig)
    for side in SIDES:
        assert np.ptp(on(BODY, source, f"{side}_foot"), axis=0).max() < 1e-6
        toes = on(rig, found, f"{side}_foot")
        assert np.ptp(toes, axis=0).max() < 1e-3
        assert np.ptp(on(rig, retarget(source, rig, keep_contacts=False), f"{side}_foot"), axis=0).max() > 0.02
        assert toes[:, 1].min() > 0.01  # and on the ground, not in it


@pytest.mark.parametrize("rig", [LONG_LEGS, SHORT_LEGS], ids=["long legs", "short legs"])
def test_steps_fit_the_path_and_knees_bend_forward(walk: Motion, rig: Skeleton) -> None:
    found = retarget(walk, rig)
    legs = [np.linalg.norm(body.offsets[[4, 7]], axis=-1).sum() for body in (BODY, rig)]
    toes, before = (on(skeleton, motion, "left_foot") for skeleton, motion in ((rig, found), (BODY, walk)))
    # but for where legs are not long enough to keep it at the ends of a step
    error = np.linalg.norm((toes - toes[0])[:, [0, 2]] - (before - before[0])[:, [0, 2]] * legs[1] / legs[0], axis=-1)
    assert np.percentile(error, 90) < 0.002
    assert error.max() < 0.02
    turned = rot.to_rotation_vector(found.rotations[:, rig.index("Actor:left_knee")])
    assert turned[:, 0].min() > -1e-6
    change = rot.to_rotation_vector(rot.multiply(rot.inverse(found.rotations[:-1]), found.rotations[1:]))
    usual = rot.to_rotation_vector(rot.multiply(rot.inverse(walk.rotations[:-1]), walk.rotations[1:]))
    assert np.linalg.norm(change, axis=-1).max() < 2 * np.linalg.norm(usual, axis=-1).max()


def clapping(seconds: float = 3.0) -> Motion:
    """Standing, hands in front of the chest that meet twice a second and go apart."""
    time = np.arange(round(30 * seconds)) / 30
    apart = 0.05 + 0.25 * (1 - np.cos(4 * np.pi * time)) / 2
    rotations = np.tile(rot.IDENTITY, (len(time), len(BODY), 1))
    root = np.tile([0.0, 1.031, 0.0], (len(time), 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        palm_in = rot.multiply(rot.from_axis_angle(Z, np.array(sign * -np.pi / 2)), rot.about_y(np.array(-sign * 1.3)))
        goal = np.stack([sign * apart, np.full_like(time, 1.25), np.full_like(time, 0.3)], -1)
        wrist = BODY.index(f"{side}_wrist")
        rotations[:, wrist] = palm_in
        rotations = two_bone_ik(BODY, rotations, root, wrist, goal)
    return Motion(BODY, 30, root, rotations)


@pytest.mark.parametrize("rig", [LONG_LEGS, SHORT_LEGS], ids=["long legs", "short legs"])
def test_a_clap_stays_a_clap(rig: Skeleton) -> None:
    source = clapping()
    legs = [np.linalg.norm(body.offsets[[4, 7]], axis=-1).sum() for body in (BODY, rig)]

    def between(skeleton: Skeleton, motion: Motion) -> np.ndarray:
        return np.linalg.norm(on(skeleton, motion, "left_wrist") - on(skeleton, motion, "right_wrist"), axis=-1)

    before = between(BODY, source) * legs[1] / legs[0]
    meet = before < 0.13 * legs[1] / legs[0]
    assert 10 < meet.sum() < 50
    np.testing.assert_allclose(between(rig, retarget(source, rig))[meet], before[meet], atol=0.004)
    assert np.abs(between(rig, retarget(source, rig, keep_contacts=False)) - before)[meet].max() > 0.015


def crawling(seconds: float = 3.0) -> Motion:
    """On hands and knees, which rest on the ground, the body swaying."""
    time = np.arange(round(30 * seconds)) / 30
    rotations = np.tile(rot.IDENTITY, (len(time), len(BODY), 1))
    rotations[:, 0] = rot.from_axis_angle(X, np.full_like(time, np.radians(80)))
    root = np.stack([0 * time, 0.46 + 0 * time, 0.04 * np.sin(3 * time)], -1)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for part, angle in (("hip", -80), ("knee", 88), ("ankle", 60)):
            rotations[:, BODY.index(f"{side}_{part}")] = rot.from_axis_angle(X, np.array(np.radians(angle)))
        forward = rot.about_y(np.array(-sign * np.pi / 2))
        rotations[:, BODY.index(f"{side}_shoulder")] = forward
        ankle, wrist = BODY.index(f"{side}_ankle"), BODY.index(f"{side}_wrist")
        rotations = two_bone_ik(BODY, rotations, root, ankle, np.tile([sign * 0.1, 0.09, -0.5], (len(time), 1)))
        rotations = two_bone_ik(BODY, rotations, root, wrist, np.tile([sign * 0.2, 0.07, 0.5], (len(time), 1)))
    return ground(Motion(BODY, 30, root, rotations))


def test_who_sits_on_the_ground_sits_on_it(walk: Motion) -> None:
    """The target's ankles are higher over the sole: it stands higher by that, but sits no higher."""
    higher = np.where([[name.endswith("foot")] for name in BODY.names], (0, -0.06, 0), 0)
    rig = Skeleton(renamed(BODY), BODY.parents, BODY.offsets + higher, BODY.tips)
    time = np.arange(60) / 30
    down = np.clip(2 * time - 1, 0, 1)
    rotations = np.tile(rot.IDENTITY, (len(time), len(BODY), 1))
    for side in SIDES:
        rotations[:, BODY.index(f"{side}_hip")] = rot.from_axis_angle(X, -np.radians(130) * down)
        rotations[:, BODY.index(f"{side}_knee")] = rot.from_axis_angle(X, np.radians(140) * down)
        rotations[:, BODY.index(f"{side}_ankle")] = rot.from_axis_angle(X, -np.radians(10) * down)
    source = Motion(BODY, 30, np.zeros((60, 3)), rotations)
    lowest = source.joint_positions()[:, BODY.index("left_foot"), 1] - 0.03
    source = source.replace(root_position=np.stack([0 * time, -lowest, 0 * time], -1))
    hips, found = on(BODY, source, "left_hip")[:, 1], on(rig, retarget(source, rig), "left_hip")[:, 1]
    assert hips[-1] < 0.3
    assert found[0] == pytest.approx(hips[0] + 0.06, abs=0.003)
    assert found[-1] == pytest.approx(hips[-1], abs=0.01)


def test_hands_far_out_on_the_ground_stay_where_they_are_on_the_same_body(walk: Motion) -> None:
    """Lying on the back with outstretched arms: nothing asks for a correction."""
    rotations = np.tile(rot.IDENTITY, (30, len(BODY), 1))
    rotations[:, 0] = rot.from_axis_angle(X, np.full(30, -np.pi / 2))
    lying = Motion(BODY, 30, np.tile([0.0, 0.1, 0.0], (30, 1)), rotations)
    twin = Skeleton(renamed(BODY), BODY.parents, BODY.offsets, BODY.tips)
    assert np.degrees(rot.angle_between(retarget(lying, twin).rotations, rotations).max()) < 1e-3


def handstand(seconds: float = 2.0) -> Motion:
    time = np.arange(round(30 * seconds)) / 30
    rotations = np.tile(rot.IDENTITY, (len(time), len(BODY), 1))
    # first upright, then upside down on the hands
    over = np.pi * np.clip(2 * time - 1, 0, 1)
    rotations[:, 0] = rot.from_axis_angle(X, over)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotations[:, BODY.index(f"{side}_shoulder")] = rot.from_axis_angle(Z, np.array(sign * np.pi / 2))
    positions = Motion(BODY, 30, np.zeros((len(time), 3)), rotations).joint_positions()[..., 1]
    lowest = np.minimum(positions[:, [10, 11]].min(1) - 0.03, positions[:, [20, 21]].min(1) - 0.06)
    return Motion(BODY, 30, np.stack([0 * time, -lowest, 0 * time], -1), rotations)


@pytest.mark.parametrize("rig", [LONG_LEGS, SHORT_LEGS], ids=["long legs", "short legs"])
def test_hands_on_the_ground_stay_there(rig: Skeleton) -> None:
    source = crawling()
    found, without = retarget(source, rig), retarget(source, rig, keep_contacts=False)
    scale = np.linalg.norm(rig.offsets[[4, 7]], axis=-1).sum() / np.linalg.norm(BODY.offsets[[4, 7]], axis=-1).sum()
    for side in SIDES:
        wrist, before = on(rig, found, f"{side}_wrist"), on(BODY, source, f"{side}_wrist")
        assert np.ptp(before, axis=0).max() < 1e-6
        assert np.ptp(wrist, axis=0).max() < 0.003
        assert wrist[:, 1].mean() == pytest.approx(scale * before[:, 1].mean(), abs=0.01)
        assert np.abs(on(rig, without, f"{side}_wrist")[:, 1] - scale * before[:, 1]).max() > 0.05
        knee, knee_before = on(rig, found, f"{side}_knee"), on(BODY, source, f"{side}_knee")
        assert knee[:, 1].min() > scale * knee_before[:, 1].min() - 0.01  # not pressed into the ground


@pytest.mark.parametrize("rig", [LONG_LEGS, SHORT_LEGS], ids=["long legs", "short legs"])
def test_a_handstand_stands_on_straight_arms_with_straight_legs(rig: Skeleton) -> None:
    source = handstand()
    found = retarget(source, rig)
    late = slice(45, None)
    scale = np.linalg.norm(rig.offsets[[4, 7]], axis=-1).sum() / 0.834
    for side in SIDES:
        wrist, before = on(rig, found, f"{side}_wrist")[late], on(BODY, source, f"{side}_wrist")[late]
        np.testing.assert_allclose(wrist[:, 1], scale * before[:, 1], atol=0.01)
        for part in ("elbow", "knee"):
            bend = rot.angle_between(found.rotations[late, rig.index(f"Actor:{side}_{part}")], rot.IDENTITY)
            assert np.degrees(bend.max()) < 15


# --- properties


def test_onto_the_same_skeleton_and_again(walk: Motion) -> None:
    assert retarget(walk, BODY) is walk
    found = retarget(walk, LONG_LEGS)
    assert retarget(found, LONG_LEGS) is found
    twin = Skeleton(tuple(f"Twin:{name}" for name in BODY.names), BODY.parents, LONG_LEGS.offsets, LONG_LEGS.tips)
    again = retarget(found, twin)
    assert np.degrees(rot.angle_between(again.rotations, found.rotations).max()) < 0.01
    # the floor is found anew from other feet than those of the source
    moved = again.root_position - found.root_position
    assert np.ptp(moved, axis=0).max() < 1e-4
    assert np.abs(moved).max() < 0.005


@settings(max_examples=20, deadline=None)
@given(
    yaw=st.floats(-np.pi, np.pi),
    shift=st.tuples(*[st.floats(-5, 5)] * 3),
    pose=st.sampled_from(["walk", "crawl", "clap"]),
)
def test_turning_and_moving_the_source_turns_and_moves_the_result(walk, yaw, shift, pose) -> None:
    source = {"walk": walk, "crawl": crawling(0.5), "clap": clapping(0.5)}[pose]
    turn = rot.about_y(np.array(yaw))
    rotations = np.array(source.rotations)
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    elsewhere = source.replace(root_position=rot.rotate(turn, source.root_position) + shift, rotations=rotations)
    found, expected = retarget(elsewhere, LONG_LEGS), retarget(source, LONG_LEGS)
    scale = np.linalg.norm(LONG_LEGS.offsets[[4, 7]], axis=-1).sum() / 0.834
    moved = rot.rotate(turn, expected.joint_positions()) + scale * np.array(shift) * (1, 0, 1)
    np.testing.assert_allclose(found.joint_positions(), moved, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_pose_of_any_proportions_gives_a_motion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(0.3, 2.5, len(BODY))
    rig = Skeleton(renamed(BODY), BODY.parents, BODY.offsets * sizes[:, None], BODY.tips)
    rotations = rot.from_rotation_vector(rng.normal(0, rng.uniform(0, 1.5), (4, len(BODY), 3)))
    source = Motion(BODY, 30, rng.normal(size=(4, 3)), rotations)
    found = retarget(source, rig)
    assert np.isfinite(found.joint_positions()).all()
    back = retarget(source, rig, keep_contacts=False)
    # what contacts do not ask for stays: hands and feet keep their turn in the world
    _, kept = forward_kinematics(rig, found.root_position, found.rotations)
    _, plain = forward_kinematics(rig, back.root_position, back.rotations)
    ends = [BODY.index(f"{side}_{part}") for side in SIDES for part in ("ankle", "wrist")]
    assert rot.angle_between(kept[:, ends], plain[:, ends]).max() < 1e-5


def test_feet_that_are_level_at_rest_stand_flat():
    offsets = np.array(BODY.offsets)
    for side in ("left", "right"):
        offsets[BODY.index(f"{side}_foot")] = (0, 0, np.linalg.norm(offsets[BODY.index(f"{side}_foot")]))
    level = Skeleton(BODY.names, BODY.parents, offsets, BODY.tips)
    x, y, z = BODY.offsets[BODY.index("left_foot")]
    standing = np.tile(rot.IDENTITY, (30, len(BODY), 1))
    for side in ("left", "right"):
        down = rot.from_axis_angle(np.array([1.0, 0, 0]), np.arctan2(-y, z))
        standing[:, BODY.index(f"{side}_ankle")] = down
        standing[:, BODY.index(f"{side}_foot")] = rot.inverse(down)
    source = Motion(level, 30, np.tile([0.0, 1.0, 0.0], (30, 1)), standing)
    onto_body = retarget(source)
    np.testing.assert_allclose(np.abs(onto_body.rotations[..., 0]), 1, atol=1e-6)
    flat = Motion(BODY, 30, np.tile([0.0, 1.0, 0.0], (30, 1)), np.tile(rot.IDENTITY, (30, len(BODY), 1)))
    positions = retarget(flat, level).joint_positions()
    foot = positions[:, BODY.index("left_foot")] - positions[:, BODY.index("left_ankle")]
    np.testing.assert_allclose(foot[0], (x, y, z), atol=1e-6)
