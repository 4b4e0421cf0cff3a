"""Training data of FracMoGen: corpora as state curves in memory, and the batches cut from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from kinema.conditions.text import TextEncoder
from kinema.corpora import Corpus
from kinema.corpora.captions import mirror_text
from kinema.features import pose151
from kinema.models.fracmogen import scales
from kinema.models.fracmogen.config import COARSEST, TOP, FracMoGenConfig
from kinema.models.fracmogen.model import MIXING, FracMoGen
from kinema.models.fracmogen.scales import POSE, STATE
from kinema.models.weights import write_weights

SAMPLED_LEVELS = {3: 0.88, 4: 0.08, 5: 0.04}
REFINED_PAIRS = {  # (target, source): share of the batches
    (2, 3): 0.12, (1, 3): 0.12, (0, 3): 0.26, (0, 1): 0.14, (0, 2): 0.10, (1, 2): 0.06,
    (3, 4): 0.06, (2, 4): 0.03, (0, 4): 0.04, (3, 5): 0.03, (4, 5): 0.02, (0, 5): 0.02,
}  # fmt: skip
REFINER_FRAMES = 161  # longest window of the refiner
MIN_FRAMES = 33


class Frames:
    """All clips of some corpora, each also mirrored, as state curves, with their captions as embeddings.

    Attributes:
        state (N, 154), feet (N, 4, 2), contacts (N, 4): the frames of all clips, one after the other.
        clips: (C, 2) first frame and number of frames; the second half of the clips are the mirrored first half.
        captions: per clip, rows (start frame, end frame, index into `texts`).
        texts: (M, 768).
        splits: {split: indices of clips}.
    """

    def __init__(self, corpora: Sequence[Corpus], splits: Sequence[str]) -> None:
        state, feet, contacts, clips, captions = [], [], [], [], []
        sentences: dict[str, int] = {}
        self.splits: dict[str, list[int]] = {split: [] for split in splits}
        wanted = [
            (corpus, clip, mirrored)
            for mirrored in (False, True)
            for corpus in corpora
            for clip in corpus.clips
            if clip.split in splits and clip.frames >= MIN_FRAMES
        ]
        at = 0
        for corpus, clip, mirrored in track(wanted, "reading motion", console=Console(stderr=True)):
            motion = corpus.motion(clip, mirrored=mirrored)
            curve, touching = scales.state_of(motion)
            state.append(curve.astype(np.float32))
            feet.append(scales.feet_world(curve).astype(np.float32))
            contacts.append(touching)
            self.splits[clip.split].append(len(clips))
            clips.append((at, clip.frames))
            at += clip.frames
            rows = []
            for caption in clip.captions:
                text = mirror_text(caption.text) if mirrored else caption.text
                if caption.end - caption.start >= MIN_FRAMES:
                    rows.append((caption.start, caption.end, sentences.setdefault(text, len(sentences))))
            if not rows:
                text = mirror_text(clip.captions[0].text) if mirrored else clip.captions[0].text
                rows.append((0, clip.frames, sentences.setdefault(text, len(sentences))))
            captions.append(np.array(rows))
        if not clips:
            raise ValueError(f"the corpora hold no clips of at least {MIN_FRAMES} frames in {', '.join(splits)}")
        self.state = np.concatenate(state)
        self.feet = np.concatenate(feet)
        self.contacts = np.concatenate(contacts)
        self.clips = np.array(clips)
        self.captions = captions
        self.texts = TextEncoder.load().encode_sided(list(sentences))

    def window(self, rng: np.random.Generator, clip: int, longest: int) -> tuple[int, int, int]:
        """A caption of a clip and a span that it is about: (first frame, frames, text)."""
        start, end, text = self.captions[clip][rng.integers(len(self.captions[clip]))]
        length = end - start
        keep = length if rng.random() < 0.5 else round(length * rng.uniform(0.7, 1.0))
        keep = int(min(max(keep, MIN_FRAMES), length, longest))
        return int(self.clips[clip, 0] + start + rng.integers(length - keep + 1)), keep, int(text)

    def velocity(self, values: np.ndarray, index: np.ndarray, clip: np.ndarray) -> np.ndarray:
        """Central differences per frame of one of the arrays at frames `index` (...) of clips `clip` (...)."""
        first, count = self.clips[clip, 0], self.clips[clip, 1]
        after = np.minimum(index + 1, first + count - 1)
        before = np.maximum(index - 1, first)
        shape = (*index.shape, *([1] * (values.ndim - 1)))
        return (values[after] - values[before]) / (after - before).reshape(shape)

    def keys(self, index: np.ndarray, clip: int, stride: int) -> scales.Keys:
        """The real key frames `index` (K,) of a clip."""
        velocity = self.velocity(self.state, index, np.full(len(index), clip))
        return scales.Keys(self.state[index].astype(np.float64), velocity.astype(np.float64), stride)

    def tokens(self, index: np.ndarray, clip: np.ndarray, stride: int) -> np.ndarray:
        """Tokens (..., K, 328) of the key frames `index` (..., K) of clips `clip` (..., 1)."""
        clip = np.broadcast_to(clip, index.shape)
        return scales.tokens(
            self.state[index],
            self.velocity(self.state, index, clip),
            self.feet[index],
            self.velocity(self.feet, index, clip),
            self.contacts[index],
            stride,
        )


class FracMoGenTask:
    """FracMoGen as the trainer sees it (training/task.py)."""

    name = "fracmogen"

    def __init__(
        self, config: FracMoGenConfig, corpora: Sequence[str | Path], *, batch: int = 96, refiner_batch: int = 16
    ) -> None:
        self.config = config
        self.corpora = [Corpus.open(folder) for folder in corpora]
        if len({corpus.fps for corpus in self.corpora} | {float(config.fps)}) > 1:
            raise ValueError(f"the corpora must be at {config.fps} fps")
        self.samples, self.refined = batch, refiner_batch
        self.settings: Mapping[str, Any] = {
            "config": asdict(config),
            "corpora": [corpus.info["sha256"] for corpus in self.corpora],
            "batch": batch,
            "refiner_batch": refiner_batch,
        }
        self.frames = Frames(self.corpora, ("train", "val"))
        if not self.frames.splits["train"]:
            raise ValueError("the corpora hold no clips to train on that last 1.1 s or more")
        # a small corpus may have no clips in this split; its report then says on what the weights were chosen
        self.validation = "val" if self.frames.splits["val"] else "train"
        self.statistics = _statistics(self.frames)

    def build(self) -> nn.Module:
        model = FracMoGen(self.config)
        for name, value in self.statistics.items():
            getattr(model, name).copy_(torch.from_numpy(value))
        return model

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return self._batch(rng, "train")

    def _batch(self, rng: np.random.Generator, split: str) -> dict[str, Tensor]:
        return {**self._sampler_batch(rng, split), **self._refiner_batch(rng, split)}

    def _draw(self, rng: np.random.Generator, split: str, count: int, longest: int) -> list[tuple[int, int, int, int]]:
        """`count` windows (clip, first frame, frames, text) of like length, so that little is padding."""
        clips = rng.choice(self.frames.splits[split], 4 * count)
        rows = sorted(((int(clip), *self.frames.window(rng, clip, longest)) for clip in clips), key=lambda row: row[2])
        quarter = int(rng.integers(4))
        return rows[quarter * count : (quarter + 1) * count]

    def _sampler_batch(self, rng: np.random.Generator, split: str) -> dict[str, Tensor]:
        config, frames = self.config, self.frames
        level = int(rng.choice(list(SAMPLED_LEVELS), p=list(SAMPLED_LEVELS.values())))
        stride = 2**level
        rows = self._draw(rng, split, self.samples, config.max_frames)
        count = np.array([(row[2] - 1) // stride + 1 for row in rows])
        steps = np.minimum(np.arange(count.max())[None], count[:, None] - 1)  # padding repeats the last key frame
        index = np.array([row[1] for row in rows])[:, None] + stride * steps
        raw = frames.tokens(index, np.array([row[0] for row in rows])[:, None], stride)
        last = np.maximum(count - 2, 0)  # the last key frame has no step of its own within the window
        rows_index = np.arange(len(rows))
        for part in (scales.T_STEP, scales.T_TURN, scales.T_FOOT_STEP):
            raw[rows_index, count - 1, part] = raw[rows_index, last, part]
        tokens = (raw - self.statistics["token_mean"][level]) / self.statistics["token_scale"][level]
        text = frames.texts[[row[3] for row in rows]]
        return {
            "level": torch.tensor([level]),
            "tokens": torch.from_numpy(tokens.astype(np.float32)),
            "flags": torch.from_numpy(self._known(rng, count, index.shape[1])),
            "count": torch.from_numpy(count),
            "text": torch.from_numpy(text),
            "has_text": torch.from_numpy(rng.random(len(rows)) >= config.text_drop),
        }

    def _known(self, rng: np.random.Generator, count: np.ndarray, longest: int) -> np.ndarray:
        """(B, K, 2) which key frames are given (a past, a future, some between), and whose trajectory is."""
        flags = np.zeros((len(count), longest, 2), np.float32)
        for row, keys in enumerate(count):
            if rng.random() >= self.config.known or keys < 4:
                continue
            kind = rng.integers(4)
            if kind == 0:  # a past
                flags[row, : rng.integers(1, min(keys - 2, 8)), 0] = 1
            elif kind == 1:  # a past and a future
                flags[row, : rng.integers(1, 3), 0] = 1
                flags[row, keys - rng.integers(1, 3) : keys, 0] = 1
            elif kind == 2:  # single poses
                flags[row, rng.choice(keys, rng.integers(1, 3), replace=False), 0] = 1
            else:  # the way
                flags[row, :keys, 1] = 1
                flags[row, 0, 0] = float(rng.random() < 0.3)
        return flags

    def _refiner_batch(self, rng: np.random.Generator, split: str) -> dict[str, Tensor]:
        pairs = list(REFINED_PAIRS)
        target, source = pairs[rng.choice(len(pairs), p=list(REFINED_PAIRS.values()))]
        rows = self._draw(rng, split, self.refined, REFINER_FRAMES)
        seen, wanted, mixing = [], [], []
        for clip, first, length, _ in rows:
            keys = max((length - 1) // 2**source, 1) + 1
            if (keys - 1) * 2**source + 1 > self.frames.clips[clip, 1]:  # too short a clip for the coarsest levels
                continue
            first = min(first, self.frames.clips[clip].sum() - (keys - 1) * 2**source - 1)
            noise = rng.uniform(0, MIXING) if rng.random() < 0.5 else 0.0
            a, b = self.pair(rng, clip, first, keys, target, source, noise)
            seen.append(a)
            wanted.append(b)
            mixing.append(noise)
        if not seen:
            return {}
        texts = self.frames.texts[[row[3] for row in rows[: len(seen)]]]
        longest = max(len(row) for row in seen)

        def stack(arrays: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack([np.pad(row, ((0, longest - len(row)), (0, 0))) for row in arrays]))

        return {
            "pair": torch.tensor([target, source]),
            "seen": stack(seen),
            "wanted": stack(wanted).clamp(-8, 8),
            "mixing": torch.tensor(mixing, dtype=torch.float32) / MIXING,
            "frames": torch.tensor([len(row) for row in seen]),
            "seen_text": torch.from_numpy(texts),
            "seen_has_text": torch.from_numpy(rng.random(len(seen)) >= self.config.text_drop),
        }

    def pair(
        self, rng: np.random.Generator, clip: int, first: int, keys: int, target: int, source: int, noise: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the refiner sees (N, REFINER_IN) and should answer (N, 308) for key frames of one window."""
        spread = self.statistics["spread"][target, source]
        coarse = self.frames.keys(first + 2**source * np.arange(keys), clip, 2**source)
        if noise:
            shift = noise / MIXING * spread * mixing_noise(rng, np.concatenate([coarse.state, coarse.velocity], 1))
            coarse = scales.Keys(coarse.state + shift[:, :STATE], coarse.velocity + shift[:, STATE:], 2**source)
        index = first + 2**target * np.arange((keys - 1) * 2 ** (source - target) + 1)
        fine = self.frames.keys(index, clip, 2**target)
        base = scales.base(coarse, 2**target)
        known = np.zeros(len(index))
        if not noise:
            known[:: 2 ** (source - target)] = 1
        seen = see(base, known, 2 ** (source - target), self.statistics["state_mean"], self.statistics["state_scale"])
        wanted = residual(base, fine) / spread
        return seen.astype(np.float32), wanted.astype(np.float32)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean losses over fixed batches of `self.validation`."""
        rng = np.random.default_rng(0)
        totals: dict[str, list[float]] = {"sample": [], "refine": []}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for _ in range(12):
                losses = model(self._batch(rng, self.validation))
                for name, values in totals.items():
                    if name in losses:
                        values.append(float(losses[name]))
        means = {name: float(np.mean(values)) for name, values in totals.items()}
        return {"score": means["sample"] + means["refine"], **means}

    def export(self, model: nn.Module, folder: Path, report: dict[str, Any]) -> None:
        """Write model.safetensors (float16) and config.json into `folder`."""
        licences = sorted({corpus.licence for corpus in self.corpora})
        sources = sorted({corpus.source for corpus in self.corpora})
        assert isinstance(model, FracMoGen)
        write_weights(
            model,
            folder,
            {**report, "validated_on": self.validation, "licence": "; ".join(licences), "sources": sources},
        )


def mixing_noise(rng: np.random.Generator, coarse: np.ndarray) -> np.ndarray:
    """Mixing noise (K, 308) of unit spread: the way to another real key frame of the same window.

    Where the figure stands differs between frames for reasons of its own, so path and heading get plain noise.
    """
    noise = coarse[rng.permutation(len(coarse))] - coarse
    noise = noise / np.maximum(noise.std(0), 1e-6)
    place = [STATE - 3, STATE - 2, STATE - 1]
    noise[:, place] = rng.standard_normal((len(coarse), 3))
    noise[:, [STATE + column for column in place]] = rng.standard_normal((len(coarse), 3))
    return np.clip(noise, -3, 3)


def see(base: scales.Keys, known: np.ndarray, phases: int, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What the refiner sees of the curve it corrects, free of place and heading: (N, 156).

    Args:
        base: the curve at the target's frames.
        known: (N,) 1 where a frame must stay as it is.
        phases: frames of the target from one coarse key frame to the next.
        mean, scale: (154,) normaliser of the state.
    """
    per_second = 30.0  # m/s and rad/s are of the order of 1
    motion = np.concatenate([scales.turned(base.velocity[:, 151:153], -base.state[:, 153]), base.velocity[:, 153:]], 1)
    phase = (np.arange(len(known)) % phases) / phases
    pose = (base.state[:, POSE] - mean[:151]) / scale[:151]
    return np.concatenate([pose, motion * per_second, phase[:, None], known[:, None]], 1)


def residual(base: scales.Keys, fine: scales.Keys) -> np.ndarray:
    """What the curve lacks, (N, 308) for state and velocity; planar parts in the heading frame of the curve."""
    state, velocity = fine.state - base.state, fine.velocity - base.velocity
    for part in (state, velocity):
        part[:, 151:153] = scales.turned(part[:, 151:153], -base.state[:, 153])
    return np.concatenate([state, velocity], 1)


def corrected(base: scales.Keys, correction: np.ndarray) -> scales.Keys:
    """Inverse of `residual`: the curve with a correction (N, 308) added."""
    state, velocity = correction[:, :STATE].copy(), correction[:, STATE:].copy()
    for part in (state, velocity):
        part[:, 151:153] = scales.turned(part[:, 151:153], base.state[:, 153])
    return scales.Keys(base.state + state, base.velocity + velocity, base.stride)


def _statistics(frames: Frames) -> dict[str, np.ndarray]:
    """Normalisers from at most 600 training clips."""
    rng = np.random.default_rng(0)
    chosen = frames.splits["train"]
    chosen = rng.choice(chosen, min(600, len(chosen)), replace=False)
    rows = np.concatenate([frames.clips[clip, 0] + np.arange(frames.clips[clip, 1]) for clip in chosen])
    mean, scale = np.zeros(STATE), np.ones(STATE)
    mean[:151] = frames.state[rows, :151].mean(0)
    scale[:151] = np.maximum(frames.state[rows, :151].std(0), pose151.scale_floor(0.05, 0.02))

    token_mean = np.zeros((COARSEST + 1, scales.TOKEN))
    token_scale = np.ones((COARSEST + 1, scales.TOKEN))
    for level in range(TOP, COARSEST + 1):
        parts = []
        for clip in chosen:
            index = frames.clips[clip, 0] + np.arange(0, frames.clips[clip, 1], 2**level)
            if len(index) > 1:
                parts.append(frames.tokens(index, np.array(clip), 2**level))
        values = np.concatenate(parts)
        token_mean[level] = values.mean(0)
        floor = np.full(scales.TOKEN, 0.05)
        floor[:151], floor[151:302] = pose151.scale_floor(0.05, 0.02), pose151.scale_floor(0.03, 0.02)
        token_scale[level] = np.maximum(values.std(0), floor)
        token_mean[level, scales.T_CONTACT], token_scale[level, scales.T_CONTACT] = 0.5, 0.5

    spread = np.ones((COARSEST + 1, COARSEST + 1, 2 * STATE))
    for target, source in REFINED_PAIRS:
        parts = []
        for clip in chosen[:300]:
            first, count = frames.clips[clip]
            keys = (count - 1) // 2**source + 1
            if keys < 2:
                continue
            coarse = first + 2**source * np.arange(keys)
            fine = first + 2**target * np.arange((keys - 1) * 2 ** (source - target) + 1)
            known = frames.keys(coarse, clip, 2**source)
            parts.append(residual(scales.base(known, 2**target), frames.keys(fine, clip, 2**target)))
        values = np.concatenate(parts)
        spread[target, source] = np.maximum(values.std(0), 1e-4)
    return {
        "state_mean": mean.astype(np.float32),
        "state_scale": scale.astype(np.float32),
        "token_mean": token_mean.astype(np.float32),
        "token_scale": token_scale.astype(np.float32),
        "spread": spread.astype(np.float32),
    }
