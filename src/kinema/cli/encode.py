"""kinema encode: a motion file in, motion tokens out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from kinema.cli.files import In, Options, Reading, on_body, one_thread, waiting
from kinema.formats.files import atomic_write


@dataclass(frozen=True)
class Encode:
    """Turn a motion file into motion tokens, as text: a few numbers for each step of time.

    Example: kinema encode walk.bvh -o walk.txt
    """

    source: In
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """Text file to write; printed if not given."""
    codec: Annotated[str, arg(metavar="NAME")] = "motionbook"
    """A shipped name, a folder such as the export of `kinema train codec`, or a Hugging Face repository id."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        self.reading.check([self.source])
        if self.out is not None and self.out.is_dir():
            raise IsADirectoryError(f"{self.out} is a folder; name a file in it")
        motion = self.reading.read(self.source)
        one_thread()
        with waiting("encoding", True):
            from kinema.models.codec.pipeline import MotionCodec, write_text
            from kinema.motion.editing import resample

            codec = MotionCodec.load(self.codec)
            text = write_text(codec, codec.encode(resample(on_body(motion), codec.config.fps)))
        if self.out is None:
            print(text, end="")
        else:
            with atomic_write(self.out) as path:
                path.write_text(text, encoding="utf-8")


Command = Encode
