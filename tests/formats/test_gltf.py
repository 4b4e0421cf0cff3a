from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kinema.formats.gltf import write_glb
from kinema.formats.mannequin import build_mannequin, pose_mannequin
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot

HERE = Path(__file__).parent


def read_glb(path: Path) -> tuple[dict, list[np.ndarray]]:
    """The document and every accessor's array, read strictly by the specification."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    document = json.loads(data[20 : 20 + size])
    binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0"
    binary = data[28 + size :]
    assert len(binary) == binary_size
    kinds = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        width, count = widths[accessor["type"]], accessor["count"]
        array = np.frombuffer(binary, kinds[accessor["componentType"]], width * count, view["byteOffset"])
        assert array.nbytes == view["byteLength"]
        arrays.append(array.reshape(count, width).astype(float))
    return document, arrays


def skinned(document: dict, arrays: list[np.ndarray], frame: int) -> np.ndarray:
    """Vertices at a key frame, as a viewer computes them: node matrices, joint matrices, blend."""
    nodes = document["nodes"]
    animation = document["animations"][0]
    locals_ = [np.eye(4) for _ in nodes]
    for index, node in enumerate(nodes):
        locals_[index][:3, 3] = node.get("translation", (0, 0, 0))
    for channel in animation["channels"]:
        value = arrays[animation["samplers"][channel["sampler"]]["output"]][frame]
        matrix = locals_[channel["target"]["node"]]
        if channel["target"]["path"] == "rotation":
            matrix[:3, :3] = rot.to_matrix(value[[3, 0, 1, 2]])
        else:
            matrix[:3, 3] = value
    world: dict[int, np.ndarray] = {}
    open_nodes = [(node, np.eye(4)) for node in document["scenes"][0]["nodes"]]
    while open_nodes:
        node, above = open_nodes.pop()
        world[node] = above @ locals_[node]
        open_nodes += [(child, world[node]) for child in nodes[node].get("children", ())]
    skin = document["skins"][0]
    bind = arrays[skin["inverseBindMatrices"]].reshape(-1, 4, 4).transpose(0, 2, 1)
    joints = np.stack([world[node] for node in skin["joints"]]) @ bind
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    points = np.pad(arrays[attributes["POSITION"]], ((0, 0), (0, 1)), constant_values=1)
    which, weights = arrays[attributes["JOINTS_0"]].astype(int), arrays[attributes["WEIGHTS_0"]]
    return np.einsum("vk,vkij,vj->vi", weights, joints[which], points)[:, :3]


def test_figure_in_the_file_moves_like_the_motion(walk, tmp_path):
    write_glb(walk, tmp_path / "walk.glb")
    document, arrays = read_glb(tmp_path / "walk.glb")
    mesh = build_mannequin(walk.skeleton)
    for frame in (0, 31, len(walk) - 1):
        expected, _ = pose_mannequin(mesh, walk.skeleton, walk.root_position[frame], walk.rotations[frame])
        np.testing.assert_allclose(skinned(document, arrays, frame), expected, atol=1e-5)
    primitives = document["meshes"][0]["primitives"]
    assert sum(len(arrays[primitive["indices"]]) for primitive in primitives) == mesh.triangles.size


def test_keys_lie_on_the_frames_and_turn_the_short_way(walk, tmp_path):
    flipped = np.array(walk.rotations)
    flipped[1::2] *= -1
    write_glb(walk.replace(rotations=flipped), tmp_path / "walk.glb")
    document, arrays = read_glb(tmp_path / "walk.glb")
    animation = document["animations"][0]
    assert {sampler.get("interpolation", "LINEAR") for sampler in animation["samplers"]} == {"LINEAR"}
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        np.testing.assert_allclose(arrays[sampler["input"]][:, 0], np.arange(len(walk)) / walk.fps, atol=1e-6)
        if channel["target"]["path"] == "rotation":
            keys = arrays[sampler["output"]]
            assert (np.sum(keys[1:] * keys[:-1], -1) > 0).all()


def test_names_and_metadata_travel(walk, tmp_path):
    text = 'she said </script> "hi" – 走る'
    facts = {"text": text, "licence": "CC0-1.0", "source": "made here", "score": float("nan"), "n": np.int64(3)}
    write_glb(walk.replace(metadata=facts), tmp_path / "walk.glb")
    document, _ = read_glb(tmp_path / "walk.glb")
    asset = document["asset"]
    assert asset["copyright"] == "CC0-1.0"
    assert asset["extras"] | {"fps": 30.0, "text": text, "source": "made here", "n": 3} == asset["extras"]
    assert [document["nodes"][node]["name"] for node in document["skins"][0]["joints"]] == list(walk.skeleton.names)


def test_a_failed_write_leaves_nothing(walk, tmp_path):
    (tmp_path / "walk.glb").mkdir()
    with pytest.raises(OSError):
        write_glb(walk, tmp_path / "walk.glb")
    assert [entry.name for entry in tmp_path.iterdir()] == ["walk.glb"]


def chain(count: int) -> Motion:
    """A chain of many joints with names that mean nothing, one frame long."""
    offsets = np.zeros((count, 3))
    offsets[1:, 0] = 0.01
    skeleton = Skeleton(tuple(f"joint {i}" for i in range(count)), tuple(range(-1, count - 1)), offsets)
    return Motion(skeleton, 24.0, np.zeros((1, 3)), np.tile(rot.IDENTITY, (1, count, 1)))


@pytest.mark.parametrize("kind", ["walk", "one frame, 300 joints", "one joint", "many frames"])
def test_khronos_validator_finds_nothing(kind, walk, tmp_path):
    folder = Path(os.environ.get("KINEMA_GLTF_VALIDATOR", HERE.parents[1] / ".venv" / "gltf-validator"))
    if not shutil.which("node") or not (folder / "node_modules" / "gltf-validator").exists():
        pytest.skip(f"needs node, and gltf-validator from npm in {folder}; set KINEMA_GLTF_VALIDATOR")
    motion = {
        "walk": lambda: walk.replace(metadata={"text": "a person walks", "licence": "CC0-1.0"}),
        "one frame, 300 joints": lambda: chain(300),
        "one joint": lambda: chain(1),
        # late keys must still differ as 32-bit floats
        "many frames": lambda: Motion(
            chain(1).skeleton, 120.0, np.zeros((100_000, 3)), np.tile(rot.IDENTITY, (100_000, 1, 1))
        ),
    }[kind]()
    write_glb(motion, tmp_path / "x.glb")
    command = ["node", str(HERE / "gltf_validate.mjs"), str(folder), str(tmp_path / "x.glb")]
    report = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    issues = report["issues"]
    assert (issues["numErrors"], issues["numWarnings"], issues["messages"]) == (0, 0, [])
    assert report["info"]["hasSkins"]
    assert report["info"]["animationCount"] == 1


def blender(source: Path, target: Path) -> list[str]:
    """The command that runs the import script, in a Python with bpy or in Blender."""
    script, arguments = str(HERE / "blender_import.py"), [str(source), str(target)]
    python = os.environ.get("KINEMA_BLENDER_PYTHON")
    if python:
        return [python, script, *arguments]
    if shutil.which("blender"):
        return ["blender", "-b", "--factory-startup", "-P", script, "--", *arguments]
    pytest.skip("needs Blender on PATH, or KINEMA_BLENDER_PYTHON, a Python that has bpy")


def test_options_for_a_character_need_one(walk, tmp_path):
    with pytest.raises(ValueError, match="keep_contacts: only for motion on a character"):
        walk.save(tmp_path / "walk.glb", keep_contacts=False)


def test_blender_sees_the_same_figure(walk, tmp_path):
    source, target = tmp_path / "walk.glb", tmp_path / "seen.json"
    write_glb(walk, source)
    subprocess.run(blender(source, target), check=True, capture_output=True, timeout=120)
    seen = json.loads(target.read_text())
    assert set(seen["bones"]) == set(walk.skeleton.names)
    assert seen["frames"] == pytest.approx([0, len(walk) - 1], abs=0.01)
    assert seen["materials"] == ["body", "joint", "left", "right"]
    positions, mesh = walk.joint_positions(), build_mannequin(walk.skeleton)
    to_z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    for key, heads in seen["heads"].items():
        frame = int(key)
        expected = positions[frame] @ to_z_up.T
        np.testing.assert_allclose([heads[name] for name in walk.skeleton.names], expected, atol=1e-3)
        vertices, _ = pose_mannequin(mesh, walk.skeleton, walk.root_position[frame], walk.rotations[frame])
        there = np.array(seen["vertices"][key])
        sample = (vertices @ to_z_up.T)[::50]
        # Blender splits vertices between materials, so the nearest one is compared
        assert np.linalg.norm(there[None] - sample[:, None], axis=-1).min(1).max() < 1e-3
