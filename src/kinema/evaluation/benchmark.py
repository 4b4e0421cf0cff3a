"""Judging a generator on a corpus, beside real motion and beside retrieval: one report, everything named in it.

All rows use the same items: one clip of the split with one of its sentences, drawn anew in each repeat, and the clip's
own length (at most 10 s). Motions are decoded to joints before they are judged. Feet are judged as generated and, where
the generator leaves that to us, again after clean-up (`clean_feet`); all else is judged after it, as users
get it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from kinema.conditions.request import Request
from kinema.corpora import Corpus
from kinema.evaluation import metrics
from kinema.evaluation.evaluator import FPS, Evaluator, Item, judged_items
from kinema.evaluation.retrieval import Retrieval
from kinema.formats.files import atomic_write
from kinema.models import registry
from kinema.models.fracmogen.config import TOP
from kinema.models.fracmogen.pipeline import FracMoGenGenerator, Sampling
from kinema.motion import Motion
from kinema.motion.contacts import clean_feet, foot_skating, foot_sliding

MODALITY_TEXTS, MODALITY_SAMPLES = 40, 8
FEWEST = 8  # clips below which no distance between sets means anything
STANDING = 0.15  # m: real motion whose root stays within this stands
STANDING_SECONDS = 6.0
ROWS = {
    "n": ("clips", "{:.0f}"),
    "R@1": ("R@1", "{:.3f}"),
    "R@3": ("R@3", "{:.3f}"),
    "fid": ("FID", "{:.2f}"),
    "fid_halves": ("FID, half of the real against the other half's", "{:.2f}"),
    "mm_dist": ("MM-Dist", "{:.2f}"),
    "diversity": ("diversity", "{:.2f}"),
    "multimodality": ("multimodality", "{:.2f}"),
    "speed_ratio": ("speed / real", "{:.2f}"),
    "jerk_ratio": ("jerk / real", "{:.2f}"),
    "acceleration_ratio": ("acceleration at keys / between", "{:.2f}"),
    "sliding_raw": ("contact sliding before clean-up, m/s", "{:.3f}"),
    "sliding": ("contact sliding, m/s", "{:.3f}"),
    "skating_raw": ("skating before clean-up", "{:.3f}"),
    "skating": ("skating", "{:.3f}"),
    "standing_drift": ("drift standing 6 s, m", "{:.3f}"),
    "standing_way": ("way of the root standing 6 s, m", "{:.2f}"),
    "label_top1": ("own text first among all labels", "{:.3f}"),
}

Make = Callable[[Sequence[Request]], list[Motion]]


def run(
    model: str,
    corpora: Sequence[str | Path],
    *,
    split: str = "test",
    repeats: int = 5,
    out: Path | None = None,
    sampling: Sampling | None = None,
    evaluator: str | Path | None = None,
) -> dict[str, Any]:
    """Judge a generator; returns the report (JSON values) and writes it to `out` if given.

    Args:
        model: name, folder or hub id of a FracMoGen.
        corpora: folders; with split "compositional", the clips of held-out combinations.
        split: "test", "val" or "compositional".
        repeats: draws of captions, seeds and pools; the report gives mean and half width of the 95 % interval.
        sampling: chain, steps and guidance other than the model's own.
        evaluator: folder of the judge; the shipped one if None.

    Raises:
        ValueError: the model, the corpora or the split cannot be used.
    """
    if not 1 <= repeats <= 100:
        raise ValueError(f"repeats must be 1 to 100, got {repeats}")
    folder = registry.find(model)
    sampling = sampling or Sampling()
    generator = FracMoGenGenerator.load(folder, Sampling(sampling.chain, sampling.steps, sampling.guidance, False))
    opened = [Corpus.open(path) for path in corpora]
    judge_folder = Path(evaluator) if evaluator else registry.weights_folder() / "evaluator"
    judge = Evaluator.load(judge_folder)
    if (count := len(judged_items(opened, split))) < FEWEST:
        raise ValueError(
            f"the corpora hold {count} clips of the split {split!r} to judge on; it takes at least {FEWEST}"
        )
    retrieval = Retrieval(opened)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"judging {model} on {split}", total=3 * repeats)
        runs: dict[str, list[dict[str, float]]] = {"real": [], "retrieval": [], model: []}
        for repeat in range(repeats):
            items = judged_items(opened, split, seed=repeat)
            real = [_real(opened, item) for item in items]
            common = (judge, opened, items, real, repeat, split)
            runs["real"].append(_judge(*common, None))
            progress.advance(task)
            runs["retrieval"].append(_judge(*common, retrieval.generate_many))
            progress.advance(task)
            runs[model].append(_judge(*common, generator.generate_many, 2**TOP))
            progress.advance(task)
    rows = {
        name: {key: metrics.mean_95([row[key] for row in found]) for key in found[0]} for name, found in runs.items()
    }
    embedded = judge.motions([_real(opened, item) for item in judged_items(opened, split)])
    floor = metrics.fid_floor(embedded, np.random.default_rng(0))
    report = {
        "model": model,
        "split": split,
        "repeats": repeats,
        "sampling": {"chain": list(sampling.chain), "steps": sampling.steps, "guidance": sampling.guidance},
        "fid_floor": list(floor),
        "sha256": {
            "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
            "evaluator": judge.config["sha256"],
            "corpora": {str(corpus.folder): corpus.info["sha256"] for corpus in opened},
        },
        "rows": {name: {key: list(value) for key, value in row.items()} for name, row in rows.items()},
    }
    if out is not None:
        with atomic_write(out) as path:
            path.write_text(json.dumps(report, indent=2) + "\n")
    return report


def table(report: dict[str, Any]) -> Table:
    """A report as a table: a column for each of real motion, retrieval and the model."""
    result = Table(title=f"{report['model']} on {report['split']}, {report['repeats']} repeats")
    result.add_column("")
    for name in report["rows"]:
        result.add_column(name, justify="right")
    for key, (title, form) in ROWS.items():
        if key not in report["rows"][report["model"]]:
            continue
        cells = []
        for row in report["rows"].values():
            mean, half = row.get(key, (float("nan"), 0.0))
            spread = f" ± {form.format(half)}" if half > 0 else ""
            cells.append("" if np.isnan(mean) else form.format(mean) + spread)
        result.add_row(title, *cells)
    mean, half = report["fid_floor"]
    result.add_row("FID of real halves (floor)", f"{mean:.2f} ± {half:.2f}")
    return result


def _real(corpora: Sequence[Corpus], item: Item) -> Motion:
    return corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.end)


def _judge(
    judge: Evaluator,
    corpora: Sequence[Corpus],
    items: Sequence[Item],
    real: Sequence[Motion],
    repeat: int,
    split: str,
    make: Make | None,
    every: int | None = None,
) -> dict[str, float]:
    """One row of one repeat; without `make`, of real motion against the other sentences of the split."""
    rng = np.random.default_rng((17, repeat))
    texts = [item.caption.text for item in items]
    requests = [
        Request(text, max(len(motion) / FPS, 0.5), seed=1000 * repeat + number)
        for number, (text, motion) in enumerate(zip(texts, real, strict=True))
    ]
    found: dict[str, float] = {"n": len(items)}
    made = list(real) if make is None else make(requests)
    if every is not None:  # the generator left its feet to us
        found["sliding_raw"] = float(np.mean([foot_sliding(motion) for motion in made]))
        found["skating_raw"] = float(np.mean([foot_skating(motion) for motion in made]))
        made = [clean_feet(motion) for motion in made]
    motion, text, truth = judge.motions(made), judge.texts(texts), judge.motions(real)
    labels = [item.label for item in items]
    if len(set(labels)) >= metrics.POOL:
        precision = metrics.r_precision(motion, text, metrics.pools(labels, texts, rng))
        found |= {f"R@{k + 1}": float(value) for k, value in enumerate(precision)}
    found["fid"] = metrics.fid(truth, motion)
    found["fid_halves"] = metrics.fid_halves(truth, motion, rng)[0]
    found["mm_dist"] = metrics.mm_dist(motion, text)
    found["diversity"] = metrics.diversity(motion, rng)
    found |= metrics.quality(made, real, every or 2**TOP)
    if split == "compositional":
        found["label_top1"] = _first_among_labels(judge, corpora, items, motion, text, rng)
    if make is None:
        return found
    chosen = rng.choice(len(items), min(MODALITY_TEXTS, len(items)), replace=False)
    again = [
        Request(texts[k], requests[k].seconds, seed=1_000_000 + 1000 * repeat + MODALITY_SAMPLES * int(k) + sample)
        for k in chosen
        for sample in range(MODALITY_SAMPLES)
    ]
    samples = judge.motions(make(again)).reshape(len(chosen), MODALITY_SAMPLES, -1)
    found["multimodality"] = metrics.multimodality(samples)
    stands = [k for k, motion in enumerate(real) if np.ptp(motion.root_position[:, [0, 2]], axis=0).max() < STANDING]
    if every is not None and stands:
        long = make([Request(texts[k], STANDING_SECONDS, seed=1000 * repeat + k) for k in stands])
        positions = [motion.joint_positions() for motion in long]
        found["standing_drift"] = float(np.mean([metrics.root_drift(row) for row in positions]))
        ways = [np.linalg.norm(np.diff(row[:, 0, [0, 2]], axis=0), axis=-1).sum() for row in positions]
        found["standing_way"] = float(np.mean(ways))
    return found


def _first_among_labels(
    judge: Evaluator,
    corpora: Sequence[Corpus],
    items: Sequence[Item],
    motion: np.ndarray,
    text: np.ndarray,
    rng: np.random.Generator,
) -> float:
    """Share of motions that are nearer to their own text than to a sentence of each other label of the corpora."""
    sentences: dict[str, list[str]] = {}
    for number, corpus in enumerate(corpora):
        for clip in corpus.clips:
            label = Item(number, clip, clip.captions[0]).label
            sentences.setdefault(label, []).extend(caption.text for caption in clip.captions)
    names = sorted(sentences)
    others = judge.texts([sentences[name][rng.integers(len(sentences[name]))] for name in names])
    own = np.linalg.norm(motion - text, axis=-1)
    distance = np.linalg.norm(motion[:, None] - others[None], axis=-1)
    same = np.array([[name == item.label for name in names] for item in items])
    return float((own < np.where(same, np.inf, distance).min(1)).mean())
