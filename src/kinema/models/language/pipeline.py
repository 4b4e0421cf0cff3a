"""A motion language model in use: a Request in, Motions out, a motion in, a sentence out.

A motion is decoded step by step, and each step of tokens becomes frames at once. What is longer than an answer may be
is made of windows: each after the first is asked for as what follows the last steps of the one before, and so are the
prompts of a timeline and a past motion. The codec's decoder never notices, as it reads one stream of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.conditions.request import MAX_TEXT, Request
from kinema.features import pose154
from kinema.models import registry
from kinema.models.codec.pipeline import MotionCodec, Stream
from kinema.models.language import tasks
from kinema.models.language.data import check_codec, collate
from kinema.models.language.decoding import Answer, Decoder, Sampling
from kinema.models.language.model import LanguageModel
from kinema.models.language.vocabulary import Encoded, Vocabulary, read_tokenizer
from kinema.models.weights import read_weights
from kinema.motion import Motion
from kinema.motion.contacts import clean_feet
from kinema.motion.editing import concatenate, joined_metadata, resample

BLEND = 0.4  # s over which a motion that continues another leaves that one's last pose
TURN = 2  # steps of the past that a new sentence sees; at 16 it goes on as before, whatever the sentence
DRAWN = 16  # sentences that a description is chosen from
SENTENCE = 80  # tokens of the longest caption
TOGETHER = 32  # motions of generate_many that are made at once


@dataclass
class Part:
    """What one window is asked for: `steps` None leaves the length to the model."""

    prompt: str
    steps: int | None


class Seam:
    """Moves a motion that comes piece by piece to where another ended, and lets it leave that one's pose smoothly."""

    def __init__(self, before: Motion) -> None:
        self._before = _frames(before, slice(-2, None))
        self._first: Motion | None = None  # the frames over which it blends, as they came

    def __call__(self, piece: Motion) -> Motion:
        """The next piece, where it belongs."""
        so_far = piece if self._first is None else _joined([self._first, piece])
        placed = concatenate([self._before, so_far], BLEND)
        if self._first is None or self._first.seconds < BLEND:
            self._first = so_far
        return _frames(placed, slice(len(placed) - len(piece), None))


class LanguageGenerator:
    """p(motion | text, seconds, past, future) by a motion language model, on BODY at its codec's rate; and back.

    `reset` and `step` stream a motion, a step of tokens at a time; `generate` is built on them. Where no length is
    asked for, the first sample's `</mot>` ends all samples.
    """

    honours = frozenset({"text", "seconds", "past", "future", "seed", "samples"})
    Settings = Sampling  # what `registry.load` can set

    def __init__(
        self,
        model: LanguageModel,
        vocabulary: Vocabulary,
        codec: MotionCodec,
        info: dict[str, Any],
        sampling: Sampling | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config, self.vocabulary, self.codec = model.config, vocabulary, codec
        self.sampling = sampling or Sampling()
        self.info = info | {"sampling": str(self.sampling)}
        self._decoder = Decoder(self.model)
        self._rows: Iterator[tuple[str, list[np.ndarray]]] = iter(())

    @classmethod
    def load(cls, folder: str | Path, sampling: Sampling | None = None) -> LanguageGenerator:
        """From a folder with model.safetensors, config.json, tokenizer.json and the codec in codec/.

        Raises:
            ValueError: the files are damaged, do not belong together, or belong to another model.
        """
        folder = Path(folder)
        model, info = read_weights(folder, LanguageModel)
        codec = MotionCodec.load(folder.absolute() / "codec")  # "model/codec" would be looked for on the hub
        check_codec(model.config, codec, folder / "codec")
        vocabulary = Vocabulary(read_tokenizer(folder / "tokenizer.json"), model.config)
        return cls(model, vocabulary, codec, info, sampling)

    @classmethod
    def named(cls, name: str) -> LanguageGenerator:
        """By a shipped name, a folder or a hub id.

        Raises:
            ValueError: there is no such model, or it is no motion language model.
        """
        generator = registry.load(name)
        if not isinstance(generator, cls):
            raise ValueError(
                f"the model {name} is no motion language model, which this needs; name being-m0 or a folder"
            )
        return generator

    # --- motion from text ---------------------------------------------------------------------------------------------

    def reset(self, request: Request) -> None:
        """Begin a motion; `step` then yields it piece by piece.

        Raises:
            ValueError: the request asks for what this model cannot do.
        """
        request.refuse_all_but(set(self.honours), "being-m0")
        if request.future is not None and (request.past is None or request.seconds is None):
            raise ValueError("being-m0 leads to a future motion from a past one, in a given time; give all three")
        config = self.config
        self._parts: list[Part] = []
        self._length: int | None = None  # frames of the whole motion, if that is asked for
        if not isinstance(request.seconds, tuple):
            self._parts = [Part(prompt, None) for prompt in request.prompts]
        else:
            ends = np.round(np.cumsum(request.seconds) * config.fps).astype(int)
            self._length = max(2, int(ends[-1]))
            steps = np.diff(-(-ends // config.stride), prepend=0).tolist()
            for prompt, length in zip(request.prompts, steps, strict=True):
                count = -(-length // self._room(prompt, request.future is not None))
                self._parts += [Part(prompt, length * (k + 1) // count - length * k // count) for k in range(count)]
        for part in self._parts:
            self._room(part.prompt, request.future is not None)
        none = np.zeros((0, config.places), np.int64)
        self._request, self._made = request, 0
        self._before = none if request.past is None else self._past(request.past)
        after = None if request.future is None else self._future(request.future)
        self._streams: list[Stream] = []
        self._seams = self._new_seams()
        self._rows = self._run(request, self._before, after)

    def step(self) -> list[Motion] | None:
        """The next frames of each sample, those of one step of tokens, or None at the end. Feet are not cleaned."""
        row = next(self._rows, None)
        if row is None:
            return None
        if not self._streams:
            self._streams = [self._stream(self._before) for _ in range(self._request.samples)]
        prompt, tokens = row
        motions = [stream.step(own) for stream, own in zip(self._streams, tokens, strict=True)]
        motions = [seam(motion) for seam, motion in zip(self._seams, motions, strict=True)]
        end = None if self._length is None else self._length - self._made
        self._made += len(motions[0])
        return [_frames(motion, slice(0, end)).replace(metadata=self._metadata(prompt)) for motion in motions]

    def generate(self, request: Request, progress: Callable[[int, int], None] | None = None) -> list[Motion]:
        """All samples of a request, each on BODY at the codec's frame rate.

        `progress` is told after each step how many of how many are done, where the length is known.

        Raises:
            ValueError: the request asks for what this model cannot do.
        """
        self.reset(request)
        total = sum(part.steps or 0 for part in self._parts)
        rows: list[list[np.ndarray]] = []
        for _, tokens in self._rows:
            rows.append(tokens)
            if progress is not None and total:
                progress(min(len(rows), total), total)
        metadata = self._metadata(" / ".join(request.prompts))
        motions = []
        for seam, tokens in zip(self._seams, zip(*rows, strict=True), strict=True):
            # at once what `step` makes one by one, many times as fast
            whole = self._decoded(np.concatenate([self._before, np.stack(tokens)]))
            new = seam(_frames(whole, slice(len(self._before) * self.config.stride, None)))
            motions.append(_frames(new, slice(0, self._length)).replace(metadata=metadata))
        return [clean_feet(motion) for motion in motions] if self.sampling.foot_lock else motions

    def generate_many(self, requests: Sequence[Request]) -> list[Motion]:
        """One motion for each of many plain requests (one prompt, no past), decoded together. Feet are not cleaned.

        Raises:
            ValueError: a request is not plain, or longer than one window.
        """
        config = self.config
        motions: dict[int, Motion] = {}
        lengths = [
            None if request.seconds is None else max(2, round(float(np.sum(request.seconds)) * config.fps))
            for request in requests
        ]
        steps = [None if frames is None else -(-frames // config.stride) for frames in lengths]
        if any(
            len(request.prompts) > 1
            or request.past
            or request.future
            or request.targets
            or (count or 0) > tasks.LONGEST
            for request, count in zip(requests, steps, strict=True)
        ):
            raise ValueError("generate_many takes requests of one prompt and one window, without past or targets")
        order = sorted(range(len(requests)), key=lambda k: steps[k] or tasks.LONGEST)
        for start in range(0, len(order), TOGETHER):
            chosen = order[start : start + TOGETHER]
            questions = [self._question(requests[k].prompts[0], steps[k], None) for k in chosen]
            answers = [self._answer(question, steps[k]) for (question, _), k in zip(questions, chosen, strict=True)]
            rngs = [np.random.default_rng((requests[k].seed, 0, 0)) for k in chosen]
            for _ in self._decoder.decode(
                [question for question, _ in questions], answers, rngs, self.sampling, [less for _, less in questions]
            ):
                pass
            for k, answer in zip(chosen, answers, strict=True):
                motion = self._decoded(self._tokens(answer))
                frames = slice(0, lengths[k])
                motions[k] = _frames(motion, frames).replace(metadata=self._metadata(requests[k].prompts[0]))
        return [motions[k] for k in range(len(requests))]

    # --- motion to text, and motion from motion -----------------------------------------------------------------------

    def describe(self, motion: Motion) -> str:
        """A sentence about a motion on BODY: of several that are drawn the one that this motion is likeliest for.

        The model is better at motion for a sentence than at sentences, so it is asked both ways (a noisy channel, Brown
        et al. 1993).

        Raises:
            ValueError: it is on another skeleton, shorter than one step, or longer than the context.
        """
        motion = resample(motion, self.config.fps)
        if len(motion) // self.config.stride > self._readable:  # now, as it takes long to encode a long motion
            most = self._readable / self.config.steps_per_second
            raise ValueError(
                f"the motion lasts {motion.seconds:.1f} s, and this model reads at most {most:.1f} s at once; crop it"
            )
        tokens = self.codec.encode(motion)
        question = self.vocabulary.question(
            tasks.fill(tasks.task("motion_to_text").instructions[0], {"motion": tokens})
        )
        answers = [Answer(self.config, "text", longest=SENTENCE) for _ in range(DRAWN)]
        rngs = [np.random.default_rng(number) for number in range(DRAWN)]
        for _ in self._decoder.decode([question] * DRAWN, answers, rngs, Sampling(1.0, 1.0, 0.9)):
            pass
        said = [self.vocabulary.decode(answer.ids) for answer in answers]
        texts = sorted({" ".join(piece for piece in pieces if isinstance(piece, str)) for pieces in said})
        return min(texts, key=lambda text: self._surprise(text, tokens))

    @torch.inference_mode()
    def _surprise(self, text: str, tokens: np.ndarray) -> float:
        """Mean loss, in nats, of the tokens (N, places) of a motion given a sentence and all tokens before."""
        seconds = tasks.written_seconds(len(tokens), self.config.steps_per_second)
        asked, _ = tasks.instruction("length", self.vocabulary, caption=text, seconds=seconds)
        whole = asked + Encoded(self.vocabulary.motion(tokens).ids[1:])  # the question has its `<mot>`
        batch = collate([(whole, np.arange(len(whole)) >= len(asked))])
        device = self.model.embedding.weight.device
        return float(self.model({name: value.to(device) for name, value in batch.items()})["motion"])

    def continued(self, motion: Motion, seconds: float, text: str | None = None, seed: int = 0) -> Motion:
        """A motion on BODY and then `seconds` of what `text` says, or of what it already shows.

        Raises:
            ValueError: it is on another skeleton or shorter than one step, or seconds is out of range.
        """
        motion = resample(motion, self.config.fps)
        text = self._shown(motion) if text is None else text
        (new,) = self.generate(Request(text, seconds, past=motion, seed=seed))
        return _joined([motion, new])

    def fill(self, before: Motion, after: Motion, seconds: float, text: str | None = None, seed: int = 0) -> Motion:
        """`before`, then `seconds` that lead over, then `after`, moved to where these end; all on BODY.

        The new part shows what `text` says, or what `before` shows.

        Raises:
            ValueError: a motion is on another skeleton or shorter than one step, or the gap is too short or too long.
        """
        before, after = (resample(motion, self.config.fps) for motion in (before, after))
        text = self._shown(before) if text is None else text
        (middle,) = self.generate(Request(text, seconds, past=before, future=after, seed=seed))
        return concatenate([_joined([before, middle]), after], BLEND)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _run(
        self, request: Request, past: np.ndarray, future: np.ndarray | None
    ) -> Iterator[tuple[str, list[np.ndarray]]]:
        """The prompt and the tokens (places,) of each sample, step by step as they are decoded."""
        tokens = [past] * request.samples  # of each sample, what it goes on from included
        for number, part in enumerate(self._parts):
            after = future if number == len(self._parts) - 1 else None
            goes_on = number > 0 and part.prompt == self._parts[number - 1].prompt
            # a long past outweighs a sentence that wants something else
            seen = tasks.PAST if goes_on or after is not None else TURN
            questions = [
                self._question(part.prompt, part.steps, row[-seen:] if len(row) else None, after) for row in tokens
            ]
            answers = [self._answer(question, part.steps) for question, _ in questions]
            if part.steps is None:  # the first ends all
                answers[1:] = [self._answer(question, answers[0].longest) for question, _ in questions[1:]]
            rngs = [np.random.default_rng((request.seed, sample, number)) for sample in range(request.samples)]
            asked, dropped = ([pair[k] for pair in questions] for k in (0, 1))
            known = 0
            for _ in self._decoder.decode(asked, answers, rngs, self.sampling, dropped):
                if answers[0].rows[-1][0] == self.config.stop:
                    break
                yield part.prompt, [self.vocabulary.codes(answer.rows[known]) for answer in answers]
                known += 1
            tokens = [
                np.concatenate([row, self._tokens(answer)[:known]]) for row, answer in zip(tokens, answers, strict=True)
            ]

    @property
    def _readable(self) -> int:
        """Steps of the longest motion that can be described."""
        asked = self.vocabulary.question(
            tasks.fill(tasks.task("motion_to_text").instructions[0], {"motion": np.zeros((0, self.config.places), int)})
        )
        return min(tasks.LONGEST, self.config.context - SENTENCE - len(asked))

    def _shown(self, motion: Motion) -> str:
        """What the end of a motion at the codec's rate shows, in a sentence."""
        last = min(len(motion), self._readable * self.config.stride)
        return self.describe(_frames(motion, slice(len(motion) - last, None)))[:MAX_TEXT] or "a person moves."

    def _question(
        self, prompt: str, steps: int | None, past: np.ndarray | None, future: np.ndarray | None = None
    ) -> tuple[Encoded, Encoded]:
        """What is asked for a window, and the same without its text."""
        slots: dict[str, Any] = {"caption": prompt}
        slots["seconds"] = tasks.written_seconds(steps or tasks.LONGEST // 2, self.config.steps_per_second)
        if past is not None and future is not None:
            return tasks.instruction("in_betweening", self.vocabulary, before=past, after=future, **slots)
        if past is not None:
            return tasks.instruction("prediction_with_text", self.vocabulary, past=past, **slots)
        name = "length" if steps is not None else "text_to_motion"
        return tasks.instruction(name, self.vocabulary, **slots)

    def _room(self, prompt: str, between: bool) -> int:
        """Steps of the longest window for a prompt, between two motions or not; ValueError if it leaves hardly any."""
        past = np.zeros((tasks.PAST, self.config.places), np.int64)
        question, _ = self._question(prompt, tasks.LONGEST, past, past if between else None)
        self.vocabulary.check_room(question, tasks.SHORTEST)
        return min(tasks.LONGEST, self.config.context - len(question))

    def _answer(self, question: Encoded, steps: int | None) -> Answer:
        """A motion of some steps; ValueError if the context does not hold the question with it."""
        config = self.config
        self.vocabulary.check_room(question, steps or tasks.SHORTEST)
        return Answer(config, "motion", steps, min(tasks.LONGEST, config.context - len(question) - 1))

    def _tokens(self, answer: Answer) -> np.ndarray:
        """The steps of an answer so far, (N, places)."""
        ids = answer.ids
        return self.vocabulary.codes(ids[ids[:, 0] >= self.config.first])

    def _past(self, motion: Motion) -> np.ndarray:
        """The tokens of the end of a motion; its last frame is the last of its last step."""
        stride = self.config.stride
        motion = resample(motion, self.config.fps)
        frames = min(len(motion) // stride, 4 * tasks.PAST) * stride
        return self.codec.encode(_frames(motion, slice(len(motion) - frames, None)) if frames else motion)

    def _future(self, motion: Motion) -> np.ndarray:
        """The tokens of the beginning of a motion."""
        motion = resample(motion, self.config.fps)
        return self.codec.encode(_frames(motion, slice(0, 4 * tasks.PAST * self.config.stride)))[: tasks.PAST]

    def _decoded(self, tokens: np.ndarray) -> Motion:
        """The motion of tokens (N, places), all at once, from the origin facing +Z."""
        with torch.inference_mode():
            frames = self.codec.model.decode(torch.from_numpy(tokens)[None])[0].double().numpy()
        return pose154.decode(frames, float(self.config.fps))

    def _new_seams(self) -> list[Callable[[Motion], Motion]]:
        """For each sample what moves it to where the past ends."""
        past, count = self._request.past, self._request.samples
        if past is None:
            return [lambda piece: piece] * count
        return [Seam(resample(past, self.config.fps)) for _ in range(count)]

    def _stream(self, past: np.ndarray) -> Stream:
        """A stream of the codec that goes on from tokens."""
        stream = self.codec.stream()
        if len(past):
            stream.remember(past)
        return stream

    def _metadata(self, prompt: str) -> dict[str, str]:
        source = f"generated by Kinema, {self.info.get('name', 'being-m0')}"
        return {"text": prompt, "source": source, "licence": self.info.get("licence", "")}


def _frames(motion: Motion, frames: slice) -> Motion:
    return motion.replace(root_position=motion.root_position[frames], rotations=motion.rotations[frames])


def _joined(pieces: Sequence[Motion]) -> Motion:
    """Pieces that follow one another as they are."""
    return pieces[0].replace(
        root_position=np.concatenate([piece.root_position for piece in pieces]),
        rotations=np.concatenate([piece.rotations for piece in pieces]),
        metadata=joined_metadata(pieces),
    )
