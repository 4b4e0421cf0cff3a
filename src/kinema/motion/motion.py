"""Motion: the one thing that every format reads and writes, every model makes, and every metric judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from kinema.motion.kinematics import forward_kinematics
from kinema.motion.skeleton import Skeleton

MAX_FRAMES = 2_000_000
MIN_FPS, MAX_FPS = 0.001, 10_000.0


def check_fps(fps: float) -> None:
    """Is that a frame rate?

    Raises:
        ValueError: it is not 0.001 to 10000 frames per second.
    """
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"fps must be {MIN_FPS:g} to {MAX_FPS:g}, got {fps:g}")


@dataclass(frozen=True, eq=False)
class Motion:
    """A skeleton moving through time. Immutable; arrays are read-only float64.

    World: metres, seconds, radians; Y up, right-handed; +Z is the body's forward in the rest pose.

    Args:
        skeleton: J joints.
        fps: frames per second, 0.001 to 10000.
        root_position: (T, 3) world position of the root joint, metres.
        rotations: (T, J, 4) rotation of each joint relative to its parent (of the root: to the world), unit
            quaternions wxyz; all identity is the rest pose. Normalised here if within 1 % of unit length.
        contacts: optional (T, J) bool, True where a joint touches the ground.
        metadata: strings and numbers that travel with the motion: source, licence, captions.

    Raises:
        ValueError: shapes disagree, values are not finite, or quaternions are far from unit length.
    """

    skeleton: Skeleton
    fps: float
    root_position: np.ndarray
    rotations: np.ndarray
    contacts: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = np.asarray(self.root_position, dtype=np.float64)
        quats = np.asarray(self.rotations, dtype=np.float64)
        joints = len(self.skeleton)
        if root.ndim != 2 or root.shape[1] != 3 or not 1 <= len(root) <= MAX_FRAMES:
            raise ValueError(f"root_position must be (T, 3) with 1 to {MAX_FRAMES} frames, got {root.shape}")
        if quats.shape != (len(root), joints, 4):
            raise ValueError(f"rotations must be ({len(root)}, {joints}, 4), got {quats.shape}")
        check_fps(self.fps)
        if not (np.isfinite(root).all() and np.isfinite(quats).all()):
            raise ValueError("a motion must be finite numbers")
        length = np.sqrt(np.einsum("...i,...i->...", quats, quats))
        deviation = max(length.max() - 1, 1 - length.min())
        if deviation > 0.01:
            raise ValueError(
                f"rotations must be unit quaternions, got lengths {length.min():.3f} to {length.max():.3f}"
            )
        # what is of unit length to rounding stays as it is, bit by bit
        quats = quats / length[..., None] if deviation > 1e-14 else _unwritable(quats)
        arrays: dict[str, np.ndarray] = {"root_position": _unwritable(root), "rotations": quats}
        if self.contacts is not None:
            contacts = np.array(self.contacts, dtype=bool)
            if contacts.shape != (len(root), joints):
                raise ValueError(f"contacts must be ({len(root)}, {joints}), got {contacts.shape}")
            arrays["contacts"] = contacts
        for name, array in arrays.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "fps", float(self.fps))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def __reduce__(self) -> tuple[Any, ...]:
        # a mapping proxy can be neither copied nor sent to another process
        return Motion, (
            self.skeleton, self.fps, self.root_position, self.rotations, self.contacts, dict(self.metadata)
        )  # fmt: skip

    def __len__(self) -> int:
        """Number of frames T."""
        return len(self.root_position)

    def __repr__(self) -> str:
        return f"Motion({len(self)} frames, {self.seconds:.2f} s at {self.fps:g} fps, {len(self.skeleton)} joints)"

    @property
    def seconds(self) -> float:
        """Length in seconds: each frame lasts 1 / fps."""
        return len(self) / self.fps

    def replace(self, **changes: Any) -> Motion:
        """A copy with some fields changed. Contacts are dropped when the rotations change and none are given."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if {"rotations", "root_position", "skeleton"} & set(changes):
            fields["contacts"] = None
        return Motion(**{**fields, **changes})

    def joint_positions(self) -> np.ndarray:
        """(T, J, 3) joint positions in the world, metres; computed once, not to be written to."""
        return self._joint_positions

    @cached_property
    def _joint_positions(self) -> np.ndarray:
        positions = forward_kinematics(self.skeleton, self.root_position, self.rotations)[0]
        positions.flags.writeable = False
        return positions

    def save(self, path: Any, **options: Any) -> None:
        """Write to a file by its ending (.bvh, .glb, .fbx, .npz, .mp4, ...); see `kinema.formats.save`."""
        from kinema.formats import save  # the one look upwards: a motion knows its files, not how they are written

        save(self, path, **options)


def _unwritable(array: np.ndarray) -> np.ndarray:
    """A copy, or the array itself where its maker has given up writing to it: long motions are large."""
    return array if array.base is None and not array.flags.writeable else np.array(array)
