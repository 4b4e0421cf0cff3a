"""kinema generate: sentences in, motion files out."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from kinema.cli.files import check_target, on_body, one_thread, write
from kinema.formats import WRITERS, ending, load

if TYPE_CHECKING:
    from kinema.models.registry import Generator


@dataclass(frozen=True)
class Generate:
    """Make motion from a sentence, or from several that follow one another.

    Example: kinema generate "a person walks forward" "a person sits down" --seconds 4 3 -o out/sit.glb
    """

    prompts: Positional[Annotated[tuple[str, ...], arg(metavar="PROMPT [PROMPT ...]")]] = ()
    """What the person does, a sentence for each part of the motion."""
    seconds: Annotated[tuple[float, ...], arg(metavar="FLOAT [FLOAT ...]")] = ()
    """Length of each part, or one for all; if not given, 5, or with being-m0 what the model makes of it."""
    path: Annotated[Path | None, arg(metavar="FILE")] = None
    """Targets in JSON: {"path": [[time, x, z], ...], "joints": [{"time", "joint", "position"}, ...],
    "poses": [{"time", "file", "frame"}, ...]}; seconds and metres."""
    past: Annotated[Path | None, arg(metavar="FILE")] = None
    """A motion file that the new motion continues; the result begins where it ends."""
    seed: int = 0
    """Another seed gives another motion."""
    samples: Annotated[int, arg(aliases=["-n"])] = 1
    """How many motions; their files are numbered."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """File to write; the ending decides, such as .glb .bvh .fbx .npz .mp4 .html. If not given, a .glb in out/."""
    character: Annotated[Path | None, arg(metavar="FILE")] = None
    """A skinned character (.glb, .vrm, .fbx) that wears the motion in a .glb or .fbx."""
    model: str = "fracmogen"
    """A shipped name, a folder, or a Hugging Face repository id; `kinema info` lists those that are here."""
    guidance: Annotated[float | None, arg(metavar="FLOAT")] = None
    """How strictly the motion follows the text; 1 is least."""
    chain: Annotated[str | None, arg(metavar="SCALES")] = None
    """Of fracmogen: scales of time from coarse to fine, such as 3-1-0 or 4-2-0; scale 3 has every 8th frame."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Of fracmogen: steps of the sampler; fewer are faster."""
    temperature: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Of being-m0: above 1 more varied motion, below less; 0 takes the likeliest token each time."""
    top_p: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Of being-m0: the share of the probability that the tokens which may be drawn have together."""
    foot_lock: bool = True
    """Hold planted feet in place."""

    def run(self) -> None:
        from kinema.conditions.request import Request, read_targets
        from kinema.models import registry

        if not self.prompts:
            raise ValueError('say what the person does: kinema generate "a person walks forward"')
        request = Request(
            self.prompts,
            self.seconds or None,
            targets=read_targets(self.path) if self.path is not None else (),
            past=on_body(load(self.past)) if self.past is not None else None,
            seed=self.seed,
            samples=self.samples,
        )
        files = self._files()
        registry.find(self.model)

        from rich.console import Console
        from rich.progress import Progress

        screen = Console(stderr=True)
        with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
            task = progress.add_task(f"loading {self.model}", total=None)
            generator = self._load()
            progress.update(task, description="generating")
            began = time.perf_counter()
            motions = generator.generate(
                request, lambda done, total: progress.update(task, completed=done, total=total)
            )
            taken = time.perf_counter() - began
        each = f" each, {len(motions)} of them" if len(motions) > 1 else ""
        for motion, file in zip(motions, files, strict=True):
            write(motion, file, self.character)
            print(file)
        print(f"{motions[0].seconds:.1f} s of motion{each}, made in {taken:.2f} s")

    def _files(self) -> list[Path]:
        out = self.out
        if out is None:
            name = re.sub(r"[^a-z0-9]+", "-", self.prompts[0].lower())[:40].strip("-")
            out = Path("out") / f"{name or 'motion'}.glb"
        check_target(out, self.character)  # now, not after the work is done
        if self.samples == 1:
            return [out]
        kind = ending(out, WRITERS)
        stem = out.name[: -len(kind)]
        return [out.with_name(f"{stem}-{number}{out.name[-len(kind) :]}") for number in range(1, self.samples + 1)]

    def _load(self) -> Generator:
        from kinema.models import registry

        one_thread()
        settings: dict[str, Any] = {name: getattr(self, name) for name in ("guidance", "steps", "temperature", "top_p")}
        settings |= {"chain": self._scales(), "foot_lock": self.foot_lock}
        given = {name: value for name, value in settings.items() if value is not None}
        return registry.load(self.model, **given)

    def _scales(self) -> tuple[int, ...] | None:
        if self.chain is None:
            return None
        if not re.fullmatch(r"\d(-\d)*", self.chain):
            raise ValueError(f"a chain of scales is written like 3-1-0, not {self.chain!r}")
        return tuple(int(scale) for scale in self.chain.split("-"))


Command = Generate
