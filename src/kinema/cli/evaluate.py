"""kinema evaluate: a model beside real motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Evaluate:
    """Measure a model on the motions of corpora that it has not seen, beside real motion and nearest-text retrieval.

    Example: kinema evaluate fracmogen
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A shipped name, a folder, or a Hugging Face repository id."""
    corpus: Annotated[tuple[Path, ...], arg(metavar="FOLDER [FOLDER ...]")] = ()
    """Corpora that `kinema corpus build` made; if not given, all in corpora/."""
    split: Literal["test", "compositional", "val"] = "test"
    """Which part of the corpora: compositional is the combinations held out of training."""
    repeats: int = 5
    """How often everything is generated, with other seeds."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """Also write the numbers as JSON."""

    def run(self) -> None:
        corpora = self.corpus or tuple(sorted(path.parent for path in Path("corpora").glob("*/corpus.json")))
        if not corpora:
            raise ValueError("there is no corpus in corpora/; name one with --corpus, or make one: kinema corpus build")
        if self.out is not None and self.out.is_dir():  # now, not after the work is done
            raise ValueError(f"{self.out} is a folder; name a file in it")
        from rich.console import Console

        from kinema.evaluation import benchmark

        report = benchmark.run(self.model, corpora, split=self.split, repeats=self.repeats, out=self.out)
        Console().print(benchmark.table(report))


Command = Evaluate
