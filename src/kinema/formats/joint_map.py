"""Which joint of a file is which, as JSON that people edit: {"left_hip": "Bone.012", "left_foot": ""}."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from kinema.formats.files import atomic_write
from kinema.motion.skeleton import BODY_WITH_HANDS

MAX_BYTES = 1_000_000
_MAX_NAME = 1000


def read_joint_map(path: str | os.PathLike[str]) -> dict[str, str]:
    """{BODY name: name of a joint, or "" for none}: the `overrides` of `match_joints`. null in the file is "" too.

    Raises:
        ValueError: the file is no such JSON, or names joints that are not those of BODY_WITH_HANDS.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_BYTES / 1e6:.0f} MB, so it holds no names of joints")
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once)
    except _Twice as error:
        raise ValueError(f"{path}: has {error} twice") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f'{path}: must hold names of joints as {{"left_hip": "LeftUpLeg", ...}}')
    for ours, theirs in content.items():
        if ours not in BODY_WITH_HANDS.names:
            raise ValueError(
                f"{path}: there is no joint {ours[:50]!r} to match; `kinema joints FILE -o {path.name}` writes all"
            )
        if not (theirs is None or isinstance(theirs, str)) or len(theirs or "") > _MAX_NAME:
            raise ValueError(f'{path}: {ours} must be the name of a joint, or "" for none')
    return {ours: theirs or "" for ours, theirs in content.items()}


def write_joint_map(joints: Mapping[str, str], path: str | os.PathLike[str]) -> None:
    """Write what `read_joint_map` reads, in the order of BODY_WITH_HANDS."""
    content = {name: joints[name] for name in BODY_WITH_HANDS.names if name in joints}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _Twice(Exception):
    pass


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(repr(next(name for name in names if names.count(name) > 1)[:50]))
    return content
