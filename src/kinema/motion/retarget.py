"""Put a motion onto BODY: joints matched by name, rest poses aligned, size and floor adjusted.

World rotations carry over: R_body(t) = R_source(t) C, with one constant C a joint that turns the source's T-pose into
BODY's. Where a rest pose stands like a person (T-pose, A-pose), C turns each of its bones to BODY's direction by the
smallest rotation. Where it does not (Bandai-Namco: every bone along its own X axis), pelvis and chest get their frames
from where hips and shoulders are attached; any other bone's direction is known from its child, and its roll from the
hinge of its limb or, without one, as that with which, over the clip, the bone twists least against its parent.
"""

from __future__ import annotations

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.editing import ground
from kinema.motion.joint_names import match_joints
from kinema.motion.kinematics import forward_kinematics, local_rotations
from kinema.motion.motion import Motion
from kinema.motion.skeleton import BODY, Skeleton

# The bone of a BODY joint points to this joint; for leaves, to their tip.
_POINTS_TO = {
    "hip": "knee", "knee": "ankle", "ankle": "foot", "collar": "shoulder", "shoulder": "elbow", "elbow": "wrist",
}  # fmt: skip

# The roll of a limb's bones, where only the motion tells it, is that of its hinge (knee, elbow), measured from these
# joint positions in the frame of the first. In such rest poses the frames of the joints below have the same axes.
_LEG = ("hip", "knee", "ankle")
_ARM = ("shoulder", "elbow", "wrist")

_Y, _Z = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])


def retarget(motion: Motion) -> Motion:
    """The same motion on BODY, feet on the ground at y = 0; frame rate, timing and metadata are kept.

    A motion that is on BODY already comes back as it is, wherever it stands. Lengths are scaled by the ratio of leg
    lengths, the horizontal path too, so that steps still fit it. Joints that the source lacks follow their parent.

    Raises:
        ValueError: the joints cannot be told by their names, or the legs have no length.
    """
    if motion.skeleton == BODY:
        return motion
    joints = match_joints(motion.skeleton)
    positions, world = forward_kinematics(motion.skeleton, motion.root_position, motion.rotations)
    align = _alignment(motion.skeleton, joints, world, positions)

    body_world: list[np.ndarray] = []
    for name, parent in zip(BODY.names, BODY.parents, strict=True):
        if name in joints:
            body_world.append(rot.multiply(world[:, joints[name]], align[name]))
        elif name == "spine2" and "spine1" in joints and "spine3" in joints:
            below = rot.multiply(world[:, joints["spine1"]], align["spine1"])
            above = rot.multiply(world[:, joints["spine3"]], align["spine3"])
            body_world.append(rot.slerp(below, above, np.full(len(motion), 0.5)))
        else:
            body_world.append(body_world[parent])
    rotations = np.stack(body_world, 1)

    hips = positions[:, [joints["left_hip"], joints["right_hip"]]].mean(1)
    between_hips = BODY.offsets[[BODY.index("left_hip"), BODY.index("right_hip")]].mean(0)
    scale = _leg_length(BODY, {name: BODY.index(name) for name in joints}) / _leg_length(motion.skeleton, joints)
    root = scale * hips - rot.rotate(rotations[:, 0], between_hips)
    return ground(Motion(BODY, motion.fps, root, local_rotations(BODY, rotations), metadata=motion.metadata))


def _leg_length(skeleton: Skeleton, joints: dict[str, int]) -> float:
    """Hip to ankle along the bones, metres, mean of both legs."""
    total = 0.0
    for side in ("left", "right"):
        joint = joints[f"{side}_ankle"]
        while joint != joints[f"{side}_hip"]:
            total += float(np.linalg.norm(skeleton.offsets[joint])) / 2
            joint = skeleton.parents[joint]
            if joint < 0:
                raise ValueError(f"the {side} ankle does not hang below the {side} hip")
    if total < 1e-3:
        raise ValueError("the legs have no length")
    return total


def _direction(skeleton: Skeleton, joints: dict[str, int], name: str) -> np.ndarray | None:
    """Unit vector of the bone of a BODY joint in the joint's own rest frame; None where the skeleton does not tell."""
    side, _, part = name.rpartition("_")
    joint = joints[name]
    child = joints.get(f"{side}_{_POINTS_TO[part]}") if part in _POINTS_TO else None
    if name.startswith("spine"):
        child = joints.get({"spine1": "spine2", "spine2": "spine3", "spine3": "neck"}[name])
        child = joints.get("spine3") if child is None and name == "spine1" else child
    elif name == "neck":
        child = joints["head"]
    if child is None:
        children = skeleton.children[joint]
        children = [finger for finger in children if "thumb" not in skeleton.names[finger].lower()] or children
        offset = skeleton.offsets[list(children)].mean(0) if children else skeleton.tips[joint]
    else:
        offset = skeleton.rest_positions[child] - skeleton.rest_positions[joint]
    length = float(np.linalg.norm(offset))
    return offset / length if length > 1e-4 else None


def _body_direction(name: str) -> np.ndarray:
    direction = _direction(BODY, {ours: BODY.index(ours) for ours in BODY.names}, name)
    assert direction is not None
    return direction


def _frame(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The rotation that turns +X to `x`, and +Y to `y` as far as it is across `x`."""
    x = rot.normalize(x)
    y = rot.normalize(y - np.dot(y, x) * x)
    return rot.from_matrix(np.stack([x, y, np.cross(x, y)], -1))


def _alignment(
    skeleton: Skeleton, joints: dict[str, int], world: np.ndarray, positions: np.ndarray
) -> dict[str, np.ndarray]:
    """The constants C: source joint frame in BODY's T-pose, inverted, (4,) per matched joint."""
    rest = skeleton.rest_positions
    hips, head = rest[joints["pelvis"]], rest[joints["head"]]
    ankles = rest[[joints["left_ankle"], joints["right_ankle"]]].mean(0)
    lateral = rest[joints["left_hip"]] - rest[joints["right_hip"]]
    height = head[1] - ankles[1]
    stands = hips[1] - ankles[1] > 0.3 * height and head[1] - hips[1] > 0.2 * height
    if stands and height > _leg_length(skeleton, joints) and abs(lateral[1]) < 0.3 * np.linalg.norm(lateral):
        return _alignment_of_standing_rest(skeleton, joints, lateral)
    return _alignment_of_bone_axes(skeleton, joints, world, positions)


def _alignment_of_standing_rest(
    skeleton: Skeleton, joints: dict[str, int], lateral: np.ndarray
) -> dict[str, np.ndarray]:
    facing = rot.about_y(np.arctan2(lateral[2], lateral[0]))
    align: dict[str, np.ndarray] = {}
    for name in joints:
        part = name.rpartition("_")[2]
        turn = facing
        direction = _direction(skeleton, joints, name)
        if direction is not None and part in ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist"):
            target = _body_direction(name)
            if part in ("ankle", "foot"):
                # Soles are flat, whatever the slope of the bone above them; but where legs are spread (CMU: by 20
                # degrees) they lean sideways with the shin.
                shin = _direction(skeleton, joints, name.replace(part, "knee"))
                x, y, _ = rot.rotate(facing, shin) if shin is not None else -_Y
                turn = rot.multiply(rot.from_axis_angle(_Z, -np.arctan2(x, -y)), facing)
                source, target = rot.rotate(turn, direction) * (1, 0, 1), target * (1, 0, 1)
            else:
                source = rot.rotate(turn, direction)
            turn = rot.multiply(rot.between(source, target), turn)
        align[name] = rot.inverse(turn)
    return align


def _alignment_of_bone_axes(
    skeleton: Skeleton, joints: dict[str, int], world: np.ndarray, positions: np.ndarray
) -> dict[str, np.ndarray]:
    rest = skeleton.rest_positions
    pelvis, chest = joints["pelvis"], joints.get("spine3", joints["pelvis"])
    collars = [joints.get(f"{side}_collar", joints[f"{side}_shoulder"]) for side in ("left", "right")]
    across = rest[joints["left_hip"]] - rest[joints["right_hip"]]
    align = {"pelvis": _frame(across, rest[joints.get("spine1", chest)] - rest[pelvis])}
    if chest != pelvis:
        above = joints.get("neck", joints["head"])
        align["spine3"] = _frame(rest[collars[0]] - rest[collars[1]], rest[above] - rest[chest])
    for ours, name in enumerate(BODY.names):
        if name not in joints or name in align:
            continue
        direction = _direction(skeleton, joints, name)
        if direction is None:  # a leaf without a tip: its bone goes on along its parent's axis
            parent = next(other for other in _ancestors(ours) if other in joints)
            direction = _direction(skeleton, joints, parent)
            direction = np.array([1.0, 0.0, 0.0]) if direction is None else direction
        target = _body_direction(name)
        along_axis = np.abs(direction).max() > 0.999  # then so are the other two axes of the joint
        side, _, part = name.rpartition("_")
        if side and part != "collar":
            leg = part in _LEG or part == "foot"
            hinge = _hinge(joints, world, positions, [f"{side}_{limb}" for limb in (_LEG if leg else _ARM)])
            hinge = hinge - np.dot(hinge, direction) * direction
            if along_axis:
                hinge = np.sign(hinge) * (np.abs(hinge) == np.abs(hinge).max())
            flexion = np.array([1.0, 0.0, 0.0]) if leg else np.array([0.0, -1.0 if side == "left" else 1.0, 0.0])
            align[name] = rot.multiply(_frame(direction, hinge), rot.inverse(_frame(target, flexion)))
        else:
            unrolled = rot.between(target, direction)
            parent = next(other for other in _ancestors(ours) if other in align)
            parent_world = rot.multiply(world[:, joints[parent]], align[parent])
            local = rot.multiply(rot.inverse(parent_world), rot.multiply(world[:, joints[name]], unrolled))
            twists = rot.twist(local, target)
            angles = 2 * np.arctan2(np.sum(twists[:, 1:] * target, -1), twists[:, 0])
            roll = np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())
            if along_axis:
                roll = np.round(roll / (np.pi / 2)) * np.pi / 2
            align[name] = rot.multiply(unrolled, rot.from_axis_angle(target, -roll))
    return align


def _ancestors(ours: int) -> list[str]:
    """Names of the joints of BODY above the joint with this index, nearest first."""
    names = []
    while ours:
        ours = BODY.parents[ours]
        names.append(BODY.names[ours])
    return names


def _hinge(joints: dict[str, int], world: np.ndarray, positions: np.ndarray, limb: list[str]) -> np.ndarray:
    """The axis (3,) about which a knee or elbow bends in this clip, in the frame of the limb's first joint."""
    first, middle, last = (joints[name] for name in limb)
    upper, lower = positions[:, middle] - positions[:, first], positions[:, last] - positions[:, middle]
    axis = np.cross(rot.normalize(upper), rot.normalize(lower))  # its length is the sine of the bend: a weight
    return rot.normalize(rot.rotate(rot.inverse(world[:, first]), axis).mean(0))
