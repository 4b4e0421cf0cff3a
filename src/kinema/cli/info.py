"""kinema info: what a file or a model holds, and whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from kinema.cli import printable
from kinema.cli.files import GLTF, QPOS, Options, Reading, is_long, kind_of, waiting
from kinema.formats import READERS
from kinema.models import registry
from kinema.motion.motion import Motion

CODE_LICENCE = "Apache-2.0"
_FORMATS = {  # what it is, and the axes and unit of its lengths where the format fixes them
    ".bvh": ("BVH", None),
    ".amc": ("ASF/AMC", "Y up, inches by the length unit of the .asf"),
    ".glb": ("glTF 2.0", "Y up, metres"),
    ".gltf": ("glTF 2.0", "Y up, metres"),
    ".vrm": ("VRM in glTF 2.0", "Y up, metres"),
    ".fbx": ("FBX, by way of Blender", "Y up, metres, as Blender converts them"),
    ".npz": ("Kinema", "Y up, metres"),
    ".smplh.npz": ("AMASS (SMPL-H or SMPL-X)", None),
    ".npy": ("HumanML3D", "Y up, metres"),
    **dict.fromkeys(QPOS, ("MuJoCo qpos", "Z up, forward X, metres")),
}


@dataclass(frozen=True)
class Info:
    """What a motion file, a character, a robot, a corpus or a model holds, and its licence.

    Without a name: the licences of Kinema's code, of the weights that are here, and of what they were trained on.
    """

    what: Positional[Annotated[str | None, arg(metavar="FILE|MODEL")]] = None
    """A motion file or character, a robot (.xml), the folder of a corpus, or a model by name, folder or Hugging Face
    id."""
    reading: Options = field(default_factory=Reading)

    def run(self) -> None:
        if self.what is None:
            _licences()
            return
        path = Path(self.what)
        if path.suffix.lower() == ".xml":
            _show(_robot(path))
        elif path.suffix.lower() in READERS or path.is_file():
            self.reading.check([path])
            _show(_file(path, self.reading))
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


def _file(path: Path, reading: Reading) -> dict[str, Any]:
    kind = kind_of(path)
    if kind not in GLTF:
        with waiting(f"reading {path.name}", is_long(path)):
            return _motion(reading.read(path), kind)
    from kinema.formats.character import describe_character

    facts = describe_character(path)
    try:
        motion = reading.read(path)
        animations = {"animations": facts.pop("animations")}  # with their lengths, which the motion does not know
        others = {key: value for key, value in facts.items() if key not in motion.metadata}
        return _motion(motion, kind) | others | animations
    except ValueError as error:  # it may be a chair
        return {"format": _FORMATS[kind][0], "motion": f"none: {error}", **facts}


def _motion(motion: Motion, kind: str) -> dict[str, Any]:
    from kinema.cli.retarget import describe_match

    metadata = dict(motion.metadata)
    name, axes = _FORMATS[kind]
    assumed = {
        key: {"guess": " (guessed)", "assumed": " (assumed)"}.get(metadata.pop(f"{key}_from", standard), "")
        for key, standard in (("unit", ""), ("up", ""), ("fps", "assumed" if kind == ".npy" else ""))
    }
    up, unit = metadata.pop("up", "Y"), metadata.pop("unit", 1.0)
    unit_text = "metres" if unit == 1 else f"{unit:g} m"
    heights = motion.joint_positions()[..., 1]
    try:
        body = describe_match(motion.skeleton)
    except ValueError as error:
        body = f"none that is known: {error}"
    return {
        "format": metadata.pop("format", name),
        "length": f"{motion.seconds:.2f} s, {len(motion)} frames at {motion.fps:g} fps{assumed['fps']}",
        "joints": f"{len(motion.skeleton)}: {', '.join(motion.skeleton.names)}",
        "body": body,
        "axes, unit": axes or f"{up.upper()} up{assumed['up']}, {unit_text}{assumed['unit']}",
        "height": f"{np.median(np.ptp(heights, axis=1)):.2f} m from the lowest to the highest joint",
        "ground": f"{heights.min():.2f} m is the lowest point",
        "travels": f"{np.linalg.norm(np.ptp(motion.root_position[:, ::2], axis=0)):.2f} m over the ground",
        **metadata,
    }


def _robot(path: Path) -> dict[str, Any]:
    from kinema.formats.mjcf import read_robot

    robot = read_robot(path)
    limits = np.degrees(robot.limits)
    hinges = [
        f"{hinge.name}: {low:.0f} to {high:.0f} degrees" if np.isfinite([low, high]).all() else f"{hinge.name}: free"
        for hinge, (low, high) in zip(robot.hinges, limits, strict=True)
    ]
    return {
        "format": "robot (MuJoCo MJCF)",
        "name": robot.name,
        "joints": ", ".join(robot.skeleton.names),
        "height": f"{robot.height:.2f} m of the root over the ground",
        f"{len(hinges)} hinges": hinges,
    }


def _model(name: str) -> dict[str, Any]:
    folder = registry.find(name)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"folder": folder, "size": f"{size / 1e6:.1f} MB", **registry.read_config(folder)}


def _show(content: Mapping[str, Any], indent: str = "") -> None:
    """Names and values in two columns; texts of a list below each other, what is inside a value indented."""
    width = max((len(str(name)) for name, value in content.items() if not isinstance(value, Mapping)), default=0)
    for name, value in content.items():
        if isinstance(value, Mapping):
            if value:
                print(f"{indent}{name}")
                _show(value, indent + "  ")
            continue
        items = list(value) if isinstance(value, list | tuple) else [value]
        if items and all(isinstance(item, int | float) for item in items):
            items = [" ".join(f"{item:.5g}" if isinstance(item, float) else str(item) for item in items)]
        for number, item in enumerate(items):
            print(f"{indent}{'' if number else name!s:<{width}}  {printable(str(item))}".rstrip())


Command = Info
