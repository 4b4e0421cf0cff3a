"""The picture of the README: several sentences, one row of key frames each.

python examples/02_pictures.py [docs/images/strips.png]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys

import kinema
from kinema.formats.pictures import write_strips

PROMPTS = (  # sentence, seconds, seed
    ("a person walks forward happily, swinging the arms", 3.0, 3),
    ("a person jumps up", 2.5, 3),
    ("a tired person bows deeply", 3.0, 1),
    ("a person waves with the left hand", 3.0, 1),
    ("a person runs forward and turns left", 3.0, 3),
)


def main(path: str) -> None:
    motions = [kinema.generate(text, seconds=seconds, seed=seed) for text, seconds, seed in PROMPTS]
    write_strips(motions, path)
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["docs/images/strips.png"])
