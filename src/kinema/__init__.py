"""Kinema: 3D characters that move by themselves.

import kinema

motion = kinema.generate("a person walks forward", seconds=5)
motion.save("walk.glb")
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinema.formats import load, save
    from kinema.models.registry import Generator
    from kinema.motion import BODY, Motion, Skeleton

__all__ = ["BODY", "Motion", "Skeleton", "__version__", "generate", "load", "save"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # what needs numpy is imported when it is asked for, as `kinema --help` does not
    if name not in __all__:
        raise AttributeError(f"module 'kinema' has no attribute {name!r}")
    from kinema import formats, motion

    return getattr(formats if name in ("load", "save") else motion, name)


def __dir__() -> list[str]:
    return __all__


@cache
def _generator(model: str) -> Generator:
    from kinema.models import registry

    return registry.load(model)


def generate(
    text: str | Sequence[str],
    *,
    seconds: float | Sequence[float] | None = None,
    model: str = "fracmogen",
    **conditions: Any,
) -> Motion | list[Motion]:
    """A motion on BODY from a sentence, or from several that follow one another.

    Args:
        text: what the person does.
        seconds: length of the one prompt, or of each; the model's own default if None.
        model: a shipped name, a folder or a Hugging Face repository id; kept in memory for the next call.
        conditions: the other fields of `kinema.conditions.request.Request`: targets, past, seed, samples.

    Returns:
        One Motion, or a list of them if `samples` is given.

    Raises:
        ValueError: the request or the model is not usable; the sentence says why.
    """
    from kinema.conditions.request import Request

    motions = _generator(model).generate(Request(text, seconds, **conditions))
    return motions if "samples" in conditions else motions[0]
