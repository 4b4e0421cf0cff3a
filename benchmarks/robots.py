"""How well motions of people go onto a robot.

    python benchmarks/robots.py ROBOT.xml FOLDER... [--every K] [--clips N]

Every FOLDER holds motions (.bvh); of each the first N of every K-th file are put onto the robot. Prints a Markdown
table, one column a folder, and the worst clips to stderr.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

import kinema
from kinema.formats.mjcf import read_robot
from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.motion.contacts import TOE_HEIGHT, foot_contacts
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.retarget import retarget
from kinema.motion.robot import Robot, hinge_angles, joint_speeds
from kinema.motion.robot_retarget import match_links, retarget_to_robot
from kinema.motion.skeleton import Skeleton

FAST = 12.5  # rad/s
JUMP = 30.0  # rad/s: a radian from a frame to the next at 30 fps
NEAR = 0.02  # metres over the ground that a toe is near it, on the person


def measure(motion: Motion, robot: Robot) -> dict[str, float]:
    """The figures of one clip."""
    before = time.perf_counter()
    result = retarget_to_robot(motion, robot)
    seconds = time.perf_counter() - before
    angles, speeds = hinge_angles(robot, result), joint_speeds(robot, result)
    low, high = robot.limits.T
    person = retarget(motion)
    links = match_links(robot.skeleton)
    places, turned = forward_kinematics(robot.skeleton, result.root_position, result.rotations)
    at, turned_person = forward_kinematics(BODY, person.root_position, person.rotations)

    turns = [
        rot.angle_between(turned[:, links[link]], turned_person[:, BODY.index(joint)])
        for link, joint in (("pelvis", "pelvis"), ("torso", "spine3"), ("left_ankle", "left_ankle"),
                            ("right_ankle", "right_ankle"))
    ]  # fmt: skip
    bends, ends = [], {}
    for side in ("left", "right"):
        for chain in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
            miss = np.zeros((len(motion), 3))
            for upper, lower in pairwise(chain):
                bone = places[:, links[f"{side}_{lower}"]] - places[:, links[f"{side}_{upper}"]]
                theirs = rot.normalize(at[:, BODY.index(f"{side}_{lower}")] - at[:, BODY.index(f"{side}_{upper}")])
                rest = robot.skeleton.rest_positions
                length = np.linalg.norm(rest[links[f"{side}_{lower}"]] - rest[links[f"{side}_{upper}"]])
                bends.append(np.arccos(np.clip(np.sum(rot.normalize(bone) * theirs, -1), -1, 1)))
                miss += bone - length * theirs
            ends.setdefault(chain[-1], []).append(np.linalg.norm(miss, axis=-1))

    scale = _legs(robot.skeleton, links) / _legs(BODY, {name: BODY.index(name) for name in BODY.names})
    contacts = foot_contacts(person)
    deepest, hover, slides, slides_person = 0.0, [], [], []
    for side in ("left", "right"):
        ankle = links[f"{side}_ankle"]
        own = np.flatnonzero(robot.contact_joints == ankle)
        spheres = places[:, ankle, None] + rot.rotate(turned[:, ankle, None], robot.contact_points[own])
        heights = spheres[..., 1] - robot.contact_radii[own]
        deepest = max(deepest, float(-heights.min()))
        touching = contacts[:, BODY.index(f"{side}_foot")]
        hover.append(heights.min(1)[touching])
        front = robot.contact_points[own, 2] > robot.contact_points[own, 2].max() - 0.01
        toe = at[:, BODY.index(f"{side}_foot")]
        near = toe[:, 1] < TOE_HEIGHT + NEAR
        slides.append(_slide(spheres[:, front].mean(1), near, motion.fps))
        slides_person.append(scale * _slide(toe, near, motion.fps))
    hovering, sliding, sliding_person = map(np.concatenate, (hover, slides, slides_person))
    fast = np.any(speeds > FAST, axis=1)
    return {
        "hinges outside their limits": float(((angles < low) | (angles > high)).sum()),
        "orientation of pelvis, torso, feet: mean error, degrees": np.degrees(np.mean(turns)),
        "direction of thighs, shanks, arms: mean error, degrees": np.degrees(np.mean(bends)),
        "wrist against shoulder: mean error, cm": 100 * float(np.mean(ends["wrist"])),
        "ankle against hip: mean error, cm": 100 * float(np.mean(ends["ankle"])),
        "toe edges while the person's toes are near the ground, cm/s": 100 * _mean(sliding),
        "the person's toes then, scaled, cm/s": 100 * _mean(sliding_person),
        "deepest sole under the ground, mm": 1000 * deepest,
        "soles in contact: mean height, mm": 1000 * _mean(hovering),
        "fastest hinge, rad/s": float(speeds.max(initial=0)),
        f"frames with a hinge above {FAST:g} rad/s, %": 100 * _mean(np.asarray(fast)),
        f"steps of a hinge above {JUMP:g} rad/s": float((speeds > JUMP).sum()),
        "seconds of work for a second of motion": seconds / motion.seconds,
    }


WORST = {"deepest sole under the ground, mm", "fastest hinge, rad/s"}
SUMS = {"hinges outside their limits", f"steps of a hinge above {JUMP:g} rad/s"}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _legs(skeleton: Skeleton, joints: dict[str, int]) -> float:
    hip, knee, ankle = (skeleton.rest_positions[joints[f"left_{part}"]] for part in ("hip", "knee", "ankle"))
    return float(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))


def _slide(path: np.ndarray, near: np.ndarray, fps: float) -> np.ndarray:
    """Level speeds of a point (T, 3) from frame to frame, where it is near the ground in both."""
    return (np.linalg.norm(np.diff(path[:, [0, 2]], axis=0), axis=-1) * fps)[near[1:] & near[:-1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("robot", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--clips", type=int, default=30)
    options = parser.parse_args()
    robot = read_robot(options.robot)
    columns: dict[str, list[dict[str, float]]] = {}
    for folder in options.folders:
        paths = sorted(folder.glob("*.bvh"))[:: options.every][: options.clips]
        rows = []
        for path in paths:
            rows.append(measure(kinema.load(path), robot))
            row = list(rows[-1].values())
            print(path.stem, len(rows), *(f"{value:.3g}" for value in row), file=sys.stderr)
        columns[f"{folder.parent.name}, {len(rows)} clips"] = rows
    print(f"| {robot.name} | {' | '.join(columns)} |")
    print("| --- |" + " --- |" * len(columns))
    for name in next(iter(columns.values()))[0]:
        cells = []
        for rows in columns.values():
            values = [row[name] for row in rows]
            value = sum(values) if name in SUMS else max(values) if name in WORST else float(np.mean(values))
            cells.append(f"{round(value, 6):.3g}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
