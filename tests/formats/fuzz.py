"""Mutated files for every parser: each must give a valid result or one clear sentence, soon, and in little memory.

    python tests/formats/fuzz.py --format bvh --count 20000 --seed 0

prints a summary, writes the files that failed below --keep, and exits 1 if there are any. Without --format it runs all.

A case starts from a small valid file (made by our writers, or written here), and goes through one to four mutations:
of its bytes, of its words, numbers and lines, of its JSON tree, or of the headers of its arrays. It passes if the
reader returns, or raises ValueError or OSError with one line that names the file. It fails on any other exception or
warning, above `SECONDS` of processor time, or above `MEGABYTES` of memory (as Linux counts it).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 2.0
MEGABYTES = 200

Files = dict[str, bytes]  # what a case consists of; the first is the one that is read

NUMBERS = [
    *(b"nan", b"inf", b"-inf", b"1e308", b"-1e308", b"1e-308", b"1e999", b"-1", b"0", b"-0.0", b"1", b"2147483648"),
    *(
        b"9223372036854775808",
        b"4294967295",
        b"1e9",
        b"1000001",
        b"0x10",
        b"1_0",
        b"1,5",
        b"+3",
        b".",
        b"-",
        b"1e",
        b"",
    ),
]
ODDITIES = [
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b"\t",
    b" " * 300,
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"<",
    b">",
]
_NUMBER = re.compile(rb"-?\d+(\.\d*)?([eE][-+]?\d+)?")
_WORD = re.compile(rb"[^\s,\"<>=]+")


# --- mutations of bytes


def _flip(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    result = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if result:
            result[rng.randrange(len(result))] = rng.randrange(256)
    return bytes(result)


def _cut(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _remove(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 4, 30, 300)) :]


def _repeat(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = start + rng.choice((1, 10, 100, 1000))
    return data[:end] + data[start:end] * rng.choice((1, 1, 5, 50)) + data[end:]


def _splice(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    start = rng.randrange(len(other) + 1)
    return data[: rng.randrange(len(data) + 1)] + other[start : start + rng.choice((20, 200, len(other)))]


def _insert(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(NUMBERS + ODDITIES) + data[at:]


BYTES = [_flip, _cut, _remove, _repeat, _splice, _insert]

# --- mutations of text


def _number(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    # the few numbers of a header matter more than the many of the frames
    match = found[int(len(found) * rng.random() ** rng.choice((1, 4)))]
    return data[: match.start()] + rng.choice(NUMBERS) + data[match.end() :]


def _words(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    found = list(_WORD.finditer(data))
    if not found:
        return data
    one, two = rng.choice(found), rng.choice(found)
    text = rng.choice((b"", two[0], one[0] * 2, one[0].swapcase(), one[0] * rng.choice((3, 3000))))
    return data[: one.start()] + text + data[one.end() :]


def _lines(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    lines = data.split(b"\n")
    start, size = rng.randrange(len(lines)), rng.choice((1, 1, 2, 5, 20))
    block = lines[start : start + size]
    if rng.random() < 0.7:
        del lines[start : start + size]
    if rng.random() < 0.7:
        at = rng.randrange(len(lines) + 1)
        lines[at:at] = block * rng.choice((1, 1, 2, 200))
    return b"\n".join(lines)


def _encoding(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    text = data.decode("latin-1")
    return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-8")))


TEXT = [*BYTES, _number, _number, _number, _words, _words, _lines, _lines, _encoding]

# --- mutations of a JSON tree

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 255, 2**31, 2**63, 10**30, 1e308, -1e308, 1e-9, 0.5, float("nan"), float("inf")),
    *("", "x", "SCALAR", "VEC3", "VEC4", "MAT4", "rotation", "translation", "STEP", "CUBICSPLINE", "../x", "file:///x"),
    *("data:application/octet-stream;base64,AAAA", "data:,", "http://x/y.bin", "\ud800", [], {}, [0], [0, 1, 2], [[]]),
    *([1.0, 0.0, 0.0, 0.0], [float("nan")] * 3, [1e308] * 16, {"x": 0}, [None], list(range(50))),
]


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            found.append((node, key))
            todo.append(value)
    return found


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """A JSON tree with one place deleted, replaced, copied from elsewhere, moved by one, or nested deeply."""
    places = _places(tree)
    if not places:
        return rng.choice(VALUES)
    node, key = rng.choice(places)
    value = node[key]
    how = rng.randrange(8)
    if how == 0:
        del node[key]
    elif how == 1:
        other, name = rng.choice(places)
        with contextlib.suppress(IndexError, KeyError):  # itself inside itself has no JSON
            node[key] = json.loads(json.dumps(other[name]))
    elif how in (2, 3) and isinstance(value, (int, float)):
        node[key] = value + rng.choice((-1, 1, 100, 0.5, -value, 2**31))
    elif how == 4 and isinstance(value, list):
        node[key] = rng.choice((value[:-1], value + value, value[::-1], value * 40))
    elif how == 5 and isinstance(node, dict):
        node[rng.choice(list(node))] = rng.choice(VALUES)
    elif how == 6:
        for _ in range(rng.choice((3, 60))):
            value = [value] if rng.random() < 0.5 else {"children": value}
        node[key] = value
    else:
        node[key] = json.loads(json.dumps(rng.choice(VALUES)))
    return tree


def _json(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    try:
        return json.dumps(mutate_tree(json.loads(data), rng)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return data


JSON = [*TEXT, *[_json] * 12]


def _glb(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """A GLB with another JSON chunk, or other numbers in its binary chunk, whole in itself."""
    try:
        (size,) = struct.unpack_from("<I", data, 12)
        text, binary = data[20 : 20 + size], data[20 + size :]
        if rng.random() < 0.8:
            text = _json(text, rng, others)
            text += b" " * (-len(text) % 4)
        elif len(binary) > 16:
            at = 8 + rng.randrange((len(binary) - 8) // 4) * 4
            piece = struct.pack("<f", rng.choice((float("nan"), float("inf"), 3e38, 0.0, -1.0, 1e-40)))
            if rng.random() < 0.3:
                piece = struct.pack("<I", rng.choice((0, 1, 65535, 2**31, 2**32 - 1)))
            binary = binary[:at] + piece + binary[at + 4 :]
    except struct.error:
        return data
    total = 20 + len(text) + len(binary)
    return struct.pack("<4sIIII", b"glTF", 2, total, len(text), 0x4E4F534A) + text + binary


GLB = [*BYTES, *[_glb] * 14]

# --- mutations of arrays

_DTYPES = ["<f8", "<f4", "<f2", ">f8", "<i8", "|u1", "|b1", "<c16", "<U9", "|S5", "|O", "<M8[s]", "|V7", "<f16"]


def _npy(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """An .npy with another header, or other numbers below it."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        return data
    (size,) = struct.unpack_from("<H", data, 8)
    header, body = data[10 : 10 + size], data[10 + size :]
    how = rng.randrange(5)
    if how == 0:
        header = re.sub(rb"'[<>|=][^']*'", repr(rng.choice(_DTYPES)).encode(), header, count=1)
    elif how == 1:
        shape = tuple(rng.choice((0, 1, 3, 22, -1, 2**31, 2**62, 10**30)) for _ in range(rng.randint(0, 4)))
        header = re.sub(rb"\([^)]*\)", repr(shape).encode(), header, count=1)
    elif how == 2:
        header = rng.choice((header.replace(b"False", b"True"), _flip(header, rng, others), _cut(header, rng, others)))
    else:
        count = len(body) // 8
        for _ in range(rng.randint(1, 3) if count else 0):
            at = 8 * rng.randrange(count)
            value = rng.choice((float("nan"), float("inf"), -1e308, 1e308, 1e-310, 0.0, -1.0, 1e9, 2.0**63))
            body = body[:at] + struct.pack("<d", value) + body[at + 8 :]
    return data[:8] + struct.pack("<H", len(header) % 65536) + header + body


def _npz(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """An archive of which one array is missing, another, renamed, doubled, or mutated itself."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # an earlier mutation of bytes
        return data
    if not members:
        return data
    name, other = rng.choice(list(members)), rng.choice(list(members))
    how = rng.randrange(8)
    if how == 0:
        del members[name]
    elif how == 1:
        members[name] = members[other]
    elif how == 2:
        members[rng.choice((other, "trans.npy", "qpos.npy", "format.npy", "../x.npy", "x"))] = members.pop(name)
    elif how == 3:
        members[name] = rng.choice(BYTES)(members[name], rng, others)
    elif how == 4:
        members[name] = _array(rng)
    else:
        members[name] = _npy(members[name], rng, others)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return packed.getvalue()


def _array(rng: random.Random) -> bytes:
    shape = tuple(rng.choice((0, 1, 3, 4, 22, 52)) for _ in range(rng.randint(0, 3)))
    array = np.full(shape, rng.choice((0.0, 1.0, 30.0, np.nan, 1e300)))
    packed = io.BytesIO()
    with np.errstate(all="ignore"):
        array = array.astype(rng.choice(("<f8", "<f4", "<i4", "<U3", "?")))
    np.save(packed, array, allow_pickle=False)
    return packed.getvalue()


NPY = [*BYTES, *[_npy] * 12]
NPZ = [*BYTES, *[_npz] * 12]

# --- formats


@dataclass(frozen=True)
class Format:
    """One parser: how its seeds are made in an empty folder, how a file is read, what is done to it."""

    seeds: Callable[[Path], list[Files]]
    read: Callable[[Path], Any]
    mutations: list[Callable[[bytes, random.Random, list[bytes]], bytes]]


def _motions() -> list[Any]:
    """Small motions: a walk-like one on BODY, one with hands, one joint, and one frame."""
    from kinema.motion import BODY, Motion, Skeleton
    from kinema.motion import rotations as rot
    from kinema.motion.skeleton import BODY_WITH_HANDS

    rng = np.random.default_rng(0)

    def motion(skeleton: Skeleton, frames: int) -> Motion:
        turns = rot.from_rotation_vector(rng.normal(0, 0.3, (frames, len(skeleton), 3)))
        root = (0, 0.95, 0) + rng.normal(0, 0.05, (frames, 3))
        return Motion(skeleton, 30, root, turns, metadata={"text": "a person", "licence": "CC0-1.0"})

    lone = Skeleton(("root",), (-1,), np.zeros((1, 3)), np.array([[0, 0.5, 0]]))
    return [motion(BODY, 12), motion(BODY_WITH_HANDS, 3), motion(lone, 5), motion(BODY, 1)]


def _written(name: str, **options: Any) -> Callable[[Path], list[Files]]:
    """Seeds written by our own writer; motions that the format cannot hold are left out."""

    def seeds(folder: Path) -> list[Files]:
        from kinema.formats import save

        found = []
        for motion in _motions():
            with contextlib.suppress(ValueError):
                save(motion, folder / name, **options)
                found.append({name: (folder / name).read_bytes()})
        return found

    return seeds


def _bvh_seeds(folder: Path) -> list[Files]:
    walk = _written("clip.bvh")(folder)
    text = walk[0]["clip.bvh"]
    six = re.sub(rb"CHANNELS 3 (.*)", rb"CHANNELS 6 Xposition Yposition Zposition \1", walk[2]["clip.bvh"])
    joint_root = b"""HIERARCHY\r
ROOT joint_Root\r
{\r
\tOFFSET 0 0 0\r
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\r
\tJOINT Hips\r
\t{\r
\t\tOFFSET 0 93.9 -3\r
\t\tCHANNELS 6 Xposition Yposition Zposition Xrotation Yrotation Zrotation\r
\t\tEnd Site\r
\t\t{\r
\t\t\tOFFSET 0 0 20\r
\t\t}\r
\t}\r
}\r
MOTION\r
Frames: 2\r
Frame Time: .0333\r
0 0 0 0 0 0 1 92 3 90 0 0\r
9 0 5 0 8 0 1 92 4 0 0 -1e-3\r
"""
    return [*walk, {"clip.bvh": six}, {"clip.bvh": joint_root}, {"clip.bvh": text.replace(b"OFFSET", b"OFFSET\t")}]


_ASF = b"""# a comment
:version 1.10
:name VICON
:units
  mass 1.0
  length 0.45
  angle deg
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
     dof rx l
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
_AMC = b"""#!OML:ASF somewhere
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


def _amc_seeds(folder: Path) -> list[Files]:
    radians = {"02_01.amc": _AMC.replace(b"DEGREES", b"RADIANS"), "02.asf": _ASF.replace(b"angle deg", b"angle rad")}
    return [{"02_01.amc": _AMC, "02.asf": _ASF}, radians]


def _amass_seeds(folder: Path) -> list[Files]:
    seeds = _written("clip.smplh.npz")(folder) + _written("clip.smplx.npz")(folder)
    packed, rng = io.BytesIO(), np.random.default_rng(0)
    arrays: dict[str, Any] = {"trans": rng.normal(size=(4, 3)), "poses": rng.normal(0, 0.2, (4, 156))}
    np.savez(packed, **arrays, mocap_framerate=np.float64(120), gender="neutral", betas=np.zeros(16))
    return [{"clip.npz": seed} for case in seeds for seed in case.values()] + [{"clip.npz": packed.getvalue()}]


def _humanml_seeds(folder: Path) -> list[Files]:
    found = _written("clip.npy")(folder) + _written("clip.joints.npy")(folder)
    return [{"clip.npy": data} for case in found for data in case.values()]


ROBOT = b"""<mujoco model="tiny">
  <compiler angle="radian"/>
  <default><joint damping="1" range="-1 1"/><default class="leg"><joint axis="0 1 0"/></default></default>
  <worldbody>
    <light pos="0 0 3"/>
    <body name="pelvis" pos="0 0 0.8">
      <freejoint name="root"/>
      <geom type="sphere" size="0.1"/>
      <body name="left_hip" pos="0 0.1 0"><joint name="left_hip_pitch" class="leg" range="-2 2"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.05"/>
        <body name="left_knee" pos="0 0 -0.35" quat="1 0 0 0"><joint name="left_knee" class="leg" ref="0.1"/>
          <geom type="box" size="0.05 0.05 0.1" pos="0 0 -0.2"/>
        </body>
      </body>
      <body name="head" pos="0 0 0.4" euler="0 0 0.1"><joint name="neck" axis="0 0 1"/><geom size=".1"/></body>
    </body>
  </worldbody>
  <actuator><motor joint="left_knee"/></actuator>
</mujoco>
"""


def _robot_seeds(folder: Path) -> list[Files]:
    return [{"robot.xml": ROBOT}]


def _qpos_rows() -> np.ndarray:
    rows = np.random.default_rng(0).normal(0, 0.3, (6, 10))
    rows[:, 2] += 0.8
    rows[:, 3:7] = (1, 0, 0, 0)
    return rows


def _csv_seeds(folder: Path) -> list[Files]:
    rows = "\n".join(",".join(f"{value:.6f}" for value in row) for row in _qpos_rows())
    found = [{"clip.csv": rows.encode()}, {"clip.csv": b"x,y,z,w,x,y,z,a,b,c\n" + rows.encode()}]
    return [*found, *({"clip.csv": data} for data in _own_qpos(folder, "clip.csv"))]


def _qpos_npz_seeds(folder: Path) -> list[Files]:
    packed = io.BytesIO()
    np.savez(packed, qpos=_qpos_rows(), fps=np.float64(30))
    return [{"clip.npz": data} for data in (packed.getvalue(), *_own_qpos(folder, "clip.qpos.npz"))]


def _own_qpos(folder: Path, name: str) -> list[bytes]:
    from kinema.formats import load, save

    (folder / "robot.xml").write_bytes(ROBOT)
    (folder / "in.csv").write_text("\n".join(",".join(map(str, row)) for row in _qpos_rows().tolist()))
    motion = load(folder / "in.csv", robot=folder / "robot.xml", fps=30)
    save(motion, folder / name, robot=folder / "robot.xml")
    return [(folder / name).read_bytes()]


def _gltf_document() -> tuple[dict[str, Any], bytes]:
    """A skeleton below an armature, with what glTF can do: matrices, scales, sparse and strided accessors, integers
    for floats, all three interpolations, a mesh, and the bones of a VRM."""
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    binary = bytearray()

    def put(values: Any, kind: str, code: int, type_: str, **more: Any) -> int:
        data = np.asarray(values, dtype=kind).tobytes()
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(data)})
        binary.extend(data + bytes(-len(data) % 4))
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[type_]
        count = np.size(values) // width
        accessors.append({"bufferView": len(views) - 1, "componentType": code, "count": count, "type": type_, **more})
        return len(accessors) - 1

    turns = np.tile([0.0, 0.1, 0, 0.995], (4, 1))
    times = put([0, 0.1, 0.2, 0.3], "<f4", 5126, "SCALAR", min=[0], max=[0.3])
    late = put([0.05, 0.25], "<f4", 5126, "SCALAR", min=[0.05], max=[0.25])
    linear = put(turns, "<f4", 5126, "VEC4")
    whole = put(turns[:2] * 32767, "<i2", 5122, "VEC4", normalized=True)
    cubic = put(np.tile([0, 0.9, 0.0], (6, 1)), "<f4", 5126, "VEC3")
    binds = put(np.tile(np.eye(4).ravel(), (4, 1)), "<f4", 5126, "MAT4")
    points = put(np.eye(3), "<f4", 5126, "VEC3", min=[0, 0, 0], max=[1, 1, 1])
    which = put([0, 1, 2, 3] * 3, "<u1", 5121, "VEC4")
    weights = put([1, 0, 0, 0] * 3, "<f4", 5126, "VEC4")
    rows, moved = put([1, 3], "<u2", 5123, "SCALAR"), put([[0, 1, 0]] * 2, "<f4", 5126, "VEC3")
    sparse = {"count": 2, "indices": {"bufferView": rows, "componentType": 5123}, "values": {"bufferView": moved}}
    accessors.append({"componentType": 5126, "count": 4, "type": "VEC3", "sparse": sparse})
    matrix = np.diag([0.01, 0.01, 0.01, 1.0])
    nodes = [
        {"name": "Armature", "children": [1], "matrix": matrix.ravel().tolist()},
        {
            "name": "mixamorig:Hips",
            "children": [2, 3],
            "translation": [0, 90, 0],
            "rotation": [0, 0.7071068, 0, 0.7071068],
        },
        {"name": "mixamorig:Spine", "children": [4], "translation": [0, 30, 0], "scale": [1, 1, 1]},
        {"name": "mixamorig:LeftUpLeg", "translation": [10, -5, 0]},
        {"name": "mixamorig:Head", "translation": [0, 40, 0], "extras": {"x": [1]}},
        {"name": "Body", "mesh": 0, "skin": 0},
    ]
    samplers = [
        {"input": times, "output": linear, "interpolation": "LINEAR"},
        {"input": late, "output": whole, "interpolation": "STEP"},
        {"input": late, "output": cubic, "interpolation": "CUBICSPLINE"},
        {"input": times, "output": len(accessors) - 1},
    ]
    targets = [(0, 1, "rotation"), (1, 2, "rotation"), (2, 1, "translation"), (3, 3, "translation"), (3, 4, "scale")]
    channels = [{"sampler": s, "target": {"node": node, "path": path}} for s, node, path in targets]
    attributes = {"POSITION": points, "JOINTS_0": which, "WEIGHTS_0": weights}
    bones = {"hips": {"node": 1}, "spine": {"node": 2}, "leftUpperLeg": {"node": 3}, "head": {"node": 4}}
    document = {
        "asset": {"version": "2.0", "extras": {"fps": 10, "text": "x"}, "copyright": "CC0-1.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 5]}],
        "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": attributes, "material": 0}]}],
        "materials": [{"name": "skin"}],
        "skins": [{"joints": [1, 2, 3, 4], "inverseBindMatrices": binds, "skeleton": 1}],
        "animations": [{"name": "walk", "samplers": samplers, "channels": channels}, {"samplers": [], "channels": []}],
        "extensionsUsed": ["VRMC_vrm"],
        "extensions": {"VRMC_vrm": {"specVersion": "1.0", "humanoid": {"humanBones": bones}}},
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    return document, bytes(binary)


def _glb_seeds(folder: Path) -> list[Files]:
    document, binary = _gltf_document()
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
    small = head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return [{"clip.glb": small}, *_written("clip.glb")(folder)[2:3]]


def _gltf_seeds(folder: Path) -> list[Files]:
    document, binary = _gltf_document()
    document["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    return [{"clip.gltf": json.dumps(document).encode()}]


def _joint_map_seeds(folder: Path) -> list[Files]:
    whole = {"left_hip": "LeftUpLeg", "right_hip": "RightUpLeg", "head": "Head", "neck": None, "spine1": ""}
    return [{"joints.json": json.dumps(content).encode()} for content in (whole, {"head": "head"}, {})]


def _targets_seeds(folder: Path) -> list[Files]:
    whole = {
        "path": [[0.0, 0, 0], [2.0, 0.5, 1]],
        "joints": [{"time": 2.0, "joint": "left_wrist", "position": [0.1, 1, 0]}],
        "poses": [{"time": 3.0, "file": "pose.bvh", "frame": 0}],
    }
    pose = _written("pose.bvh")(folder)[3]["pose.bvh"]
    return [{"targets.json": json.dumps({key: whole[key] for key in keys}).encode(), "pose.bvh": pose}
            for keys in (["path"], ["joints"], ["path", "joints", "poses"])]  # fmt: skip


def _load(**options: Any) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        from kinema.formats import load

        return load(path, **options)

    return read


def _read_robot(path: Path) -> Any:
    from kinema.formats.mujoco import read_robot

    return read_robot(path)


def _read_qpos(path: Path) -> Any:
    global _robot
    if _robot is None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "robot.xml").write_bytes(ROBOT)
            _robot = _read_robot(Path(folder) / "robot.xml")
    from kinema.formats import load

    return load(path, robot=_robot, fps=30)


_robot: Any = None


def _read_joint_map(path: Path) -> Any:
    from kinema.formats.joint_map import read_joint_map

    return read_joint_map(path)


def _read_targets(path: Path) -> Any:
    from kinema.conditions.request import read_targets

    return read_targets(path)


FORMATS = {
    "bvh": Format(_bvh_seeds, _load(), TEXT),
    "amc": Format(_amc_seeds, _load(), TEXT),
    "npz": Format(_written("clip.npz"), _load(), NPZ),
    "amass": Format(_amass_seeds, _load(), NPZ),
    "humanml": Format(_humanml_seeds, _load(), NPY),
    "qpos_csv": Format(_csv_seeds, _read_qpos, TEXT),
    "qpos_npz": Format(_qpos_npz_seeds, _read_qpos, NPZ),
    "glb": Format(_glb_seeds, _load(), GLB),
    "gltf": Format(_gltf_seeds, _load(), JSON),
    "mjcf": Format(_robot_seeds, _read_robot, TEXT),
    "joint_map": Format(_joint_map_seeds, _read_joint_map, JSON),
    "targets": Format(_targets_seeds, _read_targets, JSON),
}

# --- running


class TooSlow(BaseException):
    """Not an Exception, so that no parser takes it for damage."""


@dataclass
class Outcome:
    """What happened to the cases of one format."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by exception type
    failures: dict[str, list[Files]] = field(default_factory=dict)  # by kind and place
    slowest: float = 0.0  # seconds of processor time
    largest: float = 0.0  # MB above what there was before

    def __str__(self) -> str:
        refused = ", ".join(f"{count} {name}" for name, count in self.refused.most_common()) or "none"
        failed = sum(map(len, self.failures.values()))
        return (
            f"accepted {self.accepted}, refused {sum(self.refused.values())} ({refused}), FAILED {failed}; "
            f"slowest {self.slowest:.2f} s, largest {self.largest:.0f} MB"
        )


def cases(format: Format, count: int, seed: int) -> Iterator[Files]:
    """The seeds as they are, then `count` mutated cases."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = format.seeds(Path(folder))
    yield from seeds
    rng = random.Random(seed)
    contents = [data for case in seeds for data in case.values()]
    for _ in range(count):
        case = dict(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
            name = rng.choice(list(case))
            case[name] = rng.choice(format.mutations)(case[name], rng, contents)[:2_000_000]
        yield case


def judge(read: Callable[[Path], Any], path: Path) -> tuple[str, str]:
    """("accepted", ""), ("refused", exception type), or ("failed", what and where)."""

    def stop(number: int, frame: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGPROF, stop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # one would stand on the user's terminal
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                result = read(path)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    except (ValueError, OSError) as error:
        named = isinstance(error, OSError) and str(error.filename or "").startswith(str(path.parent))
        text = str(error)
        if not named and (str(path.parent) not in text or "\n" in text or len(text) > 2000):
            return "failed", f"sentence without the file: {type(error).__name__} at {_place(error)}: {text[:150]!r}"
        return "refused", type(error).__name__
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "failed", f"{type(error).__name__} at {_place(error)}: {str(error)[:150]!r}"
    if hasattr(result, "joint_positions"):
        with np.errstate(all="ignore"):
            positions = result.joint_positions()
        if not np.isfinite(positions).all():
            return "failed", "a motion whose joints are nowhere"
    return "accepted", ""


def _place(error: BaseException) -> str:
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "kinema" in frame.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"


def _forget_peak() -> int:
    """Let Linux measure the peak of this process anew; the bytes that it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(read: Callable[[Path], Any], cases: Iterable[Files], folder: Path) -> Outcome:
    """Judge every case; its files are written into `folder`."""
    outcome = Outcome()
    for number, case in enumerate(cases):
        for file, data in case.items():
            (folder / file).write_bytes(data)
        resident, start = _forget_peak(), time.process_time()
        verdict, detail = judge(read, folder / next(iter(case)))
        seconds = time.process_time() - start
        megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident) / 1e6
        if number > 0:  # the first pays for what is imported
            outcome.slowest, outcome.largest = max(outcome.slowest, seconds), max(outcome.largest, megabytes)
            if verdict != "failed" and seconds > SECONDS:
                verdict, detail = "failed", "took too long"
            if verdict != "failed" and megabytes > MEGABYTES:
                verdict, detail = "failed", "took too much memory"
        if verdict == "accepted":
            outcome.accepted += 1
        elif verdict == "refused":
            outcome.refused[detail] += 1
        else:
            outcome.failures.setdefault(re.sub(r"0x[0-9a-f]+|\d{3,}", "N", detail), []).append(case)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", choices=FORMATS, action="append", help="default: all")
    parser.add_argument("--count", type=int, default=20_000, help="mutated cases a format (default 20000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_failures"), help="folder for the files that failed")
    arguments = parser.parse_args()
    from rich.console import Console
    from rich.progress import track

    failed = False
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # what the disk does is not of interest
    for name in arguments.format or FORMATS:
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            numbered = cases(FORMATS[name], arguments.count, arguments.seed)
            shown = track(numbered, name, arguments.count, console=Console(stderr=True), transient=True)
            outcome = run(FORMATS[name].read, shown, Path(folder))
        print(f"{name}: {outcome}", flush=True)
        for number, (detail, examples) in enumerate(outcome.failures.items()):
            failed = True
            target = arguments.keep / name / str(number)
            target.mkdir(parents=True, exist_ok=True)
            for file, data in min(examples, key=lambda case: sum(map(len, case.values()))).items():
                (target / file).write_bytes(data)
            print(f"  {len(examples)} x {detail}\n    {target}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
