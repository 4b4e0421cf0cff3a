"""Three clips from sentences, each as a character for Blender, as BVH, as a picture and as a page that plays it.

make demo        or        python examples/01_demo.py [folder]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import perf_counter

import torch

import kinema

CLIPS = {
    "wave": (["a person waves with the right hand"], [4.0]),
    "run": (["a person runs forward"], [4.0]),
    "story": (
        ["a person walks forward", "a person turns around", "a person walks and waves both hands"],
        [3.0, 2.5, 4.0],
    ),
}


def main(folder: Path) -> None:
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    print("loading the model ... ", end="", flush=True)
    began = perf_counter()
    kinema.generate("a person stands", seconds=1)  # the first one loads it
    print(f"{perf_counter() - began:.1f} s")
    for name, (prompts, seconds) in CLIPS.items():
        began = perf_counter()
        motion = kinema.generate(prompts, seconds=seconds, seed=1)
        made = perf_counter()
        files = [folder / f"{name}{ending}" for ending in (".glb", ".bvh", ".png", ".html")]
        for file in files:
            motion.save(file)
        print(f"\n{', then '.join(prompts)}")
        print(
            f"  {motion.seconds:.1f} s of motion made in {made - began:.2f} s, written in {perf_counter() - made:.2f} s"
        )
        for file in files:
            print(f"  {file}")
    print(f"\nOpen {folder / 'story.html'} in a browser, or import {folder / 'story.glb'} into Blender.")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"))
    except (ValueError, OSError) as error:
        sys.exit(f"\n{error}")
