"""The sizes of a FracMoGen."""

from __future__ import annotations

from dataclasses import dataclass

COARSEST = 5  # level l keeps every 2^l-th frame; at 30 fps level 5 has a key frame every 1.07 s
TOP = 3  # the level that is sampled first unless a chain says else: a key frame every 0.27 s


@dataclass(frozen=True)
class FracMoGenConfig:
    """Args:
    fps: frames per second of level 0.
    max_keys: longest motion in key frames of level TOP; longer ones are made of windows that continue each other.
    width, heads: of both transformers; heads divides width.
    sampler_layers, refiner_layers: depth of the network that samples and of the one that refines.
    text_drop: share of training samples whose text is left out, for classifier-free guidance.
    known: share of training samples in which some key frames, or the path of all, are given.
    """

    fps: int = 30
    max_keys: int = 41
    width: int = 192
    heads: int = 6
    sampler_layers: int = 6
    refiner_layers: int = 4
    text_drop: float = 0.1
    known: float = 0.35

    @property
    def max_frames(self) -> int:
        """Frames of the longest window: its first and last are key frames of level TOP."""
        return (self.max_keys - 1) * 2**TOP + 1
