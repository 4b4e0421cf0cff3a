"""AMASS files: the joints stand where a slow forward kinematics in AMASS's own world puts them, and files come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import kinema
from kinema.formats.smpl import read_smpl, write_smplh, write_smplx
from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.skeleton import BODY_WITH_HANDS

# The resting pelvis of the mean shape, and its height over the toe joints; BODY's is 1.001 m
PELVIS = {"smplh": (-0.002, -0.223, 0.028), "smplx": (0.003, -0.351, 0.012)}
SCALE = {"smplh": 1.001 / 0.92, "smplx": 1.001 / 0.93}
WRITERS = {"smplh": write_smplh, "smplx": write_smplx}


def with_hands(walk: Motion) -> Motion:
    """The walk, with fingers that move and a pelvis that turns all the way around."""
    rng = np.random.default_rng(0)
    frames = len(walk)
    quats = rot.from_rotation_vector(0.4 * np.sin(rng.uniform(0, 7, (1, 52, 3)) + np.arange(frames)[:, None, None] / 9))
    quats[:, : len(BODY)] = walk.rotations
    quats[:, 0] = rot.from_rotation_vector(rng.normal(0, 1.5, (frames, 3)))
    return Motion(BODY_WITH_HANDS, walk.fps, walk.root_position + (1.0, 0, -2.0), quats)


def joints_in_amass(poses: np.ndarray, trans: np.ndarray, model: str, offsets: np.ndarray) -> np.ndarray:
    """(T, 52, 3) in the Z-up world of the file, one joint and one frame after the other.

    The model's origin is moved by `trans`; its pelvis rests at `PELVIS`, and turns about itself.
    """
    joints = np.zeros((len(poses), 52, 3))
    for frame, (pose, origin) in enumerate(zip(poses, trans, strict=True)):
        world: list[Rotation] = []
        for joint, parent in enumerate(BODY_WITH_HANDS.parents):
            local = Rotation.from_rotvec(pose[joint])
            if parent < 0:
                world.append(local)
                joints[frame, joint] = origin + PELVIS[model]
            else:
                world.append(world[parent] * local)
                joints[frame, joint] = joints[frame, parent] + world[parent].apply(offsets[joint])
    return joints


def fifty_two(poses: np.ndarray) -> np.ndarray:
    """(T, 52, 3): the poses of SMPL-H, or those of SMPL-X without jaw and eyes."""
    joints = poses.reshape(len(poses), -1, 3)
    return joints if joints.shape[1] == 52 else np.delete(joints, [22, 23, 24], 1)


@pytest.mark.parametrize("model", ["smplh", "smplx"])
def test_a_slow_forward_kinematics_of_the_file_agrees(tmp_path, walk, model):
    motion = with_hands(walk)
    WRITERS[model](motion, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        theirs = joints_in_amass(fifty_two(file["poses"]), file["trans"], model, BODY_WITH_HANDS.offsets / SCALE[model])
    ours = motion.joint_positions() / SCALE[model]
    np.testing.assert_allclose(theirs[..., 0], ours[..., 0], atol=1e-9)
    np.testing.assert_allclose(theirs[..., 1], -ours[..., 2], atol=1e-9)  # their Y is our -Z
    np.testing.assert_allclose(theirs[..., 2], ours[..., 1], atol=1e-9)  # and their Z is up


@pytest.mark.parametrize("model", ["smplh", "smplx"])
def test_round_trip(tmp_path, walk, model):
    for motion in (walk, with_hands(walk)):
        WRITERS[model](motion, tmp_path / "x.npz")
        back = read_smpl(tmp_path / "x.npz")
        assert back.skeleton == motion.skeleton
        assert back.fps == motion.fps
        np.testing.assert_allclose(back.root_position, motion.root_position, atol=1e-9)
        assert rot.angle_between(back.rotations, motion.rotations).max() < 1e-7
        np.testing.assert_allclose(back.joint_positions(), motion.joint_positions(), atol=1e-7)
        assert back.metadata["body_model"] == model
        assert "dropped_joints" not in back.metadata


def test_keys_that_readers_of_amass_ask_for(tmp_path, walk):
    write_smplh(walk, tmp_path / "h.npz")
    write_smplx(walk, tmp_path / "x.npz")
    frames = len(walk)
    common = {"trans": (frames, 3), "betas": (16,), "gender": (), "mocap_framerate": (), "mocap_frame_rate": ()}
    shapes = {
        "h.npz": {**common, "poses": (frames, 156), "dmpls": (frames, 8)},
        "x.npz": {
            **common,
            **{"poses": (frames, 165), "surface_model_type": (), "num_betas": (), "mocap_time_length": ()},
            **{"root_orient": (frames, 3), "pose_body": (frames, 63), "pose_hand": (frames, 90)},
            **{"pose_jaw": (frames, 3), "pose_eye": (frames, 6)},
        },
    }
    for name, expected in shapes.items():
        with np.load(tmp_path / name, allow_pickle=False) as file:
            assert {key: file[key].shape for key in file.files} == expected
            assert str(file["gender"]) == "neutral"
            assert float(file["mocap_framerate"]) == 30
            assert not file["betas"].any()
    with np.load(tmp_path / "x.npz") as file:
        parts = [file[part] for part in ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")]
        np.testing.assert_array_equal(np.concatenate(parts, 1), file["poses"])
        assert str(file["surface_model_type"]) == "smplx"


def test_by_the_ending_of_the_name(tmp_path, walk):
    walk.save(tmp_path / "a.smplh.npz")
    walk.save(tmp_path / "a.smplx.npz")
    assert kinema.load(tmp_path / "a.smplh.npz").metadata["body_model"] == "smplh"
    assert kinema.load(tmp_path / "a.smplx.npz", fps=60).fps == 60


def amass(path: Path, frames: int = 4, width: int = 156, **arrays: Any) -> Path:
    """A standing body as AMASS has it: Z up, facing -Y."""
    poses = np.zeros((frames, width), dtype=np.float32)
    poses[:, 0] = np.pi / 2
    trans = np.tile(np.float32([1.0, 2.0, 0.948 - 0.028]), (frames, 1))
    content: dict[str, Any] = {
        "poses": poses,
        "trans": trans,
        "mocap_framerate": np.float64(120),
        "betas": np.zeros(16),
    }
    content |= {"gender": np.array("male")} | arrays
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def test_a_standing_body_stands_upright_on_the_floor_and_faces_ahead(tmp_path):
    motion = read_smpl(amass(tmp_path / "x.npz"))
    assert motion.skeleton == BODY  # fingers at rest throughout
    assert motion.metadata["up"] == "z"
    assert motion.fps == 120
    positions = motion.joint_positions()[0]
    toes, ankles = positions[[10, 11]], positions[[7, 8]]
    np.testing.assert_allclose(toes[:, 1], 0.0305, atol=1e-3)  # BODY's toe joint is 3 cm over the ground
    assert (toes[:, 2] > ankles[:, 2] + 0.05).all()  # toes ahead, +Z
    assert positions[16, 0] > positions[17, 0]  # the left shoulder at +X
    # the pelvis is beside trans: its rest position in the model's axes is added in those of the world
    scale = 1.001 / 0.92
    np.testing.assert_allclose(positions[0], scale * np.array([0.998, 0.948, -(2.0 - 0.223)]), atol=1e-6)


def test_files_that_are_y_up(tmp_path):
    trans = np.tile(np.float32([1.0, 0.948 + 0.223, 2.0]), (4, 1))
    path = amass(tmp_path / "x.npz", poses=np.zeros((4, 156), np.float32), trans=trans)
    motion = read_smpl(path)
    assert (motion.metadata["up"], motion.metadata["up_from"]) == ("y", "guess")
    np.testing.assert_allclose(motion.joint_positions()[0, [10, 11], 1], 0.0305, atol=1e-3)
    np.testing.assert_array_equal(motion.rotations[0], np.tile(rot.IDENTITY, (22, 1)))
    # said to be Z up, the same numbers are a body that lies on its back... with its feet ahead
    lying = read_smpl(path, up="z")
    assert (lying.metadata["up"], lying.metadata["up_from"]) == ("z", "option")
    assert np.ptp(lying.joint_positions()[0, :, 1]) < 0.3
    with pytest.raises(ValueError, match="y or z, not 'x'"):
        read_smpl(path, up="x")


def test_files_of_other_writers(tmp_path):
    """Byte strings, pickled objects beside the poses, (T, 52, 3), betas in a row, rates as integers."""
    motion = read_smpl(
        amass(
            tmp_path / "x.npz",
            poses=amass_poses().reshape(4, 52, 3),
            gender=np.array(b"female"),
            betas=np.ones((1, 10), np.float32),
            mocap_framerate=np.array([60]),
            markers=np.array([{"a": 1}], dtype=object),
            labels=np.array(["LFHD", None], dtype=object),
            dmpls=np.zeros((4, 8)),
        )
    )
    assert motion.fps == 60
    assert motion.skeleton == BODY_WITH_HANDS
    assert motion.metadata["gender"] == "female"
    assert motion.metadata["betas"] == [1.0] * 10
    assert motion.metadata["source"] == "x.npz"
    vectors = rot.to_rotation_vector(motion.rotations)
    np.testing.assert_allclose(vectors[:, 1:], amass_poses().reshape(4, 52, 3)[:, 1:], atol=1e-6)


def amass_poses() -> np.ndarray:
    poses = np.random.default_rng(5).normal(0, 0.4, (4, 156)).astype(np.float32)
    poses[:, :3] = (np.pi / 2, 0, 0)
    return poses


def test_metadata_that_are_pickled_are_left_out(tmp_path):
    path = amass(tmp_path / "x.npz", gender=np.array("male", dtype=object), betas=np.array([1.0, None], dtype=object))
    assert not {"gender", "betas"} & set(read_smpl(path).metadata)


def test_smplx_of_other_writers(tmp_path):
    poses = np.zeros((4, 165))
    poses[:, 0] = np.pi / 2
    poses[:, 66:75] = 0.1  # jaw and eyes
    poses[:, 75:78] = (0, 0, 0.7)  # first joint of the left index finger
    poses[:, 120:123] = (0, 0.5, 0)  # and of the right one
    path = amass(
        tmp_path / "whole.npz",
        poses=poses,
        mocap_framerate=None,
        mocap_frame_rate=np.array(30),
        gender=np.array(b"neutral"),
    )
    parts: dict[str, Any] = {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_hand": poses[:, 75:]}
    parts |= {"pose_jaw": poses[:, 66:69], "pose_eye": poses[:, 69:75]}
    amass(tmp_path / "parts.npz", poses=None, **parts)
    amass(tmp_path / "said.npz", poses=np.delete(poses, np.s_[66:75], 1), surface_model_type=np.array("smplx"))
    for name in ("whole.npz", "parts.npz", "said.npz"):
        motion = read_smpl(tmp_path / name)
        assert motion.metadata["body_model"] == "smplx"
        assert motion.metadata.get("dropped_joints") == (None if name == "said.npz" else "jaw, eyes")
        assert motion.skeleton == BODY_WITH_HANDS
        vectors = rot.to_rotation_vector(motion.rotations[0])
        np.testing.assert_allclose(vectors[BODY_WITH_HANDS.index("left_index1")], (0, 0, 0.7), atol=1e-9)
        np.testing.assert_allclose(vectors[BODY_WITH_HANDS.index("right_index1")], (0, 0.5, 0), atol=1e-9)
        np.testing.assert_allclose(motion.root_position[0, 1], (0.92 + 0.012) * 1.001 / 0.93, atol=1e-6)
    without_hands: dict[str, Any] = {name: parts[name] for name in ("root_orient", "pose_body")}
    assert read_smpl(amass(tmp_path / "body.npz", poses=None, **without_hands)).skeleton == BODY
    assert path.exists()


def test_smpl_and_body_only(tmp_path):
    for width in (72, 66):
        poses = np.zeros((4, width))
        poses[:, 0], poses[:, 66:] = np.pi / 2, 0.3  # SMPL's two hand joints have no fingers to move
        poses[:, 12] = 0.5
        motion = read_smpl(amass(tmp_path / f"{width}.npz", poses=poses))
        assert motion.skeleton == BODY
        np.testing.assert_allclose(rot.to_rotation_vector(motion.rotations[0, 4]), (0.5, 0, 0), atol=1e-12)


def test_the_body_of_the_file_stays_with_the_motion(tmp_path):
    source = read_smpl(amass(tmp_path / "x.npz", betas=np.arange(16) / 10))
    write_smplh(source, tmp_path / "h.npz")
    write_smplx(source, tmp_path / "x.npz")
    with np.load(tmp_path / "h.npz") as file:
        assert str(file["gender"]) == "male"
        np.testing.assert_allclose(file["betas"], np.arange(16) / 10)
    with np.load(tmp_path / "x.npz") as file:  # the betas of one model say nothing to the other
        assert str(file["gender"]) == "neutral"
        assert not file["betas"].any()


def test_a_skeleton_of_other_size_keeps_its_feet_on_the_ground(tmp_path, walk):
    small = Skeleton(BODY.names, BODY.parents, BODY.offsets * 0.5, BODY.tips * 0.5)
    write_smplh(Motion(small, 30, walk.root_position * 0.5, walk.rotations), tmp_path / "small.npz")
    write_smplh(walk, tmp_path / "walk.npz")
    with np.load(tmp_path / "small.npz") as a, np.load(tmp_path / "walk.npz") as b:
        np.testing.assert_allclose(a["trans"], b["trans"], atol=1e-9)


def test_another_skeleton_is_put_onto_body_first(tmp_path, walk):
    turn = rot.from_axis_angle(np.array([0.0, 1, 0]), np.array(np.pi / 2))
    rig = Skeleton(BODY.names, BODY.parents, rot.rotate(turn, BODY.offsets), rot.rotate(turn, BODY.tips))
    quats = rot.multiply(rot.multiply(turn, walk.rotations), rot.inverse(turn))
    motion = Motion(rig, 30, rot.rotate(turn, walk.root_position), quats)  # the walk, with a rest pose facing +X
    write_smplh(motion, tmp_path / "x.npz")
    back = read_smpl(tmp_path / "x.npz")
    np.testing.assert_allclose(rot.normalize(np.diff(back.root_position, axis=0)[:, [0, 2]]), [[1, 0]] * 89, atol=0.05)
    hip = BODY.index("left_hip")
    assert np.degrees(rot.angle_between(back.rotations[:, hip], walk.rotations[:, hip])).max() < 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"poses": None}, "no trans and poses"),
        ({"trans": None}, "no trans and poses"),
        ({"poses": None, "root_orient": np.zeros((4, 3))}, "no trans and poses"),
        ({"mocap_framerate": None}, "frame rate .* give it as fps"),
        ({"mocap_framerate": np.array([30.0, 60.0])}, "frame rate has the shape"),
        ({"mocap_framerate": np.array(0.0)}, "fps must be"),
        ({"mocap_framerate": np.array(np.nan)}, "fps must be"),
        ({"mocap_framerate": np.array("30")}, "type <U2"),
        ({"poses": np.zeros((4, 100))}, r"shape \(4, 100\)"),
        ({"poses": np.zeros((4, 156), dtype=object)}, "type object"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "0 frames"),
        ({"poses": np.float64(3)}, "0 frames"),
        ({"poses": np.zeros((4, 2, 2, 39))}, "shape"),
        ({"trans": np.zeros((5, 3))}, r"trans has the shape \(5, 3\)"),
        ({"trans": np.zeros(3)}, "trans has the shape"),
        ({"trans": np.array([[0, 0, 0], [0, np.nan, 0]] * 2)}, "trans has a number in frame 1"),
        ({"poses": np.where(np.arange(4)[:, None] == 2, 1e308, np.zeros((4, 156)))}, "poses has a number in frame 2"),
        ({"poses": None, "root_orient": np.zeros((4, 3)), "pose_body": np.zeros((4, 60))}, "pose_body has the shape"),
        ({"poses": None, "root_orient": np.zeros((4, 3)), "pose_body": np.zeros((3, 63))}, "pose_body has the shape"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words) as error:
        read_smpl(amass(tmp_path / "x.npz", **changes))
    assert "x.npz" in str(error.value)


def test_the_frame_rate_can_be_given(tmp_path):
    assert read_smpl(amass(tmp_path / "x.npz", mocap_framerate=None), fps=50).fps == 50
    assert read_smpl(amass(tmp_path / "x.npz"), fps=50).fps == 50


def test_odd_metadata_do_no_harm(tmp_path):
    for odd in (
        np.array("x" * 1000),
        np.array([["male"]] * 2),
        np.zeros((0,)),
        np.full(16, np.nan),
        np.array(b"\xff\xfe"),
    ):
        motion = read_smpl(amass(tmp_path / "x.npz", gender=odd, betas=odd, surface_model_type=odd))
        write_smplh(motion, tmp_path / "y.npz")
        assert read_smpl(tmp_path / "y.npz").metadata["gender"] == "neutral"
    motion = motion.replace(metadata={"body_model": "smplh", "betas": "tall", "gender": 3})
    write_smplh(motion, tmp_path / "y.npz")
