"""The bench: generators judged on corpora, beside real motion and beside retrieval, with all named that counts.

The protocol is that of the field (Guo et al. 2022), mended for small sets: in each repeat every clip of a split is
asked for once, by one of its sentences and at its own length (at most 10 s), with new captions, seeds and pools; all
rows use the same ones. The evaluator has not learned from the takes that it judges. Motion is judged by its joint
positions. Feet are judged as generated and again after clean-up (`clean_feet`); all else is judged after it, as users
get it. Real clips and those that retrieval plays are not cleaned.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from kinema.conditions.request import Request
from kinema.corpora import Corpus
from kinema.evaluation import cost, metrics, physics
from kinema.evaluation.entrant import Entrant
from kinema.evaluation.evaluator import FPS, Evaluator, Item, judged_items
from kinema.evaluation.tables import REAL, RETRIEVAL
from kinema.models import registry
from kinema.models.registry import Generator
from kinema.motion import BODY, Motion
from kinema.motion.contacts import clean_feet
from kinema.progress import track

REPEATS = 20
MODALITY_TEXTS, MODALITY_SAMPLES = 16, 2
FEWEST = 8  # clips below which no distance between sets means anything
KEYS = 8  # frames: where a generator by key frames may have corners
COST_BUDGET = 8.0  # seconds of computing for each entrant under each setting of threads
STRIPS = 6  # prompts that all entrants are shown with
SPLITS = ("test", "val", "compositional")
NO_POOL = "the split has too few different labels or texts to fill a pool"
NOT_DEFINED = "it is not defined for this motion"


def run(
    entrants: Sequence[Entrant],
    corpora: Sequence[str | Path],
    *,
    splits: Sequence[str] = ("test", "compositional"),
    repeats: int = REPEATS,
    evaluator: str | Path | None = None,
    processes: int = 1,
    costs: bool = True,
    command: str = "",
) -> tuple[dict[str, Any], dict[str, list[Motion]]]:
    """Judge generators.

    Args:
        entrants: what is judged, named differently, and not "real" or "retrieval", which are added.
        corpora: folders that `kinema corpus build` made.
        splits: of "test", "val" and "compositional", the clips of held-out combinations; splits without clips are
            left out, but for the first.
        repeats: draws of captions, seeds and pools; the report gives mean and half width of the 95 % interval.
        evaluator: folder of the judge; the shipped one if None.
        processes: that generate side by side, of one torch thread each.
        costs: measure time and memory of the entrants as well (`cost.measure`), after all else. Retrieval is not
            among them: what it does is to encode a sentence.
        command: that asked for this, for the report.

    Returns:
        The report, JSON values (see `tables`), and for each row the motions of its "strips".

    Raises:
        ValueError: the entrants, the corpora or a split cannot be used; or an entrant fails, or gives motion that is
            not on BODY at 30 fps, of another length, or not of numbers: the sentence names it.
    """
    names = [entrant.name for entrant in entrants]
    if not names or len({*names, REAL, RETRIEVAL}) < len(names) + 2:
        raise ValueError(f"entrants need names of their own, other than {REAL} and {RETRIEVAL}; got {', '.join(names)}")
    if not 1 <= repeats <= 100:
        raise ValueError(f"repeats must be 1 to 100, got {repeats}")
    if unknown := sorted({*splits} - {*SPLITS}):
        raise ValueError(f"no split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    judge_folder = Path(evaluator) if evaluator else registry.weights_folder() / "evaluator"
    retrieval = Entrant(RETRIEVAL, "kinema.evaluation.retrieval:load", os.pathsep.join(map(str, corpora)))
    setting = _Setting((*entrants, retrieval), tuple(map(str, corpora)), str(judge_folder))
    bench = _Bench(setting)
    counted = {split: len(judged_items(bench.corpora, split)) for split in splits}
    counted = {split: count for split, count in counted.items() if count or split == splits[0]}
    if few := [split for split, count in counted.items() if count < FEWEST]:
        raise ValueError(
            f"the corpora hold {counted[few[0]]} clips of the split {few[0]!r} to judge on; it takes at least {FEWEST}"
        )
    texts = judged_items(bench.corpora, next(iter(counted)))
    strips = [texts[k] for k in _spread([item.label for item in texts], STRIPS)]
    order = (REAL, RETRIEVAL, *names)
    jobs = [_Job(name, split, repeat) for repeat in range(repeats) for name in order for split in counted]
    looks = [_Job(name, None, 0, tuple(strips)) for name in order]
    found: dict[_Job, Any] = dict(_work(setting, bench, [*looks, *jobs], processes))
    rows = {
        (name, split): [found[job] for job in jobs if (job.name, job.split) == (name, split)]
        for name in order
        for split in counted
    }
    about = {job.name: found[job][0] for job in looks}
    motions = {job.name: found[job][1] for job in looks}
    report = {
        "command": command,
        "repeats": repeats,
        "seeds": "repeat r draws captions, pools and pairs by r, and gives motion k of a split the seed 1000 r + k",
        "machine": cost.machine(),
        "evaluator": {"sha256": bench.judge.config["sha256"], "folder": str(judge_folder)},
        "corpora": [
            {
                "name": corpus.folder.name,
                "source": corpus.source,
                "licence": corpus.licence,
                "sha256": corpus.info["sha256"],
            }
            for corpus in bench.corpora
        ],
        "notes": _notes(bench, {name: about[name].pop("trained_on") for name in order}),
        "entrants": {name: about[name] for name in order},
        "splits": {
            split: {
                "n": counted[split],
                "sha256": _split_hash(bench.corpora, split),
                "labels": len(bench.sentences),
                "rows": {name: _summary(rows[name, split]) for name in order},
                "curves": {
                    name: np.mean([row.curve for row in rows[name, split]], 0).tolist()
                    for name in order
                    if all(row.curve for row in rows[name, split])
                },
            }
            for split in counted
        },
        "cost": cost.measure(entrants, budget=COST_BUDGET) if costs else None,
        "strips": [
            {"text": item.caption.text, "seconds": (item.caption.end - item.caption.start) / FPS} for item in strips
        ],
    }
    return report, motions


def cores() -> int:
    """How many may run side by side: one for each core that this process may use, 8 at most, as each takes a GB."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


@dataclass(frozen=True)
class _Setting:
    """What a worker process needs to know to set up its bench."""

    entrants: tuple[Entrant, ...]
    corpora: tuple[str, ...]
    judge: str


@dataclass(frozen=True)
class _Job:
    """One row of one repeat, or (with `looks`) one motion of each of some items, for pictures."""

    name: str
    split: str | None
    repeat: int
    looks: tuple[Item, ...] = ()


@dataclass
class _Row:
    """What one repeat found: the measures, and the share of own texts among the first 1, 2, ... of their pools."""

    measures: dict[str, float]
    curve: list[float] = field(default_factory=list)


class _Bench:
    """Corpora, judge and entrants, loaded once in each process."""

    def __init__(self, setting: _Setting) -> None:
        self.setting = setting
        self.corpora = [Corpus.open(folder) for folder in setting.corpora]
        self.judge = Evaluator.load(setting.judge)
        self.sentences: dict[str, list[str]] = {}  # of each label
        for number, corpus in enumerate(self.corpora):
            for clip in corpus.clips:
                label = Item(number, clip, clip.captions[0]).label
                self.sentences.setdefault(label, []).extend(caption.text for caption in clip.captions)
        self._generators: dict[str, Generator] = {}
        self._embedded: dict[tuple[int, int, int, int], np.ndarray] = {}

    def do(self, job: _Job) -> _Row | tuple[dict[str, Any], list[Motion]]:
        if job.split is None:
            return self._about(job.name), self._looks(job)
        return self._row(job.name, job.split, job.repeat)

    def real(self, item: Item) -> Motion:
        return self.corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.end)

    def generator(self, name: str) -> Generator:
        if name not in self._generators:
            self._generators[name] = self._entrant(name).load()
        return self._generators[name]

    def _entrant(self, name: str) -> Entrant:
        return next(entrant for entrant in self.setting.entrants if entrant.name == name)

    def _about(self, name: str) -> dict[str, Any]:
        """What the report says of a row, and the hashes of what it was trained on where that is known."""
        if name in (REAL, RETRIEVAL):
            titles = {REAL: "real motion", RETRIEVAL: "nearest-text retrieval"}
            licence = "; ".join(sorted({corpus.licence for corpus in self.corpora}))
            return {"title": titles[name], "licence": licence, "settings": "", "trained_on": None}
        info, weights = self.generator(name).info, self._entrant(name).weights()
        training = info.get("settings")
        task = training.get("task") if isinstance(training, dict) else None
        return {
            "title": name,
            "licence": str(info.get("licence", "")),
            "settings": str(info.get("sampling", "")),
            "parameters": info.get("parameters"),
            "bytes": weights.stat().st_size if weights else None,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None,
            "trained_on": task.get("corpora") if isinstance(task, dict) else None,
        }

    def _looks(self, job: _Job) -> list[Motion]:
        real = [self.real(item) for item in job.looks]
        if job.name == REAL:
            return real
        made = self._made(job.name, [item.caption.text for item in job.looks], real, range(len(real)))
        return made if job.name == RETRIEVAL else [clean_feet(motion) for motion in made]

    def _row(self, name: str, split: str, repeat: int) -> _Row:
        rng = np.random.default_rng((17, repeat))
        items = judged_items(self.corpora, split, seed=repeat)
        real = [self.real(item) for item in items]
        texts, labels = [item.caption.text for item in items], [item.label for item in items]
        seeds = [1000 * repeat + number for number in range(len(items))]
        made = real if name == REAL else self._made(name, texts, real, seeds)
        found: dict[str, float] = {}
        if trained := name not in (REAL, RETRIEVAL):
            found |= {f"{key}_raw": value for key, value in physics.feet(made).items()}
            made = [clean_feet(motion) for motion in made]
        motion, text, truth = self.judge.motions(made), self.judge.texts(texts), self._embed_real(items)
        curve: list[float] = []
        with contextlib.suppress(ValueError):  # too few labels or texts for a pool
            pools = metrics.pools(labels, texts, rng)
            curve = metrics.r_precision(motion, text, pools, top=metrics.POOL).tolist()
            found |= {f"R@{k}": curve[k - 1] for k in (1, 2, 3)}
        if split == "compositional":
            found["label_top1"] = self._first_among_labels(items, motion, text, rng)
        found["fid"] = metrics.fid(truth, motion)
        found["fid_halves"] = metrics.fid_halves(truth, motion, rng)[0]
        like, as_made = self.judge.descriptors(real), self.judge.descriptors(made)
        found["statistics_fid"] = metrics.fid(like, as_made)
        found["statistics_fid_halves"] = metrics.fid_halves(like, as_made, rng)[0]
        found["mm_dist"] = metrics.mm_dist(motion, text)
        found["diversity"] = metrics.diversity(motion, rng)
        found |= physics.quality(made, real, KEYS)
        if name != REAL:
            found["multimodality"] = self._multimodality(name, texts, real, repeat, rng, trained)
        return _Row(found, curve)

    def _multimodality(
        self, name: str, texts: list[str], real: list[Motion], repeat: int, rng: np.random.Generator, clean: bool
    ) -> float:
        chosen = rng.choice(len(texts), min(MODALITY_TEXTS, len(texts)), replace=False).repeat(MODALITY_SAMPLES)
        seeds = [1_000_000 * (repeat + 1) + number for number in range(len(chosen))]
        made = self._made(name, [texts[k] for k in chosen], [real[k] for k in chosen], seeds)
        made = [clean_feet(motion) for motion in made] if clean else made
        embedded = self.judge.motions(made)
        return metrics.multimodality(embedded.reshape(-1, MODALITY_SAMPLES, embedded.shape[1]))

    def _made(self, name: str, texts: list[str], like: list[Motion], seeds: Sequence[int]) -> list[Motion]:
        """Motions of a generator for sentences, as long as others; feet as generated."""
        requests = [
            Request(text, max(len(motion) / FPS, 0.5), seed=seed)
            for text, motion, seed in zip(texts, like, seeds, strict=True)
        ]
        generator = self.generator(name)
        try:
            made = generator.generate_many(requests)
        except Exception as error:  # whatever another's generator does wrong
            raise ValueError(f"{name}: {error or type(error).__name__}") from error
        if len(made) != len(requests):
            raise ValueError(f"{name} gave {len(made)} motions for {len(requests)} requests")
        for motion, request in zip(made, requests, strict=True):
            if motion.skeleton != BODY or abs(motion.fps - FPS) > 1e-6:
                raise ValueError(
                    f"{name} gave {len(motion.skeleton)} joints at {motion.fps:g} fps; motion is judged on BODY, "
                    f"{len(BODY)} joints of its bone lengths, at {FPS:g} fps"
                )
            asked = round(request.seconds[0] * FPS) if isinstance(request.seconds, tuple) else 0
            if name != RETRIEVAL and len(motion) != asked:
                raise ValueError(
                    f"{name} gave {len(motion)} frames for {request.prompts[0]!r}; {asked / FPS:g} s at {FPS:g} fps "
                    f"are {asked}"
                )
        return made

    def _embed_real(self, items: Sequence[Item]) -> np.ndarray:
        """Embeddings (N, D) of real motion; each stretch is embedded once in a process."""
        keys = [(item.corpus, item.clip.index, item.caption.start, item.caption.end) for item in items]
        new = {key: item for key, item in zip(keys, items, strict=True) if key not in self._embedded}
        if new:
            self._embedded.update(zip(new, self.judge.motions([self.real(item) for item in new.values()]), strict=True))
        return np.stack([self._embedded[key] for key in keys])

    def _first_among_labels(
        self, items: Sequence[Item], motion: np.ndarray, text: np.ndarray, rng: np.random.Generator
    ) -> float:
        """Share of motions that are nearer to their own text than to a sentence of each other label of the corpora."""
        names = sorted(self.sentences)
        drawn = [self.sentences[name][rng.integers(len(self.sentences[name]))] for name in names]
        others = self.judge.texts(drawn)
        own = np.linalg.norm(motion - text, axis=-1)
        distance = np.linalg.norm(motion[:, None] - others[None], axis=-1)
        same = np.array([[name == item.label for name in names] for item in items])
        return float((own < np.where(same, np.inf, distance).min(1)).mean())


_bench: _Bench | None = None  # of this worker process


def _start(setting: _Setting) -> None:
    global _bench
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked, which then ends this one
    threading.Thread(target=_follow, daemon=True).start()
    torch.set_num_threads(1)
    _bench = _Bench(setting)


def _follow() -> None:
    """End this worker process when the one that asked is gone, however it went."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(job: _Job) -> _Row | tuple[dict[str, Any], list[Motion]]:
    assert _bench is not None
    return _bench.do(job)


def _work(setting: _Setting, bench: _Bench, jobs: Sequence[_Job], processes: int) -> Iterator[tuple[_Job, Any]]:
    """Each job with what it found, in any order; done here, or in processes of their own."""
    if processes == 1:
        yield from ((job, bench.do(job)) for job in track(jobs, "judging", len(jobs)))
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # of numpy in the processes; torch is told by itself
        os.environ.setdefault(name, "1")
    pool = ProcessPoolExecutor(min(processes, len(jobs)), get_context("spawn"), _start, (setting,))
    try:
        running = {pool.submit(_do, job): job for job in jobs}
        for done in track(as_completed(running), "judging", len(jobs)):
            yield running[done], done.result()
    except BrokenProcessPool:
        raise ValueError("a process that judged has died; fewer --processes need less memory") from None
    finally:
        for process in list((pool._processes or {}).values()):  # else each would finish its job first
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _notes(bench: _Bench, trained_on: Mapping[str, Sequence[str] | None]) -> list[str]:
    """A sentence for each model that did not learn from these corpora as they are now, the evaluator first."""
    notes = []
    for name, hashes in {"The evaluator": bench.judge.config.get("corpora"), **trained_on}.items():
        others = [corpus.folder.name for corpus in bench.corpora if corpus.info["sha256"] not in (hashes or ())]
        if hashes is not None and others:
            notes.append(
                f"{name} was not trained on {' and '.join(others)} as built here; if it was on another build, clips "
                "that are judged may have been among its training clips."
            )
    return notes


def _summary(rows: Sequence[_Row]) -> dict[str, list[float | None] | str]:
    """Mean and half width of the 95 % interval of each measure over the repeats, None of a single one."""
    found: dict[str, list[float | None] | str] = {}  # a measure that cannot be taken is a reason
    for key in rows[0].measures:
        values = [row.measures.get(key, np.nan) for row in rows]
        mean, half = metrics.mean_95(values)
        found[key] = [mean, half if np.isfinite(half) else None] if np.isfinite(mean) else NOT_DEFINED
    return found if all(row.curve for row in rows) else found | {f"R@{k}": NO_POOL for k in (1, 2, 3)}


def _spread(labels: Sequence[str], count: int) -> list[int]:
    """Indices of `count` items of different labels, the same ones each time."""
    first = {label: k for k, label in reversed(list(enumerate(labels)))}
    chosen = np.random.default_rng(0).permutation(sorted(first.values()))[:count]
    return sorted(map(int, chosen))


def _split_hash(corpora: Sequence[Corpus], split: str) -> str:
    """Hash of the names of the clips that are judged, and of all their stretches and captions."""
    said = [
        f"{item.corpus} {item.clip.name} {caption.start} {caption.end} {caption.text}"
        for item in judged_items(corpora, split)
        for caption in item.clip.captions
    ]
    return hashlib.sha256("\n".join(sorted(said)).encode()).hexdigest()
