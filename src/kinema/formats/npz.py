"""Kinema's own file: a `Motion` in full precision, as NumPy arrays in a zip, and its metadata as JSON.

| array | shape | |
| --- | --- | --- |
| `format` | | the string "kinema-motion-1" |
| `names`, `parents` | (J,) | joint names, index of each joint's parent, -1 for the root |
| `offsets`, `tips` | (J, 3) | metres |
| `fps` | | frames per second |
| `root_position` | (T, 3) | metres |
| `rotations` | (T, J, 4) | local unit quaternions wxyz |
| `contacts` | (T, J) | bool, only where the motion has them |
| `metadata` | | a JSON object in a string |
"""

from __future__ import annotations

import json
import os
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from kinema.formats.arrays import read_arrays, read_names
from kinema.formats.files import atomic_write
from kinema.motion.motion import Motion
from kinema.motion.skeleton import Skeleton

FORMAT = "kinema-motion-1"

_KINDS = {  # the dtype kinds that each array may have
    **{"format": "U", "names": "U", "parents": "iu", "offsets": "f", "tips": "f", "fps": "f"},
    **{"root_position": "f", "rotations": "f", "contacts": "b", "metadata": "U"},
}


def write_npz(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write a motion so that `read_npz` gives back the same numbers (quaternions up to the last bit).

    Raises:
        ValueError: a metadata value is not something that JSON can hold.
        OSError: the file cannot be written.
    """
    try:
        metadata = json.dumps(dict(motion.metadata), default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must be strings, numbers, lists and dictionaries: {error}") from None
    arrays: dict[str, Any] = {
        "format": FORMAT,
        "names": np.array(motion.skeleton.names),
        "parents": np.array(motion.skeleton.parents, dtype=np.int32),
        "offsets": motion.skeleton.offsets,
        "tips": motion.skeleton.tips,
        "fps": motion.fps,
        "root_position": motion.root_position,
        "rotations": motion.rotations,
        "metadata": metadata,
    }
    if motion.contacts is not None:
        arrays["contacts"] = motion.contacts
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is none of these")


def read_any_npz(path: str | os.PathLike[str], **options: Any) -> Motion:
    """Read an .npz file by what it holds: Kinema's own arrays, poses of SMPL-H or SMPL-X (AMASS), or MuJoCo's qpos.

    Args:
        path: the file.
        options: handed to the reader.

    Raises:
        ValueError: the file holds none of these, is damaged, or does not take such an option.
        OSError: the file cannot be read.
    """
    names = read_names(path)
    if "format" in names:
        read = read_npz
    elif "trans" in names:
        from kinema.formats.smpl import read_smpl as read
    elif "qpos" in names:
        from kinema.formats.mujoco import read_qpos as read
    else:
        found = " ".join(", ".join(sorted(names)[:8]).split())[:200] or "nothing"
        raise ValueError(
            f"{path}: is not a motion that can be read: it holds {found}; known are Kinema's own files, AMASS files "
            "with trans and poses, and MuJoCo's with qpos"
        )
    if unknown := [name for name in options if name not in signature(read).parameters]:
        # known only from the file, so it is the file's fault and not that of a program
        raise ValueError(f"{path}: {', '.join(unknown)} cannot be said of what this file holds; leave it out")
    return read(path, **options)


def read_npz(path: str | os.PathLike[str]) -> Motion:
    """Read a motion that `write_npz` wrote.

    Raises:
        ValueError: the file is something else, damaged, or claims to be larger than a motion can be.
        OSError: the file cannot be read.
    """
    path = Path(path)
    arrays = read_arrays(path, _KINDS)
    missing = [name for name in _KINDS if name not in arrays and name != "contacts"]
    if missing or str(arrays["format"]) != FORMAT:
        raise ValueError(f"{path}: is not a motion file of Kinema ({FORMAT}); it may come from another program")
    try:
        metadata = json.loads(str(arrays["metadata"]))
        if not isinstance(metadata, dict):
            raise ValueError("the metadata is not an object")
        if arrays["fps"].shape != () or arrays["names"].ndim != 1 or arrays["parents"].ndim != 1:
            raise ValueError("the arrays have wrong shapes")
        names = tuple(str(name) for name in arrays["names"])
        skeleton = Skeleton(names, tuple(arrays["parents"].tolist()), arrays["offsets"], arrays["tips"])
        fps, contacts = float(arrays["fps"]), arrays.get("contacts")
        with np.errstate(all="ignore"):  # numbers that are none in another precision; the motion refuses them
            return Motion(skeleton, fps, arrays["root_position"], arrays["rotations"], contacts, metadata)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
