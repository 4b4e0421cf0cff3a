"""Kinema: 3D characters that move by themselves.

import kinema

motion = kinema.generate("a person walks forward", seconds=5)
motion.save("walk.glb")
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinema.conditions.request import Target
    from kinema.formats import load, save
    from kinema.models.registry import Generator
    from kinema.motion import BODY, BODY_WITH_HANDS, Motion, Skeleton
    from kinema.motion.retarget import retarget

__all__ = ["BODY", "BODY_WITH_HANDS", "Motion", "Skeleton", "__version__", "generate", "load", "retarget", "save"]
_HOMES = {"load": "kinema.formats", "save": "kinema.formats", "retarget": "kinema.motion.retarget"}
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # what needs numpy is imported when it is asked for, as `kinema --help` does not
    if name not in __all__:
        raise AttributeError(f"module 'kinema' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "kinema.motion")), name)


def __dir__() -> list[str]:
    return __all__


@cache
def _generator(model: str) -> Generator:
    from kinema.models import registry

    return registry.load(model)


@overload
def generate(
    text: str | Sequence[str],
    *,
    seconds: float | Sequence[float] | None = None,
    targets: Sequence[Target] = (),
    past: Motion | None = None,
    future: Motion | None = None,
    seed: int = 0,
    model: str = "fracmogen",
) -> Motion: ...


@overload
def generate(
    text: str | Sequence[str],
    *,
    samples: int,
    seconds: float | Sequence[float] | None = None,
    targets: Sequence[Target] = (),
    past: Motion | None = None,
    future: Motion | None = None,
    seed: int = 0,
    model: str = "fracmogen",
) -> list[Motion]: ...


def generate(
    text: str | Sequence[str],
    *,
    samples: int | None = None,
    seconds: float | Sequence[float] | None = None,
    targets: Sequence[Target] = (),
    past: Motion | None = None,
    future: Motion | None = None,
    seed: int = 0,
    model: str = "fracmogen",
) -> Motion | list[Motion]:
    """A motion on BODY from a sentence, or from several that follow one another.

    Args:
        text: what the person does.
        samples: how many motions; a list of them is returned if it is given.
        seconds: length of the one prompt, or of each; the model's own default if None.
        targets: what must hold at given times; see `kinema.conditions.request`.
        past: a motion on BODY that the new one continues.
        future: a motion on BODY that the new one leads to.
        seed: the same seed gives the same motion.
        model: a shipped name, a folder or a Hugging Face repository id; kept in memory for the next call.

    Raises:
        ValueError: the request or the model is not usable; the sentence says why.
    """
    from kinema.conditions.request import Request

    count = 1 if samples is None else samples
    request = Request(text, seconds, tuple(targets), past=past, future=future, seed=seed, samples=count)
    motions = _generator(model).generate(request)
    return motions if samples is not None else motions[0]
