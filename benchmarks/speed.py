"""What text to motion costs: time, cores, memory and disk, by length, by batch and by number of threads.

    python benchmarks/speed.py [--models fracmogen] [--seconds 9.8] [--calls 100] [--budget 20]
    python benchmarks/speed.py --chains [--models fracmogen]

`--chains` compares FracMoGen's chains of scales and numbers of steps, on one thread, instead of models. How things are
measured, and what disturbs it: `kinema.evaluation.cost`.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from kinema.evaluation import cost, tables
from kinema.evaluation.entrant import Entrant
from kinema.models import registry
from kinema.models.registry import Generator

CHAINS = ("3-2-1-0", "3-0", "3-1-0", "3-2-0", "4-3-2-1-0", "5-4-3-2-1-0")
STEPS = (("3-1-0", 4), ("3-1-0", 16))


@dataclass
class Options:
    """Args:
    models: names, folders or hub ids; the first is what the others are compared with.
    chains: compare the chains of the first model.
    seconds: length of the motion.
    calls: at most, per row.
    budget: seconds of computing per row.
    """

    models: tuple[str, ...] = ("fracmogen",)
    chains: bool = False
    seconds: float = cost.SECONDS
    calls: int = 100
    budget: float = 20.0


def load_chain(argument: str) -> Generator:
    """A FracMoGen from "CHAIN STEPS MODEL", such as "3-1-0 8 fracmogen"."""
    chain, steps, model = argument.split(" ", 2)
    return registry.load(model, chain=tuple(int(level) for level in chain.split("-")), steps=int(steps))


def main(options: Options) -> None:
    rules = {"seconds": options.seconds, "calls": options.calls, "budget": options.budget}
    if options.chains:
        rows = [*((chain, 8) for chain in CHAINS), *STEPS]
        entrants = [
            Entrant(f"{chain}, {steps} steps", "speed:load_chain", f"{chain} {steps} {options.models[0]}")
            for chain, steps in rows
        ]
        result = cost.measure(entrants, settings=cost.SETTINGS[:1], lengths=(), batches=(), **rules)
    else:
        result = cost.measure([Entrant(name, "kinema.models.registry:load", name) for name in options.models], **rules)
    print(tables.cost_markdown(result), end="")


if __name__ == "__main__":
    main(tyro.cli(Options))
