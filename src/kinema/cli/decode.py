"""kinema decode: motion tokens in, a motion file out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinema.cli.files import Out, check_target, one_thread, summary, waiting, write


@dataclass(frozen=True)
class Decode:
    """Turn motion tokens, as `kinema encode` writes them, into a motion file. It begins at the origin, facing +Z.

    Example: kinema decode walk.txt -o walk.glb
    """

    source: Positional[Annotated[Path, arg(metavar="TOKENS", help="Text file with motion tokens.")]]
    out: Out
    codec: Annotated[str, arg(metavar="NAME")] = "motionbook"
    """The codec that made them: a shipped name, a folder, or a Hugging Face repository id."""

    def run(self) -> None:
        check_target(self.out)
        one_thread()
        with waiting("decoding", True):
            from kinema.models.codec.pipeline import MotionCodec, read_text

            motion = read_text(MotionCodec.load(self.codec), self.source)
        write(motion, self.out)
        print(f"{self.out}: {summary(motion)}")


Command = Decode
