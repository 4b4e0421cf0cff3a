"""BVH, the text format of motion capture: a HIERARCHY of joints, then one row of numbers a frame.

A file names no unit, so lengths are guessed from the size of the body, and rotations are intrinsic Euler angles in
degrees, in whatever order the CHANNELS lines say. Read into `Motion` are the rest pose as it stands in the file (all
angles zero) and the rotations; the position channels of the root replace its OFFSET.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from kinema.formats.decimals import fast_parser, format_rows, parse_numbers
from kinema.formats.files import atomic_write
from kinema.motion import rotations as rot
from kinema.motion.joint_names import match_joints
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.motion import MAX_FRAMES, Motion
from kinema.motion.skeleton import MAX_JOINTS, Skeleton

MAX_BYTES = 200_000_000
MAX_HEADER_BYTES = 4_000_000
MAX_NUMBERS = 50_000_000
MAX_MAGNITUDE = 1e9
PIECE_BYTES = 1_000_000  # how much of the frames is parsed at once

_BLANK = re.compile(rb"\s")
_COMMENT = re.compile(rb"^[ \t]*(#|//).*$", re.MULTILINE)  # not in any specification, but in files written by hand
# A human body measures about 2.4 m along its bones from the finger tips to the toes, in any pose. The limits lie
# half-way (in ratio) between what that is in two neighbouring units; 0.45 inch is the unit of the CMU database.
_UNITS = [(10.0, 1.0), (64.0, 0.0254 / 0.45), (150.0, 0.0254), (800.0, 0.01), (np.inf, 0.001)]
_COMMON_RATES = (
    *(10, 12, 12.5, 15, 20, 24, 25, 30, 40, 48, 50, 60, 72, 75, 80, 90, 100, 120, 125, 144, 150, 180, 200, 240, 250),
    *(300, 360, 400, 480, 500, 600, 1000),
)
_TELEVISION_RATES = (24000 / 1001, 30000 / 1001, 60000 / 1001)  # only meant where enough digits say so
# first joints that only carry the character about, and are no part of the body
_TRANSFORM_NODES = {"root", "jointroot", "rootjoint", "reference", "armature", "world", "origin", "scene", "character"}


@dataclass
class _Hierarchy:
    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float] | None] = field(default_factory=list)
    tips: list[list[float]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)  # "Xp", "Yr", ...: axis, then position or rotation


def read_bvh(path: str | os.PathLike[str], unit: float | None = None, up: str | None = None) -> Motion:
    """Read one character from a BVH file.

    Four habits of real files are undone:

    - A first joint that only carries the character about (`joint_Root`, `Reference`; one child, which moves against
      it) is folded into that child, so that the root of the motion is the hips, where they are in the world.
    - A T-pose put before the motion (the cgspeed conversion of CMU), with the frames that blend out of it, is dropped;
      `metadata["dropped_frames"]` says how many frames were.
    - Position channels of other joints: a joint of a `Motion` keeps its distance from its parent, so its offset
      becomes the mean of the channels, or stays as it is if they hold only zeros or what OFFSET says.
      `metadata["lost_translation"]` names the joints that really moved against their parents.
    - A file with Z up, as Blender and Xsens write on request, is turned to Y up; `metadata["up"]` says so. This is
      only guessed where the body stands along Z in the rest pose and on z = 0 in the motion.

    Args:
        path: the file.
        unit: metres per unit of the file; None guesses m, cm, mm, inches or the 0.45 inches of CMU from the length of
            the bones. `metadata["unit"]` holds what was used, `metadata["unit_from"]` "guess" or "option".
        up: the vertical axis of the file, "y" or "z"; None guesses.

    Returns:
        The motion in metres and seconds; a frame rate written with few digits (0.0333) becomes the common rate meant.

    Raises:
        ValueError: the file is not BVH, is damaged or too large; the sentence names the file and the place.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if unit is not None and not (np.isfinite(unit) and 0 < unit < 1e6):
        raise ValueError(f"unit must be a positive number of metres per unit of the file, got {unit}")
    if up not in (None, "y", "z"):
        raise ValueError(f"up must be y or z, got {up!r}")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size / 1e6:.0f} MB is more than the {MAX_BYTES / 1e6:.0f} MB that are read; cut it")
    data = path.read_bytes()
    if b"\0" in data[:64]:
        raise ValueError(f"{path}: is not plain text, perhaps UTF-16; save it as UTF-8")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if b"#" in data or b"//" in data:
        data = _COMMENT.sub(b"", data)
    header = re.search(rb"^[ \t]*MOTION\b", data, re.MULTILINE | re.IGNORECASE)
    tree = _read_hierarchy(path, data[: header.start()] if header else data[: MAX_HEADER_BYTES + 1])
    if header is None:
        raise ValueError(f"{path}: has no MOTION section; it is cut off, export it again")
    fps, values = _read_frames(path, data, header.end(), tree)
    del data

    quats, positions = _decode_channels(tree, values)
    frames = len(values)
    del values
    names, parents = tree.names, tree.parents
    offsets, tips = np.array(tree.offsets, dtype=float), np.array(tree.tips)
    root = positions.pop(0, np.broadcast_to(offsets[0], (frames, 3)))
    moving = _offsets_from_positions(offsets, tips, parents, positions)

    while _is_transform_node(names, parents, moving):
        # the child's own pose is given in the frame of the node, so this loses nothing
        child = positions.get(1, np.broadcast_to(offsets[1], root.shape))
        root = root + rot.rotate(quats[:, 0], child)
        quats[:, 1] = rot.multiply(quats[:, 0], quats[:, 1])
        quats, names, offsets, tips = quats[:, 1:], names[1:], offsets[1:], tips[1:]
        parents = [parent - 1 for parent in parents[1:]]
        positions = {joint - 1: value for joint, value in positions.items()}
        moving = {joint - 1 for joint in moving}
    offsets[0] = 0

    metadata: dict[str, object] = {"source": path.name, "unit": unit, "unit_from": "option"}
    if unit is None:
        metadata["unit"] = unit = _guess_unit(_span(parents, offsets, tips))
        metadata["unit_from"] = "guess"
    if dropped := _inserted_frames(quats):
        metadata["dropped_frames"] = dropped
        root, quats = root[dropped:], quats[dropped:]
    if lost := [names[joint] for joint in sorted(moving) if joint > 0]:
        metadata["lost_translation"] = ", ".join(lost)
    try:
        skeleton = Skeleton(tuple(names), tuple(parents), offsets * unit, tips * unit)
        root = root * unit
        if up == "z" or (up is None and _stands_along_z(skeleton, root, quats)):
            metadata["up"] = "Z" if up else "Z (guessed)"
            skeleton, root, quats = _turn_to_y_up(skeleton, root, quats)
        quats.flags.writeable = False  # so that the motion need not copy it
        return Motion(skeleton, fps, root, quats, metadata=metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _fail(path: Path, line: int, message: str) -> NoReturn:
    raise ValueError(f"{path}, line {line}: {message}")


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        hint = "decimals must be written with points, not commas" if "," in text else "export the file again"
        _fail(path, line, f"expected a number, found {text[:30]!r}; {hint}")
    if not abs(value) < MAX_MAGNITUDE:
        _fail(path, line, f"{text[:30]!r} is not a usable number; export the file again")
    return value


def _read_hierarchy(path: Path, header: bytes) -> _Hierarchy:
    """Parse what stands before MOTION, with a stack instead of recursion."""
    text = header.decode("utf-8-sig", errors="replace")
    tokens = _tokens(text)
    if next(tokens, ("", 1))[0].upper() != "HIERARCHY":
        raise ValueError(f"{path}: does not begin with HIERARCHY, so it is not a BVH file")
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"{path}: has no MOTION section in the first {MAX_HEADER_BYTES / 1e6:.0f} MB; export it again")
    tree = _Hierarchy()
    stack: list[int] = []  # open joints; -1 stands for an End Site
    taken: set[str] = set()
    opening: int | None = None  # what the next brace opens
    line = 1

    def numbers(count: int) -> list[float]:
        words = [next(tokens, ("the end of the section", line)) for _ in range(count)]
        return [_number(path, at, word) for word, at in words]

    for word, line in tokens:
        key = word.upper()
        if opening is not None and word != "{":
            _fail(path, line, f"expected {{ after the joint's name, found {word[:30]!r}; export the file again")
        if word == "{":
            if opening is None:
                _fail(path, line, "a { without a joint before it; export the file again")
            stack.append(opening)
            opening = None
        elif word == "}":
            if not stack:
                _fail(path, line, "one } too many; export the file again")
            stack.pop()
        elif key in ("ROOT", "JOINT"):
            if key == "ROOT" and tree.names:
                _fail(path, line, "a second ROOT; save every character to a file of its own")
            if (key == "ROOT") == bool(stack) or (stack and stack[-1] < 0):
                _fail(path, line, f"a {key} in a place where none can be; export the file again")
            if len(tree.names) == MAX_JOINTS:
                _fail(path, line, f"more than {MAX_JOINTS} joints; remove those that are not needed")
            name, _ = next(tokens, ("", line))
            tree.names.append(_unique(name or "joint", taken))
            tree.parents.append(stack[-1] if stack else -1)
            tree.offsets.append(None)
            tree.tips.append([0.0, 0.0, 0.0])
            tree.channels.append([])
            opening = len(tree.names) - 1
        elif key == "END":
            next(tokens, None)  # the rest of the line, as a rule "Site"
            if not stack or stack[-1] < 0:
                _fail(path, line, "an End Site outside of a joint; export the file again")
            opening = -1
        elif key == "OFFSET" and stack:
            if stack[-1] >= 0:
                tree.offsets[stack[-1]] = numbers(3)
            else:
                tree.tips[stack[-2]] = numbers(3)
        elif key == "CHANNELS" and stack:
            count = numbers(1)[0]
            if count not in range(7) or (stack[-1] < 0 and count):
                _fail(path, line, f"a joint has 0 to 6 channels and an End Site none, not {count:g}")
            names = [next(tokens, ("", line))[0] for _ in range(int(count))]
            for name in names:
                if not re.fullmatch(r"[XYZ](POSITION|ROTATION)", name.upper()):
                    _fail(path, line, f"unknown channel {name[:30]!r}; known are Xposition, Xrotation and so on")
            channels = [name[0].upper() + name[1].lower() for name in names]
            positions = [channel for channel in channels if channel[1] == "p"]
            if len(set(positions)) < len(positions) or len(channels) - len(positions) > 3:
                _fail(path, line, f"the channels {' '.join(names)} contradict each other; export the file again")
            if stack[-1] >= 0:
                tree.channels[stack[-1]] = channels
        else:
            _fail(path, line, f"expected JOINT, OFFSET, CHANNELS, End Site or a brace, found {word[:30]!r}")
    if not tree.names:
        raise ValueError(f"{path}: has no ROOT joint; export it again")
    if stack or opening is not None:
        raise ValueError(f"{path}: the HIERARCHY ends inside a joint; a }} is missing or the file is cut off")
    for name, offset in zip(tree.names, tree.offsets, strict=True):
        if offset is None:
            raise ValueError(f"{path}: joint {name} has no OFFSET; export the file again")
    if not any(tree.channels):
        raise ValueError(f"{path}: no joint has CHANNELS, so nothing moves; export it with motion")
    return tree


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Words and braces with their line; what follows ROOT, JOINT or End on its line is one word, blanks as _."""
    for number, line in enumerate(text.split("\n"), 1):
        words = line.replace("{", " { ").replace("}", " } ").split()
        at = 0
        while at < len(words):
            yield words[at], number
            at += 1
            if words[at - 1].upper() in ("ROOT", "JOINT", "END"):
                first = at
                while at < len(words) and words[at] not in "{}":
                    at += 1
                yield "_".join(words[first:at]), number


def _unique(name: str, taken: set[str]) -> str:
    candidates = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(2)))
    free = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(free)
    return free


def _read_frames(path: Path, data: bytes, start: int, tree: _Hierarchy) -> tuple[float, np.ndarray]:
    """The frame rate and the numbers (frames, channels) of the MOTION section."""
    head = re.compile(rb"\s*Frames\s*:\s*(\S+)\s+Frame\s+Time\s*:\s*(\S+)", re.IGNORECASE).match(
        data, start, start + 1000
    )

    def line_of(position: int) -> int:
        return 1 + data.count(b"\n", 0, position)

    if head is None:
        _fail(path, line_of(start), "MOTION must be followed by 'Frames: <count>' and 'Frame Time: <seconds>'")
    channels = [f"{name} {code}" for name, codes in zip(tree.names, tree.channels, strict=True) for code in codes]
    line = line_of(head.start(1))
    frames = _number(path, line, head[1].decode("latin-1"))
    if frames != int(frames) or not 1 <= frames <= MAX_FRAMES:
        _fail(path, line, f"the number of frames must be 1 to {MAX_FRAMES}, got {head[1].decode('latin-1')[:30]}")
    frames = int(frames)
    # joints without channels cost as much memory as others
    if frames * max(len(channels), 3 * len(tree.names)) > MAX_NUMBERS:
        what = f"{len(tree.names)} joints and {len(channels)} numbers"
        _fail(path, line, f"{frames} frames of {what} are too many; cut the file into parts")
    fps = _frame_rate(path, line_of(head.start(2)), head[2].decode("latin-1"))

    expected = frames * len(channels)
    # no more than the file can hold, whatever it says
    values = np.empty(min(expected, (len(data) - head.end()) // 2 + 1))
    count, at, csv = 0, head.end(), fast_parser(len(data))
    while at < len(data):
        blank = _BLANK.search(data, at + PIECE_BYTES)
        end = blank.start() if blank else len(data)
        piece = parse_numbers(data[at:end], csv)
        if piece is None:
            for word in re.finditer(rb"\S+", data[at:end]):
                _number(path, line_of(at + word.start()), word[0].decode("latin-1"))
            _fail(path, line_of(at), "something that is not a number stands here or below; export the file again")
        if count + len(piece) <= len(values):
            values[count : count + len(piece)] = piece
        count += len(piece)
        at = end
    if count != expected:
        raise ValueError(
            f"{path}: says {frames} frames of {len(channels)} numbers, which is {expected}, but holds {count} numbers "
            f"({count / len(channels):.2f} frames); correct its Frames: line or export it again"
        )
    values = values.reshape(frames, len(channels))
    if not (values.max() < MAX_MAGNITUDE and values.min() > -MAX_MAGNITUDE):  # not a number is neither
        frame, column = np.argwhere(~(np.abs(values) < MAX_MAGNITUDE))[0]
        raise ValueError(
            f"{path}: channel {channels[column]} of frame {frame + 1} is {values[frame, column]:g}; repair that frame"
        )
    return fps, values


def _frame_rate(path: Path, line: int, text: str) -> float:
    """Frames per second from a Frame Time, which stands for a common rate if its digits allow that."""
    seconds = _number(path, line, text)
    if not 1e-4 <= seconds <= 1000:
        _fail(path, line, f"Frame Time must be the seconds from frame to frame, got {text[:30]}")
    mantissa, _, exponent = text.lower().partition("e")
    last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    # 2e-7: what a number loses that was a 32-bit float once
    allowed = max(min(last_digit, 0.02 * seconds), 2e-7 * seconds)
    for rates in (_COMMON_RATES, _TELEVISION_RATES):
        nearest = min(rates, key=lambda rate: abs(1 / rate - seconds))
        if abs(1 / nearest - seconds) <= allowed:
            return float(nearest)
    return 1 / seconds


def _decode_channels(tree: _Hierarchy, values: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Rotations (T, J, 4) of all joints, and (T, 3) positions of those that have position channels, file units."""
    quats = np.empty((len(values), len(tree.names), 4))
    positions: dict[int, np.ndarray] = {}
    by_order: dict[str, tuple[list[int], list[list[int]]]] = {}
    column = 0
    for joint, channels in enumerate(tree.channels):
        turning = [column + i for i, channel in enumerate(channels) if channel[1] == "r"]
        joints, columns = by_order.setdefault("".join(c[0] for c in channels if c[1] == "r"), ([], []))
        joints.append(joint)
        columns.append(turning)
        if len(turning) < len(channels):
            positions[joint] = np.tile(np.array(tree.offsets[joint], dtype=float), (len(values), 1))
            for i, channel in enumerate(channels):
                if channel[1] == "p":
                    positions[joint][:, "XYZ".index(channel[0])] = values[:, column + i]
        column += len(channels)
    for order, (joints, columns) in by_order.items():
        columns = np.array(columns, dtype=int)
        for start in range(0, len(values), 256):  # as much as the processor's cache holds
            # time last, so that each step below runs along memory
            angles = np.deg2rad(values[start : start + 256].T[columns])
            quats[start : start + 256, joints] = rot.from_euler(np.moveaxis(angles, 1, -1), order).swapaxes(0, 1)
    return quats, positions


def _span(parents: list[int], offsets: np.ndarray, tips: np.ndarray) -> float:
    """Longest way along the bones from one tip of the body to another; the same in every pose."""
    reach = np.linalg.norm(tips, axis=-1).tolist()
    lengths = np.linalg.norm(offsets, axis=-1).tolist()
    longest = max(reach)
    for joint in range(len(parents) - 1, 0, -1):
        branch = lengths[joint] + reach[joint]
        longest = max(longest, reach[parents[joint]] + branch)
        reach[parents[joint]] = max(reach[parents[joint]], branch)
    return longest


def _offsets_from_positions(
    offsets: np.ndarray, tips: np.ndarray, parents: list[int], positions: dict[int, np.ndarray]
) -> set[int]:
    """Bring offsets and position channels into line, in place; return the joints that move against their parents.

    Offsets that the channels contradict become their mean; channels that hold only zeros are removed.
    """
    # 0.2 % of the longest way through the body is about 5 mm
    tolerance = 0.002 * _span(parents, offsets, tips)
    moving = set()
    for joint, position in list(positions.items()):
        if np.abs(position - offsets[joint]).max() <= tolerance:
            continue
        if np.abs(position).max() <= tolerance:
            del positions[joint]
            continue
        mean = position.mean(0)
        if np.abs(position - mean).max() > tolerance:
            moving.add(joint)
        offsets[joint] = mean
    return moving


def _is_transform_node(names: list[str], parents: list[int], moving: set[int]) -> bool:
    if parents.count(0) != 1:
        return False
    return 1 in moving or re.sub(r"[^a-z]", "", names[0].lower().rpartition(":")[2]) in _TRANSFORM_NODES


def _guess_unit(span: float) -> float:
    """Metres per unit of the file, from the longest way through the body in units of the file."""
    return 0.01 if span == 0 else next(unit for limit, unit in _UNITS if span < limit)


def _stands_along_z(skeleton: Skeleton, root: np.ndarray, quats: np.ndarray) -> bool:
    """Whether a file has Z up: a human who stands along Z in the rest pose, and on z = 0 in the motion.

    Such a rest pose is not enough, as the rotation of the root may put it upright; nor is a body along Z in the motion,
    as it may lie.
    """
    rest = skeleton.rest_positions
    if np.ptp(rest[:, 2]) < 2 * np.ptp(rest[:, 1]):
        return False
    try:
        body = match_joints(skeleton)
    except ValueError:  # not a human
        return False
    hips = rest[[body["left_hip"], body["right_hip"]]].mean(0)
    upper, lower = rest[body["head"]] - hips, hips - rest[[body["left_ankle"], body["right_ankle"]]].mean(0)
    legs = lower[2]
    if upper[2] < 0.9 * np.linalg.norm(upper) or legs < 0.9 * np.linalg.norm(lower) or legs == 0:
        return False
    frames = slice(None, None, max(1, len(root) // 50))
    points, _ = forward_kinematics(skeleton, root[frames], quats[frames])
    extent = np.median(np.ptp(points, axis=1), axis=0)
    lowest, carried = np.median(points.min(1), axis=0) / legs, np.median(points[:, 0], axis=0) / legs
    on_floor = (np.abs(lowest) < 0.35) & (carried > 0.1) & (carried < 1.6)
    return bool(on_floor[2] and not (on_floor[1] and extent[1] > extent[2]))


def _turn_to_y_up(skeleton: Skeleton, root: np.ndarray, quats: np.ndarray) -> tuple[Skeleton, np.ndarray, np.ndarray]:
    """The same motion of a world with Z up in ours: in other coordinates, or, where the rest pose has Y up, turned."""

    def turned(vectors: np.ndarray) -> np.ndarray:
        return vectors[..., [0, 2, 1]] * (1, 1, -1)

    _, depth, height = np.ptp(skeleton.rest_positions, axis=0)
    if height > depth:
        skeleton = Skeleton(skeleton.names, skeleton.parents, turned(skeleton.offsets), turned(skeleton.tips))
        quats[..., 1:] = turned(quats[..., 1:])
    else:
        quats[:, 0] = rot.multiply(rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(-np.pi / 2)), quats[:, 0])
    return skeleton, turned(root), quats


def _inserted_frames(quats: np.ndarray) -> int:
    """How many frames at the start are an inserted rest pose and the blend out of it.

    Such a frame stands out twice: the root and most joints are not rotated at all, and the step to the next frame is
    many times larger than the steps later on.
    """
    head = quats[:40]
    if len(head) < 10:
        return 0
    turned = np.degrees(2 * np.arccos(np.clip(np.abs(head[..., 0]), 0, 1)))
    at_rest = np.mean(turned < 2, axis=1)
    steps = np.degrees(rot.angle_between(head[1:], head[:-1])).mean(1)
    usual = 4 * np.median(steps[6:])
    if turned[0, 0] > 0.1 or at_rest[0] < 0.6 or at_rest[8] > at_rest[0] - 0.1 or steps[0] < max(1.0, usual):
        return 0
    count = 1
    while count < 8 and steps[count] > max(usual, 0.1 * steps[0]):
        count += 1
    return count


def write_bvh(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write a motion as BVH: centimetres, 6 channels at the root, 3 elsewhere, rotations in ZXY order, Y up.

    Joints stand in depth-first order, as the format demands; a leaf gets its tip as End Site. Angles run on past 180
    degrees where that avoids a jump from frame to frame. Blanks and braces in names become _. BVH has no place for
    metadata, so source and licence stay behind.

    Raises:
        ValueError: the motion is larger than any world.
        OSError: the file cannot be written.
    """
    skeleton = motion.skeleton
    lines, order = ["HIERARCHY"], []
    taken: set[str] = set()
    stack: list[tuple[int, int]] = [(0, 0)]  # joint (or -1 to close one), depth
    while stack:
        joint, depth = stack.pop()
        pad = "  " * depth
        if joint < 0:
            lines.append(f"{pad}}}")
            continue
        order.append(joint)
        name = _unique(re.sub(r"[\s{}]+", "_", skeleton.names[joint]) or "joint", taken)
        channels = "3 Zrotation Xrotation Yrotation"
        if joint == 0:
            channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        lines += [f"{pad}{'JOINT' if depth else 'ROOT'} {name}", f"{pad}{{"]
        lines += [f"{pad}  OFFSET {_centimetres(skeleton.offsets[joint])}", f"{pad}  CHANNELS {channels}"]
        stack.append((-1, depth))
        children = skeleton.children[joint]
        if not children:
            lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {_centimetres(skeleton.tips[joint])}"]
            lines += [f"{pad}  }}"]
        stack += [(child, depth + 1) for child in reversed(children)]

    rows = np.empty((len(motion), 3 + 3 * len(order)))
    rows[:, :3] = motion.root_position * 100
    for start in range(0, len(motion), 256):
        angles = np.degrees(rot.to_euler(motion.rotations[start : start + 256, order], "ZXY"))
        rows[start : start + 256, 3:] = angles.reshape(len(angles), -1)
    if max(np.abs(rows[:, :3]).max(), np.abs(skeleton.offsets).max() * 100) >= MAX_MAGNITUDE:
        raise ValueError(f"{path}: lengths beyond 10000 km cannot be written as BVH; check the unit of the motion")
    turns = np.rint(np.diff(rows[:, 3:], axis=0) / 360)
    if turns.any():
        rows[1:, 3:] -= 360 * np.cumsum(turns, axis=0)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.12g}", ""]
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(lines).encode())
        file.writelines(format_rows(rows))


def _centimetres(vector: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in vector * 100)
