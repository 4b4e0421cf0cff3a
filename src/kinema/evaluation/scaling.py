"""How a motion language model grows with its size and its data: the study of `kinema bench scaling`.

A grid of runs: shares of the training takes, the smaller part of the larger, by sizes of the network, by seeds. All are
trained alike (the stage "align", the same number of steps or minutes, the best weights by the validation split) and
judged on the same clips with the same sentences, pools and seeds: the test split, and the held-out combinations of the
split "compositional", which nothing like them was trained on. Measures are the loss of a token of motion given the
sentence and all before it, R-precision, and FID.

The claim of Being-M0 that is tested: larger models and more data help; data more than size; and more data helps most
where it is held out. How `power_law` tells is said there.

In the folder of a study: `study.json` (what all runs have in common), a folder for each run with `judged.json` in it,
`report.json`, `report.md`, `scaling.png`.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student_t

from kinema.conditions.request import Request
from kinema.corpora import Corpus
from kinema.evaluation import metrics
from kinema.evaluation.evaluator import FPS, Evaluator, judged_items
from kinema.formats.files import atomic_write
from kinema.models import registry
from kinema.models.codec.data import drawn_share
from kinema.models.codec.pipeline import MotionCodec
from kinema.models.language import tasks
from kinema.models.language.data import LanguageTask, Sizes, Tokens, collate
from kinema.models.language.pipeline import LanguageGenerator
from kinema.models.language.vocabulary import TEXT_SIZE
from kinema.motion.contacts import clean_feet
from kinema.training import Trainer

SPLITS = {"test": "in distribution", "compositional": "held out"}
FEWEST = 2  # clips of a split, for FID
SHAPE = 48  # width of a network for each of its layers
TOGETHER = 32
_DASH = "–"


@dataclass(frozen=True)
class Cell:
    """One run: about how many million parameters, of which share of the training takes, by which seed."""

    size: float
    share: Fraction
    seed: int

    def folder(self, out: Path) -> Path:
        return out / f"{self.size:g}M" / str(self.share).replace("/", "-") / f"seed{self.seed}"

    def __str__(self) -> str:
        return f"about {self.size:g} M, {self.share} of the takes, seed {self.seed}"


def read_share(text: str) -> Fraction:
    """A share as it is written: 1/16, 0.25, 1.

    Raises:
        ValueError: it is no number above 0, to 1.
    """
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise ValueError(f"a share is a number above 0, to 1, such as 1/16 or 0.25; got {text!r}")
    return share


def sizes_of(million: float, ids: int, places: int) -> Sizes:
    """Width and layers of about so many million parameters, all sizes of about the same shape.

    Args:
        ids: in the vocabulary; their embedding is most of a small network.
        places: tokens of a step of motion.
    """

    def gap(sizes: Sizes) -> float:
        square = sizes.width**2
        return abs(math.log((ids * sizes.width + (12 * sizes.layers + 3 * (places - 1)) * square) / (million * 1e6)))

    widths = (32, 64, 96, *range(128, 8193, 64))  # whole heads of 64
    shapes = [Sizes(width, min(100, max(2, round(width / SHAPE)))) for width in widths]
    return min(shapes, key=gap)


# --- the study --------------------------------------------------------------------------------------------------------


def run(
    corpora: Sequence[str | Path],
    out: str | Path,
    *,
    codec: str,
    shares: Sequence[str] = ("1/16", "1/4", "1"),
    sizes: Sequence[float] = (1, 4, 16),
    seeds: int = 2,
    steps: int | None = None,
    minutes: float | None = None,
    batch: int = 24,
) -> dict[str, Any]:
    """Train and judge what is not done yet, a seed of all cells before the next seed, and write the report.

    Args:
        corpora: folders.
        out: folder of the study; the same call goes on where it was interrupted.
        codec: whose tokens are learned; a shipped name or a folder.
        shares: of the takes of the train split, at least two.
        sizes: about how many million parameters, at least two.
        seeds: how many of each.
        steps, minutes: of training of each; one of them.
        batch: examples a step.

    Returns:
        The report, JSON values: "settings", "cells" (see `Bench.judge`), "real", "fits" (see `fits`), "findings".

    Raises:
        ValueError: these do not make a grid, the corpora hold too few clips, or the folder holds something else.
    """
    parts = sorted({read_share(text) for text in shares})
    if len(parts) < 2 or len({*sizes}) < 2 or seeds < 1:
        raise ValueError("a study of scaling takes at least two shares, two sizes and one seed")
    if not all(0.001 <= size <= 100_000 for size in sizes):
        raise ValueError(f"sizes are millions of parameters, got {', '.join(f'{size:g}' for size in sizes)}")
    if (steps is None) == (minutes is None):
        raise ValueError("give either the steps or the minutes of training of each model")
    study = _Study([Path(folder) for folder in corpora], Path(out), codec, steps, minutes, batch, parts)
    chosen = {size: study.sizes(size) for size in sorted({*sizes})}
    if len({*chosen.values()}) < len(chosen):
        raise ValueError(f"of the sizes {', '.join(f'{size:g}' for size in chosen)} two are the same network")
    study.claim()
    cells = [Cell(size, share, seed) for seed in range(seeds) for share in parts for size in chosen]
    for number, cell in enumerate(cells):
        study.train(cell, f"{cell}: {number + 1} of {len(cells)}")
        study.judge(cell)
    report = {
        "settings": study.settings,
        "judged": study.bench.about,
        "cells": [study.judge(cell) for cell in cells],
        "real": study.bench.real,
    }
    report["fits"] = fits(report["cells"])
    report["findings"] = findings(report["fits"])
    for name, text in (("report.json", json.dumps(report, indent=1)), ("report.md", markdown(report))):
        with atomic_write(study.out / name) as path:
            path.write_text(text + "\n", encoding="utf-8")
    with atomic_write(study.out / "scaling.png") as path:
        draw(report, path)
    return report


class _Study:
    """What the runs of a study have in common; what only training or judging needs is made when it is needed."""

    def __init__(
        self,
        folders: Sequence[Path],
        out: Path,
        codec: str,
        steps: int | None,
        minutes: float | None,
        batch: int,
        shares: Sequence[Fraction],
    ) -> None:
        self.folders, self.out, self.codec_name, self.shares = folders, out, codec, shares
        self.corpora = [Corpus.open(folder) for folder in folders]
        self.codec = MotionCodec.load(codec)
        self.evaluator = Evaluator.load(registry.weights_folder() / "evaluator")
        if few := [name for name in SPLITS if len(judged_items(self.corpora, name)) < FEWEST]:
            raise ValueError(
                f"the corpora hold fewer than {FEWEST} clips of the split {few[0]!r} to judge on; "
                "see --hold-out of `kinema corpus build`"
            )
        if empty := [share for share in shares if not self.hours(share)]:
            raise ValueError(f"a share of {empty[0]} of the takes of these corpora holds no clips")
        self.settings = {
            "corpora": [corpus.info["sha256"] for corpus in self.corpora],
            "codec": self.codec.sha256,
            "steps": steps,
            "minutes": minutes,
            "batch": batch,
        }

    def claim(self) -> None:
        """Make the folder that of this study; ValueError if it is another's."""
        path = self.out / "study.json"
        if path.exists():
            try:
                found = json.loads(path.read_text())
            except ValueError:
                found = None
            if found != self.settings:
                raise ValueError(
                    f"{self.out} holds a study of other corpora, codec, steps, minutes or batch; choose another folder"
                )
        elif self.out.is_dir() and any(self.out.iterdir()):
            raise ValueError(f"{self.out} is not empty and holds no study; choose another folder")
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.settings, indent=1) + "\n")

    def hours(self, share: Fraction) -> float:
        """Of motion of a share of the training takes, not mirrored."""
        frames = [
            clip.frames
            for corpus in self.corpora
            for clip in corpus.clips
            if clip.split == "train" and drawn_share(clip.take) < share
        ]
        return sum(frames) / self.corpora[0].fps / 3600

    def sizes(self, million: float) -> Sizes:
        config = self.codec.config
        return sizes_of(million, TEXT_SIZE + config.places * 2**config.bits, config.places)

    @cached_property
    def tokens(self) -> Tokens:
        """Of the largest share: motion becomes tokens once, however many runs there are."""
        return Tokens(self.corpora, self.codec, ("train", "val"), float(self.shares[-1]))

    @cached_property
    def bench(self) -> Bench:
        return Bench(self.corpora, self.codec, self.evaluator)

    def train(self, cell: Cell, title: str) -> None:
        folder = cell.folder(self.out)
        if (folder / "report.json").exists():
            return
        print(title, flush=True)
        task = LanguageTask(
            "align",
            corpora=self.folders,
            codec=self.codec_name,
            sizes=self.sizes(cell.size),
            batch=self.settings["batch"],
            share=float(cell.share),
            tokens=self.tokens,
        )
        steps = self.settings["steps"]
        Trainer(
            task,
            folder,
            steps=steps,
            minutes=self.settings["minutes"],
            seed=cell.seed,
            optimizer="muon",
            # little data is learned by heart, so that the best weights are not the last
            validate_every=max(1, min(500, (steps or 5000) // 10)),
        ).run()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def judge(self, cell: Cell) -> dict[str, Any]:
        """What `Bench.judge` finds of a run, with what it was; read where it was judged before by this evaluator."""
        folder, own = cell.folder(self.out), self.evaluator.config["sha256"]
        path = folder / "judged.json"
        if path.exists() and (known := json.loads(path.read_text()))["evaluator"] == own:
            return known
        report = json.loads((folder / "report.json").read_text())
        found = {
            "size": cell.size,
            "share": str(cell.share),
            "seed": cell.seed,
            "parameters": report["parameters"],
            "hours": self.hours(cell.share),
            "steps": report["steps"],
            "minutes": report["minutes"],
            "evaluator": own,
            **self.bench.judge(load(folder / "export")),
        }
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
        said = ", ".join(f"{SPLITS[name]} {found[name]['loss']:.3f}" for name in SPLITS)
        print(f"{cell}: loss {said}", flush=True)
        return found


def load(folder: Path) -> LanguageGenerator:
    """A generator, on the GPU where there is one."""
    found = LanguageGenerator.load(folder)
    if not torch.cuda.is_available():
        return found
    return LanguageGenerator(found.model.cuda(), found.vocabulary, found.codec, found.info)


class Bench:
    """The clips that all runs are judged on.

    Attributes:
        about: JSON values: of each split the number of clips and labels.
        real: {split: measures} of the real motions.
    """

    def __init__(self, corpora: Sequence[Corpus], codec: MotionCodec, evaluator: Evaluator) -> None:
        self.evaluator, self.codec = evaluator, codec
        self.items = {name: judged_items(corpora, name) for name in SPLITS}
        self.texts = {name: [item.caption.text for item in items] for name, items in self.items.items()}
        self.motions = {
            name: [corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.end) for item in items]
            for name, items in self.items.items()
        }
        self.truth = {name: evaluator.motions(motions) for name, motions in self.motions.items()}
        self.about = {
            name: {"clips": len(items), "labels": len({item.label for item in items})}
            for name, items in self.items.items()
        }
        # the held-out clips alone have too few labels for pools of 32, so both splits draw from the texts of both
        labels = [item.label for items in self.items.values() for item in items]
        texts = [text for texts in self.texts.values() for text in texts]
        self.said = evaluator.texts(texts)
        try:
            pools = metrics.pools(labels, texts, np.random.default_rng(17), repeats=10)
        except ValueError:  # small corpora
            pools = np.zeros((0, metrics.POOL), int)
        ends = np.cumsum([len(items) for items in self.items.values()]).tolist()
        self.first = dict(zip(SPLITS, [0, *ends], strict=False))
        self.pools = {
            name: pools[(pools[:, 0] >= self.first[name]) & (pools[:, 0] < end)]
            for name, end in zip(SPLITS, ends, strict=True)
        }
        self.real = {name: self._measures(name, embedded) for name, embedded in self.truth.items()}

    @cached_property
    def tokens(self) -> dict[str, list[tuple[str, np.ndarray]]]:
        """Of each split the sentences and the tokens (N, places) of clips that have enough steps."""
        found = {}
        for name, motions in self.motions.items():
            long_enough = [len(motion) >= tasks.SHORTEST * self.codec.config.stride for motion in motions]
            encoded = self.codec.encode_many(list(compress(motions, long_enough)))
            found[name] = list(zip(compress(self.texts[name], long_enough), encoded, strict=True))
        return found

    def judge(self, generator: LanguageGenerator) -> dict[str, dict[str, float | None]]:
        """{split: {"loss" in nats a token, "R@1", "R@2", "R@3", "fid"}}, None where the texts are too few for pools.

        As in `kinema evaluate`, motion is as long as the real one and judged after its feet were cleaned.
        """
        found: dict[str, dict[str, float | None]] = {}
        for name, motions in self.motions.items():
            requests = [
                Request(text, max(len(motion) / FPS, 0.5), seed=number)
                for number, (text, motion) in enumerate(zip(self.texts[name], motions, strict=True))
            ]
            made = [clean_feet(motion) for motion in generator.generate_many(requests)]
            measures = self._measures(name, self.evaluator.motions(made))
            found[name] = {"loss": motion_loss(generator, self.tokens[name]), **measures}
        return found

    def _measures(self, split: str, embedded: np.ndarray) -> dict[str, float | None]:
        precision: list[float | None] = [None] * 3
        if len(pools := self.pools[split]):
            rows = np.zeros_like(self.said)
            rows[self.first[split] : self.first[split] + len(embedded)] = embedded
            precision = metrics.r_precision(rows, self.said, pools).tolist()
        return {
            **{f"R@{k + 1}": value for k, value in enumerate(precision)},
            "fid": metrics.fid(self.truth[split], embedded),
        }


@torch.inference_mode()
def motion_loss(generator: LanguageGenerator, pairs: Sequence[tuple[str, np.ndarray]]) -> float:
    """Mean loss, in nats, of the tokens of motions (N, places) given their sentences, their lengths and all tokens
    before."""
    vocabulary, config = generator.vocabulary, generator.config
    device = generator.model.embedding.weight.device
    rows = []
    for text, tokens in pairs:
        seconds = tasks.written_seconds(len(tokens), config.steps_per_second)
        template = tasks.task("length").instructions[0]
        asked = vocabulary.question(tasks.fill(template, {"caption": text, "seconds": seconds}))
        whole = asked + vocabulary.answer([tokens])
        rows.append((whole, np.arange(len(whole)) >= len(asked), len(tokens)))
    rows.sort(key=lambda row: len(row[0]))  # little padding
    total = 0.0
    for start in range(0, len(rows), TOGETHER):
        chosen = rows[start : start + TOGETHER]
        batch = collate([(whole, counts) for whole, counts, _ in chosen])
        losses = generator.model({name: value.to(device) for name, value in batch.items()})
        total += float(losses["motion"]) * sum(steps for *_, steps in chosen)
    return total / sum(steps for *_, steps in rows)


# --- what it shows ----------------------------------------------------------------------------------------------------

Estimate = tuple[float, float]  # and half of its 95 % interval
MEASURES = {"loss": "loss", "fid": "FID", "misses": "1 − R@3"}
CLAIMS = {
    "Larger models and more data help": [(split, axis) for split in SPLITS for axis in ("size", "data")],
    "Data helps more than size": [(split, "data over size") for split in SPLITS],
    "More data helps most where it is held out": [("held out over in distribution", "data")],
}


def power_law(size: Sequence[float], data: Sequence[float], value: Sequence[float]) -> dict[str, Estimate]:
    """The exponents of value = c size^-a data^-b: "size" a, "data" b, "data over size" b - a; above 0 helps.

    A plane through the logarithms, by least squares over the cells of the grid, the seeds of a cell averaged. With a
    whole grid that is the mean of the power laws along its rows, and along its columns. E + A size^-a + B data^-b has
    five parameters, too many for nine cells: E trades for the exponents. So these are exponents of this range, and
    below those of the loss less what cannot be learned.

    Intervals are Student's t with three degrees of freedom less than there are cells: what the plane does not explain,
    the luck of seeds and the bend of the laws alike, counts as noise. A percentile bootstrap of the rows of so small a
    grid is too sure of itself: by simulation (3 x 3 cells, 2 seeds) it holds the truth in 83 % of cases, this one in
    93 to 95 %. They say what other runs would give, not other clips.

    Args:
        size, data, value: of each run (M,), above 0; runs of the same size and data are a cell.

    Raises:
        ValueError: fewer than four cells, or all of one size or data.
    """
    found: dict[tuple[float, float], list[float]] = {}
    for x, y, z in zip(size, data, value, strict=True):
        found.setdefault((x, y), []).append(math.log(z))
    cells = np.log(np.array(list(found)))
    design = np.concatenate([np.ones((len(cells), 1)), -cells], 1)
    freedom = len(cells) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError("a power law of size and data takes four cells, of two sizes and two amounts of data or more")
    values = np.array([np.mean(logs) for logs in found.values()])
    inverse = np.linalg.inv(design.T @ design)
    solution = inverse @ design.T @ values
    rest = values - design @ solution
    covariance = inverse * (rest @ rest) / freedom
    fitted = {}
    for name, weights in {"size": (0, 1, 0), "data": (0, 0, 1), "data over size": (0, -1, 1)}.items():
        way = np.array(weights, float)
        half = student_t.ppf(0.975, freedom) * math.sqrt(way @ covariance @ way)
        fitted[name] = float(way @ solution), float(half)
    return fitted


def fits(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """{measure: {split, or "held out over in distribution": what `power_law` gives}}.

    The latter is of the quotient of both splits, run by run, so its "data" is by how much the exponent of data is
    larger on held-out clips. A measure that some run lacks, or that is 0, is left out.
    """
    size, data = ([cell[name] for cell in cells] for name in ("parameters", "hours"))
    found = {}
    for measure in MEASURES:
        values = {split: np.array([_measure(cell[split], measure) for cell in cells]) for split in SPLITS}
        if not all(np.all(np.isfinite(row) & (row > 0)) for row in values.values()):
            continue
        values["held out over in distribution"] = values["compositional"] / values["test"]
        found[measure] = {name: power_law(size, data, row.tolist()) for name, row in values.items()}
    return found


def _measure(judged: Mapping[str, float | None], name: str) -> float:
    """What falls as a model gets better; nan where it could not be measured."""
    value = judged["R@3" if name == "misses" else name]
    return math.nan if value is None else 1 - value if name == "misses" else value


def verdict(estimate: Estimate) -> str:
    """What an interval says of the claim that a number is above 0."""
    value, half = estimate
    return "supported" if value > half else "contradicted" if value < -half else "not decided"


def findings(found: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> list[str]:
    """A sentence for each part of the claim and each measure: all that it says must be above 0 with its interval to
    support it, and one thing below 0 contradicts it."""
    sentences = []
    for claim, parts in CLAIMS.items():
        for measure, of_measure in found.items():
            estimates = [(split, axis, of_measure[split][axis]) for split, axis in parts]
            verdicts = [verdict(estimate) for *_, estimate in estimates]
            whole = next((said for said in ("contradicted", "not decided") if said in verdicts), "supported")
            detail = "; ".join(
                f"{axis}, {SPLITS.get(split, split)}: {value:.3f} ± {half:.3f}, {said}"
                for (split, axis, (value, half)), said in zip(estimates, verdicts, strict=True)
            )
            sentences.append(f"{claim}: by {MEASURES[measure]} {whole} ({detail}).")
    return sentences


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    settings, judged = report["settings"], report["judged"]
    length = f"{settings['steps']} steps" if settings["steps"] else f"{settings['minutes']:g} minutes"
    counts = ", ".join(f"{judged[name]['clips']} clips {title}" for name, title in SPLITS.items())
    columns = ["loss", "R@1", "R@3", "FID"]
    head = ["parameters, M", "takes", "hours", "seed", "steps"]
    head += [f"{title}: {name}" for title in SPLITS.values() for name in columns]
    lines = [
        "# Scaling of the motion language model",
        "",
        f"{length} of batches of {settings['batch']} each; judged on {counts}. Loss in nats a token; R-precision in "
        "pools of 32 texts of other labels, of both sets of clips. Exponents: the measure falls as size or hours to "
        "the power of minus this, ± half of the 95 % interval over runs (other clips would differ by more).",
        "",
        "## What it says",
        "",
        *(f"- {sentence}" for sentence in report["findings"]),
        "",
        "![loss by data and by size](scaling.png)",
        "",
        "## Exponents",
        "",
        "| measure | clips | size | data | data over size |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for measure, of_measure in report["fits"].items():
        for split, fit in of_measure.items():
            cells = [f"{value:.3f} ± {half:.3f}" for value, half in fit.values()]
            lines.append(f"| {MEASURES[measure]} | {SPLITS.get(split, split)} | " + " | ".join(cells) + " |")
    lines += ["", "## Runs", "", f"| {' | '.join(head)} |", "|" + " ---: |" * len(head)]
    for cell in report["cells"]:
        row = [f"{cell['parameters'] / 1e6:.2f}", cell["share"], f"{cell['hours']:.2f}", cell["seed"], cell["steps"]]
        lines.append(f"| {' | '.join(map(str, row + _shown(cell)))} |")
    lines.append(f"| {' | '.join(['real motion', '', '', '', '', *_shown(report['real'])])} |")
    return "\n".join(lines)


def _shown(judged: Mapping[str, Any]) -> list[str]:
    forms = {"loss": "{:.3f}", "R@1": "{:.3f}", "R@3": "{:.3f}", "fid": "{:.2f}"}
    rows = [(judged[split].get(name), form) for split in SPLITS for name, form in forms.items()]
    return [_DASH if value is None else form.format(value) for value, form in rows]


def draw(report: Mapping[str, Any], path: Path) -> None:
    """The losses of all runs by hours of data and by parameters, with the fitted power law."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    cells = report["cells"]
    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharey="row")
    for number_of_row, (row, (split, title)) in enumerate(zip(panels, SPLITS.items(), strict=True)):
        fit = report["fits"]["loss"][split]
        losses = np.array([cell[split]["loss"] for cell in cells])
        across = {
            "hours of motion": np.array([cell["hours"] for cell in cells]),
            "million parameters": np.array([cell["parameters"] / 1e6 for cell in cells]),
        }
        for axes, (label, other), axis in zip(row, (tuple(across), tuple(across)[::-1]), ("data", "size"), strict=True):
            value, half = fit[axis]
            axes.set(xscale="log", yscale="log", xlabel=label, title=f"{title}: exponent {value:.3f} ± {half:.3f}")
            for number, group in enumerate(np.unique(across[other])):
                mine = across[other] == group
                xs = np.unique(across[label][mine])
                means = np.array([np.log(losses[mine & (across[label] == x)]).mean() for x in xs])
                line = np.exp(means.mean() - value * (np.log(xs) - np.log(xs).mean()))
                axes.plot(xs, line, "--", color=f"C{number}", linewidth=1)
                axes.plot(across[label][mine], losses[mine], "o", color=f"C{number}", label=f"{group:.3g}")
            if not number_of_row:
                axes.legend(title=other, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.1))
            for side in (axes.xaxis, axes.yaxis):
                side.set_major_formatter(ScalarFormatter())
                side.set_minor_formatter(ScalarFormatter() if side is axes.yaxis else NullFormatter())
            axes.set_xticks(np.unique(across[label]), [f"{x:.3g}" for x in np.unique(across[label])])
        row[0].set_ylabel("loss, nats a token")
    figure.savefig(path, dpi=110)
