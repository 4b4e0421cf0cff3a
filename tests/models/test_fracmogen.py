"""FracMoGen's own parts: scales and their inverses, chains, and what training sees."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from kinema.models.fracmogen import scales
from kinema.models.fracmogen.config import FracMoGenConfig
from kinema.models.fracmogen.data import REFINED_PAIRS, corrected, residual
from kinema.models.fracmogen.model import FracMoGen
from kinema.models.fracmogen.pipeline import FracMoGenGenerator, Sampling
from kinema.models.fracmogen.targets import joined
from kinema.motion import Motion


@given(st.integers(2, 9), st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_base_is_the_cubic_hermite_curve(count: int, stride: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = scales.Keys(rng.normal(size=(count, 154)), rng.normal(size=(count, 154)), stride)
    curve = CubicHermiteSpline(stride * np.arange(count), keys.state, keys.velocity)
    frames = np.arange((count - 1) * stride + 1)
    ours = scales.base(keys)
    np.testing.assert_allclose(ours.state, curve(frames), atol=1e-5)
    np.testing.assert_allclose(ours.velocity, curve.derivative()(frames), atol=1e-4)


@given(st.floats(0.001, 19.9), st.floats(0, 6.3), st.sampled_from([0.04, 0.06]))
def test_stretch_inverts_squash(length: float, angle: float, unit: float) -> None:
    vector = length * np.array([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(scales.stretch(scales.squash(vector, unit), unit), vector, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("stride", [8, 16])
def test_tokens_and_back(walk: Motion, stride: int) -> None:
    state, contacts = scales.state_of(walk)
    state = state[: (len(state) - 1) // stride * stride + 1]
    velocity, feet = scales.velocity_of(state), scales.feet_world(state)
    every = slice(None, None, stride)
    token = scales.tokens(
        state[every],
        velocity[every],
        feet[every],
        scales.velocity_of(feet)[every],
        contacts[: len(state)][every],
        stride,
    )
    assert token.shape == (len(state[every]), scales.TOKEN)
    back = scales.keys_of(token, stride, state[0, 151:154])
    np.testing.assert_allclose(back.state[:, :133], state[every, :133], atol=1e-9)
    np.testing.assert_allclose(back.state[:, 153], state[every, 153], atol=1e-9)
    # the dead zone takes at most a few millimetres from each step
    assert np.abs(back.state[:, 151:153] - state[every, 151:153]).max() < 0.03
    np.testing.assert_allclose(back.velocity[:, :133], velocity[every, :133], atol=1e-9)


def test_a_figure_on_planted_feet_does_not_drift(walk: Motion) -> None:
    stand = walk.replace(
        root_position=np.repeat(walk.root_position[:1], 200, 0), rotations=np.repeat(walk.rotations[:1], 200, 0)
    )
    state, _ = scales.state_of(stand)
    feet = scales.feet_world(state)
    every = slice(None, None, 8)
    token = scales.tokens(
        state[every], 0 * state[every], feet[every], 0 * feet[every], np.ones((len(state[every]), 4)), 8
    )
    noise = np.random.default_rng(0).normal(size=token[:, scales.T_STEP].shape)
    token[:, scales.T_STEP] += noise + 0.8  # steps of several centimetres, always to the same side
    drift = scales.keys_of(token, 8, np.zeros(3)).state[:, scales.PATH]
    loose = token.copy()
    loose[:, scales.T_CONTACT] = 0
    assert np.linalg.norm(drift[-1]) < 0.15 * np.linalg.norm(scales.keys_of(loose, 8, np.zeros(3)).state[-1, 151:153])


def test_corrected_inverts_residual() -> None:
    rng = np.random.default_rng(0)
    base, fine = (scales.Keys(rng.normal(size=(9, 154)), rng.normal(size=(9, 154)), 1) for _ in range(2))
    found = corrected(base, residual(base, fine))
    np.testing.assert_allclose(found.state, fine.state, atol=1e-12)
    np.testing.assert_allclose(found.velocity, fine.velocity, atol=1e-12)


@pytest.mark.parametrize("chain", [(), (3, 1), (0,), (3, 3, 0), (2, 0), (7, 0), (3, 0, 1)])
def test_impossible_chains_are_refused(chain: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="chain"):
        Sampling(chain=chain)


def test_known_frames_do_not_count_and_padding_is_not_seen() -> None:
    torch.manual_seed(0)
    model = FracMoGen(FracMoGenConfig(width=32, heads=2, sampler_layers=2, refiner_layers=1))
    for layer in model.sampler.leave.values():
        torch.nn.init.normal_(layer.weight, std=0.1)
    for block in model.sampler.blocks:
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
    x, flags = torch.randn(1, 12, scales.TOKEN), torch.zeros(1, 12, 2)
    time, text, yes = torch.tensor([0.3]), torch.randn(1, 768), torch.tensor([True])
    count = torch.tensor([7])
    seen = model.clean(x, 3, time, text, yes, count, flags)
    x[:, 7:] = 100.0
    torch.testing.assert_close(model.clean(x, 3, time, text, yes, count, flags)[:, :7], seen[:, :7])
    short = model.clean(x[:, :7], 3, time, text, yes, count, flags[:, :7])
    torch.testing.assert_close(short, seen[:, :7], atol=1e-5, rtol=1e-4)


def test_seams_are_rounded_off_and_the_rest_is_left(walk: Motion) -> None:
    still = walk.replace(
        root_position=np.repeat(walk.root_position[-1:], 60, 0), rotations=np.repeat(walk.rotations[-1:], 60, 0)
    )
    parts = [part.replace(contacts=np.zeros((len(part), 22), dtype=bool)) for part in (walk, still)]  # stops dead
    motion = joined(parts, ["walks", "stands"])
    before = np.concatenate([part.joint_positions() for part in parts])
    sharp, soft = (np.linalg.norm(np.diff(p, 2, axis=0), axis=-1).mean(1) for p in (before, motion.joint_positions()))
    seam = slice(len(walk) - 4, len(walk) + 4)
    assert soft[seam].max() < 0.6 * sharp[seam].max()
    far = np.abs(np.arange(len(motion)) - len(walk) + 0.5) > 12.5
    np.testing.assert_allclose(motion.joint_positions()[far], before[far], atol=1e-9)
    assert motion.metadata["text"] == "walks / stands"


def test_every_chain_is_made_of_trained_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = FracMoGenGenerator(
        FracMoGen(FracMoGenConfig(width=32, heads=2, sampler_layers=1, refiner_layers=1)), {}
    )
    taken: list[tuple[int, int]] = []
    monkeypatch.setattr(generator, "_refine", lambda windows, keys, target, source: taken.append((target, source)))
    for top in (3, 4, 5):
        for between in itertools.chain.from_iterable(itertools.combinations(range(1, top), n) for n in range(top)):
            taken.clear()
            generator.refine([], [], (top, *sorted(between, reverse=True), 0))
            assert set(taken) <= set(REFINED_PAIRS)
            assert taken[0][1] == top
            assert taken[-1][0] == 0
            assert all(after[1] == before[0] for before, after in itertools.pairwise(taken))
