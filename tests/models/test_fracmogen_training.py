"""From motion files to a model that generates: corpus, training, export, generation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.conditions.request import Request
from kinema.features import pose151
from kinema.models import registry
from kinema.models.fracmogen.config import FracMoGenConfig
from kinema.models.fracmogen.data import FracMoGenTask
from kinema.training import Trainer

SMALL = FracMoGenConfig(width=32, heads=2, sampler_layers=1, refiner_layers=1)


@pytest.fixture(scope="module")
def task(walks_corpus: Path) -> FracMoGenTask:
    return FracMoGenTask(SMALL, [walks_corpus], batch=8, refiner_batch=4)


def test_batches_are_a_function_of_the_generator(task: FracMoGenTask) -> None:
    once, again = (task.batch(np.random.default_rng(5)) for _ in range(2))
    assert once.keys() == again.keys()
    assert all(np.array_equal(once[name], again[name]) for name in once)


def test_tokens_are_normalised_and_mirrored_clips_are_there(task: FracMoGenTask) -> None:
    batches = [task.batch(np.random.default_rng(seed)) for seed in range(20)]
    tokens = np.concatenate(
        [batch["tokens"][..., :324].reshape(-1, 324) for batch in batches if int(batch["level"]) == 3]
    )
    assert np.abs(tokens.mean(0)).max() < 0.5
    assert np.median(tokens.std(0)) < 1.5
    half = len(task.frames.clips) // 2
    plain, mirrored = (task.frames.state[task.frames.clips[k, 0] + 10] for k in (3, 3 + half))
    left, right = (pose151.EFFECTOR.start + 3 * pose151.EFFECTORS.index(f"{side}_wrist") for side in ("left", "right"))
    assert mirrored[left] == pytest.approx(-plain[right], abs=1e-5)
    assert mirrored[left] != pytest.approx(plain[left], abs=1e-3)


def test_training_lowers_the_loss_and_exports_a_model(task: FracMoGenTask, tmp_path: Path) -> None:
    report = Trainer(task, tmp_path, steps=60, warmup=5, learning_rate=3e-3, validate_every=30, threads=1).run()
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["sample"] for row in losses if "sample" in row]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert report["steps"] == 60
    generator = registry.load(str(tmp_path / "export"))
    assert generator.info["licence"] == "CC0"
    (motion,) = generator.generate(Request("a person walks fast", 3))
    assert len(motion) == 90
    assert np.abs(motion.joint_positions()).max() < 20
