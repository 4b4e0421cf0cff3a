"""Put a motion onto another humanoid skeleton: rest poses aligned, size adjusted, feet and hands where they were.

World rotations carry over: R_target(t) = R_source(t) C_source C_target^-1, where C says how the frame of a joint stands
in BODY's T-pose (see `humanoid`). Limbs of other proportions then end elsewhere, so legs are bent until the toes are
where those of the source are, scaled by the length of the legs; likewise arms while a hand rests on the ground or meets
the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.curves import average, envelope, smoothstep
from kinema.motion.humanoid import ARM, LEG, SIDES, Humanoid, flexion, humanoid
from kinema.motion.kinematics import forward_kinematics, local_rotations, two_bone_ik
from kinema.motion.motion import Motion
from kinema.motion.skeleton import BODY, Skeleton

# Distances below are metres on BODY; on others they grow with the legs. Between the two numbers a contact fades out.
_FOOT_STANDS = (0.05, 0.25)  # height of a sole
_TOES_LEAD = (0.05, 0.6)  # height of a sole
_HAND_RESTS = (0.12, 0.32)  # height of a wrist
_HIPS_REST = (0.2, 0.6)  # height of the hips
_KNEE_RESTS = (0.14, 0.28)  # height of a knee
_HANDS_MEET = (0.12, 0.35)  # from palm to palm
_PALM = 0.085  # from the wrist to the middle of the palm
_STRETCH = 0.998  # share of a limb's length to which it may be drawn out so as to reach the ground
_FAR = 0.9  # share of an arm's length that a hand on the ground may be from under the shoulder
_SINK = 0.15  # that the hips may sink so that the feet reach the ground
_LEAN = 0.6  # radians that the trunk may lean so that the hands do
_RAMP = 0.2  # seconds over which such corrections set in


def retarget(
    motion: Motion,
    onto: Skeleton | Motion = BODY,
    joints: Mapping[str, str] | None = None,
    onto_joints: Mapping[str, str] | None = None,
    keep_contacts: bool = True,
) -> Motion:
    """The same motion on another humanoid skeleton, feet on the ground at y = 0; frame rate and metadata are kept.

    A motion that is on that skeleton already comes back as it is, wherever it stands. Lengths are scaled by the ratio
    of leg lengths, the path too, so that steps still fit it. Spine and neck may have other numbers of joints: their
    turns are shared out. Joints of the target that the source lacks (fingers, twist bones, hair) keep their rest
    rotation and follow the joint above them.

    Args:
        motion: on any humanoid skeleton.
        onto: the target. Where its rest pose does not tell how bones are rolled (each along its own X axis, as
            Bandai-Namco has them), give a motion on it, from which that is measured; with the skeleton alone, bones
            point where they should, but are rolled about themselves like the bone above them.
        joints: {name in BODY_WITH_HANDS: joint name} of the source where `match_joints` is wrong.
        onto_joints: the same of the target.
        keep_contacts: bend legs and arms by inverse kinematics so that toes (ankles where there are no toes) are where
            the source has them, and hands that rest on the ground or meet still do. Hips sink by up to 15 cm on BODY
            where legs are too short. Without, all bones keep their directions.

    Raises:
        ValueError: the joints cannot be told, or the legs have no length.
    """
    skeleton = onto.skeleton if isinstance(onto, Motion) else onto
    if motion.skeleton == skeleton:
        return motion
    source = humanoid(motion.skeleton, motion, joints)
    try:
        target = humanoid(skeleton, onto if isinstance(onto, Motion) else None, onto_joints)
    except ValueError as error:
        raise ValueError(f"the skeleton to put the motion onto: {error}") from None
    positions, world = forward_kinematics(motion.skeleton, motion.root_position, motion.rotations)
    rotations = local_rotations(skeleton, _carry_over(source, world, target))
    track = _Track(source, target, positions, world)
    positions, world = forward_kinematics(skeleton, np.zeros((len(motion), 3)), rotations)
    root = track.place(track.hips, *track.ankles) - positions[
        :, [target.joints["left_hip"], target.joints["right_hip"]]
    ].mean(1)
    positions = positions + root[:, None]
    if keep_contacts:
        root, rotations = _keep_contacts(track, root, rotations, positions, world, motion.fps)
    else:
        root = root - (0, target.floor(positions, world), 0)
    return Motion(skeleton, motion.fps, root, rotations, metadata=motion.metadata)


def _carry_over(source: Humanoid, world: np.ndarray, target: Humanoid) -> np.ndarray:
    """(T, J, 4) world rotations of the target's joints from those of the source."""

    def in_tpose(joint: int, frame: int | None = None) -> np.ndarray:
        return rot.multiply(world[:, joint], source.frames[joint if frame is None else frame])

    played: dict[int, np.ndarray] = {}
    chained = {*target.spine, *target.neck}
    for name, joint in target.joints.items():
        if name in source.joints and joint not in chained:
            played[joint] = in_tpose(source.carrier(name), source.joints[name])
    pelvis = played[target.joints["pelvis"]]
    chest = in_tpose(source.spine[-1]) if source.spine else pelvis
    for ours, theirs, below in ((source.spine, target.spine, pelvis), (source.neck, target.neck, chest)):
        played |= dict(zip(theirs, _shared_out([in_tpose(joint) for joint in ours], below, len(theirs)), strict=False))

    skeleton, result = target.skeleton, np.empty((len(world), len(target.skeleton), 4))
    for joint, parent in enumerate(skeleton.parents):
        if joint in played:
            result[:, joint] = rot.multiply(played[joint], rot.inverse(target.frames[joint]))
        elif parent < 0:
            result[:, joint] = rot.IDENTITY
        elif joint in target.frames and parent in target.frames and not target.standing:
            straight = rot.multiply(target.frames[parent], rot.inverse(target.frames[joint]))
            result[:, joint] = rot.multiply(result[:, parent], straight)
        else:
            result[:, joint] = result[:, parent]
    return result


def _shared_out(chain: list[np.ndarray], below: np.ndarray, count: int) -> list[np.ndarray]:
    """World rotations (T, 4) of `count` joints between those of a chain; a single joint shares with that below it."""
    if not chain or len(chain) == count:
        return chain
    if len(chain) == 1:
        chain = [below, *chain]
        places = np.arange(1, count + 1) / count
    else:
        places = np.linspace(0, len(chain) - 1, count) if count > 1 else np.array([len(chain) - 1.0])
    result = []
    for place in places:
        first = min(int(place + 1e-9), len(chain) - 2)
        share = place - first
        if share in (0, 1):
            result.append(chain[first + int(share)])
        else:
            result.append(rot.slerp(chain[first], chain[first + 1], np.full(len(below), share)))
    return result


@dataclass(frozen=True)
class _Track:
    """Where the source is: positions (T, J, 3) and world rotations (T, J, 4); what it asks of the target."""

    source: Humanoid
    target: Humanoid
    positions: np.ndarray
    world: np.ndarray

    @cached_property
    def floor(self) -> float:
        return self.source.floor(self.positions, self.world)

    def of(self, name: str) -> np.ndarray:
        """(T, 3) positions of a joint over the floor."""
        return self.positions[:, self.source.joints[name]] - (0, self.floor, 0)

    def place(self, point: np.ndarray, height: float = 0.0, target_height: float = 0.0) -> np.ndarray:
        """A point over the floor, scaled to the target; what is at `height` in the one is at `target_height` then."""
        scale = self.target.size / self.source.size
        return scale * (point - (0, height, 0)) + (0, target_height, 0)

    @cached_property
    def hips(self) -> np.ndarray:
        """(T, 3) the middle between the hip joints over the floor."""
        return (self.of("left_hip") + self.of("right_hip")) / 2

    @cached_property
    def ankles(self) -> tuple[float, float]:
        """Mean heights of source and target ankles over the soles of flat feet."""
        source, target = (
            np.mean([body.sole_heights(side)[0] for side in SIDES]) for body in (self.source, self.target)
        )
        return float(source), float(target)


def _keep_contacts(
    track: _Track, root: np.ndarray, rotations: np.ndarray, positions: np.ndarray, world: np.ndarray, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Root position (T, 3) and local rotations (T, J, 4) with feet and hands where the source has them."""
    source, target = track.source, track.target
    skeleton, joints = target.skeleton, target.joints
    window = max(round(_RAMP * fps), 1)
    soles = {side: (source.sole(side, track.positions, track.world) - track.floor) / source.size for side in SIDES}
    stands = {side: _fading(soles[side], _FOOT_STANDS) for side in SIDES}
    ankles = {side: _ankle_goal(track, positions, world, side, soles[side]) for side in SIDES}

    # standing hips are as much higher as the ankles are; hips near the ground are not
    moved = np.zeros_like(root)
    higher = track.place(track.hips, *track.ankles) - track.place(track.hips)
    sits = _fading(track.hips[:, 1] / source.size, _HIPS_REST)
    moved -= sits[:, None] * higher

    def step_to() -> np.ndarray:
        """Rotations with feet on the ground where they belong; in the air they have come along with the root."""
        result = rotations
        for side in SIDES:
            goal = ankles[side] + (1 - stands[side])[:, None] * moved
            result = _reach(target, root + moved, result, LEG, side, goal)
        return result

    # where legs are too short for the ground the hips sink; where a knee would be pressed into it they rise
    moved[:, 1] -= envelope(_sinking(target, positions + moved[:, None], ankles, stands), window)
    knees = {side: _fading(track.of(f"{side}_knee")[:, 1] / source.size, _KNEE_RESTS) for side in SIDES}
    if any(rests.any() for rests in knees.values()):
        bent, _ = forward_kinematics(skeleton, root + moved, step_to())
        pressed = [
            knees[side] * (track.place(track.of(f"{side}_knee")) - bent[:, joints[f"{side}_knee"]])[:, 1]
            for side in SIDES
        ]
        moved[:, 1] += envelope(np.maximum(np.max(pressed, axis=0), 0), window)

    # who stands on the hands alone is as high over them as the arms are long
    rests = {side: _fading(track.of(f"{side}_wrist")[:, 1] / source.size, _HAND_RESTS) for side in SIDES}
    hands = {side: _hand_goal(track, positions + moved[:, None], side) for side in SIDES}
    short = [rests[side] * (hands[side] - positions[:, joints[f"{side}_wrist"]] - moved)[:, 1] for side in SIDES]
    alone = (1 - stands["left"]) * (1 - stands["right"]) * (1 - sits)
    moved[:, 1] += average(alone * sum(short) / np.maximum(sum(rests.values()), 1), window)

    # where arms are too short for the ground the trunk leans towards it, and then the whole body comes along
    hands = {side: _hand_goal(track, positions + moved[:, None], side) for side in SIDES}
    if any(rest.any() for rest in rests.values()):
        rotations = _lean(target, root + moved, rotations, hands, rests, window)
        positions, _ = forward_kinematics(skeleton, root, rotations)
        follow = np.zeros_like(root)
        for _ in range(3):
            follow = follow + _missing(target, positions + (moved + follow)[:, None], hands, rests)
        moved += average(follow, window)
    rotations, root, positions = step_to(), root + moved, positions + moved[:, None]

    wrists = {side: positions[:, joints[f"{side}_wrist"]] for side in SIDES}
    middle = (wrists["left"] + wrists["right"]) / 2
    between = track.place(track.of("left_wrist") - track.of("right_wrist")) / 2
    palms = [track.of(f"{side}_wrist") + _palm(track, side) for side in SIDES]
    meet = _fading(np.linalg.norm(palms[0] - palms[1], axis=-1) / source.size, _HANDS_MEET)[:, None]
    for side, sign in zip(SIDES, (1, -1), strict=True):
        wanted = wrists[side] + meet * (middle + sign * between - wrists[side])
        wanted = wanted + rests[side][:, None] * (hands[side] - wanted)
        rotations = _reach(target, root, rotations, ARM, side, wanted)
    return root, rotations


def _ankle_goal(track: _Track, positions: np.ndarray, world: np.ndarray, side: str, sole: np.ndarray) -> np.ndarray:
    """(T, 3) where an ankle of the target has to be: so that its toes are where those of the source are or, where the
    sole is high over the floor, so that the leg is bent as much."""
    (ankle_height, toe_height), (our_ankle, our_toe) = (
        body.sole_heights(side) for body in (track.source, track.target)
    )
    goal = track.place(track.of(f"{side}_ankle"), ankle_height, our_ankle)
    toes = track.source.toes(side, track.positions, track.world)
    our_toes = track.target.toes(side, positions, world)
    if toes is None or our_toes is None:
        return goal
    foot = our_toes - positions[:, track.target.joints[f"{side}_ankle"]]
    by_toes = track.place(toes - (0, track.floor, 0), toe_height, our_toe) - foot
    return goal + _fading(sole, _TOES_LEAD)[:, None] * (by_toes - goal)


def _sinking(
    target: Humanoid, positions: np.ndarray, ankles: Mapping[str, np.ndarray], stands: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(T,) how far the hips are too high for the feet that stand."""
    needed = []
    for side in SIDES:
        hip, ankle = positions[:, target.joints[f"{side}_hip"]], positions[:, target.joints[f"{side}_ankle"]]
        room = np.maximum(_STRETCH * _limb_length(target, positions, LEG, side), np.linalg.norm(ankle - hip, axis=-1))
        across = np.sum((ankles[side] - hip)[:, [0, 2]] ** 2, -1)
        short = hip[:, 1] - ankles[side][:, 1] - np.sqrt(np.maximum(room**2 - across, 0))
        needed.append(stands[side] * np.clip(short, 0, _SINK * target.size))
    return np.max(needed, axis=0)


def _hand_goal(track: _Track, positions: np.ndarray, side: str) -> np.ndarray:
    """(T, 3) where a wrist of the target belongs if it rests on the ground, no farther off than the arm can be."""
    goal = track.place(track.of(f"{side}_wrist"))
    shoulder, wrist = (positions[:, track.target.joints[f"{side}_{part}"]] for part in ("shoulder", "wrist"))
    across, present = (goal - shoulder) * (1, 0, 1), (wrist - shoulder) * (1, 0, 1)
    distance = np.linalg.norm(across, axis=-1)
    room = np.maximum(_FAR * _limb_length(track.target, positions, ARM, side), np.linalg.norm(present, axis=-1))
    return goal - np.maximum(1 - room / np.maximum(distance, 1e-9), 0)[:, None] * across


def _missing(
    target: Humanoid, positions: np.ndarray, hands: Mapping[str, np.ndarray], rests: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(T, 3) how the shoulders would have to move so that the hands that rest on the ground reach it."""
    total = np.zeros_like(hands["left"])
    for side in SIDES:
        shoulder, wrist = (positions[:, target.joints[f"{side}_{part}"]] for part in ("shoulder", "wrist"))
        length = _STRETCH * _limb_length(target, positions, ARM, side)
        reach = hands[side] - shoulder
        beyond = np.linalg.norm(reach, axis=-1) - np.maximum(length, np.linalg.norm(wrist - shoulder, axis=-1))
        total = total + (rests[side] * np.maximum(beyond, 0))[:, None] * rot.normalize(reach)
    return total / np.maximum(rests["left"] + rests["right"], 1)[:, None]


def _lean(
    target: Humanoid,
    root: np.ndarray,
    rotations: np.ndarray,
    hands: Mapping[str, np.ndarray],
    rests: Mapping[str, np.ndarray],
    window: int,
) -> np.ndarray:
    """Rotations with the spine turned so that hands that rest on the ground reach it; hands and head keep theirs."""
    if not target.spine:
        return rotations
    skeleton, joints, base = target.skeleton, target.joints, target.spine[0]
    positions, world = forward_kinematics(skeleton, root, rotations)
    leaning = np.tile(rot.IDENTITY, (len(root), 1))
    for _ in range(3):
        trunk = positions[:, [joints["left_shoulder"], joints["right_shoulder"]]].mean(1) - positions[:, base]
        swing = rot.between(trunk, trunk + _missing(target, positions, hands, rests))
        leaning = rot.multiply(swing, leaning)
        result = _turned(skeleton, rotations, world, base, leaning)
        positions, _ = forward_kinematics(skeleton, root, result)
    vectors = rot.to_rotation_vector(leaning)
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)
    leaning = rot.from_rotation_vector(average(vectors * np.minimum(1, _LEAN / np.maximum(angle, 1e-9)), window))
    result = _turned(skeleton, rotations, world, base, leaning)
    _, after = forward_kinematics(skeleton, root, result)
    for name in ("head", "left_wrist", "right_wrist"):
        joint = joints[name]
        result[:, joint] = rot.multiply(rot.inverse(after[:, skeleton.parents[joint]]), world[:, joint])
    return result


def _turned(skeleton: Skeleton, rotations: np.ndarray, world: np.ndarray, joint: int, turn: np.ndarray) -> np.ndarray:
    """Local rotations with one joint turned in the world by `turn` (T, 4)."""
    result, parent = np.array(rotations), skeleton.parents[joint]
    above = rot.inverse(world[:, parent]) if parent >= 0 else rot.IDENTITY
    result[:, joint] = rot.multiply(above, rot.multiply(turn, world[:, joint]))
    return result


def _palm(track: _Track, side: str) -> np.ndarray:
    """(T, 3) from the source's wrist to the middle of its palm."""
    wrist = track.source.joints[f"{side}_wrist"]
    along = np.array([1.0 if side == "left" else -1.0, 0, 0]) * _PALM * track.source.size
    return rot.rotate(rot.multiply(track.world[:, wrist], track.source.frames[wrist]), along)


def _reach(
    target: Humanoid, root: np.ndarray, rotations: np.ndarray, limb: tuple[str, str, str], side: str, wanted: np.ndarray
) -> np.ndarray:
    upper, middle, end = (target.joints[f"{side}_{part}"] for part in limb)
    rest = target.skeleton.rest_positions
    if np.linalg.norm(np.diff(rest[[upper, middle, end]], axis=0), axis=-1).min() < 1e-5:
        return rotations  # there is nothing to bend
    hinge = rot.rotate(target.frames[upper], flexion(f"{side}_{limb[0]}"))
    return two_bone_ik(target.skeleton, rotations, root, end, wanted, bends=(upper, middle), hinge=hinge)


def _limb_length(target: Humanoid, positions: np.ndarray, limb: tuple[str, str, str], side: str) -> np.ndarray:
    points = positions[:, [target.joints[f"{side}_{part}"] for part in limb]]
    return np.linalg.norm(np.diff(points, axis=1), axis=-1).sum(1)


def _fading(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """1 below the first end, 0 above the second, smooth between."""
    return 1 - smoothstep((values - ends[0]) / (ends[1] - ends[0]))
