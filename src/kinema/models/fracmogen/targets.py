"""Targets and pasts of FracMoGen: overwriting what is known while sampling, and meeting it exactly afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kinema.conditions.request import JointTarget, PathTarget, PoseTarget, Target
from kinema.features import pose151
from kinema.models.fracmogen import scales
from kinema.models.fracmogen.scales import PATH, Keys
from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.motion.contacts import foot_contacts
from kinema.motion.editing import resample
from kinema.motion.kinematics import forward_kinematics, two_bone_ik

REACH = 0.35  # m: a joint target farther than this from where the joint would be moves the whole figure
DENSE = 1.0  # s between waypoints up to which they say all of the way
BLEND = 0.4  # s before and after a target, or a seam, within which the motion is bent for it
ROUNDING = 0.1  # s


def past_keys(motion: Motion, fps: float) -> Keys:
    """The last seconds of a motion on BODY as a state curve at `fps`."""
    frames = round(2 * motion.fps)
    tail = motion.replace(root_position=motion.root_position[-frames:], rotations=motion.rotations[-frames:])
    state, _ = scales.state_of(resample(tail, fps))
    return Keys(state, scales.velocity_of(state), 1)


def past_tokens(past: Keys, stride: int) -> np.ndarray:
    """The key frames of a state curve that ends with one, as tokens (K, 328); the last one's step means nothing."""
    feet = scales.feet_world(past.state)
    contacts = foot_contacts(scales.motion_of(past.state, 30.0))[:, [BODY.index(name) for name in pose151.FEET]]
    feet_velocity = scales.velocity_of(feet)
    every = slice(None, None, stride)
    return scales.tokens(
        past.state[every], past.velocity[every], feet[every], feet_velocity[every], contacts[every], stride
    )


def with_past(keys: Keys, past: Keys) -> Keys:
    """Key frames whose first ones are exactly those of the past; the others follow from the last of these."""
    known = past[:: keys.stride] if keys.stride > 1 else past
    last = len(known.state) - 1
    turn = known.state[last, 153] - keys.state[last, 153]
    state, velocity = keys.state.copy(), keys.velocity.copy()
    state[:, PATH] = known.state[last, PATH] + scales.turned(keys.state[:, PATH] - keys.state[last, PATH], turn)
    state[:, 153] += turn
    velocity[:, PATH] = scales.turned(velocity[:, PATH], turn)
    state[: last + 1], velocity[: last + 1] = known.state, known.velocity
    return Keys(state, velocity, keys.stride)


def shifted(target: Target, seconds: float) -> Target:
    """The same target, later by `seconds`."""
    return replace(target, time=target.time + seconds)


def joined(parts: Sequence[Motion], prompts: Sequence[str]) -> Motion:
    """Pieces of one motion, end to end, rounded off where they meet.

    Place and velocity already agree there, but one prompt ends and another begins within a frame, which no body does:
    around each seam the motion is averaged over a Gaussian of `ROUNDING` seconds.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    root = np.concatenate([part.root_position for part in parts])
    pose = rot.to_6d(np.concatenate([part.rotations for part in parts])).reshape(len(root), -1)
    seams = np.cumsum([len(part) for part in parts])[:-1]
    sigma = ROUNDING * first.fps
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    whole = np.concatenate([root, pose], 1)
    padded = np.pad(whole, ((reach, reach), (0, 0)), mode="edge")
    mean = np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], 1)
    distance = np.abs(np.arange(len(root))[:, None] - seams + 0.5).min(1)
    bump = 0.5 + 0.5 * np.cos(np.pi * np.clip(distance / (BLEND * first.fps), 0, 1))
    whole = whole + bump[:, None] * (mean - whole)
    root, pose = whole[:, :3], whole[:, 3:]
    return first.replace(
        root_position=root,
        rotations=rot.from_6d(pose.reshape(len(root), len(BODY), 6)),
        contacts=np.concatenate([part.contacts for part in parts if part.contacts is not None]),
        metadata={**first.metadata, "text": " / ".join(prompts)},
    )


def _waypoints(targets: Sequence[Target]) -> list[tuple[float, np.ndarray]]:
    """(time, (x, z)) of every target that says where the root is, in order of time."""
    found = [(target.time, np.array(target.position)) for target in targets if isinstance(target, PathTarget)]
    found += [(target.time, target.root_position[[0, 2]]) for target in targets if isinstance(target, PoseTarget)]
    return sorted(found, key=lambda point: point[0])


def _offsets(path: np.ndarray, points: list[tuple[float, np.ndarray]], free_start: bool) -> np.ndarray:
    """What to add to a path (K, 2) so that it passes the points (index, (x, z)), linear between them."""
    at = np.arange(len(path))
    places = [min(max(index, 0.0), len(path) - 1.0) for index, _ in points]
    gaps = [
        goal - np.array([np.interp(place, at, path[:, axis]) for axis in (0, 1)])
        for place, (_, goal) in zip(places, points, strict=True)
    ]
    if not free_start and places[0] > 0:
        places, gaps = [0.0, *places], [np.zeros(2), *gaps]
    return np.stack([np.interp(at, places, [gap[axis] for gap in gaps]) for axis in (0, 1)], 1)


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


class Steering:
    """Overwrites the clean estimate of a window's key frames with what its targets say of them.

    Positions of the root are met by bending the path; the figure turns with it, so that a walk stays a walk. A joint
    target within reach overwrites feet and hands; one out of reach first bends the path.
    """

    def __init__(self, targets: Sequence[Target], level: int, fps: float, start: np.ndarray, free_start: bool) -> None:
        self.stride = 2**level
        self.per_key = fps / self.stride
        self.start, self.free_start = np.array(start, dtype=float), free_start
        self.points = [(time * self.per_key, goal) for time, goal in _waypoints(targets)]
        self.times = [target.time for target in targets if isinstance(target, PathTarget)]
        self.poses = []
        for target in targets:
            if isinstance(target, PoseTarget):
                seen = pose151.encode(Motion(BODY, fps, target.root_position[None], target.rotations[None]))
                self.poses.append((target.time * self.per_key, seen.pose[0], float(seen.heading[0])))
        self.joints = [
            (target.time * self.per_key, BODY.index(target.joint), np.array(target.position))
            for target in targets
            if isinstance(target, JointTarget)
        ]

    def path_is_known(self, count: int) -> bool:
        """Whether waypoints say the whole way of a window of `count` key frames."""
        if len(self.times) < 2:
            return False
        times = np.array(sorted(self.times))
        end = (count - 1) / self.per_key
        return bool(times[0] <= DENSE / 2 and times[-1] >= end - DENSE and np.diff(times).max() <= DENSE)

    def __call__(self, token: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (K, 328) -> overwritten tokens, and the (x, z, heading) of the first key frame."""
        token = token.copy()
        count = len(token)
        heading = self.start[2] + np.concatenate([[0.0], np.cumsum(token[:-1, 304])])
        step = scales.turned(scales.stretch(token[:-1, scales.T_STEP], scales.ROOT_UNIT), heading[:-1])
        path = self.start[:2] + np.concatenate([[[0.0, 0.0]], np.cumsum(step, 0)])
        for at, pose, _ in self.poses:
            token[min(round(at), count - 1), scales.T_POSE] = pose

        points = self.points + self._far_joints(token, path, heading)
        if points:
            points.sort(key=lambda point: point[0])
            bent = path + _offsets(path, points, self.free_start)
            heading = heading + self._turn(path, bent)
            path = bent
        heading = heading + self._pose_headings(heading)
        for at, joint, goal in self.joints:
            name = BODY.names[joint]
            if name in pose151.EFFECTORS:
                key = min(round(at), count - 1)
                place = pose151.EFFECTOR.start + 3 * pose151.EFFECTORS.index(name)
                x, z = scales.turned(goal[[0, 2]] - path[key], -heading[key])
                token[key, place : place + 3] = x, goal[1], z
        if count > 1:
            step = scales.squash(scales.turned(np.diff(path, axis=0), -heading[:-1]), scales.ROOT_UNIT)
            token[:-1, scales.T_STEP], token[:-1, 304] = step, np.diff(heading)
            token[-1, scales.T_STEP], token[-1, 304] = step[-1], token[-2, 304]
        return token, np.array([*path[0], heading[0]])

    def settle(self, keys: Keys) -> Keys:
        """Key frames on the path that the targets ask for."""
        if not self.points:
            return keys
        offset = _offsets(keys.state[:, PATH], self.points, self.free_start)
        state, velocity = keys.state.copy(), keys.velocity.copy()
        state[:, PATH] += offset
        if len(offset) > 1:
            velocity[:, PATH] += np.gradient(offset, axis=0) / keys.stride
        return Keys(state, velocity, keys.stride)

    def _turn(self, path: np.ndarray, bent: np.ndarray) -> np.ndarray:
        """(K,) how much the way's direction changed, smooth, and unchanged where the figure stands."""
        if len(path) < 2:
            return np.zeros(len(path))
        old, new = np.diff(path, axis=0), np.diff(bent, axis=0)
        moving = (np.linalg.norm(old, axis=1) > 0.04) & (np.linalg.norm(new, axis=1) > 0.04)
        if not moving.any():
            return np.zeros(len(path))
        change = np.arctan2(new[:, 0], new[:, 1]) - np.arctan2(old[:, 0], old[:, 1])
        at = np.flatnonzero(moving)
        change = np.interp(np.arange(len(path)), at, np.unwrap(_wrapped(change[at])))
        if not self.free_start:
            change *= np.clip(np.arange(len(path)) / 3, 0, 1)
        padded = np.pad(change, 1, mode="edge")
        return padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4

    def _pose_headings(self, heading: np.ndarray) -> np.ndarray:
        """(K,) what turns the figure to face as the pose targets do."""
        if not self.poses:
            return np.zeros(len(heading))
        places = [min(max(at, 0.0), len(heading) - 1.0) for at, _, _ in self.poses]
        order = np.argsort(places)
        places = [places[k] for k in order]
        index = np.arange(len(heading))
        turns = [float(_wrapped(self.poses[k][2] - np.interp(places[n], index, heading))) for n, k in enumerate(order)]
        if not self.free_start and places[0] > 0:
            places, turns = [0.0, *places], [0.0, *turns]
        return np.interp(index, places, turns)

    def _far_joints(self, token: np.ndarray, path: np.ndarray, heading: np.ndarray) -> list[tuple[float, np.ndarray]]:
        """Waypoints (index, (x, z)) that bring joints near targets out of their reach."""
        points = []
        for at, joint, goal in self.joints:
            key = min(round(at), len(token) - 1)
            state = np.concatenate([token[key, scales.T_POSE], path[key], heading[key : key + 1]])[None]
            position = scales.motion_of(state, 30.0).joint_positions()[0, joint]
            gap = (goal - position)[[0, 2]]
            distance = float(np.linalg.norm(gap))
            if distance > REACH:
                points.append((at, path[key] + gap * (1 - REACH / distance)))
        return points


def enforce(motion: Motion, targets: Sequence[Target]) -> Motion:
    """Bend a motion on BODY that nearly meets its targets so that it meets them.

    Paths by shifting the root, poses by turning all joints, joint positions by inverse kinematics, each with a bump of
    `BLEND` seconds around the target's frame.
    """
    frames, fps = len(motion), motion.fps
    root, rotations = np.array(motion.root_position), np.array(motion.rotations)
    paths = [(target.time * fps, np.array(target.position)) for target in targets if isinstance(target, PathTarget)]
    if paths:
        paths.sort(key=lambda point: point[0])
        root[:, [0, 2]] += _offsets(root[:, [0, 2]], paths, free_start=True)

    exact = sorted((target for target in targets if not isinstance(target, PathTarget)), key=lambda target: target.time)
    moments = sorted({min(round(target.time * fps), frames - 1) for target in exact})
    for target in exact:
        at = min(round(target.time * fps), frames - 1)
        nearest = min((abs(other - at) for other in moments if other != at), default=frames)
        width = max(min(BLEND * fps, nearest), 1)
        bump = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.arange(frames) - at) / width, -1, 1))
        if isinstance(target, PoseTarget):
            change = rot.multiply(rot.inverse(rotations[at]), target.rotations)  # (22, 4)
            rotations = rot.slerp(rotations, rot.multiply(rotations, change), np.repeat(bump[:, None], len(BODY), 1))
            root += bump[:, None] * (target.root_position - root[at])
    joints = [target for target in exact if isinstance(target, JointTarget)]
    for target in sorted(joints, key=lambda target: BODY.index(target.joint)):  # the trunk first, then the limbs
        at = min(round(target.time * fps), frames - 1)
        others = {min(round(other.time * fps), frames - 1) for other in joints if other.joint == target.joint}
        nearest = min((abs(other - at) for other in others if other != at), default=frames)
        width = max(min(BLEND * fps, nearest), 1)
        bump = 0.5 + 0.5 * np.cos(np.pi * np.clip((np.arange(frames) - at) / width, -1, 1))
        root, rotations = _reach(root, rotations, at, BODY.index(target.joint), np.array(target.position), bump)
    return motion.replace(root_position=root, rotations=rotations)


def _reach(
    root: np.ndarray, rotations: np.ndarray, at: int, joint: int, goal: np.ndarray, bump: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bring a joint to `goal` at frame `at`: limbs bend, and the root makes up for what they cannot reach."""
    near = bump > 0
    if BODY.names[joint] in ("left_ankle", "right_ankle", "left_wrist", "right_wrist"):
        positions, _ = forward_kinematics(BODY, root[near], rotations[near])
        frame = at - int(np.flatnonzero(near)[0])
        gap = goal - positions[frame, joint]
        wanted = positions[:, joint] + bump[near, None] * gap
        rotations = rotations.copy()
        rotations[near] = two_bone_ik(BODY, rotations[near], root[near], joint, wanted)
    positions, _ = forward_kinematics(BODY, root[at], rotations[at])
    return root + bump[:, None] * (goal - positions[joint]), rotations
