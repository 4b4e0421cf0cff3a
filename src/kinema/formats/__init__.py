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
    ".glb": ("gltf_reader", "read_glb"),
    ".gltf": ("gltf_reader", "read_glb"),
    ".vrm": ("gltf_reader", "read_glb"),
    ".fbx": ("fbx", "read_fbx"),
    ".npz": ("npz", "read_any_npz"),
    ".npy": ("humanml", "read_humanml"),
    ".csv": ("mujoco", "read_qpos"),
}
WRITERS = {
    ".bvh": ("bvh", "write_bvh"),
    ".glb": ("gltf", "write_glb"),
    ".fbx": ("fbx", "write_fbx"),
    ".npz": ("npz", "write_npz"),
    ".smplh.npz": ("smpl", "write_smplh"),
    ".smplx.npz": ("smpl", "write_smplx"),
    ".qpos.npz": ("mujoco", "write_qpos"),
    ".csv": ("mujoco", "write_qpos"),
    ".npy": ("humanml", "write_humanml"),
    ".joints.npy": ("humanml", "write_joints"),
    ".png": ("pictures", "write_strip"),
    ".gif": ("video", "write_gif"),
    ".mp4": ("video", "write_mp4"),
    ".html": ("player", "write_player"),
}


def load(path: str | os.PathLike[str], **options: Any) -> Motion:
    """Read a motion from a file; docs/formats.md has the conventions of each format.

    Args:
        path: the file; the ending says what it is, in small or capital letters.
        options: what a file does not say itself, for the reader of its format: `unit` (metres) and `up` ("y", "z")
            for .bvh; `asf_path` and `fps` for .amc; `animation` (name or number) for .glb, .gltf and .vrm; `fps` and
            `up` for an .npz of AMASS; `fps` for .npy; `robot` (an MJCF file or a `Robot`), `fps` and `quaternion`
            ("wxyz", "xyzw") for .csv and .npz with qpos.

    Raises:
        ValueError: the ending is unknown, the file is damaged, or an option has a value that cannot be.
        TypeError: the format has no such option.
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
    """Write a motion to a file; docs/formats.md has the conventions of each format.

    Folders on the way are made. The file appears whole or not at all.

    Args:
        motion: what to write.
        path: the file; the ending says what it becomes.
        options: for the writer of that format: `character` (a file) for .glb and .fbx, and how the motion is put onto
            it, as for `retarget`: `joints`, `onto_joints`, `keep_contacts`; `robot` for .csv and .qpos.npz, and
            `quaternion` for .csv; `title` for .png, .gif, .mp4 and .html; `frames` (how many poses) for .png.

    Raises:
        ValueError: the ending is unknown, the motion is nothing that the format can hold, or an option has a value that
            cannot be.
        TypeError: the format has no such option.
        OSError: the file cannot be written.
    """
    path = Path(path)
    _function(WRITERS, path, "write")(motion, path, **options)


def ending(path: str | os.PathLike[str], table: dict[str, tuple[str, str]]) -> str:
    """The longest ending of a name that the table has, in small letters; else the last one, "" without any."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    double = "".join(suffixes[-2:])
    return double if double in table else (suffixes or [""])[-1]


def _function(table: dict[str, tuple[str, str]], path: Path, verb: str) -> Any:
    found = ending(path, table)
    if found not in table:
        raise ValueError(f"{path}: cannot {verb} {found or 'a name without ending'}; known are {' '.join(table)}")
    module, function = table[found]
    return getattr(import_module(f"{__name__}.{module}"), function)
