"""Does the motion language model say of a clip what people wrote about it? Beside captions of the nearest clips.

    python benchmarks/describing.py --corpus corpora/cmu corpora/bandai [--model runs/instruct/export] [--repeats 20]

Every clip of the test split is described, and the caption asks for its clip by likeness of sentences (cosine of MiniLM
embeddings) in pools of 32 written captions: that of the clip, and those of others whose labels and words all differ, so
that no other caption of a pool is as right by its wording. Ties count against a caption. A repeat draws one written
caption of each clip, pools, and among equals; intervals are 95 % over the repeats, for the same clips. Prints Markdown.

- language model: `LanguageGenerator.describe`.
- nearest clip: a caption of the training clip, as it is or mirrored, whose motion is nearest, by the evaluator (which
  has learned from the training clips and not from these) or by plain statistics of poses and speeds (`descriptor`).
- rules: the sentence about the whole body of `kinema corpus caption`.
- another person: another written caption of the same clip, asked for where there is one; exact by what it is.
- drawn training caption: of any training clip. Chance is the same for a captioner that says one thing of all.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import tyro

from kinema.conditions.text import TextEncoder
from kinema.corpora import Clip, Corpus, mirror_text
from kinema.corpora.describe import describe
from kinema.evaluation import metrics
from kinema.evaluation.captions import tokenize
from kinema.evaluation.evaluator import MAX_FRAMES, Evaluator, Item, judged_items
from kinema.models import registry
from kinema.models.language.pipeline import LanguageGenerator
from kinema.motion import Motion
from kinema.progress import track

Answer = TypeVar("Answer")
Captioner = Callable[[Item, np.random.Generator], str | None]  # None: it has nothing to say of this one
MEASURES = {"R@1": "{:.3f}", "R@3": "{:.3f}", "median rank": "{:.1f}", "exact": "{:.3f}"}
CHANCE = {"R@1": 1 / metrics.POOL, "R@3": 3 / metrics.POOL, "median rank": metrics.POOL / 2}


@dataclass
class Options:
    """Args:
    corpus: folders of corpora.
    model: the language model, a shipped name or a folder.
    split: whose clips.
    repeats: draws of captions and pools.
    """

    corpus: tuple[Path, ...]
    model: str = "being-m0"
    split: str = "test"
    repeats: int = 20


def words(text: str) -> str:
    """A sentence without what does not count: capitals and punctuation."""
    return " ".join(tokenize(text))


def written(clip: Clip, start: int, end: int) -> list[str]:
    """What people wrote about a stretch of a clip, its end cut as `judged_items` cuts it."""
    rows = [row for row in clip.captions if (row.start, min(row.end, row.start + MAX_FRAMES)) == (start, end)]
    return [row.text for row in rows if row.source != "cmu_index"] or [row.text for row in rows]


def score(
    made: Sequence[str | None], true: Sequence[str], references: Sequence[Sequence[str]], pools: np.ndarray
) -> dict[str, float]:
    """ "R@1", "R@3" and "median rank" of the clips that captions ask for, and "exact": the share of captions that are,
    but for capitals and punctuation, one of the clip's own.

    Args:
        made: a caption of each clip, or None; those are not counted.
        true: the written captions (N,) that are looked among.
        references: all written captions of each clip.
        pools: (P, 32) from `metrics.pools`; the first of a row is asked for.
    """
    encoder, said = TextEncoder.load(), [text is not None for text in made]
    asked, among = (encoder.encode([words(text or "") for text in texts]) for texts in (made, true))
    curve = metrics.r_precision(asked, among, pools[np.array(said)[pools[:, 0]]], top=pools.shape[1])
    pairs = [(words(text), map(words, known)) for text, known in zip(made, references, strict=True) if text is not None]
    return {
        "R@1": float(curve[0]),
        "R@3": float(curve[2]),
        "median rank": 1.0 + int(np.argmax(curve >= 0.5)),
        "exact": float(np.mean([text in known for text, known in pairs])),
    }


class Nearest:
    """Captions of the training clips nearest in some space.

    Args:
        bank: embeddings (M, D) of training stretches, and their captions.
        embed: a motion's place in that space, (D,).
    """

    def __init__(
        self, bank: np.ndarray, captions: Sequence[Sequence[str]], embed: Callable[[Item], np.ndarray]
    ) -> None:
        self._bank, self._captions, self._embed = bank, captions, embed

    def __call__(self, item: Item, rng: np.random.Generator) -> str:
        found = self._captions[int(np.linalg.norm(self._bank - self._embed(item), axis=1).argmin())]
        return found[rng.integers(len(found))]


def training(corpora: Sequence[Corpus]) -> tuple[list[Motion], list[list[str]]]:
    """The captioned stretches of the train split and their mirror images, with what people wrote about each."""
    motions, texts = [], []
    clips = [(corpus, corpus.clips[index]) for corpus in corpora for index in corpus.select("train")]
    for corpus, clip in track(clips, "reading training clips", len(clips)):
        for start, end in sorted({(row.start, min(row.end, row.start + MAX_FRAMES)) for row in clip.captions}):
            found = written(clip, start, end)
            for mirrored in (False, True):
                motions.append(corpus.motion(clip, start, end, mirrored=mirrored))
                texts.append([mirror_text(text) if mirrored else text for text in found])
    return motions, texts


def kept(function: Callable[[Item], Answer]) -> Callable[[Item], Answer]:
    """The function, asked once for each stretch."""
    known: dict[tuple[int, int, int, int], Answer] = {}

    def of(item: Item) -> Answer:
        key = (item.corpus, item.clip.index, item.caption.start, item.caption.end)
        if key not in known:
            known[key] = function(item)
        return known[key]

    return of


def captioners(corpora: Sequence[Corpus], model: LanguageGenerator, judge: Evaluator) -> dict[str, Captioner]:
    """All that describe, by name."""

    def motion(item: Item) -> Motion:
        return corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.end)

    def another(item: Item, rng: np.random.Generator) -> str | None:
        found = written(item.clip, item.caption.start, item.caption.end)
        others = [text for text in found if words(text) != words(item.caption.text)]
        return others[rng.integers(len(others))] if others else None

    motions, texts = training(corpora)
    every = [text for found in texts for text in found]
    by_model = kept(lambda item: model.describe(motion(item)))
    by_rules = kept(lambda item: describe(motion(item)).overall)
    return {
        "language model": lambda item, _: by_model(item),
        "nearest clip by the evaluator": Nearest(
            judge.motions(motions), texts, kept(lambda item: judge.motions([motion(item)])[0])
        ),
        "nearest clip by statistics": Nearest(
            judge.descriptors(motions), texts, kept(lambda item: judge.descriptors([motion(item)])[0])
        ),
        "rules": lambda item, _: by_rules(item),
        "another person": another,
        "drawn training caption": lambda _, rng: every[rng.integers(len(every))],
    }


def judged(
    corpora: Sequence[Corpus], split: str, repeats: int, found: dict[str, Captioner]
) -> dict[str, dict[str, tuple[float, float]]]:
    """Of each captioner the mean of each measure and half of its 95 % interval over the repeats."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for repeat in track(range(repeats), "describing", repeats):
        items = judged_items(corpora, split, seed=repeat)
        true = [item.caption.text for item in items]
        references = [written(item.clip, item.caption.start, item.caption.end) for item in items]
        labels = [item.label for item in items]
        pools = metrics.pools(labels, [words(text) for text in true], np.random.default_rng((17, repeat)))
        for name, captioner in found.items():
            rng = np.random.default_rng(repeat)
            made = [captioner(item, rng) for item in items]
            if any(text is not None for text in made):
                rows[name].append(score(made, true, references, pools))
    return {
        name: {measure: metrics.mean_95([row[measure] for row in mine]) for measure in MEASURES}
        for name, mine in rows.items()
        if mine
    }


def markdown(rows: dict[str, dict[str, tuple[float, float]]], clips: int, repeats: int) -> str:
    lines = [f"{clips} clips, {repeats} repeats, pools of {metrics.POOL}.", ""]
    lines += ["| captions by | " + " | ".join(MEASURES) + " |", "| --- |" + " ---: |" * len(MEASURES)]
    for name, row in rows.items():
        cells = [
            form.format(row[measure][0]) + (f" ± {form.format(row[measure][1])}" if repeats > 1 else "")
            for measure, form in MEASURES.items()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    cells = [form.format(CHANCE[measure]) if measure in CHANCE else "" for measure, form in MEASURES.items()]
    lines.append("| chance | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    corpora = [Corpus.open(folder) for folder in options.corpus]
    model, judge = LanguageGenerator.named(options.model), Evaluator.load(registry.weights_folder() / "evaluator")
    rows = judged(corpora, options.split, options.repeats, captioners(corpora, model, judge))
    print(markdown(rows, len(judged_items(corpora, options.split)), options.repeats), end="")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
