"""How long text to motion takes: AITS (batch 1, model loaded, text encoding and decoding included), by chain.

    python benchmarks/speed.py [--model fracmogen] [--seconds 10] [--repeats 20]

Wall clock of one thread; the median is reported, and the median of CPU time beside it, which other processes on the
machine disturb less. Every call has a sentence that the text encoder has not seen.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time

import torch
import tyro

from kinema.conditions.request import Request
from kinema.models import registry
from kinema.models.fracmogen.pipeline import Sampling

CHAINS = ((3, 0), (3, 1, 0), (3, 2, 0), (3, 2, 1, 0), (4, 3, 2, 1, 0), (5, 4, 3, 2, 1, 0))


@dataclass
class Options:
    """Args:
    model: name, folder or hub id.
    seconds: length of the motion.
    repeats: calls per row.
    """

    model: str = "fracmogen"
    seconds: float = 10.0
    repeats: int = 20


def main(options: Options) -> None:
    torch.set_num_threads(1)
    print(f"| chain | steps | AITS, s (median of {options.repeats}) | CPU, s | motion s / s |\n|---|---|---|---|---|")
    for chain, steps in [(chain, 8) for chain in CHAINS] + [((3, 1, 0), 4), ((3, 1, 0), 16)]:
        generator = registry.load(options.model, sampling=Sampling(chain=chain, steps=steps))
        generator.generate(Request("a person stands", options.seconds))
        wall, cpu = [], []
        for repeat in range(options.repeats):
            request = Request(f"a person walks forward, chain {chain}, {steps} steps, time {repeat}", options.seconds)
            start, busy = perf_counter(), process_time()
            generator.generate(request)
            wall.append(perf_counter() - start)
            cpu.append(process_time() - busy)
        name = "-".join(map(str, chain))
        rate = options.seconds / median(wall)
        print(f"| {name} | {steps} | {median(wall):.3f} | {median(cpu):.3f} | {rate:.0f} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
