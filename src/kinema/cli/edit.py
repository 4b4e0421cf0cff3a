"""kinema edit: change a motion file, or join several."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg, subcommand

from kinema.cli.files import In, Options, Out, Reading, check_target, is_long, summary, waiting, write
from kinema.motion.motion import Motion


class _Edit(ABC):
    """One file in, one file out; what happens in between is up to the edit."""

    source: Path
    out: Path
    reading: Reading

    def run(self) -> None:
        self.reading.check([self.source], self.out)
        check_target(self.out, robot=self.reading.robot)
        with waiting(f"reading {self.source.name}", is_long(self.source)):
            motion = self.reading.read(self.source)
        with waiting(f"editing {self.source.name}", is_long(motion)):
            motion = self.edit(motion)
            write(motion, self.out, robot=self.reading.robot)
        print(f"{self.out}: {summary(motion)}")

    @abstractmethod
    def edit(self, motion: Motion) -> Motion:
        """The motion as it is written."""


@dataclass(frozen=True)
class Resample(_Edit):
    """Another frame rate, by interpolation.

    Example: kinema edit resample walk.bvh --fps 60 -o walk60.bvh
    """

    source: In
    fps: Annotated[float, arg(metavar="FLOAT")]
    """Frames per second."""
    out: Out
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.editing import resample

        return resample(motion, self.fps)


@dataclass(frozen=True)
class Crop(_Edit):
    """A part of a motion.

    Example: kinema edit crop walk.bvh --start 1 --end 2.5 -o part.bvh
    """

    source: In
    out: Out
    start: Annotated[float, arg(metavar="SECONDS")] = 0.0
    """Where the part begins."""
    end: Annotated[float | None, arg(metavar="SECONDS")] = None
    """Where it ends; at the end of the motion if not given."""
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.editing import crop

        return crop(motion, self.start, self.end)


@dataclass(frozen=True)
class Mirror(_Edit):
    """Left and right swapped.

    Example: kinema edit mirror wave.bvh -o other-hand.bvh
    """

    source: In
    out: Out
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.editing import mirror

        return mirror(motion)


@dataclass(frozen=True)
class Join:
    """Several motions one after the other, each moved to where the one before it ends.

    All are resampled to the frame rate of the first.

    Example: kinema edit join walk.bvh turn.bvh walk.bvh -o all.bvh
    """

    sources: Positional[Annotated[tuple[Path, ...], arg(metavar="IN [IN ...]")]]
    """Motion files on the same skeleton."""
    out: Out
    blend: Annotated[float, arg(metavar="SECONDS")] = 0.3
    """For how long a pose fades into the next motion."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        from kinema.motion.editing import concatenate, resample

        if not self.sources:
            raise ValueError("name the motion files to join")
        self.reading.check(self.sources, self.out)
        check_target(self.out, robot=self.reading.robot)
        with waiting("joining", any(map(is_long, self.sources))):
            motions = [self.reading.read(source) for source in self.sources]
            motion = concatenate([resample(motion, motions[0].fps) for motion in motions], self.blend)
            write(motion, self.out, robot=self.reading.robot)
        print(f"{self.out}: {summary(motion)}")


@dataclass(frozen=True)
class Loop(_Edit):
    """A motion that can be repeated: cut where it is most like its beginning, and drawn to that.

    Example: kinema edit loop walk.bvh -o cycle.glb
    """

    source: In
    out: Out
    blend: Annotated[float, arg(metavar="SECONDS")] = 0.3
    """For how long, at the end, the pose is drawn to the beginning."""
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.editing import loop

        return loop(motion, self.blend)


@dataclass(frozen=True)
class Smooth(_Edit):
    """Without the trembling of the capture.

    Example: kinema edit smooth noisy.bvh --seconds 0.1 -o calm.bvh
    """

    source: In
    out: Out
    seconds: Annotated[float, arg(metavar="FLOAT")] = 0.1
    """Movements that are much shorter than this are lost."""
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.editing import smooth

        return smooth(motion, self.seconds)


@dataclass(frozen=True)
class LockFeet(_Edit):
    """Planted feet held still, by inverse kinematics. The motion is put on the ground first.

    Example: kinema edit lock-feet skating.bvh -o planted.bvh
    """

    source: In
    out: Out
    max_speed: Annotated[float, arg(metavar="FLOAT")] = 0.3
    """Feet near the ground are taken to be planted below this speed, m/s; more holds feet that slide faster."""
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.contacts import foot_contacts, foot_sliding, lock_feet
        from kinema.motion.editing import ground

        grounded = ground(motion)
        locked = lock_feet(grounded, foot_contacts(grounded, self.max_speed))
        before, after = foot_sliding(grounded), foot_sliding(locked)
        print(f"toes near the ground slide at {100 * before:.1f} cm/s before, {100 * after:.1f} cm/s after")
        return locked


@dataclass(frozen=True)
class Ground(_Edit):
    """Raised or lowered so that the feet stand on the ground, y = 0.

    Example: kinema edit ground floating.bvh -o standing.bvh
    """

    source: In
    out: Out
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.editing import ground

        return ground(motion)


@dataclass(frozen=True)
class Place(_Edit):
    """Moved so that it begins at a place and in a direction.

    Example: kinema edit place walk.bvh --position 1 0.5 --heading 90 -o there.bvh
    """

    source: In
    out: Out
    position: Annotated[tuple[float, float], arg(metavar="X Z")] = (0.0, 0.0)
    """Where the root is in the first frame, metres."""
    heading: Annotated[float, arg(metavar="DEGREES")] = 0.0
    """Where the body faces in the first frame: 0 is +Z, 90 is +X."""
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        from kinema.motion.editing import place

        return place(motion, self.position, math.radians(self.heading))


@dataclass(frozen=True)
class FollowPath(_Edit):
    """Led along another path over the ground; steps become longer or shorter to fit. Put on the ground first.

    Example: kinema edit path walk.bvh --points 0 0 0 1.5 1 3 -o curve.bvh
    """

    source: In
    out: Out
    points: Annotated[tuple[tuple[float, float], ...], arg(metavar="X Z [X Z ...]")]
    """Where the path leads, metres: it begins at the first point and ends at the last, with rounded corners."""
    reading: Options = field(default_factory=Reading)

    def edit(self, motion: Motion) -> Motion:
        import numpy as np

        from kinema.motion.editing import ground
        from kinema.motion.paths import follow_path

        return follow_path(ground(motion), np.array(self.points).reshape(-1, 2))


Command = (
    Annotated[Resample, subcommand("resample")]
    | Annotated[Crop, subcommand("crop")]
    | Annotated[Mirror, subcommand("mirror")]
    | Annotated[Join, subcommand("join")]
    | Annotated[Loop, subcommand("loop")]
    | Annotated[Smooth, subcommand("smooth")]
    | Annotated[LockFeet, subcommand("lock-feet")]
    | Annotated[Ground, subcommand("ground")]
    | Annotated[Place, subcommand("place")]
    | Annotated[FollowPath, subcommand("path")]
)
