"""The text of a BVH file: its tree of joints and its table of numbers, as they stand; `bvh` says what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from kinema.formats.decimals import parse_numbers
from kinema.motion.joint_names import unique_name
from kinema.motion.motion import MAX_FRAMES
from kinema.motion.skeleton import MAX_JOINTS

MAX_BYTES = 200_000_000
MAX_HEADER_BYTES = 4_000_000
MAX_NUMBERS = 50_000_000
MAX_MAGNITUDE = 1e9
PIECE_BYTES = 500_000  # how much of the frames is parsed at once

_BLANK = re.compile(rb"\s")
_COMMENT = re.compile(rb"^[ \t]*(#|//).*$", re.MULTILINE)  # not in any specification, but in files written by hand
_COMMON_RATES = (
    *(10, 12, 12.5, 15, 20, 24, 25, 30, 40, 48, 50, 60, 72, 75, 80, 90, 100, 120, 125, 144, 150, 180, 200, 240, 250),
    *(300, 360, 400, 480, 500, 600, 1000),
)
_TELEVISION_RATES = (24000 / 1001, 30000 / 1001, 60000 / 1001)  # only meant where enough digits say so


@dataclass
class Hierarchy:
    """J joints in the order of the file, each with its parent's index and its numbers in units of the file."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float] | None] = field(default_factory=list)
    tips: list[list[float]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)  # "Xp", "Yr", ...: axis, then position or rotation


def read_file(path: Path) -> tuple[Hierarchy, float, np.ndarray]:
    """The joints, frames per second, and numbers (frames, channels) of a file.

    Raises:
        ValueError: the file is not BVH, is damaged or too large; the sentence names the file and the place.
        OSError: the file cannot be read.
    """
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
    return tree, *_read_frames(path, data, header.end(), tree)


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


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < MAX_MAGNITUDE
    except ValueError:
        return False


def _read_hierarchy(path: Path, header: bytes) -> Hierarchy:
    """Parse what stands before MOTION, with a stack instead of recursion."""
    text = header.decode("utf-8-sig", errors="replace")
    tokens = _tokens(text)
    if next(tokens, ("", 1))[0].upper() != "HIERARCHY":
        raise ValueError(f"{path}: does not begin with HIERARCHY, so it is not a BVH file")
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"{path}: has no MOTION section in the first {MAX_HEADER_BYTES / 1e6:.0f} MB; export it again")
    tree = Hierarchy()
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
            tree.names.append(unique_name(name or "joint", taken))
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
            raise ValueError(f"{path}: joint {name[:50]} has no OFFSET; export the file again")
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


def _read_frames(path: Path, data: bytes, start: int, tree: Hierarchy) -> tuple[float, np.ndarray]:
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
    count, at = 0, head.end()
    while at < len(data):
        blank = _BLANK.search(data, at + PIECE_BYTES)
        end = blank.start() if blank else len(data)
        piece = parse_numbers(data[at:end])
        if piece is None:
            for word in re.finditer(rb"\S+", data[at:end]):
                text = word[0].decode("latin-1")
                if not _is_number(text):  # only now, as to count lines takes time
                    _number(path, line_of(at + word.start()), text)
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
            f"{path}: channel {channels[column][-50:]} of frame {frame + 1} is {values[frame, column]:g}; "
            "repair that frame"
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
