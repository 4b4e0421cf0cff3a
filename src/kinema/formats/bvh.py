"""BVH, the text format of motion capture: a HIERARCHY of joints, then one row of numbers a frame.

A file names no unit, so lengths are guessed from the size of the body, and rotations are intrinsic Euler angles in
degrees, in whatever order the CHANNELS lines say. Read into `Motion` are the rest pose as it stands in the file (all
angles zero) and the rotations; the position channels of the root replace its OFFSET.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from kinema.formats.bvh_file import MAX_MAGNITUDE, Hierarchy, read_file
from kinema.formats.decimals import format_rows
from kinema.formats.files import atomic_write
from kinema.motion import rotations as rot
from kinema.motion.joint_names import is_transform_node, match_joints, unique_name
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.motion import Motion
from kinema.motion.skeleton import Skeleton

# A human body measures about 2.4 m along its bones from the finger tips to the toes, in any pose. The limits lie
# half-way (in ratio) between what that is in two neighbouring units; 0.45 inch is the unit of the CMU database.
_UNITS = [(10.0, 1.0), (64.0, 0.0254 / 0.45), (150.0, 0.0254), (800.0, 0.01), (np.inf, 0.001)]


def read_bvh(path: str | os.PathLike[str], unit: float | None = None, up: str | None = None) -> Motion:
    """Read one character from a BVH file.

    Four habits of real files are undone:

    - A first joint that only carries the character about (`joint_Root`, `Reference`; one child, which moves against
      it) is folded into that child, so that the root of the motion is the hips, where they are in the world.
    - A T-pose put before the motion (the cgspeed conversion of CMU), with the frames that blend out of it, is dropped;
      `metadata["dropped_frames"]` says how many frames were.
    - Position channels of other joints: a joint of a `Motion` keeps its distance from its parent, so its offset
      becomes the mean of the channels, or stays as it is if they hold only zeros or what OFFSET says.
      `metadata["lost_translation"]` names the joints that really moved against their parents.
    - A file with Z up, as Blender and Xsens write on request, is turned to Y up; `metadata["up"]` says so. This is
      only guessed where the body stands along Z in the rest pose and on z = 0 in the motion.

    Args:
        path: the file.
        unit: metres per unit of the file; None guesses m, cm, mm, inches or the 0.45 inches of CMU from the length of
            the bones. `metadata["unit"]` holds what was used, `metadata["unit_from"]` "guess" or "option".
        up: the vertical axis of the file, "y" or "z"; None guesses.

    Returns:
        The motion in metres and seconds; a frame rate written with few digits (0.0333) becomes the common rate meant.

    Raises:
        ValueError: the file is not BVH, is damaged or too large; the sentence names the file and the place.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if unit is not None and not (np.isfinite(unit) and 0 < unit < 1e6):
        raise ValueError(f"unit must be a positive number of metres per unit of the file, got {unit}")
    if up not in (None, "y", "z"):
        raise ValueError(f"up must be y or z, got {up!r}")
    tree, fps, values = read_file(path)
    quats, positions = _decode_channels(tree, values)
    frames = len(values)
    del values
    names, parents = tree.names, tree.parents
    offsets, tips = np.array(tree.offsets, dtype=float), np.array(tree.tips)
    root = positions.pop(0, np.broadcast_to(offsets[0], (frames, 3)))
    moving = _offsets_from_positions(offsets, tips, parents, positions)

    while _is_transform_node(names, parents, moving):
        # the child's own pose is given in the frame of the node, so this loses nothing
        child = positions.get(1, np.broadcast_to(offsets[1], root.shape))
        root = root + rot.rotate(quats[:, 0], child)
        quats[:, 1] = rot.multiply(quats[:, 0], quats[:, 1])
        quats, names, offsets, tips = quats[:, 1:], names[1:], offsets[1:], tips[1:]
        parents = [parent - 1 for parent in parents[1:]]
        positions = {joint - 1: value for joint, value in positions.items()}
        moving = {joint - 1 for joint in moving}
    offsets[0] = 0

    metadata: dict[str, object] = {"source": path.name, "unit": unit, "unit_from": "option"}
    if unit is None:
        metadata["unit"] = unit = _guess_unit(_span(parents, offsets, tips))
        metadata["unit_from"] = "guess"
    if dropped := _inserted_frames(quats):
        metadata["dropped_frames"] = dropped
        root, quats = root[dropped:], quats[dropped:]
    if lost := [names[joint] for joint in sorted(moving) if joint > 0]:
        metadata["lost_translation"] = ", ".join(lost)
    try:
        skeleton = Skeleton(tuple(names), tuple(parents), offsets * unit, tips * unit)
        root = root * unit
        if up == "z" or (up is None and _stands_along_z(skeleton, root, quats)):
            metadata |= {"up": "z", "up_from": "option" if up else "guess"}
            skeleton, root, quats = _turn_to_y_up(skeleton, root, quats)
        quats.flags.writeable = False  # so that the motion need not copy it
        return Motion(skeleton, fps, root, quats, metadata=metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _decode_channels(tree: Hierarchy, values: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Rotations (T, J, 4) of all joints, and (T, 3) positions of those that have position channels, file units."""
    quats = np.empty((len(values), len(tree.names), 4))
    positions: dict[int, np.ndarray] = {}
    by_order: dict[str, tuple[list[int], list[list[int]]]] = {}
    column = 0
    for joint, channels in enumerate(tree.channels):
        turning = [column + i for i, channel in enumerate(channels) if channel[1] == "r"]
        joints, columns = by_order.setdefault("".join(c[0] for c in channels if c[1] == "r"), ([], []))
        joints.append(joint)
        columns.append(turning)
        if len(turning) < len(channels):
            positions[joint] = np.tile(np.array(tree.offsets[joint], dtype=float), (len(values), 1))
            for i, channel in enumerate(channels):
                if channel[1] == "p":
                    positions[joint][:, "XYZ".index(channel[0])] = values[:, column + i]
        column += len(channels)
    for order, (joints, columns) in by_order.items():
        columns = np.array(columns, dtype=int)
        for start in range(0, len(values), 256):  # as much as the processor's cache holds
            # time last, so that each step below runs along memory
            angles = np.deg2rad(values[start : start + 256].T[columns])
            quats[start : start + 256, joints] = rot.from_euler(np.moveaxis(angles, 1, -1), order).swapaxes(0, 1)
    return quats, positions


def _span(parents: list[int], offsets: np.ndarray, tips: np.ndarray) -> float:
    """Longest way along the bones from one tip of the body to another; the same in every pose."""
    reach = np.linalg.norm(tips, axis=-1).tolist()
    lengths = np.linalg.norm(offsets, axis=-1).tolist()
    longest = max(reach)
    for joint in range(len(parents) - 1, 0, -1):
        branch = lengths[joint] + reach[joint]
        longest = max(longest, reach[parents[joint]] + branch)
        reach[parents[joint]] = max(reach[parents[joint]], branch)
    return longest


def _offsets_from_positions(
    offsets: np.ndarray, tips: np.ndarray, parents: list[int], positions: dict[int, np.ndarray]
) -> set[int]:
    """Bring offsets and position channels into line, in place; return the joints that move against their parents.

    Offsets that the channels contradict become their mean; channels that hold only zeros are removed.
    """
    # 0.2 % of the longest way through the body is about 5 mm
    tolerance = 0.002 * _span(parents, offsets, tips)
    moving = set()
    for joint, position in list(positions.items()):
        if np.abs(position - offsets[joint]).max() <= tolerance:
            continue
        if np.abs(position).max() <= tolerance:
            del positions[joint]
            continue
        mean = position.mean(0)
        if np.abs(position - mean).max() > tolerance:
            moving.add(joint)
        offsets[joint] = mean
    return moving


def _is_transform_node(names: list[str], parents: list[int], moving: set[int]) -> bool:
    if parents.count(0) != 1:
        return False
    return 1 in moving or is_transform_node(names[0])


def _guess_unit(span: float) -> float:
    """Metres per unit of the file, from the longest way through the body in units of the file."""
    return 0.01 if span == 0 else next(unit for limit, unit in _UNITS if span < limit)


def _stands_along_z(skeleton: Skeleton, root: np.ndarray, quats: np.ndarray) -> bool:
    """Whether a file has Z up: a human who stands along Z in the rest pose, and on z = 0 in the motion.

    Such a rest pose is not enough, as the rotation of the root may put it upright; nor is a body along Z in the motion,
    as it may lie.
    """
    rest = skeleton.rest_positions
    if np.ptp(rest[:, 2]) < 2 * np.ptp(rest[:, 1]):
        return False
    try:
        body = match_joints(skeleton)
    except ValueError:  # not a human
        return False
    hips = rest[[body["left_hip"], body["right_hip"]]].mean(0)
    upper, lower = rest[body["head"]] - hips, hips - rest[[body["left_ankle"], body["right_ankle"]]].mean(0)
    legs = lower[2]
    if upper[2] < 0.9 * np.linalg.norm(upper) or legs < 0.9 * np.linalg.norm(lower) or legs == 0:
        return False
    frames = slice(None, None, max(1, len(root) // 50))
    points, _ = forward_kinematics(skeleton, root[frames], quats[frames])
    extent = np.median(np.ptp(points, axis=1), axis=0)
    lowest, carried = np.median(points.min(1), axis=0) / legs, np.median(points[:, 0], axis=0) / legs
    on_floor = (np.abs(lowest) < 0.35) & (carried > 0.1) & (carried < 1.6)
    return bool(on_floor[2] and not (on_floor[1] and extent[1] > extent[2]))


def _turn_to_y_up(skeleton: Skeleton, root: np.ndarray, quats: np.ndarray) -> tuple[Skeleton, np.ndarray, np.ndarray]:
    """The same motion of a world with Z up in ours: in other coordinates, or, where the rest pose has Y up, turned."""

    def turned(vectors: np.ndarray) -> np.ndarray:
        return vectors[..., [0, 2, 1]] * (1, 1, -1)

    _, depth, height = np.ptp(skeleton.rest_positions, axis=0)
    if height > depth:
        skeleton = Skeleton(skeleton.names, skeleton.parents, turned(skeleton.offsets), turned(skeleton.tips))
        quats[..., 1:] = turned(quats[..., 1:])
    else:
        quats[:, 0] = rot.multiply(rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(-np.pi / 2)), quats[:, 0])
    return skeleton, turned(root), quats


def _inserted_frames(quats: np.ndarray) -> int:
    """How many frames at the start are an inserted rest pose and the blend out of it.

    Such a frame stands out twice: the root and most joints are not rotated at all, and the step to the next frame is
    many times larger than the steps later on.
    """
    head = quats[:40]
    if len(head) < 10:
        return 0
    turned = np.degrees(2 * np.arccos(np.clip(np.abs(head[..., 0]), 0, 1)))
    at_rest = np.mean(turned < 2, axis=1)
    steps = np.degrees(rot.angle_between(head[1:], head[:-1])).mean(1)
    usual = 4 * np.median(steps[6:])
    if turned[0, 0] > 0.1 or at_rest[0] < 0.6 or at_rest[8] > at_rest[0] - 0.1 or steps[0] < max(1.0, usual):
        return 0
    count = 1
    while count < 8 and steps[count] > max(usual, 0.1 * steps[0]):
        count += 1
    return count


def write_bvh(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write a motion as BVH: centimetres, 6 channels at the root, 3 elsewhere, rotations in ZXY order, Y up.

    Joints stand in depth-first order, as the format demands; a leaf gets its tip as End Site. Angles run on past 180
    degrees where that avoids a jump from frame to frame. Blanks and braces in names become _. BVH has no place for
    metadata, so source and licence stay behind.

    Raises:
        ValueError: the motion is larger than any world.
        OSError: the file cannot be written.
    """
    skeleton = motion.skeleton
    lines, order = ["HIERARCHY"], []
    taken: set[str] = set()
    stack: list[tuple[int, int]] = [(0, 0)]  # joint (or -1 to close one), depth
    while stack:
        joint, depth = stack.pop()
        pad = "  " * min(depth, 50)  # a chain of many joints would be mostly blanks
        if joint < 0:
            lines.append(f"{pad}}}")
            continue
        order.append(joint)
        name = unique_name(re.sub(r"[\s{}]+", "_", skeleton.names[joint]) or "joint", taken)
        channels = "3 Zrotation Xrotation Yrotation"
        if joint == 0:
            channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        lines += [f"{pad}{'JOINT' if depth else 'ROOT'} {name}", f"{pad}{{"]
        lines += [f"{pad}  OFFSET {_centimetres(skeleton.offsets[joint])}", f"{pad}  CHANNELS {channels}"]
        stack.append((-1, depth))
        children = skeleton.children[joint]
        if not children:
            lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {_centimetres(skeleton.tips[joint])}"]
            lines += [f"{pad}  }}"]
        stack += [(child, depth + 1) for child in reversed(children)]

    rows = np.empty((len(motion), 3 + 3 * len(order)))
    rows[:, :3] = motion.root_position * 100
    for start in range(0, len(motion), 256):
        angles = np.degrees(rot.to_euler(motion.rotations[start : start + 256, order], "ZXY"))
        rows[start : start + 256, 3:] = angles.reshape(len(angles), -1)
    if max(np.abs(rows[:, :3]).max(), np.abs(skeleton.offsets).max() * 100) >= MAX_MAGNITUDE:
        raise ValueError(f"{path}: lengths beyond 10000 km cannot be written as BVH; check the unit of the motion")
    turns = np.rint(np.diff(rows[:, 3:], axis=0) / 360)
    if turns.any():
        rows[1:, 3:] -= 360 * np.cumsum(turns, axis=0)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.12g}", ""]
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(lines).encode())
        file.writelines(format_rows(rows))


def _centimetres(vector: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in vector * 100)
