"""Motions onto other skeletons and characters."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from kinema import load
from kinema.motion import BODY, Motion, Skeleton
from kinema.motion.skeleton import BODY_WITH_HANDS

MIXAMO = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
    "elbow": "ForeArm", "wrist": "Hand",
}  # fmt: skip


def renamed(name: str) -> str:
    side, _, part = name.rpartition("_")
    return f"mixamorig:{side.capitalize()}{MIXAMO[part]}"


def figure(names: list[str], size: float, walk: Motion) -> Motion:
    """A figure of other names and another size that stands still."""
    skeleton = Skeleton(tuple(names), BODY.parents, BODY.offsets * size, BODY.tips * size)
    return walk.replace(
        skeleton=skeleton,
        root_position=walk.root_position[:1] * size,
        rotations=walk.rotations[:1] * 0 + (1, 0, 0, 0),
        metadata={},
    )


@pytest.fixture
def hero(place: Path, walk: Motion) -> Path:
    """hero.glb, a character with Mixamo's names, two thirds as tall."""
    figure([renamed(name) for name in BODY.names], 2 / 3, walk).save(place / "hero.glb")
    return place / "hero.glb"


def document(path: Path) -> dict:
    content = path.read_bytes()
    return json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])


def bone_directions(motion: Motion) -> np.ndarray:
    """Of the bones of limbs, in the order of BODY."""
    positions = motion.joint_positions()
    bones = [joint for joint, name in enumerate(BODY.names) if name.endswith(("knee", "ankle", "elbow", "wrist"))]
    vectors = positions[:, bones] - positions[:, [BODY.parents[joint] for joint in bones]]
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_a_character_wears_the_motion(kinema, place, hero, walk):
    outcome = kinema("retarget", "walk.bvh", "hero.glb", "worn.glb")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "walk.bvh: 22 of 22 body joints, 0 of 30 finger joints, by name"
    assert lines[1] == "hero.glb: 22 of 22 body joints, 0 of 30 finger joints, by name"
    assert lines[2].startswith("skating: ")
    assert lines[3] == "worn.glb: 3.00 s, 90 frames at 30 fps, 22 joints"
    before, after = document(hero), document(place / "worn.glb")
    for part in ("meshes", "materials", "skins", "scenes"):
        assert after[part] == before[part]
    assert len(after["animations"]) == len(before["animations"]) + 1
    worn = load(place / "worn.glb")
    assert worn.skeleton.names == tuple(renamed(name) for name in BODY.names)
    np.testing.assert_allclose(worn.skeleton.offsets, BODY.offsets * 2 / 3, atol=1e-5)
    cosine = (bone_directions(worn) * bone_directions(walk)).sum(-1)
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 6
    # as many steps at the smaller size
    travelled = np.linalg.norm(worn.root_position[-1, ::2] - worn.root_position[0, ::2])
    assert travelled == pytest.approx(2 / 3 * walk.root_position[-1, 2], rel=0.05)


@pytest.mark.parametrize("animation, frames", [("0", 90), ("1", 1), ("motion", 1), ("walk", 90)])
def test_one_of_several_animations_is_chosen(animation, frames, kinema, place, hero):
    kinema("retarget", "walk.bvh", "hero.glb", "worn.glb")
    assert kinema("retarget", "worn.glb", "body", "x.npz", "--animation", animation).status == 0
    assert len(load(place / "x.npz")) == frames
    assert "walk, motion" in kinema("retarget", "worn.glb", "body", "y.npz", "--animation", "run").err


def test_a_character_of_somebody_else_is_not_overwritten(kinema, place, hero):
    theirs = hero.read_bytes().replace(b'"generator":"Kinema"', b'"generator":"Studio"')
    (place / "theirs.glb").write_bytes(theirs)
    for command in (("convert", "walk.bvh", "theirs.glb"), ("retarget", "walk.bvh", "hero.glb", "theirs.glb")):
        outcome = kinema(*command)
        assert outcome.status == 2
        assert "theirs.glb: is there already" in outcome.err
        assert (place / "theirs.glb").read_bytes() == theirs
    assert kinema("retarget", "walk.bvh", "theirs.glb", "theirs.glb").status == 0
    assert len(document(place / "theirs.glb")["animations"]) == 2
    assert kinema("retarget", "walk.bvh", "theirs.glb", "theirs.glb").status == 0
    assert kinema("convert", "walk.bvh", "hero.glb").status == 0


def test_convert_puts_a_character_into_every_file_of_a_folder(kinema, place, hero, walk):
    for name in ("a.bvh", "b/c.npz"):
        walk.save(place / "mocap" / name)
    outcome = kinema("convert", "mocap", "out", "--to", "glb", "--character", "hero.glb", "--fps", "15")
    assert (outcome.status, outcome.out) == (0, "out: 2 converted\n")
    for name in ("a.glb", "b/c.glb"):
        assert document(place / "out" / name)["materials"] == document(hero)["materials"]
        assert load(place / "out" / name).fps == 15


@pytest.mark.parametrize("ending", [".bvh", ".npz"])
def test_other_formats_get_the_skeleton_of_the_character(ending, kinema, place, hero):
    assert kinema("retarget", "walk.bvh", "hero.glb", f"out/x{ending}").status == 0
    motion = load(place / f"out/x{ending}")
    assert set(motion.skeleton.names) == {renamed(name) for name in BODY.names}
    assert len(motion) == 90


def test_a_motion_file_gives_its_skeleton(kinema, place, walk):
    figure([renamed(name) for name in BODY.names], 1.2, walk).save(place / "tall.bvh")
    kinema("retarget", "walk.bvh", "tall.bvh", "x.npz")
    assert np.ptp(load(place / "x.npz").joint_positions()[0, :, 1]) > 1.15 * np.ptp(walk.joint_positions()[0, :, 1])


@pytest.mark.parametrize("word, skeleton", [("body", BODY), ("hands", BODY_WITH_HANDS)])
def test_the_skeletons_of_kinema_have_names(word, skeleton, kinema, place):
    outcome = kinema("retarget", "walk.bvh", word, "x.npz")
    assert f"{word}: 22 of 22 body joints, {len(skeleton) - 22} of 30 finger joints, by name\n" in outcome.out
    assert load(place / "x.npz").skeleton == skeleton


def test_names_that_say_nothing_are_matched_by_the_tree_and_shown(kinema, place, walk):
    figure([f"Bone{number}" for number in range(22)], 1, walk).save(place / "plain.bvh")
    outcome = kinema("retarget", "walk.bvh", "plain.bvh", "x.npz")
    assert outcome.status == 0
    line = outcome.out.splitlines()[1]
    assert "by the tree: " in line
    match = dict(pair.split("=") for pair in line.partition("by the tree: ")[2].split())
    for name in ("left_hip", "right_knee", "left_ankle", "right_shoulder", "left_wrist"):
        assert match[name] == f"Bone{BODY.index(name)}"


def test_the_match_can_be_told(kinema, place, walk):
    names = [f"thing {number}" for number in range(22)]
    figure(names, 1, walk).save(place / "plain.npz")
    (place / "joints.json").write_text(json.dumps(dict(zip(BODY.names, names, strict=True))))
    outcome = kinema("retarget", "walk.bvh", "plain.npz", "x.npz", "--character-joints", "joints.json")
    assert "plain.npz: 22 of 22 body joints, 0 of 30 finger joints, as told\n" in outcome.out
    crossed = {name.replace("left", "\0").replace("right", "left").replace("\0", "right"): name for name in BODY.names}
    (place / "crossed.json").write_text(json.dumps(crossed))
    assert kinema("retarget", "walk.bvh", "plain.npz", "x.npz", "--joints", "crossed.json").status == 0


def test_contacts_are_kept_unless_told_otherwise(kinema, place, hero):
    outcomes = [
        kinema("retarget", "walk.bvh", "hero.glb", "x.npz", *flag).status for flag in ([], ["--no-keep-contacts"])
    ]
    assert outcomes == [0, 0]


def test_a_robot_gets_its_joints(kinema, place, data_dir):
    pytest.importorskip("mujoco")
    robot = data_dir / "robots" / "unitree_g1" / "g1_29dof.xml"
    outcome = kinema("retarget", "walk.bvh", robot, "walk.csv")
    assert (outcome.status, outcome.err) == (0, "")
    rows = np.loadtxt(place / "walk.csv", delimiter=",", skiprows=0, comments="#")
    assert rows.shape == (90, 36)
    assert rows[-1, 0] - rows[0, 0] > 1  # it walks along MuJoCo's +X
    assert kinema("retarget", "walk.bvh", robot, "walk.html").status == 0
    assert kinema("convert", "walk.csv", "again.glb", "--robot", robot).status == 0
    assert "29 hinges" in kinema("info", robot).out
    assert "MuJoCo qpos" in kinema("info", "walk.csv", "--robot", robot).out
