"""Every registered generator through the same contract, with small random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinema.conditions.request import JointTarget, PathTarget, Request, pose_target
from kinema.models import registry
from kinema.motion import BODY, Motion
from kinema.motion.kinematics import forward_kinematics

Write = Callable[[Path], None]


@pytest.fixture(scope="module", params=sorted(registry.MODELS))
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> registry.Generator:
    folder = tmp_path_factory.mktemp(request.param)
    request.getfixturevalue(f"random_{request.param}")(folder)
    return registry.load(str(folder))


def test_length_skeleton_rate_and_origin(generator: registry.Generator) -> None:
    (motion,) = generator.generate(Request("a person walks", 2.5))
    assert motion.skeleton == BODY
    assert (len(motion), motion.fps) == (75, 30.0)
    assert np.abs(motion.root_position[0, [0, 2]]).max() < 1e-6
    assert motion.metadata["text"] == "a person walks"
    assert motion.metadata["licence"] == "test"


def test_a_seed_makes_a_motion_and_another_makes_another(generator: registry.Generator) -> None:
    once = generator.generate(Request("a person walks", 2, seed=3))[0].joint_positions()
    again = generator.generate(Request("a person walks", 2, seed=3))[0].joint_positions()
    other = generator.generate(Request("a person walks", 2, seed=4))[0].joint_positions()
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 0.01


def test_samples_differ_and_the_first_is_the_single_one(generator: registry.Generator) -> None:
    single = generator.generate(Request("a person walks", 2))[0].joint_positions()
    samples = [motion.joint_positions() for motion in generator.generate(Request("a person walks", 2, samples=3))]
    np.testing.assert_allclose(samples[0], single, atol=1e-4)
    assert min(np.abs(a - b).max() for a, b in ((samples[0], samples[1]), (samples[1], samples[2]))) > 0.01


def test_pieces_are_the_whole(generator: registry.Generator) -> None:
    request = Request(("a person walks", "a person waves"), (2, 12))
    generator.reset(request)
    pieces = []
    while (piece := generator.step()) is not None:
        pieces.append(len(piece[0]))
    assert len(pieces) > 2  # 12 s are more than one window
    assert sum(pieces) == len(generator.generate(request)[0]) == 14 * 30


def test_refuses_what_it_does_not_honour(generator: registry.Generator, walk: Motion) -> None:
    values = {"targets": (PathTarget(0.5, (0.0, 0.0)),)} | dict.fromkeys(("past", "future"), walk)
    for name, value in values.items():
        if name not in generator.honours:
            with pytest.raises(ValueError, match=name):
                generator.reset(Request("x", 1, **{name: value}))


def test_goes_on_from_the_past(generator: registry.Generator, walk: Motion) -> None:
    if "past" not in generator.honours:
        pytest.skip("cannot continue")
    (motion,) = generator.generate(Request("a person walks", 2, past=walk))
    before, after = walk.joint_positions(), motion.joint_positions()
    step = np.linalg.norm(after[0] - before[-1], axis=-1)
    assert step.max() < 0.15  # one frame further, wherever the past has led


def test_targets_are_met(generator: registry.Generator) -> None:
    if "targets" not in generator.honours:
        pytest.skip("has no targets")
    (plain,) = generator.generate(Request("a person walks", 4, seed=9))
    pose = pose_target(1.0, plain, 20)
    path = tuple(PathTarget(time, (0.3 * time, 0.8 * time)) for time in np.arange(0, 4.01, 0.25))
    (walks,) = generator.generate(Request("a person walks", 4, targets=path))
    at = [min(round(point.time * 30), 119) for point in path]
    gaps = walks.root_position[at][:, [0, 2]] - [point.position for point in path]
    assert np.linalg.norm(gaps, axis=1).mean() < 0.05

    joints = (JointTarget(2.0, "right_wrist", (-0.5, 1.3, 0.4)), JointTarget(3.0, "head", (0.1, 1.4, 0.1)))
    (reaches,) = generator.generate(Request("a person reaches out", 4, targets=(pose, *joints)))
    positions = reaches.joint_positions()
    for target in joints:
        assert np.linalg.norm(positions[round(target.time * 30), BODY.index(target.joint)] - target.position) < 0.03
    wanted, _ = forward_kinematics(BODY, pose.root_position, pose.rotations)
    assert np.linalg.norm(positions[30] - wanted, axis=1).max() < 0.02


def test_targets_after_the_end_are_refused(generator: registry.Generator) -> None:
    with pytest.raises(ValueError, match=r"after the end|cannot follow"):
        generator.generate(Request("a person walks", targets=(PathTarget(100.0, (0, 0)),)))


@pytest.mark.parametrize("damage", ["missing", "truncated", "not json", "another model", "wrong sizes"])
def test_damaged_weights_get_one_sentence(tmp_path: Path, damage: str, random_fracmogen: Write) -> None:
    random_fracmogen(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "not json":
        config.write_text("{")
    elif damage == "another model":
        config.write_text(json.dumps({"model": "os.system"}))
    else:
        info = json.loads(config.read_text())
        info["config"]["width"] = 64
        config.write_text(json.dumps(info))
    with pytest.raises(ValueError, match=str(tmp_path)) as caught:
        registry.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_unknown_models_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, random_fracmogen: Write) -> None:
    random_fracmogen(tmp_path / "mine")
    monkeypatch.setenv("KINEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(ValueError, match="mine"):
        registry.find("no-such-model")
    assert registry.find("mine") == tmp_path / "mine"


def test_without_any_weights_the_sentence_says_where_they_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KINEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(ValueError, match=r"holds no models; set KINEMA_WEIGHTS") as caught:
        registry.load("fracmogen")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["{", "[1]", "[" * 100_000, b"\xff\xfe", " " * (registry.MAX_CONFIG_BYTES + 1)],
    ids=["cut off", "a list", "deep", "no text", "huge"],
)
def test_a_damaged_description_is_told_and_hides_no_other_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, random_fracmogen: Write, content: str | bytes
) -> None:
    random_fracmogen(tmp_path / "whole")
    (tmp_path / "damaged").mkdir()
    path = tmp_path / "damaged" / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("KINEMA_WEIGHTS", str(tmp_path))
    assert list(registry.shipped()) == ["whole"]
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        registry.load("damaged")
