"""Whatever is wrong: one sentence, exit status 2, nothing written."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kinema.formats import gltf_file
from kinema.models.fracmogen import pipeline


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*")}


@pytest.fixture
def refused(kinema, place):
    """Run a command line that must be refused; the sentence."""

    def run(*arguments: object) -> str:
        before = files(place)
        outcome = kinema(*arguments)
        assert outcome.status == 2
        assert outcome.out == ""
        assert files(place) == before
        assert outcome.err.startswith("kinema: ")
        assert outcome.err.count("\n") == 1
        assert len(outcome.err) < 620
        assert outcome.err.strip().isprintable()
        return outcome.err

    return run


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["generate", ""], "prompt 1 is empty"),
        (["generate", "a person walks", "  "], "prompt 2 is empty"),
        (["generate"], "say what the person does"),
        (["generate", "x" * 10_000], "10000 characters; at most 1000"),
        (["generate", "\udcff"], "UTF-8"),
        (["generate", "x", "--seconds", "0"], "at least 0.5"),
        (["generate", "x", "--seconds", "-3"], "at least 0.5"),
        (["generate", "x", "--seconds", "nan"], "at least 0.5"),
        (["generate", "x", "--seconds", "1000"], "at most 300"),
        (["generate", "x", "--seconds", "long"], "--seconds"),
        (["generate", "x", "y", "--seconds", "1", "2", "3"], "2 prompts need 1 or 2 lengths"),
        (["generate", *["x"] * 51], "1 to 50 prompts"),
        (["generate", "x", "-n", "0"], "1 to 64"),
        (["generate", "x", "-n", "1000000"], "1 to 64"),
        (["generate", "x", "--seed", "-1"], "seed"),
        (["generate", "x", "--model", "nobody"], "no model 'nobody'"),
        (["generate", "x", "--model", "nobody/nothing"], "no model 'nobody/nothing'"),
        (["generate", "x", "--model", "../.."], "no model"),
        (["generate", "x", "--chain", "1-3-0"], "a chain falls"),
        (["generate", "x", "--chain", "coarse"], "3-1-0"),
        (["generate", "x", "--steps", "0"], "steps must be"),
        (["generate", "x", "--guidance", "inf"], "guidance"),
        (["generate", "x", "-o", "x.obj"], ".glb"),
        (["generate", "x", "-o", "x"], ".glb"),
        (["generate", "x", "--path", "none.json"], "none.json: no such file"),
        (["generate", "x", "--past", "none.bvh"], "none.bvh"),
        (["convert", "none.bvh", "x.glb"], "none.bvh: there is no such file"),
        (["convert", ".", "x.glb"], "--to .glb"),
        (["convert", ".", "out", "--to", ".obj"], "cannot write .obj"),
        (["convert", ".", "walk.bvh", "--to", ".glb"], "walk.bvh is a file"),
        (["convert", ".", "out", "--to", ".glb", "--input-fps", "30"], "--input-fps is for"),
        (["convert", ".", "out", "--to", ".bvh", "--character", "hero.glb"], "--character is for .glb .fbx"),
        (["convert", "walk.bvh", "walk"], "cannot write"),
        (["convert", "walk.bvh"], "OUT"),
        (["convert", "walk.bvh", "x.glb", "--fps", "0"], "fps"),
        (["convert", "walk.bvh", "x.glb", "--fps", "1e300"], "fps"),
        (["convert", "walk.bvh", "x.glb", "--unit", "ell"], "--unit"),
        (["convert", "walk.bvh", "x.glb", "--unit", "-1"], "unit"),
        (["convert", "walk.npz", "x.glb", "--unit", "m"], "--unit is for .bvh"),
        (["convert", "walk.bvh", "x.glb", "--sped", "2"], "unrecognized options: --sped"),
        (["convert", "walk.bvh", "x.glb", "--to", ".glb"], "--to is for folders"),
        (["convert", "walk.bvh", "x.glb", "--up", "x"], "up must be y or z"),
        (["convert", "walk.bvh", "x.glb", "--up", "z", "--unit", "0"], "unit"),
        (["convert", "walk.bvh", "x.glb", "--input-fps", "30"], "walk.bvh: --input-fps is for .amc"),
        (["convert", "walk.bvh", "x.glb", "--animation", "run"], "--animation is for .glb"),
        (["convert", "walk.bvh", "x.glb", "--robot", "g1.xml"], "--robot is for .csv"),
        (["convert", "walk.bvh", "x.glb", "--character", "none.glb"], "none.glb: there is no such file"),
        (["convert", "walk.bvh", "x.glb", "--character", "walk.bvh"], "walk.bvh"),
        (["convert", "walk.bvh", "x.npz", "--character", "hero.glb"], "--character is for .glb .fbx"),
        (["convert", "walk.bvh", "x.csv"], "kinema retarget IN ROBOT.xml x.csv"),
        (["convert", "walk.bvh", "x.qpos.npz", "--robot", "none.xml"], "none.xml"),
        (["convert", "walk.bvh", "."], "cannot write"),
        (["convert", "walk.bvh", "walk.bvh/x.glb"], "walk.bvh"),
        (["convert", "walk.bvh", "/proc/x.glb"], "kinema: /proc/x.glb: "),
        (["retarget", "walk.bvh"], "CHARACTER"),
        (["retarget", "none.bvh", "body", "x.glb"], "none.bvh: there is no such file"),
        (["retarget", "walk.bvh", "none.glb", "x.glb"], "none.glb: there is no such file"),
        (["retarget", "walk.bvh", "nobody", "x.glb"], "nobody"),
        (["retarget", "walk.bvh", "none.xml", "x.csv"], "none.xml"),
        (["retarget", "walk.bvh", "body", "x.obj"], "cannot write .obj"),
        (["retarget", "walk.bvh", "body", "x.csv"], "kinema retarget IN ROBOT.xml x.csv"),
        (["retarget", "walk.bvh", "body", "x.glb", "--joints", "none.json"], "none.json"),
        (["retarget", "walk.bvh", "body", "x.glb", "--character-joints", "walk.bvh"], "walk.bvh"),
        (["edit"], "resample"),
        (["edit", "polish", "walk.bvh", "-o", "x.bvh"], "polish"),
        (["edit", "crop", "walk.bvh"], "--out"),
        (["edit", "crop", "walk.bvh", "-o", "x.obj"], "cannot write .obj"),
        (["edit", "crop", "none.bvh", "-o", "x.bvh"], "none.bvh"),
        (["edit", "crop", "walk.bvh", "-o", "x.bvh", "--start", "5"], "cannot crop"),
        (["edit", "crop", "walk.bvh", "-o", "x.bvh", "--end", "nan"], "finite"),
        (["edit", "crop", "walk.bvh", "-o", "x.bvh", "--robot", "g1.xml"], "--robot is for"),
        (["edit", "resample", "walk.bvh", "-o", "x.bvh"], "--fps"),
        (["edit", "resample", "walk.bvh", "-o", "x.bvh", "--fps", "-1"], "fps"),
        (["edit", "join", "-o", "x.bvh"], "name the motion files"),
        (["edit", "join", "walk.bvh", "none.bvh", "-o", "x.bvh"], "none.bvh"),
        (["edit", "join", "walk.bvh", "walk.bvh", "-o", "x.bvh", "--blend", "-1"], "blend"),
        (["edit", "loop", "walk.bvh", "-o", "x.bvh", "--blend", "-1"], "blend"),
        (["edit", "smooth", "walk.bvh", "-o", "x.bvh", "--seconds", "-1"], "seconds"),
        (["edit", "smooth", "walk.bvh", "-o", "x.bvh", "--seconds", "inf"], "seconds"),
        (["edit", "path", "walk.bvh", "-o", "x.bvh"], "--points"),
        (["edit", "path", "walk.bvh", "-o", "x.bvh", "--points", "0", "0"], "at least 2 points"),
        (["edit", "path", "walk.bvh", "-o", "x.bvh", "--points", "0", "0", "1"], "--points"),
        (["edit", "path", "walk.bvh", "-o", "x.bvh", "--points", "0", "0", "0", "99"], "twice as long"),
        (["edit", "path", "walk.bvh", "-o", "x.bvh", "--points", "0", "0", "nan", "1"], "finite"),
        (["edit", "lock-feet", "walk.bvh", "-o", "x.bvh", "--max-speed", "nan"], "max_speed"),
        (["edit", "place", "walk.bvh", "-o", "x.bvh", "--position", "1"], "--position"),
        (["edit", "place", "walk.bvh", "-o", "x.bvh", "--heading", "inf"], "finite"),
        (["info", "none.npz"], "no such file"),
        (["info", "none.xml"], "none.xml"),
        (["info", "walk.bvh", "--input-fps", "30"], "--input-fps is for"),
        (["generate", "x", "-o", "x.bvh", "--character", "walk.bvh"], "--character is for .glb .fbx"),
        (["generate", "x", "--character", "none.glb"], "none.glb"),
        (["generate", "x", "-o", "x.csv"], "kinema retarget IN ROBOT.xml x.csv"),
        (["info", "none.glb"], "no such file"),
        (["info", "none"], "no model 'none'"),
        (["show"], "name a motion file"),
        (["show", "walk.bvh", "-o", "x.gif"], ".html or .png"),
        (["show", *["walk.bvh"] * 17], "1 to 16"),
        (["show", *["walk.bvh"] * 101, "-o", "x.png"], "1 to 100"),
        (["show", "walk.bvh", "-o", "x.png", "--frames", "0"], "frames"),
        (["corpus"], "build"),
        (["corpus", "build", ".", "-o", "c", "--licence", "CC0", "--source", "me"], "no captions"),
        (["corpus", "build", "none", "-o", "c", "--licence", "CC0", "--source", "me"], "not a folder"),
        (["corpus", "build", "."], "--out"),
        (["corpus", "stats", "."], "not a corpus"),
        (["train", "fracmogen", "--corpus", ".", "-o", "run"], "either --minutes or --steps"),
        (["train", "fracmogen", "--corpus", ".", "-o", "run", "--steps", "5"], "not a corpus"),
        (["train", "fracmogen", "--corpus", ".", "-o", "run", "--steps", "5", "--batch", "0"], "--batch"),
        (["train", "nothing"], "train"),
        (["evaluate", "nobody", "--corpus", "."], "no model 'nobody'"),
        (["evaluate", "fracmogen", "--corpus", "."], "not a corpus"),
        (["evaluate", "fracmogen"], "no corpus in corpora/"),
        (["evaluate", "fracmogen", "--corpus", ".", "-o", "."], "ends in .html"),
        (["bench"], "scaling"),
        (["bench", "scaling", "--corpus", ".", "-o", "study"], "either --minutes or --steps"),
        (["bench", "scaling", "--corpus", ".", "-o", "study", "--steps", "5", "--shares", "2", "1"], "above 0, to 1"),
        (["bench", "scaling", "--corpus", ".", "-o", "study", "--steps", "5", "--sizes", "1"], "two sizes"),
        (["bench", "scaling", "--corpus", ".", "-o", "study", "--steps", "5"], "not a corpus"),
        (["genrate", "x"], "did you mean generate?"),
        (["xyzzy"], "the commands are"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_bad_arguments_are_refused(arguments, said, refused):
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    "content, said",
    [
        ({"joints": [{"time": 1, "joint": "tail", "position": [0, 1, 0]}]}, "no joint 'tail'"),
        ({"path": [[0, 0]]}, "entry 0"),
        ({"path": [[99, 0, 0]]}, "time must be 0 to 5"),
        ({"path": [[10**400, 0, 0]]}, "entry 0"),
        ({"path": [[0, 0, 0]] * 1001}, "at most 1000 targets, got 1001"),
        ({"path": [[1, 1e9, 0]]}, "within 1000 m"),
        ({"poses": [{"time": 1, "file": "../../etc/passwd"}]}, "beside"),
        ({"poses": [{"time": 1, "file": "none.bvh"}]}, "none.bvh"),
        ({"poses": [{"time": 1, "file": "walk.bvh", "frame": 10**6}]}, "entry 0"),
        ({"roads": []}, "path"),
        ([1], "object"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_targets_are_refused(content, said, refused, place):
    (place / "targets.json").write_text(json.dumps(content))
    assert said in refused("generate", "x", "--seconds", "5", "--path", "targets.json")


def test_hostile_json_is_refused(refused, place):
    (place / "deep.json").write_text("[" * 100_000)
    assert "deep.json" in refused("generate", "x", "--path", "deep.json")
    (place / "binary.json").write_bytes(bytes(range(256)))
    assert "not JSON" in refused("generate", "x", "--path", "binary.json")


@pytest.mark.parametrize("damage", ["empty", "text", "half", "nul", "huge number", "escape", "deep", "many joints"])
def test_damaged_motion_is_refused(damage, refused, place):
    whole = (place / "walk.bvh").read_text()
    joints = "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
    joints += "".join(f"JOINT b{i}\n{{\nOFFSET 0 1 0\nCHANNELS 0\n" for i in range(50_000))
    (place / "bad.bvh").write_text(
        {
            "empty": "",
            "text": "Dear reader,\n" * 1000,
            "half": whole[: len(whole) // 2],
            "nul": whole.replace("0", "\0"),
            "huge number": whole.replace("Frames: 90", "Frames: 99999999999999999999"),
            "escape": whole.replace("OFFSET", "\x1b[31mOFF\x07SET"),
            "deep": "HIERARCHY\nROOT a\n" + "{\nJOINT b\n" * 200_000,
            "many joints": joints,
        }[damage]
    )
    assert "bad.bvh" in refused("convert", "bad.bvh", "x.glb")
    assert "bad.bvh" in refused("show", "walk.bvh", "bad.bvh")
    assert "bad.bvh" in refused("info", "bad.bvh")


@pytest.mark.parametrize("damage", ["cut off", "no weights", "no config", "other config", "config of another program"])
def test_damaged_weights_are_refused(damage, refused, place, weights):
    folder = place / "mine"
    folder.mkdir()
    config = json.loads((weights / "fracmogen" / "config.json").read_text())
    tensors = (weights / "fracmogen" / "model.safetensors").read_bytes()
    if damage == "cut off":
        tensors = tensors[: len(tensors) // 2]
    if damage == "other config":
        config["config"]["width"] = 64
    if damage == "config of another program":
        config = {"architectures": ["BertModel"]}
    if damage != "no config":
        (folder / "config.json").write_text(json.dumps(config))
    if damage != "no weights":
        (folder / "model.safetensors").write_bytes(tensors)
    assert "mine" in refused("generate", "x", "--model", "mine")


@pytest.mark.parametrize("damage", ["empty", "text", "half", "zeros", "other"])
@pytest.mark.parametrize("ending", [".glb", ".npz", ".smplh.npz", ".npy", ".joints.npy"])
def test_damaged_files_of_every_format_are_refused(ending, damage, refused, kinema, place):
    assert kinema("convert", "walk.bvh", f"bad{ending}").status == 0
    bad = place / f"bad{ending}"
    whole = bad.read_bytes()
    other = (place / "walk.bvh").read_bytes()
    content = {"empty": b"", "text": b"Dear reader,\n" * 99, "half": whole[: len(whole) // 2], "other": other}
    bad.write_bytes(content.get(damage, bytes(len(whole))))
    for command in (
        ["convert", bad.name, "x.bvh"],
        ["info", bad.name],
        ["retarget", bad.name, "body", "x.bvh"],
        ["retarget", "walk.bvh", bad.name, "x.bvh"],
        ["edit", "ground", bad.name, "-o", "x.bvh"],
        ["edit", "join", "walk.bvh", bad.name, "-o", "x.bvh"],
    ):
        assert bad.name in refused(*command), command


def test_a_folder_without_motion_is_refused(refused, place):
    (place / "empty" / "deep").mkdir(parents=True)
    (place / "empty" / "deep" / "notes.txt").write_text("nothing")
    assert "no motion files" in refused("convert", "empty", "out", "--to", ".glb")


def test_fbx_without_blender_says_what_to_do(refused, place, monkeypatch):
    for name in ("KINEMA_BLENDER_PYTHON", "KINEMA_BLENDER", "BLENDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(place))
    for name in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(place))
    (place / "x.fbx").write_bytes(b"Kaydara FBX Binary  \x00\x1a\x00" + (7400).to_bytes(4, "little") + bytes(100))
    for command in (
        ["convert", "walk.bvh", "y.fbx"],
        ["convert", "x.fbx", "y.bvh"],
        ["info", "x.fbx"],
        ["generate", "x", "-o", "y.fbx"],
        ["retarget", "walk.bvh", "x.fbx", "y.fbx"],
    ):
        assert "kinema fbx setup" in refused(*command), command


def test_mp4_without_ffmpeg_says_what_to_do_before_the_work(refused, place, monkeypatch):
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "ffmpeg" in refused("generate", "x", "-o", "y.mp4")


def test_damaged_glb_and_config_are_refused_by_info(refused, place):
    (place / "x.glb").write_bytes(b"glTF" + bytes(40))
    assert "version 0" in refused("info", "x.glb")
    (place / "y.glb").write_bytes(b"glTF\2\0\0\0" + bytes(4) + b"\xff\xff\xff\xffJSON{}")
    assert "y.glb" in refused("info", "y.glb")
    (place / "model").mkdir()
    (place / "model" / "config.json").write_text("[]")
    assert "damaged" in refused("info", "model")


@contextmanager
def full_disk():
    """No file can grow above 4 kB. (A real full disk differs in the number of the error only.)

    No fixture: pytest writes its own output, maybe to a file, before those are taken down.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITTEN = (".glb", ".bvh", ".npz", ".smplh.npz", ".smplx.npz", ".npy", ".joints.npy", ".png", ".html", ".gif", ".mp4")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["convert", "walk.bvh", f"new/x{ending}"] for ending in (".glb", ".bvh", ".npz", ".png", ".html")),
        ["show", "walk.bvh", "-o", "new/x.html"],
        ["generate", "x", "--seconds", "1", "-n", "2", "-o", "new/x.glb"],
        ["corpus", "build", ".", "-o", "new/corpus", "--licence", "CC0", "--source", "me"],
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_a_write_that_fails_leaves_no_files(arguments, kinema, place):
    (place / "captions.jsonl").write_text('{"motion": "walk.bvh", "text": "a person walks"}')
    with full_disk():
        outcome = kinema(*arguments)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith("kinema: ")
    assert "Traceback" not in outcome.err
    assert not [path for path in place.rglob("*") if path.is_file() and path.name not in ("walk.bvh", "captions.jsonl")]


def test_a_full_disk_is_told(kinema, place, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to be allowed to mount a small disk")
    try:
        outcome = kinema("convert", "walk.bvh", disk / "x.html")
        assert outcome.status == 2
        assert "no space left" in outcome.err
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_write_leaves_what_was_there(number, status, kinema, place, monkeypatch):
    kinema("convert", "walk.bvh", "x.glb", "--fps", "15")
    old = (place / "x.glb").read_bytes()
    before = files(place)

    def interrupt(*_):  # called when the temporary file is there
        os.kill(os.getpid(), number)

    monkeypatch.setattr(gltf_file, "struct", SimpleNamespace(pack=interrupt, unpack=struct.unpack))
    if number == signal.SIGINT:
        outcome = kinema("convert", "walk.bvh", "x.glb")
        assert (outcome.status, outcome.err) == (status, "kinema: interrupted\n")
    else:
        with pytest.raises(SystemExit) as stop:
            kinema("convert", "walk.bvh", "x.glb")
        assert stop.value.code == status
    assert files(place) == before
    assert (place / "x.glb").read_bytes() == old


def test_lack_of_memory_and_bugs_are_one_sentence(kinema, monkeypatch):
    def fail(error):
        def generate(*_):
            raise error

        monkeypatch.setattr(pipeline.FracMoGenGenerator, "generate", generate)
        return kinema("generate", "x")

    outcome = fail(MemoryError())
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "memory" in outcome.err
    outcome = fail(TypeError("'NoneType' has no len()"))
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "bug (TypeError: 'NoneType' has no len())" in outcome.err
    monkeypatch.setenv("KINEMA_DEBUG", "1")
    with pytest.raises(TypeError):
        fail(TypeError("x"))


def test_control_characters_do_not_reach_the_terminal(kinema, place):
    name = "\x1b[31mred\x07.bvh"
    outcome = kinema("info", name)
    assert outcome.status == 2
    assert "\x1b" not in outcome.err
    np.savez(place / "bad.npz", format="\x1b[31m")
    assert "\x1b" not in kinema("info", "bad.npz").err


def run_whole(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kinema", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **options)


def test_a_reader_that_goes_away_is_no_error(place):
    read, write = os.pipe()
    os.close(read)
    done = run_whole("systems", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_output_to_a_full_disk_is_told(place):
    with open("/dev/full", "w") as full:
        done = run_whole("systems", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "kinema: no space left on device\n"


def test_the_exit_status_reaches_the_shell(place):
    done = run_whole("convert", "none.bvh", "x.glb", stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (2, "kinema: none.bvh: there is no such file\n")
