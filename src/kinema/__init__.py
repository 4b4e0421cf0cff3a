"""Kinema: 3D characters that move by themselves.

import kinema

motion = kinema.generate("a person walks forward", seconds=5)
motion.save("walk.glb")
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from kinema.formats import load, save
from kinema.motion import BODY, Motion, Skeleton

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinema.models.registry import Generator

__all__ = ["BODY", "Motion", "Skeleton", "__version__", "generate", "load", "save"]
__version__ = "0.1.0"


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

    prompts = text if isinstance(text, str) else tuple(text)
    lengths = seconds if seconds is None or isinstance(seconds, int | float) else tuple(seconds)
    motions = _generator(model).generate(Request(prompts, lengths, **conditions))
    return motions if "samples" in conditions else motions[0]
