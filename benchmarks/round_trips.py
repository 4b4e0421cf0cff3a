"""What is lost between writing a motion and reading it with another program: joint positions, whole corpora.

    python benchmarks/round_trips.py FOLDER... --done trips.jsonl [--every 1] [--checks bvh-pybvh glb-strict ...]

Every clip (.bvh below the folders) is read, written, and read back; its error is the largest distance of any joint in
any frame from where the motion has it. As corpora hold angles of few decimals, which another BVH would hold exactly,
every joint is first turned by a tenth of a radian about an axis of its own. Clips that stand in --done are not tried
again, so that a run can be continued. Prints a table of all that --done holds. Checks:

    bvh-pybvh       BVH, read by pybvh
    bvh-kinema      BVH, by Kinema
    npz-numpy       npz, by numpy and forward kinematics with 4 x 4 matrices
    glb-strict      GLB, by a reader that takes the specification by its word (tests/formats/test_gltf.py)
    glb-kinema      GLB, by Kinema
    glb-validator   GLB, by the Khronos validator: 0 if it finds no error and no warning, else infinite
    glb-three       GLB, by three.js in a headless browser, up to 20 frames a clip
    bvh-blender, glb-blender, fbx-blender    by Blender

The last five ask other programs, which is slow: use --every 30. How they are found is said in docs/formats.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from kinema.formats import load, save
from kinema.motion import Motion
from kinema.motion import rotations as rot

TESTS = Path(__file__).resolve().parents[1] / "tests" / "formats"
BATCH = 20  # clips that Blender gets at once
THREE_FRAMES = 20  # of a clip, spread over it


def _from_tests(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _error(motion: Motion, names: list[str], positions: np.ndarray, frames: slice | list[int] = slice(None)) -> float:
    """Millimetres between the joints of a motion and those of the same name elsewhere; infinite if one is missing."""
    expected = motion.joint_positions()[frames]
    places = {re.sub(r"\.\d+$", "", name): index for index, name in enumerate(names)}
    if len(positions) != len(expected) or not set(motion.skeleton.names) <= set(places):
        return float("inf")
    there = positions[:, [places[name] for name in motion.skeleton.names]]
    return float(np.linalg.norm(there - expected, axis=-1).max()) * 1e3


def _clip(path: Path) -> Motion:
    motion = load(path)
    axes = rot.normalize(np.random.default_rng(0).normal(size=(len(motion.skeleton), 3)))
    return motion.replace(rotations=rot.multiply(motion.rotations, rot.from_rotation_vector(0.1 * axes)))


# --- checks of one clip


def bvh_pybvh(motion: Motion, path: Path) -> float:
    import pybvh

    warnings.filterwarnings("ignore", module="pybvh")  # about the axis that is up
    save(motion, path.with_suffix(".bvh"))
    there = pybvh.read_bvh_file(str(path.with_suffix(".bvh")))
    return _error(motion, list(there.joint_names), there.joint_positions() * 0.01)


def _kinema(ending: str) -> Callable[[Motion, Path], float]:
    def check(motion: Motion, path: Path) -> float:
        save(motion, path.with_suffix(ending))
        options = {"unit": 0.01} if ending == ".bvh" else {}
        there = load(path.with_suffix(ending), **options)
        dropped = int(there.metadata.get("dropped_frames", 0))
        return _error(motion, list(there.skeleton.names), there.joint_positions(), slice(dropped, None))

    return check


def npz_numpy(motion: Motion, path: Path) -> float:
    save(motion, path.with_suffix(".npz"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as there:
        locals_ = _matrices(
            there["rotations"], np.broadcast_to(there["offsets"], (len(motion), *there["offsets"].shape))
        )
        locals_[:, 0, :3, 3] = there["root_position"]
        world: list[np.ndarray] = []
        for joint, parent in enumerate(there["parents"]):
            world.append(locals_[:, joint] if parent < 0 else world[parent] @ locals_[:, joint])
        return _error(motion, there["names"].tolist(), np.stack(world, 1)[..., :3, 3])


def _matrices(quats: np.ndarray, places: np.ndarray) -> np.ndarray:
    result = np.zeros((*quats.shape[:-1], 4, 4))
    result[..., :3, :3], result[..., :3, 3], result[..., 3, 3] = rot.to_matrix(quats), places, 1
    return result


def glb_strict(motion: Motion, path: Path) -> float:
    save(motion, path.with_suffix(".glb"))
    document, arrays = _STRICT.read_glb(path.with_suffix(".glb"))
    nodes, animation = document["nodes"], document["animations"][0]
    places = [np.tile(node.get("translation", (0.0, 0, 0)), (len(motion), 1)) for node in nodes]
    turns = [np.tile([1.0, 0, 0, 0], (len(motion), 1)) for _ in nodes]
    for channel in animation["channels"]:
        sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
        times, values = arrays[sampler["input"]][:, 0], arrays[sampler["output"]]
        if len(times) != len(motion) or np.abs(times * motion.fps - np.arange(len(motion))).max() > 0.01:
            return float("inf")
        if target["path"] == "rotation":
            turns[target["node"]] = values[:, [3, 0, 1, 2]]
        else:
            places[target["node"]] = values
    world: dict[int, np.ndarray] = {}
    todo = [(node, np.eye(4)) for node in document["scenes"][0]["nodes"]]
    while todo:
        node, above = todo.pop()
        world[node] = above @ _matrices(turns[node], places[node])
        todo += [(child, world[node]) for child in nodes[node].get("children", ())]
    joints = document["skins"][0]["joints"]
    positions = np.stack([world[node][:, :3, 3] for node in joints], 1)
    return _error(motion, [nodes[node]["name"] for node in joints], positions)


def glb_validator(motion: Motion, path: Path) -> float:
    save(motion, path.with_suffix(".glb"))
    folder = Path(os.environ.get("KINEMA_GLTF_VALIDATOR", TESTS.parents[1] / ".venv" / "gltf-validator"))
    command = ["node", str(TESTS / "gltf_validate.mjs"), str(folder), str(path.with_suffix(".glb"))]
    issues = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["issues"]
    return float("inf") if issues["numErrors"] or issues["numWarnings"] else 0.0


def glb_three(motion: Motion, path: Path) -> float:
    save(motion, path.with_suffix(".glb"))
    frames = sorted({*np.linspace(0, len(motion) - 1, THREE_FRAMES).round().astype(int).tolist()})
    document, _ = _STRICT.read_glb(path.with_suffix(".glb"))
    names = [document["nodes"][node]["name"] for node in document["skins"][0]["joints"]]
    there = _THREE.positions_in_three(_three_page(), path.with_suffix(".glb"), frames)
    return _error(motion, names, there, frames)


_STRICT, _THREE = _from_tests("test_gltf"), _from_tests("three_import")
_page: list[Any] = []


def _three_page() -> Any:
    if not _page:
        if reason := _THREE.missing():
            raise SystemExit(f"glb-three {reason}")
        context = _THREE.three_page()
        _page.extend([context.__enter__(), context])
    return _page[0]


# --- checks of many clips at once


def _blender(ending: str) -> Callable[[dict[str, Motion], Path], dict[str, float]]:
    def check(motions: dict[str, Motion], folder: Path) -> dict[str, float]:
        python = os.environ.get("KINEMA_BLENDER_PYTHON")
        if not python:
            raise SystemExit("set KINEMA_BLENDER_PYTHON to a Python that has bpy")
        jobs = []
        for number, motion in enumerate(motions.values()):
            source = folder / f"{number}{ending}"
            save(motion, source)
            jobs.append({"source": str(source), "positions": str(folder / f"{number}.npz"), "fps": motion.fps})
        (folder / "jobs.json").write_text(json.dumps(jobs))
        command = [python, str(TESTS / "blender_import.py"), str(folder / "jobs.json"), str(folder / "out.json")]
        subprocess.run(command, check=True, capture_output=True)
        errors = {}
        for number, (clip, found) in enumerate(
            zip(motions, json.loads((folder / "out.json").read_text()), strict=True)
        ):
            if "error" in found:
                raise SystemExit(found["error"])
            with np.load(folder / f"{number}.npz", allow_pickle=False) as there:
                errors[clip] = _error(motions[clip], found["bones"], there["heads"])
        return errors

    return check


ONE = {
    "bvh-pybvh": bvh_pybvh,
    "bvh-kinema": _kinema(".bvh"),
    "npz-numpy": npz_numpy,
    "glb-strict": glb_strict,
    "glb-kinema": _kinema(".glb"),
    "glb-validator": glb_validator,
    "glb-three": glb_three,
}
MANY = {f"{ending}-blender": _blender(f".{ending}") for ending in ("bvh", "glb", "fbx")}
USUAL = ["bvh-pybvh", "bvh-kinema", "npz-numpy", "glb-strict", "glb-kinema"]


def run(clips: list[Path], checks: list[str], done: Path) -> None:
    known = {(row["clip"], row["check"]) for row in rows(done)}
    console = Console(stderr=True)
    one = [check for check in checks if check in ONE]
    todo = [clip for clip in clips if any((str(clip), check) not in known for check in one)]
    with open(done, "a") as file, tempfile.TemporaryDirectory() as folder:

        def note(clip: Path, check: str, motion: Motion, error: float) -> None:
            row = {
                "clip": str(clip),
                "check": check,
                "frames": min(len(motion), THREE_FRAMES) if check == "glb-three" else len(motion),
                "joints": len(motion.skeleton),
                "mm": error,
            }
            print(json.dumps(row), file=file, flush=True)

        for clip in track(todo, ", ".join(one), console=console, disable=not todo):
            motion = _clip(clip)
            for check in one:
                if (str(clip), check) not in known:
                    note(clip, check, motion, ONE[check](motion, Path(folder) / "clip"))
        for check in (check for check in checks if check in MANY):
            todo = [clip for clip in clips if (str(clip), check) not in known]
            for start in track(range(0, len(todo), BATCH), check, console=console, disable=not todo):
                motions = {str(clip): _clip(clip) for clip in todo[start : start + BATCH]}
                for clip, error in MANY[check](motions, Path(folder)).items():
                    note(Path(clip), check, motions[clip], error)
    if _page:
        _page[1].__exit__(None, None, None)


def rows(done: Path) -> Iterator[dict[str, Any]]:
    if done.exists():
        for line in done.read_text().splitlines():
            yield json.loads(line)


def table(done: Path) -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows(done):
        found.setdefault(row["check"], []).append(row)
    print(
        "| check | clips | frames | largest error, mm | median over clips, mm | worst clip |\n|---|---|---|---|---|---|"
    )
    for check in [*ONE, *MANY]:
        if check in found:
            errors = np.array([row["mm"] for row in found[check]])
            worst = Path(found[check][int(errors.argmax())]["clip"]).stem
            frames = sum(row["frames"] for row in found[check])
            print(
                f"| {check} | {len(errors):,} | {frames:,} | {errors.max():.2g} | {np.median(errors):.2g} | {worst} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--done", type=Path, required=True, help="what is known, a line for each clip and check")
    parser.add_argument("--every", type=int, default=1, help="take every n-th clip")
    parser.add_argument("--checks", nargs="+", choices=[*ONE, *MANY], default=USUAL)
    arguments = parser.parse_args()
    clips = sorted(clip for folder in arguments.folders for clip in folder.rglob("*.bvh"))[:: arguments.every]
    if not clips:
        sys.exit(f"no .bvh files in {', '.join(map(str, arguments.folders))}")
    run(clips, arguments.checks, arguments.done)
    table(arguments.done)


if __name__ == "__main__":
    main()
