"""Retargeting: how well motion survives it, and what it does to the feet, with and without keeping contacts.

    python benchmarks/retargeting.py [--data ../shared/data] [--clips 120]

Every k-th clip of CMU, and some of Bandai-Namco and CMU in the Daz skeleton, expanded from the shards of the data
folder. The Mixamo-named rigs are constructed: 65 joints with fingers, resting in an A-pose; one has other proportions
(arms x 0.9, thighs x 1.2, shins x 1.0, hips x 1.3 wide), the other those of the clip's own skeleton, in a T-pose.

Joint error: mean distance of the source's joints after the way back, in percent of the leg length, both motions stood
on the ground. Ends: that of wrists, ankles, toes and head, in cm. Sliding (m/s) and skating (share of frames) as
`foot_sliding` and `foot_skating` define them, after the lowest sole is put on the ground; also relative to the size of
the legs, as longer legs take longer steps. Sunk: mean depth of the toes in the ground, and the share of frames in which
they are deeper than 1 cm.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.humanoid import SIDES, Humanoid, humanoid
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.retarget import retarget
from kinema.motion.skeleton import BODY_WITH_HANDS

ENDS = [f"{side}_{part}" for part in ("wrist", "ankle", "foot") for side in SIDES] + ["head"]


@dataclass
class Options:
    """Args:
    data: folder with the shards.
    clips: of CMU; a quarter of it from each of the others.
    """

    data: Path = Path("../shared/data")
    clips: int = 120


def drawn(shard: Path, count: int) -> Iterator[Motion]:
    """Evenly drawn clips of a shard, at most 20 s of each."""
    sys.path.insert(0, str(shard.parent.parent / "tools"))
    motions = importlib.import_module("load_motion").load_shard(shard)
    for k in np.linspace(0, len(motions) - 1, count).astype(int):
        clip = motions[motions.ids[k]]
        offsets = clip["offsets"] * (np.arange(len(clip["offsets"])) > 0)[:, None]
        skeleton = Skeleton(tuple(clip["joint_names"]), tuple(clip["parents"]), offsets, clip["end_offsets"])
        yield Motion(skeleton, clip["fps"], clip["root_pos"][:600], clip["quats"][:600], metadata={"clip": clip["id"]})


NAMES = {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
         "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
         "elbow": "ForeArm", "wrist": "Hand"}  # fmt: skip


def mixamo_name(name: str) -> str:
    side, _, part = name.rpartition("_")
    known = NAMES.get(part) or f"Hand{part.capitalize()}"
    return f"mixamorig:{side.capitalize()}{known}"


def mixamo_rig(body: Skeleton, lowered: float) -> Skeleton:
    """BODY_WITH_HANDS with other lengths as Mixamo names and extends it, its arms lowered by so many radians."""
    names, parents = [mixamo_name(name) for name in body.names], list(body.parents)
    offsets = [np.array(offset) for offset in body.offsets]
    for joint, name in enumerate(body.names):  # ends of head, toes and fingers are joints of their own
        if name == "head":
            names.append("mixamorig:HeadTop_End")
        elif name.endswith("_foot"):
            names.append(names[joint].replace("Base", "_End"))
        elif name.endswith("3") and name != "spine3":
            names.append(names[joint].replace("3", "4"))
        else:
            continue
        parents.append(joint)
        offsets.append(np.array(body.tips[joint]))
    for joint, parent in enumerate(parents):
        side, _, above = names[max(parent, 0)].removeprefix("mixamorig:").partition("t")
        if above.startswith(("Arm", "ForeArm", "Hand")):
            angle = np.array(lowered if side == "Righ" else -lowered)
            offsets[joint] = rot.rotate(rot.from_axis_angle(np.array([0.0, 0.0, 1.0]), angle), offsets[joint])
    return Skeleton(tuple(names), tuple(parents), np.array(offsets))


def with_lengths(lengths: dict[str, float | np.ndarray]) -> Skeleton:
    """BODY_WITH_HANDS with some offsets replaced (by a vector) or scaled (by a number)."""
    offsets = np.array(BODY_WITH_HANDS.offsets)
    for name, value in lengths.items():
        joint = BODY_WITH_HANDS.index(name)
        offsets[joint] = value if np.ndim(value) else offsets[joint] * value
    return Skeleton(BODY_WITH_HANDS.names, BODY_WITH_HANDS.parents, offsets, BODY_WITH_HANDS.tips)


def other_proportions() -> Skeleton:
    lengths: dict[str, float | np.ndarray] = {}
    for side in SIDES:
        lengths |= {f"{side}_knee": 1.2, f"{side}_ankle": 1.0, f"{side}_elbow": 0.9, f"{side}_wrist": 0.9}
        lengths[f"{side}_hip"] = BODY.offsets[BODY.index(f"{side}_hip")] * (1.3, 1, 1)
    return mixamo_rig(with_lengths(lengths), 0.8)


def same_proportions(source: Humanoid) -> Skeleton:
    """A T-posed Mixamo-named rig with the lengths of a skeleton of CMU."""
    rest, lengths = source.skeleton.rest_positions, {}
    for name, parent in zip(BODY.names, BODY.parents, strict=True):
        if parent < 0:
            continue
        above = BODY.names[parent]
        offset = rest[source.joints[name]] - rest[source.joints[above]]
        part = name.rpartition("_")[2]
        if part in ("knee", "ankle", "elbow", "wrist"):
            offset = rot.normalize(BODY.offsets[BODY.index(name)]) * np.linalg.norm(offset)
        elif part == "foot":
            leaning = rest[source.joints[above]] - rest[source.joints[above.replace("ankle", "knee")]]
            upright = rot.from_axis_angle(np.array([0.0, 0, 1]), -np.arctan2(leaning[0], -leaning[1]))
            drop = rot.rotate(upright, offset)[1]
            offset = np.array([0, drop, np.sqrt(np.sum(offset**2) - drop**2)])
        lengths[name] = offset
    return mixamo_rig(with_lengths(lengths), 0.0)


def standing(motion: Motion) -> tuple[Motion, Humanoid, np.ndarray, np.ndarray]:
    body = humanoid(motion.skeleton, motion)
    positions, world = forward_kinematics(motion.skeleton, motion.root_position, motion.rotations)
    down = np.array([0, body.floor(positions, world), 0])
    return motion.replace(root_position=motion.root_position - down), body, positions - down, world


def feet(motion: Motion) -> dict[str, float]:
    """Sliding, skating and penetration of a motion's toes."""
    motion, body, positions, world = standing(motion)
    toes = np.stack([toe for side in SIDES if (toe := body.toes(side, positions, world)) is not None], 1)
    speed = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1) * motion.fps
    low = toes[..., 1] < 0.05
    near = low[1:] & low[:-1]
    depth = np.maximum(0.03 * body.size - toes[..., 1], 0)
    return {
        "sliding": float(speed[near].mean()) if near.any() else 0.0,
        "skating": float((near & (speed > 0.5)).any(1).mean()),
        "relative": float(speed[near].mean()) / body.size if near.any() else 0.0,
        "depth": 100 * float(depth.mean()),
        "deep": float((depth.max(1) > 0.01).mean()),
    }


def errors(source: Motion, back: Motion) -> dict[str, float]:
    _, body, positions, _ = standing(source)
    _, _, after, _ = standing(back)
    joints = sorted(joint for name, joint in body.joints.items() if name in BODY.names)
    distance = np.linalg.norm(positions - after, axis=-1)
    ends = [body.joints[name] for name in ENDS if name in body.joints]
    return {
        "joints": 100 * float(distance[:, joints].mean()) / (0.834 * body.size),
        "ends": 100 * float(distance[:, ends].mean()),
        "worst": 100 * float(np.percentile(distance[:, ends], 99)),
    }


def main(options: Options) -> None:
    rows: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    times: dict[str, list[float]] = defaultdict(list)
    long_legs = other_proportions()

    def put(motion: Motion, onto: Skeleton | Motion, keep: bool, label: str) -> Motion:
        start = time.perf_counter()
        result = retarget(motion, onto, keep_contacts=keep)
        if len(motion) >= 200:  # what is done once a call would be counted more than once
            seconds = (time.perf_counter() - start) / len(motion) * 300
            times[f"{label}, {'with' if keep else 'without'} contacts"].append(seconds)
        return result

    shards = {
        "CMU": (options.data / "cmu" / "cmu_motions.npz", options.clips),
        "Bandai": (options.data / "bandai" / "bandai_motions.npz", options.clips // 4),
        "Daz": (options.data / "cmu" / "cmu_daz_motions.npz", options.clips // 4),
    }
    console = Console(stderr=True)
    for name, (shard, count) in shards.items():
        for motion in track(list(drawn(shard, count)), name, console=console, transient=True):
            rows[name, "source"].append(feet(motion))
            rigs: dict[str, Callable[[], Skeleton]] = {"BODY": lambda: BODY, "longer legs": lambda: long_legs}
            if name == "CMU":
                own = same_proportions(humanoid(motion.skeleton))
                rigs["same proportions"] = lambda own=own: own
            for rig, make in rigs.items():
                for keep in (False, True):
                    there = put(motion, make(), keep, f"{name} to {rig}")
                    back = put(there, motion, keep, f"{rig} to {name}")
                    rows[f"{name} to {rig}", "with" if keep else "without"].append(
                        feet(there) | errors(motion, back) | {"there and back " + k: v for k, v in feet(back).items()}
                    )
    columns = ["joints", "ends", "worst", "sliding", "relative", "skating", "depth", "deep", "there and back sliding",
               "there and back skating", "there and back depth", "there and back deep"]  # fmt: skip
    print("| motion | contacts | clips | joint error, % of leg | ends, cm | ends, 99th percentile, cm | sliding, m/s | "
          "sliding / size | skating | sunk, cm | sunk > 1 cm | back: sliding | back: skating | back: sunk | "
          "back: > 1 cm |")  # fmt: skip
    print("|---" * (3 + len(columns)) + "|")
    for (label, kind), found in rows.items():
        cells = [f"{np.mean([row[key] for row in found]):.3f}" if key in found[0] else "" for key in columns]
        print(f"| {label} | {kind} | {len(found)} | " + " | ".join(cells) + " |")
    print()
    for label, found in times.items():
        print(f"{label}: {1000 * np.median(found):.0f} ms for 300 frames")


if __name__ == "__main__":
    main(tyro.cli(Options))
