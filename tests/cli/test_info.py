"""What `kinema info` says of files of every kind."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from kinema.motion import BODY, Skeleton

ROBOT = """<mujoco model="stick"><worldbody><body name="pelvis" pos="0 0 0.9"><freejoint/><geom size="0.1"/>
<body name="leg"><joint name="swing" axis="0 1 0" range="-30 45"/><geom size="0.1"/>
<body name="foot"><joint name="roll" axis="1 0 0"/><geom size="0.1"/></body></body></body></worldbody></mujoco>"""


@pytest.fixture
def facts(kinema):
    """What is said of a file, by the name of the fact."""

    def ask(*arguments: object) -> dict[str, str]:
        outcome = kinema("info", *arguments)
        assert (outcome.status, outcome.err) == (0, "")
        rows = [line.split("  ", 1) for line in outcome.out.splitlines() if not line.startswith(" ")]
        return {name: value.strip() for name, value in rows}

    return ask


def chair(path: Path) -> None:
    """A .glb with a mesh and nothing that moves."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype="<f4").tobytes()
    document = {
        "asset": {"version": "2.0", "generator": "hand", "copyright": "CC0"},
        "nodes": [{"mesh": 0, "name": "chair"}],
        "scenes": [{"nodes": [0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "materials": [{"name": "wood"}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0] * 3, "max": [1] * 3}
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(corners)}],
        "buffers": [{"byteLength": len(corners)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(corners), b"BIN\0") + corners
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


@pytest.mark.parametrize(
    "name, kind, axes, length",
    [
        ("walk.bvh", "BVH", "Y up, 0.01 m (guessed)", "3.00 s, 90 frames at 30 fps"),
        ("x.glb", "glTF 2.0", "Y up, metres", "3.00 s, 90 frames at 30 fps"),
        ("x.npz", "Kinema", "Y up, metres", "3.00 s, 90 frames at 30 fps"),
        ("x.smplh.npz", "AMASS (SMPL-H or SMPL-X)", "Z up (guessed), metres", "3.00 s, 90 frames at 30 fps"),
        ("x.smplx.npz", "AMASS (SMPL-H or SMPL-X)", "Z up (guessed), metres", "3.00 s, 90 frames at 30 fps"),
        ("x.npy", "HumanML3D vectors", "Y up, metres", "2.95 s, 59 frames at 20 fps (assumed)"),
        ("x.joints.npy", "joint positions", "Y up, metres", "3.00 s, 60 frames at 20 fps (assumed)"),
    ],
)
def test_format_axes_and_rate_are_told(name, kind, axes, length, facts, kinema, place):
    if name != "walk.bvh":
        assert kinema("convert", "walk.bvh", name).status == 0
    told = facts(name)
    assert (told["format"], told["axes, unit"], told["length"]) == (kind, axes, length)
    assert told["body"] == "22 of 22 body joints, 0 of 30 finger joints, by name"
    assert told["travels"][:3] in ("3.4", "3.5", "3.6")


def test_options_replace_guesses(facts):
    assert facts("walk.bvh", "--unit", "in", "--up", "y")["axes, unit"] == "Y up, 0.0254 m"


def test_the_rate_of_amc_is_guessed(facts, place):
    (place / "02.asf").write_text(
        ":units\n length 0.45\n angle deg\n:root\n order TX TY TZ RX RY RZ\n axis XYZ\n position 0 0 0\n"
        " orientation 0 0 0\n:bonedata\n begin\n name spine\n direction 0 1 0\n length 5\n axis 0 0 0 XYZ\n"
        " dof rx\n end\n:hierarchy\n begin\n root spine\n end\n"
    )
    (place / "02_01.amc").write_text(":FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 17 0 0 0 0\nspine 3\n")
    told = facts("02_01.amc")
    assert told["length"] == "0.01 s, 1 frames at 120 fps (guessed)"
    assert facts("02_01.amc", "--input-fps", "60")["length"] == "0.02 s, 1 frames at 60 fps"
    assert told["body"].startswith("none that is known")


def test_what_is_no_body_is_told_all_the_same(facts, place, walk):
    snake = Skeleton(("a", "b", "c"), (-1, 0, 1), np.array([[0, 0, 0], [0, 0, 0.5], [0, 0, 0.5]]))
    walk.replace(skeleton=snake, rotations=walk.rotations[:, :3]).save(place / "snake.npz")
    told = facts("snake.npz")
    assert told["joints"] == "3: a, b, c"
    assert told["body"].startswith("none that is known: cannot tell")


def test_a_file_of_meshes_alone_is_told(facts, place):
    chair(place / "chair.glb")
    told = facts("chair.glb")
    assert (told["meshes"], told["materials"], told["generator"], told["copyright"]) == ("1", "wood", "hand", "CC0")
    assert "skeleton" in told["motion"]


def test_names_of_metadata_and_licence(facts, place, walk):
    walk.replace(metadata={"licence": "CC BY 4.0", "text": "a person walks"}).save(place / "x.glb")
    told = facts("x.glb")
    assert (told["licence"], told["text"]) == ("CC BY 4.0", "a person walks")
    assert told["animations"] == "a person walks, 2.97 s"


def test_joints_that_only_the_tree_tells_are_listed(facts, place, walk):
    names = tuple(f"Bone{number}" for number in range(22))
    walk.replace(skeleton=Skeleton(names, BODY.parents, BODY.offsets, BODY.tips)).save(place / "x.npz")
    assert "by the tree: " in facts("x.npz")["body"]
    assert "left_knee=Bone4" in facts("x.npz")["body"]


def test_a_robot_and_its_numbers(facts, kinema, place):
    pytest.importorskip("mujoco")
    (place / "stick.xml").write_text(ROBOT)
    out = kinema("info", "stick.xml").out
    for fact in ("stick", "0.90 m", "2 hinges", "swing: -30 to 45 degrees", "roll: free"):
        assert fact in out
    np.savetxt(place / "x.csv", [[0, 0, 0.9, 1, 0, 0, 0, 0.1, 0.2]] * 5, delimiter=",")
    told = facts("x.csv", "--robot", "stick.xml", "--input-fps", "50")
    assert (told["format"], told["axes, unit"]) == ("MuJoCo qpos", "Z up, forward X, metres")
    assert told["length"] == "0.10 s, 5 frames at 50 fps"
    for command, option in ((["x.csv"], "--robot"), (["x.csv", "--robot", "stick.xml"], "--input-fps")):
        outcome = kinema("info", *command)
        assert outcome.status == 2
        assert option in outcome.err


def test_numbers_of_a_list_stand_in_one_line(kinema, place, walk):
    walk.replace(metadata={"betas": [0.5, -1, 2.25]}).save(place / "shaped.npz")
    assert "betas       0.5 -1 2.25\n" in kinema("info", "shaped.npz").out
