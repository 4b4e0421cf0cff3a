"""What moves: joint names, parents and rest offsets; BODY, the skeleton that models share, and BODY with hands."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

MAX_JOINTS = 1000


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A tree of joints in its rest pose: Y up, right-handed, metres. Immutable; arrays are read-only float64.

    Two skeletons are equal if their joints are; tips do not count, as formats without them have the same joints.

    Args:
        names: J joint names, unique.
        parents: J indices; the root comes first with parent -1, and every parent stands before its children.
        offsets: (J, 3) position of each joint relative to its parent in the rest pose, in metres; the root's is zero.
        tips: (J, 3) where the bone of a leaf joint ends, relative to that joint (head top, toes, finger tips), metres;
            zero where nothing is known.

    Raises:
        ValueError: the parts do not make a tree.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    tips: np.ndarray = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        count = len(self.names)
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        object.__setattr__(self, "parents", tuple(int(parent) for parent in self.parents))
        tips = np.zeros((count, 3)) if self.tips is None else self.tips
        for name, value in (("offsets", self.offsets), ("tips", tips)):
            array = np.array(value, dtype=np.float64)
            if array.shape != (count, 3):
                raise ValueError(f"skeleton {name} must have shape ({count}, 3), got {array.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"skeleton {name} must be finite numbers")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not 1 <= count <= MAX_JOINTS:
            raise ValueError(f"a skeleton has 1 to {MAX_JOINTS} joints, got {count}")
        if len(set(self.names)) != count:
            raise ValueError("joint names must be unique")
        if len(self.parents) != count or self.parents[0] != -1:
            raise ValueError("a skeleton needs one parent per joint, and -1 for the first")
        if any(not 0 <= parent < joint for joint, parent in enumerate(self.parents) if joint):
            raise ValueError("every parent must stand before its children")
        if np.abs(self.offsets[0]).max() > 0:
            raise ValueError("the root's offset must be zero; put it into root_position")

    def __reduce__(self) -> tuple[Any, ...]:
        # arrays that are copied or sent to another process come out writable
        return Skeleton, (self.names, self.parents, self.offsets, self.tips)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Skeleton)
            and self.names == other.names
            and self.parents == other.parents
            and np.array_equal(self.offsets, other.offsets)
        )

    def __hash__(self) -> int:
        return hash((self.names, self.parents, self.offsets.tobytes()))

    def index(self, name: str) -> int:
        """Index of a joint by name; ValueError names the joints there are."""
        try:
            return self.names.index(name)
        except ValueError:
            raise ValueError(f"no joint {name!r}; the joints are {', '.join(self.names)}") from None

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of every joint."""
        lists: list[list[int]] = [[] for _ in self.names]
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                lists[parent].append(joint)
        return tuple(tuple(row) for row in lists)

    @cached_property
    def rest_positions(self) -> np.ndarray:
        """(J, 3) joint positions of the rest pose with the root at the origin, metres."""
        positions = np.zeros((len(self), 3))
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                positions[joint] = positions[parent] + self.offsets[joint]
        positions.flags.writeable = False
        return positions


# BODY: SMPL's 22 joints in a T-pose (arms along +-X, facing +Z). Bone lengths are the mean of the 24 CMU subjects in
# mocap.cs.cmu.edu that were measured, left and right averaged; the foot slopes down to the toes by 34 degrees, as the
# ankle stands when the sole is flat.
_BODY = [  # name, parent, offset (m)
    ("pelvis", -1, (0.0, 0.0, 0.0)),
    ("left_hip", 0, (0.088, -0.099, 0.0)),
    ("right_hip", 0, (-0.088, -0.099, 0.0)),
    ("spine1", 0, (0.0, 0.060, 0.0)),
    ("left_knee", 1, (0.0, -0.402, 0.0)),
    ("right_knee", 2, (0.0, -0.402, 0.0)),
    ("spine2", 3, (0.0, 0.085, 0.0)),
    ("left_ankle", 4, (0.0, -0.432, 0.0)),
    ("right_ankle", 5, (0.0, -0.432, 0.0)),
    ("spine3", 6, (0.0, 0.086, 0.0)),
    ("left_foot", 7, (0.0, -0.068, 0.100)),
    ("right_foot", 8, (0.0, -0.068, 0.100)),
    ("neck", 9, (0.0, 0.180, 0.0)),
    ("left_collar", 9, (0.03, 0.115, 0.0)),
    ("right_collar", 9, (-0.03, 0.115, 0.0)),
    ("head", 12, (0.0, 0.110, 0.02)),
    ("left_shoulder", 13, (0.152, 0.060, 0.0)),
    ("right_shoulder", 14, (-0.152, 0.060, 0.0)),
    ("left_elbow", 16, (0.282, 0.0, 0.0)),
    ("right_elbow", 17, (-0.282, 0.0, 0.0)),
    ("left_wrist", 18, (0.232, 0.0, 0.0)),
    ("right_wrist", 19, (-0.232, 0.0, 0.0)),
]
_BODY_TIPS = {
    "head": (0.0, 0.17, 0.02),
    "left_foot": (0.0, -0.01, 0.06),
    "right_foot": (0.0, -0.01, 0.06),
    "left_wrist": (0.17, 0.0, 0.0),
    "right_wrist": (-0.17, 0.0, 0.0),
}

BODY = Skeleton(
    names=tuple(name for name, _, _ in _BODY),
    parents=tuple(parent for _, parent, _ in _BODY),
    offsets=np.array([offset for _, _, offset in _BODY]),
    tips=np.array([_BODY_TIPS.get(name, (0.0, 0.0, 0.0)) for name, _, _ in _BODY]),
)


# Fingers as SMPL-H orders them: three joints each, from the knuckle on. Phalanges, and the metacarpal of the thumb,
# have the mean lengths that Buryanov and Kotiuk (2010) measured in adults; tips include the soft part. The palm faces
# down.
_LEFT_FINGERS = {  # name: offsets of the three joints and of the tip (m), of the left hand
    "index": ((0.092, 0.0, 0.024), (0.040, 0.0, 0.0), (0.022, 0.0, 0.0), (0.020, 0.0, 0.0)),
    "middle": ((0.093, 0.0, 0.003), (0.045, 0.0, 0.0), (0.026, 0.0, 0.0), (0.021, 0.0, 0.0)),
    "pinky": ((0.078, 0.0, -0.034), (0.033, 0.0, 0.0), (0.018, 0.0, 0.0), (0.020, 0.0, 0.0)),
    "ring": ((0.086, 0.0, -0.016), (0.041, 0.0, 0.0), (0.026, 0.0, 0.0), (0.021, 0.0, 0.0)),
    "thumb": ((0.024, -0.010, 0.022), (0.033, -0.006, 0.032), (0.023, -0.003, 0.022), (0.018, -0.002, 0.018)),
}


def _with_hands() -> Skeleton:
    names, parents = list(BODY.names), list(BODY.parents)
    offsets, tips = list(BODY.offsets), list(BODY.tips)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for finger, (*chain, tip) in _LEFT_FINGERS.items():
            for number, offset in enumerate(chain, 1):
                parents.append(BODY.index(f"{side}_wrist") if number == 1 else len(names) - 1)
                names.append(f"{side}_{finger}{number}")
                offsets.append(np.array(offset) * (sign, 1, 1))
                tips.append(np.array(tip) * (sign, 1, 1) if number == 3 else np.zeros(3))
    return Skeleton(tuple(names), tuple(parents), np.array(offsets), np.array(tips))


BODY_WITH_HANDS = _with_hands()
"""BODY and 15 joints a hand, in the order of SMPL-H (52 joints)."""
