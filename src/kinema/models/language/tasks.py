"""Tasks as data: a file of instruction templates each, and the examples that corpora give for them.

A template has slots: {caption}, {seconds}, {motion}, {past}, {future}, {before}, {middle}, {after}, {first}, {last} and
{features}. A task says how its slots are filled from a sample.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from kinema.models.language.vocabulary import Encoded, Feature, Piece, Vocabulary

FOLDER = Path(__file__).parent / "templates"
LONGEST = 75  # steps of a motion that is answered: 10 s at 7.5 a second
SHORTEST = 4  # and of one that is learned from
PAST = 16  # steps of a motion that is gone on from, and at most of what comes after a gap
_SLOT = re.compile(r"\{([a-z_]+)\}")
Stage = Literal["align", "instruct"]


@dataclass(frozen=True, eq=False)
class Sample:
    """A caption and the motion tokens (N, places) that it is about, with continuous features of it by name."""

    caption: str
    tokens: np.ndarray
    steps_per_second: float
    features: Mapping[str, np.ndarray]

    def seconds(self, steps: int) -> str:
        """The length of some steps, as it is written in an instruction."""
        return written_seconds(steps, self.steps_per_second)


Slots = dict[str, Piece]


@dataclass(frozen=True, eq=False)
class Task:
    """One kind of instruction.

    Args:
        name: of its file of templates.
        slots: fills the slots from a sample by chance; None if the sample is too short for it.
        instructions, answer: templates; the first instruction is the one that is used to generate.
    """

    name: str
    slots: Callable[[Sample, np.random.Generator], Slots | None]
    instructions: tuple[str, ...]
    answer: str

    def pair(self, sample: Sample, rng: np.random.Generator) -> tuple[list[Piece], list[Piece]] | None:
        """An instruction and its answer; None if the sample is too short."""
        filled = self.slots(sample, rng)
        if filled is None:
            return None
        template = self.instructions[rng.integers(len(self.instructions))]
        return fill(template, filled), fill(self.answer, filled)


def written_seconds(steps: int, steps_per_second: float) -> str:
    return f"{steps / steps_per_second:.1f}"


def fill(template: str, slots: Mapping[str, Piece]) -> list[Piece]:
    """A template with its slots filled: text as one piece wherever no motion or feature stands between.

    Raises:
        ValueError: a slot has no value.
    """
    pieces: list[Piece] = []
    for number, part in enumerate(_SLOT.split(template)):
        if number % 2 and part not in slots:
            raise ValueError(f"the template {template!r} has a slot {{{part}}}, which nothing fills")
        piece = slots[part] if number % 2 else part
        if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += piece
        elif not isinstance(piece, str) or piece:
            pieces.append(piece)
    return pieces


def without_text(pieces: Sequence[Piece]) -> list[Piece]:
    """What is left of an instruction for guidance: its motion and features."""
    return [piece for piece in pieces if not isinstance(piece, str)]


# --- the tasks --------------------------------------------------------------------------------------------------------


def _whole(sample: Sample, rng: np.random.Generator) -> Slots:
    tokens = sample.tokens
    slots: Slots = {"caption": sample.caption, "motion": tokens, "seconds": sample.seconds(len(tokens))}
    return slots | {"first": tokens[:1], "last": tokens[-1:]}


def _prediction(sample: Sample, rng: np.random.Generator) -> Slots | None:
    tokens = sample.tokens
    if len(tokens) < 4:
        return None
    cut = int(rng.integers(1, len(tokens) - 1))
    past, future = tokens[max(0, cut - PAST) : cut], tokens[cut:]
    return {"caption": sample.caption, "past": past, "future": future, "seconds": sample.seconds(len(future))}


def _in_betweening(sample: Sample, rng: np.random.Generator) -> Slots | None:
    tokens = sample.tokens
    if len(tokens) < 6:
        return None
    start, end = sorted(rng.choice(np.arange(1, len(tokens)), 2, replace=False).tolist())
    slots: Slots = {"before": tokens[max(0, start - PAST) : start], "after": tokens[end : end + PAST]}
    return slots | {"middle": tokens[start:end], "seconds": sample.seconds(end - start), "caption": sample.caption}


def with_features(name: str) -> Callable[[Sample, np.random.Generator], Slots | None]:
    """Slots of a task that is also given the features `name` of a sample, as {features}."""

    def slots(sample: Sample, rng: np.random.Generator) -> Slots | None:
        values = sample.features.get(name)
        return None if values is None else _whole(sample, rng) | {"features": Feature(name, values)}

    return slots


_SLOTS: dict[str, Callable[[Sample, np.random.Generator], Slots | None]] = {
    "text_to_motion": _whole,
    "length": _whole,
    "motion_to_text": _whole,
    "unconditional": _whole,
    "prediction": _prediction,
    "prediction_with_text": _prediction,
    "in_betweening": _in_betweening,
    "poses": _whole,
    "first_pose": _whole,
    "last_pose": _whole,
}
SHARES: dict[Stage, dict[str, float]] = {
    "align": {"text_to_motion": 0.35, "length": 0.35, "motion_to_text": 0.25, "unconditional": 0.05},
    "instruct": {
        "text_to_motion": 0.15, "length": 0.35, "motion_to_text": 0.18, "unconditional": 0.02, "prediction": 0.06,
        "prediction_with_text": 0.1, "in_betweening": 0.06, "poses": 0.03, "first_pose": 0.03, "last_pose": 0.02,
    },
}  # fmt: skip


@cache
def task(name: str) -> Task:
    """A task by name."""
    return read_task(FOLDER / f"{name}.json", _SLOTS[name])


def read_task(path: Path, slots: Callable[[Sample, np.random.Generator], Slots | None]) -> Task:
    """A task from a file of templates: {"answer": "{motion}", "instructions": ["Make a motion: {caption}", ...]}.

    Raises:
        ValueError: the file is not of this form.
    """
    try:
        content = json.loads(path.read_bytes())
        instructions, answer = tuple(content["instructions"]), content["answer"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of instruction templates ({error!r})") from None
    if not instructions or not all(isinstance(text, str) for text in (*instructions, answer)):
        raise ValueError(f"{path}: the instructions and the answer must be texts")
    return Task(path.stem, slots, instructions, answer)


def instruction(name: str, vocabulary: Vocabulary, **slots: Piece) -> tuple[Encoded, Encoded]:
    """The question that asks for a motion by a task, `<mot>` included, and the same without its text, for guidance."""
    pieces = fill(task(name).instructions[0], slots)
    begin = vocabulary.plain([vocabulary.config.begin])
    return vocabulary.question(pieces) + begin, vocabulary.question(without_text(pieces)) + begin


def example(
    tasks: Sequence[tuple[Task, float]],
    vocabulary: Vocabulary,
    stage: Stage,
    sample: Sample,
    rng: np.random.Generator,
    text_drop: float,
) -> tuple[Encoded, np.ndarray] | None:
    """One example of a task drawn by its share: all ids, and which of them count (L,): in the stage "align" all, in
    "instruct" those of the answer. None where the sample is too short for the task, or the example for the context.

    Args:
        text_drop: how often the text of an instruction for motion is left out, so that guidance knows it to be missing.
    """
    shares = np.array([share for _, share in tasks])
    chosen = tasks[rng.choice(len(tasks), p=shares / shares.sum())][0]
    pair = chosen.pair(sample, rng)
    if pair is None:
        return None
    question, reply = pair
    if rng.random() < text_drop and not any(isinstance(piece, str) for piece in reply):
        question = without_text(question)
    config = vocabulary.config
    asked, answered = vocabulary.question(question), vocabulary.answer(reply)
    whole = asked + answered
    if len(whole) > config.context:
        return None
    counts = np.ones(len(whole), bool)
    if stage == "instruct":
        counts[: len(asked)] = False
    counts[whole.ids[:, 0] == config.feature] = False
    return whole, counts


def words() -> list[str]:
    """All texts of the templates, for the tokenizer."""
    texts = [text for name in _SLOTS for text in task(name).instructions]
    return [_SLOT.sub(" ", text) for text in texts] + [f"{tenths / 10:.1f} seconds" for tenths in range(5, 100)]
