"""What is in a corpus: a table for the terminal and a picture."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.corpora.corpus import SPLITS, Corpus
from kinema.formats.files import atomic_write

if TYPE_CHECKING:
    from rich.table import Table

# words that tell nothing about motions, left out of the picture of the most frequent
_SMALL_WORDS = re.compile(
    "an?|the|and|or|to|of|in|on|at|with|while|as|by|for|from|is|are|his|her|their|its|s?he|it|that|then|this"
    "|person|someone|figure"
)


@dataclass(frozen=True)
class Statistics:
    """Numbers about a corpus.

    Args:
        seconds: (clips,) lengths.
        speeds: (clips,) mean horizontal speed of the pelvis, m/s.
        clips, takes, hours: per split.
        captions: number of captions.
        sentences: distinct texts.
        words: how often each word occurs.
        labels: clips of each label.
        rejected: motions that the build left out, by reason.
    """

    seconds: np.ndarray
    speeds: np.ndarray
    clips: dict[str, int]
    takes: dict[str, int]
    hours: dict[str, float]
    captions: int
    sentences: set[str]
    words: Counter[str]
    labels: Counter[str]
    rejected: Counter[str]


def statistics(corpus: Corpus) -> Statistics:
    """Count what is in a corpus."""
    seconds = np.array([clip.frames for clip in corpus.clips]) / corpus.fps
    speeds = np.zeros(len(corpus))
    for clip in corpus.clips:
        path = corpus.root_position[clip.start : clip.start + clip.frames, ::2].astype(np.float64)
        if len(path) > 1:
            speeds[clip.index] = np.linalg.norm(np.diff(path, axis=0), axis=-1).mean() * corpus.fps
    texts = [caption.text for clip in corpus.clips for caption in clip.captions]
    members = {split: corpus.select(split) for split in SPLITS}
    return Statistics(
        seconds,
        speeds,
        {split: len(clips) for split, clips in members.items()},
        {split: len({corpus.clips[clip].take for clip in clips}) for split, clips in members.items()},
        {split: float(seconds[clips].sum()) / 3600 for split, clips in members.items()},
        len(texts),
        set(texts),
        Counter(word for text in texts for word in re.findall(r"[a-z][a-z'-]*", text.lower())),
        Counter(clip.label for clip in corpus.clips),
        Counter(row["reason"] for row in corpus.rejected()),
    )


def table(corpus: Corpus) -> Table:
    """A table of two columns for `rich.print`."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    numbers = statistics(corpus)
    result = Table("", "", title=escape(str(corpus.folder)), box=box.SIMPLE, show_header=False)

    def row(name: str, value: str, last: bool = False) -> None:
        result.add_row(name, escape(value), end_section=last)

    row("motion", f"{numbers.seconds.sum() / 3600:.2f} h, {len(corpus)} clips, {len(corpus.rotations)} frames")
    row("frame rate", f"{corpus.fps:g} fps", last=True)
    for split in SPLITS:
        if numbers.clips[split]:
            clips, hours, takes = numbers.clips[split], numbers.hours[split], numbers.takes[split]
            row(
                split, f"{clips} clips of {takes} takes, {hours:.2f} h ({100 * clips / len(corpus):.1f} % of the clips)"
            )
    row("labels", str(len(numbers.labels)), last=True)
    row("captions", f"{numbers.captions}, {len(numbers.sentences)} distinct sentences")
    row("words", f"{numbers.words.total()}, {len(numbers.words)} distinct", last=True)
    for name, values, unit in (("length", numbers.seconds, "s"), ("speed of the root", numbers.speeds, "m/s")):
        low, middle, high = np.percentile(values, (5, 50, 95))
        row(name, f"median {middle:.2f} {unit}, 90 % of the clips {low:.2f} to {high:.2f} {unit}")
    row("longest, fastest", f"{numbers.seconds.max():.2f} s, {numbers.speeds.max():.2f} m/s", last=True)
    rejected = ", ".join(f"{reason} {count}" for reason, count in numbers.rejected.most_common())
    row("rejected", f"{numbers.rejected.total()} motions{': ' if rejected else ''}{rejected}", last=True)
    row("licence", corpus.licence)
    row("source", corpus.source)
    return result


def picture(corpus: Corpus, path: str | Path) -> None:
    """Write the same as a picture (.png, .svg, .pdf).

    Raises:
        ValueError: the ending is no format of a picture.
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    numbers = statistics(corpus)
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in canvas.get_supported_filetypes():
        raise ValueError(f"{path}: cannot write a picture with the ending {ending!r}; use .png")
    dark, light = "#33658a", "#86bbd8"
    axes = figure.subplots(2, 3).ravel()
    hours = numbers.seconds.sum() / 3600
    figure.suptitle(
        f"{corpus.folder.resolve().name}: {hours:.2f} h in {len(corpus)} clips, {numbers.captions} captions, "
        f"{len(numbers.sentences)} distinct sentences"
    )

    lengths = np.geomspace(min(0.5, numbers.seconds.min()), max(10.0, numbers.seconds.max()) * 1.01, 40)
    axes[0].hist(numbers.seconds, lengths, color=dark)
    axes[0].set(xscale="log", xlabel="length of a clip (s)", ylabel="clips", title="lengths")
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if lengths[0] <= tick <= lengths[-1]]
    axes[0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].minorticks_off()

    axes[1].hist(numbers.speeds, np.linspace(0, max(1.0, float(numbers.speeds.max())), 40), color=dark)
    axes[1].set(xlabel="mean speed of the root over the ground (m/s)", ylabel="clips", title="speeds")

    counts = Counter(len(text.split()) for text in numbers.sentences)
    axes[2].bar(list(counts), list(counts.values()), width=0.9, color=dark)
    axes[2].set(xlabel="words in a sentence", ylabel="distinct sentences", title="sentences")

    common = numbers.words.most_common(60)
    shown = [item for item in common if not _SMALL_WORDS.fullmatch(item[0])][:20][::-1]
    axes[3].barh([word for word, _ in shown], [count for _, count in shown], color=dark)
    axes[3].set(xlabel="occurrences", title=f"most frequent of {len(numbers.words)} words")
    axes[3].tick_params(axis="y", labelsize=8)

    used = [split for split in SPLITS if numbers.clips[split]][::-1]
    bars = axes[4].barh(used, [numbers.hours[split] for split in used], color=light)
    axes[4].bar_label(
        bars, [f"{numbers.clips[split]} clips, {numbers.takes[split]} takes" for split in used], padding=4
    )
    axes[4].margins(x=0.7)
    axes[4].set(xlabel="hours", title="splits")

    if numbers.rejected:
        reasons = numbers.rejected.most_common()[::-1]
        bars = axes[5].barh([reason for reason, _ in reasons], [count for _, count in reasons], color="#c8553d")
        axes[5].bar_label(bars, padding=4)
        axes[5].margins(x=0.15)
        axes[5].set(xlabel="motions", title=f"{numbers.rejected.total()} rejected")
    else:
        axes[5].set_axis_off()
        axes[5].text(0.5, 0.5, "no motion was rejected", ha="center", transform=axes[5].transAxes)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
