"""What a motion is asked for: p(motion | conditions), the conditions as one immutable value."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from kinema.formats import load
from kinema.motion import BODY, Motion
from kinema.motion.retarget import retarget

MAX_TEXT = 1000  # characters of one prompt
MAX_PROMPTS = 50
MAX_SECONDS = 300.0  # of one request
MIN_SECONDS = 0.5  # of one prompt
MAX_SAMPLES = 64
MAX_TARGETS = 1000
MAX_COORDINATE = 1000.0  # metres


@dataclass(frozen=True)
class PathTarget:
    """Where the root is, seen from above, at a time: `position` (x, z) in metres, `time` in seconds from the start."""

    time: float
    position: tuple[float, float]


@dataclass(frozen=True)
class JointTarget:
    """Where a joint of BODY is in the world at a time: `position` (x, y, z) in metres, Y up."""

    time: float
    joint: str
    position: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class PoseTarget:
    """A whole pose of BODY at a time.

    Args:
        time: seconds from the start.
        rotations: (22, 4) local unit quaternions wxyz.
        root_position: (3,) metres in the world.
    """

    time: float
    rotations: np.ndarray
    root_position: np.ndarray


Target = PathTarget | JointTarget | PoseTarget


@dataclass(frozen=True, eq=False)
class Request:
    """The conditions of a motion. The figure starts at the origin facing +Z unless a target or the past says else.

    Args:
        text: one sentence, or several that follow one another (a timeline).
        seconds: length in seconds, of the one prompt or of each; None leaves it to the generator.
        targets: what must hold at given times.
        past: a motion on BODY that the new one continues; it is not repeated in the result.
        future: a motion on BODY that the new one leads to; it is not repeated either, and only its movement counts, not
            where it lies.
        seed: the same request with the same seed gives the same motion.
        samples: how many motions.

    Raises:
        ValueError: a field is empty, out of range or contradicts another.
    """

    text: str | Sequence[str]
    seconds: float | Sequence[float] | None = None
    targets: tuple[Target, ...] = ()
    past: Motion | None = None
    future: Motion | None = None
    seed: int = 0
    samples: int = 1

    def __post_init__(self) -> None:
        prompts = self.prompts
        if not 1 <= len(prompts) <= MAX_PROMPTS:
            raise ValueError(f"a request has 1 to {MAX_PROMPTS} prompts, got {len(prompts)}")
        for number, prompt in enumerate(prompts, 1):
            if not prompt.strip():
                raise ValueError(f"prompt {number} is empty; say what the person does")
            if any("\ud800" <= letter <= "\udfff" for letter in prompt):
                raise ValueError(f"prompt {number} holds bytes that are no text; write it in UTF-8")
            if len(prompt) > MAX_TEXT:
                raise ValueError(f"prompt {number} has {len(prompt)} characters; at most {MAX_TEXT} are read")
        object.__setattr__(self, "text", prompts)

        if self.seconds is not None:
            lengths = tuple(np.asarray(self.seconds, dtype=float).ravel().tolist())
            if len(lengths) == 1:
                lengths *= len(prompts)
            if len(lengths) != len(prompts):
                raise ValueError(f"{len(prompts)} prompts need 1 or {len(prompts)} lengths, got {len(lengths)}")
            for value in lengths:
                if not (math.isfinite(value) and value >= MIN_SECONDS):
                    raise ValueError(f"seconds must be at least {MIN_SECONDS} for a prompt, got {value:g}")
            if sum(lengths) > MAX_SECONDS:
                raise ValueError(
                    f"seconds add up to {sum(lengths):g}; at most {MAX_SECONDS:g} can be asked for at once"
                )
            object.__setattr__(self, "seconds", lengths)

        if not 1 <= self.samples <= MAX_SAMPLES:
            raise ValueError(f"samples must be 1 to {MAX_SAMPLES}, got {self.samples}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be 0 or a positive whole number, got {self.seed}")
        if len(self.targets) > MAX_TARGETS:
            raise ValueError(f"at most {MAX_TARGETS} targets, got {len(self.targets)}")
        object.__setattr__(self, "targets", tuple(self.targets))
        for target in self.targets:
            self._check_target(target)
        for name, motion in (("past", self.past), ("future", self.future)):
            if motion is not None and motion.skeleton != BODY:
                raise ValueError(f"the {name} motion must be on BODY; retarget it first")

    def _check_target(self, target: Target) -> None:
        end = sum(self.seconds) if isinstance(self.seconds, tuple) else None
        if not (math.isfinite(target.time) and target.time >= 0 and (end is None or target.time <= end)):
            until = f" to {end:g}" if end is not None else ""
            raise ValueError(f"a target's time must be 0{until} seconds, got {target.time:g}")
        if isinstance(target, JointTarget) and target.joint not in BODY.names:
            raise ValueError(f"no joint {target.joint!r}; the joints are {', '.join(BODY.names)}")
        if isinstance(target, PoseTarget):
            if target.rotations.shape != (len(BODY), 4) or target.root_position.shape != (3,):
                raise ValueError("a pose target needs rotations (22, 4) and a root position (3,)")
            numbers = np.concatenate([target.rotations.ravel() * 0, target.root_position])
        else:
            numbers = np.asarray(target.position, dtype=float)
            if numbers.shape != ((2,) if isinstance(target, PathTarget) else (3,)):
                raise ValueError("a path target's position is (x, z), a joint target's (x, y, z), in metres")
        if not (np.isfinite(numbers).all() and np.abs(numbers).max() <= MAX_COORDINATE):
            raise ValueError(f"a target's position must be within {MAX_COORDINATE:g} m of the origin")

    @property
    def prompts(self) -> tuple[str, ...]:
        """The sentences in order."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)

    def refuse_all_but(self, honoured: set[str], who: str) -> None:
        """Raise ValueError if a field is set that the generator `who` does not honour."""
        for field in fields(self):
            value = getattr(self, field.name)
            is_set = value is not None and value != field.default
            if field.name not in honoured and is_set:
                raise ValueError(f"{who} cannot follow {field.name!r}; it honours {', '.join(sorted(honoured))}")


def pose_target(time: float, motion: Motion, frame: int = 0) -> PoseTarget:
    """The pose of one frame of a motion on BODY, where it stands."""
    return PoseTarget(time, np.array(motion.rotations[frame]), np.array(motion.root_position[frame]))


def read_targets(path: str | os.PathLike[str]) -> tuple[Target, ...]:
    """Targets from a JSON file:

        {"path":   [[time, x, z], ...],
         "joints": [{"time": 2.0, "joint": "left_wrist", "position": [x, y, z]}, ...],
         "poses":  [{"time": 3.0, "file": "pose.bvh", "frame": 0}, ...]}

    Times in seconds, positions in metres, Y up; `file` is relative to the JSON file and is put onto BODY.

    Raises:
        ValueError: the file is not of this form; the sentence says where.
    """
    path = Path(path)
    if path.stat().st_size > 10_000_000:
        raise ValueError(f"{path} is larger than 10 MB; that is no list of targets")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or not set(content) <= {"path", "joints", "poses"} or not content:
        raise ValueError(f'{path} must be an object with "path", "joints" or "poses"')
    if (count := sum(len(rows) for rows in content.values() if isinstance(rows, list))) > MAX_TARGETS:
        raise ValueError(f"{path}: at most {MAX_TARGETS} targets, got {count}")
    targets: list[Target] = []
    for kind, rows in content.items():
        if not isinstance(rows, list):
            raise ValueError(f'{path}: "{kind}" must be a list')
        for number, row in enumerate(rows):
            try:
                targets.append(_read_target(kind, row, path.parent))
            except (KeyError, TypeError, IndexError, OverflowError) as error:
                raise ValueError(
                    f'{path}: entry {number} of "{kind}" is not of the documented form ({error})'
                ) from None
            except ValueError as error:
                raise ValueError(f'{path}: entry {number} of "{kind}": {error}') from None
    return tuple(targets)


def _read_target(kind: str, row: Any, folder: Path) -> Target:
    if kind == "path":
        time, x, z = (float(value) for value in row)
        return PathTarget(time, (x, z))
    if kind == "joints":
        if row["joint"] not in BODY.names:
            raise ValueError(f"no joint {str(row['joint'])[:50]!r}; the joints are {', '.join(BODY.names)}")
        x, y, z = (float(value) for value in row["position"])
        return JointTarget(float(row["time"]), row["joint"], (x, y, z))
    file = (folder / row["file"]).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ValueError(f"the pose file {row['file']} must lie beside the targets")
    return pose_target(float(row["time"]), retarget(load(file)), int(row.get("frame", 0)))
