"""Diffusion over frames, after MDM (Tevet et al. 2023): the network predicts the clean motion at every step.

As there: 1000 steps of the cosine schedule (Nichol and Dhariwal 2021) in training, x0 prediction, a transformer encoder
that sees all frames, text left out in a tenth of training for classifier-free guidance of 2.5. Different here:

- Two frames of 30 fps are one token, 15 tokens a second; MDM's tokens are frames at 20 fps.
- Steps are skipped by DDIM (Song et al. 2021, eta 0): 50 or 10 are made.
- Text and time scale and shift the norms (AdaLN) besides a token: the network is FracMoGen's, at a single scale.
- The loss counts low noise up to ten times as much as the plain x0 error does, adds the error of velocities, and counts
  the three numbers that carry the root for four: drift and jitter are what plain errors hardly see.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.base import Baseline, Network, Task
from baselines.data import Clips
from kinema.conditions.request import Request
from kinema.features import pose151
from kinema.models.fracmogen.model import ScaleNet
from kinema.models.weights import read_weights
from kinema.motion import Motion

PATCH = 2  # frames in one token
TRAINED_STEPS = 1000
VELOCITY = 2.0  # weight of the loss on first differences
ROOT = 4.0  # weight of the root's velocities among the numbers of a frame


@dataclass(frozen=True)
class DiffusionConfig:
    """Args:
    width, heads, layers: of the transformer; heads divides width.
    text_drop: share of training samples whose text is left out.
    """

    width: int = 192
    heads: int = 6
    layers: int = 6
    text_drop: float = 0.1


def signal(step: Tensor) -> Tensor:
    """Share of the variance that is signal, alpha-bar, after noising step `step`; 1 at -1, 0 at 999."""
    s = 0.008
    angle = ((step.double() + 1) / TRAINED_STEPS + s) / (1 + s) * math.pi / 2
    return ((torch.cos(angle) / math.cos(s / (1 + s) * math.pi / 2)) ** 2).float()


def used(count: Tensor, frames: int) -> Tensor:
    """(B,) -> (B, T, 1) bool: which frames are not padding."""
    return (torch.arange(frames, device=count.device) < count[:, None])[..., None]


class Diffusion(Network):
    name = "baseline-diffusion"
    Config = DiffusionConfig

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        size = PATCH * Clips.SIZE
        self.net = ScaleNet(config.width, config.heads, config.layers, {0: (size, size)})

    def clean(self, x: Tensor, step: Tensor, text: Tensor, has_text: Tensor, count: Tensor) -> Tensor:
        """Estimate of the clean frames: x (B, T, 154) noisy, zero after count (B,); step (B,) -> (B, T, 154)."""
        tokens = x.reshape(len(x), -1, PATCH * Clips.SIZE)  # (B, T / 2, 308)
        number = torch.div(count + PATCH - 1, PATCH, rounding_mode="floor")
        out = self.net(tokens, 0, 0, step / TRAINED_STEPS, text, has_text, number)
        return out.reshape(x.shape)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x0, count, text = batch["frames"], batch["count"], batch["text"]
        device = x0.device
        step = torch.randint(TRAINED_STEPS, (len(x0),), device=device)
        has_text = torch.rand(len(x0), device=device) >= self.config.text_drop
        kept = signal(step)[:, None, None]  # (B, 1, 1)
        mask = used(count, x0.shape[1])
        x = (kept.sqrt() * x0 + (1 - kept).sqrt() * torch.randn_like(x0)) * mask
        gap = (self.clean(x, step, text, has_text, count).float() - x0) * mask
        weights = torch.ones(Clips.SIZE, device=device)
        weights[pose151.SIZE :] = ROOT
        frames = (gap.square() * weights).mean(-1).sum(1) / count
        change = ((gap[:, 1:] - gap[:, :-1]) * mask[:, 1:]).square().mean(-1).sum(1) / count
        importance = (1 / (1 - kept[:, 0, 0])).clamp(max=10) / 4  # 1 + signal / noise; 4 is its mean over the steps
        loss = ((frames + VELOCITY * change) * importance).mean()
        return {"loss": loss, "frames": frames.mean().detach(), "change": change.mean().detach()}


class DiffusionGenerator(Baseline):
    """Args:
    steps: of DDIM.
    guidance: how far to go beyond the prediction without text; 1 is none.
    """

    model: Diffusion
    batch = 16  # larger ones leave the caches of a CPU

    def __init__(self, model: Diffusion, info: dict[str, Any], steps: int = 50, guidance: float = 2.5) -> None:
        if not 1 <= steps <= TRAINED_STEPS or not 0 <= guidance <= 20:
            raise ValueError(f"steps must be 1 to {TRAINED_STEPS} and guidance 0 to 20, got {steps} and {guidance:g}")
        super().__init__(model, info | {"sampling": f"{steps} steps, guidance {guidance:g}"})
        self.steps, self.guidance = steps, guidance

    def generate_many(self, requests: Sequence[Request]) -> list[Motion]:
        """As `Baseline.generate_many`, the network in bf16: at many steps that halves what judging it takes."""
        with torch.autocast("cpu", torch.bfloat16):
            return super().generate_many(requests)

    def sample(self, text: Tensor, count: Tensor, seeds: Sequence[tuple[int, ...]]) -> Tensor:
        size = -(-int(count.max()) // PATCH) * PATCH
        x = torch.zeros(len(text), size, Clips.SIZE)
        for row, (length, seed) in enumerate(zip(count.tolist(), seeds, strict=True)):
            noise = np.random.default_rng(seed).standard_normal((length, Clips.SIZE), dtype=np.float32)
            x[row, :length] = torch.from_numpy(noise)
        mask = used(count, size)
        times = torch.linspace(TRAINED_STEPS - 1, -1, self.steps + 1).round()
        for now, after in itertools.pairwise(times):
            kept, then = signal(now), signal(after)
            x0 = self._guided(x, now, text, count)
            noise = (x - kept.sqrt() * x0) / (1 - kept).sqrt()
            x = (then.sqrt() * x0 + (1 - then).sqrt() * noise) * mask
        return x

    def _guided(self, x: Tensor, step: Tensor, text: Tensor, count: Tensor) -> Tensor:
        """The estimate with text and without, in one batch of 2 B."""
        has_text = torch.arange(2 * len(x)) < len(x)
        both = self.model.clean(
            x.repeat(2, 1, 1), step.expand(2 * len(x)), text.repeat(2, 1), has_text, count.repeat(2)
        )
        told, free = both.chunk(2)
        return free + self.guidance * (told - free)


def load(spec: str) -> DiffusionGenerator:
    """From "FOLDER", "FOLDER@STEPS" or "FOLDER@STEPS@GUIDANCE", such as "runs/diffusion/export@10@2.5".

    Raises:
        ValueError: the files are damaged or belong to another model, or the numbers are none.
    """
    folder, *numbers = spec.split("@")
    try:
        steps, guidance = (*numbers, *("50", "2.5")[len(numbers) :])
        sampling = int(steps), float(guidance)
    except ValueError:
        raise ValueError(f"{spec!r} is not of the form FOLDER@STEPS@GUIDANCE, such as {folder}@50@2.5") from None
    return DiffusionGenerator(*read_weights(folder, Diffusion), *sampling)


def make_task(corpora: Sequence[str | Path], batch: int = 64) -> Task:
    """What trains it, on the corpora in these folders."""
    return Task(Diffusion, DiffusionConfig(), corpora, batch=batch, multiple=PATCH)
