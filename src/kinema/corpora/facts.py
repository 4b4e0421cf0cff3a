"""What a body does, measured from where its joints are: pace, way, turns, steps, jumps, posture, arms, kicks.

All thresholds are for BODY, whose legs are 0.834 m long; whoever is retargeted to it is measured by the length of their
own legs. They were set on the training splits of the CMU and Bandai-Namco corpora (docs/corpora.md has the check).
Nothing here knows left from right but by its sign, so that the facts of a mirrored motion are the mirrored facts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kinema.motion.contacts import ANKLE_HEIGHT, BODY_LEG, TOE_HEIGHT
from kinema.motion.curves import runs, smooth_path
from kinema.motion.kinematics import facing
from kinema.motion.motion import Motion
from kinema.motion.skeleton import BODY

PACES = ("standing", "slow walk", "walk", "fast walk", "run")
# fmt: off
DIRECTIONS = (
    "forward", "forward left", "left", "backward left", "backward", "backward right", "right", "forward right"
)  # in steps of 45 degrees to the left
# fmt: on
ABOUT = "about"
POSTURES = ("upright", "bent", "crouching", "sitting", "lying")
HEIGHTS = ("hip", "waist", "chest", "shoulder", "head", "above head", "high above head")
ARM_MOVES = ("still", "swings", "moves", "rises", "waves")

# Speeds over the ground in lengths of the legs a second. Who runs is told by the feet, as the old run slower than some
# walk: a foot stands while its ankle is slower than `_STANDS` of the body, and neither does in `_FLIGHT` of the time.
_MOVING, _WALK, _FAST, _SLOWEST_RUN = 0.22, 0.9, 1.75, 0.9
_STANDS, _FLIGHT = 0.56, 0.14
_STRAIGHT = 0.5  # of the way leads into one direction, seen from the body; below, it goes about
_TRAVEL = 0.6  # lengths of the legs away from the start; below, feet shift but nobody goes anywhere
_TURN = 40.0  # degrees; below, a body only sways
_STAND = BODY_LEG + ANKLE_HEIGHT - float(BODY.offsets[BODY.index("left_hip"), 1])  # height of the pelvis, metres
_STEP = 0.15  # metres that a foot goes in a step
_SWING = 0.6  # m/s of an ankle
_CLEAR = 0.1  # metres under the lower foot of who jumps
_HOP, _LEAP = 0.14, 0.28  # metres that the hips rise in a jump, and in one out of a run
_BOW = 22.0  # degrees
_STILL_ARM = 0.12  # metres in which a hand stays, seen from its shoulder
_RISE = 0.3  # metres that a hand goes up
_WAVE = 0.025  # metres that a hand goes to the side and back
_KICK = 3.3  # m/s by which a foot that kicks is faster than the body; one that runs reaches 2.8
_SOLES = {"foot": TOE_HEIGHT, "ankle": ANKLE_HEIGHT}
SIDES = ("left", "right")


@dataclass(frozen=True)
class Arm:
    """What an arm does.

    Args:
        move: one of `ARM_MOVES`; "swings" is beside the body and in time with the steps.
        height: one of `HEIGHTS`: the highest that the hand gets.
        repeats: how often the hand goes forth and back while it is up; 0 where it does not.
    """

    move: str
    height: str
    repeats: int = 0

    @property
    def acts(self) -> bool:
        """Whether the hand is lifted, to hold or to wave."""
        return self.move in ("rises", "waves")


@dataclass(frozen=True)
class Facts:
    """What a body does in a clip.

    Args:
        pace: one of `PACES`, of the time in which the body gets on.
        direction: one of `DIRECTIONS`, as the body sees it, or `ABOUT` for into all of them; None if it stays in place.
        turns: degrees of each turn in their order, positive to the left.
        steps: steps of both feet.
        jumps: how often both feet leave the ground, running apart.
        posture: one of `POSTURES`: the lowest that the body holds for a while.
        bows: how often the trunk bends forward and comes up again while the legs stand.
        left_arm, right_arm: the arms.
        left_kicks, right_kicks: how often a foot is flung up in front or to the side.
    """

    pace: str
    direction: str | None
    turns: tuple[int, ...]
    steps: int
    jumps: int
    posture: str
    bows: int
    left_arm: Arm
    right_arm: Arm
    left_kicks: int
    right_kicks: int

    def mirrored(self) -> Facts:
        """The facts of the same motion in a mirror."""
        other = {"left": "right", "right": "left"}
        way = self.direction and " ".join(other.get(word, word) for word in self.direction.split())
        return replace(
            self,
            direction=way,
            turns=tuple(-turn for turn in self.turns),
            left_arm=self.right_arm,
            right_arm=self.left_arm,
            left_kicks=self.right_kicks,
            right_kicks=self.left_kicks,
        )


def measure(motion: Motion) -> Facts:
    """The facts of a motion on BODY that stands on y = 0 (see `ground`).

    Raises:
        ValueError: it is on another skeleton.
    """
    if motion.skeleton != BODY:
        raise ValueError("facts are measured on BODY; retarget the motion to it first")
    return measure_positions(motion.joint_positions(), motion.fps)


def measure_positions(positions: np.ndarray, fps: float) -> Facts:
    """The facts of joint positions (T, 22, 3) of BODY that stands on y = 0, metres."""
    body = _Body(np.asarray(positions, dtype=np.float64), fps)
    flights = _flights(body)
    grounded = np.ones(len(positions), dtype=bool)
    for start, end in flights:
        grounded[max(start - round(0.1 * fps), 0) : end + round(0.1 * fps)] = False
    pace = _pace(body, grounded)
    left, right = (_arm(body, side, pace != "standing") for side in SIDES)
    posture = _posture(body)
    reaching = max(HEIGHTS.index(arm.height) for arm in (left, right)) > HEIGHTS.index("shoulder")
    bows = 0 if pace != "standing" or reaching else _bows(body)
    return Facts(
        pace=pace,
        direction=_direction(body),
        turns=_turns(body),
        steps=_steps(body),
        jumps=len(flights),
        posture="upright" if bows and posture == "bent" else posture,
        bows=bows,
        left_arm=left,
        right_arm=right,
        left_kicks=_kicks(body, "left", grounded),
        right_kicks=_kicks(body, "right", grounded),
    )


class _Body:
    """Joint positions (T, 22, 3), and what several measurements need of them."""

    def __init__(self, positions: np.ndarray, fps: float) -> None:
        self.positions, self.fps = positions, fps
        self.track = self.smooth(self["pelvis"][:, [0, 2]], 0.8)
        self.yaw = self.smooth(np.unwrap(facing(positions))[:, None], 0.4)[:, 0]
        self.moves = np.gradient(self.track, axis=0) * fps / BODY_LEG if len(positions) > 1 else 0 * self.track
        self.away = np.linalg.norm(self.track - self.track[0], axis=1).max() / BODY_LEG  # lengths of the legs
        self.speed = np.linalg.norm(self.moves, axis=1)  # (T,) lengths of the legs a second

    def __getitem__(self, joint: str) -> np.ndarray:
        """(T, 3) positions of a joint."""
        return self.positions[:, BODY.index(joint)]

    def smooth(self, path: np.ndarray, seconds: float) -> np.ndarray:
        """(T, D) without what is shorter than `seconds`."""
        return smooth_path(path, seconds * self.fps) if len(path) > 2 else path

    def rate(self, path: np.ndarray) -> np.ndarray:
        """(T, D) -> (T,) speed, metres a second."""
        return np.linalg.norm(np.gradient(path, axis=0), axis=1) * self.fps if len(path) > 1 else np.zeros(len(path))

    def ahead(self, vectors: np.ndarray) -> np.ndarray:
        """(T, 3) in the world -> (T, 3) to the left, up and ahead, as the body faces."""
        sine, cosine = np.sin(self.yaw), np.cos(self.yaw)
        x, y, z = vectors.T
        return np.stack([cosine * x - sine * z, y, sine * x + cosine * z], -1)

    def spans(self, mask: np.ndarray, seconds: float, gap: float = 0.0) -> list[tuple[int, int]]:
        """Runs of True of `seconds` or longer, those joined that are less than `gap` seconds apart."""
        joined: list[tuple[int, int]] = []
        for start, end in runs(mask):
            if joined and start - joined[-1][1] < gap * self.fps:
                joined[-1] = joined[-1][0], end
            else:
                joined.append((start, end))
        return [(start, end) for start, end in joined if end - start >= seconds * self.fps]

    def lean(self) -> np.ndarray:
        """(T, 2) degrees by which the trunk leans ahead, and in any direction."""
        left, up, ahead = self.ahead(self["neck"] - self["pelvis"]).T
        return np.degrees(np.stack([np.arctan2(ahead, up), np.arctan2(np.hypot(left, ahead), up)], -1))

    def clearance(self) -> np.ndarray:
        """(T,) metres between the ground and the lower foot, 0 while it stands."""
        feet = [self[f"{side}_{part}"][:, 1] - height for side in SIDES for part, height in _SOLES.items()]
        return np.minimum.reduce(feet)


def zigzag(values: np.ndarray, least: float) -> np.ndarray:
    """Where a curve (T,) turns back by `least` or more: its values at these points, with its first and last extreme.

    Empty for a curve that stays within `least`.
    """
    points: list[float] = []
    low = high = values[0]
    rising = True
    for value in values:
        if not points:
            low, high = min(low, value), max(high, value)
            if high - low >= least:
                rising = value == high
                points = [low, high] if rising else [high, low]
        elif (value >= points[-1]) == rising:
            points[-1] = value
        elif abs(value - points[-1]) >= least:
            points.append(value)
            rising = not rising
    return np.array(points)


def _pace(body: _Body, counted: np.ndarray) -> str:
    """How the body gets on, in the frames (T,) that are counted."""
    moving = (body.speed > _MOVING) & counted
    if body.away < _TRAVEL or not moving.any():
        return "standing"
    speed = float(np.median(body.speed[moving]))
    ankles = np.stack([body.rate(body.smooth(body[f"{side}_ankle"], 0.1)) for side in SIDES])
    neither_stands = ankles.min(0) > _STANDS * speed * BODY_LEG
    if speed > _SLOWEST_RUN and neither_stands[moving].mean() > _FLIGHT:
        return "run"
    return "slow walk" if speed < _WALK else "walk" if speed < _FAST else "fast walk"


def _direction(body: _Body) -> str | None:
    """Where the body gets to, seen from itself."""
    if body.away < _TRAVEL:
        return None
    moving = body.speed > _MOVING
    left, _, ahead = body.ahead(np.insert(body.moves, 1, 0, axis=1))[moving].sum(0)
    if np.hypot(left, ahead) < _STRAIGHT * body.speed[moving].sum():
        return ABOUT
    return DIRECTIONS[round(np.arctan2(left, ahead) / (np.pi / 4)) % 8]


def _turns(body: _Body) -> tuple[int, ...]:
    """Turns in degrees, rounded to 5."""
    return tuple(int(5 * round(turn / 5)) for turn in np.diff(zigzag(np.degrees(body.yaw), _TURN)))


def _steps(body: _Body) -> int:
    """How often a foot is set down somewhere else; one that is still in the air at the end has not been."""
    count = 0
    for side in SIDES:
        path = body[f"{side}_ankle"][:, [0, 2]]
        for start, end in body.spans(body.rate(body.smooth(path, 0.1)) > _SWING, 0.1):
            count += end < len(path) and bool(np.linalg.norm(path[end] - path[start]) > _STEP)
    return count


def _flights(body: _Body) -> list[tuple[int, int]]:
    """First and last frame of every jump: both feet leave the ground, and the hips rise above where they mostly are.

    Strides of a run raise the hips too, by less than a leap does.
    """
    height, clearance = body["pelvis"][:, 1], body.clearance()
    running = _pace(body, np.ones(len(height), dtype=bool)) == "run"
    standing = clearance <= 0.03
    rise = height - np.median(height[standing] if standing.any() else height)
    return [
        (start, end)
        for start, end in body.spans(clearance > 0.03, 0.1)
        if end - start < body.fps  # longer, and it is stairs
        and clearance[start:end].max() > _CLEAR
        and rise[start:end].max() > (_LEAP if running else _HOP)
    ]


def _posture(body: _Body) -> str:
    """The lowest posture that lasts."""
    height, lean = body["pelvis"][:, 1] / _STAND, body.lean()[:, 1]
    feet = (body["left_ankle"] + body["right_ankle"]) / 2
    behind = body.ahead(feet - body["pelvis"])[:, 2]
    lying = (height < 0.45) & (body["neck"][:, 1] < 0.55)
    low = height < 0.72
    masks = {"lying": lying, "sitting": low & (behind > 0.25) & (lean < 45), "crouching": low, "bent": lean > 40}
    for posture, mask in masks.items():
        if body.spans(mask, 0.3):
            return posture
    return "upright"


def _bows(body: _Body) -> int:
    """How often the trunk goes down and comes up again, on legs that stand."""
    lean, height = body.lean()[:, 0], body["pelvis"][:, 1] / _STAND
    if body.speed.max() > _WALK or height.min() < 0.75:
        return 0
    points = zigzag(lean, _BOW)
    return sum(
        1 for before, at, after in zip(points, points[1:], points[2:], strict=False) if at > max(before, after, _BOW)
    )


def _arm(body: _Body, side: str, walking: bool) -> Arm:
    """What one arm does."""
    wrist = body[f"{side}_wrist"]
    reach = body.ahead(wrist - body[f"{side}_shoulder"])
    hips, neck, head = (body[name][:, 1] for name in ("pelvis", "neck", "head"))
    levels = np.stack([hips, hips + 0.2, neck - 0.19, neck - 0.02, head + 0.16, head + 0.25], 1)
    level = (wrist[:, 1:2] > levels).sum(1)
    held = max(at for at in range(len(HEIGHTS)) if at == 0 or body.spans(level >= at, 0.1))
    repeats = _repeats(body, side)
    if repeats >= 2:
        return Arm("waves", HEIGHTS[held], repeats)
    # arms that swing with the steps get to the shoulders
    if np.ptp(reach[:, 1]) > _RISE and held >= HEIGHTS.index("head" if walking else "shoulder"):
        return Arm("rises", HEIGHTS[held])
    if np.linalg.norm(np.ptp(np.percentile(reach, [5, 95], axis=0), axis=0)) < _STILL_ARM:
        return Arm("still", HEIGHTS[held])
    return Arm("swings" if walking else "moves", HEIGHTS[held])


def _repeats(body: _Body, side: str) -> int:
    """How often the hand goes from side to side and back while it is up."""
    wrist = body[f"{side}_wrist"]
    height = wrist[:, 1]
    up = (height > body[f"{side}_elbow"][:, 1] + 0.05) & (height > body["neck"][:, 1] - 0.3)
    up &= height > (height.max() + height.min()) / 2  # on its way up and down it goes to the side as well
    across = body.ahead(wrist - body["spine3"])[:, 0]
    turns = [0]
    for start, end in body.spans(up, 0.4, 0.2):
        turns.append(len(zigzag(across[start:end], max(_WAVE, 0.25 * np.ptp(across[start:end])))) - 1)
    return max(turns) // 2


def _kicks(body: _Body, side: str, grounded: np.ndarray) -> int:
    """How often a foot is flung ahead or to the side, much faster than the body moves."""
    leg = body.smooth(body.ahead(body[f"{side}_ankle"] - body[f"{side}_hip"]), 0.1)
    swing = (np.gradient(leg, axis=0) if len(leg) > 1 else 0 * leg) * body.fps
    outwards = swing[:, 0] if side == "left" else -swing[:, 0]
    excess = np.maximum(outwards, swing[:, 2]) - body.speed * BODY_LEG
    return len(body.spans((excess > _KICK) & grounded, 0.0, 0.3))
