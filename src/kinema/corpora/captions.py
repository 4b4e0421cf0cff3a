"""Sentences about motions: the captions file that a corpus is built from, and left and right in a mirrored world.

A captions file is JSON Lines: one object a line, UTF-8, blank lines allowed.

    {"motion": "bvh/02_01.bvh", "clip": "02_01", "start": 0.0, "end": null, "text": "a person walks.", "source": "me"}

- `motion` (required): path of the motion file, relative to the folder of the captions file.
- `text` (required): one sentence.
- `start`, `end`: the seconds of the motion that the sentence is about; 0 and null (= to the end) when absent.
- `clip`: the clip's name in the corpus, the same on every line of one motion; when absent, the motion's path without
  its ending. Files of the same name in two folders count as one recording when the corpus is split.
- `source`: who wrote the sentence. `cmu_index` marks a label, which also names the clip's class.

Other keys are ignored.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 2**30
MAX_LINES = 5_000_000
MAX_TEXT = 2_000
MAX_NAME = 200


@dataclass(frozen=True)
class CaptionLine:
    """One line of a captions file: `start` and `end` in seconds, `end` None for "to the end of the motion"."""

    motion: Path
    clip: str | None
    start: float
    end: float | None
    text: str
    source: str


def read_captions(path: Path) -> list[CaptionLine]:
    """Read a captions file (format: see the module).

    Raises:
        ValueError: a line is not as described; the sentence names the file, the line and what is wrong.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(
            f"{path}: {size / 2**20:.0f} MB is more than the {MAX_BYTES // 2**20} MB a captions file may be"
        )
    lines: list[CaptionLine] = []
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            if number > MAX_LINES:
                raise ValueError(f"{path}: more than {MAX_LINES} lines")
            if raw.strip():
                try:
                    lines.append(_parse(raw, path.parent))
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from None
    return lines


def _parse(raw: bytes, folder: Path) -> CaptionLine:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("not a JSON object") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    text = " ".join(_string(row, "text", MAX_TEXT).split())
    if not text:
        raise ValueError("the text is empty")
    motion = _string(row, "motion", 4096)
    if not motion or "\0" in motion:
        raise ValueError("'motion' must be the path of a motion file")
    clip = _string(row, "clip", MAX_NAME).strip() if row.get("clip") is not None else None
    if clip is not None and (not clip or not clip.isprintable()):
        raise ValueError("'clip' must be a name of printable characters")
    start = _seconds(row, "start") or 0.0
    end = _seconds(row, "end")
    if end is not None and end <= start:
        raise ValueError(f"the span ends at {end:g} s, before it starts at {start:g} s")
    source = _string(row, "source", MAX_NAME) if row.get("source") is not None else ""
    return CaptionLine(folder / motion, clip, start, end, text, source)


def _string(row: dict, key: str, longest: int) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is missing or not a string")
    if len(value) > longest:
        raise ValueError(f"{key!r} has {len(value)} characters, more than {longest}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{key!r} holds half of a surrogate pair, which is no character") from None
    return value


def _seconds(row: dict, key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    # not beyond the largest float, which whole numbers of JSON can be
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{key!r} must be a number of seconds from 0 up, or null")
    return float(value)


def _words(pattern: str) -> re.Pattern[str]:
    # a word ends at anything but a letter, so that labels such as "walk-left_active" are mirrored as well
    return re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])".replace(" ", "[ ]+"), re.IGNORECASE)


_DIRECTION = _words(
    r"(?P<side>left|right)(?:s|y|wards?|most|hand|handed|hander|foot|footed)?"
    r"|(?P<counter>counter[-\s]?|anti[-\s]?)?clockwise"
)
# "right" that is no side, and "left" as what remains or what somebody has gone away from.
_NO_DIRECTION = [
    _words(r"all (?P<word>right)"),
    _words(r"(?P<word>right) (?:away|now)"),
    _words(r"(?P<word>right)[-\s]+angle[sd]?"),
    _words(r"(?:the|a|any) (?P<word>right) (?:ways?|places?|time|moment|order|thing|size|height|speed|amount|rhythm)"),
    _words(r"(?:no|any|much|enough) [a-z]+ (?P<word>left)(?!-| (?:hand|arm|leg|foot|elbow|knee|shoulder|side|turn))"),
    _words(r"(?:nothing|anything) (?P<word>left)"),
    _words(r"(?:is|are|was|were|stays|gets) (?P<word>left) (?:over|behind|alone)"),
    _words(r"(?:has|have|had|he|she|they|who|person|man|woman) (?P<word>left) (?:the|a|an|his|her|its|their)"),
]
# "right" that only stresses what follows: "comes right back", "stands right in front of". Not so after these words:
# "to the right before", "turns right after".
_STRESS = _words(
    r"right (?:here|there|next|beside|behind|back|before|after|down|through|into|in front|in the middle|in place"
    r"|up to|up against|on top|on the spot|at the start|at the end|at the beginning|at the edge)"
)
_SIDE_BEFORE = re.compile(
    r"(?<![a-z])(?:the|a|an|his|her|its|their|my|your|one|to|on|with|from|of"
    r"|(?:left|right)(?:,?\s+(?:and|or|then))*"
    r"|(?:turn|veer|pivot|spin|curv|swerv|straf|sidestep|shuffl|drift|rotat)[a-z]*)\s+$",
    re.IGNORECASE,
)


def mirror_text(text: str) -> str:
    """What a sentence about a motion says about the mirrored motion.

    Swaps "left" and "right" with their compounds ("left-handed", "rightwards"), and "clockwise" and
    "counterclockwise" ("counter-clockwise" and "anticlockwise" come back as "counterclockwise"), keeping capitals.
    A "right" that is no side ("right away", "all right", "a right angle", "right behind") and a "left" that remains
    ("no energy left") stay.
    """
    kept = {match.start("word") for pattern in _NO_DIRECTION for match in pattern.finditer(text)}
    kept |= {match.start() for match in _STRESS.finditer(text) if not _SIDE_BEFORE.search(text[: match.start()])}

    def swap(match: re.Match[str]) -> str:
        word, side = match.group(), match.group("side")
        if match.start() in kept:
            return word
        if side is None:
            return _like(word, "clockwise" if match.group("counter") else "counterclockwise")
        return _like(side, "right" if side.lower() == "left" else "left") + word[len(side) :]

    return _DIRECTION.sub(swap, text)


def _like(model: str, word: str) -> str:
    """`word` in the capitals of `model`."""
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word
