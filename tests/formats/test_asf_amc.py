"""ASF/AMC against a skeleton worked out by hand, scipy's rotations, and the shards of real motion."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinema.formats.asf_amc import read_amc
from kinema.formats.bvh import read_bvh
from kinema.motion import Skeleton

ASF = """# a comment
:version 1.10
:name VICON
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
   free text with words such as begin and name
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name upleg
     direction 0 -1 0
     length 8
     axis 0 0 20  XYZ
     dof rx ry rz
     limits (-160.0 20.0)
            (-70.0 70.0)
            (-60.0 70.0)
  end
  begin
     id 2
     name leg
     direction 0.6 -0.8 0
     length 7
     axis 10 -30 20  XYZ
     dof rx rz
  end
  begin
     id 3
     name chest
     direction 0 1 0
     length 9
     axis 0 0 0  XYZ
  end
:hierarchy
  begin
    root chest upleg
    upleg leg
  end
"""
AMC = """#!OML:ASF somewhere
:FULLY-SPECIFIED
:DEGREES
1
root 1 16 3 10 20 30
upleg 11 -12 13
leg 40 -7e0
2
root 1.5 16 3 0 0 0
upleg 0 0 0
leg 0 0
"""
UNIT = 0.0254 / 0.45


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    (tmp_path / "02.asf").write_text(ASF)
    (tmp_path / "02_01.amc").write_text(AMC)
    return tmp_path / "02_01.amc"


def fixed(order: str, *degrees: float) -> np.ndarray:
    """Matrix of turns about fixed axes, one after the other."""
    return Rotation.from_euler(order.lower(), degrees, degrees=True).as_matrix()


def test_two_bones_by_hand(pair):
    motion = read_amc(pair)
    assert motion.skeleton.names == ("root", "chest", "upleg", "leg")
    assert motion.skeleton.parents == (-1, 0, 0, 2)
    root, hip = fixed("xyz", 10, 20, 30), fixed("xyz", 0, 0, 20)
    upleg = root @ hip @ fixed("xyz", 11, -12, 13) @ hip.T
    knee = np.array([1, 16, 3]) + upleg @ [0, -8, 0]
    shin = fixed("xyz", 10, -30, 20)
    leg = upleg @ shin @ fixed("xyz", 40, 0, -7) @ shin.T
    positions = motion.joint_positions()[0] / UNIT
    np.testing.assert_allclose(positions, [[1, 16, 3], [1, 16, 3], [1, 16, 3], knee], atol=1e-9)
    from kinema.motion import rotations as rot
    from kinema.motion.kinematics import forward_kinematics

    _, world = forward_kinematics(motion.skeleton, motion.root_position, motion.rotations)
    np.testing.assert_allclose(rot.to_matrix(world[0, 3]), leg, atol=1e-9)
    # ends of the bones without children
    np.testing.assert_allclose(motion.skeleton.tips / UNIT, [[0, 0, 0], [0, 9, 0], [0, 0, 0], [4.2, -5.6, 0]])
    np.testing.assert_allclose(motion.root_position[1] / UNIT, [1.5, 16, 3])


def test_radians_and_other_units(pair):
    degrees = read_amc(pair)
    text = AMC.replace(":DEGREES", ":RADIANS").replace("leg 40 -7e0", f"leg {np.radians(40)} {np.radians(-7)}")
    text = text.replace("upleg 11 -12 13", "upleg " + " ".join(map(str, np.radians([11, -12, 13]))))
    text = text.replace("10 20 30", " ".join(map(str, np.radians([10, 20, 30]))))
    pair.write_text(text)
    np.testing.assert_allclose(read_amc(pair).rotations, degrees.rotations, atol=1e-12)
    (pair.parent / "02.asf").write_text(ASF.replace("length 0.45", "length 1.0"))
    np.testing.assert_allclose(read_amc(pair).root_position, degrees.root_position * 0.45)


@pytest.mark.parametrize(
    ("name", "fps"), [("02_01.amc", 120), ("60_11.amc", 60), ("walk.amc", 120), ("my_60_11.amc", 120)]
)
def test_frame_rate_is_a_guess_or_what_the_caller_says(pair, name, fps):
    path = pair.with_name(name)
    pair.rename(path)
    assert (read_amc(path).fps, read_amc(path).metadata["fps_from"]) == (fps, "guess")
    assert (read_amc(path, fps=50).fps, read_amc(path, fps=50).metadata["fps_from"]) == (50, "option")


def test_the_asf_file_is_found_by_subject_or_refused(pair, tmp_path):
    (tmp_path / "16.asf").write_text(ASF.replace("name chest", "name CHEST").replace("root chest", "root CHEST"))
    assert "chest" in read_amc(pair).skeleton.names
    assert "CHEST" in read_amc(pair, asf_path=tmp_path / "16.asf").skeleton.names
    (tmp_path / "02.asf").rename(tmp_path / "03.asf")
    with pytest.raises(ValueError, match=r"skeleton 02\.asf is not beside it"):
        read_amc(pair)
    (tmp_path / "16.asf").unlink()
    assert read_amc(pair).metadata["skeleton_source"] == "03.asf"


def test_more_frames_and_joints_than_fit_into_memory_are_refused(pair, monkeypatch):
    monkeypatch.setattr("kinema.formats.asf_amc.MAX_ROTATIONS", 5)
    with pytest.raises(ValueError, match=r"02_01\.amc: .* are too many; cut"):
        read_amc(pair)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("02.asf", ASF, "hello", "no :bonedata"),
        ("02.asf", "length 0.45", "length 0", "line 6: the unit of length"),
        ("02.asf", "direction 0 -1 0", "direction 0 -1", "line 19: expected 3 numbers"),
        ("02.asf", "direction 0 -1 0", "direction 0 -1 nan", "usable"),
        ("02.asf", "length 8", "length 8,5", "commas"),
        ("02.asf", "axis 0 0 20  XYZ", "axis 0 0 20  XXZ", "order of axes"),
        ("02.asf", "dof rx ry rz", "dof rx ry rw", "unknown degree of freedom 'rw'"),
        ("02.asf", "dof rx rz", "dof rx rx", "twice"),
        ("02.asf", "name leg", "name upleg", "name that no other bone has"),
        ("02.asf", "upleg leg", "upleg foot", "bone 'foot' of the hierarchy"),
        ("02.asf", "upleg leg", "upleg leg chest", "chest stands at two places"),
        ("02.asf", "upleg leg", "leg leg", "leg is not connected"),
        ("02_01.amc", AMC, "hello world", "bone 'hello' is not in 02.asf"),
        ("02_01.amc", AMC, "", "not an AMC file"),
        ("02_01.amc", "leg 40 -7e0", "leg 40", "line 7: bone leg needs 2 numbers, found 1"),
        ("02_01.amc", "leg 40 -7e0", "leg 40 -7,5", "line 7: .*commas"),
        ("02_01.amc", "leg 40 -7e0", "leg 40 inf", "line 7: .*usable"),
        ("02_01.amc", "leg 40 -7e0\n", "", "leg is missing in a frame"),
        ("02_01.amc", "leg 40 -7e0", "leg 40 -7\nleg 40 -7", "there twice"),
        ("02_01.amc", "leg 0 0\n", "", "line 7: bone leg is missing after this frame"),
        ("02_01.amc", "root 1 16 3 10 20 30\n", "", "line 7: the frame before this one has no root"),
        ("02_01.amc", "2\nroot", "two\nroot", "expected the number of a frame"),
    ],
)
def test_damage_is_named_in_one_sentence(pair, file, old, new, words):
    path = pair.with_name(file)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=words) as error:
        read_amc(pair)
    assert file in str(error.value)
    assert "\n" not in str(error.value)


def test_bones_that_move_in_their_joint_are_named(pair):
    (pair.parent / "02.asf").write_text(ASF.replace("dof rx rz", "dof rx l"))
    motion = read_amc(pair)
    assert motion.metadata["lost_translation"] == "leg"


def test_real_files_agree_with_the_shard(data_dir):
    sys.path.insert(0, str(data_dir / "tools"))
    try:
        from load_motion import joint_positions, load_shard
    finally:
        sys.path.pop(0)
    shard = load_shard(data_dir / "cmu/cmu_motions.npz")
    checked = 0
    for path in sorted((data_dir / "cmu/original/asf_amc").glob("*.amc")):
        if path.stem not in shard.index:
            continue
        motion, clip = read_amc(path), shard[path.stem]
        step = round(motion.fps / clip["fps"])
        expected = joint_positions(clip)
        assert np.abs(motion.joint_positions()[::step][: len(expected)] - expected).max() < 1e-3, path.name
        np.testing.assert_allclose(motion.skeleton.tips, clip["end_offsets"], atol=1e-5)
        checked += 1
    assert checked >= 6


# the bones of a CMU skeleton, in ASF and in the BVH files that were made of it with MotionBuilder
BONES = {
    **{"root": "Hips", "lowerback": "LowerBack", "upperback": "Spine", "thorax": "Spine1"},
    **{"lhipjoint": "LHipJoint", "lfemur": "LeftUpLeg", "ltibia": "LeftLeg", "lfoot": "LeftFoot"},
    **{"rhipjoint": "RHipJoint", "rfemur": "RightUpLeg", "rtibia": "RightLeg", "rfoot": "RightFoot"},
    **{"ltoes": "LeftToeBase", "rtoes": "RightToeBase"},
    **{"lowerneck": "Neck", "upperneck": "Neck1", "head": "Head"},
    **{"lclavicle": "LeftShoulder", "lhumerus": "LeftArm", "lradius": "LeftForeArm", "lwrist": "LeftHand"},
    **{"rclavicle": "RightShoulder", "rhumerus": "RightArm", "rradius": "RightForeArm", "rwrist": "RightHand"},
    **{"lhand": "LeftFingerBase", "lfingers": "LeftHandIndex1", "lthumb": "LThumb"},
    **{"rhand": "RightFingerBase", "rfingers": "RightHandIndex1", "rthumb": "RThumb"},
}


def test_the_same_trial_as_amc_and_as_bvh(data_dir):
    folder = data_dir / "cmu/original"
    amc, bvh = read_amc(folder / "asf_amc/02_01.amc"), read_bvh(folder / "bvh_mb/02_01.bvh")
    assert len(amc) == len(bvh)
    assert len(BONES) == len(amc.skeleton) == len(bvh.skeleton)
    ours = [amc.skeleton.index(bone) for bone in BONES]
    theirs = [bvh.skeleton.index(joint) for joint in BONES.values()]
    other = np.linalg.norm(amc.skeleton.offsets[ours] - bvh.skeleton.offsets[theirs], axis=-1) > 1e-3
    # the BVH file has the neck and the shoulders begin where the thorax does, and fingers and thumb at the wrist
    assert {bone for bone, differs in zip(BONES, other, strict=True) if differs} == {
        *("lowerneck", "lclavicle", "rclavicle", "lhand", "lthumb", "rhand", "rthumb")
    }
    legs = [side + bone for side in "lr" for bone in ("hipjoint", "femur", "tibia", "foot", "toes")]
    for bone in ("root", "lowerback", "upperback", "thorax", *legs):
        there = bvh.joint_positions()[:, bvh.skeleton.index(BONES[bone])]
        assert np.abs(amc.joint_positions()[:, amc.skeleton.index(bone)] - there).max() < 1e-3, bone
    # with those bones put in, the whole body agrees
    offsets = np.array(bvh.skeleton.offsets)
    offsets[theirs] = amc.skeleton.offsets[ours]
    whole = bvh.replace(skeleton=Skeleton(bvh.skeleton.names, bvh.skeleton.parents, offsets))
    assert np.abs(amc.joint_positions()[:, ours] - whole.joint_positions()[:, theirs]).max() < 1e-3


def test_a_line_without_end_is_refused(pair):
    pair.write_text(AMC + "root " + "1 " * 20_000)
    with pytest.raises(ValueError, match=r"02_01\.amc, line 12: 40005 characters in one line"):
        read_amc(pair)


def test_layout_does_not_matter(pair):
    plain = read_amc(pair)
    for change in (
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text.replace(" ", "\t"),
        lambda text: text.replace("\n2\n", "\n\n2\n").rstrip(),
        lambda text: text.replace("upleg 11 -12 13\nleg 40 -7e0", "leg 40 -7e0\nupleg 11 -12 13"),
    ):
        for path, text in ((pair, AMC), (pair.with_name("02.asf"), ASF)):
            path.write_bytes(change(text).encode())
        np.testing.assert_array_equal(read_amc(pair).rotations, plain.rotations)
