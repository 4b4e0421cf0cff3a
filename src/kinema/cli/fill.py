"""kinema fill: two motion files in, both with what leads from one to the other out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from kinema.cli.files import Options, Reading, check_target, on_body, one_thread, summary, waiting, write


@dataclass(frozen=True)
class Fill:
    """Make what lies between two motion files, as the body of Kinema. The second is moved to where it follows.

    Example: kinema fill walk.bvh sit.bvh --seconds 2 -o both.bvh
    """

    before: Positional[Annotated[Path, arg(metavar="BEFORE")]]
    """Motion file that comes first."""
    after: Positional[Annotated[Path, arg(metavar="AFTER")]]
    """Motion file that comes last."""
    seconds: Annotated[float, arg(metavar="FLOAT")] = 1.0
    """How much to make between them."""
    text: Annotated[str | None, arg(metavar="PROMPT")] = None
    """What the person does there; what the first file shows if not given, as `kinema describe` puts it."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """File to write; the ending decides, such as .glb .bvh .npz .mp4. If not given, a .glb in out/."""
    seed: int = 0
    """Another seed gives another motion."""
    model: Annotated[str, arg(metavar="NAME")] = "being-m0"
    """A motion language model: a shipped name, a folder, or a Hugging Face repository id."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        self.reading.check([self.before, self.after])
        out = self.out or Path("out") / f"{self.before.stem}-{self.after.stem}.glb"
        check_target(out)
        before, after = (on_body(self.reading.read(source)) for source in (self.before, self.after))
        one_thread()
        from kinema.models.language.pipeline import LanguageGenerator

        with waiting("filling", True):
            whole = LanguageGenerator.named(self.model).fill(before, after, self.seconds, self.text, self.seed)
        write(whole, out)
        print(f"{out}: {summary(whole)}")


Command = Fill
