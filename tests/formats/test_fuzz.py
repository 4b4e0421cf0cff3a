"""Hostile files, made by hand and by mutation: a valid result, or one sentence that names the file, soon and in little
memory. `fuzz.py` beside this runs as many cases as wanted; here are some of each format."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest

from kinema.formats import READERS

COUNT = 100


@pytest.mark.parametrize("name", fuzz.FORMATS)
def test_mutated_files(name, tmp_path):
    if name in ("mjcf", "qpos_csv", "qpos_npz"):
        pytest.importorskip("mujoco")
    format = fuzz.FORMATS[name]
    outcome = fuzz.run(format.read, fuzz.cases(format, COUNT, 1), tmp_path)
    assert not outcome.failures, list(outcome.failures)
    assert outcome.accepted  # the seeds at least
    assert outcome.refused


def test_the_harness_notices_what_it_should(tmp_path):
    path = tmp_path / "clip.bvh"
    path.touch()

    def say(error: Exception) -> None:
        raise error

    for read in (
        lambda path: say(KeyError("x")),
        lambda path: say(ValueError("something is wrong")),
        lambda path: say(ValueError(f"{path}: two\nlines")),
        lambda path: say(RecursionError()),
        lambda path: warnings.warn("odd", RuntimeWarning, stacklevel=1),
    ):
        assert fuzz.judge(read, path)[0] == "failed"
    assert fuzz.judge(lambda path: say(ValueError(f"{path}: is damaged")), path)[0] == "refused"
    assert fuzz.judge(lambda path: path.read_bytes(), path)[0] == "accepted"
    assert fuzz.judge(lambda path: (tmp_path / "none").read_bytes(), path)[0] == "refused"
    large = fuzz.run(lambda path: np.ones(30_000_000), [{"a": b""}] * 2, tmp_path)
    assert list(large.failures) == ["took too much memory"]


def test_the_harness_stops_what_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.1)

    def hang(path: Path) -> None:
        while True:
            with contextlib.suppress(Exception):  # as parsers do
                sum(range(1000))

    assert fuzz.judge(hang, tmp_path)[1].startswith("TooSlow")


# --- made by hand


def archive(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return packed.getvalue()


def array(values: Any, allow_pickle: bool = False) -> bytes:
    packed = io.BytesIO()
    np.save(packed, values, allow_pickle=allow_pickle)
    return packed.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    """An .npy that claims a shape and holds nothing."""
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def glb(document: Any, binary: bytes = b"") -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary if binary else b""
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def nested(depth: int) -> bytes:
    joints = b"".join(b"JOINT j%d { OFFSET 0 1 0 CHANNELS 3 Xrotation Yrotation Zrotation\n" % n for n in range(depth))
    return b"HIERARCHY\nROOT r { OFFSET 0 0 0 CHANNELS 0\n" + joints + b"}" * (depth + 1) + b"\nMOTION\nFrames: 1\n"


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was opened",)


ASSET = {"version": "2.0"}
LONE = b"HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xrotation }\nMOTION\n"
PICKLE = array(np.array([Trap()], dtype=object), allow_pickle=True)
POSES = array(np.zeros((1, 156)))
RATE = array(30.0)
HOSTILE: dict[str, list[bytes]] = {
    "clip.bvh": [
        *(b"", b"\n" * 500_000, b"{" * 1_000_000, b"HIERARCHY " * 100_000, "HIERARCHY\n".encode("utf-16")),
        nested(10_000) + b"Frame Time: 0.1\n" + b"0 " * 30_000,
        LONE.replace(b" a ", b" " + b"a" * 5000 + b" ").replace(b"OFFSET 0 0 0", b""),
        LONE.replace(b" a ", b" " + b"a" * 5000 + b" ") + b"Frames: 1\nFrame Time: 0.1\nnan\n",
        LONE + b"Frames: 400000\nFrame Time: 0.1\n" + b"1\n" * 400_000 + b"x\n",  # damaged late
        LONE + b"Frames: 2000000\nFrame Time: 0.1\n1\n",
        LONE + b"Frames: 1\nFrame Time: 0.1\n" + b"9" * 5_000_000,
        LONE + b"Frames: 0\nFrame Time: 0.1\n",
        LONE + b"Frames: 1\nFrame Time: 1e999\n1\n",
        b"HIERARCHY ROOT " + b"a " * 200_000 + b"{ OFFSET 0 0 0 CHANNELS 1 Xrotation }\nMOTION\nFrames: 1\n",
    ],
    "clip.amc": [b"", b"1\n" * 1_000_000, b"root " * 1_000_000, b"1\nroot nan 0 0 0 0 0\n", "1\n".encode("utf-16")],
    "clip.npz": [
        *(b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" * 1000, archive({})),
        archive({"format.npy": PICKLE}),
        archive({"trans.npy": PICKLE, "poses.npy": POSES, "mocap_framerate.npy": RATE}),
        archive({"trans.npy": header((2**40, 3)), "poses.npy": header((2**40, 156)), "mocap_framerate.npy": RATE}),
        archive({"trans.npy": array(np.zeros((0, 3))), "poses.npy": header((0, 156)), "mocap_framerate.npy": RATE}),
        archive({f"{number}.npy": b"" for number in range(10_000)}),
    ],
    "clip.npy": [
        *(b"", b"\x93NUMPY", header((10**9, 263)), header((2**62, 2**62)), header((0, 263)), header((-1, 263))),
        *(PICKLE, array(np.full((4, 263), np.nan)), array(np.full((4, 22, 3), 1e308)), array(np.zeros(263))),
    ],
    "clip.glb": [
        *(b"", b"glTF", glb(b"[" * 1_000_000), glb(b'{"a":' * 200_000), glb([]), glb({"asset": ASSET})),
        glb({"asset": ASSET, "nodes": [{"children": [1]}, {"children": [0]}], "scenes": [{"nodes": [0]}]}),
        glb({"asset": ASSET, "nodes": [{}] * 500_000, "skins": [{"joints": list(range(100_000))}]}),
        glb({"asset": ASSET, "nodes": [{}], "buffers": [{"byteLength": 2**40, "uri": "/dev/zero"}]}),
        glb({"asset": ASSET, "nodes": [{}], "buffers": [{"byteLength": 4, "uri": "http://127.0.0.1:9/x"}]}),
    ],
    "clip.gltf": [b"", b"{}", b"[" * 1_000_000, b"null", json.dumps({"asset": ASSET, "nodes": [{}]}).encode("utf-16")],
    "clip.csv": [b"", b"," * 3_000_000, b"1," * 1_000_000, b"nan,nan\n" * 100_000, bytes(1000)],
}


def options_of(name: str, folder: Path) -> dict[str, Any]:
    if name != "clip.csv":
        return {}
    (folder / "robot.xml").write_bytes(fuzz.ROBOT)
    return {"robot": folder / "robot.xml", "fps": 30}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, tmp_path):
    if name == "clip.csv":
        pytest.importorskip("mujoco")
    (tmp_path / "clip.asf").write_bytes(fuzz._ASF)
    read = fuzz._load(**options_of(name, tmp_path))
    # twice the first, as imports do not count
    outcome = fuzz.run(read, ({name: content} for content in (HOSTILE[name][0], *HOSTILE[name])), tmp_path)
    assert not outcome.failures, list(outcome.failures)
    assert not outcome.accepted


@pytest.mark.parametrize("name", ["trans.npy", "qpos.npy", "rotations.npy"])
def test_archives_that_swell_are_refused(name, tmp_path):
    """400 MB of zeros in 400 kB."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for member in ("format.npy",) if name == "rotations.npy" else ():
            packed.writestr(member, array(np.array("kinema-motion-1")))
        with packed.open(name, "w", force_zip64=True) as file:
            file.write(header((50_000_000, 1)))
            for _ in range(400):
                file.write(bytes(1_000_000))
    case = {path.name: path.read_bytes()}
    outcome = fuzz.run(fuzz._load(), [case, case], tmp_path)
    assert not outcome.failures, list(outcome.failures)
    assert not outcome.accepted


@pytest.mark.parametrize("ending", READERS)
def test_a_folder_or_nothing_instead_of_a_file(ending, tmp_path):
    folder = tmp_path / f"clip{ending}"
    assert fuzz.judge(fuzz._load(), folder) == ("refused", "FileNotFoundError")
    folder.mkdir()
    assert fuzz.judge(fuzz._load(), folder) == ("refused", "IsADirectoryError")


BILLION = b"".join(b'<!ENTITY a%d "%s">' % (n + 1, b"&a%d;" % n * 10) for n in range(9))
XML = [
    *(b"", b"<", b"<mujoco/>", b"<mujoco><include file='/etc/passwd'/></mujoco>", b"<a>" * 200_000),
    b'<!DOCTYPE m [<!ENTITY a0 "aaaaaaaaaa">' + BILLION + b"]><mujoco>&a9;</mujoco>",
    b'<!DOCTYPE m [<!ENTITY a SYSTEM "file:///etc/passwd">]><mujoco>&a;</mujoco>',
    b"<mujoco><worldbody>" + b"<body><freejoint/>" * 3000 + b"</body>" * 3000 + b"</worldbody></mujoco>",
    fuzz.ROBOT.replace(b'size="0.1"', b'size="1e308"').replace(b"0 0 -0.35", b"nan 0 0"),
]


def test_hostile_robots(tmp_path):
    pytest.importorskip("mujoco")
    outcome = fuzz.run(fuzz._read_robot, ({"robot.xml": content} for content in (XML[0], *XML)), tmp_path)
    assert not outcome.failures, list(outcome.failures)
    assert not outcome.accepted


@pytest.mark.parametrize("read", [fuzz._read_joint_map, fuzz._read_targets])
def test_hostile_json(read, tmp_path):
    contents = [b"", b"[" * 1_000_000, b'{"a":' * 200_000, b"null", b"\xff\xfe", b'"x"']
    outcome = fuzz.run(read, ({"x.json": content} for content in (contents[0], *contents)), tmp_path)
    assert not outcome.failures, list(outcome.failures)
    assert not outcome.accepted
