"""Checkpoints: one safetensors file each, its scalars as JSON in the header. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from kinema.formats.files import atomic_write

KEPT = 2


def named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers by name, each once even when shared, so that all of them can be saved and set again."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def set_tensors(model: nn.Module, tensors: dict[str, torch.Tensor], prefix: str = "") -> None:
    """Copy saved tensors into a model in place.

    Raises:
        ValueError: a tensor is missing or has another shape.
    """
    with torch.no_grad():
        for name, tensor in named_tensors(model):
            saved = tensors.get(prefix + name)
            if saved is None or saved.shape != tensor.shape:
                found = "missing" if saved is None else f"of shape {tuple(saved.shape)}"
                raise ValueError(f"the saved tensor {name!r} is {found}, the model needs {tuple(tensor.shape)}")
            tensor.copy_(saved)


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> None:
    """Write tensors and JSON scalars to one file, whole or not at all.

    Raises:
        OSError: the file cannot be written, for instance as the disk is full.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata={"scalars": json.dumps(scalars)})
            # a machine that loses power must not keep the new name with old or no content
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
    except (SafetensorError, OSError) as error:
        raise OSError(f"cannot write {path} ({error})") from error


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and JSON scalars of a file that `write_tensors` wrote.

    Raises:
        ValueError: the file is damaged or was written by something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            scalars = json.loads((file.metadata() or {})["scalars"])
            return {name: file.get_tensor(name) for name in file.keys()}, scalars  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a whole checkpoint ({error}); remove it to go on without it") from error


class Checkpoints:
    """The newest checkpoints of a run, `<folder>/<step>.safetensors`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def paths(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("[0-9]*.safetensors"), key=lambda path: int(path.stem), reverse=True)

    def write(self, step: int, tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> None:
        """Write the checkpoint of `step` and remove all but the newest two."""
        write_tensors(self.folder / f"{step:08d}.safetensors", tensors, scalars)
        for path in self.paths()[KEPT:]:
            path.unlink()

    def remove_unfinished(self) -> None:
        """Remove what a killed run left half-written."""
        for path in self.folder.glob(".*.safetensors"):
            path.unlink()

    def newest(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The newest checkpoint that is whole, None when there is none at all.

        Raises:
            ValueError: there are checkpoints and all are damaged.
        """
        damaged: ValueError | None = None
        for path in self.paths():
            try:
                return read_tensors(path)
            except ValueError as error:
                damaged = damaged or error
        if damaged:
            raise damaged
        return None
