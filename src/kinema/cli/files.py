"""Motion files as commands take them: the options for what a file does not say itself, and what is written."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from kinema.formats import READERS, WRITERS, ending, load, save
from kinema.motion.motion import Motion
from kinema.progress import spinner

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254}
QPOS = (".csv", ".qpos.npz")
WORN = (".glb", ".fbx")  # shows a character
GLTF = (".glb", ".gltf", ".vrm")
CHARACTERS = (*GLTF, ".fbx")
_USERS = {  # the files that an option is for
    "unit": (".bvh",),
    "up": (".bvh", ".smplh.npz"),
    "input-fps": (".amc", ".npy", *QPOS, ".smplh.npz"),
    "animation": GLTF,
    "robot": QPOS,
    "quaternion": QPOS,
}


In = Positional[Annotated[Path, arg(metavar="IN", help="Motion file to read.")]]
Out = Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="Motion file to write; its ending decides the format.")]


@dataclass(frozen=True)
class Reading:
    """The options of commands that read motion files."""

    unit: Annotated[str | None, arg(metavar="UNIT")] = None
    """Length unit of a .bvh file: m, cm, mm, in, or metres as a number. Guessed if not given."""
    up: Annotated[str | None, arg(metavar="AXIS")] = None
    """Vertical axis of a .bvh or AMASS file: y or z. Guessed if not given."""
    input_fps: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Frames per second of IN, where the file does not say them (.amc, .npy, .csv) or is wrong (.npz of AMASS)."""
    animation: Annotated[str | None, arg(metavar="NAME")] = None
    """Which animation of a .glb file that has several."""
    robot: Annotated[Path | None, arg(metavar="FILE.xml")] = None
    """MuJoCo model of the robot whose qpos is read or written (.csv, .qpos.npz)."""
    quaternion: Annotated[str | None, arg(metavar="ORDER")] = None
    """Order of the root's quaternion in a qpos file that is read: wxyz, as MuJoCo has it, or xyzw."""

    def read(self, path: Path) -> Motion:
        """The motion of a file, read with those of the options that are for files of its kind."""
        kind = kind_of(path)
        names = {"input-fps": "fps"}
        options = {names.get(name, name): value for name, value in self._given().items() if kind in _USERS[name]}
        if kind in QPOS and self.robot is None:
            raise ValueError(f"{path}: holds the numbers of a robot's joints; name its MuJoCo model with --robot")
        return load(path, **options)

    def check(self, sources: Collection[Path], target: Path | None = None) -> None:
        """Refuse options that none of the files has a use for.

        Args:
            sources: files that are read.
            target: the file that is written, which may need the robot.

        Raises:
            ValueError: there is such an option, or a unit that is none.
        """
        for name in self._given():
            users = _USERS[name]
            if name == "robot" and target is not None and ending(target, WRITERS) in users:
                continue
            if not any(kind_of(source) in users for source in sources):
                raise ValueError(f"{next(iter(sources))}: --{name} is for {' '.join(users)} files")

    def _given(self) -> dict[str, Any]:
        """The options that are given, with units in metres."""
        unit = None
        if self.unit is not None:
            try:
                unit = UNITS.get(self.unit) or float(self.unit)
            except ValueError:
                raise ValueError(
                    f"--unit is one of {', '.join(UNITS)}, or metres as a number, not {self.unit!r}"
                ) from None
        options = {"unit": unit, "up": self.up, "input-fps": self.input_fps, "animation": self.animation}
        options |= {"robot": self.robot, "quaternion": self.quaternion}
        return {name: value for name, value in options.items() if value is not None}


Options = Annotated[Reading, arg(name="")]


def kind_of(path: Path) -> str:
    """The ending of a file that is read, in small letters; for an .npz, that which goes with what it holds."""
    kind = ending(path, READERS)
    if kind != ".npz" or not path.is_file():
        return kind
    from kinema.formats.arrays import read_names

    try:
        names = read_names(path)
    except (ValueError, OSError):  # which its reader will say better
        return kind
    return kind if "format" in names else ".smplh.npz" if "trans" in names else ".qpos.npz" if "qpos" in names else kind


def check_target(path: Path, character: Path | None = None, robot: Path | None = None) -> None:
    """Before any work is done: can such a file be written?

    Raises:
        ValueError: its ending is none of those that are written, or nothing that a character can be in, or the program
            that writes it is missing.
        OSError: it is a folder, or the character is not there.
    """
    if (kind := ending(path, WRITERS)) not in WRITERS:
        raise ValueError(f"{path}: cannot write {kind or 'a name without ending'}; known are {' '.join(WRITERS)}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if kind in QPOS and robot is None:
        raise ValueError(f"{path}: is for the joints of a robot; write it with `kinema retarget IN ROBOT.xml {path}`")
    if kind == ".fbx":
        from kinema.formats import blender

        blender.find()
    if kind == ".mp4":
        from kinema.formats.video import find_ffmpeg

        find_ffmpeg()
    if character is not None:
        if kind not in WORN:
            raise ValueError(f"{path}: --character is for {' '.join(WORN)} files")
        if not character.is_file():
            raise FileNotFoundError(f"{character}: there is no such file")
    if kind == ".glb" and path.is_file() and not (character is not None and path.samefile(character)):
        from kinema.formats.character import is_written_by_kinema

        # nobody's character is lost to a command whose arguments stand in the wrong order
        if not is_written_by_kinema(path):
            raise FileExistsError(
                f"{path}: is there already, and not a file of Kinema's; name another, or move it away"
            )


def write(
    motion: Motion, path: Path, character: Path | None = None, robot: Path | None = None, **retargeting: Any
) -> None:
    """Write a motion, worn by a character (.glb, .fbx) or as the qpos of a robot (.csv, .qpos.npz).

    `retargeting` says how it is put onto the character.
    """
    options: dict[str, Any] = {"character": character, **retargeting} if character is not None else {}
    if robot is not None and ending(path, WRITERS) in QPOS:
        options["robot"] = robot
    save(motion, path, **options)


def one_thread() -> None:
    """Let torch use one thread, unless OMP_NUM_THREADS says else: the fastest for a single motion, and other programs
    cannot slow it down."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def on_body(motion: Motion) -> Motion:
    """A motion as BODY makes it."""
    from kinema.motion import BODY

    if motion.skeleton == BODY:
        return motion
    from kinema.motion.retarget import retarget

    return retarget(motion)


def waiting(doing: str, worth: bool) -> AbstractContextManager[None]:
    """Show on a terminal that something is going on, and for how long, where that is `worth` it: above a second."""
    return spinner(doing) if worth else nullcontext()


def is_long(what: Path | Motion) -> bool:
    """Whether reading a file or working on a motion may take longer than a second."""
    if isinstance(what, Motion):
        return len(what) * len(what.skeleton) > 50_000
    return what.is_file() and what.stat().st_size > 5_000_000


def summary(motion: Motion) -> str:
    """Length, frames and joints in a line."""
    joints = len(motion.skeleton)
    return (
        f"{motion.seconds:.2f} s, {len(motion)} frames at {motion.fps:g} fps, {joints} joint{'s' if joints > 1 else ''}"
    )
