"""kinema retarget: a motion onto another skeleton, character or robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinema.cli.files import CHARACTERS, WORN, In, Options, Reading, check_target, summary, write
from kinema.formats import WRITERS, ending, load
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
        self.reading.check([self.source], self.target)
        robot = Path(self.onto) if self.onto.lower().endswith(".xml") else None
        check_target(self.target, robot=robot or self.reading.robot)
        if robot is not None and self.character_joints is not None:
            raise ValueError(
                f"{robot}: --character-joints is for characters, as a robot's joints are told by its links"
            )
        joints, their_joints = (_joint_map(path) for path in (self.joints, self.character_joints))
        motion = self.reading.read(self.source)
        lines = [f"{self.source}: {describe_match(motion.skeleton, joints)}"]
        character = None
        if robot is not None:
            from kinema.formats.mujoco import read_robot
            from kinema.motion.robot_retarget import match_links, retarget_to_robot

            model = read_robot(robot)
            links = match_links(model.skeleton, their_joints)
            found = " ".join(f"{name}={model.skeleton.names[joint]}" for name, joint in links.items())
            lines.append(f"{robot}: {len(model.hinges)} hinges; {found}")
            result = retarget_to_robot(retarget(motion, BODY, joints), model, their_joints)
        else:
            figure = {"body": BODY, "hands": BODY_WITH_HANDS}.get(self.onto) or load(self.onto)
            skeleton = figure.skeleton if isinstance(figure, Motion) else figure
            lines.append(f"{self.onto}: {describe_match(skeleton, their_joints)}")
            result = retarget(motion, figure, joints, their_joints, self.keep_contacts)
            if Path(self.onto).suffix.lower() in CHARACTERS and ending(self.target, WRITERS) in WORN:
                character = Path(self.onto)
        usual = joints is None and their_joints is None and self.keep_contacts
        # what writes a character puts the motion onto it by itself, and sees how thick its soles are
        worn = motion if character is not None and usual else result
        write(worn, self.target, character, robot or self.reading.robot)
        print("\n".join([*lines, *_skating(motion, result), f"{self.target}: {summary(result)}"]))


def _joint_map(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    from kinema.formats.joint_map import read_joint_map

    return read_joint_map(path)


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
