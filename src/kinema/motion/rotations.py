"""Rotations as arrays: unit quaternions in wxyz order, rotation matrices, 6D vectors, rotation vectors, Euler angles.

Every function works on the last axis (or last two, for matrices) and broadcasts over the others. Angles are radians
unless the name says degrees. A quaternion q and -q are the same rotation; `canonical` picks the one with w >= 0.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])
_AXES = {"X": np.array([1.0, 0.0, 0.0]), "Y": np.array([0.0, 1.0, 0.0]), "Z": np.array([0.0, 0.0, 1.0])}


def normalize(vectors: Array) -> Array:
    """Scale to unit length along the last axis; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1.0, length)


def canonical(quats: Array) -> Array:
    """The same rotations with w >= 0."""
    return np.where(quats[..., :1] < 0, -quats, quats)


def multiply(a: Array, b: Array) -> Array:
    """Hamilton product: rotate by b, then by a. (..., 4) x (..., 4) -> (..., 4)."""
    aw, ax, ay, az = a[..., 0], a[..., 1], a[..., 2], a[..., 3]
    bw, bx, by, bz = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def inverse(quats: Array) -> Array:
    """Inverse of unit quaternions."""
    return quats * np.array([1.0, -1.0, -1.0, -1.0], dtype=quats.dtype)


def cross(a: Array, b: Array) -> Array:
    """Cross product; several times faster than np.cross on long arrays."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def rotate(quats: Array, vectors: Array) -> Array:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    axis = quats[..., 1:]
    twice = 2 * cross(axis, vectors)
    return vectors + quats[..., :1] * twice + cross(axis, twice)


def from_axis_angle(axis: Array, angle: Array) -> Array:
    """Rotation by `angle` (...) about the unit vector `axis` (..., 3)."""
    half = np.asarray(angle)[..., None] / 2
    axis = np.broadcast_to(axis, (*half.shape[:-1], 3))
    return np.concatenate([np.cos(half), np.sin(half) * axis], -1)


def about_y(angle: Array) -> Array:
    """Rotation about +Y (the vertical) by `angle` (...)."""
    return from_axis_angle(_AXES["Y"], angle)


def from_rotation_vector(vectors: Array) -> Array:
    """Exponential map: axis times angle (..., 3) -> (..., 4)."""
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)
    # sin(x/2)/x by its series near zero, where the quotient loses digits
    factor = np.where(angle < 1e-4, 0.5 - angle**2 / 48, np.sin(angle / 2) / np.where(angle == 0, 1, angle))
    return np.concatenate([np.cos(angle / 2), factor * vectors], -1)


def to_rotation_vector(quats: Array) -> Array:
    """Logarithm: (..., 4) -> axis times angle (..., 3), the angle in [0, pi]."""
    quats = canonical(quats)
    sine = np.linalg.norm(quats[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quats[..., :1])
    factor = np.where(sine < 1e-7, 2.0, angle / np.where(sine == 0, 1, sine))
    return factor * quats[..., 1:]


def angle_between(a: Array, b: Array) -> Array:
    """Geodesic distance of two rotations in radians, (...)."""
    difference = multiply(inverse(a), b)
    return 2 * np.arctan2(np.linalg.norm(difference[..., 1:], axis=-1), np.abs(difference[..., 0]))


def to_matrix(quats: Array) -> Array:
    """(..., 4) -> (..., 3, 3); columns are the rotated axes."""
    w, x, y, z = np.moveaxis(quats, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def from_matrix(matrices: Array) -> Array:
    """Rotation matrices (..., 3, 3) -> (..., 4), by the largest of the four squared components (Shepperd 1978)."""
    m = matrices
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    squares = np.stack([trace, m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1)
    candidates = np.stack(
        [
            np.stack(
                [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
            ),
            np.stack(
                [
                    m[..., 2, 1] - m[..., 1, 2],
                    1 + 2 * m[..., 0, 0] - trace,
                    m[..., 0, 1] + m[..., 1, 0],
                    m[..., 0, 2] + m[..., 2, 0],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 0, 1] + m[..., 1, 0],
                    1 + 2 * m[..., 1, 1] - trace,
                    m[..., 1, 2] + m[..., 2, 1],
                ],
                -1,
            ),
            np.stack(
                [
                    m[..., 1, 0] - m[..., 0, 1],
                    m[..., 0, 2] + m[..., 2, 0],
                    m[..., 1, 2] + m[..., 2, 1],
                    1 + 2 * m[..., 2, 2] - trace,
                ],
                -1,
            ),
        ],
        -2,
    )
    best = np.argmax(squares, -1)[..., None, None]
    return canonical(normalize(np.take_along_axis(candidates, best, -2)[..., 0, :]))


def to_6d(quats: Array) -> Array:
    """First two columns of the rotation matrix, one after the other (Zhou et al. 2019): (..., 4) -> (..., 6)."""
    matrices = to_matrix(quats)
    return np.concatenate([matrices[..., 0], matrices[..., 1]], -1)


def from_6d(vectors: Array) -> Array:
    """Gram-Schmidt on two 3-vectors (..., 6) -> (..., 4); any non-degenerate input gives a rotation."""
    first = normalize(vectors[..., :3])
    second = vectors[..., 3:]
    second = normalize(second - np.sum(first * second, -1, keepdims=True) * first)
    return from_matrix(np.stack([first, second, cross(first, second)], -1))


def from_axes(x: Array, y: Array) -> Array:
    """The rotations that turn +X to `x` (..., 3), and +Y to `y` (..., 3) as far as it is across `x` -> (..., 4)."""
    return from_6d(np.concatenate([x, y], -1))


def from_euler(angles: Array, order: str) -> Array:
    """Intrinsic Euler angles (..., len(order)) in radians, applied in the order given ("ZXY": Z first) -> (..., 4)."""
    half = np.moveaxis(np.asarray(angles), -1, 0) / 2
    w, v = 1.0, [0.0, 0.0, 0.0]
    for cos, sin, axis in zip(np.cos(half), np.sin(half), order, strict=True):
        k = "XYZ".index(axis)
        i, j = (k + 1) % 3, (k + 2) % 3
        # times a rotation about one axis, which costs half of a full product
        w, v[k] = w * cos - v[k] * sin, v[k] * cos + w * sin
        v[i], v[j] = v[i] * cos + v[j] * sin, v[j] * cos - v[i] * sin
    result = np.empty((*half.shape[1:], 4))
    result[..., 0], (result[..., 1], result[..., 2], result[..., 3]) = w, v
    return result


def to_euler(quats: Array, order: str) -> Array:
    """Unit quaternions -> intrinsic Euler angles (..., 3) in radians for an order of three different axes.

    At gimbal lock the third angle is set to zero.
    """
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    w, a, b, c = (quats[..., column] for column in (0, 1 + i, 1 + j, 1 + k))
    sine = np.clip(2 * (w * b + sign * a * c), -1, 1)
    second = np.arcsin(sine)
    locked = np.abs(sine) > 1 - 1e-13
    # of the rotation matrix only those entries in which the angles stand alone
    first = np.where(
        locked,
        np.arctan2(2 * (w * a + sign * b * c), 1 - 2 * (a * a + c * c)),
        np.arctan2(2 * (w * a - sign * b * c), 1 - 2 * (a * a + b * b)),
    )
    third = np.where(locked, 0.0, np.arctan2(2 * (w * c - sign * a * b), 1 - 2 * (b * b + c * c)))
    return np.stack([first, second, third], -1)


def between(a: Array, b: Array) -> Array:
    """Smallest rotation that turns the direction a (..., 3) into the direction b (..., 3)."""
    a, b = normalize(a), normalize(b)
    w = 1 + np.sum(a * b, -1, keepdims=True)
    # the same from a + b keeps its digits where the directions are nearly opposite
    w = np.where(w < 0.1, np.sum((a + b) ** 2, -1, keepdims=True) / 2, w)
    # opposite directions: turn half around about any axis across a
    across = cross(a, np.where(np.abs(a[..., :1]) < 0.9, _AXES["X"], _AXES["Y"]))
    opposite = np.concatenate([np.zeros_like(w), across], -1)
    return normalize(np.where(w < 1e-20, opposite, np.concatenate([w, cross(a, b)], -1)))


def twist(quats: Array, axis: Array) -> Array:
    """The part of a rotation that turns about the unit vector `axis` (..., 3), so that q = swing * twist."""
    along = np.sum(quats[..., 1:] * axis, -1, keepdims=True)
    part = np.concatenate([quats[..., :1], along * axis], -1)
    length = np.linalg.norm(part, axis=-1, keepdims=True)
    return np.where(length < 1e-9, IDENTITY, part / np.where(length == 0, 1, length))


def slerp(a: Array, b: Array, t: Array) -> Array:
    """Shortest-path spherical interpolation of (..., 4) and (..., 4) at t (...) in [0, 1]."""
    b = np.where(np.sum(a * b, -1, keepdims=True) < 0, -b, b)
    step = to_rotation_vector(multiply(inverse(a), b))
    return multiply(a, from_rotation_vector(np.asarray(t)[..., None] * step))


def unroll(quats: Array) -> Array:
    """Flip signs along the first axis (time) so that neighbouring quaternions lie in the same hemisphere."""
    flips = np.sum(quats[1:] * quats[:-1], -1) < 0
    sign = np.where(np.cumsum(flips, axis=0) % 2 == 1, -1.0, 1.0)
    return np.concatenate([quats[:1], quats[1:] * sign[..., None]], 0)
