"""Captions against nearest clips: that the measures are 1 for the perfect and chance for the constant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.corpora import Corpus
from kinema.evaluation import metrics
from kinema.evaluation.evaluator import Evaluator, EvaluatorConfig, EvaluatorModel, judged_items
from kinema.motion import Motion

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import describing
from describing import CHANCE, MEASURES, Nearest, score, written

ACTS = ["walks", "runs", "jumps", "waves", "sits down", "dances", "bows", "kicks"]
MANNERS = ["slowly", "quickly", "happily", "like a robot", "with a limp"]
TEXTS = [f"a person {act} {manner}." for act in ACTS for manner in MANNERS]  # 40


@pytest.fixture(scope="module")
def pools() -> np.ndarray:
    return metrics.pools(TEXTS, TEXTS, np.random.default_rng(0), repeats=20)


def test_the_perfect_and_the_constant(pools: np.ndarray) -> None:
    references = [[text, "something else"] for text in TEXTS]
    perfect = score([text.upper() for text in TEXTS], TEXTS, references, pools)
    assert perfect == {"R@1": 1, "R@3": 1, "median rank": 1, "exact": 1}
    constant = score([TEXTS[7]] * len(TEXTS), TEXTS, references, pools)
    assert constant["R@1"] == pytest.approx(CHANCE["R@1"], abs=0.02)
    assert constant["R@3"] == pytest.approx(CHANCE["R@3"], abs=0.03)
    assert constant["median rank"] == pytest.approx(CHANCE["median rank"], abs=3)
    assert constant["exact"] == 1 / len(TEXTS)


def test_the_silent_are_not_counted(pools: np.ndarray) -> None:
    made = [text if number % 2 else None for number, text in enumerate(TEXTS)]
    assert score(made, TEXTS, [[text] for text in TEXTS], pools)["R@1"] == 1
    made[1] = "a cat sleeps in the sun."
    found = score(made, TEXTS, [[text] for text in TEXTS], pools)
    assert 0.95 <= found["R@1"] < 1
    assert found["exact"] == 19 / 20


def test_captions_of_the_nearest() -> None:
    bank, captions = np.array([[0.0, 0], [5, 5]]), [["near"], ["far", "further"]]
    nearest = Nearest(bank, captions, lambda item: np.array(item))
    rng = np.random.default_rng(0)
    assert nearest((1, 1), rng) == "near"
    assert {nearest((4, 4), rng) for _ in range(20)} == {"far", "further"}


def test_the_table(
    walks_corpus: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write: Callable[..., None] = request.getfixturevalue("random_being-m0")
    write(tmp_path)
    torch.manual_seed(0)
    judge = Evaluator(EvaluatorModel(EvaluatorConfig(width=32, layers=1)), {})
    judge.model.get_buffer("descriptor_scale").fill_(1)
    monkeypatch.setattr(Evaluator, "load", lambda folder: judge)
    # the walks have too few sentences for pools of 32 different ones
    monkeypatch.setattr(
        metrics, "pools", lambda labels, *_: np.stack([np.roll(np.arange(len(labels)), -k) for k in range(3)], 1)
    )
    describing.main(describing.Options((walks_corpus,), str(tmp_path), "compositional", 2))
    lines = capsys.readouterr().out.splitlines()
    corpus = Corpus.open(walks_corpus)
    items = judged_items([corpus], "compositional")
    assert lines[0].startswith(f"{len(items)} clips, 2 repeats")
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert head == ["captions by", *MEASURES]
    # nobody else wrote about these walks
    names = ["language model", "nearest clip by the evaluator", "nearest clip by statistics", "rules"]
    assert [row[0] for row in rows] == [*names, "drawn training caption", "chance"]
    exact = {row[0]: row[-1].split()[0] for row in rows[:-1]}
    assert (exact["language model"], exact["rules"]) == ("0.000", "0.000")
    assert written(items[0].clip, items[0].caption.start, items[0].caption.end) == [items[0].caption.text]


def test_training_clips_are_mirrored_with_their_captions(walks_corpus: Path) -> None:
    motions, texts = describing.training([Corpus.open(walks_corpus)])
    assert all(isinstance(motion, Motion) for motion in motions)
    assert all(found[0].endswith("left") for found in texts[::2])
    assert all(found[0].endswith("right") for found in texts[1::2])
