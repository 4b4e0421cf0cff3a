"""FracMoGen's own tables: that the small refiners learn what the product's learns, and what is said of them is so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.evaluation import metrics
from kinema.evaluation.evaluator import Evaluator, EvaluatorConfig, EvaluatorModel
from kinema.models.fracmogen import scales
from kinema.models.fracmogen.config import FracMoGenConfig
from kinema.models.fracmogen.data import REFINER_FRAMES, mixing_noise
from kinema.models.fracmogen.model import MIXING, FracMoGen
from kinema.models.fracmogen.pipeline import FracMoGenGenerator, Window
from kinema.motion import Motion

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import ablations
from ablations import difference
from refiners import BATCH, PAIRS, SHARES, VARIANTS, Refiner, RefinerTask, Variant, refine

SMALL = FracMoGenConfig(width=32, heads=2, sampler_layers=1, refiner_layers=1)


@pytest.fixture(scope="module")
def task(walks_corpus: Path) -> RefinerTask:
    return RefinerTask(SMALL, [walks_corpus])


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_what_the_product_makes_window_by_window(task: RefinerTask, seed: int) -> None:
    batch = task.of(VARIANTS["none"])._batch(np.random.default_rng(seed), "train")
    rng = np.random.default_rng(seed)
    target, source = PAIRS[rng.choice(len(PAIRS), p=SHARES)]
    assert batch["pair"].tolist() == [target, source]
    for row, (clip, first, length, text) in enumerate(task._draw(rng, "train", BATCH, REFINER_FRAMES)):
        keys = max((length - 1) // 2**source, 1) + 1
        first = min(first, int(task.frames.clips[clip].sum()) - (keys - 1) * 2**source - 1)
        seen, wanted = task.pair(rng, clip, first, keys, target, source, 0.0)
        assert int(batch["frames"][row]) == len(seen)
        assert batch["seen"][row, : len(seen)].numpy() == pytest.approx(seen, abs=2e-3)
        assert not batch["seen"][row, len(seen) :].any()
        assert batch["wanted"][row, : len(seen)].numpy() == pytest.approx(wanted.clip(-8, 8), abs=2e-2)
        assert batch["seen_text"][row].numpy() == pytest.approx(task.frames.texts[text])


def test_the_variants_of_a_seed_see_the_same_windows(task: RefinerTask) -> None:
    plain, mixed = (task.of(VARIANTS[name])._batch(np.random.default_rng(3), "train") for name in ("none", "mixing10"))
    for name in ("pair", "frames", "seen_text", "seen_has_text"):
        assert torch.equal(plain[name], mixed[name])
    exact = mixed["mixing"] == 0
    assert 0 < int(exact.sum()) < BATCH
    assert torch.equal(plain["seen"][exact], mixed["seen"][exact])
    assert torch.equal(plain["wanted"][exact], mixed["wanted"][exact])
    strength = mixed["mixing"][~exact] * 10
    assert torch.equal(strength.round(), strength.round(decimals=3))  # ten levels
    assert (mixed["seen"][~exact][..., -1] == 0).all()  # no key frame is given as exact
    assert (mixed["wanted"][~exact][:, 0, :151] != 0).any()  # and each is to be corrected


def test_noise_of_the_spread_of_the_correction(task: RefinerTask) -> None:
    keys = np.random.default_rng(0).normal(0, 0.1, (400, 308)).astype(np.float32)
    spread = task.statistics["spread"][0, 3]
    gaussian = task.of(VARIANTS["gaussian10"])._shift(np.random.default_rng(1), keys, 0.5, (0, 3))
    assert gaussian.std(0) == pytest.approx(0.5 * spread, rel=0.2)
    mixing = task.of(VARIANTS["mixing10"])._shift(np.random.default_rng(1), keys, 0.5, (0, 3))
    own = mixing_noise(np.random.default_rng(1), keys)
    assert mixing == pytest.approx(1.5 / MIXING * spread * own)


def test_whole_frames_are_blended_as_in_the_paper(task: RefinerTask) -> None:
    clip = np.array([0])
    keys = task._curve(clip, task.frames.clips[clip, 0], np.array([9]), 9, 8)[0]
    swapped = keys + task.of(VARIANTS["whole-mixing10"])._shift(np.random.default_rng(1), keys, 1.0, (0, 3))
    order = np.random.default_rng(1).permutation(9)
    assert swapped[:, :151] == pytest.approx(keys[order, :151], abs=1e-6)
    assert swapped[:, 151:154] == pytest.approx(keys[:, 151:154])  # each stays in its place
    speed = np.linalg.norm(keys[:, 305:307], axis=1)
    assert np.linalg.norm(swapped[:, 305:307], axis=1) == pytest.approx(speed[order], abs=1e-6)
    ahead = scales.turned(keys[:, 305:307], -keys[:, 153])
    assert scales.turned(swapped[:, 305:307], -keys[:, 153]) == pytest.approx(ahead[order], abs=1e-6)


def test_lambda_of_the_rising_schedule_is_the_product_s() -> None:
    product = FracMoGen(SMALL)
    for level, share in enumerate((0.8, 0.7, 0.6, 0.5, 0.4)):  # stage 6 has .2, and .1 more each stage
        assert Refiner(VARIANTS["mixing10"], SMALL).balance(level) == pytest.approx(share)
        assert product.balance(level) == pytest.approx(share)
        assert Refiner(VARIANTS["lambda0.5"], SMALL).balance(level) == 0.5
    assert Refiner(VARIANTS["lambda0.8-0.2"], SMALL).balance(3) == pytest.approx(0.5)
    assert Refiner(VARIANTS["lambda0.4-1"], SMALL).balance(0) == 1


def trembling(config: FracMoGenConfig = SMALL) -> FracMoGen:
    torch.manual_seed(0)
    model = FracMoGen(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.spread.fill_(1e-2)
    return model.eval()


@pytest.mark.parametrize("chain", [(3, 0), (4, 3, 2, 1, 0)])
def test_refining_here_is_refining_there(walk: Motion, chain: tuple[int, ...]) -> None:
    model = trembling()
    state, _ = scales.state_of(walk)
    velocity, stride = scales.velocity_of(state), 2 ** chain[0]
    counts = (5, 3, 6) if chain[0] == 4 else (9, 4, 11)
    keys = [scales.Keys(state[::stride][:n], velocity[::stride][:n], stride) for n in counts]
    texts = np.random.default_rng(0).normal(0, 0.04, (3, 768)).astype(np.float32)
    here = refine(model, texts, keys, chain)
    windows = [Window(text, (n - 1) * stride + 1, (0,), None, ()) for text, n in zip(texts, counts, strict=True)]
    there = FracMoGenGenerator(model, {}).refine(windows, keys, chain)
    for ours, theirs, known in zip(here, there, keys, strict=True):
        assert ours.state == pytest.approx(theirs.state, abs=1e-5)
        assert ours.state[::stride] == pytest.approx(known.state)
    told = refine(model, texts, keys, chain, 0.5)
    assert np.abs(told[0].state[::stride] - keys[0].state).max() > 1e-3  # what may be off is corrected


def test_a_gain_needs_an_interval_without_zero() -> None:
    # mean .3, standard deviation .1: half = 4.3027 * .1 / sqrt(3)
    assert difference([1.2, 1.4, 1.3], [1, 1, 1]) == (pytest.approx(0.3), pytest.approx(0.24841, abs=1e-4), "holds")
    assert difference([1, 1, 1], [1.2, 1.4, 1.3])[2] == "reversed"
    assert difference([1.1, 1.5, 1.0], [1, 1, 1])[2] == "not separated"
    assert difference([2.0], [1.0])[2] == "one seed"
    # what two seeds have in common does not count against a gain
    assert difference([1.2, 5.4, 9.3], [1, 5.1, 9.1])[2] == "holds"


def test_train_goes_on_and_the_tables_say_what_was_trained(
    walks_corpus: Path,
    tmp_path: Path,
    random_fracmogen: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ablations, "SIZE", SMALL)
    # the walks have too few sentences for pools of 32 different ones
    monkeypatch.setattr(
        metrics, "pools", lambda labels, *_: np.stack([np.roll(np.arange(len(labels)), -k) for k in (0, 1)], 1)
    )
    torch.manual_seed(0)
    judge = Evaluator(EvaluatorModel(EvaluatorConfig(width=32, layers=1)), {"sha256": "a random one"})
    monkeypatch.setattr(Evaluator, "load", lambda folder: judge)
    (tmp_path / "model").mkdir()
    random_fracmogen(tmp_path / "model")
    out = tmp_path / "runs"

    with pytest.raises(ValueError, match="no variant 'mixing11'; there are none, gaussian10"):
        ablations.train((walks_corpus,), out, only=("mixing11",))
    with pytest.raises(ValueError, match="holds no trained refiners"):
        ablations.judged((walks_corpus,), out, str(tmp_path / "model"), 1)

    ablations.train((walks_corpus,), out, only=("none",), seeds=(0, 1), steps=4)
    weights = out / "none" / "seed1" / "export" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    ablations.train((walks_corpus,), out, only=("none", "mixing10"), seeds=(0, 1), steps=4)
    assert "2 of 4 refiners are trained" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before
    model, report = ablations.read_refiner(weights)
    assert (report["steps"], model.variant) == (4, Variant("none", 0))
    assert not hasattr(model, "sampler")

    ablations.table((walks_corpus,), out, str(tmp_path / "model"), repeats=1)
    text = capsys.readouterr().out
    assert "| mixing10 over none | paper: .181 < 2.592" in text
    assert "not separated" in text or "holds" in text or "reversed" in text
    rows = [line for line in text.splitlines() if line.startswith("| mixing10, told")]
    assert [row.split("|")[1].strip() for row in rows] == ["mixing10, told 0", "mixing10, told 0.5"]
    assert "| none, told 0.5" not in text  # it has never learned what that means
    judged = (out / "none" / "seed0" / "judged.json").stat().st_mtime_ns
    ablations.table((walks_corpus,), out, str(tmp_path / "model"), repeats=1)
    assert capsys.readouterr().out == text
    assert (out / "none" / "seed0" / "judged.json").stat().st_mtime_ns == judged
