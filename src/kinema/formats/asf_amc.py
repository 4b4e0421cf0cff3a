"""ASF/AMC, the Acclaim format of the CMU motion capture database: bones in one file, their angles over time in another.

A bone of an ASF file begins where its parent ends and has axes of its own, about which the AMC file turns it. Each
becomes a joint of the same name at the bone's beginning ("lfemur" is the left hip joint); a bone without children
leaves its end in `Skeleton.tips`. The rest pose is that of the ASF file.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.motion import MAX_FRAMES, Motion
from kinema.motion.skeleton import MAX_JOINTS, Skeleton

MAX_AMC_BYTES = 50_000_000
MAX_ASF_BYTES = 4_000_000
MAX_ROTATIONS = 20_000_000  # frames times joints
MAX_MAGNITUDE = 1e9
MAX_LINE = 20_000  # characters
INCH = 0.0254

# subjects of the CMU database that were captured at 60 instead of 120 frames per second, as far as all their trials are
_CMU_60_FPS = {33, 34, 42, 60, 61, 62, 74, 75, 77, 79, 80, 87, 88, 89}


@dataclass
class _Bone:
    direction: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    length: float = 0.0
    axis: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    axis_order: str = "XYZ"
    dof: list[str] = field(default_factory=list)  # "rx", "ty", "l", ...


@dataclass
class _Bones:
    bones: dict[str, _Bone] = field(default_factory=lambda: {"root": _Bone()})
    children: dict[str, list[str]] = field(default_factory=dict)
    position: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    length_unit: float = 1.0
    degrees: bool = True


def read_amc(
    path: str | os.PathLike[str], asf_path: str | os.PathLike[str] | None = None, fps: float | None = None
) -> Motion:
    """Read a motion from an AMC file and the ASF file of its subject.

    Lengths are in inches divided by the `length` of the ASF file's units (0.45 at CMU). `metadata["skeleton_source"]`
    names the ASF file; `metadata["lost_translation"]` the bones whose length or place the file changes over time,
    which a `Motion` cannot hold.

    Args:
        path: the AMC file.
        asf_path: the ASF file; None looks beside the AMC file: for 02_01.amc, 02_01.asf and 02.asf, or the only one.
        fps: frames per second, which neither file states; None takes 120, or 60 where the file name looks like one of
            the CMU subjects captured at that rate (33 34 42 60 61 62 74 75 77 79 80 87-89, of 136 only some trials).
            `metadata["fps_from"]` is "guess" or "option".

    Raises:
        ValueError: no ASF file is found, or one of the files is damaged; the sentence names the file and the line.
        OSError: a file cannot be read.
    """
    path = Path(path)
    asf_path = Path(asf_path) if asf_path is not None else _find_asf(path)
    skeleton = _read_asf(asf_path)
    joints, parents = _in_depth_first_order(asf_path, skeleton)
    columns, degrees = _read_frames(path, asf_path, skeleton)
    frames = len(columns["root"])
    if frames * len(joints) > MAX_ROTATIONS:
        raise ValueError(f"{path}: {frames} frames of {len(joints)} joints are too many; cut the file into parts")

    scale = INCH / skeleton.length_unit
    ends = np.array([skeleton.bones[name].direction for name in joints]) * scale
    ends *= np.array([skeleton.bones[name].length for name in joints])[:, None]
    offsets = np.array([np.zeros(3) if parent < 0 else ends[parent] for parent in parents])
    leaves = np.array([[joint not in parents] for joint in range(len(joints))])

    quats = np.tile(rot.IDENTITY, (frames, len(joints), 1))
    root = np.tile(np.array(skeleton.position) * scale, (frames, 1))
    lost = []
    for joint, name in enumerate(joints):
        bone, values = skeleton.bones[name], columns.get(name)
        if values is None:
            continue
        turning = [i for i, dof in enumerate(bone.dof) if dof[0] == "r"]
        moving = [i for i, dof in enumerate(bone.dof) if dof[0] != "r"]
        # each turn is about a fixed axis, the first of the list first: as matrices they stand in reverse
        angles = values[:, turning[::-1]]
        turn = rot.from_euler(
            np.deg2rad(angles) if degrees else angles, "".join(bone.dof[i][1].upper() for i in turning[::-1])
        )
        axis = np.array(bone.axis[::-1])
        frame = rot.from_euler(np.deg2rad(axis) if skeleton.degrees else axis, bone.axis_order[::-1])
        quats[:, joint] = rot.multiply(rot.multiply(frame, turn), rot.inverse(frame))
        if joint == 0:
            for i in moving:
                root[:, "xyz".index(bone.dof[i][1])] += values[:, i] * scale
        elif moving and np.abs(values[:, moving]).max() > 0:
            lost.append(name)

    metadata: dict[str, object] = {"source": path.name, "skeleton_source": asf_path.name, "fps_from": "option"}
    if fps is None:
        subject = re.match(r"(\d+)_\d+$", path.stem)
        fps = 60.0 if subject and int(subject[1]) in _CMU_60_FPS else 120.0
        metadata["fps_from"] = "guess"
    if lost:
        metadata["lost_translation"] = ", ".join(lost)
    quats.flags.writeable = False  # so that the motion need not copy it
    try:
        return Motion(Skeleton(tuple(joints), tuple(parents), offsets, ends * leaves), fps, root, quats, None, metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _find_asf(path: Path) -> Path:
    siblings = sorted(other for other in path.parent.iterdir() if other.suffix.lower() == ".asf")
    stem = path.stem.lower()
    for wanted in (stem, stem.rpartition("_")[0], stem.partition("_")[0]):
        for other in siblings:
            if other.stem.lower() == wanted:
                return other
    if len(siblings) == 1:
        return siblings[0]
    raise ValueError(f"{path}: the skeleton {stem.partition('_')[0]}.asf is not beside it; put it there or name it")


def _fail(path: Path, line: int, message: str) -> NoReturn:
    raise ValueError(f"{path}, line {line}: {message}")


def _lines(path: Path, limit: int) -> Iterator[str]:
    size = path.stat().st_size
    if size > limit:
        raise ValueError(f"{path}: {size / 1e6:.0f} MB is more than the {limit / 1e6:.0f} MB that are read; cut it")
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for line, text in enumerate(file, 1):
            if len(text) > MAX_LINE:
                _fail(path, line, f"{len(text)} characters in one line; the file is damaged")
            yield text


def _numbers(path: Path, line: int, words: list[str], count: int) -> list[float]:
    if len(words) < count:
        _fail(path, line, f"expected {count} numbers, found {len(words)}; the file is damaged")
    values = []
    for word in words[:count]:
        try:
            values.append(float(word))
        except ValueError:
            hint = "decimals must be written with points, not commas" if "," in word else "the file is damaged"
            _fail(path, line, f"expected a number, found {word[:30]!r}; {hint}")
        if not abs(values[-1]) < MAX_MAGNITUDE:
            _fail(path, line, f"{word[:30]!r} is not a usable number; the file is damaged")
    return values


def _order(path: Path, line: int, words: list[str]) -> str:
    order = words[0].upper() if words else "XYZ"
    if sorted(order) != ["X", "Y", "Z"]:
        _fail(path, line, f"the order of axes must be XYZ or another order of these letters, got {order[:30]!r}")
    return order


def _degrees_of_freedom(path: Path, line: int, words: list[str]) -> list[str]:
    dof = [word.lower() for word in words]
    for word in dof:
        if word not in ("tx", "ty", "tz", "rx", "ry", "rz", "l"):
            _fail(path, line, f"unknown degree of freedom {word[:30]!r}; known are tx ty tz rx ry rz l")
    if len(set(dof)) < len(dof):
        _fail(path, line, "the same degree of freedom twice; the file is damaged")
    return dof


def _read_asf(path: Path) -> _Bones:
    result = _Bones()
    section, bone, name = "", None, ""
    for line, text in enumerate(_lines(path, MAX_ASF_BYTES), 1):
        words = text.split("#")[0].split()
        if not words:
            continue
        key, rest = words[0].lower(), words[1:]
        if key.startswith(":"):
            section = key
        elif section == ":units" and key == "length":
            (result.length_unit,) = _numbers(path, line, rest, 1)
            if not 1e-6 < result.length_unit < 1e6:
                _fail(path, line, f"the unit of length must be a positive number, got {rest[0][:30]}")
        elif section == ":units" and key == "angle":
            result.degrees = not (rest and rest[0].lower().startswith("rad"))
        elif section == ":root":
            if key == "order":
                result.bones["root"].dof = _degrees_of_freedom(path, line, rest)
            elif key == "axis":
                result.bones["root"].axis_order = _order(path, line, rest)
            elif key == "position":
                result.position = _numbers(path, line, rest, 3)
            elif key == "orientation":
                result.bones["root"].axis = _numbers(path, line, rest, 3)
        elif section == ":bonedata":
            if key == "begin":
                bone, name = _Bone(), ""
            elif bone is None:
                _fail(path, line, f"{words[0][:30]!r} outside of begin and end; the file is damaged")
            elif key == "name":
                name = " ".join(rest)
            elif key == "direction":
                bone.direction = _numbers(path, line, rest, 3)
            elif key == "length":
                (bone.length,) = _numbers(path, line, rest, 1)
            elif key == "axis":
                bone.axis = _numbers(path, line, rest, 3)
                bone.axis_order = _order(path, line, rest[3:])
            elif key == "dof":
                bone.dof = _degrees_of_freedom(path, line, rest)
            elif key == "end":
                if not name or name in result.bones:
                    _fail(path, line, f"a bone needs a name that no other bone has, got {name[:30]!r}")
                if len(result.bones) == MAX_JOINTS:
                    _fail(path, line, f"more than {MAX_JOINTS} bones; remove those that are not needed")
                result.bones[name] = bone
                bone = None
        elif section == ":hierarchy" and key not in ("begin", "end"):
            for child in words:
                if child not in result.bones:
                    _fail(path, line, f"bone {child[:30]!r} of the hierarchy has no bone data")
            result.children.setdefault(words[0], []).extend(rest)
    if len(result.bones) == 1:
        raise ValueError(f"{path}: has no :bonedata, so it is not an ASF file")
    return result


def _in_depth_first_order(path: Path, skeleton: _Bones) -> tuple[list[str], list[int]]:
    names: list[str] = []
    parents: list[int] = []
    stack = [("root", -1)]
    while stack:
        name, parent = stack.pop()
        if name in names:
            raise ValueError(f"{path}: bone {name[:50]} stands at two places of the hierarchy; the file is damaged")
        stack += [(child, len(names)) for child in reversed(skeleton.children.get(name, []))]
        names.append(name)
        parents.append(parent)
    if lone := next((name for name in skeleton.bones if name not in names), None):
        raise ValueError(f"{path}: bone {lone[:50]} is not connected to the root; the file is damaged")
    return names, parents


def _read_frames(path: Path, asf_path: Path, skeleton: _Bones) -> tuple[dict[str, np.ndarray], bool]:
    """The numbers (T, degrees of freedom) of every bone that the AMC file moves, and whether its angles are degrees."""
    width = {name: len(bone.dof) for name, bone in skeleton.bones.items()}
    numbers: dict[str, array[float]] = {}
    lines: dict[str, array[int]] = {}
    frames, degrees = 0, skeleton.degrees
    for line, text in enumerate(_lines(path, MAX_AMC_BYTES), 1):
        words = text.split()
        if not words or words[0][0] == "#":
            continue
        name = words[0]
        if name[0] == ":":
            if name.upper() in (":DEGREES", ":RADIANS"):
                degrees = name.upper() == ":DEGREES"
        elif len(words) == 1 and name not in width:
            if not name.isdecimal():
                _fail(path, line, f"expected the number of a frame or a bone and its angles, found {name[:30]!r}")
            if frames != len(lines.get("root", ())):
                _fail(path, line, "the frame before this one has no root; the file is damaged")
            frames += 1
            if frames > MAX_FRAMES:
                _fail(path, line, f"more than {MAX_FRAMES} frames; cut the file into parts")
        elif name not in width:
            _fail(path, line, f"bone {name[:30]!r} is not in {asf_path.name}; the two files do not belong together")
        elif len(words) - 1 != width[name]:
            _fail(
                path, line, f"bone {name[:50]} needs {width[name]} numbers, found {len(words) - 1}; the file is damaged"
            )
        else:
            of_bone = lines.setdefault(name, array("L"))
            of_bone.append(line)
            if len(of_bone) != frames:
                _fail(path, line, f"bone {name[:50]} is missing in a frame or there twice; the file is damaged")
            try:
                numbers.setdefault(name, array("d")).extend(map(float, words[1:]))
            except ValueError:
                _numbers(path, line, words[1:], width[name])
    if "root" not in lines:
        raise ValueError(f"{path}: has no frames with a root, so it is not an AMC file")
    columns = {}
    for name, of_bone in lines.items():
        if len(of_bone) != frames:
            _fail(path, of_bone[-1], f"bone {name[:50]} is missing after this frame; the file is cut off")
        columns[name] = np.array(numbers.pop(name)).reshape(frames, width[name])
        usable = np.abs(columns[name]) < MAX_MAGNITUDE
        if not usable.all():
            frame, column = np.argwhere(~usable)[0]
            value = columns[name][frame, column]
            _fail(path, of_bone[frame], f"{value:g} is not a usable number; the file is damaged")
    return columns, degrees
