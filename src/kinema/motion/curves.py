"""Curves over time, arrays whose first axis is frames: steps, splines, averages, envelopes."""

from __future__ import annotations

import numpy as np


def smoothstep(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and between them a cubic that begins and ends level."""
    t = np.clip(t, 0, 1)
    return t**2 * (3 - 2 * t)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """[start, end) of every run of True in a mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def interpolate(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Catmull-Rom spline through values (T, ...) at times (S,) in frames, 0 to T - 1; straight on beyond its ends."""
    if len(values) == 1:
        return values[np.zeros(len(times), dtype=int)]
    padded = np.concatenate([2 * values[:1] - values[1:2], values, 2 * values[-1:] - values[-2:-1]])
    left = np.minimum(times.astype(int), len(values) - 2)
    t = (times - left).reshape(-1, *[1] * (values.ndim - 1))
    before, here, there, after = (padded[left + shift] for shift in range(4))
    slope = (there - before) / 2
    next_slope = (after - here) / 2
    rest = there - here - slope
    return here + t * (slope + t * ((3 * rest - (next_slope - slope)) + t * ((next_slope - slope) - 2 * rest)))


def average(values: np.ndarray, reach: int) -> np.ndarray:
    """(T, ...) averaged over `reach` frames to both sides with a Hann window; the ends go on as they are."""
    return weighted(np.pad(values, _beside(values, reach), mode="edge"), _hann(reach))


def envelope(values: np.ndarray, reach: int) -> np.ndarray:
    """A smooth curve (T,) that is nowhere below the values: their maximum over `reach` frames nearby, averaged."""
    padded = np.pad(values, 2 * reach, mode="edge")
    wide = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)
    return np.maximum(weighted(wide, _hann(reach)), values)


def gaussian_weights(width: float, most: int) -> np.ndarray:
    """(2 R + 1,) weights of a Gaussian of `width` frames (full width at half its height), cut off at `most` frames."""
    sigma = width / np.sqrt(8 * np.log(2))
    reach = min(int(np.ceil(3 * sigma)), most) if sigma >= 0.1 else 0  # below, the next frame has no weight to speak of
    weights = np.exp(-((np.arange(-reach, reach + 1) / max(sigma, 0.1)) ** 2) / 2)
    return weights / weights.sum()


def smooth_path(points: np.ndarray, width: float) -> np.ndarray:
    """(T, D) averaged over a Gaussian of `width` frames; straight on beyond the ends, which stay where they are."""
    weights = gaussian_weights(width, len(points) - 1)
    beside = _beside(points, len(weights) // 2)
    return weighted(np.pad(points, beside, mode="reflect", reflect_type="odd"), weights)


def weighted(padded: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(T + 2 R, ...) -> (T, ...) mean of 2 R + 1 frames with symmetrical weights."""
    return np.apply_along_axis(np.convolve, 0, padded, weights, mode="valid")


def _hann(reach: int) -> np.ndarray:
    window = np.hanning(2 * reach + 3)[1:-1]
    return window / window.sum()


def _beside(values: np.ndarray, reach: int) -> list[tuple[int, int]]:
    """What `np.pad` takes to add `reach` frames at both ends."""
    return [(reach, reach), *[(0, 0)] * (values.ndim - 1)]
