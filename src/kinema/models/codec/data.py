"""Training data of the codecs: corpora as frames in memory, and the windows cut from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from kinema.corpora import Corpus
from kinema.features import pose151, pose154
from kinema.models.codec.config import CodecConfig
from kinema.models.codec.model import Codec
from kinema.models.weights import write_weights
from kinema.progress import track

WINDOW = 64  # frames of a training window
JUDGED = 256  # frames of the longest window of validation


class Windows:
    """Clips of some corpora, each also mirrored, as frames of pose154.

    Args:
        corpora: at the same frame rate.
        splits: which clips.
        shortest: frames of the shortest clip that is read.
        share: of the takes of the train split, the smaller share always part of the larger.

    Attributes:
        frames: (N, 154) float32, of all clips, one after the other.
        clips: {split: (C, 2) first frame and number of frames}.

    Raises:
        ValueError: there are no clips to train on.
    """

    def __init__(self, corpora: Sequence[Corpus], splits: Sequence[str], shortest: int, share: float = 1.0) -> None:
        wanted = [
            (corpus, clip, mirrored)
            for corpus in corpora
            for clip in corpus.clips
            for mirrored in (False, True)
            if clip.split in splits
            and clip.frames >= shortest
            and (clip.split != "train" or drawn_share(clip.take) < share)
        ]
        frames, at = [], 0
        clips: dict[str, list[tuple[int, int]]] = {split: [] for split in splits}
        for corpus, clip, mirrored in track(wanted, "reading motion", len(wanted)):
            frames.append(pose154.encode(corpus.motion(clip, mirrored=mirrored)).astype(np.float32))
            clips[clip.split].append((at, clip.frames))
            at += clip.frames
        if not clips.get("train"):
            raise ValueError(f"the corpora hold no clips of at least {shortest} frames to train on")
        self.frames = np.concatenate(frames)
        self.clips = {split: np.array(rows, dtype=int).reshape(-1, 2) for split, rows in clips.items()}

    def batch(
        self, rng: np.random.Generator, split: str, count: int, longest: int, multiple: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """`count` windows of `longest` frames, or of whole clips where they are shorter.

        Longer clips are drawn more often, so that all frames count alike.

        Returns:
            frames (B, T, 154), T a multiple of `multiple`, padded by the last frame; frames in use (B,), each a
            multiple of `multiple`.
        """
        rows = self.clips[split]
        chosen = rows[rng.choice(len(rows), count, p=rows[:, 1] / rows[:, 1].sum())]
        used = np.minimum(chosen[:, 1], longest) // multiple * multiple
        first = chosen[:, 0] + (rng.random(count) * (chosen[:, 1] - used + 1)).astype(int)
        index = first[:, None] + np.minimum(np.arange(used.max()), used[:, None] - 1)
        return self.frames[index], used


def drawn_share(take: str) -> float:
    """A number from 0 to 1 that a take always has."""
    return int.from_bytes(hashlib.sha256(f"share {take}".encode()).digest()[:6], "big") / 2**48


class CodecTask:
    """A codec as the trainer sees it (training/task.py)."""

    name = "codec"

    def __init__(
        self, config: CodecConfig, corpora: Sequence[str | Path], *, batch: int = 64, share: float = 1.0
    ) -> None:
        self.config, self.samples = config, batch
        self.corpora = [Corpus.open(folder) for folder in corpora]
        if {corpus.fps for corpus in self.corpora} != {float(config.fps)}:
            raise ValueError(f"the corpora must be at {config.fps} fps")
        if not 0 < share <= 1:
            raise ValueError(f"the share of the takes must be above 0, to 1, got {share:g}")
        self.settings: Mapping[str, Any] = {
            "config": asdict(config),
            "corpora": [corpus.info["sha256"] for corpus in self.corpora],
            "batch": batch,
            "share": share,
        }
        self.windows = Windows(self.corpora, ("train", "val"), max(2, config.stride), share)
        # a small corpus may have no clips in this split; its report then says on what the weights were chosen
        self.validation = "val" if len(self.windows.clips["val"]) else "train"

    def build(self) -> nn.Module:
        model = Codec(self.config)
        rows = self.windows.clips["train"]
        index = np.concatenate([np.arange(first, first + count) for first, count in rows])
        frames = self.windows.frames[index]
        floor = np.concatenate([pose151.scale_floor(0.05, 0.02), np.full(3, 0.05)])
        mean, scale = frames.mean(0), np.maximum(frames.std(0), floor)
        change = (frames[1:] - frames[:-1])[np.diff(index) == 1] / scale
        for name, value in (("mean", mean), ("scale", scale), ("rate", np.maximum(change.std(0), 0.02))):
            getattr(model, name).copy_(torch.from_numpy(np.asarray(value, np.float32)))
        return model

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return self._batch(rng, "train", WINDOW)

    def _batch(self, rng: np.random.Generator, split: str, longest: int) -> dict[str, Tensor]:
        frames, used = self.windows.batch(rng, split, self.samples, longest, self.config.stride)
        return {"raw": torch.from_numpy(frames), "count": torch.from_numpy(used)}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean losses over fixed batches, and how the tokens there are used."""
        assert isinstance(model, Codec)
        rng, totals, ids = np.random.default_rng(0), {}, []
        for _ in range(4):
            batch = send_to_device(self._batch(rng, self.validation, JUDGED), model.mean.device)
            for name, value in model(batch).items():
                totals.setdefault(name, []).append(float(value))
            found, count = model.encode(batch["raw"]), batch["count"][:, None] // self.config.stride
            ids.append(found[torch.arange(found.shape[1], device=found.device) < count])
        means = {name: float(np.mean(values)) for name, values in totals.items()}
        used = usage(torch.cat(ids), self.config.bits)
        score = sum(means[name] for name in ("features", "velocity", "root", "position", "jerk", "drift"))
        return {"score": score, **means, "used": float(np.mean(used["used"])), "bits": float(sum(used["entropy"]))}

    def export(self, model: nn.Module, folder: Path, report: dict[str, Any]) -> None:
        assert isinstance(model, Codec)
        licences = sorted({corpus.licence for corpus in self.corpora})
        sources = sorted({corpus.source for corpus in self.corpora})
        about = {"validated_on": self.validation, "licence": "; ".join(licences), "sources": sources}
        write_weights(model, folder, {**report, **about})


def usage(ids: Tensor, bits: int) -> dict[str, list[float]]:
    """How tokens (M, places) are used: per place the share of codes in use, the entropy in bits, and the perplexity."""
    counts = [torch.bincount(column, minlength=2**bits).double() for column in ids.T]
    shares = [count / count.sum() for count in counts]
    entropies = [float(torch.special.entr(share).sum()) / np.log(2) for share in shares]
    return {
        "used": [float((count > 0).double().mean()) for count in counts],
        "entropy": entropies,
        "perplexity": [2**entropy for entropy in entropies],
    }
