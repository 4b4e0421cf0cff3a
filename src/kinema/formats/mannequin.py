"""The figure that Kinema draws: a body mesh made from the skeleton itself, with its skin weights.

A human skeleton whose joints are known by name, and whose rest pose stands, gets an artist's mannequin, lofted from
elliptic rings whose radii are those of an adult of 1.72 m; any other skeleton gets a tapered limb along every bone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.curves import interpolate, smoothstep
from kinema.motion.joint_names import match_joints
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.skeleton import BODY, Skeleton

BODY_MATERIAL, JOINT_MATERIAL, LEFT_MATERIAL, RIGHT_MATERIAL = range(4)
# name and sRGB colour; the hands and feet tell left from right, as motion is judged by which foot leads
MATERIALS = (
    ("body", (0.80, 0.815, 0.84)),
    ("joint", (0.25, 0.29, 0.36)),
    ("left", (0.10, 0.60, 0.62)),
    ("right", (0.93, 0.47, 0.26)),
)


@dataclass(frozen=True, eq=False)
class Mannequin:
    """A skinned triangle mesh in the rest pose of a skeleton whose root is at the origin.

    Args:
        vertices: (V, 3) metres.
        normals: (V, 3) unit length, pointing out.
        triangles: (F, 3) vertex indices, counter-clockwise seen from outside.
        materials: (F,) index into `MATERIALS`.
        joints: (V, 4) the joints that move a vertex; 0 where the weight is 0.
        weights: (V, 4) how much each of them does; every row sums to 1.
        inverse_bind: (J, 3) translation from the root's frame to each joint's; rest rotations are identity.
    """

    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    materials: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    inverse_bind: np.ndarray


@lru_cache(maxsize=8)
def build_mannequin(skeleton: Skeleton) -> Mannequin:
    """The mesh of a skeleton: a human body if its joints are known by name and its rest pose stands facing +Z."""
    parts = _Parts(len(skeleton))
    try:
        joints = match_joints(skeleton)
    except ValueError:
        joints = {}
    if joints and _stands(skeleton.rest_positions, joints):
        _human(skeleton, parts, joints)
    else:
        _limbs(skeleton, parts, joints)
    return parts.mesh(skeleton)


def pose_mannequin(
    mesh: Mannequin, skeleton: Skeleton, root_position: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and unit normals (..., V, 3) in the world, by linear blend skinning.

    Args:
        mesh: of V vertices, built from `skeleton`.
        skeleton: J joints.
        root_position: (..., 3) metres.
        rotations: (..., J, 4) local unit quaternions wxyz.
    """
    positions, world = forward_kinematics(skeleton, root_position, rotations)
    turn = rot.to_matrix(world)
    shift = positions + (turn @ mesh.inverse_bind[..., None])[..., 0]
    matrices = np.concatenate([turn, shift[..., None]], -1)
    blend = np.zeros((*root_position.shape[:-1], len(mesh.vertices), 3, 4))
    for slot in range(4):
        used = mesh.weights[:, slot] > 0
        blend[..., used, :, :] += mesh.weights[used, slot, None, None] * matrices[..., mesh.joints[used, slot], :, :]
    vertices = (blend[..., :3] @ mesh.vertices[..., None])[..., 0] + blend[..., 3]
    return vertices, rot.normalize((blend[..., :3] @ mesh.normals[..., None])[..., 0])


class _Parts:
    """Collects the closed surfaces that make up a mesh."""

    def __init__(self, joint_count: int) -> None:
        self.joint_count = joint_count
        self.vertices: list[np.ndarray] = []
        self.triangles: list[np.ndarray] = []
        self.materials: list[np.ndarray] = []
        self.joints: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        self.count = 0

    def add(self, rings: np.ndarray, joints: np.ndarray, weights: np.ndarray, materials: np.ndarray) -> None:
        """A loft (R, S, 3) closed at both ends; joints and weights (R, S, 4), material of each strip (R - 1, S)."""
        ring_count, sides = rings.shape[:2]
        index = np.arange(ring_count * sides).reshape(ring_count, sides)
        a, b = index[:-1], np.roll(index, -1, 1)[:-1]
        c, d = index[1:], np.roll(index, -1, 1)[1:]
        strips = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], 2).reshape(-1, 3)
        start, end = ring_count * sides, ring_count * sides + 1
        caps = [np.stack([np.full(sides, start), np.roll(index[0], -1), index[0]], -1)]
        caps.append(np.stack([np.full(sides, end), index[-1], np.roll(index[-1], -1)], -1))
        vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(1)])
        triangles = np.concatenate([strips, *caps])
        surface = np.concatenate([np.repeat(materials.ravel(), 2), materials[0], materials[-1]])
        corners = vertices[triangles]
        volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
        self.vertices.append(vertices)
        # mirrored parts come out inside out
        self.triangles.append((triangles if volume > 0 else triangles[:, ::-1]) + self.count)
        self.materials.append(surface)
        self.joints.append(np.concatenate([joints.reshape(-1, 4), joints[[0, -1], 0]]))
        self.weights.append(np.concatenate([weights.reshape(-1, 4), weights[[0, -1], 0]]))
        self.count += len(vertices)

    def add_weighted(self, rings: np.ndarray, dense: np.ndarray, materials: np.ndarray) -> None:
        """Like `add`, with the weight of every joint (R, S, J); the four largest are kept."""
        joints = np.argsort(-dense, -1, kind="stable")[..., :4]
        weights = np.take_along_axis(dense, joints, -1)
        self.add(rings, joints, weights, materials)

    def mesh(self, skeleton: Skeleton) -> Mannequin:
        vertices, triangles = np.concatenate(self.vertices), np.concatenate(self.triangles)
        corners = vertices[triangles]
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.zeros_like(vertices)
        for corner in range(3):
            np.add.at(normals, triangles[:, corner], faces)
        normals = rot.normalize(normals)
        # a bone without length has rings without area; any direction does there
        normals[np.abs(normals).max(1) < 0.1] = [0.0, 1.0, 0.0]
        weights = np.concatenate(self.weights)
        weights = np.where(weights < 0.01, 0, weights)
        weights /= weights.sum(1, keepdims=True)
        joints = np.where(weights > 0, np.concatenate(self.joints), 0)
        arrays = (vertices, normals, triangles, np.concatenate(self.materials), joints, weights)
        mesh = Mannequin(*arrays, inverse_bind=-skeleton.rest_positions)
        for array in (*arrays, mesh.inverse_bind):
            array.flags.writeable = False
        return mesh


def _curve(rows: list[tuple[float, ...]], count: int) -> np.ndarray:
    """(count, K) a smooth curve through K columns of control rows, evenly spaced in row number."""
    return interpolate(np.array(rows), np.linspace(0, len(rows) - 1, count))


def _step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below low, 1 above high, smooth between."""
    return smoothstep((x - low) / (high - low))


def _ring(sides: int, power: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine (S,) of a superellipse; power 2 is an ellipse, above it is boxier."""
    angle = 2 * np.pi * np.arange(sides) / sides
    cosine, sine = np.cos(angle), np.sin(angle)
    return tuple(np.sign(part) * np.abs(part) ** (2 / power) for part in (cosine, sine))  # type: ignore[return-value]


def _chain_weights(place: np.ndarray, joints: list[int], starts: list[float], half: list[float], total: int):
    """(R, J) weights along a chain: joint k takes over around `starts[k]`, within +-`half[k]`."""
    dense = np.zeros((len(place), total))
    dense[:, joints[0]] = 1
    for before, joint, start, width in zip(joints[:-1], joints[1:], starts, half, strict=True):
        share = _step(place, start - width, start + width) * dense[:, before]
        dense[:, joint] += share
        dense[:, before] -= share
    return dense


# Radii in metres at places along a limb: 0 is its first joint, 1 the second, 2 the third.
# columns: place, to the side, to the front, to the back, shift to the outside
_LEG = [
    (-0.21, 0.018, 0.018, 0.022, 0.000),
    (-0.17, 0.048, 0.048, 0.058, 0.002),
    (-0.10, 0.074, 0.074, 0.088, 0.006),
    (0.00, 0.086, 0.086, 0.102, 0.008),
    (0.14, 0.087, 0.090, 0.100, 0.006),
    (0.32, 0.081, 0.090, 0.087, 0.004),
    (0.52, 0.072, 0.082, 0.075, 0.003),
    (0.72, 0.061, 0.069, 0.064, 0.001),
    (0.88, 0.053, 0.058, 0.056, 0.000),
    (0.95, 0.051, 0.056, 0.053, 0.000),
    (1.00, 0.051, 0.056, 0.051, 0.000),
    (1.06, 0.049, 0.053, 0.051, 0.000),
    (1.15, 0.051, 0.046, 0.060, 0.001),
    (1.28, 0.055, 0.044, 0.071, 0.003),
    (1.42, 0.052, 0.042, 0.068, 0.003),
    (1.60, 0.042, 0.038, 0.052, 0.001),
    (1.76, 0.034, 0.034, 0.040, 0.000),
    (1.90, 0.031, 0.033, 0.036, 0.000),
    (2.00, 0.032, 0.034, 0.036, 0.000),
    (2.05, 0.026, 0.028, 0.030, 0.000),
]
_ARM = [
    (-0.165, 0.012, 0.012, 0.012, 0.000),
    (-0.15, 0.026, 0.027, 0.027, 0.000),
    (-0.10, 0.042, 0.044, 0.044, 0.000),
    (-0.01, 0.052, 0.055, 0.055, 0.000),
    (0.12, 0.055, 0.056, 0.056, 0.001),
    (0.28, 0.050, 0.050, 0.051, 0.001),
    (0.46, 0.045, 0.046, 0.046, 0.000),
    (0.66, 0.042, 0.042, 0.043, 0.000),
    (0.86, 0.037, 0.037, 0.039, 0.000),
    (0.94, 0.036, 0.036, 0.039, 0.000),
    (1.00, 0.036, 0.036, 0.040, 0.000),
    (1.06, 0.037, 0.037, 0.040, 0.000),
    (1.18, 0.040, 0.041, 0.040, 0.000),
    (1.34, 0.039, 0.041, 0.039, 0.000),
    (1.56, 0.033, 0.036, 0.034, 0.000),
    (1.78, 0.026, 0.030, 0.028, 0.000),
    (1.94, 0.022, 0.028, 0.027, 0.000),
    (2.03, 0.017, 0.024, 0.023, 0.000),
]
# What the tables fit: BODY's heights of hips, shoulders and head above the pelvis, the length of its torso and a leg.
_BODY_HEIGHTS = np.array([-0.099, 0.406, 0.521])
_BODY_LENGTH = 0.505 + 0.402 + 0.432
# columns: height above the pelvis, half width, to the front, to the back
_TORSO = [
    (-0.196, 0.010, 0.014, 0.018),
    (-0.188, 0.036, 0.044, 0.052),
    (-0.165, 0.082, 0.072, 0.090),
    (-0.130, 0.130, 0.090, 0.116),
    (-0.090, 0.158, 0.098, 0.124),
    (-0.045, 0.166, 0.100, 0.120),
    (0.010, 0.158, 0.098, 0.106),
    (0.060, 0.142, 0.094, 0.090),
    (0.110, 0.132, 0.092, 0.083),
    (0.160, 0.134, 0.096, 0.084),
    (0.210, 0.143, 0.106, 0.092),
    (0.260, 0.154, 0.115, 0.102),
    (0.310, 0.162, 0.118, 0.108),
    (0.350, 0.166, 0.109, 0.108),
    (0.385, 0.168, 0.092, 0.099),
    (0.412, 0.166, 0.076, 0.086),
    (0.434, 0.146, 0.064, 0.073),
    (0.452, 0.108, 0.057, 0.063),
    (0.468, 0.070, 0.053, 0.057),
    (0.490, 0.056, 0.052, 0.053),
    (0.535, 0.054, 0.052, 0.051),
    (0.550, 0.034, 0.034, 0.034),
]
# columns: height above the head joint, half width, front and back as places on Z
_HEAD = [
    (-0.062, 0.010, 0.076, 0.052),
    (-0.058, 0.030, 0.090, 0.022),
    (-0.044, 0.049, 0.098, -0.014),
    (-0.020, 0.061, 0.100, -0.048),
    (0.008, 0.068, 0.100, -0.068),
    (0.034, 0.073, 0.101, -0.082),
    (0.060, 0.076, 0.103, -0.090),
    (0.086, 0.078, 0.101, -0.092),
    (0.110, 0.076, 0.095, -0.089),
    (0.132, 0.067, 0.082, -0.078),
    (0.150, 0.053, 0.063, -0.060),
    (0.163, 0.034, 0.041, -0.038),
    (0.170, 0.012, 0.016, -0.014),
]
# columns: place from the ankle forwards, half width, height of the top above the sole
_FOOT = [
    (-0.066, 0.010, 0.034),
    (-0.062, 0.022, 0.050),
    (-0.048, 0.031, 0.072),
    (-0.022, 0.036, 0.096),
    (0.010, 0.037, 0.101),
    (0.040, 0.039, 0.084),
    (0.070, 0.043, 0.064),
    (0.100, 0.046, 0.048),
    (0.125, 0.045, 0.039),
    (0.148, 0.039, 0.032),
    (0.163, 0.026, 0.025),
    (0.168, 0.012, 0.018),
]
# columns: part of the hand's length, half width, half thickness, bend towards the palm
_HAND = [
    (-0.10, 0.024, 0.020, 0.000),
    (0.02, 0.029, 0.020, 0.000),
    (0.16, 0.037, 0.019, 0.000),
    (0.34, 0.043, 0.017, 0.001),
    (0.52, 0.043, 0.015, 0.003),
    (0.70, 0.038, 0.013, 0.008),
    (0.86, 0.030, 0.011, 0.014),
    (0.96, 0.019, 0.008, 0.018),
    (1.00, 0.008, 0.004, 0.020),
]
# the same of a palm, its places relative to the way from wrist to knuckles
_PALM = [
    (-0.18, 0.024, 0.020, 0.000),
    (0.04, 0.029, 0.020, 0.000),
    (0.30, 0.036, 0.019, 0.000),
    (0.65, 0.041, 0.016, 0.001),
    (0.90, 0.041, 0.013, 0.002),
    (1.03, 0.034, 0.010, 0.003),
    (1.08, 0.012, 0.004, 0.004),
]
# radius at the root of a finger, metres
_FINGERS = {"thumb": 0.0125, "index": 0.0095, "middle": 0.0098, "ring": 0.0092, "pinky": 0.0080}


def _stands(rest: np.ndarray, joints: dict[str, int]) -> bool:
    """Whether the rest pose is upright and faces +Z, left on +X: what the tables of the human body assume."""
    hips = (rest[joints["left_hip"]] + rest[joints["right_hip"]]) / 2
    shoulders = (rest[joints["left_shoulder"]] + rest[joints["right_shoulder"]]) / 2
    up, legs = shoulders - hips, rest[joints["left_ankle"]] + rest[joints["right_ankle"]] - 2 * hips
    upright = up[1] > 0.8 * np.linalg.norm(up) and -legs[1] > 0.8 * np.linalg.norm(legs)
    return bool(
        upright
        and all(rest[joints[f"left_{name}"]][0] > rest[joints[f"right_{name}"]][0] for name in ("hip", "shoulder"))
    )


def _human(skeleton: Skeleton, parts: _Parts, joint: dict[str, int]) -> None:
    """The mannequin; heights follow the joints, radii scale with the length of torso and legs."""
    total = len(skeleton)
    rest = skeleton.rest_positions
    place = {name: rest[index] for name, index in joint.items()}
    hips, shoulders = ((place[f"left_{name}"] + place[f"right_{name}"]) / 2 for name in ("hip", "shoulder"))
    leg = [place[f"left_{name}"] for name in ("hip", "knee", "ankle")]
    length = np.linalg.norm(shoulders - hips) + sum(np.linalg.norm(b - a) for a, b in pairwise(leg))
    size = float(length) / _BODY_LENGTH

    def tip(name: str) -> np.ndarray:
        known = skeleton.tips[joint[name]]
        return known if np.abs(known).max() > 0 else size * BODY.tips[BODY.index(name)]

    # torso and neck in one piece, along the spine
    spine = [joint[name] for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head") if name in joint]
    rows = _curve(_TORSO, 32)
    place_y = rows[:, 0]
    here = np.array([hips[1], shoulders[1], place["head"][1]])
    height = np.interp(place_y, _BODY_HEIGHTS, here)
    for beyond, end in ((place_y < _BODY_HEIGHTS[0], 0), (place_y > _BODY_HEIGHTS[-1], -1)):
        height[beyond] = here[end] + size * (place_y[beyond] - _BODY_HEIGHTS[end])
    cosine, sine = _ring(20, 2.35)
    axis = np.stack([hips, *(rest[spine[1:]])])
    axis = axis[np.argsort(axis[:, 1], kind="stable")]
    centre_x, centre_z = (np.interp(height, axis[:, 1], axis[:, column]) for column in (0, 2))
    depth = np.where(sine > 0, rows[:, 2:3] * sine, rows[:, 3:4] * sine)
    rings = np.stack(
        [
            centre_x[:, None] + size * rows[:, 1:2] * cosine,
            np.broadcast_to(height[:, None], depth.shape),
            centre_z[:, None] + size * depth,
        ],
        -1,
    )
    # shoulders slope down from the neck, so the rings bend down at the sides, above the chest
    slope = _step(place_y, 0.36, 0.44) * (1 - _step(place_y, 0.44, 0.48))
    rings[..., 1] -= size * 0.02 * slope[:, None] * np.abs(cosine) ** 2
    starts = np.maximum.accumulate(np.interp(rest[spine[1:], 1], here, _BODY_HEIGHTS))
    widths = [0.045] * (len(spine) - 3) + [0.035, 0.02]
    dense = _chain_weights(place_y, spine, starts.tolist(), widths, total)
    dense = np.repeat(dense[:, None], len(cosine), 1)
    across = rings[..., 0] / size
    for side, sign in (("left", 1.0), ("right", -1.0)):
        collar = 0.75 * _step(sign * across, 0.02, 0.13) * (_step(place_y, 0.27, 0.40))[:, None]
        thigh = 0.5 * _step(sign * across, 0.02, 0.10) * (1 - _step(place_y, -0.16, -0.06))[:, None]
        for name, share in ((f"{side}_collar", collar), (f"{side}_hip", thigh)):
            if name in joint:
                dense *= 1 - share[..., None]
                dense[..., joint[name]] += share
    materials = np.zeros((len(rings) - 1, len(cosine)), int)
    middle = (place_y[1:] + place_y[:-1]) / 2
    materials[middle < 0.02] = JOINT_MATERIAL
    materials[middle > 0.462] = JOINT_MATERIAL
    parts.add_weighted(rings, dense, materials)

    # head
    rows = _curve(_HEAD, 18)
    cosine, sine = _ring(16, 2.2)
    middle_z = (0.62 * rows[:, 2:3] + 0.38 * rows[:, 3:4]) - 0.03
    depth = np.where(sine > 0, (rows[:, 2:3] - middle_z) * sine, (middle_z - rows[:, 3:4]) * sine)
    rings = place["head"] + size * np.stack(
        [rows[:, 1:2] * cosine, np.broadcast_to(rows[:, :1], depth.shape), middle_z + depth], -1
    )
    materials = np.zeros((len(rings) - 1, len(cosine)), int)
    middle = (rows[1:, 0] + rows[:-1, 0]) / 2
    facing = (sine + np.roll(sine, -1)) / 2 > 0.45
    materials[np.ix_((middle > 0.030) & (middle < 0.082), facing)] = JOINT_MATERIAL
    dense = np.zeros((*rings.shape[:2], total))
    dense[..., joint["head"]] = 1
    parts.add_weighted(rings, dense, materials)

    for side, sign, colour in (("left", 1.0, LEFT_MATERIAL), ("right", -1.0, RIGHT_MATERIAL)):
        thigh, shin, ankle = (joint[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        upper, fore, wrist = (joint[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        above = joint.get(f"{side}_collar", skeleton.parents[upper])
        legs, arms = [joint["pelvis"], thigh, shin, ankle], [above, upper, fore, wrist]
        _limb(parts, _LEG, 30, 14, rest[legs[1:]], legs, size, np.array([sign, 0.0, 0.0]), (0.02, 0.09), 0.30)
        _limb(parts, _ARM, 26, 12, rest[arms[1:]], arms, size, np.array([0.0, 1.0, 0.0]), (-0.06, 0.14), -1.0)
        toes = joint.get(f"{side}_foot", ankle)
        ball = rest[toes] if toes != ankle else rest[ankle] + size * BODY.offsets[BODY.index(f"{side}_foot")]
        _foot(parts, rest[ankle], ball, [ankle, toes], size, colour)
        fingers = {
            finger: [joint[f"{side}_{finger}{number}"] for number in (1, 2, 3) if f"{side}_{finger}{number}" in joint]
            for finger in _FINGERS
        }
        knuckles = [rest[chain[0]] for finger, chain in fingers.items() if chain and finger != "thumb"]
        if len(knuckles) > 2:  # fewer stand for all of the fingers, as those of CMU do
            palm = np.mean(knuckles, 0) - rest[wrist]
            _hand(parts, _PALM, rest[wrist], palm, [fore, wrist], size, colour)
            for finger, chain in fingers.items():
                if chain:
                    _finger(skeleton, parts, wrist, chain, size * _FINGERS[finger], colour)
        else:
            reach = tip(f"{side}_wrist")
            _hand(parts, _HAND, rest[wrist], reach, [fore, wrist], size, colour)
            _thumb(parts, rest[wrist], reach, wrist, size, colour)


def _limb(
    parts: _Parts,
    table: list[tuple[float, ...]],
    rings_count: int,
    sides: int,
    points: np.ndarray,
    joints: list[int],
    size: float,
    outside: np.ndarray,
    root_blend: tuple[float, float],
    dark_to: float,
) -> None:
    """An arm or a leg through three points (3, 3); `joints` are the one above it and its own three.

    `outside` is the direction of the table's side column; `root_blend` is the place where the limb's first joint takes
    over from the one above, and half the width of that, both as parts of the first bone; the limb is dark from its
    top to the place `dark_to`.
    """
    rows = _curve(table, rings_count)
    where = rows[:, 0]
    path = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])

    def along(at: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(at, [-1, 0, 1, 2, 3], path[:, axis]) for axis in range(3)], -1)

    centre = along(where)
    tangent = rot.normalize(along(where + 0.08) - along(where - 0.08))
    front = _front(tangent)
    side = np.cross(tangent, front)
    side *= np.where(side @ outside < 0, -1.0, 1.0)[:, None]
    cosine, sine = _ring(sides)
    depth = np.where(sine > 0, rows[:, 2:3] * sine, rows[:, 3:4] * sine)
    centre = centre + size * rows[:, 4:5] * side
    rings = centre[:, None] + size * (
        (rows[:, 1:2] * cosine)[..., None] * side[:, None] + depth[..., None] * front[:, None]
    )
    dense = _chain_weights(where, joints, [root_blend[0], 1.0, 2.0], [root_blend[1], 0.10, 0.08], parts.joint_count)
    middle = (where[1:] + where[:-1]) / 2
    dark = (np.abs(middle - 1) < 0.055) | (middle < dark_to)
    materials = np.where(dark, JOINT_MATERIAL, BODY_MATERIAL)
    parts.add_weighted(rings, np.repeat(dense[:, None], sides, 1), np.repeat(materials[:, None], sides, 1))


def _foot(parts: _Parts, ankle: np.ndarray, toes: np.ndarray, joints: list[int], size: float, colour: int) -> None:
    """A wedge with a flat sole, its front part bound to the toe joint."""
    rows = _curve(_FOOT, 14)
    forward = (toes - ankle) * np.array([1.0, 0.0, 1.0])
    length = float(np.linalg.norm(forward))
    forward = forward / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    side = np.array([forward[2], 0.0, -forward[0]])
    sole = toes[1] - 0.03 * size
    where = np.where((rows[:, 0] > 0) & (rows[:, 0] < 0.1), rows[:, 0] * length / 0.1, rows[:, 0] * size)
    where = np.where(rows[:, 0] >= 0.1, length + (rows[:, 0] - 0.1) * size, where)
    cosine, sine = _ring(12, 2.4)
    top = rows[:, 2:3] * (ankle[1] - sole) / 0.098
    centre = 0.36 * top
    # below the widest place the section is cut off by the floor
    height = np.where(sine > 0, centre + (top - centre) * sine, np.maximum(0, centre * (1 + 1.25 * sine)))
    rings = (
        ankle * np.array([1.0, 0.0, 1.0])
        + where[:, None, None] * forward
        + (size * rows[:, 1:2] * cosine)[..., None] * side
        + (sole + height)[..., None] * np.array([0.0, 1.0, 0.0])
    )
    dense = _chain_weights(where, joints, [length], [0.022 * size], parts.joint_count)
    materials = np.full((len(rings) - 1, len(cosine)), colour)
    parts.add_weighted(rings, np.repeat(dense[:, None], len(cosine), 1), materials)


def _hand(
    parts: _Parts,
    table: list[tuple[float, ...]],
    wrist: np.ndarray,
    reach: np.ndarray,
    joints: list[int],
    size: float,
    colour: int,
) -> None:
    """A mitten or a palm along `reach`, palm down in the T-pose."""
    rows = _curve(table, 11)
    _, front, up = _hand_axes(reach)
    cosine, sine = _ring(10, 2.3)
    rings = (
        wrist
        + rows[:, 0, None, None] * reach
        + (size * rows[:, 1:2] * cosine)[..., None] * front
        + (size * (rows[:, 2:3] * sine - rows[:, 3:4]))[..., None] * up
    )
    dense = _chain_weights(rows[:, 0], joints, [-0.02], [0.08], parts.joint_count)
    materials = np.full((len(rings) - 1, len(cosine)), colour)
    parts.add_weighted(rings, np.repeat(dense[:, None], len(cosine), 1), materials)


def _hand_axes(reach: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along the hand, to the side of the thumb, and out of its back."""
    axis = reach / np.linalg.norm(reach)
    front = _front(axis)
    up = np.cross(front, axis)
    return axis, front, up * (1.0 if up[1] >= 0 else -1.0)


def _thumb(parts: _Parts, wrist: np.ndarray, reach: np.ndarray, joint: int, size: float, colour: int) -> None:
    """The thumb of a mitten."""
    axis, front, up = _hand_axes(reach)
    start = wrist + 0.10 * reach + size * 0.018 * front
    thumb = rot.normalize(0.80 * axis + 0.62 * front - 0.22 * up)
    across = rot.normalize(np.cross(thumb, up))
    upward = np.cross(across, thumb)
    place = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 0.93, 1.0])
    radius = size * np.array([0.010, 0.0155, 0.0150, 0.0130, 0.0120, 0.0095, 0.004])
    cosine, sine = _ring(8)
    rings = start + (0.078 * size * place)[:, None, None] * thumb
    rings = rings + radius[:, None, None] * (cosine[:, None] * across + sine[:, None] * upward)
    _add_rigid(parts, rings, joint, colour)


def _finger(skeleton: Skeleton, parts: _Parts, wrist: int, chain: list[int], radius: float, colour: int) -> None:
    """A finger through its joints, from inside the palm to the tip."""
    rest, last = skeleton.rest_positions, chain[-1]
    bone = skeleton.tips[last]
    if not bone.any():
        ends = [skeleton.offsets[child] for child in skeleton.children[last]]
        bone = ends[0] if ends else 0.8 * skeleton.offsets[last]
    points = np.concatenate([rest[chain], [rest[last] + bone]])
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if lengths.min() < 1e-4:
        return
    knots = np.concatenate([[0], np.cumsum(lengths)])
    place = np.sort(
        np.concatenate([[-0.8 * radius], *(knots[:-1, None] + [0, 0.45 * lengths.min()]), knots[-1] + [-0.004, 0]])
    )
    inside = points[0] - (points[1] - points[0]) / lengths[0] * 0.8 * radius
    centre = np.stack([np.interp(place, [-0.8 * radius, *knots], [inside[k], *points[:, k]]) for k in range(3)], -1)
    thickness = radius * np.interp(place, [0, knots[-1] - 0.006, knots[-1]], [1, 0.78, 0.35])
    side = _across(points[-1] - points[0])
    up = rot.normalize(np.cross(side, points[-1] - points[0]))
    cosine, sine = _ring(7)
    rings = centre[:, None] + thickness[:, None, None] * (cosine[:, None] * side + sine[:, None] * up)
    dense = _chain_weights(place, [wrist, *chain], knots[:-1].tolist(), [radius] * len(chain), parts.joint_count)
    materials = np.full((len(rings) - 1, len(cosine)), colour)
    parts.add_weighted(rings, np.repeat(dense[:, None], len(cosine), 1), materials)


def _limbs(skeleton: Skeleton, parts: _Parts, known: dict[str, int]) -> None:
    """A tapered limb along every bone and a ball at every joint, rigid, for a skeleton of any kind.

    Radii grow with the square root of the length of the longest chain that hangs on a bone, which gives a human's
    thigh 8 cm and forearm 4.5 cm; rest poses may be folded in any way, so nothing is blended. `known` are joints whose
    part is known by name: they get their colour, and the head its shape.
    """
    rest, head = skeleton.rest_positions, known.get("head", -1)
    bones = [(parent, skeleton.offsets[child], child) for child, parent in enumerate(skeleton.parents) if child]
    for joint in range(1, len(skeleton)):
        if not skeleton.children[joint] and joint != head:
            tip = skeleton.tips[joint]
            bones.append((joint, tip if np.abs(tip).max() > 0 else 0.4 * skeleton.offsets[joint], -1))
    reach = np.linalg.norm(skeleton.tips, axis=1)
    for child in range(len(skeleton) - 1, 0, -1):
        parent = skeleton.parents[child]
        reach[parent] = max(reach[parent], reach[child] + np.linalg.norm(skeleton.offsets[child]))
    longest = max(float(reach[0]), 0.01)

    def radius(chain: float) -> float:
        return max(0.061 * float(np.sqrt(chain * longest)), 0.004 * longest)

    colour = {}
    for name, joint in known.items():
        side = LEFT_MATERIAL if name.startswith("left") else RIGHT_MATERIAL if name.startswith("right") else 0
        colour[joint] = side if name.endswith(("ankle", "foot", "wrist")) else BODY_MATERIAL
    balls = np.zeros(len(skeleton))
    # fewer sides where there are many bones, to bound the size of the mesh
    sides = 14 if len(bones) <= 80 else 8
    profile = np.array([-0.06, 0.0, 0.12, 0.3, 0.55, 0.8, 0.95, 1.0, 1.03])
    swell = np.array([0.45, 0.80, 0.98, 1.0, 0.92, 0.80, 0.72, 0.62, 0.35])
    cosine, sine = _ring(sides)
    for joint, bone, child in bones:
        length = float(np.linalg.norm(bone))
        if length < 0.004 * longest:
            continue
        below = float(reach[child]) if child >= 0 else 0.0
        thick = min(radius(below + length), 0.42 * length)
        thin = min(radius(below + 0.25 * length), thick)
        thickness = swell * (thick + (thin / 0.8 - thick) * np.clip(profile, 0, 1))
        up = _across(bone)
        side = np.cross(up, bone / length)
        rings = (rest[joint] + profile[:, None] * bone)[:, None] + thickness[:, None, None] * (
            cosine[:, None] * side + sine[:, None] * up
        )
        _add_rigid(parts, rings, joint, colour.get(joint, BODY_MATERIAL))
        balls[joint] = max(balls[joint], 0.9 * thickness[2])
    if not balls.any():
        balls[0] = max(0.05 * longest, 0.01)
    angle = np.linspace(0.12, np.pi - 0.12, 9)
    for joint, ball in enumerate(balls):
        if joint == head:
            up = rot.normalize(skeleton.offsets[joint]) if np.abs(skeleton.offsets[joint]).max() > 0 else np.eye(3)[1]
            centre, tall, wide = rest[joint] + 0.058 * longest * up, 0.092 * longest, 0.066 * longest
        elif ball > 0:
            up, centre, tall, wide = np.array([0.0, 1.0, 0.0]), rest[joint], ball, ball
        else:
            continue
        front = _across(up)
        side = np.cross(front, up)
        rings = centre - (tall * np.cos(angle))[:, None, None] * up
        rings = rings + (wide * np.sin(angle))[:, None, None] * (cosine[:, None] * side + sine[:, None] * front)
        plain = BODY_MATERIAL if joint == head else JOINT_MATERIAL
        _add_rigid(parts, rings, joint, colour.get(joint, BODY_MATERIAL) or plain)


def _front(direction: np.ndarray) -> np.ndarray:
    """Unit vectors across directions (..., 3), to the front; up where a direction itself is to the front."""
    wanted = np.where(np.abs(direction[..., 2:]) > 0.95, np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    return rot.normalize(wanted - np.sum(wanted * direction, -1, keepdims=True) * direction)


def _across(direction: np.ndarray) -> np.ndarray:
    """Some unit vector at right angles to a direction (3,)."""
    return rot.normalize(np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))]))


def _add_rigid(parts: _Parts, rings: np.ndarray, joint: int, material: int) -> None:
    joints = np.zeros((*rings.shape[:2], 4), int)
    weights = np.zeros((*rings.shape[:2], 4))
    joints[..., 0] = joint
    weights[..., 0] = 1
    parts.add(rings, joints, weights, np.full((len(rings) - 1, rings.shape[1]), material))
