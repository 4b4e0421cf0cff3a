"""Generators by name: which systems there are, where their weights lie, and how to load one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kinema.conditions.request import Request
    from kinema.motion import Motion

MODELS = {
    "being-m0": "kinema.models.language.pipeline:LanguageGenerator",
    "fracmogen": "kinema.models.fracmogen.pipeline:FracMoGenGenerator",
}
DEFAULT = "fracmogen"
MAX_CONFIG_BYTES = 10_000_000
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Generator(Protocol):
    """What every generator does: p(motion | request)."""

    honours: frozenset[str]
    """The fields of a Request that it follows; it refuses the others by name."""

    info: dict[str, Any]
    """What its weights say of themselves: name, licence, data, measures."""

    def reset(self, request: Request) -> None:
        """Begin a motion. ValueError: the request asks for what this generator cannot do."""
        ...

    def step(self) -> list[Motion] | None:
        """The next piece of each sample, or None at the end."""
        ...

    def generate(self, request: Request, progress: Callable[[int, int], None] | None = None) -> list[Motion]:
        """All samples of a request, whole; `progress` is told how many of how many pieces are done."""
        ...

    def generate_many(self, requests: Sequence[Request]) -> list[Motion]:
        """One motion for each of many plain requests (one sentence, its length), computed together, for judging.

        As generated: feet are not cleaned. ValueError: a request is not plain, or too long.
        """
        ...


def weights_folder() -> Path:
    """Where shipped weights lie: KINEMA_WEIGHTS, or weights/ of the checkout that this package runs from."""
    return Path(os.environ.get("KINEMA_WEIGHTS") or Path(__file__).resolve().parents[3] / "weights")


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a model's config.json.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    path = folder / "config.json"
    try:
        if path.stat().st_size <= MAX_CONFIG_BYTES and isinstance(info := json.loads(path.read_bytes()), dict):
            return info
    except (ValueError, RecursionError):
        pass
    raise ValueError(f"{path} is damaged; get the model again")


def shipped() -> dict[str, dict[str, Any]]:
    """{name: content of config.json} of the generators in the weights folder."""
    found = {}
    for path in sorted(weights_folder().glob("*/config.json")):
        try:
            info = read_config(path.parent)
        except ValueError:
            continue
        if isinstance(info.get("model"), str) and info["model"] in MODELS:
            found[path.parent.name] = info
    return found


def find(name: str) -> Path:
    """The folder of a model: a shipped name, a folder, or a Hugging Face repository id (fetched once, then cached).

    Raises:
        ValueError: there is no such model; the sentence says which there are.
    """
    for folder in (weights_folder() / name, Path(name)):
        if (folder / "config.json").is_file():
            return folder
    if _HUB_ID.fullmatch(name) and not Path(name).exists():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.md"]))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"no model {name!r} here, and Hugging Face does not give it ({reason})") from None
    if known := ", ".join(shipped()):
        raise ValueError(f"no model {name!r}; name a folder with config.json, a Hugging Face id, or one of: {known}")
    raise ValueError(
        f"no model {name!r}: {weights_folder()} holds no models; set KINEMA_WEIGHTS to the folder `weights` of a "
        "checkout of Kinema, or name the folder of a model or a Hugging Face id"
    )


def load(name: str = DEFAULT, **options: Any) -> Generator:
    """Load a generator by name, folder or hub id; `options` are fields of its Settings, each model has its own.

    Raises:
        ValueError: there is no such model, its files are damaged, or it has no such option.
    """
    from importlib import import_module

    folder = find(name)
    try:
        module, _, kind = MODELS[read_config(folder)["model"]].partition(":")
    except (KeyError, TypeError):
        raise ValueError(f"{folder / 'config.json'} names no model that this Kinema knows") from None
    generator = getattr(import_module(module), kind)
    known = [field.name for field in fields(generator.Settings)]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"the model {name} has no {unknown[0].replace('_', ' ')}; what can be set is {', '.join(known)}"
        )
    return generator.load(folder, generator.Settings(**options))
