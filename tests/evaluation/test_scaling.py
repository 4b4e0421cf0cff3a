"""The study of scaling: that its fit finds what is there and doubts what is not, and that it goes on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.corpora import Corpus
from kinema.evaluation import metrics, scaling
from kinema.evaluation.evaluator import Evaluator, EvaluatorConfig, EvaluatorModel
from kinema.evaluation.scaling import findings, fits, motion_loss, power_law, read_share, sizes_of
from kinema.models.codec.pipeline import MotionCodec
from kinema.models.language import tasks
from kinema.models.language.data import Tokens
from kinema.models.language.pipeline import LanguageGenerator

SIZES, HOURS = (1e6, 4e6, 16e6), (0.2, 0.8, 3.4)


def made(size: float, data: float, noise: float, seed: int, seeds: int = 2) -> tuple[list[float], ...]:
    """Runs of a grid whose measure falls by these exponents."""
    rng = np.random.default_rng(seed)
    rows = list(itertools.product(SIZES, HOURS, range(seeds)))
    values = [3 * x**-size * y**-data * np.exp(rng.normal(0, noise)) for x, y, _ in rows]
    return [x for x, *_ in rows], [y for _, y, _ in rows], values


def test_exponents_are_found_within_their_intervals() -> None:
    truth = {"size": 0.05, "data": 0.12, "data over size": 0.07}
    exact = power_law(*made(0.05, 0.12, 0, 0))
    for name, value in truth.items():
        assert exact[name] == pytest.approx((value, 0), abs=1e-9)
    runs = [power_law(*made(0.05, 0.12, 0.02, seed)) for seed in range(300)]
    for name, value in truth.items():
        held = np.mean([abs(fit[name][0] - value) <= fit[name][1] for fit in runs])
        assert 0.91 < held < 0.98, name
    assert max(fit["data"][1] for fit in runs) < 0.04


def test_noise_gives_wide_intervals() -> None:
    runs = [power_law(*made(0, 0, 0.5, seed)) for seed in range(100)]
    said = [scaling.verdict(fit["size"]) for fit in runs]
    assert said.count("not decided") >= 88
    assert np.median([fit["size"][1] for fit in runs]) > 0.1


def test_a_law_that_bends_is_less_sure() -> None:
    size, data, straight = made(0.05, 0.1, 0, 0)
    bent = [value + 0.3 * (y < 0.5) for y, value in zip(data, straight, strict=True)]
    assert power_law(size, data, bent)["data"][1] > 0.02


def test_a_grid_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="takes four cells"):
        power_law([1, 2, 4, 8], [1, 1, 1, 1], [4, 3, 2, 1])


def cells(noise: float, **exponents: tuple[float, float]) -> list[dict]:
    """As a study judges them: exponents of size and data for each split."""
    made_up = {split: made(*exponents[split], noise, number) for number, split in enumerate(scaling.SPLITS)}
    rows = zip(*made_up["test"][:2], *(values for *_, values in made_up.values()), strict=True)
    return [
        {"parameters": x, "hours": y} | {
            split: {"loss": value, "fid": 10 * value, "R@3": None} for split, value in zip(made_up, values, strict=True)
        }
        for x, y, *values in rows
    ]  # fmt: skip


def test_each_part_of_the_claim_can_fail() -> None:
    clear = fits(cells(0.001, test=(0.02, 0.1), compositional=(0.02, 0.2)))
    assert set(clear) == {"loss", "fid"}  # what could not be measured is left out
    assert [sentence.split("(")[0].split(" by ")[1] for sentence in findings(clear)] == [
        f"{name} supported " for _ in range(3) for name in ("loss", "FID")
    ]
    other = findings(fits(cells(0.001, test=(0.1, 0.05), compositional=(-0.1, 0.02))))
    assert all("contradicted" in sentence.split("(")[0] for sentence in other)
    vague = findings(fits(cells(0.5, test=(0, 0), compositional=(0, 0))))
    assert all("not decided" in sentence.split("(")[0] for sentence in vague)


def test_shares_and_sizes() -> None:
    assert [read_share(text) for text in ("1/16", "0.25", "1")] == [Fraction(1, 16), Fraction(1, 4), Fraction(1)]
    for wrong in ("0", "2", "1/0", "-1/2", "all", "nan"):
        with pytest.raises(ValueError, match="above 0, to 1"):
            read_share(wrong)
    chosen = [sizes_of(million, 8195, 6) for million in (1, 4, 16)]
    assert [(size.width, size.layers) for size in chosen] == [(96, 2), (192, 4), (384, 8)]


# --- the whole of it --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write: Callable[..., None] = request.getfixturevalue("random_being-m0")
    folder = tmp_path_factory.mktemp("being-m0")
    write(folder)
    return folder


@pytest.fixture(autouse=True)
def small_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    judge = Evaluator(EvaluatorModel(EvaluatorConfig(width=32, layers=1)), {"sha256": "a random one"})
    monkeypatch.setattr(Evaluator, "load", lambda folder: judge)


def test_smaller_shares_are_part_of_larger_ones(walks_corpus: Path, model: Path) -> None:
    corpus, codec = Corpus.open(walks_corpus), MotionCodec.load(model / "codec")
    whole = Tokens([corpus], codec, ("train", "val"))
    half, quarter = whole.part(0.5), whole.part(0.25)
    assert set(quarter.takes["train"]) < set(half.takes["train"]) < set(whole.takes["train"])
    assert half.part(0.25).takes == quarter.takes
    assert quarter.takes["val"] == whole.takes["val"]
    with pytest.raises(ValueError, match="holds no clips"):
        whole.part(1e-6)
    alone = Tokens([corpus], codec, ("train", "val"), 0.25)
    assert alone.takes == quarter.takes
    for (one, about), (other, also) in zip(alone.clips["train"], quarter.clips["train"], strict=True):
        assert (one.tolist(), about) == (other.tolist(), also)


def test_the_loss_is_that_of_motion_alone(model: Path) -> None:
    """By hand: the loss of one example at a time, weighed by its steps."""
    generator = LanguageGenerator.load(model)
    rng = np.random.default_rng(0)
    pairs = [(text, rng.integers(0, 16, (steps, 6))) for text, steps in (("a person walks", 9), ("x", 5))]
    total = 0.0
    for text, tokens in pairs:
        asked, _ = tasks.instruction(
            "length", generator.vocabulary, caption=text, seconds=tasks.written_seconds(len(tokens), 7.5)
        )
        steps = generator.vocabulary.motion(tokens).ids[1:-1]
        ids = torch.from_numpy(np.concatenate([asked.ids, steps]))[None]
        found = generator.model({"ids": ids, "counts": torch.arange(ids.shape[1])[None] >= len(asked)})
        assert float(found["text"]) == 0
        total += float(found["motion"]) * len(tokens)
    assert motion_loss(generator, pairs) == pytest.approx(total / 14, rel=1e-4)


class Interrupted(Exception):
    pass


def test_a_study_goes_on_where_it_was_interrupted(
    walks_corpus: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # the walks have too few sentences for pools of 32 different ones
    monkeypatch.setattr(
        metrics,
        "pools",
        lambda labels, *_, **__: np.stack([np.roll(np.arange(len(labels)), -k) for k in range(4)], 1),
    )
    trained: list[Path] = []
    usual = scaling.Trainer.run

    def until(last: int) -> Callable[..., object]:
        def run(trainer: scaling.Trainer) -> object:
            if len(trained) == last:
                raise Interrupted
            trained.append(trainer.out)
            return usual(trainer)

        return run

    def study(**more) -> dict:
        options = {"codec": str(model / "codec"), "shares": ("1/4", "1"), "sizes": (0.05, 0.2), "steps": 2} | more
        return scaling.run([walks_corpus], tmp_path / "study", **{"seeds": 1, "batch": 2, **options})

    monkeypatch.setattr(scaling.Trainer, "run", until(2))
    with pytest.raises(Interrupted):
        study()
    judged = tmp_path / "study" / "0.05M" / "1-4" / "seed0" / "judged.json"
    before = judged.stat().st_mtime_ns
    monkeypatch.setattr(scaling.Trainer, "run", until(-1))
    report = study()
    assert len(trained) == len(set(trained)) == 4
    assert judged.stat().st_mtime_ns == before
    assert not list((tmp_path / "study").rglob("checkpoints"))

    rows = report["cells"]
    assert [(row["size"], row["share"]) for row in rows] == [(0.05, "1/4"), (0.2, "1/4"), (0.05, "1"), (0.2, "1")]
    assert rows[0]["parameters"] == rows[2]["parameters"] < rows[1]["parameters"]
    assert rows[0]["hours"] == rows[1]["hours"] < rows[2]["hours"]
    assert all(row[split][name] > 0 for row in rows for split in scaling.SPLITS for name in ("loss", "fid"))
    assert all(0 <= row[split]["R@1"] <= row[split]["R@3"] <= 1 for row in rows for split in scaling.SPLITS)
    assert len({row["test"]["loss"] for row in rows}) == 4
    assert report["real"]["test"]["fid"] == pytest.approx(0, abs=1e-6)
    out = tmp_path / "study"
    assert json.loads((out / "report.json").read_text())["fits"].keys() == report["fits"].keys()
    text = (out / "report.md").read_text()
    assert all(sentence in text for sentence in report["findings"])
    assert text.count("| 1/4 |") == text.count("| 1 | ") == 2
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")

    capsys.readouterr()
    assert study() == report  # read, not made again
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="a study of other corpora, codec, steps"):
        study(steps=3)
    with pytest.raises(ValueError, match="two are the same network"):
        study(sizes=(0.05, 0.051))


def test_what_is_no_study_is_refused(walks_corpus: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for match, more in {
        "at least two shares": {"shares": ("1",)},
        "at least two shares, two sizes": {"sizes": (1,)},
        "one seed": {"seeds": 0},
        "above 0, to 1": {"shares": ("1", "2")},
        "millions": {"sizes": (1, -4)},
        "either the steps or the minutes": {"minutes": 1.0},
        "holds no clips": {"shares": ("1/100000", "1")},
        "holds no study": {},
    }.items():
        with pytest.raises(ValueError, match=match) as caught:
            scaling.run([walks_corpus], tmp_path, **{"codec": str(model / "codec"), "steps": 1, **more})
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
