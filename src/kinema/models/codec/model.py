"""A causal codec: motion <-> tokens, one step of tokens for 4 frames (at 30 fps 7.5 steps a second), streamable.

A convolutional autoencoder as in the tokenizers of the field (Zhang et al. 2023 and after), with what it quantises to
left open (quantisers.py). What differs:

- All convolutions look back only, so that frames can be made as tokens come, and tokens as frames come.
- Motion is an image of time x parts of the body, as in MotionBook (Being-M0): every part has channels of its own in
  each layer, convolved over time by themselves and mixed with those of the other parts in between. With 2D lookup-free
  quantisation each part keeps its own token of each step; the other quantisers take all parts together.
- Smaller, and hardly any convolution at the full frame rate.
- Losses on joint positions, which is what an error looks like.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.features import pose154
from kinema.models.codec.config import PARTS, CodecConfig, channels
from kinema.models.codec.quantisers import QUANTISERS
from kinema.models.weights import Network
from kinema.motion import BODY

# weights of the losses beside that of the features
VELOCITY, POSITION, JERK, ROOT, DRIFT = 0.3, 5.0, 5.0, 1.0, 0.5
LEVER = 0.3  # metres: how far a joint is from the axis that the figure turns about, to weigh angles among distances
GROUPS = 1 + len(PARTS)
Past = dict[nn.Module, Tensor]  # what the causal convolutions of a stream remember; nothing at its start


class CausalConv(nn.Conv1d):
    """A convolution over time that sees no later place than its own; the past is zero or what `past` remembers."""

    def __init__(self, inside: int, outside: int, kernel: int, *, dilation: int = 1, stride: int = 1, groups: int = 1):
        super().__init__(inside, outside, kernel, stride=stride, dilation=dilation, groups=groups)
        self.back = (kernel - 1) * dilation - (stride - 1)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:  # type: ignore[override]
        """x (B, C, T), T a multiple of the stride -> (B, C', T / stride); renews what `past` remembers."""
        seen = torch.cat([past[self], x], 2) if past and self in past else F.pad(x, (self.back, 0))
        if past is not None:
            past[self] = seen[..., seen.shape[2] - self.back :]
        return super().forward(seen)


class Residual(nn.Module):
    """Each part over time, then all parts of a place together, beside the identity."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.over_time = CausalConv(width, 2 * width, 3, dilation=dilation, groups=GROUPS)
        self.mix = nn.Conv1d(2 * width, width, 1)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """(B, W, T) -> (B, W, T)."""
        return x + self.mix(F.gelu(self.over_time(F.gelu(x), past)))


class Encoder(nn.Module):
    """Frames -> one vector a step."""

    def __init__(self, config: CodecConfig, size: int) -> None:
        super().__init__()
        width = GROUPS * config.width
        self.enter = nn.ModuleList(nn.Conv1d(len(own), config.width, 1) for own in channels())
        self.halve = nn.ModuleList(CausalConv(width, width, 4, stride=2, groups=GROUPS) for _ in range(config.halvings))
        self.fine = nn.ModuleList(Residual(width, 1) for _ in range(config.halvings))
        self.blocks = nn.ModuleList(Residual(width, 3 ** (k % 3)) for k in range(config.depth))
        # a part's token comes from the part's channels
        self.leave = nn.Conv1d(width, size, 1, groups=GROUPS if config.quantiser == "lfq" else 1)

    def forward(self, frames: Tensor, past: Past | None = None) -> Tensor:
        """(B, T, 154) normalised, T a multiple of the stride -> (B, T / stride, size)."""
        x = frames.transpose(1, 2)
        x = torch.cat([layer(x[:, own]) for layer, own in zip(self.enter, _channels(), strict=True)], 1)
        for halve, block in zip(self.halve, self.fine, strict=True):
            x = block(halve(x, past), past)
        for block in self.blocks:
            x = block(x, past)
        return self.leave(F.gelu(x)).float().transpose(1, 2)


class Decoder(nn.Module):
    """One vector a step -> frames."""

    def __init__(self, config: CodecConfig, size: int) -> None:
        super().__init__()
        width = GROUPS * config.width
        self.enter = CausalConv(size, width, 3)
        self.blocks = nn.ModuleList(Residual(width, 3 ** (k % 3)) for k in reversed(range(config.depth)))
        self.rise = nn.ModuleList(nn.Conv1d(width, 2 * width, 1, groups=GROUPS) for _ in range(config.halvings))
        self.fine = nn.ModuleList(Residual(width, 1) for _ in range(config.halvings))
        self.leave = nn.ModuleList(nn.Conv1d(config.width, len(own), 1) for own in channels())
        places = torch.cat([torch.tensor(own) for own in channels()])
        self.register_buffer("order", places.argsort(), persistent=False)

    def forward(self, codes: Tensor, past: Past | None = None) -> Tensor:
        """(B, N, size) -> (B, N * stride, 154) normalised."""
        x = self.enter(codes.transpose(1, 2), past)
        for block in self.blocks:
            x = block(x, past)
        for rise, block in zip(self.rise, self.fine, strict=True):
            batch, width, count = x.shape
            x = rise(x).view(batch, width, 2, count).transpose(2, 3).reshape(batch, width, 2 * count)
            x = block(x, past)
        parts = F.gelu(x).chunk(GROUPS, 1)
        out = torch.cat([layer(part) for layer, part in zip(self.leave, parts, strict=True)], 1)
        return out[:, self.order].float().transpose(1, 2)  # type: ignore[index]


class Codec(Network):
    """Encoder, quantiser and decoder.

    `encode` and `decode` go on where the stream stopped whose `past` they are given, and renew it.

    Buffers: mean, scale (154,) normalise frames; rate (154,) is the spread of the differences of normalised frames.
    """

    name = "codec"
    Config = CodecConfig
    config: CodecConfig
    mean: Tensor
    scale: Tensor
    rate: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        self.quantiser = QUANTISERS[config.quantiser](config.places, config.bits)
        self.encoder = Encoder(config, self.quantiser.size)
        self.decoder = Decoder(config, self.quantiser.size)
        self.register_buffer("mean", torch.zeros(pose154.SIZE))
        self.register_buffer("scale", torch.ones(pose154.SIZE))
        self.register_buffer("rate", torch.ones(pose154.SIZE))

    def encode(self, frames: Tensor, past: Past | None = None) -> Tensor:
        """(B, T, 154), not normalised, T a multiple of the stride -> ids (B, N, places)."""
        latents = self.encoder((frames - self.mean) / self.scale, past)
        with torch.autocast(latents.device.type, enabled=False):
            ids = self.quantiser(latents.flatten(0, 1))[1]
        return ids.unflatten(0, latents.shape[:2])

    def decode(self, ids: Tensor, past: Past | None = None) -> Tensor:
        """ids (B, N, places) -> frames (B, N * stride, 154), not normalised."""
        return self.decoder(self.quantiser.codes(ids), past) * self.scale + self.mean

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "raw" frames (B, T, 154), "count" (B,) of them in use, the others padding."""
        frames, count = (batch["raw"] - self.mean) / self.scale, batch["count"]
        used = torch.arange(frames.shape[1], device=frames.device) < count[:, None]  # (B, T)
        steps = used[:, :: self.config.stride]
        latents = self.encoder(frames)
        kept = latents[steps]
        with torch.autocast(kept.device.type, enabled=False):
            quantised, _, losses = self.quantiser(kept)
        codes = torch.zeros_like(latents)
        codes[steps] = quantised
        out = self.decoder(codes)
        seen = used[..., None].float()
        total = seen.sum()
        error = (out - frames) * seen
        losses["features"] = smooth(error).sum() / total / pose154.SIZE
        change = (error[:, 1:] - error[:, :-1]) * seen[:, 1:] / self.rate
        losses["velocity"] = VELOCITY * smooth(change).sum() / total / pose154.SIZE
        losses["root"] = ROOT * smooth(error[..., _channels()[0]]).sum() / total / len(_channels()[0])
        with torch.autocast(kept.device.type, enabled=False):
            made, real = joint_positions(out * self.scale + self.mean), joint_positions(batch["raw"])
        distance = (made - real).norm(dim=-1) * seen  # (B, T, J) metres
        losses["position"] = POSITION * distance.sum() / total / len(BODY)
        # trembling of 2 mm is nothing among positions, and all that is seen
        third = torch.diff(made - real, 3, dim=1).norm(dim=-1) * seen[:, 3:]
        losses["jerk"] = JERK * third.sum() / total / len(BODY)
        # errors of the velocities add up on the way
        lever = self.scale[pose154.SIZE - 3 :] * error.new_tensor([1.0, 1.0, LEVER]) / self.config.fps
        drift = (error[..., pose154.SIZE - 3 :].float() * lever).cumsum(1).norm(dim=-1) * used
        losses["drift"] = DRIFT * drift.sum() / total
        return {"loss": torch.stack(list(losses.values())).sum(), **{k: v.detach() for k, v in losses.items()}}


def smooth(error: Tensor) -> Tensor:
    """Smooth L1."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")


@cache
def _channels() -> list[list[int]]:
    return channels()


def joint_positions(values: Tensor) -> Tensor:
    """pose154 (..., 154) -> joint positions of BODY (..., 22, 3) in the heading frame, metres, by its rotations."""
    six = torch.cat([values[..., 1:7], values[..., 7:133]], -1).unflatten(-1, (len(BODY), 6))
    x = F.normalize(six[..., :3], dim=-1)
    y = F.normalize(six[..., 3:] - (x * six[..., 3:]).sum(-1, keepdim=True) * x, dim=-1)
    local = torch.stack([x, y, torch.linalg.cross(x, y)], -1)  # (..., J, 3, 3), columns
    offsets = torch.tensor(BODY.offsets, dtype=values.dtype, device=values.device)
    height = values[..., :1]
    local = local.unbind(-3)  # the gradient of indexing would fill a tensor of the whole for each joint
    rotations = [local[0]]
    positions = [torch.cat([torch.zeros_like(height), height, torch.zeros_like(height)], -1)]
    for joint in range(1, len(BODY)):
        parent = int(BODY.parents[joint])
        rotations.append(rotations[parent] @ local[joint])
        positions.append(positions[parent] + rotations[parent] @ offsets[joint])
    return torch.stack(positions, -2)
