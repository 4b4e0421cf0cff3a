"""FracMoGen: fractal text-to-motion. One chain p(finer | coarser, text) over temporal scales, coarse key frames first.

Idea of the paper: motion is generated scale by scale, from a few key frames to all frames, by one network for every
pair of scales, trained on inputs that are mixed with other real frames. What differs here, for the reasons measured in
docs/systems/fracmogen.md:

- A chain of regressions from text alone collapses to the mean, so the first scale is sampled: conditional flow matching
  (Lipman et al. 2023) whose network predicts the clean key frames (Li and He 2025), with classifier-free guidance.
- Every finer scale is regressed: the correction of the Hermite curve through the known key frames, in units of that
  correction's own spread. Mixing noise is scaled by the same spread.
- The same network code does both, with its own weights for each (`sampler`, `refiner`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.conditions.text import SIDED_DIMENSIONS
from kinema.models.fracmogen.config import COARSEST, TOP, FracMoGenConfig
from kinema.models.fracmogen.scales import STATE, T_POSE, T_VELOCITY, TOKEN
from kinema.models.weights import Network

CURVE = 0.3  # weight of the loss on the curve through the sampled key frames
JERK_SCALE = 0.6  # spread of the curve's jerk (times 1/12) in real motion, in units of the velocity's spread
MIXING = 3.0  # largest mixing noise, in thirds of the correction's spread
REFINER_IN = STATE + 2  # base pose, its planar velocity and yaw rate, phase, known flag
SAMPLER_IN = TOKEN + 2  # token, key frame known, trajectory known


def sinusoids(values: Tensor, size: int, longest: float) -> Tensor:
    """(...) -> (..., size): sines and cosines with periods from 4 to `longest`."""
    periods = torch.logspace(math.log10(4.0), math.log10(longest), size // 2, device=values.device)
    angles = 2 * math.pi * values[..., None] / periods
    return torch.cat([angles.sin(), angles.cos()], -1)


class Block(nn.Module):
    """Pre-norm transformer block whose norms are scaled, shifted and gated by the condition (AdaLN-Zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, W), condition (B, W), mask (B, 1, 1, N) 0 or, for padding, -inf -> (B, N, W)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, -1)  # (B, 1, W)
        h = self.norm(x) * (1 + scale1) + shift1
        batch, count, width = h.shape
        q, k, v = self.qkv(h).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, N, W / H)
        # written out: for short sequences on a CPU the fused kernel's backward pass takes five times as long
        weights = (q * (width / self.heads) ** -0.5) @ k.transpose(-1, -2) + mask  # (B, H, N, N)
        h = weights.softmax(-1).to(v.dtype) @ v
        x = x + gate1 * self.out(h.transpose(1, 2).reshape(batch, count, width))
        h = self.norm(x) * (1 + scale2) + shift2
        return x + gate2 * self.mlp(h)


class ScaleNet(nn.Module):
    """A transformer over the frames of one scale, given the scale they come from, the text and a flow time.

    Args:
        sizes: {level: (numbers into a token, numbers out of it)}.
    """

    def __init__(self, width: int, heads: int, layers: int, sizes: dict[int, tuple[int, int]]) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.ModuleDict({str(level): nn.Linear(size[0], width) for level, size in sizes.items()})
        self.leave = nn.ModuleDict({str(level): nn.Linear(width, size[1]) for level, size in sizes.items()})
        self.place = nn.Linear(128, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.text = nn.Linear(SIDED_DIMENSIONS, width)
        self.text_token = nn.Linear(SIDED_DIMENSIONS, width)
        self.no_text = nn.Parameter(torch.zeros(SIDED_DIMENSIONS))
        self.target_level = nn.Embedding(COARSEST + 1, width)
        self.source_level = nn.Embedding(COARSEST + 2, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for layer in self.leave.values():
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, target: int, source: int, time: Tensor, text: Tensor, has_text: Tensor, count: Tensor
    ) -> Tensor:
        """One pass.

        Args:
            x: (B, N, in) tokens of level `target`.
            target, source: levels; source COARSEST + 1 means from nothing.
            time: (B,) flow time (0 noise, 1 data) or, when refining, the mixing noise.
            text: (B, 768) sentences, embedded with their sides; has_text: (B,) bool.
            count: (B,) tokens in use; the others are padding.

        Returns:
            (B, N, out).
        """
        batch, size, _ = x.shape
        at = torch.arange(size, device=x.device)[None].expand(batch, -1).float()
        text = torch.where(has_text[:, None], text * math.sqrt(SIDED_DIMENSIONS / 2), self.no_text)
        levels = torch.tensor([target, source], device=x.device)
        condition = self.time(sinusoids(100 * time, 64, 400.0)) + self.text(text)
        condition = F.silu(condition + self.target_level(levels[0]) + self.source_level(levels[1]))  # (B, W)
        place = torch.cat([sinusoids(at, 64, 400.0), sinusoids(count[:, None] - 1 - at, 64, 400.0)], -1)
        h = self.enter[str(target)](x) + self.place(place)
        h = torch.cat([self.text_token(text)[:, None], h], 1)  # (B, 1 + N, W)
        padding = torch.cat([torch.zeros_like(count[:, None], dtype=torch.bool), at >= count[:, None]], 1)
        mask = torch.zeros(padding.shape, dtype=h.dtype).masked_fill(padding, -torch.inf)[:, None, None]
        for block in self.blocks:
            h = block(h, condition, mask)
        return self.leave[str(target)](self.norm(h[:, 1:]))


def patch(level: int) -> int:
    """Frames of a level in one token of the refiner: finer levels share tokens, so that all cost about the same."""
    return max(1, 4 >> level)


class FracMoGen(Network):
    """Sampler and refiner with their normalisers.

    Buffers: token_mean, token_scale (levels, 328); state_mean, state_scale (154,); spread (levels, levels, 308), the
    standard deviation of what level j corrects in the curve through level i, for state and velocity.
    """

    name = "fracmogen"
    Config = FracMoGenConfig
    token_mean: Tensor
    token_scale: Tensor
    state_mean: Tensor
    state_scale: Tensor
    spread: Tensor

    def __init__(self, config: FracMoGenConfig) -> None:
        super().__init__(config)
        sampled = {level: (SAMPLER_IN, TOKEN) for level in range(TOP, COARSEST + 1)}
        refined = {level: (REFINER_IN * patch(level), (2 * STATE) * patch(level)) for level in range(COARSEST)}
        self.sampler = ScaleNet(config.width, config.heads, config.sampler_layers, sampled)
        self.refiner = ScaleNet(config.width, config.heads, config.refiner_layers, refined)
        levels = COARSEST + 1
        self.register_buffer("token_mean", torch.zeros(levels, TOKEN))
        self.register_buffer("token_scale", torch.ones(levels, TOKEN))
        self.register_buffer("state_mean", torch.zeros(STATE))
        self.register_buffer("state_scale", torch.ones(STATE))
        self.register_buffer("spread", torch.ones(levels, levels, 2 * STATE))

    def clean(
        self, x: Tensor, level: int, time: Tensor, text: Tensor, has_text: Tensor, count: Tensor, flags: Tensor
    ) -> Tensor:
        """The sampler's estimate of the clean key frames: x (B, K, 328) noisy and normalised, flags (B, K, 2) known."""
        return self.sampler(torch.cat([x, flags], -1), level, COARSEST + 1, time, text, has_text, count)

    def correction(
        self,
        seen: Tensor,
        target: int,
        source: int,
        mixing: Tensor,
        text: Tensor,
        has_text: Tensor,
        frames: Tensor,
    ) -> Tensor:
        """The refiner's correction in units of its spread: seen (B, N, 156) of level `target` -> (B, N, 308)."""
        size = patch(target)
        batch, count, channels = seen.shape
        padded = F.pad(seen, (0, 0, 0, -count % size))
        grouped = padded.reshape(batch, -1, size * channels)
        used = torch.div(frames + size - 1, size, rounding_mode="floor")
        out = self.refiner(grouped, target, source, mixing, text, has_text, used)
        return out.reshape(batch, -1, 2 * STATE)[:, :count]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of one training batch (see data.py for its parts)."""
        sample, curve = self._sampling_loss(batch)
        losses = {"sample": sample, "curve": curve}
        total = sample + CURVE * curve
        if "seen" in batch:
            refine = self._refining_loss(batch)
            losses["refine"] = refine
            total = total + refine
        return {"loss": total, **{name: value.detach() for name, value in losses.items()}}

    def _sampling_loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of the key frames, and of the curve through them: the error of its third derivative between key frames.

        Errors that neighbouring key frames do not share show as jerk, to which the first loss is blind.
        """
        x1, flags, count = batch["tokens"], batch["flags"], batch["count"]  # (B, K, 328), (B, K, 2), (B,)
        level = int(batch["level"][0])
        # most where it is decided what the motion is: hundreds of numbers that hang together tell that long before a
        # single one of them could be read through the noise
        time = torch.sigmoid(1.3 * torch.randn(len(x1)) - 1.6)
        mix = time[:, None, None]
        noise = torch.randn_like(x1)
        known = known_channels(flags)
        x = torch.where(known, x1, (1 - mix) * noise + mix * x1)
        estimate = self.clean(x, level, time, batch["text"], batch["has_text"], count, flags)
        weight = (1 / (1 - time).clamp_min(0.1)) ** 2  # velocity error of an estimate of the clean data
        weight = weight / 6.0
        used = (torch.arange(x1.shape[1])[None] < count[:, None])[..., None]
        wanted = used & ~known
        gap = (estimate.float() - x1) * wanted
        keys = (gap.square() * self._token_weights()).sum((1, 2)) / wanted.sum((1, 2)).clamp_min(1)
        scale = self.token_scale[level]
        pose, velocity = gap[..., T_POSE] * scale[T_POSE], gap[..., T_VELOCITY] * scale[T_VELOCITY]
        jerk = pose[:, :-1] - pose[:, 1:] + (velocity[:, :-1] + velocity[:, 1:]) / 2  # of the Hermite curve, times 1/12
        jerk = jerk / (JERK_SCALE * scale[T_VELOCITY]) * used[:, 1:]
        curve = jerk.square().mean(-1).sum(1) / (count - 1).clamp_min(1)
        return (keys * weight).mean(), (curve * weight).mean()

    def _token_weights(self) -> Tensor:
        """(328,) the few channels that carry the figure through the world count for more than the many of the pose."""
        weights = torch.ones(TOKEN)
        weights[151:302] = 0.5
        weights[302:308] = 4.0
        weights[308:324] = 2.0
        return weights

    def _refining_loss(self, batch: dict[str, Tensor]) -> Tensor:
        target, source = int(batch["pair"][0]), int(batch["pair"][1])
        wanted, frames = batch["wanted"], batch["frames"]  # (B, N, 308) in units of the spread; (B,)
        out = self.correction(
            batch["seen"], target, source, batch["mixing"], batch["seen_text"], batch["seen_has_text"], frames
        ).float()
        used = (torch.arange(wanted.shape[1])[None] < frames[:, None])[..., None]
        used = used & (batch["seen"][..., -1:] < 0.5)  # known frames are not judged
        if target == 0:  # at the finest level nothing is interpolated any more, so velocities are not needed
            out, wanted = out[..., :STATE], wanted[..., :STATE]
        error = (out - wanted) * used
        key = error.square().sum() / (used.sum() * wanted.shape[-1]).clamp_min(1)
        if target == 0:
            steps = (error[:, 1:] - error[:, :-1]).square().sum() / (used.sum() * wanted.shape[-1]).clamp_min(1)
            return key + 0.5 * steps
        # lambda L_key + (1 - lambda) L_seq: the whole sequence is the Hermite curve through the corrected key frames,
        # measured here at the midpoints between neighbouring ones, in the units of the key frames
        mean = (error[:, 1:, :STATE] + error[:, :-1, :STATE]) / 2
        slope = self.spread[target, source, STATE:] / self.spread[target, source, :STATE] * (2**target / 8)
        middle = mean + (error[:, :-1, STATE:] - error[:, 1:, STATE:]) * slope
        sequence = middle.square().sum() / (used.sum() * STATE).clamp_min(1)
        share = self.balance(target)
        return share * key + (1 - share) * sequence

    def balance(self, target: int) -> float:
        """lambda, the share of the loss at key frames when refining to a level: it rises from coarse to fine."""
        return 0.8 - 0.1 * target


def known_channels(flags: Tensor) -> Tensor:
    """flags (B, K, 2) -> (B, K, 328) bool: a known key frame is known whole, a known trajectory in its channels."""
    trajectory = torch.zeros(TOKEN, dtype=torch.bool, device=flags.device)
    trajectory[302:308] = True
    return (flags[..., :1] > 0.5) | ((flags[..., 1:] > 0.5) & trajectory)
