"""NumPy files from anywhere: names, types and sizes are checked before anything is allocated; nothing is unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 2_000_000_000


class _Refused(Exception):
    """A sentence for the user about a file that is whole but not wanted."""


def read_names(path: str | os.PathLike[str]) -> set[str]:
    """The names of the arrays in an .npz file.

    Raises:
        ValueError: the file is not an .npz file.
        OSError: the file cannot be read.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except OSError:
        raise
    except Exception as error:  # zipfile raises almost anything on damaged input
        raise ValueError(f"{path}: is not an .npz file, or damaged ({error})") from None


def read_arrays(path: str | os.PathLike[str], kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that are asked for, as far as the file has them.

    Args:
        path: the file.
        kinds: for each name the dtype kinds that are allowed: "f" floats, "iu" integers, "U" strings, "b" bools.

    Raises:
        ValueError: the file is damaged, unpacks to more than any motion, or an array is of another kind.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                wanted = {name: info for name, info in members.items() if name in kinds}
                # what unpacks to fifty times its size is no motion, not even of someone who stands still
                limit = min(MAX_BYTES, 5e7 + 50 * path.stat().st_size)
                if (size := sum(info.file_size for info in wanted.values())) > limit:
                    raise _Refused(f"{path}: unpacks to {size / 1e6:.0f} MB, which no motion needs")
                arrays = {}
                for name, info in wanted.items():
                    with archive.open(info) as member:
                        _check_header(f"{path}: array {name}", member, info.file_size, kinds[name])
                    with archive.open(info) as member:
                        arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
                return arrays
        except _Refused as error:
            raise ValueError(str(error)) from None
        except Exception as error:  # zipfile and zlib raise almost anything on damaged input
            raise ValueError(f"{path}: is damaged ({' '.join(str(error).split())[:200]})") from None


def read_array(path: str | os.PathLike[str], kinds: str) -> np.ndarray:
    """The array of an .npy file; `kinds` and errors as in `read_arrays`."""
    path = Path(path)
    with open(path, "rb") as file:
        try:
            _check_header(str(path), file, path.stat().st_size, kinds)
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        except _Refused as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise ValueError(f"{path}: is not an .npy file, or damaged ({error})") from None


def _check_header(what: str, file: Any, size: int, kinds: str) -> None:
    """Before anything is allocated: what the header claims must be there."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.kind not in kinds or math.prod(shape) * dtype.itemsize > min(size, MAX_BYTES):
        raise _Refused(f"{what} has type {dtype} and shape {shape}, which cannot be")
