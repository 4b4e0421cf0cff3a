"""kinema retarget: a motion onto another skeleton, character or robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinema.cli.files import CHARACTERS, WORN, In, Options, Reading, check_target, is_long, summary, waiting, write
from kinema.formats import READERS, WRITERS, ending, load
from kinema.motion.motion import Motion
from kinema.motion.retarget import retarget
from kinema.motion.skeleton import BODY, BODY_WITH_HANDS, Skeleton


@dataclass(frozen=True)
class Retarget:
    """Put a motion onto another skeleton: a character's, another file's, Kinema's own, or a robot's.

    A .glb or .fbx that is written shows the character itself. Joints are matched by their names, or else by how they
    hang together; the match is printed, and `kinema joints` writes it into a file that can be corrected.

    Example: kinema retarget walk.bvh hero.glb hero-walks.glb
    """

    source: In
    onto: Positional[Annotated[str, arg(metavar="CHARACTER")]]
    """A character (.glb .gltf .vrm .fbx), a motion file whose skeleton is meant, a robot (.xml), or one of the words
    body and hands, for Kinema's own skeletons of 22 and 52 joints."""
    target: Positional[Annotated[Path, arg(metavar="OUT")]]
    """File to write; its ending decides the format."""
    joints: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Which joint of IN is which, where that is not seen from names or tree."""
    character_joints: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """Which joint of CHARACTER is which."""
    keep_contacts: bool = True
    """Hold feet and hands where they touch the ground or each other."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        robot = Path(self.onto) if self.onto.lower().endswith(".xml") else None
        self.reading.check([self.source], self.target)
        worn = ending(self.target, WRITERS) in WORN and ending(self.onto, READERS) in CHARACTERS
        check_target(self.target, Path(self.onto) if worn else None, robot or self.reading.robot)
        joints, their_joints = (_joint_map(path) for path in (self.joints, self.character_joints))
        with waiting(f"reading {self.source.name}", is_long(self.source)):
            motion = self.reading.read(self.source)
        lines = [_match(self.source, motion.skeleton, joints)]
        with waiting("retargeting", is_long(motion)):
            if robot is not None:
                result, told = _to_robot(retarget(motion, BODY, joints), robot, their_joints)
                lines.append(told)
                write(result, self.target, robot=robot)
            else:
                figure = {"body": BODY, "hands": BODY_WITH_HANDS}.get(self.onto) or load(self.onto)
                skeleton = figure.skeleton if isinstance(figure, Motion) else figure
                lines.append(_match(self.onto, skeleton, their_joints))
                result = retarget(motion, figure, joints, their_joints, self.keep_contacts)
                if worn:
                    # the writer puts a motion onto the character by itself, and sees how thick its soles are
                    how = {"joints": joints, "onto_joints": their_joints, "keep_contacts": self.keep_contacts}
                    write(motion, self.target, Path(self.onto), **how)
                else:
                    write(result, self.target, robot=self.reading.robot)
        print("\n".join([*lines, *_skating(motion, result), f"{self.target}: {summary(result)}"]))


def _joint_map(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    from kinema.formats.joint_map import read_joint_map

    return read_joint_map(path)


def _to_robot(motion: Motion, robot: Path, links: Mapping[str, str] | None) -> tuple[Motion, str]:
    """The motion of a robot, and which of its links are which."""
    from kinema.formats.mjcf import read_robot
    from kinema.motion.robot_retarget import match_links, retarget_to_robot

    model = read_robot(robot)
    names = model.skeleton.names
    found = " ".join(f"{part}={names[joint]}" for part, joint in match_links(model.skeleton, links).items())
    return retarget_to_robot(motion, model, links), f"{robot}: {len(model.hinges)} hinges; {found}"


def _match(name: Path | str, skeleton: Skeleton, overrides: Mapping[str, str] | None) -> str:
    try:
        return f"{name}: {describe_match(skeleton, overrides)}"
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def describe_match(skeleton: Skeleton, overrides: Mapping[str, str] | None = None) -> str:
    """Which joints of the body were found, how, and those that could have been found by chance.

    Raises:
        ValueError: the skeleton is no humanoid's.
    """
    from kinema.motion.joint_names import find_joints

    found = find_joints(skeleton, overrides)
    body = [name for name in BODY.names if name in found]
    # the spine is always found by the tree, as what lies between hips and arms
    how = [way for name, (_, way) in found.items() if not name.startswith("spine")]
    ways = {"name": "by name", "tree": "by the tree", "override": "as told"}
    counts = {text: how.count(way) for way, text in ways.items() if way in how}
    told = ", ".join(text if len(counts) == 1 else f"{count} {text}" for text, count in counts.items())
    line = f"{len(body)} of {len(BODY)} body joints, {len(found) - len(body)} of 30 finger joints, {told}"
    if missing := [name for name in BODY.names if name not in found]:
        line += f"; without {', '.join(missing)}"
    if "tree" in how:
        line += "; by the tree: " + " ".join(
            f"{name}={skeleton.names[joint]}" for name, (joint, way) in found.items() if way == "tree"
        )
    return line


def _skating(before: Motion, after: Motion) -> list[str]:
    """How much the feet slide, where they can be told."""
    from kinema.motion.contacts import foot_skating
    from kinema.motion.editing import ground

    try:
        return [f"skating: {foot_skating(ground(before)):.1%} of the frames before, {foot_skating(after):.1%} after"]
    except ValueError:  # no toes
        return []


Command = Retarget
