"""BVH against pybvh, a slow forward kinematics of its own, the shards of real motion, and damaged files."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybvh
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.formats.bvh import read_bvh, write_bvh
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 0 90 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 60 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 30 0
    }
  }
  JOINT Leg
  {
    OFFSET 10 -90 0
    CHANNELS 3 Yrotation Zrotation Xrotation
    End Site
    {
      OFFSET 0 0 20
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
1 92 3 90 0 0 0 90 0 0 0 0
1 92 4 0 0 0 0 0 0 0 0 0
"""


def slow_positions(joints: list[tuple[str, int, list[float], str]], row: np.ndarray) -> dict[str, np.ndarray]:
    """World position of every joint in one frame, with 4 x 4 matrices; position channels replace the offset.

    `joints` are (name, parent, offset, channels), channels such as "XYZ zxy": capitals position, small rotation.
    """
    world: list[np.ndarray] = []
    numbers = iter(row)
    for _, parent, offset, channels in joints:
        place, turn = np.array(offset, dtype=float), np.eye(3)
        for channel in channels.replace(" ", ""):
            value = next(numbers)
            if channel.isupper():
                place["XYZ".index(channel)] = value
            else:
                c, s = np.cos(np.deg2rad(value)), np.sin(np.deg2rad(value))
                i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[channel]
                one = np.eye(3)
                one[i, i], one[j, j], one[i, j], one[j, i] = c, c, -s, s
                turn = turn @ one
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turn, place
        world.append(local if parent < 0 else world[parent] @ local)
    return {name: matrix[:3, 3] for (name, *_), matrix in zip(joints, world, strict=True)}


def bvh_text(joints: list[tuple[str, int, list[float], str]], rows: np.ndarray, frame_time: str = "0.0333333") -> str:
    """A file of these joints, which must stand in depth-first order."""
    lines, open_joints = ["HIERARCHY"], []
    parents = [parent for _, parent, *_ in joints]
    for index, (name, parent, offset, channels) in enumerate(joints):
        while open_joints and open_joints[-1] != parent:
            lines.append("}")
            open_joints.pop()
        open_joints.append(index)
        words = [c + "position" if c.isupper() else c.upper() + "rotation" for c in channels.replace(" ", "")]
        lines += [f"{'JOINT' if index else 'ROOT'} {name}", "{", "OFFSET " + " ".join(map(str, offset))]
        lines += [f"CHANNELS {len(words)} {' '.join(words)}"]
        if index not in parents:
            lines += ["End Site", "{", "OFFSET 0 10 0", "}"]
    lines += ["}"] * len(open_joints)
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {frame_time}"]
    return "\n".join(lines + [" ".join(f"{value:.9g}" for value in row) for row in rows]) + "\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "clip.bvh"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_small_file_by_hand(write):
    motion = read_bvh(write(SMALL), unit=0.01)
    assert motion.skeleton.names == ("Hips", "Spine", "Leg")
    assert motion.skeleton.parents == (-1, 0, 0)
    assert motion.fps == 30
    assert motion.metadata["unit"] == 0.01
    np.testing.assert_allclose(motion.skeleton.offsets, [[0, 0, 0], [0, 0.6, 0], [0.1, -0.9, 0]])
    np.testing.assert_allclose(motion.skeleton.tips, [[0, 0, 0], [0, 0.3, 0], [0, 0, 0.2]])
    # Z by 90 degrees turns up into -X and right into up; the position channels replace the root's offset
    np.testing.assert_allclose(
        motion.joint_positions()[0], [[0.01, 0.92, 0.03], [-0.59, 0.92, 0.03], [0.91, 1.02, 0.03]], atol=1e-9
    )


@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("xyz")] + ["zxz", "y", "xz", ""])
@pytest.mark.parametrize("root", ["XYZ {}", "{} ZYX", "{} Y"])
def test_any_channel_order_against_matrices(write, order, root):
    joints = [
        ("Hips", -1, [5.0, 90.0, 2.0], root.format("yxz")),
        ("Spine", 0, [1.0, 30.0, 4.0], order),
        ("Head", 1, [0.0, 70.0, 3.0], "zyx"),
        ("Leg", 0, [10.0, -80.0, 0.0], order[::-1]),
    ]
    rows = np.random.default_rng(0).uniform(-180, 180, (5, sum(len(c.replace(" ", "")) for *_, c in joints)))
    motion = read_bvh(write(bvh_text(joints, rows)), unit=0.01)
    for frame, row in enumerate(rows):
        expected = slow_positions(joints, row)
        np.testing.assert_allclose(motion.joint_positions()[frame] * 100, [expected[n] for n in expected], atol=1e-6)


def test_agrees_with_pybvh(tmp_path, walk):
    path = tmp_path / "walk.bvh"
    write_bvh(walk, path)
    theirs, ours = pybvh.read_bvh_file(str(path)), read_bvh(path)
    assert list(ours.skeleton.names) == list(theirs.joint_names)
    assert ours.fps == pytest.approx(theirs.fps)
    np.testing.assert_allclose(ours.joint_positions() * 100, theirs.joint_positions(), atol=1e-4)
    order = [walk.skeleton.index(name) for name in theirs.joint_names]
    np.testing.assert_allclose(walk.joint_positions()[:, order] * 100, theirs.joint_positions(), atol=1e-4)


def test_agrees_with_bvhio(tmp_path, walk):
    bvhio = pytest.importorskip("bvhio")
    write_bvh(walk, tmp_path / "walk.bvh")
    root = bvhio.readAsHierarchy(str(tmp_path / "walk.bvh"))
    ours = read_bvh(tmp_path / "walk.bvh").joint_positions()
    for frame in (0, 40, len(walk) - 1):
        root.loadPose(frame)
        theirs = [list(joint.PositionWorld) for joint, _, _ in root.layout()]
        np.testing.assert_allclose(ours[frame] * 100, theirs, atol=1e-3)  # it counts in 32 bits


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("  ", "\t").replace("Frames: 2", "Frames:\t2"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n  {", " {").replace("\n{", "{"),
        lambda text: text.replace("90 0 0 0 90 0", "90 0\n0 0 90\n\n 0"),
        lambda text: text.replace("0 0 0 0\n1 92 4", "0 0 0 0 1 92 4"),
        lambda text: text.replace("End Site", "end site").replace("OFFSET", "Offset").replace("rotation", "ROTATION"),
        lambda text: text.replace("MOTION", "Motion").replace("Frame Time:", "Frame Time :"),
        lambda text: text + "\n\n  \n",
        lambda text: text.rstrip(),
        lambda text: (
            "# made by hand\n" + text.replace("  JOINT Leg", "// a leg\n  JOINT Leg").replace("1 92 4", " # 2\n1 92 4")
        ),
        lambda text: text.replace("1 92", "+1 92.0000000000000000000").replace("90 0 0 0", "9e1 -0 .0 0."),
    ],
    ids=[
        "crlf",
        "cr",
        "tabs",
        "bom",
        "braces",
        "wrapped",
        "joined",
        "case",
        "motion",
        "blank end",
        "no last newline",
        "comments",
        "numbers",
    ],
)
def test_layout_does_not_matter(write, change):
    plain = read_bvh(write(SMALL))
    other = read_bvh(write(change(SMALL)))
    assert change(SMALL) != SMALL
    assert other.skeleton == plain.skeleton
    np.testing.assert_array_equal(other.rotations, plain.rotations)
    np.testing.assert_array_equal(other.root_position, plain.root_position)


def test_names_are_kept_apart_and_whole(write):
    text = SMALL.replace("JOINT Spine", "JOINT Bip01 Spine").replace("JOINT Leg", "JOINT Bip01 Spine")
    assert read_bvh(write(text)).skeleton.names == ("Hips", "Bip01_Spine", "Bip01_Spine_2")


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        *[("0.0333", 30), ("0.033333", 30), (".0333333", 30), ("0.033", 30), ("0.03333333333333333", 30)],
        *[("0.008333", 120), (".0083333", 120), ("0.0083", 120), ("0.00834", 120), ("0.0166667", 60), ("0.0167", 60)],
        *[("0.033333335", 30), ("0.0166666", 60), ("4.16667e-2", 24), ("0.0333667", 30000 / 1001), ("0.04", 25)],
        *[("0.01", 100), ("0.016", 62.5), ("1", 1), ("0.0334448160535117", 29.9), ("0.0410", 1 / 0.041), ("0.041", 24)],
    ],
)
def test_frame_time_means_the_common_rate_its_digits_allow(write, text, fps):
    assert read_bvh(write(SMALL.replace("0.0333333", text))).fps == pytest.approx(fps, rel=1e-12)


@pytest.mark.parametrize("unit", [1.0, 0.01, 0.001, 0.0254, 0.0254 / 0.45])
@pytest.mark.parametrize("size", [0.8, 1.0, 1.2])
def test_unit_is_guessed_from_the_size_of_the_body(tmp_path, walk, unit, size):
    body = walk.skeleton
    scale = 0.01 / unit * size
    scaled = Skeleton(body.names, body.parents, body.offsets * scale, body.tips * scale)
    write_bvh(walk.replace(skeleton=scaled, root_position=walk.root_position * scale), tmp_path / "x.bvh")
    motion = read_bvh(tmp_path / "x.bvh")
    assert (motion.metadata["unit"], motion.metadata["unit_from"]) == (unit, "guess")
    head = body.index("head")
    np.testing.assert_allclose(
        motion.joint_positions()[:, motion.skeleton.index("head")], walk.joint_positions()[:, head] * size, atol=1e-5
    )
    assert read_bvh(tmp_path / "x.bvh", unit=0.5).metadata["unit"] == 0.5
    with pytest.raises(ValueError, match="unit"):
        read_bvh(tmp_path / "x.bvh", unit=-1)


# --- habits of real files


def six_channel_file(frames: int = 12) -> tuple[list[tuple[str, int, list[float], str]], np.ndarray]:
    """Like Bandai's: a joint_Root above the hips, and position channels at every joint."""
    six = "XYZ zxy"
    joints = [
        ("joint_Root", -1, [0.0, 0.0, 0.0], six),
        ("Hips", 0, [0.0, 93.9, -3.0], six),
        ("Spine", 1, [15.0, 0.0, 0.0], six),
        ("Head", 2, [60.0, 0.0, 0.0], six),
        ("Leg", 1, [-90.0, 0.0, 0.0], six),
    ]
    rng = np.random.default_rng(1)
    rows = rng.uniform(-60, 60, (frames, 30)).reshape(frames, 5, 6)
    rows[:, :, :3] = [offset for _, _, offset, _ in joints]
    rows[:, 1, :3] += rng.uniform(-9, 9, (frames, 3))
    return joints, rows


@pytest.mark.parametrize("root_moves", [True, False])
@pytest.mark.parametrize("hips_move", [True, False])
def test_a_transform_node_is_folded_into_the_hips(write, root_moves, hips_move):
    joints, rows = six_channel_file()
    if not root_moves:
        rows[:, 0] = 0
    if not hips_move:
        rows[:, 1, :3] = joints[1][2]
    if root_moves:
        rows[:, 0, :3] = np.random.default_rng(2).uniform(-200, 200, (len(rows), 3))
    motion = read_bvh(write(bvh_text(joints, rows.reshape(len(rows), -1))), unit=0.01)
    assert motion.skeleton.names == ("Hips", "Spine", "Head", "Leg")
    assert "lost_translation" not in motion.metadata
    for frame, row in enumerate(rows.reshape(len(rows), -1)):
        expected = slow_positions(joints, row)
        np.testing.assert_allclose(
            motion.joint_positions()[frame] * 100, [expected[n] for n in motion.skeleton.names], atol=1e-5
        )


def test_an_ordinary_root_with_one_child_is_not_folded(write):
    joints = [("Hips", -1, [0.0, 90.0, 0.0], "XYZ zxy"), ("Spine", 0, [0.0, 60.0, 0.0], "XYZ zxy")]
    rows = np.tile([0, 90, 0, 10, 20, 30, 0, 60, 0, 5, 6, 7.0], (3, 1))
    assert read_bvh(write(bvh_text(joints, rows))).skeleton.names == ("Hips", "Spine")


def test_position_channels_of_other_joints(write):
    joints, rows = six_channel_file()
    joints, rows = [("Hips", -1, [0.0, 0.0, 0.0], "XYZ zxy"), *[(n, p - 1, o, c) for n, p, o, c in joints[2:]]], rows
    rows = rows[:, 1:]
    rows[:, 1, :3] = 0  # Spine: zeros beside an offset are no translation
    rows[:, 2, :3] = [55, 2, 1]  # Head: somewhere else, but always there
    rows[:, 3, :3] += np.random.default_rng(3).uniform(-5, 5, (len(rows), 3))  # Leg: really moves
    motion = read_bvh(write(bvh_text(joints, rows.reshape(len(rows), -1))), unit=1.0)
    np.testing.assert_allclose(motion.skeleton.offsets[1:3], [[15, 0, 0], [55, 2, 1]], atol=1e-6)
    np.testing.assert_allclose(motion.skeleton.offsets[3], rows[:, 3, :3].mean(0), atol=1e-6)
    assert motion.metadata["lost_translation"] == "Leg"


@pytest.mark.parametrize("blend", [0, 3])
def test_an_inserted_t_pose_is_dropped(tmp_path, walk, blend):
    rest = np.tile(rot.IDENTITY, (1, len(walk.skeleton), 1))
    start = rot.slerp(walk.rotations[20][None], walk.rotations[24][None], np.linspace(0, 1, 60)[:, None])
    mix = [rot.slerp(rest, start[:1], np.full(1, (k + 1) / (blend + 1))) for k in range(blend)]
    quats = np.concatenate([rest, *mix, start])
    root = np.concatenate([np.repeat(walk.root_position[:1], 1 + blend, 0), walk.root_position[:60]])
    write_bvh(walk.replace(rotations=quats, root_position=root), tmp_path / "x.bvh")
    motion = read_bvh(tmp_path / "x.bvh")
    assert motion.metadata["dropped_frames"] == 1 + blend
    np.testing.assert_allclose(motion.root_position, walk.root_position[:60], atol=1e-6)


def test_motion_that_starts_calmly_in_its_rest_pose_is_kept(tmp_path, walk):
    slow = np.arange(60) / 60
    rest = np.tile(rot.IDENTITY, (60, len(walk.skeleton), 1))
    quats = rot.slerp(rest, walk.rotations[20][None], slow[:, None])
    motion = walk.replace(rotations=quats, root_position=walk.root_position[:60])
    for name, clip in {"slow": motion, "walk": walk}.items():
        write_bvh(clip, tmp_path / f"{name}.bvh")
        assert len(read_bvh(tmp_path / f"{name}.bvh")) == len(clip)


# --- files as the tools of the field write them

# (joints, what the text goes through, metres per unit, names that come out); the rows are random
_STYLES = {
    "MotionBuilder": (
        [
            ("BVH:reference", -1, [0.0, 0.0, 0.0], "XYZ zxy"),
            ("BVH:Hips", 0, [0.0, 97.2, 0.0], "XYZ zxy"),
            ("BVH:Spine", 1, [0.0, 55.0, 0.0], "XYZ zxy"),
            ("BVH:Head", 2, [0.0, 20.0, 2.0], "XYZ zxy"),
            ("BVH:LeftUpLeg", 1, [9.0, -90.0, 0.0], "XYZ zxy"),
        ],
        lambda text: text.replace("\n", "\r\n").replace("OFFSET ", "\tOFFSET\t").replace(" zrot", "\tzrot"),
        0.01,
        ["BVH:Hips", "BVH:Spine", "BVH:Head", "BVH:LeftUpLeg"],
    ),
    "3ds Max": (
        [
            ("Hips", -1, [0.0, 0.0, 0.0], "XYZ yxz"),
            ("LHipJoint", 0, [0.0, 0.0, 0.0], "yxz"),
            ("LeftUpLeg", 1, [1.6, -1.5, 0.6], "yxz"),
            ("LeftFoot", 2, [2.7, -17.0, 0.0], "yxz"),
            ("Head", 0, [0.0, 11.0, 0.0], "yxz"),
        ],
        lambda text: text.replace(" \n", "\n"),
        0.0254 / 0.45,
        ["Hips", "LHipJoint", "LeftUpLeg", "LeftFoot", "Head"],
    ),
    "Daz": (
        [
            ("hip", -1, [0.0, 39.0, 0.6], "XYZ yzx"),
            ("abdomen", 0, [0.0, 1.2, -0.5], "xzy"),
            ("head", 1, [0.0, 22.0, 0.3], "zxy"),
            ("rThigh", 0, [-3.0, -38.0, 0.2], "yzx"),
        ],
        lambda text: text.replace("\n", " \n"),
        0.0254,
        ["hip", "abdomen", "head", "rThigh"],
    ),
    "Bandai-Namco": (
        [
            ("joint_Root", -1, [0.0, 0.0, 0.0], "XYZ xyz"),
            ("Hips", 0, [0.0, 93.9, -3.1], "XYZ xyz"),
            ("Spine", 1, [11.0, 0.0, 0.0], "XYZ xyz"),
            ("Head", 2, [60.0, 0.0, 0.0], "XYZ xyz"),
            ("LeftUpLeg", 1, [-88.0, 8.0, 0.0], "XYZ xyz"),
        ],
        lambda text: text.replace("\n}", "\n\n}"),
        0.01,
        ["Hips", "Spine", "Head", "LeftUpLeg"],
    ),
    "Mixamo": (
        [
            ("mixamorig:Hips", -1, [0.0, 1.02, 0.0], "XYZ zyx"),
            ("mixamorig:Spine", 0, [0.0, 0.5, 0.0], "zyx"),
            ("mixamorig:Head", 1, [0.0, 0.2, 0.0], "zyx"),
            ("mixamorig:LeftUpLeg", 0, [0.09, -0.95, 0.0], "zyx"),
        ],
        lambda text: text.replace("OFFSET 0 10 0", "OFFSET 0 .1 0").replace("\nROOT", "\n\nROOT").rstrip(),
        1.0,
        ["mixamorig:Hips", "mixamorig:Spine", "mixamorig:Head", "mixamorig:LeftUpLeg"],
    ),
    "Rokoko": (
        [
            ("Hips", -1, [0.0, 0.0, 0.0], "XYZ yxz"),
            ("Spine", 0, [0.0, 50.0, 0.0], "yxz"),
            ("Head", 1, [0.0, 30.0, 0.0], "yxz"),
            ("LeftThigh", 0, [8.7, -92.0, 0.0], "yxz"),
        ],
        lambda text: text.replace("End Site", "End Site\t"),
        0.01,
        ["Hips", "Spine", "Head", "LeftThigh"],
    ),
    "LAFAN1": (
        [
            ("Hips", -1, [198.9, 88.9, 435.6], "XYZ zyx"),
            ("LeftUpLeg", 0, [0.1, 1.4, 10.3], "zyx"),
            ("LeftLeg", 1, [43.5, 0.0, 0.0], "zyx"),
            ("LeftFoot", 2, [42.4, 0.0, 0.0], "zyx"),
            ("Head", 0, [60.0, -2.1, 0.0], "zyx"),
        ],
        lambda text: text.replace("OFFSET 0 10 0", "OFFSET 0.0 0.0 0.0").replace(" 0\n", " 0.000000 \n"),
        0.01,
        ["Hips", "LeftUpLeg", "LeftLeg", "LeftFoot", "Head"],
    ),
}


@pytest.mark.parametrize("style", _STYLES)
def test_files_as_the_tools_write_them(write, style):
    joints, layout, unit, names = _STYLES[style]
    rng = np.random.default_rng(4)
    parts = []
    for index, (_, _, offset, channels) in enumerate(joints):
        if "XYZ" in channels:  # only the root and what it carries move against their parents
            parts.append(np.array(offset) + rng.normal(0, 0.1 / unit if index < 2 else 0, (30, 3)))
        parts.append(rng.uniform(-170, 170, (30, 3)))
    rows = np.concatenate(parts, 1)
    motion = read_bvh(write(layout(bvh_text(joints, rows, "0.0333"))))
    assert (motion.fps, motion.metadata["unit"], list(motion.skeleton.names)) == (30, unit, names)
    assert not {"up", "lost_translation", "dropped_frames"} & set(motion.metadata)
    for frame, row in enumerate(rows):
        expected = slow_positions(joints, row)
        positions = motion.joint_positions()[frame] / unit
        np.testing.assert_allclose(positions, [expected[name] for name in names], atol=1e-5)


# --- the vertical axis


def in_z_up(motion: Motion) -> Motion:
    """The same motion in the coordinates of a world with Z up, facing -Y in its rest pose, as Blender's."""

    def turned(vectors: np.ndarray) -> np.ndarray:
        return np.stack([vectors[..., 0], -vectors[..., 2], vectors[..., 1]], -1)

    body, quats = motion.skeleton, np.array(motion.rotations)
    quats[..., 1:] = turned(quats[..., 1:])
    skeleton = Skeleton(body.names, body.parents, turned(body.offsets), turned(body.tips))
    return motion.replace(skeleton=skeleton, root_position=turned(motion.root_position), rotations=quats)


def lying(motion: Motion, axis: int) -> Motion:
    """The motion thrown onto its back (0) or its side (2), 15 cm above the ground, around the origin."""
    turn = rot.from_axis_angle(np.eye(3)[axis], np.array(-np.pi / 2))
    quats, root = np.array(motion.rotations), rot.rotate(turn, motion.root_position)
    quats[:, 0] = rot.multiply(turn, quats[:, 0])
    root += (0, 0.15, 0) - root.mean(0)
    return motion.replace(rotations=quats, root_position=root)


def same_place(motion: Motion, expected: Motion) -> None:
    order = [motion.skeleton.index(name) for name in expected.skeleton.names]
    np.testing.assert_allclose(motion.joint_positions()[:, order], expected.joint_positions(), atol=1e-5)
    np.testing.assert_allclose(motion.skeleton.rest_positions[order], expected.skeleton.rest_positions, atol=1e-6)


@pytest.mark.parametrize("change", ["walks", "on the back", "on the side", "elsewhere"])
def test_a_file_with_z_up_is_turned(tmp_path, walk, change):
    motion = {
        "walks": walk,
        "on the back": lying(walk, 0),
        "on the side": lying(walk, 2),
        "elsewhere": walk.replace(root_position=walk.root_position + (5, 0, -9)),
    }[change]
    write_bvh(in_z_up(motion), tmp_path / "x.bvh")
    back = read_bvh(tmp_path / "x.bvh")
    assert (back.metadata["up"], back.metadata["up_from"]) == ("z", "guess")
    same_place(back, motion)
    assert "up" not in read_bvh(tmp_path / "x.bvh", up="y").metadata
    same_place(read_bvh(tmp_path / "x.bvh", up="y"), in_z_up(motion))
    with pytest.raises(ValueError, match="up must be y or z"):
        read_bvh(tmp_path / "x.bvh", up="x")


@pytest.mark.parametrize("axis", [0, 2])
def test_a_lying_person_is_left_lying(tmp_path, walk, axis):
    write_bvh(lying(walk, axis), tmp_path / "x.bvh")
    back = read_bvh(tmp_path / "x.bvh")
    assert "up" not in back.metadata
    same_place(back, lying(walk, axis))


def test_a_rest_pose_along_z_that_the_root_puts_upright_has_y_up(tmp_path, walk):
    flat = in_z_up(walk)
    turn = rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(-np.pi / 2))
    quats = np.array(flat.rotations)
    quats[:, 0] = rot.multiply(turn, quats[:, 0])
    upright = flat.replace(rotations=quats, root_position=walk.root_position)
    write_bvh(upright, tmp_path / "x.bvh")
    back = read_bvh(tmp_path / "x.bvh")
    assert "up" not in back.metadata
    same_place(back, upright)


def test_z_up_with_a_rest_pose_that_has_y_up_is_an_option(tmp_path, walk):
    turn = rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(np.pi / 2))
    quats = np.array(walk.rotations)
    quats[:, 0] = rot.multiply(turn, quats[:, 0])
    tipped = walk.replace(rotations=quats, root_position=rot.rotate(turn, walk.root_position))
    write_bvh(tipped, tmp_path / "x.bvh")
    assert "up" not in read_bvh(tmp_path / "x.bvh").metadata
    back = read_bvh(tmp_path / "x.bvh", up="z")
    assert back.metadata["up"] == "z"
    same_place(back, walk)


# --- round trip


@st.composite
def motions(draw: st.DrawFn) -> Motion:
    joints = draw(st.integers(1, 12))
    parents = (-1, *(draw(st.integers(0, joint - 1)) for joint in range(1, joints)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offsets = rng.normal(0, 0.3, (joints, 3))
    offsets[0] = 0
    names = tuple(f"joint{index}" for index in range(joints))
    frames = draw(st.integers(1, 20))
    tips = rng.normal(0, 0.1, (joints, 3)) * [[joint not in parents] for joint in range(joints)]
    return Motion(
        Skeleton(names, parents, offsets, tips),
        draw(st.floats(0.5, 1000)),
        rng.normal(0, 3, (frames, 3)),
        rot.normalize(rng.normal(0, 1, (frames, joints, 4))),
    )


@given(motion=motions())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path, motion):
    write_bvh(motion, tmp_path / "x.bvh")
    back = read_bvh(tmp_path / "x.bvh", unit=0.01)
    order = [back.skeleton.index(name) for name in motion.skeleton.names]
    assert back.fps == pytest.approx(motion.fps, rel=1e-6)
    assert [back.skeleton.names[p] if p >= 0 else None for p in np.array(back.skeleton.parents)[order]] == [
        motion.skeleton.names[p] if p >= 0 else None for p in motion.skeleton.parents
    ]
    np.testing.assert_allclose(back.skeleton.offsets[order], motion.skeleton.offsets, atol=1e-7)
    np.testing.assert_allclose(back.skeleton.tips[order], motion.skeleton.tips, atol=1e-7)
    np.testing.assert_allclose(back.root_position, motion.root_position, atol=1e-7)
    assert np.degrees(rot.angle_between(back.rotations[:, order], motion.rotations)).max() < 1e-3
    assert np.abs(back.joint_positions()[:, order] - motion.joint_positions()).max() < 1e-5


def test_written_angles_do_not_jump(tmp_path, walk):
    turning = walk.rotations.copy()
    turning[:, 0] = rot.about_y(np.linspace(0, 4 * np.pi, len(walk)))
    write_bvh(walk.replace(rotations=turning), tmp_path / "x.bvh")
    rows = np.loadtxt((tmp_path / "x.bvh").read_text().split("Frame Time")[1].split("\n")[1:])
    assert np.abs(np.diff(rows[:, 3:], axis=0)).max() < 30
    assert rows[-1, 5] == pytest.approx(720)


def test_hostile_joint_names_are_written_readably(tmp_path):
    names = ("a b", "a_b", "{", "", "MOTION")
    skeleton = Skeleton(names, (-1, 0, 1, 2, 3), np.eye(5, 3, -1))
    motion = Motion(skeleton, 30, np.zeros((1, 3)), np.tile(rot.IDENTITY, (1, 5, 1)))
    write_bvh(motion, tmp_path / "x.bvh")
    assert read_bvh(tmp_path / "x.bvh").skeleton.names == ("a_b", "a_b_2", "_", "joint", "MOTION")


def test_failed_write_leaves_nothing(tmp_path, walk):
    (tmp_path / "folder.bvh").mkdir()
    with pytest.raises(OSError):
        write_bvh(walk, tmp_path / "folder.bvh")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.bvh"]


# --- damaged files


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("HIERARCHY", "HELLO", "not a BVH file"),
        (SMALL, "", "not a BVH file"),
        (SMALL[SMALL.index("MOTION") :], "", "no MOTION"),
        ("Frames: 2", "Frames: 3", "says 3 frames of 12 numbers.*holds 24"),
        ("Frames: 2", "Frames: 1", "says 1 frames of 12 numbers.*holds 24"),
        ("Frames: 2", "Frames: 0", "line 26: the number of frames"),
        ("Frames: 2", "Frames: 99999999999999999999999", "line 26"),
        ("Frames: 2", "Frames: 2.5", "the number of frames"),
        ("Frames: 2", "Frames: two", "line 26: expected a number"),
        ("Frames: 2\n", "", "must be followed by 'Frames"),
        ("0.0333333", "0", "line 27: Frame Time"),
        ("0.0333333", "-0.03", "Frame Time"),
        ("0.0333333", "0,0333", "line 27: .*points, not commas"),
        ("1 92 4", "1 92,5 4", "line 29: .*points, not commas"),
        ("1 92 4", "1 92.1.2 4", "line 29: expected a number"),
        ("1 92 4", "1 nan 4", "Hips Yp of frame 2 is nan"),
        ("1 92 4", "1 1e999 4", "frame 2 is inf"),
        ("1 92 4", "1 4", "holds 23 numbers"),
        (SMALL[SMALL.index("1 92 3") :], " \n \n", "holds 0 numbers"),
        ("OFFSET 0 60 0", "OFFSET 0 60", "line 9: expected a number"),
        ("OFFSET 0 60 0", "OFFSET 0 60,5 0", "line 8: .*commas"),
        ("OFFSET 0 60 0", "OFFSET 0 inf 0", "line 8: .*usable"),
        ("OFFSET 0 60 0", "", "Spine has no OFFSET"),
        ("CHANNELS 3 Z", "CHANNELS 3 W", "line 9: unknown channel 'Wrotation'"),
        ("CHANNELS 3 Zrotation", "CHANNELS 4 Zrotation", "line 9: unknown channel 'End'"),
        ("CHANNELS 3 Zrotation", "CHANNELS 3000000 Zrotation", "0 to 6 channels"),
        ("Xposition Yposition", "Xposition Xposition", "contradict"),
        ("JOINT Leg", "ROOT Leg", "second ROOT"),
        ("JOINT Spine\n  {", "JOINT Spine\n", "expected {"),
        ("End Site\n    {", "End Site\n", "expected {"),
        ("  }\n}\nMOTION", "  }\nMOTION", "ends inside a joint"),
        ("  }\n}\nMOTION", "  }\n}\n}\nMOTION", "one } too many"),
        ("HIERARCHY\nROOT Hips\n", "HIERARCHY\n", "{ without a joint"),
        ("    End Site", "    Xrotation", "expected JOINT"),
    ],
)
def test_damage_is_named_in_one_sentence(write, old, new, words):
    assert old in SMALL
    with pytest.raises(ValueError, match=words) as error:
        read_bvh(write(SMALL.replace(old, new, 1)))
    assert "clip.bvh" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_refused_in_one_sentence(write, encoding):
    with pytest.raises(ValueError, match=r"clip\.bvh: is not plain text, perhaps UTF-16; save it as UTF-8$"):
        read_bvh(write(SMALL.encode(encoding)))


def test_lengths_that_no_reader_takes_are_not_written(tmp_path, walk):
    far = walk.replace(root_position=walk.root_position + (1e8, 0, 0))
    with pytest.raises(ValueError, match=r"x\.bvh: lengths beyond"):
        write_bvh(far, tmp_path / "x.bvh")
    assert not list(tmp_path.iterdir())


def test_too_many_joints_or_too_deep(write):
    def chain(count: int) -> str:
        joints = [(f"j{index}", index - 1, [0.0, 1.0, 0.0], "zxy") for index in range(count)]
        return bvh_text(joints, np.zeros((1, 3 * count)))

    assert len(read_bvh(write(chain(1000))).skeleton) == 1000
    with pytest.raises(ValueError, match="more than 1000 joints"):
        read_bvh(write(chain(1001)))


@pytest.mark.parametrize("piece", [1, 7, 30])
def test_frames_parsed_in_pieces(write, monkeypatch, piece):
    whole = read_bvh(write(SMALL))
    monkeypatch.setattr("kinema.formats.bvh_file.PIECE_BYTES", piece)
    np.testing.assert_array_equal(read_bvh(write(SMALL)).rotations, whole.rotations)
    with pytest.raises(ValueError, match="line 29: expected a number, found '92,4'"):
        read_bvh(write(SMALL.replace("1 92 4", "1 92,4")))
    with pytest.raises(ValueError, match="holds 26 numbers"):
        read_bvh(write(SMALL + "5 6"))


def test_a_claim_of_too_many_numbers_is_refused(write):
    text = bvh_text([(f"j{index}", index - 1, [0.0, 1.0, 0.0], "zxy") for index in range(900)], np.zeros((1, 2700)))
    many = text.replace("Frames: 1", "Frames: 1999999")
    with pytest.raises(ValueError, match="1999999 frames of 900 joints and 2700 numbers are too many"):
        read_bvh(write(many))
    still = re.sub("CHANNELS 3 .*", "CHANNELS 0", many).replace("CHANNELS 0", "CHANNELS 1 Xrotation", 1)
    with pytest.raises(ValueError, match="1999999 frames of 900 joints and 1 numbers are too many"):
        read_bvh(write(still))


# --- real files


@pytest.fixture(scope="module")
def shards(data_dir):
    sys.path.insert(0, str(data_dir / "tools"))
    try:
        from load_motion import joint_positions, load_shard
    finally:
        sys.path.pop(0)
    return joint_positions, lambda name: load_shard(data_dir / name)


def test_bandai_originals_agree_with_the_shard(data_dir, shards):
    joint_positions, load = shards
    shard = load("bandai/bandai_motions.npz")
    files = sorted((data_dir / "bandai/original").glob("*.bvh"))
    assert files
    for path in files:
        motion, clip = read_bvh(path), shard[path.stem]
        assert list(motion.skeleton.names) == clip["joint_names"]
        assert "lost_translation" not in motion.metadata
        assert np.abs(motion.joint_positions() - joint_positions(clip)).max() < 2e-4, path.name


def test_cmu_originals_agree_with_the_shard(data_dir, shards):
    _, load = shards
    shard = load("cmu/cmu_motions.npz")
    files = sorted((data_dir / "cmu/original").glob("bvh_m*/*.bvh"))
    assert files
    for path in files:
        motion, clip = read_bvh(path), shard[path.stem]
        step = round(clip["source_fps"] / clip["fps"])
        frames = len(clip["root_pos"])
        assert motion.metadata.get("dropped_frames", 0) == (1 if "bvh_mb" in str(path) else 0)
        assert motion.metadata["unit"] == 0.0254 / 0.45
        assert np.abs(motion.root_position[::step][:frames] - clip["root_pos"]).max() < 1e-5
        turned = rot.angle_between(motion.rotations[::step][:frames], clip["quats"])
        assert np.degrees(turned).max() < 0.01, path.name


def test_daz_originals_agree_with_the_shard(data_dir, shards):
    _, load = shards
    shard = load("cmu/cmu_daz_motions.npz")
    files = sorted((data_dir / "cmu/original").glob("bvh_daz*/*.bvh"))
    assert files
    for path in files:
        motion, clip = read_bvh(path), shard[path.stem]
        step = round(clip["source_fps"] / clip["fps"])
        # the shard drops the T-pose and then three of the frames that it keeps
        start = 1 + 3 * step - motion.metadata["dropped_frames"]
        names = [motion.skeleton.index(name) for name in clip["joint_names"]]
        frames = len(clip["root_pos"])
        assert 3 <= motion.metadata["dropped_frames"] <= 6
        assert np.abs(motion.root_position[start::step][:frames] - clip["root_pos"]).max() < 1e-5, path.name
        turned = rot.angle_between(motion.rotations[start::step][:frames][:, names], clip["quats"])
        assert np.degrees(turned).max() < 0.01


def test_zeroeggs_sample(data_dir):
    (path,) = (data_dir / "cospeech/zeroeggs_sample").glob("*.bvh")
    motion = read_bvh(path)
    assert (len(motion), motion.fps, len(motion.skeleton)) == (2065, 30, 75)
    assert 1.5 < motion.joint_positions()[0, :, 1].max() < 1.9
