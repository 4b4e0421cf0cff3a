"""FBX in and out, by way of Blender: GLB is what Kinema reads and writes itself, and Blender turns one into the other.

FBX is a closed format that other programs read each in their own way. What is written has centimetres as the unit,
Y up, the character facing +Z, one take named "motion" with a key for every joint on every frame, no leaf bones, and
the identity on every node above the skeleton.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinema.formats import blender
from kinema.formats.files import atomic_write
from kinema.motion import Motion

MAX_BYTES = 1_000_000_000
_MAGIC = b"Kaydara FBX Binary  \x00\x1a\x00"
_OLDEST = 7100


def read_fbx(path: str | os.PathLike[str]) -> Motion:
    """Read the skeleton and the first take of a binary FBX (7.1 or newer), as `read_glb` reads a GLB.

    The rate is that of the keys where they follow each other evenly and faster than the file's own rate, else the
    file's own. The first key is frame 0. Positions are converted from the file's unit to metres.

    Raises:
        ValueError: there is no Blender, or the file is none that it can read.
        OSError: the file cannot be read.
    """
    from kinema.formats.gltf_reader import read_glb

    path = Path(path)
    _check(path)
    with tempfile.TemporaryDirectory(prefix="kinema-fbx-") as folder:
        between = Path(folder) / "fbx.glb"
        found = blender.convert(path, between, path)
        try:
            motion = read_glb(between)
        except ValueError as error:
            raise ValueError(str(error).replace(str(between), str(path))) from None
    return motion.replace(fps=found["fps"], metadata={**motion.metadata, "source": path.name})


def write_fbx(
    motion: Motion,
    path: str | os.PathLike[str],
    character: str | os.PathLike[str] | None = None,
    **retargeting: Any,
) -> None:
    """Write a skinned, animated character as binary FBX 7.4; see the head of this module for its conventions.

    Names of joints longer than 63 bytes are cut, and metadata stay behind: Blender has no place for them.

    Args:
        motion: what it does.
        path: of the file.
        character: a .glb, .vrm or .fbx whose skeleton, meshes and materials are taken instead of the mannequin.
        retargeting: how it is put there, handed to `retarget`: `joints`, `onto_joints`, `keep_contacts`.

    Raises:
        ValueError: there is no Blender, or it cannot do this.
        OSError: the file cannot be written.
    """
    from kinema.formats.gltf import write_glb

    path = Path(path)
    blender.find()
    with tempfile.TemporaryDirectory(prefix="kinema-fbx-") as folder:
        between = Path(folder) / "motion.glb"
        write_glb(motion, between, character, **retargeting)
        with atomic_write(path) as temporary:
            blender.convert(between, temporary, path, fps=motion.fps)


@contextmanager
def character_as_glb(character: str | os.PathLike[str]) -> Iterator[Path]:
    """A character of any format as a glTF file, which an .fbx becomes for as long as the context lasts.

    Raises:
        ValueError: there is no Blender, or the file is none that it can read; or what the body of the context raises,
            with the name of the .fbx.
        OSError: the file cannot be read.
    """
    character = Path(character)
    if character.suffix.lower() != ".fbx":
        yield character
        return
    _check(character)
    with tempfile.TemporaryDirectory(prefix="kinema-fbx-") as folder:
        converted = Path(folder) / "character.glb"
        blender.convert(character, converted, character, materials=True)
        try:
            yield converted
        except ValueError as error:
            raise ValueError(str(error).replace(str(converted), str(character))) from None


def _check(path: Path) -> None:
    """Refuse what Blender cannot read, before it is started."""
    with path.open("rb") as file:
        head = file.read(27)
        size = file.seek(0, os.SEEK_END)
    if not head.startswith(_MAGIC) or len(head) < 27:
        if head.lstrip().startswith((b";", b"FBX")):
            raise ValueError(f"{path}: is FBX as text, which Blender cannot read; export it again as binary FBX")
        raise ValueError(f"{path}: is not an FBX file, or damaged")
    if (version := int.from_bytes(head[23:27], "little")) < _OLDEST:
        raise ValueError(f"{path}: is FBX of version {version / 1000:.1f}; export it again as 7.1 or newer")
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size / 1e9:.1f} GB are too much for FBX, at most {MAX_BYTES / 1e9:.0f} are read")
