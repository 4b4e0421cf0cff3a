"""The bench: generators beside real motion and beside retrieval."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.conditions.request import PathTarget, Request
from kinema.corpora import Corpus
from kinema.evaluation import benchmark
from kinema.evaluation.entrant import Entrant
from kinema.evaluation.evaluator import EvaluatorTask, judged_items
from kinema.evaluation.retrieval import Retrieval
from kinema.motion import BODY, Motion, Skeleton


@pytest.fixture(scope="module")
def judge(walks_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    task = EvaluatorTask([Corpus.open(walks_corpus)], batch_size=8)
    task.export(task.build(), folder, {})  # untrained: two motions still differ in its eyes
    return folder


class Standing:
    """A generator that stands in T-pose; what is wrong with it is said by its argument."""

    honours = frozenset({"text", "seconds", "seed"})

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.info: dict[str, Any] = {"licence": "CC0", "settings": fault}

    def generate_many(self, requests: Sequence[Request]) -> list[Motion]:
        made = [self._motion(round(request.seconds[0] * 30)) for request in requests]  # type: ignore[index]
        return made[1:] if self.fault == "lost" else made

    def _motion(self, frames: int) -> Motion:
        skeleton, frames = BODY, frames + 3 * (self.fault == "long")
        if self.fault == "skeleton":
            skeleton = Skeleton(("hips", "head"), (-1, 0), np.array([[0, 0, 0], [0, 0.5, 0.0]]))
        rotations = np.zeros((frames, len(skeleton), 4))
        rotations[..., 0] = 1
        root = np.tile([0.0, 0.9, 0.0], (frames, 1))
        if self.fault == "nan":
            root[-1] = np.nan
        return Motion(skeleton, 25.0 if self.fault == "rate" else 30.0, root, rotations)


def standing(fault: str) -> Standing:
    return Standing(fault)


def entrant(name: str, fault: str = "") -> Entrant:
    return Entrant(name, f"{__name__}:standing", fault)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MODALITY_TEXTS", 2)
    monkeypatch.setattr(benchmark, "MODALITY_SAMPLES", 2)
    load = Entrant.load

    def standing_or_loaded(self: Entrant) -> Any:
        # the tests' own module cannot be imported by name
        return standing(self.argument) if "standing" in self.loader else load(self)

    monkeypatch.setattr(Entrant, "load", standing_or_loaded)


def test_report_names_everything_and_tells_standing_and_trembling_from_real(
    walks_corpus: Path, judge: Path, tmp_path: Path, random_fracmogen: Callable[[Path], None], few: None
) -> None:
    random_fracmogen(tmp_path)
    entrants = [Entrant("trembling", "kinema.models.registry:load", str(tmp_path)), entrant("standing")]
    report, motions = benchmark.run(
        entrants, [walks_corpus], splits=["compositional"], repeats=2, evaluator=judge, costs=False, command="make"
    )
    json.dumps(report, allow_nan=False)
    names = ["real", "retrieval", "trembling", "standing"]
    assert list(report["entrants"]) == list(motions) == names
    assert {len(made) for made in motions.values()} == {len(report["strips"])}
    assert report["entrants"]["trembling"]["sha256"]
    assert report["entrants"]["standing"]["sha256"] is None
    assert report["entrants"]["standing"]["licence"] == "CC0"
    found = report["splits"]["compositional"]
    assert found["n"] == len(judged_items([Corpus.open(walks_corpus)], "compositional"))
    rows = found["rows"]
    assert rows["real"]["fid"][0] == pytest.approx(0, abs=1e-6)
    assert rows["real"]["speed_ratio"][0] == pytest.approx(1)
    assert "multimodality" not in rows["real"]
    assert rows["standing"]["multimodality"][0] == pytest.approx(0, abs=1e-6)
    assert rows["standing"]["speed_ratio"][0] == pytest.approx(0, abs=1e-6)
    assert rows["trembling"]["jerk_ratio"][0] != pytest.approx(1, abs=0.1)
    for key in ("fid", "statistics_fid"):
        assert min(rows["trembling"][key][0], rows["standing"][key][0]) > rows["retrieval"][key][0]
    assert isinstance(rows["trembling"]["R@1"], str)  # why there is none: nine labels fill no pool
    assert not found["curves"]


def test_a_single_repeat_has_no_interval(walks_corpus: Path, judge: Path, few: None) -> None:
    report, _ = benchmark.run(
        [entrant("a")], [walks_corpus], repeats=1, evaluator=judge, splits=["compositional"], costs=False
    )
    rows = report["splits"]["compositional"]["rows"]
    assert rows["a"]["mm_dist"][1] is None


@pytest.mark.parametrize(
    "fault, said",
    [
        ("long", "bad gave 93 frames"),
        ("lost", "bad gave .* motions for"),
        ("skeleton", "bad gave 2 joints"),
        ("rate", "bad gave .* 25 fps"),
        ("nan", "bad: .*finite"),
    ],
)
def test_faulty_entrants_are_named_and_make_no_table(
    walks_corpus: Path, judge: Path, fault: str, said: str, few: None
) -> None:
    with pytest.raises(ValueError, match=said):
        benchmark.run([entrant("bad", fault)], [walks_corpus], splits=["compositional"], evaluator=judge, costs=False)


def test_what_cannot_be_judged_is_refused(walks_corpus: Path, judge: Path, few: None) -> None:
    with pytest.raises(ValueError, match="at least 8"):
        benchmark.run([entrant("a")], [walks_corpus], splits=["val"], evaluator=judge)
    with pytest.raises(ValueError, match="names of their own"):
        benchmark.run([entrant("real")], [walks_corpus], evaluator=judge)
    with pytest.raises(ValueError, match="no split 'train'"):
        benchmark.run([entrant("a")], [walks_corpus], splits=["train"], evaluator=judge)
    with pytest.raises(ValueError, match="repeats"):
        benchmark.run([entrant("a")], [walks_corpus], repeats=0, evaluator=judge)


def test_processes_find_what_one_finds(
    walks_corpus: Path, judge: Path, tmp_path: Path, random_fracmogen: Callable[[Path], None]
) -> None:
    random_fracmogen(tmp_path)
    given = [Entrant("trembling", "kinema.models.registry:load", str(tmp_path))]
    options: dict[str, Any] = {"splits": ["compositional"], "repeats": 1, "evaluator": judge, "costs": False}
    alone, _ = benchmark.run(given, [walks_corpus], **options)
    together, _ = benchmark.run(given, [walks_corpus], processes=2, **options)
    for name, row in alone["splits"]["compositional"]["rows"].items():
        for key, value in row.items():
            if not isinstance(value, str):
                other = together["splits"]["compositional"]["rows"][name][key]
                assert value[0] == pytest.approx(other[0], rel=1e-3, abs=1e-6), (name, key)


def test_what_fails_in_a_process_of_its_own_is_named(walks_corpus: Path, judge: Path) -> None:
    missing = Entrant("missing", "kinema.models.registry:load", "no such folder")
    with pytest.raises(ValueError, match="no model 'no such folder'"):
        benchmark.run(
            [missing], [walks_corpus], splits=["compositional"], evaluator=judge, processes=2, repeats=1, costs=False
        )


@pytest.mark.parametrize("how", ["ctrl-c", "kill -9"])
def test_the_processes_end_at_once_with_the_one_that_asked(
    walks_corpus: Path, judge: Path, tmp_path: Path, how: str
) -> None:
    (tmp_path / "endless.py").write_text(
        "import time\n"
        "class Endless:\n"
        "    info = {}\n"
        "    def generate_many(self, requests):\n"
        "        open('started', 'w').close()\n"
        "        time.sleep(600)\n"
        "def load(argument):\n"
        "    return Endless()\n"
    )
    (tmp_path / "judge_it.py").write_text(
        "from kinema.evaluation import benchmark\n"
        "from kinema.evaluation.entrant import Entrant\n"
        "if __name__ == '__main__':\n"
        "    entrant = Entrant('endless', 'endless:load', '')\n"
        f"    benchmark.run([entrant], [{str(walks_corpus)!r}], processes=2, repeats=2, splits=['compositional'],\n"
        f"                  evaluator={str(judge)!r}, costs=False)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "judge_it.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    _, said = process.communicate(timeout=60)  # not 600 s; and not before all have closed the pipe
    assert process.returncode != 0
    assert how == "kill -9" or "KeyboardInterrupt" in said


def test_models_of_another_build_are_noted(
    walks_corpus: Path, judge: Path, tmp_path: Path, random_fracmogen: Callable[..., None], few: None
) -> None:
    sha256 = Corpus.open(walks_corpus).info["sha256"]
    random_fracmogen(tmp_path / "same", settings={"task": {"corpora": [sha256]}})
    random_fracmogen(tmp_path / "other", settings={"task": {"corpora": ["0" * 64]}})
    entrants = [Entrant(name, "kinema.models.registry:load", str(tmp_path / name)) for name in ("same", "other")]
    report, _ = benchmark.run(
        entrants, [walks_corpus], splits=["compositional"], evaluator=judge, repeats=1, costs=False
    )
    assert [note.split()[0] for note in report["notes"]] == ["other"]


def test_retrieval_tells_left_from_right(walks_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus.open(walks_corpus)
    said = ["someone raises the left hand", "someone raises the right hand", "someone raises the left hand a little"]
    chosen = [corpus.clips[index] for index in corpus.select("train")[: len(said)]]
    clips = [
        replace(clip, captions=(replace(clip.captions[0], text=text),)) for clip, text in zip(chosen, said, strict=True)
    ]
    monkeypatch.setattr(corpus, "clips", clips)
    monkeypatch.setattr(corpus, "select", lambda split: list(range(len(clips))))
    monkeypatch.setattr(corpus, "motion", lambda index, start, end: said[index])
    retrieval = Retrieval([corpus])
    for side in ("left", "right"):
        for seed in range(6):
            (played,) = retrieval.generate(Request(f"a person slowly raises the {side} hand", 0.5, seed=seed))
            assert side in played


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
