"""The files of a FracMoGen: model.safetensors and config.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kinema.formats.files import atomic_write
from kinema.models.fracmogen.config import FracMoGenConfig
from kinema.models.fracmogen.model import FracMoGen
from kinema.models.registry import read_config


def write_weights(model: FracMoGen, folder: Path, info: dict[str, Any]) -> None:
    """Write model.safetensors (weights float16, normalisers float32) and config.json, each whole or not at all."""
    tensors = {
        name: value.contiguous() if name in dict(model.named_buffers()) else value.half().contiguous()
        for name, value in model.state_dict().items()
    }
    with atomic_write(folder / "model.safetensors") as path:
        save_file(tensors, path)
    content = {"model": "fracmogen", "config": asdict(model.config), **info}
    with atomic_write(folder / "config.json") as path:
        path.write_text(json.dumps(content, indent=2) + "\n")


def read_weights(folder: str | Path) -> tuple[FracMoGen, dict[str, Any]]:
    """The model of a folder and the content of its config.json.

    Raises:
        ValueError: a file is missing, damaged, or of another model.
    """
    folder = Path(folder)
    try:
        info = read_config(folder)
        model = FracMoGen(FracMoGenConfig(**info["config"]))
        tensors = load_file(folder / "model.safetensors")
        model.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder} does not hold the weights of a fracmogen ({reason}); get them again") from None
    return model, info
