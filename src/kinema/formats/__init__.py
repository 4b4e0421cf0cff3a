"""Files to and from `Motion`, chosen by the ending of the name. Each format is a module, imported when it is needed."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from kinema.motion.motion import Motion

READERS = {
    ".bvh": ("bvh", "read_bvh"),
    ".amc": ("asf_amc", "read_amc"),
    ".npz": ("npz", "read_npz"),
}
WRITERS = {
    ".bvh": ("bvh", "write_bvh"),
    ".glb": ("gltf", "write_glb"),
    ".npz": ("npz", "write_npz"),
    ".png": ("pictures", "write_strip"),
    ".html": ("player", "write_player"),
}


def load(path: str | os.PathLike[str], **options: Any) -> Motion:
    """Read a motion from a .bvh, .amc (with the .asf beside it) or .npz file.

    Args:
        path: the file; the ending says what it is, in small or capital letters.
        options: handed to the reader: `unit` for .bvh, `asf_path` and `fps` for .amc.

    Raises:
        ValueError: the ending is unknown or the file is damaged.
        OSError: the file is not there or cannot be read.
    """
    path = Path(path)
    read = _function(READERS, path, "read")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name a file in it")
    return read(path, **options)


def save(motion: Motion, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a motion to a .bvh, .glb, .npz, .png (key-frame strip) or .html (player) file.

    Folders on the way are made. The file appears whole or not at all.

    Args:
        motion: what to write.
        path: the file; the ending says what it becomes.
        options: handed to the writer of that format.

    Raises:
        ValueError: the ending is unknown.
        OSError: the file cannot be written.
    """
    path = Path(path)
    _function(WRITERS, path, "write")(motion, path, **options)


def _function(table: dict[str, tuple[str, str]], path: Path, verb: str) -> Any:
    ending = path.suffix.lower()
    if ending not in table:
        raise ValueError(f"{path}: cannot {verb} {ending or 'a name without ending'}; known are {' '.join(table)}")
    module, function = table[ending]
    return getattr(import_module(f"{__name__}.{module}"), function)
