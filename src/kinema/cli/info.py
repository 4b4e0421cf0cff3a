"""kinema info: what a file or a model holds, and whose it is."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from kinema.formats import READERS, load
from kinema.models import registry

MAX_JSON_BYTES = 20_000_000
CODE_LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Info:
    """What a motion file, a corpus or a model holds, and its licence.

    Without a name: the licences of Kinema's code, of the weights that are here, and of what they were trained on.
    """

    what: Positional[Annotated[str | None, arg(metavar="FILE|MODEL")]] = None
    """A motion file, the folder of a corpus, or a model by name, folder or Hugging Face id."""

    def run(self) -> None:
        if self.what is None:
            _licences()
            return
        path = Path(self.what)
        if path.suffix.lower() == ".glb":
            _show(_glb_metadata(path))
        elif path.suffix.lower() in READERS or path.is_file():
            _show(_motion(path))
        elif (path / "corpus.json").is_file():
            from kinema.corpora import Corpus

            _show(Corpus.open(path).info)
        else:
            _show(_model(self.what))


def _licences() -> None:
    _show({"code": CODE_LICENCE, "text encoder": "all-MiniLM-L6-v2, Apache-2.0"})
    found = sorted(registry.weights_folder().glob("*/config.json"))
    for path in found:
        info = registry.read_config(path.parent)
        print(f"\n{path.parent.name}")
        _show({key: info[key] for key in ("licence", "source", "sources", "data", "trained_on") if info.get(key)})
    if not found:
        print(f"no weights in {registry.weights_folder()}")


def _motion(path: Path) -> dict[str, Any]:
    motion = load(path)
    heights = motion.joint_positions()[..., 1]
    metadata = dict(motion.metadata)
    guess = " (guessed)" if metadata.pop("unit_from", None) == "guess" else ""
    unit = metadata.pop("unit", None)
    return {
        "length": f"{motion.seconds:.2f} s, {len(motion)} frames at {motion.fps:g} fps",
        "joints": f"{len(motion.skeleton)}: {', '.join(motion.skeleton.names)}",
        **({"unit": f"{unit:g} m{guess}"} if unit else {}),
        "height": f"{np.median(np.ptp(heights, axis=1)):.2f} m from the lowest to the highest joint",
        "ground": f"{heights.min():.2f} m is the lowest point",
        "travels": f"{np.linalg.norm(np.ptp(motion.root_position[:, ::2], axis=0)):.2f} m over the ground",
        **metadata,
    }


def _glb_metadata(path: Path) -> dict[str, Any]:
    """What the header of a .glb file says of it."""
    with open(path, "rb") as file:
        head = file.read(20)
        if len(head) < 20 or head[:4] != b"glTF" or head[16:20] != b"JSON":
            raise ValueError(f"{path} is not a .glb file, or damaged")
        size = struct.unpack("<I", head[12:16])[0]
        if size > MAX_JSON_BYTES:
            raise ValueError(f"{path}: a header of {size / 1e6:.0f} MB is more than any character needs")
        try:
            asset = json.loads(file.read(size))["asset"]
            return {**asset, **asset.pop("extras", {})} | {"extras": {}}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path} is not a .glb file, or damaged") from None


def _model(name: str) -> dict[str, Any]:
    folder = registry.find(name)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"folder": folder, "size": f"{size / 1e6:.1f} MB", **registry.read_config(folder)}


def _show(content: Mapping[str, Any], indent: str = "") -> None:
    """Names and values in two columns; the items of a list below each other, what is inside a value indented."""
    width = max((len(str(name)) for name, value in content.items() if not isinstance(value, Mapping)), default=0)
    for name, value in content.items():
        if isinstance(value, Mapping):
            if value:
                print(f"{indent}{name}")
                _show(value, indent + "  ")
            continue
        for number, item in enumerate(value if isinstance(value, list | tuple) else [value]):
            text = f"{item:.5g}" if isinstance(item, float) else str(item)
            text = "".join(letter if letter.isprintable() else " " for letter in text)
            print(f"{indent}{'' if number else name!s:<{width}}  {text}".rstrip())


Command = Info
