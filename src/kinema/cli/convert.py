"""kinema convert: motion files into another format, one or a whole folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinema.cli.files import Options, Reading, check_target, is_long, summary, waiting, write
from kinema.formats import READERS, WRITERS, ending
from kinema.motion.motion import Motion


@dataclass(frozen=True)
class Convert:
    """Turn a motion file into one of another format, or a folder of them with --to.

    Read are .bvh .amc .glb .gltf .vrm .fbx .npz .npy .csv; written .bvh .glb .fbx .npz .smplh.npz .smplx.npz .qpos.npz
    .csv .npy .joints.npy .png .gif .mp4 .html. docs/formats.md has the conventions of each.

    Example: kinema convert walk.bvh walk.glb

    Example: kinema convert mocap/ out/ --to .glb --fps 30
    """

    source: Positional[Annotated[Path, arg(metavar="IN")]]
    """File to read, or a folder: all motion files below it."""
    target: Positional[Annotated[Path, arg(metavar="OUT")]]
    """File to write, whose ending decides the format; for a folder IN, the folder to write to."""
    to: Annotated[str | None, arg(metavar="ENDING")] = None
    """Format of all files of a folder, such as .glb; they keep their names and sub-folders."""
    fps: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Resample to this many frames per second."""
    body: bool = False
    """Put the motion onto BODY, the skeleton of 22 joints that models share."""
    character: Annotated[Path | None, arg(metavar="FILE")] = None
    """A skinned character (.glb, .vrm, .fbx) that wears the motion in a .glb or .fbx."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        if self.source.is_dir():
            self._convert_folder()
            return
        if self.to is not None:
            raise ValueError(f"{self.source}: --to is for folders; the ending of OUT says the format of a file")
        self.reading.check([self.source], self.target)
        check_target(self.target, self.character, self.reading.robot)
        with waiting(f"converting {self.source.name}", is_long(self.source)):
            motion = self._motion(self.source)
            write(motion, self.target, self.character, self.reading.robot)
        print(f"{self.target}: {summary(motion)}")

    def _motion(self, source: Path) -> Motion:
        motion = self.reading.read(source)
        if self.body:
            from kinema.motion.retarget import retarget

            motion = retarget(motion)
        if self.fps is not None:
            from kinema.motion.editing import resample

            motion = resample(motion, self.fps)
        return motion

    def _convert_folder(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from kinema.cli import BAD_INPUT_ERRORS, complain, sentence_of

        jobs = self._jobs()
        screen, refused = Console(stderr=True), []
        columns = (TextColumn("converting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
            for source, target in progress.track(jobs.items()):
                try:
                    motion = self._motion(source)
                except BAD_INPUT_ERRORS as error:
                    sentence = sentence_of(error)
                    refused.append(sentence if str(source) in sentence else f"{source}: {sentence}")
                    continue
                try:
                    write(motion, target, self.character, self.reading.robot)
                except ValueError as error:  # any other error of writing would be met by all the files behind it, too
                    refused.append(f"{source}: {error}")
        for sentence in refused:
            complain(sentence)
        outcome = f"{len(jobs) - len(refused)} converted"
        if refused:
            raise ValueError(f"{outcome}, {len(refused)} refused")
        print(f"{self.target}: {outcome}")

    def _jobs(self) -> dict[Path, Path]:
        """The files to read, in order, each with the file to write."""
        if self.to is None:
            raise ValueError(f"{self.source} is a folder; say the format of its files with --to, such as --to .glb")
        to = self.to if self.to.startswith(".") else f".{self.to}"
        check_target(self.target / f"*{to}", self.character, self.reading.robot)
        if self.target.exists() and not self.target.is_dir():
            raise ValueError(f"{self.target} is a file; the files of a folder need a folder to go to")
        sources = self._sources()
        if not sources:
            raise ValueError(f"{self.source}: no motion files in this folder; known are {' '.join(READERS)}")
        self.reading.check(sources, self.target / f"*{to}")
        inputs = {source.resolve() for source in sources}
        taken: dict[Path, Path] = {}
        for source in sources:
            kind = ending(source, {**READERS, **WRITERS})
            target = self.target / source.relative_to(self.source).with_name(source.name[: -len(kind)] + to)
            if other := taken.get(target):
                raise ValueError(f"{other} and {source} would both become {target}; rename one, or convert them apart")
            if target.resolve() in inputs:
                raise ValueError(f"{target} is among the files to read; name another folder for OUT")
            taken[target] = source
        return {source: target for target, source in taken.items()}

    def _sources(self) -> list[Path]:
        """The motion files below IN, without hidden ones and without those below OUT."""
        out, found = self.target.resolve(), []
        for folder, folders, names in os.walk(self.source, onerror=_refuse):
            here = Path(folder)
            folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != out)
            shown = (here / name for name in sorted(names) if not name.startswith("."))
            found += [path for path in shown if ending(path, READERS) in READERS and path.is_file()]
        return found


def _refuse(error: OSError) -> None:
    raise error  # a folder that cannot be listed, which `os.walk` would pass over


Command = Convert
