"""kinema fbx: set up the Blender that reads and writes FBX."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import subcommand


@dataclass(frozen=True)
class Setup:
    """Install Blender as a Python module (bpy 4.5) for Kinema alone, so that .fbx files can be read and written.

    It downloads about 0.4 GB from PyPI and takes 0.9 GB in your data folder. Its licence is the GPL. It needs a
    Python 3.11.
    """

    def run(self) -> None:
        from kinema.formats import blender

        folder = blender.environment()
        if not folder.exists():
            print(
                f"bpy {blender.VERSION}, Blender as a Python module, licence GPL: about 0.4 GB to download, "
                f"0.9 GB in {folder}; delete that folder to be rid of it",
                file=sys.stderr,
            )
        print(blender.setup())


@dataclass(frozen=True)
class Status:
    """Which Blender reads and writes .fbx files here."""

    def run(self) -> None:
        from kinema.formats import blender

        command = blender.find()
        print(f"{command[0]}: Blender {blender.version(command)}")


Command = Annotated[Setup, subcommand("setup")] | Annotated[Status, subcommand("status")]
