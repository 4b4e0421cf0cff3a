"""The evaluator: what it sees of a motion, its loss, its training on constructed motion, and the shipped weights."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.corpora import Caption, Clip, Corpus
from kinema.evaluation import evaluator as module
from kinema.evaluation import metrics
from kinema.evaluation.evaluator import (
    MIRROR_COLUMNS,
    MIRROR_SIGNS,
    Evaluator,
    EvaluatorConfig,
    EvaluatorModel,
    EvaluatorTask,
    features,
)
from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.training import Trainer

ROOT = Path(__file__).resolve().parents[2]


@given(st.floats(-3, 3), st.floats(-20, 20), st.floats(-20, 20))
@settings(max_examples=20, deadline=None)
def test_features_do_not_depend_on_place_and_heading(angle: float, x: float, z: float) -> None:
    positions = np.random.default_rng(3).standard_normal((8, 22, 3)).cumsum(0) * 0.01 + BODY.rest_positions
    moved = rot.rotate(rot.about_y(np.array(angle)), positions) + np.array([x, 0, z])
    assert np.allclose(features(moved), features(positions), atol=1e-4)


def test_features_of_a_known_motion() -> None:
    time = np.arange(31)[:, None] / 30
    turn = rot.about_y(0.5 * time)  # turning left by 0.5 rad/s on the spot, rising by 0.2 m/s
    positions = rot.rotate(turn, np.broadcast_to(BODY.rest_positions, (31, 22, 3)))
    positions = positions + np.stack([0 * time, 1 + 0.2 * time, 0 * time], -1)
    seen = features(positions)
    assert seen.shape == (31, 133)
    assert np.allclose(seen[:, :63].reshape(31, 21, 3), BODY.rest_positions[1:], atol=1e-6)
    assert np.allclose(seen[:, 63], 1 + 0.2 * time[:, 0], atol=1e-6)
    assert np.allclose(seen[:, 64:66], 0, atol=1e-6)
    assert np.allclose(seen[:, 66], 0.5, atol=1e-4)
    velocity = seen[:, 67:].reshape(31, 22, 3)
    # a joint at x on the left of a body that turns left moves back with 0.5 x
    elbow = BODY.index("left_elbow")
    assert np.allclose(velocity[:, elbow, 2], -0.5 * BODY.rest_positions[elbow, 0], atol=0.01)
    assert np.allclose(velocity[..., 1], 0.2, atol=1e-4)


def test_walking_forward_is_forward_whatever_the_heading(walk: Motion) -> None:
    seen = features(walk.joint_positions())
    assert seen[:, 65].mean() == pytest.approx(1.2, abs=0.05)
    assert abs(seen[:, 64].mean()) < 0.05


def test_mirrored_features_are_those_of_the_mirrored_motion(rng: np.random.Generator) -> None:
    positions = rng.standard_normal((10, 22, 3)).cumsum(0) * 0.02 + BODY.rest_positions
    other = [name.replace("left", "?").replace("right", "left").replace("?", "right") for name in BODY.names]
    mirrored = positions[:, [BODY.index(name) for name in other]] * (-1, 1, 1)
    assert np.allclose(features(mirrored), features(positions)[:, MIRROR_COLUMNS] * MIRROR_SIGNS, atol=1e-5)


@pytest.fixture(scope="module")
def untrained() -> Evaluator:
    torch.manual_seed(0)
    return Evaluator(EvaluatorModel(EvaluatorConfig()), {})


def test_an_embedding_does_not_depend_on_what_else_is_embedded(untrained: Evaluator, rng: np.random.Generator) -> None:
    lengths = [1, 5, 6, 7, 31, 90, 300] * 6  # more than one group
    motions = [rng.standard_normal((length, 22, 3)) for length in lengths]
    together = untrained.motions(motions)
    assert np.allclose(np.linalg.norm(together, axis=1), 10, atol=1e-4)
    for index in (0, 1, 3, 6, 40):
        assert np.allclose(untrained.motions([motions[index]])[0], together[index], atol=1e-4)
    assert np.linalg.norm(together[3] - together[4]) > 0.1


def test_motion_that_cannot_be_judged_is_refused(untrained: Evaluator, walk: Motion) -> None:
    with pytest.raises(ValueError, match="30 fps, got 22 joints at 20 fps"):
        untrained.motions([Motion(BODY, 20, walk.root_position, walk.rotations)])
    with pytest.raises(ValueError, match="1 to 300"):
        untrained.motions([np.zeros((301, 22, 3))])
    with pytest.raises(ValueError, match="22, 3"):
        untrained.motions([np.zeros((30, 24, 3))])


def test_the_loss_is_what_slow_loops_give(untrained: Evaluator, rng: np.random.Generator) -> None:
    count = 6
    motion, text = torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((2, count, 128))), dim=-1)
    sentences = np.eye(384)[:count]
    sentences[3] = 0.97 * sentences[2] + math.sqrt(1 - 0.97**2) * sentences[3]  # says the same as 2
    sentences[1] = 0.97 * sentences[4] + math.sqrt(1 - 0.97**2) * sentences[1]  # the same as 4, but for the side
    labels, sides = [0, 1, 2, 3, 4, 0], [7, 7, 7, 7, 8, 7]
    scale = 1 / 0.07
    total = 0.0
    for i in range(count):
        near = [j for j in range(count) if sentences[i] @ sentences[j] > 0.95 and sides[i] == sides[j]]
        same = sorted({*near, *(j for j in range(count) if labels[i] == labels[j])})
        assert len(same) == (2 if i in (0, 5, 2, 3) else 1)
        for one, other in ((motion, text), (text, motion)):
            chances = torch.softmax(scale * other @ one[i], 0)
            total -= sum(math.log(chances[j]) for j in same) / len(same)
    with torch.no_grad():
        integers = (torch.tensor(labels), torch.tensor(sides))
        found = untrained.model.loss(motion, text, torch.from_numpy(sentences), *integers)
    assert float(found) == pytest.approx(total / 2 / count, rel=1e-5)


def test_sentences_that_name_other_sides_are_told_apart() -> None:
    from kinema.evaluation.evaluator import side_of

    assert side_of("a person raises the left arm.") == side_of("someone lifts her LEFT hand")
    assert side_of("a person raises the left arm.") != side_of("a person raises the right arm.")
    assert side_of("turns left, then right") != side_of("turns right, then left")
    assert side_of("walks clockwise") != side_of("walks counterclockwise")
    assert side_of("walks counter-clockwise") == side_of("goes counterclockwise") != side_of("walks")


def constructed(walk: Motion) -> Corpus:
    """Three classes of a few takes each: a walk, a walk backwards, and standing with one arm lifted higher."""
    rng = np.random.default_rng(0)
    sentences = {
        "walk": "a person walks forward.",
        "walk back": "somebody goes backwards.",
        "left arm": "a person raises the left arm.",
    }
    motions, clips, start = [], [], 0
    for number in range(36):
        label = list(sentences)[number % 3]
        begin = int(rng.integers(20))
        motion = walk.replace(root_position=walk.root_position[begin:], rotations=walk.rotations[begin:])
        if label == "walk back":
            motion = motion.replace(root_position=motion.root_position[::-1], rotations=motion.rotations[::-1])
        if label == "left arm":
            quats = np.tile(motion.rotations[:1], (len(motion), 1, 1))
            angle = np.linspace(0, rng.uniform(1, 2), len(motion))
            quats[:, BODY.index("left_shoulder")] = rot.from_axis_angle(np.array([0.0, 0, 1]), angle)
            motion = motion.replace(root_position=np.tile(motion.root_position[:1], (len(motion), 1)), rotations=quats)
        split = "val" if number >= 30 else "compositional" if number >= 24 else "train"
        caption = Caption(sentences[label], 0, len(motion), "written")
        name = f"take {number}"
        clips.append(Clip(number, name, name, label, split, start, len(motion), "free", "constructed", (caption,)))
        motions.append(motion)
        start += len(motion)
    roots, quats = (np.concatenate([getattr(m, key) for m in motions]) for key in ("root_position", "rotations"))
    info = {"licence": "free", "source": "constructed", "fps": 30.0, "sha256": "0"}
    return Corpus(Path("constructed"), info, clips, roots.astype(np.float32), quats.astype(np.float32))


def test_training_tells_constructed_classes_apart_and_ships_what_was_trained(walk: Motion, tmp_path: Path) -> None:
    corpus = constructed(walk)
    config = EvaluatorConfig(width=32, layers=1, heads=2)
    task = EvaluatorTask([corpus], config, batch_size=24)
    learned = {item.clip.name for item in task.items}
    judged = {item.clip.name for split in ("val", "compositional") for item in module.judged_items([corpus], split)}
    assert learned | judged == {clip.name for clip in corpus.clips}
    assert not learned & judged
    assert any(clip.split == "compositional" and clip.name in learned for clip in corpus.clips)
    assert any(clip.split == "compositional" and clip.name in judged for clip in corpus.clips)

    batch = task.batch(np.random.default_rng(5))
    again = task.batch(np.random.default_rng(5))
    assert all(torch.equal(batch[name], again[name]) for name in batch)

    Trainer(task, tmp_path, steps=60, warmup=10, learning_rate=3e-3, ema=0.9, threads=1).run()
    trained = Evaluator.load(tmp_path / "export")
    texts = trained.texts(["a person walks forward.", "somebody goes backwards.", "a person raises the left arm."])
    items = module.judged_items([corpus], "val")
    motions = [corpus.motion(item.clip) for item in items]
    distance = np.linalg.norm(trained.motions(motions)[:, None] - texts, axis=-1)
    labels = ["walk", "walk back", "left arm"]
    assert [labels[index] for index in distance.argmin(1)] == [item.label for item in items]
    # left and right must not be mixed up: the mirrored arm is nearer to the sentence about the right one
    both = trained.texts(["a person raises the left arm.", "a person raises the right arm."])
    arm = next(corpus.clips[item.clip.index] for item in items if item.label == "left arm")
    flipped = trained.motions([corpus.motion(arm), corpus.motion(arm, mirrored=True)])
    assert np.linalg.norm(flipped[:, None] - both, axis=-1).argmin(1).tolist() == [0, 1]


def test_damaged_or_missing_weights_are_refused(tmp_path: Path, untrained: Evaluator) -> None:
    with pytest.raises(ValueError, match=r"holds no evaluator: config\.json is missing"):
        Evaluator.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model": {}, "sha256": "0"}))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"not those that config\.json names"):
        Evaluator.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="evaluator is damaged"):
        Evaluator.load(tmp_path)


@pytest.fixture(scope="module")
def shipped() -> Evaluator:
    return Evaluator.load(ROOT / "weights" / "evaluator")


def test_the_shipped_evaluator_on_constructed_motion(shipped: Evaluator, walk: Motion) -> None:
    texts = ["a person walks forward.", "a person raises the left hand high.", "a person bows deeply."]
    distance = np.linalg.norm(shipped.motions([walk]) - shipped.texts(texts), axis=-1)
    assert distance.argmin() == 0


def test_the_shipped_evaluator_on_real_motion_and_on_damaged_motion(shipped: Evaluator) -> None:
    folder = Path(os.environ.get("KINEMA_CORPORA", ROOT / "corpora"))
    if not (folder / "bandai" / "corpus.json").exists():
        pytest.skip(f"no corpora in {folder}; set KINEMA_CORPORA")
    corpora = [Corpus.open(folder / name) for name in ("cmu", "bandai")]
    items = module.judged_items(corpora, "test")
    motions = [corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.end) for item in items]
    rng = np.random.default_rng(0)
    labels, texts = [item.label for item in items], [item.caption.text for item in items]
    pools = metrics.pools(labels, texts, rng)
    text = shipped.texts(texts)

    def judged(positions: list[np.ndarray]) -> tuple[float, float, float]:
        """R@1, FID, and FID of halves, which is comparable with the floor."""
        embedded = shipped.motions(positions)
        halves, _ = metrics.fid_halves(real, embedded, np.random.default_rng(1))
        return metrics.r_precision(embedded, text, pools)[0], metrics.fid(real, embedded), halves

    positions = [motion.joint_positions() for motion in motions]
    real = shipped.motions(positions)
    precision, itself, floor = judged(positions)
    assert precision > 0.93
    assert itself == pytest.approx(0, abs=1e-3)
    jitter, worse = (judged([p + rng.normal(0, size, p.shape) for p in positions]) for size in (0.01, 0.03))
    assert itself < jitter[1] < worse[1]
    assert worse[2] > 1.3 * floor
    frozen = judged([np.repeat(p[:1], len(p), 0) for p in positions])
    assert frozen[0] < 0.4
    assert frozen[2] > 4 * floor
    backwards = judged([p[::-1] for p in positions])
    assert backwards[0] < 0.8
    assert backwards[2] > 2 * floor
    other = [
        BODY.index(name.replace("left", "?").replace("right", "left").replace("?", "right")) for name in BODY.names
    ]
    assert judged([p[:, other] * (-1, 1, 1) for p in positions])[0] < 0.75  # many clips are their own mirror image
    wrong = metrics.r_precision(real, text[rng.permutation(len(text))], pools)
    assert np.allclose(wrong, [1 / 32, 2 / 32, 3 / 32], atol=0.06)
