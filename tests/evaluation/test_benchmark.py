"""The report: a generator beside real motion and beside retrieval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kinema.conditions.request import PathTarget, Request
from kinema.corpora import Corpus
from kinema.evaluation import benchmark
from kinema.evaluation.evaluator import EvaluatorTask, judged_items
from kinema.evaluation.retrieval import Retrieval


@pytest.fixture(scope="module")
def judge(walks_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    task = EvaluatorTask([Corpus.open(walks_corpus)], batch_size=8)
    task.export(task.build(), folder, {})  # untrained: two motions still differ in its eyes
    return folder


def test_report_names_everything_and_tells_trembling_from_real(
    walks_corpus: Path, judge: Path, tmp_path: Path, random_fracmogen: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(benchmark, "MODALITY_TEXTS", 2)
    monkeypatch.setattr(benchmark, "MODALITY_SAMPLES", 2)
    random_fracmogen(tmp_path / "model")
    out = tmp_path / "report.json"
    model = str(tmp_path / "model")
    report = benchmark.run(model, [walks_corpus], split="compositional", repeats=2, out=out, evaluator=judge)
    assert report == json.loads(out.read_text())
    assert set(report["rows"]) == {"real", "retrieval", model}
    assert set(report["sha256"]) == {"weights", "evaluator", "corpora"}
    real, made = report["rows"]["real"], report["rows"][model]
    assert real["fid"][0] == pytest.approx(0, abs=1e-6)
    assert real["speed_ratio"][0] == pytest.approx(1)
    assert made["fid"][0] > report["rows"]["retrieval"]["fid"][0]
    assert made["jerk_ratio"][0] != pytest.approx(1, abs=0.1)
    assert made["n"][0] == len(judged_items([Corpus.open(walks_corpus)], "compositional"))
    assert 0 <= made["label_top1"][0] <= 1
    titles = [str(cell) for cell in benchmark.table(report).columns[0].cells]
    assert "jerk / real" in titles


def test_splits_with_few_clips_are_refused(
    walks_corpus: Path, judge: Path, tmp_path: Path, random_fracmogen: Callable[[Path], None]
) -> None:
    random_fracmogen(tmp_path)
    with pytest.raises(ValueError, match="at least 8"):
        benchmark.run(str(tmp_path), [walks_corpus], split="val", evaluator=judge)


def test_retrieval_plays_the_training_clip_that_says_it(walks_corpus: Path) -> None:
    corpus = Corpus.open(walks_corpus)
    retrieval = Retrieval([corpus])
    (motion,) = retrieval.generate(Request("a person walks fast to the left", 2.0))
    assert len(motion) == 60
    captions = {clip.name: clip.captions[0].text for clip in corpus.clips}
    assert captions[motion.metadata["clip"]] == "a person walks fast to the left"
    splits = {clip.name: clip.split for clip in corpus.clips}
    found = [retrieval.generate(Request("someone walks", 2.0, seed=seed))[0] for seed in range(8)]
    assert {splits[motion.metadata["clip"]] for motion in found} == {"train"}
    with pytest.raises(ValueError, match="targets"):
        retrieval.generate(Request("a person walks", 2.0, targets=(PathTarget(1.0, (0.0, 0.0)),)))
