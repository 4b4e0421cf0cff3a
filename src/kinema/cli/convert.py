"""kinema convert: a motion file into another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinema.formats import load, save

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254}


@dataclass(frozen=True)
class Convert:
    """Turn a motion file (.bvh, .amc, .npz) into another (.glb, .bvh, .npz, .png, .html).

    Example: kinema convert walk.bvh walk.glb
    """

    source: Positional[Annotated[Path, arg(metavar="IN")]]
    """File to read."""
    target: Positional[Annotated[Path, arg(metavar="OUT")]]
    """File to write; its ending decides the format."""
    fps: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Resample to this many frames per second."""
    body: bool = False
    """Put the motion onto BODY, the skeleton of 22 joints that models share."""
    unit: Annotated[str | None, arg(metavar="UNIT")] = None
    """Length unit of a .bvh file: m, cm, mm, in, or metres as a number. Guessed if not given."""

    def run(self) -> None:
        motion = load(self.source, **self._options())
        if self.body:
            from kinema.motion.retarget import retarget

            motion = retarget(motion)
        if self.fps is not None:
            from kinema.motion.editing import resample

            motion = resample(motion, self.fps)
        save(motion, self.target)
        print(
            f"{self.target}: {motion.seconds:.2f} s, {len(motion)} frames at {motion.fps:g} fps, "
            f"{len(motion.skeleton)} joints"
        )

    def _options(self) -> dict[str, float]:
        if self.unit is None:
            return {}
        if self.source.suffix.lower() != ".bvh":
            raise ValueError(f"{self.source}: --unit is for .bvh files, which do not name theirs")
        try:
            return {"unit": UNITS.get(self.unit) or float(self.unit)}
        except ValueError:
            raise ValueError(f"--unit is one of {', '.join(UNITS)}, or metres as a number, not {self.unit!r}") from None


Command = Convert
