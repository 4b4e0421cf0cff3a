"""The table of docs/benchmarks.md: the shipped text-to-motion model beside baselines trained on the same corpora.

    python benchmarks/bench.py [--repeats 4] [--corpus corpora/cmu corpora/bandai] [--out reports]

It writes reports/bench.html and reports/bench.json, and renews the tables in docs/benchmarks.md. `make bench` is the
same.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json

import tyro
from rich.console import Console

from kinema.evaluation import benchmark, report, tables
from kinema.evaluation.entrant import Entrant
from kinema.formats.files import atomic_write

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


@dataclass
class Options:
    """Args:
    repeats: draws of captions, seeds and pools.
    corpus: what to judge on.
    out: folder of the page and the numbers.
    cost: measure time and memory too.
    """

    repeats: int = 4
    corpus: tuple[Path, ...] = (Path("corpora/cmu"), Path("corpora/bandai"))
    out: Path = Path("reports")
    cost: bool = True


def entrants() -> list[Entrant]:
    """The shipped model first, as costs are compared with it."""
    weights = HERE / "baselines" / "weights"
    return [
        Entrant("fracmogen", "kinema.models.registry:load", "fracmogen"),
        Entrant("vq + autoregressive", "baselines.vq:load", str(weights / "vq")),
        Entrant("one-shot regressor", "baselines.transformer:load", str(weights / "transformer")),
        Entrant("diffusion, 50 steps", "baselines.diffusion:load", f"{weights / 'diffusion'}@50"),
        Entrant("diffusion, 10 steps", "baselines.diffusion:load", f"{weights / 'diffusion'}@10"),
    ]


def write_page(page: Path, tables: str) -> None:
    """Put the tables between the marks of a page of the documentation.

    Raises:
        ValueError: the page has no such marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no {BEGIN} followed by {END} to put the tables between")
    with atomic_write(page) as path:
        path.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if missing := [folder for folder in options.corpus if not (folder / "corpus.json").is_file()]:
        raise ValueError(f"there is no corpus in {missing[0]}; docs/corpora.md says how to build it")
    options.out.mkdir(exist_ok=True)
    found, motions = benchmark.run(
        entrants(),
        options.corpus,
        repeats=options.repeats,
        processes=benchmark.cores(),
        costs=options.cost,
        command=shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]]),
    )
    with atomic_write(options.out / "bench.json") as path:
        path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
    report.write(found, motions, options.out / "bench.html")
    if (options.repeats, options.corpus, options.cost) == (Options.repeats, Options.corpus, Options.cost):
        write_page(PAGE, tables.markdown(found))
    else:
        print(f"{PAGE.name} stays as it is: it holds the tables of the defaults")
    Console().print(tables.console(found))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        sys.exit(2)
