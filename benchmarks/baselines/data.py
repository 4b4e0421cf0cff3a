"""What every baseline learns from: the clips of FracMoGen, its poses, captions and texts, so that only models differ.

One frame is `kinema.features.pose154`. Velocities, not places: where a clip was recorded says nothing about it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinema.corpora import Corpus
from kinema.features import pose151, pose154
from kinema.models.fracmogen.data import Frames
from kinema.models.fracmogen.scales import PATH, STATE

FPS = 30
LONGEST = 300  # frames that a baseline makes at once


class Clips:
    """Training and validation clips, each also mirrored.

    Attributes:
        frames: all clips as state curves, with captions and texts (M, 768).
        mean, scale: (154,) float32, normaliser from the training clips.
        validation: the split that models are chosen on; "train" where a small corpus has no other.
    """

    SIZE = STATE

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        if {corpus.fps for corpus in corpora} != {float(FPS)}:
            raise ValueError(f"the corpora must be at {FPS} fps")
        self.frames = Frames(corpora, ("train", "val"))
        if not self.frames.splits["train"]:
            raise ValueError("the corpora hold no clips to train on that last 1.1 s or more")
        self.validation = "val" if self.frames.splits["val"] else "train"
        curves = [self.frames.state[a : a + n] for a, n in self.frames.clips]
        self._steps = np.concatenate([pose154.steps(curve[:, PATH], curve[:, 153], FPS) for curve in curves])
        rng = np.random.default_rng(0)
        train = self.frames.splits["train"]
        chosen = rng.choice(train, min(600, len(train)), replace=False)
        rows = np.concatenate([np.arange(a, a + n) for a, n in self.frames.clips[chosen]])
        values = self.values(rows)
        floor = np.concatenate([pose151.scale_floor(0.05, 0.02), np.full(3, 0.05)])
        self.mean = values.mean(0).astype(np.float32)
        self.scale = np.maximum(values.std(0), floor).astype(np.float32)

    def values(self, index: np.ndarray) -> np.ndarray:
        """The frames `index` (...) as (..., 154), not normalised."""
        values = self.frames.state[index]
        values[..., pose151.SIZE :] = self._steps[index]
        return values

    def batch(
        self, rng: np.random.Generator, count: int, longest: int, split: str = "train", multiple: int = 1
    ) -> dict[str, Tensor]:
        """`count` windows of like length, so that little is padding, of at most `longest` frames.

        Returns:
            "frames" (B, T, 154) normalised, zero after `count`, T a multiple of `multiple`; "count" (B,) frames in
            use; "text" (B, 768).
        """
        clips = rng.choice(self.frames.splits[split], 4 * count)
        windows = sorted((self.frames.window(rng, int(clip), longest) for clip in clips), key=lambda row: row[1])
        quarter = int(rng.integers(4))
        windows = windows[quarter * count : (quarter + 1) * count]
        first, length, text = (np.array(column) for column in zip(*windows, strict=True))
        size = -(-int(length.max()) // multiple) * multiple
        index = first[:, None] + np.minimum(np.arange(size), length[:, None] - 1)
        frames = (self.values(index) - self.mean) / self.scale
        frames[np.arange(size) >= length[:, None]] = 0
        return {
            "frames": torch.from_numpy(frames),
            "count": torch.from_numpy(length),
            "text": torch.from_numpy(self.frames.texts[text]),
        }
