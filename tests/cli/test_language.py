"""The commands of motion language models: describe, continue, fill, generate with their options, train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinema import load
from kinema.formats.bvh import write_bvh
from kinema.models.registry import read_config
from kinema.motion import BODY


@pytest.fixture
def model(request: pytest.FixtureRequest, place: Path) -> Path:
    write: Callable[..., None] = request.getfixturevalue("random_being-m0")
    write(place / "model", licence="CC0-1.0")
    return place / "model"


def test_a_file_is_described(kinema, model: Path) -> None:
    outcome = kinema("describe", "walk.bvh", "--model", model)
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("\n") == 1


def test_a_file_is_continued(kinema, model: Path) -> None:
    outcome = kinema(
        "continue", "walk.bvh", "--seconds", 1, "--text", "a person waves", "--model", model, "-o", "x.npz"
    )
    assert outcome.status == 0, outcome.err
    walk, longer = load("walk.bvh"), load("x.npz")
    assert len(longer) == len(walk) + 30
    joints = [walk.skeleton.index(name) for name in BODY.names]  # a file has them in an order of its own
    shift = longer.joint_positions()[: len(walk)] - walk.joint_positions()[:, joints]
    assert np.ptp(shift, axis=(0, 1)).max() < 0.01  # the same, but for how high retargeting puts it over the ground
    assert outcome.out.startswith("x.npz: 4.00 s")
    assert kinema("continue", "walk.bvh", "--seconds", 1, "--model", model).status == 0
    assert Path("out/walk-continued.glb").is_file()


def test_a_gap_is_filled(kinema, model: Path) -> None:
    outcome = kinema("fill", "walk.bvh", "walk.bvh", "--seconds", 2, "--model", model, "-o", "x.npz")
    assert outcome.status == 0, outcome.err
    assert len(load("x.npz")) == 2 * len(load("walk.bvh")) + 60


def test_generate_sets_what_a_model_has(kinema, model: Path) -> None:
    tokens = ("--temperature", 0.8, "--top-p", 0.9, "--guidance", 1.5, "--no-foot-lock")
    assert kinema("generate", "a person walks", "--seconds", 1, "--model", model, *tokens, "-o", "x.npz").status == 0
    assert len(load("x.npz")) == 30
    for name, wrong in {model: ("--steps", 4), "fracmogen": ("--temperature", 1)}.items():
        outcome = kinema("generate", "a person walks", "--model", name, *wrong)
        assert outcome.status == 2
        assert f"has no {wrong[0][2:]}" in outcome.err
        assert "guidance" in outcome.err
    outcome = kinema("generate", "a person walks", "--model", model, "--top-p", 0)
    assert (outcome.status, "top_p above 0" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["describe", "none.bvh", "--model", "model"], "none.bvh"),
        (["describe", "walk.bvh", "--model", "fracmogen"], "no motion language model"),
        (["describe", "short.bvh", "--model", "model"], "3 frames; it takes 4"),
        (["continue", "walk.bvh", "--model", "model", "--seconds", "0.1"], "at least 0.5"),
        (["continue", "walk.bvh", "--model", "model", "--text", ""], "prompt 1 is empty"),
        (["continue", "walk.bvh", "--model", "model", "-o", "x.txt"], "cannot write .txt"),
        (["fill", "walk.bvh", "walk.bvh", "--model", "model", "--seconds", "1000"], "at most 300"),
        (["train", "language", "--corpus", ".", "--steps", "1", "--codec", "none"], "no model 'none'"),
        (["train", "language", "--corpus", ".", "--steps", "1", "--codec", "model"], "weights of a codec"),
        (["train", "language", "--corpus", ".", "--steps", "1", "--codec", "model/codec"], "not a corpus"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments, sentence: str, kinema, model: Path) -> None:
    walk = load("walk.bvh")
    write_bvh(walk.replace(root_position=walk.root_position[:3], rotations=walk.rotations[:3]), Path("short.bvh"))
    outcome = kinema(*arguments)
    assert outcome.status == 2
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1


def test_two_stages_by_command(kinema, model: Path, walks_corpus: Path) -> None:
    common = ("--codec", "model/codec", "--corpus", walks_corpus, "--batch", 2, "--steps", 1)
    sizes = ("--width", 32, "--layers", 1, "--share", 0.1)
    outcome = kinema("train", "language", *common, *sizes, "-o", "runs/one")
    assert outcome.status == 0, outcome.err
    outcome = kinema(
        "train",
        "language",
        "--stage",
        "instruct",
        "--start",
        "runs/one/export",
        *common,
        "--share",
        0.1,
        "-o",
        "runs/two",
    )
    assert outcome.status == 0, outcome.err
    assert read_config(Path("runs/two/export"))["stage"] == "instruct"
    assert kinema("describe", "walk.bvh", "--model", "runs/two/export").status == 0
