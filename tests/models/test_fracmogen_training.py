"""From motion files to a model that generates: corpus, training, export, generation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.conditions.request import Request
from kinema.corpora.build import build
from kinema.features import pose151
from kinema.models import registry
from kinema.models.fracmogen.config import FracMoGenConfig
from kinema.models.fracmogen.data import FracMoGenTask
from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.training import Trainer

SMALL = FracMoGenConfig(width=32, heads=2, sampler_layers=1, refiner_layers=1)


@pytest.fixture(scope="module")
def corpus(walk: Motion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 constructed walks with arms of their own: enough that none of the splits is empty."""
    folder = tmp_path_factory.mktemp("walks")
    rows = []
    for number in range(40):
        rng, rotations = np.random.default_rng(number), np.array(walk.rotations)
        for joint in ("left_shoulder", "right_shoulder", "left_elbow", "spine1"):
            index = BODY.index(joint)
            swing = rng.normal(0, 0.4) + 0.3 * np.sin(rng.uniform(1, 6) * np.arange(len(walk)) / walk.fps)
            turn = rot.from_axis_angle(rot.normalize(rng.normal(size=3)), swing)
            rotations[:, index] = rot.multiply(rotations[:, index], turn)
        speed = 0.5 + 0.04 * number
        moved = walk.replace(root_position=walk.root_position * (1, 1, speed), rotations=rotations)
        moved.save(folder / f"walk_{number:03}.bvh")
        rows.append({"motion": f"walk_{number:03}.bvh", "clip": f"walk_{number:03}", "start": 0.0, "end": None})
        rows[-1] |= {"text": f"a person walks {'fast' if speed > 1.2 else 'slowly'} to the left", "source": "written"}
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build([folder], folder / "corpus", licence="CC0", source="constructed")
    return folder / "corpus"


@pytest.fixture(scope="module")
def task(corpus: Path) -> FracMoGenTask:
    return FracMoGenTask(SMALL, [corpus], batch=8, refiner_batch=4)


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


def test_training_lowers_the_loss_and_exports_a_model(task: FracMoGenTask, corpus: Path, tmp_path: Path) -> None:
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
