"""kinema corpus: build a corpus, describe one, describe motions in sentences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg, subcommand


@dataclass(frozen=True)
class Build:
    """Build a corpus from folders of motion files and the sentences about them.

    Motions are put onto BODY at 30 fps; broken ones are left out with a reason; docs/corpora.md has the rules.

    Example: kinema corpus build mocap/cmu --licence "free to use" --source mocap.cs.cmu.edu -o corpora/cmu
    """

    folders: Positional[Annotated[tuple[Path, ...], arg(metavar="FOLDER [FOLDER ...]")]]
    """Folders that are searched for motion files."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
    """The corpus to write; one that is there is replaced."""
    licence: str = "not stated"
    """The terms of the motions; they are written beside each clip, and models trained on them carry them."""
    source: str = "not stated"
    """Where the motions came from."""
    captions: Annotated[Path | None, arg(metavar="FILE")] = None
    """captions.jsonl for all folders; if not given, the one in each folder."""
    hold_out: Annotated[tuple[str, ...], arg(metavar="PATTERN [PATTERN ...]")] = ()
    """Patterns of clip names, such as '*_walk_happy_*', that are kept out of training."""
    workers: int = 2
    """Processes that read motions."""

    def run(self) -> None:
        from kinema.corpora.build import build

        report = build(
            self.folders,
            self.out,
            self.captions,
            licence=self.licence,
            source=self.source,
            hold_out=self.hold_out,
            workers=self.workers,
        )
        splits = ", ".join(f"{name} {count}" for name, count in report.splits.items() if count)
        print(f"{report.folder}: {report.clips} clips, {report.frames / 30 / 3600:.2f} h, {report.captions} captions")
        print(f"splits: {splits}")
        if report.rejected:
            reasons = Counter(row.reason for row in report.rejected).most_common()
            listed = ", ".join(f"{reason} {count}" for reason, count in reasons)
            print(f"rejected: {len(report.rejected)} motions ({listed}); see {report.folder / 'rejected.jsonl'}")
        if report.unknown:
            print(f"captions name {len(report.unknown)} files that are not there, the first is {report.unknown[0]}")
        if report.outside:
            print(f"{report.outside} captions lie behind the end of their motion and were left out")
        print(f"took {report.seconds:.1f} s")


@dataclass(frozen=True)
class Stats:
    """Hours, words, lengths, speeds and rejected motions of a corpus, as a table and, if asked for, a picture."""

    corpus: Positional[Annotated[Path, arg(metavar="CORPUS")]]
    """Folder of the corpus."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """Picture to write (.png)."""

    def run(self) -> None:
        from rich.console import Console

        from kinema.corpora import Corpus
        from kinema.corpora.statistics import picture, table

        corpus = Corpus.open(self.corpus)
        Console().print(table(corpus))
        if self.out is not None:
            picture(corpus, self.out)
            print(self.out)


@dataclass(frozen=True)
class Caption:
    """Sentences about motions by rules, from how their joints move: whole body, upper body, lower body.

    For motions that nobody has described. Writes one line a motion in the form that `kinema corpus build` reads, with
    the sentences as "text", "upper" and "lower".

    Example: kinema corpus caption mocap/mine -o mocap/mine/captions.jsonl
    """

    sources: Positional[Annotated[tuple[Path, ...], arg(metavar="FOLDER|FILE [FOLDER|FILE ...]")]]
    """Motion files, folders that are searched for them, or corpora."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
    """The captions to write (.jsonl); one that is there is replaced if it holds no sentences but such."""

    def run(self) -> None:
        from kinema.cli import complain
        from kinema.corpora.describe import caption

        report = caption(self.sources, self.out)
        for path, reason in report.unreadable:
            complain(f"left out {path}: {reason}")
        print(f"{self.out}: {report.described} motions described")


Command = (
    Annotated[Build, subcommand("build")]
    | Annotated[Stats, subcommand("stats")]
    | Annotated[Caption, subcommand("caption")]
)
