"""Averages and envelopes over time, against their definitions written as loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.motion.curves import average, envelope, gaussian_weights, runs, smooth_path, smoothstep

CURVES = st.lists(st.floats(-5, 5), min_size=1, max_size=40).map(np.array)


@given(st.lists(st.booleans(), max_size=20))
def test_runs_are_what_is_true(mask: list[bool]) -> None:
    rebuilt = np.zeros(len(mask), dtype=bool)
    for start, end in runs(np.array(mask, dtype=bool)):
        assert start < end
        assert start == 0 or not mask[start - 1]
        assert end == len(mask) or not mask[end]
        rebuilt[start:end] = True
    assert rebuilt.tolist() == mask


@settings(deadline=None)
@given(CURVES, st.integers(1, 60))
def test_averages_weigh_what_is_near(values: np.ndarray, reach: int) -> None:
    window = np.cos(np.pi / 2 * np.arange(-reach, reach + 1) / (reach + 1)) ** 2
    slow = []
    for frame in range(len(values)):
        near = np.clip(np.arange(frame - reach, frame + reach + 1), 0, len(values) - 1)
        slow.append(np.sum(window * values[near]) / window.sum())
    np.testing.assert_allclose(average(values, reach), slow, atol=1e-9)
    both = np.stack([values, -2 * values], -1)
    np.testing.assert_allclose(average(both, reach), np.stack([slow, -2 * np.array(slow)], -1), atol=1e-9)


@settings(deadline=None)
@given(CURVES, st.integers(1, 60))
def test_envelopes_are_smooth_and_nowhere_below(values: np.ndarray, reach: int) -> None:
    curve = envelope(values, reach)
    assert (curve >= values).all()
    assert curve.max() <= values.max() + 1e-9
    assert np.abs(np.diff(curve)).max(initial=0) <= np.ptp(values) / (reach + 1) + 1e-9


@settings(deadline=None)
@given(st.integers(1, 30), st.floats(0, 40), st.floats(-3, 3))
def test_smoothed_paths_keep_ends_and_straight_lines(count: int, width: float, slope: float) -> None:
    line = np.stack([slope * np.arange(count), np.ones(count)], -1)
    np.testing.assert_allclose(smooth_path(line, width), line, atol=1e-9)
    bent = line + np.random.default_rng(0).normal(size=line.shape)
    np.testing.assert_allclose(smooth_path(bent, width)[[0, -1]], bent[[0, -1]], atol=1e-9)


def test_gaussians_have_half_their_height_at_half_their_width() -> None:
    weights = gaussian_weights(10, 100)
    middle = len(weights) // 2
    assert weights[middle + 5] / weights[middle] == pytest.approx(0.5)
    assert weights.sum() == pytest.approx(1)
    assert len(gaussian_weights(10, 2)) == 5


def test_steps_are_smooth() -> None:
    np.testing.assert_allclose(smoothstep(np.array([-1, 0, 0.25, 0.5, 1, 9])), [0, 0, 0.15625, 0.5, 1, 1])
