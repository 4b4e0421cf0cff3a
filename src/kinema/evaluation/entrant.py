"""What takes part in a comparison: a generator and how a worker process loads it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from kinema.models import registry
from kinema.models.registry import Generator


@dataclass(frozen=True)
class Entrant:
    """A generator by name.

    Args:
        name: as it stands in tables.
        loader: "module:function", called with `argument`; it comes from the code that compares, never from a file.
        argument: what to load: a shipped name, or a folder, after which "@" may begin the loader's settings.
    """

    name: str
    loader: str
    argument: str

    def load(self) -> Generator:
        """The generator.

        Raises:
            ValueError: there is no such function, or what it loads is missing or damaged.
        """
        module, _, function = self.loader.partition(":")
        try:
            loader = getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{self.name}: {self.loader} cannot be imported ({error}); is it on PYTHONPATH?") from None
        return loader(self.argument)

    def weights(self) -> Path | None:
        """The file of its weights; None if `argument` names no folder."""
        name = self.argument.partition("@")[0]
        with contextlib.suppress(ValueError):
            path = registry.find(name) / "model.safetensors"
            return path if path.is_file() else None
        return None
