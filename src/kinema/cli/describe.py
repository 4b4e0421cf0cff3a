"""kinema describe: a motion file in, a sentence out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import arg

from kinema.cli.files import In, Options, Reading, on_body, one_thread, waiting


@dataclass(frozen=True)
class Describe:
    """Say in a sentence what happens in a motion file.

    Example: kinema describe walk.bvh
    """

    source: In
    model: Annotated[str, arg(metavar="NAME")] = "being-m0"
    """A motion language model: a shipped name, a folder, or a Hugging Face repository id."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        self.reading.check([self.source])
        motion = on_body(self.reading.read(self.source))
        one_thread()
        from kinema.models.language.pipeline import LanguageGenerator

        with waiting("describing", True):
            print(LanguageGenerator.named(self.model).describe(motion))


Command = Describe
