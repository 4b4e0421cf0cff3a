"""FracMoGen's own tables: does mixing noise help, does a lambda that rises, do more scales?

    python benchmarks/ablations.py train --corpus corpora/cmu corpora/bandai -o runs/ablations
    python benchmarks/ablations.py table --corpus corpora/cmu corpora/bandai -o runs/ablations

Noise and lambda are about p(finer | coarser, text), so only refiners are trained, small ones, all alike but for what is
compared; with one seed they see the same windows in the same order. `train` goes on where it was stopped. `table`
judges each refiner once, at 3-2-1-0 and other chains, and prints Markdown:

- on real key frames of the val and test splits: distance of the joints (MPJPE, in the world), jerk against real motion,
  acceleration at the key frames against that between them, FID against the very clips;
- on key frames that the shipped sampler made for the sentences of the test split: R-precision, FID, jerk, sliding feet,
  all before clean-up. They are sampled once, so all refiners get the same.

A refiner is told how much its key frames are off, so one trained with noise can be told 0 (they are exact) or half of
the most, and then corrects the key frames too; one trained without noise has only learned 0.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from refiners import CHAINS, CHUNK, LAMBDA, NOISE, SIZE, VARIANTS, RefinerTask, read_refiner, refine
from scipy import stats

from kinema.conditions.text import TextEncoder
from kinema.corpora import Corpus
from kinema.evaluation import metrics, physics
from kinema.evaluation.evaluator import FPS, Evaluator, judged_items
from kinema.evaluation.pose import global_mpjpe
from kinema.formats.files import atomic_write
from kinema.models import registry
from kinema.models.fracmogen import scales
from kinema.models.fracmogen.data import MIN_FRAMES
from kinema.models.fracmogen.model import FracMoGen
from kinema.models.fracmogen.pipeline import FracMoGenGenerator, Window
from kinema.models.fracmogen.scales import Keys
from kinema.motion import BODY, Motion
from kinema.motion.contacts import foot_sliding
from kinema.progress import track
from kinema.training import Trainer

MAIN = (3, 2, 1, 0)
DECIDING = ("none", "gaussian10", "mixing10", "lambda0.5")  # trained with three seeds
RISING = "mixing10"  # lambda from .2 to .8, the row that the others of LAMBDA are compared with


def train(
    corpus: tuple[Path, ...],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    only: tuple[str, ...] = tuple(VARIANTS),
    seeds: tuple[int, ...] | None = None,
    steps: int = 5000,
) -> None:
    """Train refiners, those that decide an ordering first.

    Args:
        corpus: folders of corpora.
        out: folder of the runs; what is in it is not trained again, and half a run goes on.
        only: names of variants.
        seeds: of each; 0 1 2 for those that decide an ordering and 0 for the others if not given.
        steps: of each.
    """
    if unknown := [name for name in only if name not in VARIANTS]:
        raise ValueError(f"no variant {unknown[0]!r}; there are {', '.join(VARIANTS)}")
    wanted = [(name, seed) for name in only for seed in seeds or ((0, 1, 2) if name in DECIDING else (0,))]
    wanted.sort(key=lambda run: (run[0] not in DECIDING, run[1]))  # a seed of all before the next seed
    runs = [(name, seed) for name, seed in wanted if not _weights(out, name, seed).exists()]
    print(f"{len(wanted) - len(runs)} of {len(wanted)} refiners are trained")
    if not runs:
        return
    task = RefinerTask(SIZE, corpus)
    for number, (name, seed) in enumerate(runs):
        print(f"{name}, seed {seed}: {number + 1} of {len(runs)}")
        folder = _weights(out, name, seed).parents[1]
        # all are compared after the same number of steps, so none is chosen by a validation on the way
        Trainer(
            task.of(VARIANTS[name]),
            folder,
            steps=steps,
            seed=seed,
            validate_every=steps,
            checkpoint_every=120,
            threads=1,
        ).run()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _weights(out: Path, name: str, seed: int) -> Path:
    return out / name / f"seed{seed}" / "export" / "model.safetensors"


# --- judging ----------------------------------------------------------------------------------------------------------


@dataclass
class Trial:
    """Key frames to refine, and what the result is held against.

    Attributes:
        keys: {level: key frames of each motion}.
        texts: (N, 768) for the refiner.
        real: positions (T, 22, 3) of the real motions; what is refined has their lengths.
        truth: (N, 128) the evaluator's embeddings of these.
        said, pools: embeddings (N, 128) of the sentences and pools for R-precision; None where the key frames are
            those of the real motions.
    """

    keys: dict[int, list[Keys]]
    texts: np.ndarray
    real: list[np.ndarray]
    truth: np.ndarray
    said: np.ndarray | None = None
    pools: np.ndarray | None = None


class Bench:
    """Judges refiners on real and on sampled key frames."""

    def __init__(
        self, corpora: Sequence[Corpus], generator: FracMoGenGenerator, judge: Evaluator, repeats: int
    ) -> None:
        self.corpora, self.judge = corpora, judge
        levels = sorted({chain[0] for chain in CHAINS})
        motions, texts, keys = [], [], {level: [] for level in levels}
        for item in (item for split in ("val", "test") for item in judged_items(corpora, split)):
            frames = (item.caption.end - item.caption.start - 1) // 2 ** levels[-1] * 2 ** levels[-1] + 1
            if frames < MIN_FRAMES:
                continue
            motion = corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.start + frames)
            state, _ = scales.state_of(motion)
            velocity = scales.velocity_of(state)
            for level in levels:
                keys[level].append(Keys(state[:: 2**level], velocity[:: 2**level], 2**level))
            motions.append(motion.joint_positions())
            texts.append(item.caption.text)
        if len(motions) < 2:
            raise ValueError(
                f"the corpora hold {len(motions)} val and test clips of 1.1 s or more; it takes at least 2"
            )
        self.known = Trial(keys, _sided(texts), motions, judge.motions(motions))
        self.sampled = [
            self._sampled(generator, levels, repeat) for repeat in track(range(repeats), "sampling key frames", repeats)
        ]

    def _sampled(self, generator: FracMoGenGenerator, levels: Sequence[int], repeat: int) -> Trial:
        items = judged_items(self.corpora, "test", seed=repeat)
        sentences = [item.caption.text for item in items]
        texts = _sided(sentences)
        real = [
            self.corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.end).joint_positions()
            for item in items
        ]
        windows = [
            Window(text, max(len(row), 4), (1000 * repeat + k, 0, 0), None, ())
            for k, (text, row) in enumerate(zip(texts, real, strict=True))
        ]
        order = np.argsort([window.frames for window in windows], kind="stable")
        keys: dict[int, list[Keys]] = {}
        for level in levels:
            found = {
                k: row
                for chosen in np.split(order, range(CHUNK, len(order), CHUNK))
                for k, (row, _) in zip(chosen, generator.sample([windows[k] for k in chosen], level), strict=True)
            }
            keys[level] = [found[k] for k in range(len(windows))]
        pools = metrics.pools([item.label for item in items], sentences, np.random.default_rng((17, repeat)))
        unique, inverse = np.unique(sentences, return_inverse=True)
        return Trial(keys, texts, real, self.judge.motions(real), self.judge.texts(list(unique))[inverse], pools)

    def judge_all(self, model: FracMoGen | None, noisy: bool, chains: Sequence[tuple[int, ...]]) -> dict[str, float]:
        """Measures of a refiner by "chain, told, key frames, measure"; of the curve alone if there is none."""
        asked = [(chain, 0.0) for chain in chains] + ([(MAIN, 0.5)] if noisy else [])
        if model is None:
            asked = [(chain, 0.0) for chain in chains if len(chain) == 2]
        found: dict[str, float] = {}
        for chain, told in asked:
            rows = [self._judge(trial, model, chain, told) for trial in self.sampled]
            parts = {"real": self._judge(self.known, model, chain, told)}
            parts["sampled"] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            name = "-".join(map(str, chain))
            found |= {f"{name} {told:g} {part} {key}": value for part in parts for key, value in parts[part].items()}
        return found

    def judge_real(self) -> dict[str, float]:
        """What the real motions of the test split score."""
        rows = [metrics.r_precision(trial.truth, trial.said, trial.pools) for trial in self.sampled]
        return {f"R@{k + 1}": float(value) for k, value in enumerate(np.mean(rows, 0))}

    def _judge(self, trial: Trial, model: FracMoGen | None, chain: Sequence[int], told: float) -> dict[str, float]:
        curves = refine(model, trial.texts, trial.keys[chain[0]], chain, told)
        made, sliding = [], []
        for start in range(0, len(curves), CHUNK):
            chunk = slice(start, start + CHUNK)
            states = [c.state[: len(row)] for c, row in zip(curves[chunk], trial.real[chunk], strict=True)]
            motion = scales.motion_of(np.concatenate(states), FPS)
            ends = np.cumsum([len(state) for state in states])
            made += np.split(motion.joint_positions(), ends[:-1])
            if trial.pools is not None:
                for end, state in zip(ends, states, strict=True):
                    part = slice(end - len(state), end)
                    sliding.append(foot_sliding(Motion(BODY, FPS, motion.root_position[part], motion.rotations[part])))
        embedded = self.judge.motions(made)
        jerk = [np.nanmean([physics.jerk(row, FPS) for row in rows]) for rows in (made, trial.real)]
        found = {"fid": metrics.fid(trial.truth, embedded), "jerk": float(jerk[0] / jerk[1])}
        if trial.pools is None:
            found["mpjpe"] = float(np.mean([global_mpjpe(a, b) for a, b in zip(made, trial.real, strict=True)]))
            sides = zip(*(physics.key_accelerations(row, 2 ** chain[0]) for row in made), strict=True)
            at_key, between = (np.concatenate(side).mean() for side in sides)
            found["corners"] = float(at_key / between)
        else:
            assert trial.said is not None
            precision = metrics.r_precision(embedded, trial.said, trial.pools)
            found |= {"R@1": float(precision[0]), "R@3": float(precision[2]), "sliding": float(np.mean(sliding))}
        return found


def _sided(sentences: Sequence[str]) -> np.ndarray:
    """(N, 768) embeddings; many clips share a sentence, and encoding one takes longer than all else here."""
    unique, inverse = np.unique(sentences, return_inverse=True)
    return TextEncoder.load().encode_sided(list(unique))[inverse]


def judged(corpus: Sequence[Path], out: Path, model: str, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Measures of all refiners in `out`, {variant: of each seed}; what was judged before is read from its file.

    "curve" is the Hermite curve alone, "shipped" the refiner of `model`, "real" the real motions.

    Raises:
        ValueError: there are no refiners, or one was trained on other corpora.
    """
    paths = {name: sorted(out.glob(f"{name}/seed*/export/model.safetensors")) for name in VARIANTS}
    jobs = [(name, path) for name, found in paths.items() for path in found]
    if not jobs:
        raise ValueError(f"{out} holds no trained refiners; train them first: python benchmarks/ablations.py train")
    corpora = [Corpus.open(folder) for folder in corpus]
    weights, judge = registry.find(model), Evaluator.load(registry.weights_folder() / "evaluator")
    generator = FracMoGenGenerator.load(weights)
    protocol = {
        "sampler": hashlib.sha256((weights / "model.safetensors").read_bytes()).hexdigest(),
        "evaluator": judge.config["sha256"],
        "corpora": [corpus.info["sha256"] for corpus in corpora],
        "repeats": repeats,
    }
    bench: Bench | None = None
    found: dict[str, list[dict[str, float]]] = {}
    everything = [*((name, None) for name in ("real", "curve", "shipped")), *jobs]
    for name, path in track(everything, "judging refiners", len(everything)):
        refiner, own = None, protocol
        if path is not None:
            refiner, report = read_refiner(path)
            if report["settings"]["task"]["corpora"] != protocol["corpora"]:
                raise ValueError(f"{path} was trained on other corpora than these; train again in another folder")
            own = protocol | {"weights": hashlib.sha256(path.read_bytes()).hexdigest(), "steps": report["steps"]}
        kept = (path.parents[1] if path else out) / f"{'judged' if path else name}.json"
        if not kept.exists() or json.loads(kept.read_text())["protocol"] != own:
            bench = bench or Bench(corpora, generator, judge, repeats)
            if name == "real":
                measures = bench.judge_real()
            else:
                noisy = name == "shipped" or (refiner is not None and refiner.variant.levels > 0)
                # of those that decide no ordering only the chains at which noise and lambda are compared
                brief = name in VARIANTS and name not in DECIDING
                chains = [chain for chain in CHAINS if not brief or "-".join(map(str, chain)) in WALKS]
                measures = bench.judge_all(generator.model if name == "shipped" else refiner, noisy, chains)
            with atomic_write(kept) as temporary:
                temporary.write_text(json.dumps({"protocol": own, "measures": measures}, indent=1) + "\n")
        seed = path.parents[1].name if path else "seed0"
        found.setdefault(name, []).append({"seed": int(seed[4:]), **json.loads(kept.read_text())["measures"]})
    return found


# --- tables -----------------------------------------------------------------------------------------------------------

COLUMNS = {  # measure: (title, form)
    "real mpjpe": ("MPJPE, mm", "{:.2f}"),
    "real jerk": ("jerk / real", "{:.2f}"),
    "real corners": ("acceleration at keys / between", "{:.2f}"),
    "real fid": ("FID", "{:.3f}"),
    "sampled R@1": ("sampled: R@1", "{:.3f}"),
    "sampled R@3": ("R@3", "{:.3f}"),
    "sampled fid": ("FID", "{:.2f}"),
    "sampled jerk": ("jerk / real", "{:.2f}"),
    "sampled sliding": ("sliding, m/s", "{:.3f}"),
}
WALKS = ("3-2-1-0", "4-3-2-1-0", "5-4-3-2-1-0")  # the chains that noise and lambda are compared at
COMPARED = ("sampled fid", "sampled R@1", "real fid", "real mpjpe")
GAIN = {"R@1": 1, "fid": -1, "mpjpe": -1, "jerk": -1}  # what is better: more or less; of jerk, the distance from real
ORDERINGS = (  # the first is said to be better than the second; the paper's figures are FID on KIT-ML
    ("mixing10", "none", "paper: .181 < 2.592, Top-1 .451 > .239"),
    ("mixing10", "gaussian10", "paper: .181 < 4.015, Top-1 .451 > .210"),
    ("none", "gaussian10", "paper: 2.592 < 4.015, Top-1 .239 > .210"),
    ("mixing10", "lambda0.5", "paper: rising .181; .195 at .4, .250 at .6"),
    ("mixing10", "mixing100", "paper: .181 < .217"),
    ("mixing100", "gaussian100", "paper: .217 < .409"),
    ("gaussian100", "gaussian10", "paper: .409 < 4.015"),
    ("gaussian100", "gaussian1000", "paper: .409 < .451"),
    ("whole-mixing10", "none", "paper, its noise: as the first"),
    ("none", "whole-gaussian10", "paper, its noise: as the third"),
    ("mixing10", "lambda0", "paper: rising .181 < .246"),
    ("mixing10", "lambda0.2", "paper: rising .181 < .217"),
    ("mixing10", "lambda0.4", "paper: rising .181 < .195"),
    ("mixing10", "lambda0.6", "paper: rising .181 < .250"),
    ("mixing10", "lambda0.8", "paper: rising .181 < .319"),
    ("mixing10", "lambda1", "paper: rising .181 < .584"),
    ("mixing10", "lambda0-0.6", "paper: .181 < .230"),
    ("mixing10", "lambda0.4-1", "paper: .181 < .317"),
    ("mixing10", "lambda0.8-0.2", "falling instead of rising"),
)
CHAIN_ORDERINGS = (
    ("3-2-1-0", "3-0", "the scales between help"),
    ("3-2-1-0", "3-1-0", "the scales between help"),
    ("4-3-2-1-0", "4-0", "the scales between help"),
    ("5-4-3-2-1-0", "5-0", "the scales between help"),
)

Found = dict[str, list[dict[str, float]]]


def difference(better: Sequence[float], worse: Sequence[float]) -> tuple[float, float, str]:
    """Paired gain of the first over the second, half of its 95 % interval (Student's t), and what that decides.

    Both are of the same seeds, the higher the better. "holds" and "reversed" need an interval without 0.
    """
    gaps = np.subtract(better, worse)
    mean = float(gaps.mean())
    if len(gaps) < 2:
        return mean, float("nan"), "one seed"
    half = float(stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return mean, half, "not separated" if abs(mean) <= half else "holds" if mean > 0 else "reversed"


def _cell(rows: Sequence[dict[str, float]], key: str, form: str) -> str:
    values = [row[key] for row in rows if key in row]
    if not values:
        return ""
    spread = f" ± {form.format(np.std(values, ddof=1))}" if len(values) > 1 else ""
    return form.format(np.mean(values)) + spread


def _lines(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return f"**{title}**\n\n" + "\n".join(lines) + "\n"


def _measures(found: Found, rows: Sequence[tuple[str, str, str, float]], title: str) -> str:
    """A table of COLUMNS; rows are (title, variant, chain, told)."""
    heads = ["", "seeds", *(title for title, _ in COLUMNS.values())]
    body = [
        [
            name,
            str(len(found[variant])),
            *(_cell(found[variant], f"{chain} {told:g} {key}", form) for key, (_, form) in COLUMNS.items()),
        ]
        for name, variant, chain, told in rows
        if any(key.startswith(f"{chain} {told:g} ") for row in found.get(variant, ()) for key in row)
    ]
    return _lines(title, heads, body)


def _verdict(
    better: Sequence[dict[str, float]], worse: Sequence[dict[str, float]], keys: tuple[str, str], form: str
) -> str:
    """A cell of the tables of orderings; the two are paired by their seeds."""
    one, other = ({row["seed"]: row[key] for row in rows} for rows, key in zip((better, worse), keys, strict=True))
    measure = keys[0].split()[-1]
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return ""
    sides = [
        [GAIN[measure] * (abs(side[seed] - 1) if measure == "jerk" else side[seed]) for seed in seeds]
        for side in (one, other)
    ]
    mean, half, verdict = difference(*sides)
    spread = "" if np.isnan(half) else f" ± {form.replace('+', '').format(half)}"
    return f"{form.format(mean)}{spread}: {verdict}"


def markdown(found: Found) -> str:
    """All tables."""
    chains = ["-".join(map(str, chain)) for chain in CHAINS]
    tables = [
        f"Real motion, sampled sentences: R@1 {found['real'][0]['R@1']:.3f}, R@3 {found['real'][0]['R@3']:.3f}.\n"
    ]
    for chain in WALKS:
        beside = [("curve alone", "curve", f"{chain[0]}-0", 0.0), ("shipped refiner", "shipped", chain, 0.0)]
        noise = [*beside, *((name, name, chain, 0.0) for name in NOISE)]
        shares = [("lambda0.2-0.8", RISING, chain, 0.0), *((name, name, chain, 0.0) for name in LAMBDA)]
        tables.append(_measures(found, noise, f"Noise, {chain}, told 0"))
        tables.append(_measures(found, shares, f"Lambda, mixing noise, {chain}, told 0"))
    told = [(f"{name}, told {told:g}", name, WALKS[0], told) for name in (*NOISE, "shipped") for told in (0.0, 0.5)]
    tables.append(_measures(found, told, f"The noise that the refiner is told of, {WALKS[0]}"))
    for name in ("none", RISING, "curve"):
        rows = [(chain, name, chain, 0.0) for chain in chains if name != "curve" or chain.count("-") == 1]
        tables.append(_measures(found, rows, f"Chains, {name}"))
    forms = {key: "{:+" + COLUMNS[key][1][2:] for key in (*COMPARED, "real jerk")}
    heads = [f"{key.split()[0]} key frames: {COLUMNS[key][0].removeprefix('sampled: ')}" for key in COMPARED]
    for chain in WALKS:
        rows = [
            [
                f"{better} over {worse}",
                source,
                *(_verdict(found[better], found[worse], (f"{chain} 0 {key}",) * 2, forms[key]) for key in COMPARED),
            ]
            for better, worse, source in ORDERINGS
            if better in found and worse in found
        ]
        title = f"Orderings at {chain}: gain of the first over the second"
        tables.append(_lines(title, ["", "claimed by", *heads], rows))
    rows = [
        [
            f"{name}: {better} over {worse}",
            source,
            *(
                _verdict(found[name], found[name], (f"{better} 0 {key}", f"{worse} 0 {key}"), forms[key])
                for key in (*COMPARED, "real jerk")
            ),
        ]
        for name in DECIDING
        if name in found
        for better, worse, source in CHAIN_ORDERINGS
    ]
    heads.append("real key frames: jerk, nearer to real")
    tables.append(_lines("Orderings of chains: gain of the first over the second", ["", "claimed by", *heads], rows))
    return "\n".join(tables)


def table(
    corpus: tuple[Path, ...],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    model: str = "fracmogen",
    repeats: int = 1,
) -> None:
    """Judge what is trained and not yet judged, and print the tables.

    Figures of several seeds are mean ± standard deviation, gains mean ± 95 % interval over the seeds.

    Args:
        corpus: folders of the corpora that the refiners were trained on.
        out: folder of the runs.
        model: name, folder or hub id of the model whose sampler makes the key frames.
        repeats: draws of sentences and seeds for the sampled key frames.
    """
    print(markdown(judged(corpus, out, model, repeats)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.extras.subcommand_cli_from_dict({"train": train, "table": table})
