"""A page that plays motion: one .html file with figure, data and program inside, which needs no network."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from kinema.formats.files import atomic_write
from kinema.formats.mannequin import MATERIALS, Mannequin, build_mannequin
from kinema.formats.pictures import caption, floor_height, titles_of, view_direction
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.kinematics import forward_kinematics

MAX_MOTIONS = 16
# a browser reads the page into memory several times over
MAX_BYTES = 150_000_000


def write_player(motion: Motion, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Write a self-contained page that plays a motion in any browser with WebGL 2.

    Args:
        motion: any skeleton.
        path: of the .html file.
        title: stands above; the motion's caption (`metadata["text"]`) if not given.

    Raises:
        ValueError: the motion is too long for a page.
        OSError: the file cannot be written.
    """
    write_players([motion], path, [caption(motion) if title is None else title])


def write_players(motions: Sequence[Motion], path: str | os.PathLike[str], titles: Sequence[str] | None = None) -> None:
    """Write a page that plays 1 to 16 motions side by side on one clock; shorter ones wait in their last frame.

    Raises:
        ValueError: no motions or too many, another number of titles than motions, or too much data for a page.
        OSError: the file cannot be written.
    """
    titles = titles_of(motions, titles, MAX_MOTIONS)
    size = sum(motion.rotations.size * 2 + motion.root_position.size * 4 for motion in motions)
    if size > MAX_BYTES:
        raise ValueError(
            f"a player holds at most {MAX_BYTES // 10**6} MB of motion, this is {size // 10**6} MB; crop it"
        )
    skeletons: dict[Skeleton, int] = {}
    for motion in motions:
        skeletons.setdefault(motion.skeleton, len(skeletons))
    data = {
        "materials": [colour for _, colour in MATERIALS],
        "meshes": [_mesh(build_mannequin(skeleton)) for skeleton in skeletons],
        "motions": [
            {"mesh": skeletons[motion.skeleton], "title": str(title)[:5000], **_motion(motion)}
            for motion, title in zip(motions, titles, strict=True)
        ],
    }
    # within a script element only "<" can end the data early
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = files("kinema.formats").joinpath("player.html").read_text(encoding="utf-8")
    name = " ".join(str(titles[0]).split())[:120] or "Motion"
    before, after = page.split("{{data}}")
    with atomic_write(path) as temporary_path:
        content = before.replace("{{title}}", html.escape(f"{name} · Kinema")) + text + after
        temporary_path.write_text(content, encoding="utf-8", errors="replace")


def _pack(array: np.ndarray, kind: str) -> str:
    """Base64 of an array, little-endian as in a browser's typed arrays."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=np.dtype(kind).newbyteorder("<")).tobytes()).decode()


def _mesh(mesh: Mannequin) -> dict[str, Any]:
    order = np.argsort(mesh.materials, kind="stable")
    counts = np.bincount(mesh.materials, minlength=len(MATERIALS)) * 3
    starts = np.cumsum(counts) - counts
    normals = np.pad(np.round(mesh.normals * 127), ((0, 0), (0, 1)))
    return {
        "positions": _pack(mesh.vertices, "f4"),
        "normals": _pack(normals, "i1"),
        "joints": _pack(mesh.joints, "u2"),
        "weights": _pack(np.round(mesh.weights * 255), "u1"),
        "triangles": _pack(mesh.triangles[order], "u4"),
        "ranges": [[material, int(starts[material]), int(count)] for material, count in enumerate(counts) if count],
    }


def _motion(motion: Motion) -> dict[str, Any]:
    direction = view_direction(motion)
    floor = floor_height(motion)
    some = slice(None, None, max(1, len(motion) // 60))
    positions, _ = forward_kinematics(motion.skeleton, motion.root_position[some], motion.rotations[some])
    # 1 for a standing BODY; from poses that are taken, as rest poses may be folded
    size = float(np.median(np.ptp(positions, axis=1).max(-1))) / 1.6
    facts = [f"{motion.seconds:.2f} s", f"{motion.fps:g} fps", f"{len(motion)} frames"]
    facts += [f"{key}: {motion.metadata[key]}"[:500] for key in ("source", "licence") if motion.metadata.get(key)]
    return {
        "about": " · ".join(facts),
        "fps": motion.fps,
        "frames": len(motion),
        "floor": floor,
        "size": min(max(size, 1e-3), 1e3),
        "heading": float(np.arctan2(direction[0], direction[2])),
        "parents": list(motion.skeleton.parents),
        "offsets": motion.skeleton.offsets.ravel().tolist(),
        "rest": motion.skeleton.rest_positions.ravel().tolist(),
        "root": _pack(motion.root_position, "f4"),
        "rotations": _pack(np.round(rot.unroll(motion.rotations) * 32767), "i2"),
    }
