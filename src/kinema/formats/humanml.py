"""HumanML3D: 263 numbers a frame at 20 fps, or the positions of its 22 joints, as .npy files.

The 263 numbers of a frame (Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022), in
metres and per frame of 1/20 s; the heading frame has its origin on the floor under the root and +Z ahead:

| numbers | what |
| --- | --- |
| 0 | half the turn of the heading to the next frame, radians, positive to the right (-Y) |
| 1:3 | step of the root to the next frame, x and z, in the heading frame of the next frame |
| 3 | height of the root |
| 4:67 | positions of the joints 1 to 21 in the heading frame |
| 67:193 | rotations of the joints 1 to 21, 6D, of an inverse kinematics of its own: see `encode` |
| 193:259 | steps of all 22 joints to the next frame, in the heading frame |
| 259:263 | 1 where a joint moves less than sqrt(0.002) m: left ankle, left toes, right ankle, right toes |

The joints are those of BODY in the same order; the world is Y up and the clip begins at the origin, facing +Z, with its
lowest joint at y = 0. As everything is a step to the next frame, T poses make T - 1 vectors.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from kinema.formats.arrays import read_array
from kinema.formats.files import atomic_write
from kinema.motion.contacts import TOE_HEIGHT
from kinema.motion.editing import resample
from kinema.motion.fitting import fit_rotations
from kinema.motion.motion import MAX_FRAMES, Motion
from kinema.motion.retarget import retarget
from kinema.motion.skeleton import BODY

FPS = 20
WIDTH = 263
JOINTS = 22

_LEFT_HIP, _RIGHT_HIP, _LEFT_SHOULDER, _RIGHT_SHOULDER = 1, 2, 16, 17
_FEET = (7, 10, 8, 11)
_STILL = 0.002  # squared step of a foot on the ground, m^2
_SIGMA = 20  # frames; the heading is smoothed by a Gaussian, cut off at four of them
_LIMIT = 1e4  # no coordinate of a motion is farther from the origin, metres

# The rest direction of the bone that ends in a joint: (axis, sign) -> joints. Sorted so, a group is a slice.
_AXES = {
    (0, 1.0): (1, 13),
    (0, -1.0): (2, 14),
    (1, 1.0): (3, 6, 9, 12),
    (1, -1.0): (4, 5, 7, 8, 16, 17, 18, 19, 20, 21),
    (2, 1.0): (10, 11, 15),
}
_ORDER = [joint for joints in _AXES.values() for joint in joints]
_ROW = {joint: row for row, joint in enumerate(_ORDER)}
_FIRST = (1, 2, 3, 13, 14)  # chains begin here: both legs, the spine, both arms
_INNER = [joint for joint in range(1, JOINTS) if joint not in _FIRST]
_PIECE = 512  # frames worked on at a time, so that the intermediate arrays stay in the cache


def read_humanml(path: str | os.PathLike[str], fps: float = FPS) -> Motion:
    """Read HumanML3D vectors (T, 263), or joint positions (T, 22, 3) or (T, 66) in metres, Y up.

    Rotations are fitted to the positions (`kinema.motion.fitting.fit_rotations`), as neither form has the roll of a
    bone; the skeleton has the names of BODY and the clip's own bone lengths. Vectors give the contacts of ankles and
    toes too, and are raised until the lowest toe joint stands as high over the ground as a toe does, 3 cm.

    Args:
        path: the file; vectors as the dataset has them, not normalised by its Mean.npy and Std.npy.
        fps: frames per second.

    Raises:
        ValueError: the array has another shape or type, is not finite, or larger than any motion.
        OSError: the file cannot be read.
    """
    path = Path(path)
    values = read_array(path, "f")
    if values.ndim == 2 and values.shape[1] == 3 * JOINTS:
        values = values.reshape(len(values), JOINTS, 3)
    vectors = values.ndim == 2 and values.shape[1] == WIDTH
    joints = values.ndim == 3 and values.shape[1:] == (JOINTS, 3)
    if not (vectors or joints) or not 1 <= len(values) <= MAX_FRAMES:
        raise ValueError(f"{path}: has the shape {values.shape}; HumanML3D is (T, 263) vectors or (T, 22, 3) joints")
    try:
        metadata = {"source": path.name, "format": "HumanML3D vectors" if vectors else "joint positions"}
        motion = fit_rotations(decode(values) if vectors else _checked(values), fps)
        if not vectors:
            return motion.replace(metadata=metadata)
        contacts = np.zeros((len(motion), JOINTS), dtype=bool)
        contacts[:, _FEET] = values[:, -4:] > 0.5
        return motion.replace(root_position=motion.root_position + (0, TOE_HEIGHT, 0)).replace(
            contacts=contacts, metadata=metadata
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_humanml(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write HumanML3D vectors, (T - 1, 263) float32 at 20 fps.

    A motion on another skeleton than BODY's 22 joints is put onto BODY first. Bone lengths stay BODY's: the dataset has
    those of its own figure.

    Raises:
        ValueError: the motion cannot be put onto BODY, or has fewer than two frames at 20 fps.
        OSError: the file cannot be written.
    """
    _write(path, encode(_joints(motion)))


def write_joints(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write the positions of BODY's 22 joints in the world, (T, 22, 3) float32 metres at 20 fps.

    Raises:
        ValueError: the motion cannot be put onto BODY.
        OSError: the file cannot be written.
    """
    _write(path, _joints(motion).astype(np.float32))


def _joints(motion: Motion) -> np.ndarray:
    if motion.skeleton.names[:JOINTS] != BODY.names:
        motion = retarget(motion, BODY)
    return resample(motion, FPS).joint_positions()[:, :JOINTS]


def _write(path: str | os.PathLike[str], values: np.ndarray) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values)


def _checked(values: np.ndarray) -> np.ndarray:
    """`values` (T, ...) where they are finite and of a size that a motion has."""
    good = np.abs(values) < _LIMIT  # false for NaN
    if not good.all():
        frame = int(np.argwhere(~good)[0][0])
        raise ValueError(f"frame {frame} has a number that is not finite, or 10 km away from the origin")
    return values


def encode(positions: np.ndarray) -> np.ndarray:
    """Joint positions (T, 22, 3) in metres at 20 fps, Y up -> HumanML3D vectors (T - 1, 263), float32.

    The clip is put with its lowest joint on y = 0, and the root of its first frame at x = z = 0, facing +Z. The heading
    is what lies across the line of the shoulders less that of the hips (the dataset subtracts them), smoothed by a
    Gaussian of 20 frames, but +Z in the first frame (as in the dataset). The rotations: the bone that ends in a joint
    has a rest direction along an axis, and the world rotation of the joint is the smallest one from there to the bone.
    Its 6D (first two columns) is relative to the joint before it in its chain; for the first joint of legs, spine and
    arms, it is relative to the inverse of the heading, which therefore counts twice.

    The dataset's turn rate has the wrong sign in a frame in which the heading passes 180 degrees; here it has not.
    A bone without length takes its rest direction.

    Raises:
        ValueError: the shape is another one, there are fewer than two frames, or a number is not finite.
    """
    positions = np.asarray(positions)
    if positions.ndim != 3 or positions.shape[1:] != (JOINTS, 3) or len(positions) < 2:
        raise ValueError(f"HumanML3D needs joint positions (T, 22, 3) of at least 2 frames, got {positions.shape}")
    _checked(positions)
    count = len(positions) - 1
    sine, cosine, turned = _headings(positions)
    origin = np.array([positions[0, 0, 0], positions[..., 1].min(), positions[0, 0, 2]], dtype=np.float64)
    vectors = np.empty((count, WIDTH), dtype=np.float32)
    for start in range(0, count, _PIECE):
        stop = min(start + _PIECE, count)
        piece = np.ascontiguousarray(positions[start : stop + 1].transpose(2, 1, 0), dtype=np.float64)
        piece -= origin[:, None, None]
        x = turned[1] * piece[0] - turned[0] * piece[2]
        z = turned[0] * piece[0] + turned[1] * piece[2]
        span = slice(start, stop + 1)
        vectors[start:stop] = _encode_piece(np.stack([x, piece[1], z]), sine[span], cosine[span]).T
    return vectors


def _headings(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Sine and cosine (T,) of the smoothed heading after the clip has been turned, and those of this turn."""
    hips = (positions[:, _RIGHT_HIP] - positions[:, _LEFT_HIP]).astype(np.float64)
    shoulders = (positions[:, _RIGHT_SHOULDER] - positions[:, _LEFT_SHOULDER]).astype(np.float64)
    first = _facing((hips + shoulders)[:1])
    facing = _facing(shoulders - hips)
    radius = 4 * _SIGMA
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SIGMA) ** 2)
    kernel /= kernel.sum()
    smooth = np.stack([np.convolve(np.pad(part, radius, mode="edge"), kernel, "valid") for part in facing])
    sine, cosine = _unit(smooth)
    sine0, cosine0 = (float(part[0]) for part in _unit(np.stack(first)))
    sine, cosine = cosine0 * sine - sine0 * cosine, cosine0 * cosine + sine0 * sine
    sine[0], cosine[0] = 0.0, 1.0
    return sine, cosine, (sine0, cosine0)


def _facing(across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and z (T,) of the direction ahead, for the line (T, 3) from left to right; shorter where that line tilts."""
    length = np.linalg.norm(across, axis=-1)
    length[length == 0] = 1
    return across[:, 2] / length, -across[:, 0] / length


def _unit(facing: np.ndarray) -> np.ndarray:
    """x and z (2, T) at unit length; +Z where there is no direction."""
    length = np.hypot(*facing)
    return np.where(length > 0, facing, np.array([[0.0], [1.0]])) / np.where(length > 0, length, 1)


def _encode_piece(points: np.ndarray, sine: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """(263, N) numbers of N frames, from points (3, 22, N + 1) and the heading (N + 1,)."""
    count = points.shape[2] - 1
    result = np.empty((WIDTH, count), dtype=np.float32)
    turn = np.arctan2(sine[1:] * cosine[:-1] - cosine[1:] * sine[:-1], cosine[1:] * cosine[:-1] + sine[1:] * sine[:-1])
    result[0] = -0.5 * turn
    result[3] = points[1, 0, :-1]

    # differences of places in the world need their digits, all else is exact enough in single precision
    sine, cosine = sine.astype(np.float32), cosine.astype(np.float32)
    s, c = sine[:-1], cosine[:-1]
    steps = (points[:, :, 1:] - points[:, :, :-1]).astype(np.float32)
    result[1] = cosine[1:] * steps[0, 0] - sine[1:] * steps[2, 0]
    result[2] = sine[1:] * steps[0, 0] + cosine[1:] * steps[2, 0]
    local = points[:, 1:, :-1] - points[:, :1, :-1] * np.array([1, 0, 1])[:, None, None]
    _turn(local.astype(np.float32), s, c, result[4:67].reshape(21, 3, count))
    _turn(steps, s, c, result[193:259].reshape(22, 3, count))
    feet = steps[:, _FEET]
    result[259:] = np.einsum("ijk,ijk->jk", feet, feet) < _STILL

    world = _bone_rotations(points[:, :, :-1])
    sixes = result[67:193].reshape(21, 2, 3, count)
    first = world[:, :2, [_ROW[joint] for joint in _FIRST]]
    row = [joint - 1 for joint in _FIRST]
    for column in (0, 1):
        x, y, z = first[:, column]
        sixes[row, column, 0] = c * x + s * z
        sixes[row, column, 1] = y
        sixes[row, column, 2] = c * z - s * x
    row = [joint - 1 for joint in _INNER]
    child = world[:, :2, [_ROW[joint] for joint in _INNER]]
    parent = world[:, :, [_ROW[BODY.parents[joint]] for joint in _INNER]]
    for column in (0, 1):
        dot = parent[0] * child[0, column]
        dot += parent[1] * child[1, column]
        dot += parent[2] * child[2, column]
        sixes[row, column] = dot.swapaxes(0, 1)
    return result


def _turn(vectors: np.ndarray, sine: np.ndarray, cosine: np.ndarray, out: np.ndarray) -> None:
    """Vectors (3, J, N) of the world into the heading frame, (J, 3, N)."""
    out[:, 0] = cosine * vectors[0] - sine * vectors[2]
    out[:, 1] = vectors[1]
    out[:, 2] = sine * vectors[0] + cosine * vectors[2]


def _bone_rotations(points: np.ndarray) -> np.ndarray:
    """World rotation matrices (3, 3, 21, N) of the bones that end in `_ORDER`, from points (3, 22, N).

    With u the axis and v the bone, the smallest rotation from u to v is v u' on u, and on the plane across u
    1 - w w' / (1 + u.v), where w is the part of v in that plane; u gets back -w.
    """
    bones = (points[:, _ORDER] - points[:, [BODY.parents[joint] for joint in _ORDER]]).astype(np.float32)
    length = np.sqrt(np.einsum("ijk,ijk->jk", bones, bones))
    bones /= np.maximum(length, 1e-30)
    degenerate = length.min() < 1e-9
    matrices = np.empty((3, 3, *bones.shape[1:]), dtype=np.float32)
    start = 0
    for (axis, sign), joints in _AXES.items():
        rows = slice(start, start + len(joints))
        start += len(joints)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        along, a, b = sign * bones[axis, rows], bones[i, rows], bones[j, rows]
        if degenerate:
            along = np.where(length[rows] < 1e-9, 1.0, along)
        fraction = 1 / np.maximum(1 + along, 1e-7)
        if along.min() < -0.5:  # towards opposite: the same from the part across, which keeps its digits
            a = np.where((along < 0) & (np.hypot(a, b) < 1e-7), 1e-7, a)
            fraction = np.where(along < -0.5, (1 - along) / np.maximum(a * a + b * b, 1e-14), fraction)
        matrices[axis, axis, rows] = along
        matrices[i, axis, rows] = sign * a
        matrices[j, axis, rows] = sign * b
        matrices[axis, i, rows] = -sign * a
        matrices[axis, j, rows] = -sign * b
        across = fraction * a
        matrices[i, i, rows] = 1 - across * a
        across *= -b
        matrices[i, j, rows] = across
        matrices[j, i, rows] = across
        matrices[j, j, rows] = 1 - fraction * b * b
    return matrices


def decode(vectors: np.ndarray) -> np.ndarray:
    """HumanML3D vectors (T, 263) -> joint positions (T, 22, 3) in metres, from the positions and steps in them.

    The motion begins at x = z = 0 with its heading along +Z.

    Raises:
        ValueError: the shape is another one, or a number is not finite.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != WIDTH or not len(vectors):
        raise ValueError(f"HumanML3D vectors are (T, 263), got {vectors.shape}")
    root = _checked(vectors)[:, :4].astype(np.float64)
    heading = np.concatenate([[0.0], -2 * np.cumsum(root[:-1, 0])])
    sine, cosine = np.sin(heading), np.cos(heading)
    positions = np.zeros((len(vectors), JOINTS, 3))
    positions[:, 1:] = vectors[:, 4:67].reshape(-1, JOINTS - 1, 3)
    x, z = positions[..., 0].copy(), positions[..., 2].copy()
    positions[..., 0] = cosine[:, None] * x + sine[:, None] * z
    positions[..., 2] = cosine[:, None] * z - sine[:, None] * x
    # a step is given in the frame of the heading at its end
    steps = np.stack(
        [
            cosine[1:] * root[:-1, 1] + sine[1:] * root[:-1, 2],
            cosine[1:] * root[:-1, 2] - sine[1:] * root[:-1, 1],
        ],
        -1,
    )
    positions[1:, :, [0, 2]] += np.cumsum(steps, axis=0)[:, None]
    positions[:, 0, 1] = root[:, 3]
    return positions
