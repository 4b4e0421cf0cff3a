"""MuJoCo: the motions of robots as rows of qpos in .csv and .npz files; `mjcf` reads the robots.

A row is the position x y z of the free root in metres, its quaternion (w x y z, or x y z w where that is said) and the
angles of the hinges in radians, in the order of the MJCF file. MuJoCo's world is Z up and its robots face +X. A .csv
file has commas, lines that begin with # are comments, and one of them may say `fps 30`; a line of column names before
the numbers is allowed. An .npz file holds `qpos` (T, 7 + H) and the rate as `fps` or `frequency`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from kinema.formats.arrays import read_arrays
from kinema.formats.files import atomic_write
from kinema.formats.mjcf import MAX_MAGNITUDE, quaternion_to_ours, read_robot, to_ours
from kinema.motion import rotations as rot
from kinema.motion.motion import MAX_FRAMES, Motion
from kinema.motion.robot import Robot, hinge_angles, pose
from kinema.motion.robot_retarget import retarget_to_robot

MAX_CSV_BYTES = 1_000_000_000
MAX_LINE = 65_536


def read_qpos(
    path: str | os.PathLike[str],
    robot: Robot | str | os.PathLike[str] | None = None,
    fps: float | None = None,
    quaternion: str | None = None,
) -> Motion:
    """Read a robot's motion from a .csv or .npz file of qpos, onto the robot's skeleton.

    Args:
        path: the file.
        robot: a Robot, or its MJCF file.
        fps: frames per second; needed where the file does not say it, and stronger than what it says.
        quaternion: order of the root's quaternion, "wxyz" (the default, MuJoCo's own) or "xyzw" (the retargeted LAFAN1
            set of Unitree and the tools around it). A file of our own says its order itself.

    Raises:
        ValueError: no robot or rate is given, or the file is damaged or not of this robot.
        OSError: the file cannot be read.
    """
    path = Path(path)
    robot = _load_robot(robot, path)
    names = [hinge.name for hinge in robot.hinges]
    if path.suffix.lower() == ".npz":
        arrays = read_arrays(path, {"qpos": "fiu", "fps": "fiu", "frequency": "fiu"})
        rows = arrays.get("qpos", np.zeros(0)).astype(np.float64)
        rate = arrays.get("fps", arrays.get("frequency"))
        stated = float(rate.reshape(-1)[0]) if rate is not None and rate.size == 1 else None
    else:
        rows, stated, stated_order = _read_csv(path, names)
        quaternion = quaternion or stated_order
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != 7 + len(names):
        raise ValueError(
            f"{path}: has numbers of shape {rows.shape}; {robot.name} needs (frames, {7 + len(names)}): root position, "
            f"quaternion and {len(names)} hinges"
        )
    if not np.isfinite(rows).all() or np.abs(rows).max() > MAX_MAGNITUDE:
        frame = int(np.argmax(~(np.abs(rows).max(1) <= MAX_MAGNITUDE)))
        raise ValueError(f"{path}: frame {frame} holds numbers that are not finite or beyond {MAX_MAGNITUDE:g}")
    quats = rows[:, 3:7][:, _order(quaternion)]
    length = np.linalg.norm(quats, axis=1)
    if np.abs(length - 1).max() > 0.02:
        frame = int(np.argmax(np.abs(length - 1)))
        raise ValueError(
            f"{path}: frame {frame}: columns 4 to 7 must be a unit quaternion; their length is {length[frame]:.3g}"
        )
    fps = stated if fps is None else fps
    if fps is None:
        raise ValueError(f"{path}: does not say its frame rate; give it as fps (--input-fps)")
    root = rot.multiply(quaternion_to_ours(rot.normalize(quats)), rot.inverse(np.array(robot.root_rest)))
    position, rotations = pose(robot, to_ours(rows[:, :3]), root, rows[:, 7:])
    return Motion(robot.skeleton, fps, position, rotations, metadata={"robot": robot.name})


def write_qpos(
    motion: Motion,
    path: str | os.PathLike[str],
    robot: Robot | str | os.PathLike[str] | None = None,
    quaternion: str = "wxyz",
) -> None:
    """Write a motion as a robot's qpos, to .csv or .npz.

    A motion on the robot's own skeleton is written as it is, any other one put onto the robot first
    (`retarget_to_robot`).

    Args:
        motion: of the robot, or of any humanoid.
        path: .csv: a comment that says the rate, one that names the columns, then a row a frame. .npz: `qpos`
            (T, 7 + H), `fps` and `joint_names` of the hinges; quaternions always w x y z.
        robot: a Robot, or its MJCF file.
        quaternion: order of the root's quaternion in .csv, "wxyz" or "xyzw".

    Raises:
        ValueError: no robot is given, the motion is no humanoid's, or turns where the robot cannot.
        OSError: the file cannot be written.
    """
    path = Path(path)
    robot = _load_robot(robot, path)
    order = _order(quaternion)
    if motion.skeleton != robot.skeleton:
        motion = retarget_to_robot(motion, robot)
    angles = hinge_angles(robot, motion)
    root = rot.unroll(rot.multiply(motion.rotations[:, 0], np.array(robot.root_rest)))
    quats = _quaternion_to_mujoco(root)
    names = [hinge.name for hinge in robot.hinges]
    if path.suffix.lower() == ".npz":
        rows = np.concatenate([_to_mujoco(motion.root_position), quats, angles], 1)
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, qpos=rows, fps=motion.fps, joint_names=np.array(names))
        return
    rows = np.concatenate([_to_mujoco(motion.root_position), quats[:, np.argsort(order)], angles], 1)
    columns = ["root_x", "root_y", "root_z", *(f"root_q{letter}" for letter in quaternion), *names]
    header = f"fps {motion.fps:.12g}, quaternion {quaternion}\n{','.join(columns)}"
    with atomic_write(path) as temporary:
        np.savetxt(temporary, rows, fmt="%.9g", delimiter=",", header=header, encoding="utf-8")


def _load_robot(robot: Robot | str | os.PathLike[str] | None, path: Path) -> Robot:
    if robot is None:
        raise ValueError(
            f"{path}: holds the numbers of a robot's joints; name the robot's MJCF file as robot (--robot)"
        )
    return robot if isinstance(robot, Robot) else read_robot(robot)


def _order(quaternion: str | None) -> list[int]:
    """Which columns of a quaternion in the file are w, x, y, z."""
    if quaternion not in (None, "wxyz", "xyzw"):
        raise ValueError(f"the order of a quaternion is wxyz or xyzw, got {quaternion!r}")
    return [3, 0, 1, 2] if quaternion == "xyzw" else [0, 1, 2, 3]


def _read_csv(path: Path, names: list[str]) -> tuple[np.ndarray, float | None, str | None]:
    """Rows of numbers, and the rate and the order of the quaternion if a comment says them."""
    if path.stat().st_size > MAX_CSV_BYTES:
        raise ValueError(f"{path}: is larger than {MAX_CSV_BYTES // 1_000_000} MB, which no motion needs")
    rows: list[np.ndarray] = []
    fps: float | None = None
    order: str | None = None
    columns: list[int] | None = None
    with open(path, encoding="utf-8-sig", errors="replace", newline=None) as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if number > MAX_FRAMES + 1000:
                raise ValueError(f"{path}: has more than {MAX_FRAMES} frames")
            line = line.strip()
            if not line:
                continue
            if line.startswith("#"):
                if found := re.search(r"\bfps\b\W{0,3}([0-9.]+)", line[:200]):
                    fps = _number(found[1])
                if found := re.search(r"\bquaternion (wxyz|xyzw)\b", line[:200]):
                    order = found[1]
                continue
            cells = line.split(",")
            try:
                row = np.array(cells, dtype=np.float64)
            except ValueError:
                if rows or columns is not None:
                    raise ValueError(f"{path}: line {number} is not a row of numbers between commas") from None
                columns = _columns([cell.strip().strip('"') for cell in cells], names)
                continue
            if len(row) != 7 + len(names):
                raise ValueError(
                    f"{path}: line {number} has {len(row)} numbers; the robot needs {7 + len(names)}: root position, "
                    f"quaternion and {len(names)} hinges"
                )
            if not np.isfinite(row).all():
                raise ValueError(f"{path}: line {number} holds a number that is not finite")
            rows.append(row)
    if not rows:
        raise ValueError(f"{path}: holds no rows of numbers")
    table = np.array(rows)
    return (table[:, columns] if columns else table), fps, order


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _columns(header: list[str], names: list[str]) -> list[int]:
    """Which column each number of qpos is in, by the names of the hinges; their own order where the names differ."""
    if len(header) == 7 + len(names) and set(header[7:]) == set(names):
        return [*range(7), *(header.index(name) for name in names)]
    return list(range(7 + len(names)))


def _to_mujoco(vectors: np.ndarray) -> np.ndarray:
    return vectors[..., [2, 0, 1]]


def _quaternion_to_mujoco(quats: np.ndarray) -> np.ndarray:
    return quats[..., [0, 3, 1, 2]]
