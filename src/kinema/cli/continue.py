"""kinema continue: a motion file in, the same and what comes after it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from kinema.cli.files import In, Options, Reading, check_target, on_body, one_thread, summary, waiting, write


@dataclass(frozen=True)
class Continue:
    """Make what comes after a motion file, as the body of Kinema. The result is the motion and what was made.

    Example: kinema continue walk.bvh --seconds 4 -o longer.bvh
    """

    source: In
    seconds: Annotated[float, arg(metavar="FLOAT")] = 4.0
    """How much to make."""
    text: Annotated[str | None, arg(metavar="PROMPT")] = None
    """What the person does in it; what the file shows if not given, as `kinema describe` puts it."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """File to write; the ending decides, such as .glb .bvh .npz .mp4. If not given, a .glb in out/."""
    seed: int = 0
    """Another seed gives another motion."""
    model: Annotated[str, arg(metavar="NAME")] = "being-m0"
    """A motion language model: a shipped name, a folder, or a Hugging Face repository id."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        self.reading.check([self.source])
        out = self.out or Path("out") / f"{self.source.stem}-continued.glb"
        check_target(out)
        motion = on_body(self.reading.read(self.source))
        one_thread()
        from kinema.models.language.pipeline import LanguageGenerator

        with waiting("continuing", True):
            whole = LanguageGenerator.named(self.model).continued(motion, self.seconds, self.text, self.seed)
        write(whole, out)
        print(f"{out}: {summary(whole)}")


Command = Continue
