from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import characters
import numpy as np
import pytest
import three_import as three

from kinema.formats import save
from kinema.formats.character import describe_character, write_character
from kinema.formats.gltf import write_glb
from kinema.formats.gltf_reader import read_glb
from kinema.motion import rotations as rot
from kinema.motion.retarget import retarget

HERE = Path(__file__).parent


def make(kind: str, path: Path, *, dancing: bool = False) -> Path:
    glb, at, _ = characters.make_character(kind)
    if dancing:
        characters.dance(glb, at, name="motion", count=5)
    return glb.save(path)


def nodes_of(path: Path, names: tuple[str, ...]) -> list[int]:
    """Nodes by the names of a motion's joints, which in these VRMs are those of the standard."""
    document, _ = characters.unpack(path)
    found = {node.get("name"): number for number, node in enumerate(document["nodes"])}
    extensions = document.get("extensions", {})
    if "VRM" in extensions:
        found |= {bone["bone"]: bone["node"] for bone in extensions["VRM"]["humanoid"]["humanBones"]}
    if "VRMC_vrm" in extensions:
        bones = extensions["VRMC_vrm"]["humanoid"]["humanBones"]
        found |= {name: bone["node"] for name, bone in bones.items()}
    return [found[name] for name in names]


@pytest.mark.parametrize("kind", characters.KINDS)
def test_character_stays_as_it_was(kind, walk, tmp_path):
    source = make(kind, tmp_path / "hero.glb", dancing=True)
    write_character(walk.replace(metadata={"text": "she walks", "licence": "CC0"}), tmp_path / "out.glb", source)
    before, data = characters.unpack(source)
    after, more = characters.unpack(tmp_path / "out.glb")
    new, old = after.pop("animations")
    assert [old] == before.pop("animations")
    assert (new["name"], old["name"]) == ("she walks", "motion")
    assert new["extras"] == {
        "text": "she walks", "licence": "CC0", "fps": 30.0, "frames": 90, "units": "metres, seconds"
    }  # fmt: skip
    assert more[: before["buffers"][0]["byteLength"]] == data[: before["buffers"][0]["byteLength"]]
    for key, added in (("bufferViews", True), ("accessors", True), ("buffers", False)):
        kept, there = before.pop(key), after.pop(key)
        assert kept == there[: len(kept)] if added else len(there) == 1
    assert after == before
    # hair, twist bones and ends are left to the engine
    names = {before["nodes"][channel["target"]["node"]]["name"] for channel in new["channels"]}
    assert not names & {"hair", "upperarm_twist_01_l", "ik_foot_root", "mixamorig:HeadTop_End", "Armature", "root"}


@pytest.mark.parametrize("kind", characters.KINDS)
def test_motion_on_the_characters_own_skeleton_is_not_changed(kind, tmp_path):
    source = make(kind, tmp_path / "hero.glb", dancing=True)
    motion = read_glb(source)
    write_glb(motion, tmp_path / "out.glb", character=source)
    back = read_glb(tmp_path / "out.glb")
    np.testing.assert_allclose(back.joint_positions(), motion.joint_positions(), atol=1e-5)
    assert rot.angle_between(back.rotations, motion.rotations).max() < 1e-5
    assert back.metadata["animations"] == "hero, motion"
    # onto the file itself, too
    write_glb(motion, source, character=source)
    np.testing.assert_allclose(read_glb(source).joint_positions(), motion.joint_positions(), atol=1e-5)


@pytest.mark.parametrize("heels", [0.0, 0.06])
def test_soles_stand_on_the_ground(heels, walk, tmp_path):
    """Also those of a character whose feet stand higher over its soles than BODY's."""
    glb, _, into_world = characters.make_character("mixamo")
    position = glb.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    points = characters.read_array(glb.json, glb.binary, position)
    points = points @ into_world[:3, :3].T + into_world[:3, 3]
    points[points[:, 1] < 0.001, 1] = -heels
    inverse = np.linalg.inv(into_world)
    moved = glb.put(points @ inverse[:3, :3].T + inverse[:3, 3], bounds=True, target=34962)
    glb.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = moved
    write_glb(walk, tmp_path / "out.glb", character=glb.save(tmp_path / "hero.glb"))
    document, binary = characters.unpack(tmp_path / "out.glb")
    lowest = []
    for frame in range(0, 90, 15):
        there = characters.node_worlds(document, binary, 0, frame / 30)
        lowest.append(min(point[1] for point in skinned(document, binary, there)))
    assert abs(np.median(lowest)) < 0.015
    assert min(lowest) > -0.02


def skinned(document: dict, binary: bytes, worlds: list[np.ndarray]) -> np.ndarray:
    """Vertices (N, 3), each of which hangs on one joint."""
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    points = np.pad(
        characters.read_array(document, binary, attributes["POSITION"]), ((0, 0), (0, 1)), constant_values=1
    )
    which = characters.read_array(document, binary, attributes["JOINTS_0"])[:, 0].astype(int)
    inverse = characters.read_array(document, binary, document["skins"][0]["inverseBindMatrices"])
    inverse = inverse.reshape(-1, 4, 4).transpose(0, 2, 1)
    joints = document["skins"][0]["joints"]
    return np.stack([worlds[joints[j]] @ inverse[j] @ point for j, point in zip(which, points, strict=True)])[:, :3]


def test_characters_of_other_forms(walk, tmp_path):
    """A .gltf with its data inside, a .vrm, nodes given as matrices, and the mannequin itself."""
    expected = tmp_path / "expected.glb"
    write_glb(walk, expected, character=make("vrm0", tmp_path / "hero.vrm"))
    positions = read_glb(expected).joint_positions()
    write_glb(walk, tmp_path / "a.glb", character=make("vrm0", tmp_path / "hero.gltf"))
    np.testing.assert_array_equal(read_glb(tmp_path / "a.glb").joint_positions(), positions)
    glb, _, _ = characters.make_character("vrm0")
    for node in glb.json["nodes"]:
        if "rotation" in node:
            matrix = np.eye(4)
            matrix[:3, 3] = node.pop("translation")
            matrix[:3, :3] = rot.to_matrix(np.array(node.pop("rotation"))[[3, 0, 1, 2]])
            node["matrix"] = matrix.T.ravel().tolist()
    write_glb(walk, tmp_path / "b.glb", character=glb.save(tmp_path / "matrices.glb"))
    np.testing.assert_allclose(read_glb(tmp_path / "b.glb").joint_positions(), positions, atol=1e-5)
    write_glb(walk, tmp_path / "own.glb")
    save(walk, tmp_path / "c.glb", character=tmp_path / "own.glb")
    np.testing.assert_allclose(read_glb(tmp_path / "c.glb").joint_positions(), walk.joint_positions(), atol=1e-5)


def test_what_cannot_be_put_onto_a_character(walk, tmp_path):
    glb, _, _ = characters.make_character("unreal")
    glb.json["images"] = [{"uri": "skin.png"}]
    with pytest.raises(ValueError, match="keeps its images in other files"):
        write_glb(walk, tmp_path / "out.glb", character=glb.save(tmp_path / "hero.glb"))
    glb, at, _ = characters.make_character("unreal")
    matrix = np.eye(4)
    matrix[:3, :3] = [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    knee = glb.json["nodes"][at["left_knee"]]
    matrix[:3, 3] = knee.pop("translation")
    del knee["rotation"]
    knee["matrix"] = matrix.T.ravel().tolist()
    with pytest.raises(ValueError, match="calf_l is sheared"):
        write_glb(walk, tmp_path / "out.glb", character=glb.save(tmp_path / "hero.glb"))
    glb = characters.Glb("x")
    glb.json["nodes"] = [{"name": "box"}]
    with pytest.raises(ValueError, match="no skeleton"):
        write_glb(walk, tmp_path / "out.glb", character=glb.save(tmp_path / "hero.glb"))
    with pytest.raises(OSError):
        write_glb(walk, tmp_path / "out.glb", character=tmp_path / "nobody.glb")
    assert not (tmp_path / "out.glb").exists()


def test_description(walk, tmp_path):
    write_glb(walk, tmp_path / "x.glb", character=make("vrm1", tmp_path / "hero.vrm", dancing=True))
    assert describe_character(tmp_path / "x.glb") == {
        "generator": "UniGLTF",
        "meshes": 1,
        "materials": "cloth",
        "skins": 1,
        "animations": ["constructed, 2.97 s", "motion, 0.13 s"],
        "VRM": "1.0",
        "licence": "https://vrm.dev/licenses/1.0/",
        "source": "x.glb",
    }
    write_glb(walk.replace(metadata={"licence": "CC0"}), tmp_path / "own.glb")
    assert {"generator": "Kinema", "copyright": "CC0", "VRM": "no"}.items() <= describe_character(
        tmp_path / "own.glb"
    ).items()


# --- programs that others wrote


@pytest.mark.parametrize("kind", characters.KINDS)
def test_khronos_validator_finds_nothing(kind, walk, tmp_path):
    folder = Path(os.environ.get("KINEMA_GLTF_VALIDATOR", HERE.parents[1] / ".venv" / "gltf-validator"))
    if not shutil.which("node") or not (folder / "node_modules" / "gltf-validator").exists():
        pytest.skip(f"needs node, and gltf-validator from npm in {folder}; set KINEMA_GLTF_VALIDATOR")
    source = make(kind, tmp_path / "hero.glb", dancing=True)
    write_glb(walk, tmp_path / "out.glb", character=source)
    found = []
    for path in (source, tmp_path / "out.glb"):
        command = ["node", str(HERE / "gltf_validate.mjs"), str(folder), str(path)]
        issues = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)["issues"]
        # VRM 0 is called VRM, which no extension should be called
        named = [issue for issue in issues["messages"] if issue["code"] == "INVALID_EXTENSION_NAME_FORMAT"]
        assert (issues["numErrors"], issues["numWarnings"]) == (0, len(named))
        found.append([(issue["code"], issue.get("pointer")) for issue in issues["messages"]])
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def page():
    if reason := three.missing():
        pytest.skip(reason)
    with three.three_page() as page:
        yield page


FRAMES = [0, 31, 89]


def test_three_sees_the_mannequin_where_the_motion_is(page, walk, tmp_path):
    write_glb(walk, tmp_path / "walk.glb")
    seen = three.positions_in_three(page, tmp_path / "walk.glb", FRAMES)
    np.testing.assert_allclose(seen, walk.joint_positions()[FRAMES], atol=1e-4)


@pytest.mark.parametrize("kind", characters.KINDS)
def test_three_sees_the_character_where_the_motion_is(kind, page, walk, tmp_path):
    source = make(kind, tmp_path / "hero.glb")
    write_glb(walk, tmp_path / "out.glb", character=source)
    motion = read_glb(tmp_path / "out.glb")
    nodes = nodes_of(tmp_path / "out.glb", motion.skeleton.names)
    joints, vertices = three.measure_in_three(page, tmp_path / "out.glb", FRAMES, nodes, step=7)
    np.testing.assert_allclose(joints, motion.joint_positions()[FRAMES], atol=1e-4)
    # the same as on the skeleton alone, but for the height of the soles
    expected = retarget(walk, read_glb(source).skeleton).joint_positions()[FRAMES]
    np.testing.assert_allclose(joints[..., ::2], expected[..., ::2], atol=1e-4)
    np.testing.assert_allclose(joints[..., 1] - expected[..., 1], (joints - expected)[0, 0, 1], atol=1e-4)
    document, binary = characters.unpack(tmp_path / "out.glb")
    for frame, seen in zip(FRAMES, vertices, strict=True):
        there = characters.node_worlds(document, binary, 0, frame / 30)
        np.testing.assert_allclose(seen, skinned(document, binary, there)[::7], atol=1e-4)


def test_blender_sees_the_character_where_the_motion_is(walk, tmp_path):
    python = os.environ.get("KINEMA_BLENDER_PYTHON")
    if python is None:
        pytest.skip("needs KINEMA_BLENDER_PYTHON, a Python that has bpy")
    jobs, motions = [], []
    for kind in ("mixamo", "unreal", "vrm1"):
        out = tmp_path / f"{kind}.glb"
        write_glb(walk, out, character=make(kind, tmp_path / "hero.glb"))
        motions.append((read_glb(out), nodes_of(out, read_glb(out).skeleton.names), characters.unpack(out)[0]["nodes"]))
        jobs.append({"source": str(out), "positions": str(out.with_suffix(".npz")), "frames": FRAMES, "fps": 30})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    command = [python, str(HERE / "blender_import.py"), str(tmp_path / "jobs.json"), str(tmp_path / "found.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    found = json.loads((tmp_path / "found.json").read_text())
    for job, seen, (motion, nodes, items) in zip(jobs, found, motions, strict=True):
        bones = [seen["bones"].index(items[node]["name"]) for node in nodes]
        heads = np.load(job["positions"])["heads"][:, bones]
        np.testing.assert_allclose(heads, motion.joint_positions()[FRAMES], atol=1e-4)


def test_damaged_characters_are_refused_by_name(walk, tmp_path):
    """Every number of a small character, one after the other, made one that no file should have."""
    short = walk.replace(root_position=walk.root_position[:2], rotations=walk.rotations[:2])
    rng = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for seed in characters.seeds(tmp_path):
        if seed.suffix == ".gltf":
            continue
        document, binary = characters.unpack(seed)
        places = [place for place in walk_json(document) if place]
        for number in rng.choice(len(places), 40, replace=False):
            broken = json.loads(json.dumps(document))
            holder = broken
            for key in places[number][:-1]:
                holder = holder[key]
            holder[places[number][-1]] = [-1, 10**12, "x", None, [], {}, True, 0.5][rng.integers(8)]
            path = tmp_path / "damaged.glb"
            path.write_bytes(characters.pack(json.dumps(broken).encode(), binary))
            sentence = None
            try:
                write_glb(short, tmp_path / "out.glb", character=path)
                describe_character(path)
            except ValueError as error:
                sentence = str(error)
            assert sentence is None or str(path) in sentence
            outcomes[sentence is None] += 1
    assert min(outcomes.values()) > 20


def walk_json(value: Any, place: tuple = ()) -> list[tuple]:
    """The places of all values in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(inner for key, item in items for inner in walk_json(item, (*place, key)))]


@pytest.mark.parametrize("beside", [True, False])
def test_bones_that_deform_must_move_with_the_body(beside, walk, tmp_path):
    glb, at, _ = characters.make_character("vrm1")
    nodes, skin = glb.json["nodes"], glb.json["skins"][0]
    head = at["head"]
    place, node = np.zeros(3), head
    while node:
        place += nodes[node]["translation"]
        node = next(number for number, above in enumerate(nodes) if node in above.get("children", ()))
    nodes.append({"name": "DEF-head", "translation": place.tolist() if beside else [0, 0, 0]})
    nodes[0 if beside else head].setdefault("children", []).append(len(nodes) - 1)
    skin["joints"][skin["joints"].index(head)] = len(nodes) - 1
    source = glb.save(tmp_path / "hero.vrm")
    if beside:
        with pytest.raises(
            ValueError, match=r"hero\.vrm: its mesh hangs on 'DEF-head', which does not move with .*head"
        ):
            write_character(walk, tmp_path / "out.glb", source)
        assert not (tmp_path / "out.glb").exists()
    else:
        write_character(walk, tmp_path / "out.glb", source)
