"""Train a baseline; its weights lie in OUT/export. The same command on the same folder goes on where it stopped.

    python benchmarks/baselines/train.py diffusion --corpus corpora/cmu corpora/bandai --steps 3800 -o runs/diffusion

The commands that made the weights which lie here are in weights/README.md. In Python:
`baselines.diffusion.load("runs/diffusion/export@50")`, with benchmarks/ on the path.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the package `baselines`, not the files in it

from kinema.training import Trainer  # noqa: E402


@dataclass
class Options:
    """Args:
    model: which baseline.
    corpus: folders of corpora.
    out: folder of the run, runs/ and the model's name if not given.
    steps: of training; either this or the minutes.
    minutes: of training.
    batch: windows a step.
    optimizer: of the trainer.
    learning_rate: highest learning rate.
    seed: of the weights, the batches and the noise.
    codec: of vq: the folder that its codec was exported to, to train the transformer on its tokens.
    """

    model: Positional[Literal["transformer", "diffusion", "vq"]]
    corpus: tuple[Path, ...]
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    steps: int | None = None
    minutes: float | None = None
    batch: int = 64
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    seed: int = 0
    codec: Path | None = None


def task(options: Options) -> Any:
    """The trainer's view of the model that was asked for: `make_task(corpora, batch=...)` of its module."""
    more = {"codec": options.codec} if options.codec else {}
    return import_module(f"baselines.{options.model}").make_task(options.corpus, batch=options.batch, **more)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    trainer = Trainer(
        task(options),
        options.out or Path("runs") / options.model,
        steps=options.steps,
        minutes=options.minutes,
        seed=options.seed,
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
    )
    report = trainer.run()
    best = report["best"]
    print(f"{trainer.out / 'export'}: {report['steps']} steps, {report['minutes']:.1f} min, best at {best['step']}")
    print(", ".join(f"{name} {value:.4g}" for name, value in best["validation"].items()))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        sys.exit(2)
