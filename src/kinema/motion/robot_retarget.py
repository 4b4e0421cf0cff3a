"""Put a person's motion onto a humanoid robot, within the limits of its hinges.

The motion goes onto BODY first. Of the robot only a few links must be known: pelvis, torso, and hip, knee, ankle,
shoulder, elbow and wrist of both sides, by the words in their names. The path and the feet are scaled by the lengths
of the legs and the feet moved apart as far as the robot's hips are wider; thighs, shanks and arms keep their
directions, pelvis, torso, feet and hands their orientation, calibrated by the rest poses and by how the elbow bends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.contacts import ANKLE_HEIGHT, BODY_LEG, TOE_HEIGHT, lock_feet
from kinema.motion.curves import average, envelope, runs, smoothstep
from kinema.motion.humanoid import SIDES
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.motion import Motion
from kinema.motion.retarget import retarget
from kinema.motion.robot import Robot, pose
from kinema.motion.robot_ik import PointTask, TurnTask, solve
from kinema.motion.skeleton import BODY, Skeleton
from kinema.motion.topology import is_below, lowest_common
from kinema.progress import track

_WORDS = {  # part of the body: words in the names of links, the better ones first
    "hip": ("hip", "thigh", "upperleg", "femur"),
    "knee": ("knee", "shin", "calf", "lowerleg", "tibia", "shank"),
    "ankle": ("ankle", "foot"),
    "shoulder": ("shoulder", "upperarm", "humerus"),
    "elbow": ("elbow", "forearm", "lowerarm", "radius"),
    "wrist": ("wrist", "hand"),
}
_ABOVE = {"knee": "hip", "ankle": "knee", "elbow": "shoulder", "wrist": "elbow"}
_WINDOW, _AHEAD = 600, 30  # frames that are solved at once, and those of them that are solved again with the next
_RAMP = 0.15  # seconds over which a foot is caught and let go

# weights of square errors, 1 / m^2 and 1 / rad^2: a foot on the ground must not move, all else gives way
_FOOT_HELD, _FOOT = 5000.0, 100.0
_FOOT_FLAT, _FOOT_TURN = 100.0, 0.5
_PELVIS, _PELVIS_TURN, _TORSO_TURN = 10.0, 1.0, 2.0
_LEG, _ARM, _ARM_TURN, _HAND_TURN = 2.0, 20.0, 0.05, 0.1


def match_links(skeleton: Skeleton, overrides: Mapping[str, str] | None = None) -> dict[str, int]:
    """Which joint of a robot's skeleton is which part: pelvis, torso, left_hip, left_knee, ... by its name.

    Of several links of a joint (hip pitch, roll and yaw) the hip and the shoulder are the middle one, near which the
    axes meet, knee and elbow the first and ankle and wrist the last. Pelvis and torso are where the legs and the arms
    come together. Wrists may be missing.

    Args:
        skeleton: of the robot.
        overrides: names of joints for parts, stronger than the words.

    Raises:
        ValueError: a part is not found; the sentence says which.
    """
    found: dict[str, int] = {}
    plain = ["".join(letter for letter in name.lower() if letter.isalnum()) for name in skeleton.names]
    for side in SIDES:
        own = [joint for joint, name in enumerate(skeleton.names) if _side(name) == side]
        for part, words in _WORDS.items():
            above = found.get(f"{side}_{_ABOVE.get(part)}")
            candidates = [joint for joint in own if above is None or is_below(skeleton, joint, above)]
            links = next((hits for word in words if (hits := [j for j in candidates if word in plain[j]])), [])
            if links:
                pick = {"hip": len(links) // 2, "shoulder": len(links) // 2, "ankle": -1, "wrist": -1}.get(part, 0)
                found[f"{side}_{part}"] = links[pick] if part != "ankle" else _last(skeleton, links[pick])
    parts = [f"{side}_{part}" for side in SIDES for part in _WORDS]
    for part, name in (overrides or {}).items():
        if part not in (*parts, "pelvis", "torso"):
            raise ValueError(f"a robot has no part {part!r}; its parts are pelvis, torso, {', '.join(parts)}")
        found[part] = skeleton.index(name)
    missing = [part for part in parts if part not in found]
    missing = [key for key in missing if not key.endswith("wrist")]
    if missing:
        raise ValueError(
            f"cannot tell which links of the robot are {', '.join(missing)}; its joints are {', '.join(skeleton.names)}"
        )
    found.setdefault("pelvis", lowest_common(skeleton, found["left_hip"], found["right_hip"]))
    found.setdefault("torso", lowest_common(skeleton, found["left_shoulder"], found["right_shoulder"]))
    for side in SIDES:
        for upper, middle, end in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
            chain = [found[f"{side}_{part}"] for part in (upper, middle, end) if f"{side}_{part}" in found]
            for above, below in pairwise(chain):
                if not is_below(skeleton, below, above) or _reach(skeleton, above, below) < 0.01:
                    names = skeleton.names[above], skeleton.names[below]
                    raise ValueError(f"link {names[1]!r} does not hang below {names[0]!r}; name the robot's links")
    return found


def retarget_to_robot(motion: Motion, robot: Robot, links: Mapping[str, str] | None = None) -> Motion:
    """The motion on the robot's skeleton, every hinge within its limits, feet on the ground where the person's are.

    Frame rate, timing and metadata are kept, and `metadata["robot"]` names the robot. The result carries contacts of
    the ankles.

    Args:
        motion: of a humanoid; grounded, as `retarget` leaves it.
        robot: where it goes.
        links: joints of the robot by part ("left_hip": "L_Hip_2"), where the names do not tell (see `match_links`).

    Raises:
        ValueError: the joints of the person or of the robot cannot be told by their names.
    """
    body = lock_feet(retarget(motion))
    figure = _Figure.of(robot, match_links(robot.skeleton, links))
    points, turns, contacts = _tasks(body, robot, figure)

    # where to begin: the pelvis where it shall be, all else at rest
    hips, pelvis = points[0], turns[0].target
    position = hips.target - rot.rotate(pelvis, hips.offset + robot.skeleton.rest_positions[hips.joint])
    rotation = pelvis
    angles = np.tile(np.clip([hinge.default for hinge in robot.hinges], *robot.limits.T), (len(body), 1))
    position, rotation, angles = _solve(robot, motion.fps, points, turns, position, rotation, angles)
    # a foot that cannot turn as the person's may have come into the ground: raise that foot, and at last the whole
    raised = _depths(robot, figure, *pose(robot, position, rotation, angles), motion.fps)
    if raised.max() > 0.001:
        for number, point in enumerate(points):
            for side, ankle in enumerate((figure.links["left_ankle"], figure.links["right_ankle"])):
                if point.joint == ankle and point.base < 0:
                    points[number] = replace(point, target=point.target + raised[:, side, None] * (0, 1, 0))
        position, rotation, angles = _solve(robot, motion.fps, points, turns, position, rotation, angles)
    position, rotations = pose(robot, position, rotation, angles)
    lift = _depths(robot, figure, position, rotations, motion.fps).max(1)
    position = position + lift[:, None] * (0, 1, 0)
    metadata = {**motion.metadata, "robot": robot.name}
    return Motion(robot.skeleton, motion.fps, position, rotations, contacts, metadata)


def _solve(
    robot: Robot,
    fps: float,
    points: list[PointTask],
    turns: list[TurnTask],
    position: np.ndarray,
    rotation: np.ndarray,
    angles: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`solve` for clips of any length, in stretches of `_WINDOW` frames."""
    position, rotation, angles = position.copy(), rotation.copy(), angles.copy()
    for start, stop in _windows(len(angles)):
        begin = max(start - 2, 0)  # two frames that are done, so that the accelerations go on
        window = slice(begin, stop)
        position[window], rotation[window], angles[window] = solve(
            robot,
            fps,
            [replace(point, target=point.target[window], weight=point.weight[window]) for point in points],
            [replace(turn, target=turn.target[window], weight=turn.weight[window]) for turn in turns],
            position[window],
            rotation[window],
            angles[window],
            done=start - begin,
        )
    return position, rotation, angles


def _windows(count: int) -> Iterable[tuple[int, int]]:
    """First frame and end of the stretches that are solved at once; each goes on a little into the next."""
    windows = [(start, min(start + _WINDOW + _AHEAD, count)) for start in range(0, max(count - _AHEAD, 1), _WINDOW)]
    return track(windows, "onto the robot", len(windows)) if len(windows) > 2 else windows


@dataclass(frozen=True)
class _Figure:
    """What retargeting needs to know of a robot.

    links: joint of each part. scale: robot's legs to BODY's. soles: for each side the lowest points of the foot in the
    frame of the ankle (P, 3) and their radii (P,). bends: for each side the axis about which the elbow bends, in the
    rest pose; missing where there is no hinge.
    """

    links: dict[str, int]
    scale: float
    soles: dict[str, tuple[np.ndarray, np.ndarray]]
    bends: dict[str, np.ndarray]

    @staticmethod
    def of(robot: Robot, links: dict[str, int]) -> _Figure:
        skeleton, soles, bends = robot.skeleton, {}, {}
        legs = 0.0
        for side in SIDES:
            hip, knee, ankle = (links[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
            legs += (_reach(skeleton, hip, knee) + _reach(skeleton, knee, ankle)) / 2
            foot = [
                n for n, joint in enumerate(robot.contact_joints) if joint == ankle or is_below(skeleton, joint, ankle)
            ]
            away = skeleton.rest_positions[robot.contact_joints[foot]] - skeleton.rest_positions[ankle]
            points, radii = robot.contact_points[foot] + away, robot.contact_radii[foot]
            if not foot:  # a foot without simple geoms: a rectangle on the ground that the file's own height implies
                height = robot.height + skeleton.rest_positions[ankle][1]
                height = height if 0 < height < legs / 4 else legs / 15
                points = np.array([(x, -height, z) for x in (-0.03, 0.03) for z in (-0.05, 0.12)])
                radii = np.zeros(4)
            soles[side] = points, radii
            if f"{side}_wrist" in links and (bend := _bend(robot, links, side)) is not None:
                bends[side] = bend
        return _Figure(links, legs / BODY_LEG, soles, bends)


def _tasks(body: Motion, robot: Robot, figure: _Figure) -> tuple[list[PointTask], list[TurnTask], np.ndarray]:
    """What the robot's links shall do, and where its ankles touch the ground (T, J)."""
    positions, world = forward_kinematics(BODY, body.root_position, body.rotations)
    at = {name: positions[:, index] for index, name in enumerate(BODY.names)}
    turned = {name: world[:, index] for index, name in enumerate(BODY.names)}
    rest, links, scale = robot.skeleton.rest_positions, figure.links, figure.scale
    ones, zero = np.ones(len(body)), np.zeros(3)
    assert body.contacts is not None
    points: list[PointTask] = []
    turns: list[TurnTask] = []
    contacts = np.zeros((len(body), len(robot.skeleton)), dtype=bool)

    hips = (at["left_hip"] + at["right_hip"]) / 2
    depth = np.mean([_depth(*figure.soles[side]) for side in SIDES])
    target = scale * (hips - np.array([0, ANKLE_HEIGHT, 0])) + np.array([0, depth, 0])
    middle = (rest[links["left_hip"]] + rest[links["right_hip"]]) / 2 - rest[links["pelvis"]]
    points.append(PointTask(links["pelvis"], target, _PELVIS * ones, middle))
    turns.append(TurnTask(links["pelvis"], turned["pelvis"], _PELVIS_TURN * ones))
    turns.append(TurnTask(links["torso"], turned["spine3"], _TORSO_TURN * ones))

    lateral = _lateral(body, at["left_hip"] - at["right_hip"])
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        apart = abs(rest[links[f"{side}_hip"]][0]) - scale * abs(BODY.rest_positions[BODY.index(f"{side}_hip")][0])
        target, turn, held, flat = _foot(body, at, turned, figure, side, sign * apart * lateral)
        ankle = links[f"{side}_ankle"]
        points.append(PointTask(ankle, target, _FOOT + (_FOOT_HELD - _FOOT) * held, _edge(*figure.soles[side])))
        turns.append(TurnTask(ankle, turn, _FOOT_TURN + (_FOOT_FLAT - _FOOT_TURN) * flat))
        contacts[:, ankle] = body.contacts[:, BODY.index(f"{side}_foot")]

        for weight, *chain in ((_LEG, "hip", "knee", "ankle"), (_ARM, "shoulder", "elbow", "wrist")):
            for upper, lower in pairwise(chain):
                above, below = f"{side}_{upper}", f"{side}_{lower}"
                if below in links:
                    length = _reach(robot.skeleton, links[above], links[below])
                    direction = rot.normalize(at[below] - at[above])
                    points.append(PointTask(links[below], length * direction, weight * ones, zero, links[above]))
        if side in figure.bends:
            bend, shoulder, elbow, wrist = (
                figure.bends[side],
                *(links[f"{side}_{p}"] for p in ("shoulder", "elbow", "wrist")),
            )
            ours = rot.from_axes(np.array([sign, 0, 0]), np.array([0, -sign, 0]))
            for joint, name, along, weight in (
                (robot.skeleton.parents[elbow], "shoulder", rest[elbow] - rest[shoulder], _ARM_TURN),
                (wrist, "wrist", rest[wrist] - rest[elbow], _HAND_TURN),
            ):
                alignment = rot.multiply(ours, rot.inverse(rot.from_axes(along, bend)))
                turns.append(TurnTask(joint, rot.multiply(turned[f"{side}_{name}"], alignment), weight * ones))
    return points, turns, contacts


def _foot(
    body: Motion,
    at: dict[str, np.ndarray],
    turned: dict[str, np.ndarray],
    figure: _Figure,
    side: str,
    apart: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where the toe edge of a sole shall be (T, 3), how the foot is turned (T, 4), how much it stands and is flat (T,).

    The edge goes where the ball of the person's foot is, so that the robot's foot rolls over it.
    """
    assert body.contacts is not None
    points, radii = figure.soles[side]
    toe_down = body.contacts[:, BODY.index(f"{side}_foot")]
    flat = _ramp(toe_down & body.contacts[:, BODY.index(f"{side}_ankle")], body.fps)
    held = _ramp(toe_down, body.fps)
    turn = turned[f"{side}_ankle"]
    ahead = rot.rotate(turn, np.array([0.0, 0.0, 1.0]))
    level = rot.about_y(np.arctan2(ahead[:, 0], ahead[:, 2]))
    turn = rot.slerp(turn, level, flat)

    edge = _edge(points, radii)
    longer = edge[2] - figure.scale * BODY.offsets[BODY.index(f"{side}_foot")][2]
    ball = figure.scale * (at[f"{side}_foot"] - np.array([0, TOE_HEIGHT, 0])) + apart + longer * ahead * (1, 0, 1)
    ball = ball + _hold(ball, toe_down, body.fps)
    standing = rot.rotate(turn, edge)[:, 1] - _lowest(turn, points, radii)
    height = np.maximum(ball[:, 1], standing)
    ball[:, 1] = height + held * (standing - height)
    return ball, turn, held, flat


def _depths(robot: Robot, figure: _Figure, position: np.ndarray, rotations: np.ndarray, fps: float) -> np.ndarray:
    """(T, 2) metres by which the left and right foot must be raised so as not to be in the ground, smoothly."""
    places, world = forward_kinematics(robot.skeleton, position, rotations)
    reach = max(round(_RAMP * fps), 1)
    raised = []
    for side in SIDES:
        ankle = figure.links[f"{side}_ankle"]
        depth = np.maximum(-places[:, ankle, 1] - _lowest(world[:, ankle], *figure.soles[side]), 0)
        raised.append(envelope(depth, reach))
    return np.stack(raised, -1)


def _lowest(turn: np.ndarray, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(T,) height of the lowest of some spheres over the joint that carries them, turned by (T, 4)."""
    return (rot.rotate(turn[:, None], points)[..., 1] - radii).min(1)


def _depth(points: np.ndarray, radii: np.ndarray) -> float:
    """Metres from the ankle down to the sole in the rest pose."""
    return float((radii - points[:, 1]).max())


def _edge(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(3,) middle of the toe edge of a sole, in the frame of the ankle."""
    front = points[:, 2] > points[:, 2].max() - 0.01
    return np.array([points[front, 0].mean(), -_depth(points, radii), points[:, 2].max()])


def _lateral(body: Motion, across: np.ndarray) -> np.ndarray:
    """(T, 3) unit vectors to the body's left, level, smoothed over half a second."""
    level = rot.normalize(across * (1, 0, 1))
    return rot.normalize(average(level, max(round(0.25 * body.fps), 1)))


def _hold(path: np.ndarray, held: np.ndarray, fps: float) -> np.ndarray:
    """(T, 3) what to add to a path so that it stays level with itself over each contact, fading out beside it."""
    ramp = max(round(_RAMP * fps), 1)
    total, weights = np.zeros_like(path), np.zeros(len(path))
    frames = np.arange(len(path))
    offsets = np.zeros_like(path)
    for start, end in runs(held):
        offsets[start:end] = np.median(path[start:end], axis=0) - path[start:end]
        outside = np.maximum(np.maximum(start - frames, frames - (end - 1)), 0)
        weight = smoothstep(1 - outside / ramp)
        nearest = offsets[np.clip(frames, start, end - 1)]
        total += weight[:, None] * nearest
        weights += weight
    return total / np.maximum(weights, 1)[:, None]


def _ramp(mask: np.ndarray, fps: float) -> np.ndarray:
    """(T,) 1 where the mask is true, falling smoothly to 0 beside it."""
    ramp = max(round(_RAMP * fps), 1)
    frames = np.flatnonzero(mask)
    if not len(frames):
        return np.zeros(len(mask))
    here = np.arange(len(mask))
    right = frames[np.minimum(np.searchsorted(frames, here), len(frames) - 1)]
    left = frames[np.maximum(np.searchsorted(frames, here, side="right") - 1, 0)]
    return smoothstep(1 - np.minimum(np.abs(right - here), np.abs(here - left)) / ramp)


def _bend(robot: Robot, links: dict[str, int], side: str) -> np.ndarray | None:
    """(3,) axis about which the forearm bends forwards out of the line of the upper arm, in the rest pose."""
    rest = robot.skeleton.rest_positions
    shoulder, elbow, wrist = (links[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist"))
    hinge = next((hinge for hinge in robot.hinges if hinge.joint == elbow), None)
    if hinge is None:
        return None
    upper, fore = rest[elbow] - rest[shoulder], rest[wrist] - rest[elbow]
    angles = np.linspace(max(hinge.low, hinge.default - np.pi), min(hinge.high, hinge.default + np.pi), 60)
    turned = rot.rotate(rot.from_axis_angle(np.array(hinge.axis), angles - hinge.default), fore)
    bent = np.arccos(np.clip(turned @ upper / np.linalg.norm(upper) / np.linalg.norm(fore), -1, 1))
    axis = rot.cross(upper, turned[np.argmax(np.where(bent < np.radians(170), bent, -1))])
    return rot.normalize(axis) if np.linalg.norm(axis) > 1e-6 else None


def _side(name: str) -> str | None:
    words = name.lower().replace("-", "_").replace(".", "_")
    for side in SIDES:
        if side in words or words.startswith(f"{side[0]}_") or words.endswith(f"_{side[0]}"):
            return side
    return None


def _last(skeleton: Skeleton, joint: int) -> int:
    """The last of several hinges of one ankle: of the joints that follow each other within 3 cm."""
    while len(below := skeleton.children[joint]) == 1 and np.linalg.norm(skeleton.offsets[below[0]]) < 0.03:
        joint = below[0]
    return joint


def _reach(skeleton: Skeleton, above: int, below: int) -> float:
    return float(np.linalg.norm(skeleton.rest_positions[below] - skeleton.rest_positions[above]))
