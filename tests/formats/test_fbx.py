from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import characters
import numpy as np
import pytest

from kinema.formats import blender, load
from kinema.formats.fbx import read_fbx, write_fbx
from kinema.formats.gltf import write_glb
from kinema.formats.mannequin import build_mannequin, pose_mannequin
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.retarget import retarget
from kinema.motion.skeleton import BODY_WITH_HANDS

HERE = Path(__file__).parent


HEAD = b"Kaydara FBX Binary  \x00\x1a\x00" + (7400).to_bytes(4, "little")


@pytest.fixture
def with_blender() -> None:
    try:
        blender.find()
    except ValueError:
        pytest.skip("needs Blender on PATH, or KINEMA_BLENDER_PYTHON, a Python that has bpy")


@pytest.fixture
def fake_blender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program in the place of Blender: a script of Python that gets the job's path as its last argument."""

    def install(code: str) -> Path:
        program = tmp_path / "fake blender"
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys, time\njob = json.load(open(sys.argv[-1]))\n{code}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("KINEMA_BLENDER_PYTHON", str(program))
        monkeypatch.setattr(blender.tempfile, "tempdir", str(tmp_path / "temporary"))
        (tmp_path / "temporary").mkdir(exist_ok=True)
        return tmp_path / "temporary"

    return install


def look(jobs: list[dict], folder: Path) -> list[dict]:
    """What Blender's own importers find in files; see blender_import.py."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [*blender.find()[:-1], str(HERE / "blender_import.py")]
    if "--" in command:  # an installed Blender
        command = [*blender.find()[:-2], str(HERE / "blender_import.py"), "--"]
    arguments = [str(folder / "jobs.json"), str(folder / "found.json")]
    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=120)
    return json.loads((folder / "found.json").read_text())


def in_order_of(names: tuple[str, ...], positions: np.ndarray, found: list[str]) -> np.ndarray:
    return positions[:, [found.index(name) for name in names]]


def tumbling_hands() -> Motion:
    """All joints of a body with fingers turn at random, at a rate that is no whole number; their names are no words."""
    random, joints = np.random.default_rng(3), len(BODY_WITH_HANDS)
    names = tuple(f'rig:{name} "[é' for name in BODY_WITH_HANDS.names)
    skeleton = Skeleton(names, BODY_WITH_HANDS.parents, BODY_WITH_HANDS.offsets)
    quats = rot.normalize(random.normal(size=(12, joints, 4)))
    return Motion(skeleton, 30000 / 1001, random.normal(size=(12, 3)), quats)


@pytest.mark.usefixtures("with_blender")
def test_blender_and_kinema_see_the_same_motion(walk, tmp_path):
    """Written by Kinema, read by Blender's importer and by Kinema: every frame, rate, names, the skinned figure."""
    motions = {
        "walk": walk,
        "hands": tumbling_hands(),
        "one": walk.replace(fps=7.5, root_position=walk.root_position[:1], rotations=walk.rotations[:1]),
    }
    jobs = []
    for name, motion in motions.items():
        write_fbx(motion, tmp_path / f"{name}.fbx")
        jobs.append({"source": f"{tmp_path}/{name}.fbx", "positions": f"{tmp_path}/{name}.npz", "vertices": True})
    for (name, motion), found in zip(motions.items(), look(jobs, tmp_path), strict=True):
        assert found["frames"] == len(motion)
        assert found["fps"] == pytest.approx(motion.fps, rel=1e-5)
        assert set(found["bones"]) == set(motion.skeleton.names)
        assert found["seconds"] == pytest.approx([0, (len(motion) - 1) / motion.fps], abs=1e-5)
        assert [mesh["skinned"] for mesh in found["meshes"]] == [True]
        assert set(found["materials"]) <= {"body", "joint", "left", "right"}
        seen = np.load(tmp_path / f"{name}.npz")
        heads = in_order_of(motion.skeleton.names, seen["heads"], found["bones"])
        np.testing.assert_allclose(heads, motion.joint_positions(), atol=2e-5)
        vertices, _ = pose_mannequin(
            build_mannequin(motion.skeleton), motion.skeleton, motion.root_position, motion.rotations
        )
        for frame in (0, len(motion) - 1):
            # Blender splits vertices between materials, so the nearest one is compared
            apart = np.linalg.norm(seen["vertices"][frame][None] - vertices[frame][::50, None], axis=-1)
            assert apart.min(1).max() < 1e-4

        back = read_fbx(tmp_path / f"{name}.fbx")
        assert len(back) == len(motion)
        assert back.fps == pytest.approx(motion.fps, rel=1e-5)
        positions = in_order_of(motion.skeleton.names, back.joint_positions(), list(back.skeleton.names))
        np.testing.assert_allclose(positions, motion.joint_positions(), atol=2e-5)
        assert back.metadata["source"] == f"{name}.fbx"


@pytest.mark.usefixtures("with_blender")
def test_three_js_sees_the_same_motion(walk, tmp_path):
    """A reader that shares nothing with Blender: one take, centimetres, Y up."""
    folder = Path(os.environ.get("KINEMA_THREE", HERE.parents[1] / ".venv" / "three"))
    if not shutil.which("node") or not (folder / "node_modules" / "three").exists():
        pytest.skip(f"needs node, and three from npm in {folder}; set KINEMA_THREE")
    motion = walk.replace(fps=24)
    write_fbx(motion, tmp_path / "walk.fbx")
    command = ["node", HERE / "fbx_in_three.mjs", folder, tmp_path / "walk.fbx", "0,1,31,89", "24"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    (take,) = found["takes"]
    assert take == ["motion", pytest.approx(89 / 24, abs=1e-6)]
    assert found["skinned"] == 1
    for frame, joints in found["frames"].items():
        seen = np.array([joints[name] for name in motion.skeleton.names]) / 100
        np.testing.assert_allclose(seen, motion.joint_positions()[int(frame)], atol=2e-5)


@pytest.mark.usefixtures("with_blender")
def test_blender_sees_the_same_bvh(walk, tmp_path):
    walk.save(tmp_path / "walk.bvh")
    job = {"source": str(tmp_path / "walk.bvh"), "positions": str(tmp_path / "walk.npz")}
    (found,) = look([job], tmp_path)
    assert (found["frames"], found["fps"]) == (len(walk), 30)
    heads = in_order_of(walk.skeleton.names, np.load(tmp_path / "walk.npz")["heads"], found["bones"])
    np.testing.assert_allclose(heads, walk.joint_positions(), atol=1e-5)


@pytest.mark.usefixtures("with_blender")
def test_character_of_one_s_own(walk, tmp_path):
    """As .glb and as .fbx: its mesh and materials, and the motion; the animation that it had is gone."""
    still = walk.replace(rotations=np.repeat(walk.rotations[:1], len(walk), 0))
    write_glb(still, tmp_path / "a b.glb")
    write_fbx(still, tmp_path / "-c.fbx")
    motion = walk.replace(root_position=walk.root_position[:20], rotations=walk.rotations[:20], fps=25)
    jobs = []
    for number, character in enumerate(("a b.glb", "-c.fbx")):
        write_fbx(motion, tmp_path / f"{number}.fbx", character=tmp_path / character)
        jobs.append({"source": f"{tmp_path}/{number}.fbx", "positions": f"{tmp_path}/{number}.npz"})
    for number, found in enumerate(look(jobs, tmp_path)):
        assert (found["frames"], found["fps"]) == (20, 25)
        assert [(mesh["name"], mesh["skinned"]) for mesh in found["meshes"]] == [("mannequin", True)]
        assert found["materials"] == ["body", "joint", "left", "right"]
        heads = in_order_of(motion.skeleton.names, np.load(tmp_path / f"{number}.npz")["heads"], found["bones"])
        # a character is put onto the floor by its own sole, which may be a little higher or lower
        expected = motion.joint_positions()
        np.testing.assert_allclose(heads - heads[:, :1], expected - expected[:, :1], atol=1e-3)
        np.testing.assert_allclose(heads[:, 0, ::2], expected[:, 0, ::2], atol=1e-3)


@pytest.mark.usefixtures("with_blender")
def test_an_fbx_character_is_worn_in_a_glb(walk, tmp_path):
    write_fbx(walk, tmp_path / "hero.fbx")
    write_glb(walk, tmp_path / "out.glb", character=tmp_path / "hero.fbx")
    content, _ = characters.unpack(tmp_path / "out.glb")
    assert {material["name"] for material in content["materials"]} == {"body", "joint", "left", "right"}
    worn = load(tmp_path / "out.glb")
    assert (len(worn), worn.fps) == (len(walk), walk.fps)
    expected = retarget(walk, worn.skeleton).joint_positions()
    np.testing.assert_allclose(worn.joint_positions(), expected, atol=1e-3)


def test_an_fbx_character_that_is_none_is_called_by_its_name(walk, tmp_path, fake_blender):
    (tmp_path / "chair.fbx").write_bytes(HEAD)
    chair = characters.Glb("chair").save(tmp_path / "chair.glb")
    fake_blender(
        f"import shutil\nshutil.copy({str(chair)!r}, job['target'])\n"
        "json.dump({'fps': 30, 'frames': 1}, open(job['result'], 'w'))"
    )
    with pytest.raises(ValueError, match=f"^{tmp_path}/chair.fbx: has no skeleton"):
        write_glb(walk, tmp_path / "out.glb", character=tmp_path / "chair.fbx")
    assert not (tmp_path / "out.glb").exists()


@pytest.mark.usefixtures("with_blender")
def test_what_a_hand_carries_stays_in_it(walk, tmp_path):
    """A mesh that hangs from a bone, in a character whose armature is scaled, as Mixamo's are."""
    glb, at, _ = characters.make_character("mixamo")
    corners = glb.put(np.array([[0, 0, 0], [1, 0, 0], [0, 9, 0.0]]), bounds=True)
    glb.json["meshes"].append({"name": "sword", "primitives": [{"attributes": {"POSITION": corners}}]})
    nodes = glb.json["nodes"]
    nodes[at["right_wrist"]].setdefault("children", []).append(len(nodes))
    nodes.append({"name": "sword", "mesh": 1, "translation": [3.0, 8.0, 1.0]})
    hand = nodes[at["right_wrist"]]["name"]
    write_fbx(walk, tmp_path / "out.fbx", character=glb.save(tmp_path / "hero.glb"))
    blender.convert(tmp_path / "out.fbx", tmp_path / "back.glb", tmp_path / "out.fbx", materials=True)
    distances = []
    for path in ("hero.glb", "back.glb"):
        document, binary = characters.unpack(tmp_path / path)
        worlds = dict(
            zip(
                [n.get("name") for n in document["nodes"]],
                characters.node_worlds(document, binary, None, 0),
                strict=True,
            )
        )
        distances.append(np.linalg.norm(worlds["sword"][:3, 3] - worlds[hand][:3, 3]))
    assert distances[0] == pytest.approx(0.01 * 74**0.5)
    assert distances[1] == pytest.approx(distances[0], rel=1e-3)


@pytest.mark.usefixtures("with_blender")
def test_damaged_files_are_one_sentence(walk, tmp_path):
    write_fbx(walk, tmp_path / "walk.fbx")
    whole = (tmp_path / "walk.fbx").read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("noise", HEAD + bytes(range(256)) * 4)):
        (tmp_path / f"{name}.fbx").write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.fbx: Blender") as caught:
            load(tmp_path / f"{name}.fbx")
        assert "\n" not in str(caught.value)
        assert "Traceback" not in str(caught.value)


@pytest.mark.usefixtures("with_blender")
def test_blender_sees_no_files_of_the_user(walk, tmp_path, monkeypatch):
    """Neither start-up scripts nor a module beside the file are run."""
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')"
    for place in ("blender/4.5/scripts/startup", "resources/scripts/startup", "."):
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "json.py").write_text(trap)
        (folder / "trap.py").write_text(f"{trap}\ndef register(): pass")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("BLENDER_USER_RESOURCES", str(tmp_path / "resources"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_fbx(walk, "walk.fbx")
    assert read_fbx("walk.fbx").fps == 30
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not an FBX file, or damaged"),
        (b"hello", "is not an FBX file, or damaged"),
        (HEAD[:25], "is not an FBX file, or damaged"),
        (b"; FBX 7.7.0 project file\n", "as text"),
        (HEAD[:23] + (6100).to_bytes(4, "little"), "version 6.1"),
    ],
)
def test_what_blender_cannot_read_is_told_without_it(content, reason, tmp_path, fake_blender):
    fake_blender("open('was-started', 'w')")
    (tmp_path / "x.fbx").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_fbx(tmp_path / "x.fbx")
    assert not Path("was-started").exists()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("os.kill(os.getpid(), 11)", "Blender stopped by signal 11"),
        ("print('no bpy here'); sys.exit(3)", "Blender stopped with status 3: no bpy here"),
        ("json.dump({'error': 'too bad'}, open(job['result'], 'w'))", "it may be damaged: too bad"),
        ("time.sleep(60)", "still at work after 1 s"),
    ],
)
def test_when_blender_fails_nothing_stays_behind(code, sentence, walk, tmp_path, fake_blender, monkeypatch):
    temporary = fake_blender(code)
    if "sleep" in code:
        monkeypatch.setattr(blender, "TIMEOUT", 0.6)
        monkeypatch.setattr(blender, "TIMEOUT_PER_MB", 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "x.fbx").write_bytes(HEAD)
    with pytest.raises(ValueError, match=sentence):
        write_fbx(walk, tmp_path / "out" / "walk.fbx")
    with pytest.raises(ValueError, match=sentence):
        read_fbx(tmp_path / "x.fbx")
    assert not list((tmp_path / "out").iterdir())
    assert not list(temporary.iterdir())


def test_interrupted_blender_ends(walk, tmp_path, fake_blender, monkeypatch):
    """Ctrl-C reaches Kinema alone, which takes Blender with it."""
    temporary = fake_blender(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")

    def interrupt(process, timeout=None):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_fbx(walk, tmp_path / "walk.fbx")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not list(temporary.iterdir())


def test_without_blender_one_sentence_says_how(walk, tmp_path, monkeypatch):
    monkeypatch.delenv("KINEMA_BLENDER_PYTHON", raising=False)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "x.fbx").write_bytes(HEAD)
    with pytest.raises(ValueError, match=r"kinema fbx setup.*install Blender"):
        read_fbx(tmp_path / "x.fbx")
    with pytest.raises(ValueError, match="kinema fbx setup"):
        write_fbx(walk, tmp_path / "walk.fbx")
    assert not (tmp_path / "walk.fbx").exists()


def test_lookup_order(tmp_path, monkeypatch):
    """The named Python, then the environment of `kinema fbx setup`, then `blender` on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("KINEMA_BLENDER_PYTHON", raising=False)
    made = tmp_path / "data" / "kinema" / "blender-4.5" / "bin" / "python"
    for program in (tmp_path / "blender", made):
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    assert blender.find()[0] == str(made)
    made.unlink()
    assert blender.find()[0] == str(tmp_path / "blender")
    assert "--factory-startup" in blender.find()
    monkeypatch.setenv("KINEMA_BLENDER_PYTHON", sys.executable)
    assert blender.find()[0] == sys.executable
    monkeypatch.setenv("KINEMA_BLENDER_PYTHON", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="KINEMA_BLENDER_PYTHON"):
        blender.find()
