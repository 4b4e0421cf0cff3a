"""kinema show: look at motion."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinema.cli.files import Options, Reading


@dataclass(frozen=True)
class Show:
    """Make a page that plays motion files side by side in any browser, or a picture with a strip of poses for each.

    Example: kinema show walk.bvh run.bvh -o compare.html
    """

    files: Positional[Annotated[tuple[Path, ...], arg(metavar="FILE [FILE ...]")]]
    """Motion files of any format that is read."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """.html for a page, .png for a picture; a page in out/ if not given."""
    frames: int = 8
    """Poses in a strip of the picture."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        if not self.files:
            raise ValueError("name a motion file to show")
        out = self.out or Path("out") / f"{self.files[0].stem}.html"
        if out.suffix.lower() not in (".html", ".png"):
            raise ValueError(f"{out}: show writes .html or .png; for other endings use `kinema convert`")
        self.reading.check(self.files)
        motions = [self.reading.read(file) for file in self.files]
        names = [
            str(motion.metadata.get("text") or file.name) for motion, file in zip(motions, self.files, strict=True)
        ]
        if out.suffix.lower() == ".png":
            from kinema.formats.pictures import write_strips

            write_strips(motions, out, names, self.frames)
        else:
            from kinema.formats.player import write_players

            write_players(motions, out, names)
        print(out)


Command = Show
