"""From joint positions to rotations: the motion of a body whose joints are only known as points."""

from __future__ import annotations

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.curves import smoothstep
from kinema.motion.motion import Motion, check_fps
from kinema.motion.skeleton import BODY, Skeleton

# Joints with one bone below them and nothing that shows their roll, in this order: joint, child.
_SIMPLE = [("neck", "head"), ("left_collar", "left_shoulder"), ("right_collar", "right_shoulder")]
# Limbs with a hinge: upper joint, middle, end, what the end points to, and the axis of flexion in BODY's rest pose.
_LIMBS = [
    ("left_hip", "left_knee", "left_ankle", "left_foot", (1.0, 0.0, 0.0)),
    ("right_hip", "right_knee", "right_ankle", "right_foot", (1.0, 0.0, 0.0)),
    ("left_shoulder", "left_elbow", "left_wrist", None, (0.0, -1.0, 0.0)),
    ("right_shoulder", "right_elbow", "right_wrist", None, (0.0, 1.0, 0.0)),
]
_RIGID = ("spine1", "left_hip", "right_hip", "neck", "left_collar", "right_collar")
# SMPL's bodies rest with the head joint 30 degrees ahead of the neck and the toes 14 degrees outward. They are told by
# their collar joints, which stand a third as far to the side as the neck stands over the chest; BODY's a sixth.
_SMPL_COLLARS = 0.27
_SMPL_REST = {"head": (0.0, 0.87, 0.5), "left_foot": (0.22, -0.42, 0.88), "right_foot": (-0.22, -0.42, 0.88)}
_STRAIGHT, _BENT = 0.1, 0.42  # sine of the bend: below the first a hinge cannot be seen, above the second it is sure
_SMOOTHING = 0.15  # seconds: what a straight limb takes from the frames around it
_FROM_REST = 0.02  # weight of the untwisted rest pose where these show nothing either
_SHORT = 1e-6  # metres; shorter bones have no direction


def fit_rotations(positions: np.ndarray, fps: float) -> Motion:
    """A motion whose joints are at the given points, as far as its bones keep their lengths.

    The skeleton has BODY's names, tree and bone directions, and the clip's median bone lengths; only the joints on
    pelvis and chest (hips, first spine joint, neck, collars) keep the places that they have in the clip, as they show
    the frames of the two: X from right to left hip (collar), Y towards the spine (neck). Where these places are SMPL's,
    head and toes have SMPL's directions at rest too, so that they do not hang down. Thighs and upper arms are
    rolled so that knees and elbows bend about their hinges. Where a limb is straight, its roll comes from the frames
    around it and from the smallest rotation out of the rest pose, so it does not flip. All other joints turn by the
    smallest rotation; the spine shares the twist between pelvis and chest. Points do not show the roll of neck and
    feet, nor any turn of head, hands and toes: these follow their parents.

    Args:
        positions: (T, 22, 3) joint positions in the order of BODY, metres, Y up.
        fps: frames per second.

    Raises:
        ValueError: the shape is another one, a number is not finite, or there is no such frame rate.
    """
    positions = np.array(positions, dtype=np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (len(BODY), 3) or not len(positions):
        raise ValueError(f"joint positions must be (T, {len(BODY)}, 3) in the order of BODY, got {positions.shape}")
    check_fps(fps)
    if not (np.abs(positions) < 1e6).all():
        raise ValueError("joint positions must be finite numbers in metres")
    point = {name: positions[:, joint] for joint, name in enumerate(BODY.names)}
    hips = (point["left_hip"] + point["right_hip"]) / 2
    world: dict[str, np.ndarray] = {}
    world["pelvis"] = _frames(point["left_hip"] - point["right_hip"], point["spine1"] - hips, None)
    collars = point["left_collar"] - point["right_collar"]
    if np.median(np.linalg.norm(collars, axis=-1)) < 0.01:  # both at the neck
        collars = point["left_shoulder"] - point["right_shoulder"]
    world["spine3"] = _frames(collars, point["neck"] - point["spine3"], world["pelvis"])
    skeleton = _skeleton(positions, world)

    def rest(joint: str) -> np.ndarray:
        return skeleton.offsets[BODY.index(joint)]

    def swung(base: np.ndarray, joint: str, child: str) -> np.ndarray:
        """`base` (T, 4) turned by the smallest rotation with which the bone of `joint` meets `child`."""
        return _swing(base, rest(child), point[child] - point[joint])

    for joint, child, share in (("spine1", "spine2", 1 / 3), ("spine2", "spine3", 2 / 3)):
        base = rot.slerp(world["pelvis"], world["spine3"], np.full(len(positions), share))
        world[joint] = swung(base, joint, child)
    for joint, child in _SIMPLE:
        world[joint] = swung(world["spine3"], joint, child)
    world["head"] = world["neck"]
    for upper, middle, end, tip, axis in _LIMBS:
        base = swung(world[BODY.names[BODY.parents[BODY.index(upper)]]], upper, middle)
        bones = point[middle] - point[upper], point[end] - point[middle]
        world[upper] = rot.multiply(_roll(rot.rotate(base, np.array(axis)), *bones, fps), base)
        world[middle] = swung(world[upper], middle, end)
        world[end] = world[middle] if tip is None else swung(world[middle], end, tip)
        if tip is not None:
            world[tip] = world[end]
    rotations = np.empty((len(positions), len(BODY), 4))
    for joint, parent in enumerate(BODY.parents):  # one by one, as all at once need several times the memory
        turned = world[BODY.names[joint]]
        rotations[:, joint] = turned if parent < 0 else rot.multiply(rot.inverse(world[BODY.names[parent]]), turned)
    del world
    rotations.flags.writeable = False  # so that the motion need not copy it
    return Motion(skeleton, fps, positions[:, 0], rotations)


def _frames(across: np.ndarray, up: np.ndarray, otherwise: np.ndarray | None) -> np.ndarray:
    """Rotations (T, 4) that turn +X to `across` and +Y to `up`, as far as it is across X.

    Frames in which the two have no length or lie along each other take the rotation of the nearest good one before
    them, else of the first good one; without any, all are `otherwise`, or the identity.
    """
    x = rot.normalize(across)
    y = up - np.sum(up * x, -1, keepdims=True) * x
    good = (np.linalg.norm(across, axis=-1) > _SHORT) & (np.linalg.norm(y, axis=-1) > _SHORT)
    if not good.any():
        return np.tile(rot.IDENTITY, (len(x), 1)) if otherwise is None else otherwise
    source = np.maximum.accumulate(np.where(good, np.arange(len(x)), int(np.argmax(good))))
    return rot.from_axes(x[source], y[source])


def _skeleton(positions: np.ndarray, world: dict[str, np.ndarray]) -> Skeleton:
    parents = np.array(BODY.parents[1:])
    bones = positions[:, 1:] - positions[:, parents]
    lengths = np.median(np.linalg.norm(bones, axis=-1), axis=0)
    offsets = np.zeros((len(BODY), 3))
    for name in _RIGID:
        joint = BODY.index(name)
        parent = BODY.names[BODY.parents[joint]]
        offsets[joint] = np.median(rot.rotate(rot.inverse(world[parent]), bones[:, joint - 1]), axis=0)
    collars = (offsets[BODY.index("left_collar"), 0] - offsets[BODY.index("right_collar"), 0]) / 2
    smpl = _SMPL_REST if collars > _SMPL_COLLARS * offsets[BODY.index("neck"), 1] else {}
    for joint, name in enumerate(BODY.names):
        if joint and name not in _RIGID:
            direction = np.array(smpl.get(name, BODY.offsets[joint]))
            offsets[joint] = lengths[joint - 1] * rot.normalize(direction)
    size = lengths.sum() / np.linalg.norm(BODY.offsets, axis=-1).sum()
    return Skeleton(BODY.names, BODY.parents, offsets, BODY.tips * size)


def _swing(base: np.ndarray, rest: np.ndarray, bone: np.ndarray) -> np.ndarray:
    """Rotations `base` (T, 4) turned by the smallest rotation so that they turn `rest` (3,) along `bone` (T, 3)."""
    turned = rot.multiply(rot.between(rot.rotate(base, rest), bone), base)
    known = (np.linalg.norm(bone, axis=-1, keepdims=True) > _SHORT) & (np.linalg.norm(rest) > _SHORT)
    return np.where(known, turned, base)


def _roll(axis: np.ndarray, upper: np.ndarray, lower: np.ndarray, fps: float) -> np.ndarray:
    """Rotations (T, 4) about the upper bone that turn `axis`, across it, to the axis about which the limb bends.

    Args:
        axis: (T, 3) unit vectors across the upper bone: the hinge without any roll.
        upper, lower: (T, 3) the two bones.
        fps: frames per second.
    """
    upper, lower = rot.normalize(upper), rot.normalize(lower)
    bend = rot.cross(upper, lower)
    # in the plane across the upper bone, as complex numbers: angle is the roll, length the sine of the bend
    seen = np.sum(bend * axis, -1) + 1j * np.sum(bend * rot.cross(upper, axis), -1)
    size = np.abs(seen)
    around = _smooth(seen, round(_SMOOTHING * fps)) + _FROM_REST
    sure = smoothstep((size - _STRAIGHT) / (_BENT - _STRAIGHT))
    mixed = sure * seen / np.maximum(size, 1e-12) + (1 - sure) * around / np.maximum(np.abs(around), 1e-12)
    return rot.from_axis_angle(upper, np.angle(mixed))


def _smooth(values: np.ndarray, radius: int) -> np.ndarray:
    """Values (T,) averaged three times over 2 radius + 1 frames, fewer at the ends."""
    radius = min(radius, len(values))
    index = np.arange(len(values))
    first, last = np.maximum(index - radius, 0), np.minimum(index + radius + 1, len(values))
    for _ in range(3):
        total = np.concatenate([[0], np.cumsum(values)])
        values = (total[last] - total[first]) / (last - first)
    return values
