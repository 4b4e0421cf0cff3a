"""kinema joints: which joint of a file is which, and how that was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from kinema.cli import printable
from kinema.cli.files import In, Options, Reading
from kinema.formats.joint_map import read_joint_map, write_joint_map
from kinema.motion.joint_names import check_joints, guess_joints
from kinema.motion.skeleton import BODY, BODY_WITH_HANDS


@dataclass(frozen=True)
class Joints:
    """Show which joint of a file plays which joint of the body, and whether its name told or how the tree hangs.

    The file that -o writes can be corrected and given to `kinema retarget` with --joints or --character-joints.

    Example: kinema joints hero.glb -o match.json
    """

    source: In
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.json")] = None
    """Write the match here, to be corrected: the name of a joint of the file for each of the body, "" for none."""
    joints: Annotated[Path | None, arg(metavar="FILE.json")] = None
    """A match as written with -o, stronger than what is found."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        self.reading.check([self.source])
        if self.out is not None and self.out.suffix.lower() != ".json":
            raise ValueError(f"{self.out}: a match is written as .json")
        overrides = None if self.joints is None else read_joint_map(self.joints)
        skeleton = self.reading.read(self.source).skeleton
        found = guess_joints(skeleton, overrides)
        rows = {name: skeleton.names[found[name][0]] if name in found else "" for name in BODY_WITH_HANDS.names}
        width = max(map(len, rows.values()))
        for name, theirs in rows.items():
            if theirs:
                print(f"{name:<15} {printable(theirs):<{width}}  {found[name][1]}")
            elif name in BODY.names:
                print(f"{name:<15} -")
        others = [theirs for theirs in skeleton.names if theirs not in rows.values()]
        if others:
            print(f"\nnot matched: {printable(', '.join(others))}")
        if self.out is not None:
            write_joint_map(rows, self.out)
            print(f"\n{self.out}: written")
        check_joints(skeleton, found)


Command = Joints
