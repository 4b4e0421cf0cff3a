"""The baselines: what they learn from, and that each keeps the contract of a generator."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema.conditions.request import PathTarget, Request
from kinema.corpora import Corpus
from kinema.features import pose154
from kinema.models.weights import write_weights
from kinema.motion import BODY
from kinema.training import Trainer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from baselines import data, diffusion, transformer
from baselines.base import Baseline, Task

NETWORKS = {
    "transformer": (transformer.Transformer, transformer.TransformerConfig(width=32, heads=2, layers=1)),
    "diffusion": (diffusion.Diffusion, diffusion.DiffusionConfig(width=32, heads=2, layers=1)),
}
LOADERS = {"transformer": transformer.load, "diffusion": diffusion.load}


@pytest.fixture(scope="module")
def clips(walks_corpus: Path) -> data.Clips:
    return data.Clips([Corpus.open(walks_corpus)])


@pytest.fixture(scope="module", params=list(NETWORKS))
def folder(request: pytest.FixtureRequest, clips: data.Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a very small network of a kind, with output layers that are not zero."""
    network, config = NETWORKS[request.param]
    torch.manual_seed(0)
    model = network(config)
    model.mean.copy_(torch.from_numpy(clips.mean))
    model.scale.copy_(torch.from_numpy(clips.scale))
    torch.nn.init.normal_(model.net.leave["0"].weight, std=0.1)
    path = tmp_path_factory.mktemp("weights") / request.param
    path.mkdir()
    write_weights(model, path, {"licence": "CC0"})
    return path


@pytest.fixture(scope="module")
def generator(folder: Path) -> Baseline:
    return LOADERS[folder.name](f"{folder}@4" if folder.name == "diffusion" else str(folder))


def test_frames_are_the_clip_wherever_it_stood(clips: data.Clips) -> None:
    first, count = clips.frames.clips[3]
    state = clips.frames.state[first : first + count].astype(float)
    values = clips.values(np.arange(first, first + count))
    assert values[:, :151] == pytest.approx(state[:, :151])
    path, heading, _ = pose154.way(values, 30, pose154.Place())
    assert heading == pytest.approx(state[:, 153] - state[0, 153], abs=1e-5)
    assert path == pytest.approx(pose154.turned(state[:, 151:153] - state[0, 151:153], -state[0, 153]), abs=1e-4)


def test_batches_hold_normalised_windows_with_their_texts(clips: data.Clips) -> None:
    batches = [clips.batch(np.random.default_rng(seed), 16, 64, multiple=8) for seed in range(10)]
    frames = []
    for batch in batches:
        assert batch["frames"].shape[0] == 16
        assert batch["frames"].shape[1] % 8 == 0
        assert 33 <= int(batch["count"].min()) <= int(batch["count"].max()) <= 64
        for row, count in zip(batch["frames"].numpy(), batch["count"].tolist(), strict=True):
            assert not row[count:].any()
            frames.append(row[:count])
    values = np.concatenate(frames)
    assert np.abs(values.mean(0)).max() < 0.5
    assert values.std(0).max() < 2
    again = clips.batch(np.random.default_rng(0), 16, 64, multiple=8)
    assert all(torch.equal(again[name], batches[0][name]) for name in again)
    texts = {row.tobytes() for row in clips.frames.texts}
    assert all(row.numpy().tobytes() in texts for row in batches[0]["text"])


def test_a_motion_has_the_length_and_the_start_that_a_request_asks_for(generator: Baseline) -> None:
    (motion,) = generator.generate(Request("a person walks", 2.5, seed=1))
    assert (len(motion), motion.fps, motion.skeleton) == (75, 30, BODY)
    assert np.isfinite(motion.joint_positions()).all()
    assert motion.root_position[0, [0, 2]] == pytest.approx([0, 0], abs=0.1)  # feet held in place move it a little
    assert motion.metadata["licence"] == "CC0"


def test_the_seed_decides_and_many_at_once_are_as_one_by_one(generator: Baseline) -> None:
    requests = [Request("a person walks", 1.1, seed=1), Request("a person runs", 3, seed=2)]
    many = Baseline.generate_many(generator, requests)
    for motion, as_judged in zip(many, generator.generate_many(requests), strict=True):
        # batches of diffusion are made in bf16
        assert as_judged.joint_positions() == pytest.approx(motion.joint_positions(), abs=0.01)
    # feet as generated: where their clean-up begins hangs by a hair
    for request, motion in zip(requests, many, strict=True):
        generator.reset(request)
        (alone,) = generator.step() or ()
        assert motion.joint_positions() == pytest.approx(alone.joint_positions(), abs=1e-3)
    assert generator.generate_many([]) == []
    generator.reset(replace(requests[0], seed=3))
    (other,) = generator.step() or ()
    differs = np.abs(other.joint_positions() - many[0].joint_positions()).max()
    assert (differs > 0.01) == (generator.name == "baseline-diffusion")  # a regressor has no source of chance


def test_samples_differ_where_there_is_chance(generator: Baseline) -> None:
    a, b = generator.generate(Request("a person walks", 1, samples=2))
    differs = np.abs(a.joint_positions() - b.joint_positions()).max()
    assert (differs > 0.01) == (generator.name == "baseline-diffusion")


def test_step_gives_the_whole_motion_once(generator: Baseline) -> None:
    generator.reset(Request("a person walks", 1, samples=3))
    piece = generator.step()
    assert piece is not None
    assert [len(motion) for motion in piece] == [30, 30, 30]
    assert generator.step() is None


@pytest.mark.parametrize(
    "request_, sentence",
    [
        (Request("a person walks", 2, targets=(PathTarget(1, (0, 1)),)), "cannot follow 'targets'"),
        (Request("a person walks", 10.1), "at most 10 s at once, got 10.1"),
        (Request(["a person walks", "and sits"], 2), "one sentence at a time, got 2"),
    ],
)
def test_what_cannot_be_done_is_refused(generator: Baseline, request_: Request, sentence: str) -> None:
    for attempt in (generator.reset, lambda request: generator.generate_many([request])):
        with pytest.raises(ValueError, match=sentence):
            attempt(request_)


@pytest.mark.parametrize("damage", ["short", "missing", "other", "size", "nan"])
def test_damaged_weights_give_a_sentence(folder: Path, tmp_path: Path, damage: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()
    if damage == "short":
        weights = weights[:1000]
    elif damage == "other":
        config["model"] = "fracmogen"
    elif damage == "size":
        config["config"]["width"] = 64
    (tmp_path / "config.json").write_text(json.dumps(config))
    if damage == "nan":
        network, sizes = NETWORKS[folder.name]
        model = network(sizes)
        torch.nn.init.constant_(model.net.leave["0"].weight, torch.nan)
        write_weights(model, tmp_path, {})
        with pytest.raises(ValueError, match="not finite for 'a person walks'"):
            LOADERS[folder.name](str(tmp_path)).generate(Request("a person walks", 1))
        return
    if damage != "missing":
        (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match=f"does not hold the weights of a baseline-{folder.name}"):
        LOADERS[folder.name](str(tmp_path))


@pytest.mark.parametrize("spec", ["@0", "@fast", "@10@2.5@1", "@10@-1"])
def test_steps_and_guidance_are_checked(tmp_path: Path, spec: str) -> None:
    write_weights(diffusion.Diffusion(NETWORKS["diffusion"][1]), tmp_path, {})
    assert diffusion.load(f"{tmp_path}@10@1.5").guidance == 1.5
    with pytest.raises(ValueError, match=r"steps must be|FOLDER@STEPS@GUIDANCE"):
        diffusion.load(f"{tmp_path}{spec}")


def test_ddim_with_a_perfect_network_gives_the_data_in_any_number_of_steps(clips: data.Clips) -> None:
    wanted = clips.batch(np.random.default_rng(0), 2, 60, multiple=2)

    class Oracle(diffusion.Diffusion):
        def clean(self, x: torch.Tensor, step: torch.Tensor, *conditions: Any) -> torch.Tensor:
            seen.append(x[:2])
            return wanted["frames"].repeat(2, 1, 1)

    for steps in (1, 7, 50):
        seen: list[torch.Tensor] = []
        generator = diffusion.DiffusionGenerator(Oracle(NETWORKS["diffusion"][1]), {}, steps)
        made = generator.sample(wanted["text"], wanted["count"], [(0, 0), (0, 1)])
        assert made.numpy() == pytest.approx(wanted["frames"].numpy(), abs=1e-5)
        assert len(seen) == steps
        assert float(seen[0][0, :30].std()) == pytest.approx(1, abs=0.1)  # starts from nothing but noise


def test_noise_levels_go_from_data_to_nothing_but_noise() -> None:
    share = diffusion.signal(torch.arange(-1, 1000))
    assert float(share[0]) == pytest.approx(1)
    assert float(share[-1]) == pytest.approx(0, abs=1e-6)
    assert bool((share.diff() < 0).all())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_training_lowers_the_loss_and_exports_a_generator(name: str, walks_corpus: Path, tmp_path: Path) -> None:
    task = Task(*NETWORKS[name], [walks_corpus], batch=16, multiple=2)
    Trainer(task, tmp_path, steps=50, warmup=5, learning_rate=3e-3, validate_every=50, threads=1).run()
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in losses if "loss" in row]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    generator = LOADERS[name](str(tmp_path / "export"))
    assert generator.info["licence"] == "CC0"
    assert generator.info["model"] == f"baseline-{name}"
    assert generator.model.scale.numpy() == pytest.approx(task.clips.scale)
    (motion,) = generator.generate(Request("a person walks fast", 2))
    assert len(motion) == 60
    assert np.abs(motion.joint_positions()).max() < 20
