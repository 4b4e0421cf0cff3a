"""Answers, word by word and step by step: what may follow, how it is drawn, many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kinema.models.language.config import LanguageConfig
from kinema.models.language.model import LanguageModel
from kinema.models.language.reader import Readers
from kinema.models.language.vocabulary import Encoded

Kind = Literal["motion", "text", "any"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Args:
        guidance: how far to go beyond the prediction without the instruction's text; 1 is none.
        temperature: above 1 more varied, below less; 0 takes the likeliest.
        top_p: only the likeliest tokens, up to this share of the probability, are drawn from (Holtzman et al. 2020).
        foot_lock: at the end take floating away, hold planted feet in place, lift swinging ones clear (`clean_feet`).

    Raises:
        ValueError: a number is out of range.
    """

    guidance: float = 3.0
    temperature: float = 0.8
    top_p: float = 0.9
    foot_lock: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.guidance <= 20 and 0 <= self.temperature <= 10 and 0 < self.top_p <= 1):
            raise ValueError("guidance must be 0 to 20, temperature 0 to 10, and top_p above 0, to 1")

    def __str__(self) -> str:
        return f"guidance {self.guidance:g}, temperature {self.temperature:g}, top-p {self.top_p:g}"


class Answer:
    """What may come next in one answer, and what has come.

    Args:
        config: which ids are which.
        kind: a motion, whose `<mot>` was read already; text; or either, as the model likes.
        steps: of the motion, if that is asked for: it ends then and not before.
        longest: steps of a motion, or ids of a text, at most.

    Attributes:
        longest: as given, or the steps that are asked for.
        rows: what was drawn: one id of text, or those of a step of motion (places,).
        done: whether it has ended.
    """

    def __init__(self, config: LanguageConfig, kind: Kind, steps: int | None = None, longest: int = 100) -> None:
        self._config, self._kind = config, kind
        self._steps, self.longest = steps, longest if steps is None else steps
        self._inside = 0 if kind == "motion" else None  # steps of the motion that it is in
        self.rows: list[np.ndarray] = []
        self.done = False

    @property
    def ids(self) -> np.ndarray:
        """All that was drawn, (L, places), -1 where there is one id only."""
        return np.array(self.rows, np.int64).reshape(-1, self._config.places)

    @property
    def most(self) -> int:
        """How long it may get."""
        return self.longest + (self._kind != "text") + (self.longest + 1) * (self._kind == "any")

    def legal(self) -> tuple[tuple[int, int], ...]:
        """Spans of ids (first, last exclusive) of which the next one must be, of a step of motion the first."""
        config = self._config
        if self._inside is None:
            return ((0, config.text + (self._kind == "any")),)
        if not self._inside:
            return (config.span(0),)
        if self._inside >= self.longest:
            return ((config.stop, config.stop + 1),)
        return (config.span(0),) if self._steps is not None else ((config.stop, config.stop + 1), config.span(0))

    def take(self, row: np.ndarray) -> None:
        """What comes next has been drawn: ids (places,), -1 after the first where it is no step of motion."""
        config, token = self._config, int(row[0])
        self.rows.append(row)
        if self._inside is not None and token != config.stop:
            self._inside += 1
            if self._kind == "motion" and self._inside == self._steps:
                self.done = True  # `</mot>` is all that could follow
        elif self._inside is not None:
            self._inside = None
            self.done = self._kind == "motion"
        elif token == config.begin:
            self._inside = 0
        else:
            self.done = token == config.end or len(self.rows) >= self.longest


class Decoder:
    """Answers by a model."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.config = model, model.config
        self._readers = Readers(model)

    @torch.inference_mode()
    def decode(
        self,
        questions: Sequence[Encoded],
        answers: Sequence[Answer],
        rngs: Sequence[np.random.Generator],
        sampling: Sampling,
        dropped: Sequence[Encoded] | None = None,
    ) -> Iterator[None]:
        """Let answers grow, all together, until all are done; yields after each id of text or step of motion.

        Args:
            questions: what is answered, `<mot>` included where the answer is a motion; of any lengths.
            answers: one each; they take what is drawn.
            rngs: one each, so that an answer does not depend on which others are made with it.
            sampling: how ids are drawn.
            dropped: the questions without their text, for guidance.
        """
        rows = [*questions, *dropped] if dropped is not None and sampling.guidance != 1 else list(questions)
        guidance = sampling.guidance if len(rows) > len(questions) else 1.0
        longest = max(map(len, rows))
        device = self.model.embedding.weight.device
        skipped = torch.tensor([longest - len(row) for row in rows], device=device)
        most = max(answer.most for answer in answers)
        reader = self._readers.start(skipped, longest + most)
        hidden = reader.read(self._embedded(rows, longest, device))[:, -1]
        for _ in range(most):
            found = self._drawn(hidden, answers, rngs, sampling, guidance)
            for row, answer in zip(found, answers, strict=True):
                if not answer.done:
                    answer.take(row)
            yield
            if all(answer.done for answer in answers):
                return
            ids = torch.from_numpy(np.tile(found, (len(rows) // len(found), 1))[:, None]).to(device)
            hidden = reader.read(self.model.embed(ids))[:, -1]

    def _embedded(self, rows: Sequence[Encoded], longest: int, device: torch.device) -> Tensor:
        ids = torch.full((len(rows), longest, self.config.places), -1)
        ids[..., 0] = 0
        features: dict[str, tuple[list[tuple[int, int]], list[np.ndarray]]] = {}
        for number, row in enumerate(rows):
            skip = longest - len(row)
            ids[number, skip:] = torch.from_numpy(row.ids)
            for name, values in row.features.items():
                at, found = features.setdefault(name, ([], []))
                at += [(number, skip + place) for place, _ in values]
                found += [value for _, value in values]
        tensors = {
            name: (torch.tensor(at, device=device), torch.from_numpy(np.stack(values)).float().to(device))
            for name, (at, values) in features.items()
        }
        return self.model.embed(ids.to(device), tensors)

    def _drawn(
        self,
        hidden: Tensor,
        answers: Sequence[Answer],
        rngs: Sequence[np.random.Generator],
        sampling: Sampling,
        guidance: float,
    ) -> np.ndarray:
        """What comes next in each answer (B, places), from hidden states (B, W), or (2 B, W) with those of the dropped
        questions; 0 and then -1 for those that are done."""
        config, count = self.config, len(answers)
        rows = np.full((count, config.places), -1)
        rows[:, 0] = 0

        def draw(members: list[int], logits: Tensor) -> np.ndarray:
            if guidance != 1:
                with_text, without = logits.chunk(2)
                logits = without + guidance * (with_text - without)
            return drawn(logits.double().cpu().numpy(), [rngs[number] for number in members], sampling)

        def both(members: list[int]) -> list[int]:
            return members if guidance == 1 else members + [count + number for number in members]

        groups: dict[tuple[tuple[int, int], ...], list[int]] = {}  # answers of which the same may follow
        for number, answer in enumerate(answers):
            if not answer.done:
                groups.setdefault(answer.legal(), []).append(number)
        for spans, members in groups.items():
            found = torch.cat([self.model.logits(hidden[both(members)], *span) for span in spans], -1)
            ids = np.concatenate([np.arange(*span) for span in spans])
            rows[members, 0] = ids[draw(members, found)]
        steps = np.flatnonzero(rows[:, 0] >= config.first).tolist()
        known = hidden[both(steps)]
        for place in range(1, config.places) if steps else ():
            newest = torch.from_numpy(np.tile(rows[steps, place - 1], len(known) // len(steps))).to(hidden.device)
            known, found = self.model.deeper(known, newest, place)
            rows[steps, place] = config.span(place)[0] + draw(steps, found)
        return rows


def drawn(logits: np.ndarray, rngs: Sequence[np.random.Generator], sampling: Sampling) -> np.ndarray:
    """A place of each row of logits (B, K), (B,), by temperature and top-p; each row uses one number of its own rng."""
    luck = np.array([rng.random() for rng in rngs])
    if sampling.temperature == 0 or logits.shape[1] == 1:
        return logits.argmax(1)
    shares = np.exp((logits - logits.max(1, keepdims=True)) / sampling.temperature)
    order = np.argsort(-shares, axis=1, kind="stable")
    shares = np.take_along_axis(shares, order, 1)
    below = shares.cumsum(1)
    # the likeliest whose predecessors do not reach the share; there is always one
    kept = below - shares < sampling.top_p * below[:, -1:]
    reached = np.where(kept, below, 0).max(1)
    places = np.minimum((below <= (luck * reached)[:, None]).sum(1), kept.sum(1) - 1)
    return order[np.arange(len(order)), places]
