"""kinema bench: studies of how models behave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Suppress, arg, subcommand


@dataclass(frozen=True)
class Scaling:
    """How the motion language model grows with its size and its data: trains a grid of models and judges them.

    Shares of the training takes, the smaller part of the larger, by sizes, by seeds; all judged on the same clips of
    the test split and of the held-out combinations. Writes report.md, report.json and scaling.png. The same command on
    the same folder goes on where it was interrupted, with more shares, sizes or seeds too. It takes hours.

    Example: kinema bench scaling --corpus corpora/cmu corpora/bandai --steps 3000 -o runs/scaling
    """

    corpus: Annotated[tuple[Path, ...], arg(metavar="FOLDER [FOLDER ...]")]
    """Corpora that `kinema corpus build` made, with held-out combinations."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
    """Folder of the study."""
    codec: Annotated[str, arg(metavar="NAME")] = "motionbook"
    """The codec whose tokens are learned: a shipped name, or the export of `kinema train codec`."""
    shares: Annotated[tuple[str, ...], arg(metavar="SHARE [SHARE ...]")] = ("1/16", "1/4", "1")
    """Of the training takes."""
    sizes: Annotated[tuple[float, ...], arg(metavar="FLOAT [FLOAT ...]")] = (1, 4, 16)
    """About how many million parameters."""
    seeds: int = 2
    """Models of each size and share."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps to train each; either this or the minutes."""
    minutes: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Time to train each; large models take fewer steps then."""
    batch: int = 24
    """Examples a step."""

    def run(self) -> None:
        if (self.minutes is None) == (self.steps is None):  # now, not after the corpora are read
            raise ValueError("give either --minutes or --steps of training of each model")
        if not self.corpus:
            raise ValueError("name at least one --corpus to train on")
        if self.batch < 1:
            raise ValueError(f"--batch must be at least 1, got {self.batch}")
        from kinema.evaluation import scaling

        report = scaling.run(
            self.corpus,
            self.out,
            codec=self.codec,
            shares=self.shares,
            sizes=self.sizes,
            seeds=self.seeds,
            steps=self.steps,
            minutes=self.minutes,
            batch=self.batch,
        )
        print(*report["findings"], sep="\n")
        print(self.out / "report.md")


# a union of one is none, and the name of the study would not be asked for
Command = Annotated[Scaling, subcommand("scaling")] | Annotated[None, Suppress]
