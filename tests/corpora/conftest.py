"""A small corpus that the tests build: constructed walks, and every kind of motion that is to be rejected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kinema.corpora import build as building
from kinema.corpora.build import BuildReport
from kinema.formats.bvh import write_bvh
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot


def varied(walk: Motion, seed: int) -> Motion:
    """The walk with another speed, other arms and another length."""
    rng = np.random.default_rng(seed)
    rotations = walk.rotations.copy()
    time = np.arange(len(walk)) / walk.fps
    for joint in ("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "spine1"):
        index = walk.skeleton.index(joint)
        angle = rng.normal(0, 0.4) + rng.normal(0, 0.3) * np.sin(rng.uniform(1, 6) * time)
        swing = rot.from_axis_angle(rot.normalize(rng.normal(size=3)), angle)
        rotations[:, index] = rot.multiply(rotations[:, index], swing)
    frames = slice(0, int(rng.integers(60, len(walk))))
    root = walk.root_position[frames] * (1, 1, rng.uniform(0.5, 1.3))
    return walk.replace(root_position=root, rotations=rotations[frames])


def write_captions(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@dataclass(frozen=True)
class Built:
    source: Path
    folder: Path
    report: BuildReport
    motions: dict[str, Motion]


@pytest.fixture(scope="session")
def built(walk: Motion, tmp_path_factory: pytest.TempPathFactory) -> Built:
    base = tmp_path_factory.mktemp("corpus")
    one, two = base / "one", base / "two"
    motions = {f"walk_{i:03}": varied(walk, i) for i in range(8)}
    rows: dict[Path, list[dict]] = {one: [], two: []}

    def add(folder: Path, file: str, motion: Motion | str, *captions: dict) -> None:
        path = folder / "bvh" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(motion, str):
            path.write_text(motion)
        else:
            write_bvh(motion, path)
        rows[folder] += [{"motion": f"bvh/{file}", "source": "written", **caption} for caption in captions]

    for name, motion in motions.items():
        add(one, f"{name}.bvh", motion, {"text": f"a person walks {name}.", "clip": name})
    add(one, "label.bvh", varied(walk, 20), {"text": "Strut", "source": "cmu_index", "clip": "x_9"})
    rows[one] += [
        {
            "motion": "bvh/label.bvh",
            "clip": "x_9",
            "start": 0.5,
            "end": 1.0,
            "text": "a person struts.",
            "source": "me",
        },
        {"motion": "bvh/label.bvh", "clip": "x_9", "start": 1.0, "end": 99.0, "text": "to the end.", "source": "me"},
        {"motion": "bvh/label.bvh", "clip": "x_9", "start": 50.0, "text": "behind the end.", "source": "me"},
        {"motion": "bvh/absent.bvh", "text": "there is no such motion."},
    ]
    # the same recording under the same name in the other folder, and under another name, turned and moved
    again = varied(walk, 0)
    add(two, "walk_000.bvh", again, {"text": "again", "clip": "walk_000"})
    rotations = varied(walk, 1).rotations.copy()
    rotations[:, 0] = rot.multiply(rot.about_y(np.array(0.7)), rotations[:, 0])
    root = rot.rotate(rot.about_y(np.array(0.7)), varied(walk, 1).root_position) + np.array([1.0, 0, 2])
    add(two, "twin.bvh", again.replace(rotations=rotations, root_position=root), {"text": "twin", "clip": "twin"})
    fast = walk.replace(fps=60)  # other frame rates
    add(two, "fast.bvh", fast, {"text": "fast", "clip": "fast_12"})

    still = np.repeat(walk.rotations[:1], 60, axis=0)
    add(
        two,
        "static.bvh",
        Motion(walk.skeleton, 30, np.repeat(walk.root_position[:1], 60, axis=0), still),
        {"text": "x"},
    )
    add(
        two,
        "short.bvh",
        walk.replace(root_position=walk.root_position[:10], rotations=walk.rotations[:10]),
        {"text": "x"},
    )
    add(two, "silent.bvh", walk)
    late = {"text": "x", "start": 60.0}
    add(two, "late.bvh", varied(walk, 30), late)
    jump = walk.root_position.copy()
    jump[40:] += (0.5, 0, 0)
    add(two, "jump.bvh", walk.replace(root_position=jump), {"text": "x"})
    flip = walk.rotations.copy()
    flip[50, walk.skeleton.index("left_knee")] = rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(2.0))
    add(two, "flip.bvh", walk.replace(rotations=flip), {"text": "x"})
    far = walk.root_position + np.array([1e5, 0, 0])
    add(two, "far.bvh", walk.replace(root_position=far), {"text": "x"})
    names = tuple(f"bone{i}" for i in range(len(walk.skeleton)))
    unnamed = Skeleton(names, tuple(range(-1, len(names) - 1)), walk.skeleton.offsets)  # a snake
    add(two, "unnamed.bvh", walk.replace(skeleton=unnamed), {"text": "x"})
    add(two, "garbage.bvh", "no motion at all", {"text": "x"})
    add(two, "empty.bvh", "", {"text": "x"})
    whole = (one / "bvh" / "walk_002.bvh").read_text()
    add(two, "half.bvh", whole[: len(whole) // 2], {"text": "x"})
    add(two, "nan.bvh", whole[: whole.rindex("\n", 0, -2)] + "\n" + "nan " * 69 + "\n", {"text": "x"})

    for folder, lines in rows.items():
        write_captions(folder / "captions.jsonl", lines)
    report = building.build([one, two], base / "out", licence="CC0", source="constructed", hold_out=["walk_00[45]"])
    return Built(base, base / "out", report, motions)
