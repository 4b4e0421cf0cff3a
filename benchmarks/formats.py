"""How fast and how frugal the file formats are, beside pybvh and bvhio.

    python benchmarks/formats.py speed [--files FOLDER]     reading and writing BVH, forward kinematics
    python benchmarks/formats.py memory                     peak memory of reading files of 12 MB and more
    python benchmarks/formats.py start                      `kinema convert` of 300 frames of BVH to GLB

Times are of one thread, the best of several; `speed` counts processor time, which other programs on the machine disturb
little, `start` wall time. The files are constructed (31 joints in random smooth motion, six decimals), so that anyone
can run this; --files names a folder of real BVH files to read as well. Peers: pip install pybvh bvhio.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from kinema.formats.bvh import read_bvh, write_bvh
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.kinematics import forward_kinematics

REPEATS = 5

# the tree of the CMU skeleton as it comes in BVH files
_PARENTS = (
    *(-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 15, 13, 17, 18, 19, 20, 21, 20, 13, 24, 25, 26, 27, 28, 27),
)


def make_motion(frames: int, parents: tuple[int, ...] = _PARENTS) -> Motion:
    """A constructed motion: every joint swings smoothly about an axis of its own."""
    rng = np.random.default_rng(0)
    joints = len(parents)
    offsets = rng.normal(0, 0.12, (joints, 3))
    offsets[0] = 0
    tips = np.array([[0.0, 0.1, 0.0] if joint not in parents else [0.0] * 3 for joint in range(joints)])
    skeleton = Skeleton(tuple(f"joint{index}" for index in range(joints)), parents, offsets, tips)
    time = np.arange(frames)[:, None] / 30
    swing = np.sin(time * rng.uniform(1, 5, joints) + rng.uniform(0, 6, joints)) + rng.normal(0, 0.01, (frames, joints))
    turns = swing[..., None] * rng.normal(0, 0.5, (joints, 3))
    root = np.stack([np.sin(time[:, 0] / 9), np.full(frames, 0.9), np.cos(time[:, 0] / 7)], -1)
    return Motion(skeleton, 30, root, rot.from_rotation_vector(turns))


def best(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Least processor time of a call, in seconds."""
    times = []
    for _ in range(repeats):
        start = process_time()
        work()
        times.append(process_time() - start)
    return min(times)


# --- speed


def speed(folder: Path, files: Path | None) -> None:
    import bvhio
    import pybvh

    warnings.simplefilter("ignore")
    motion = make_motion(20_000)
    long, short = folder / "long.bvh", folder / "short.bvh"
    write_bvh(motion, long)
    write_bvh(make_motion(300), short)

    def row(what: str, who: str, seconds: float, megabytes: float, frames: int, peer: float) -> None:
        against = f"{peer / seconds:.2f}" if peer else ""
        speeds = f"{megabytes / seconds:.0f} | {frames / seconds:,.0f}"
        print(f"| {what} | {who} | {seconds * 1e3:.1f} | {speeds} | {against} |", flush=True)

    print(
        f"| work | by | ms (best of {REPEATS}) | MB/s | frames/s | times as fast as pybvh |\n|---|---|---|---|---|---|",
        flush=True,
    )

    whole = {f"read one file of {long.stat().st_size / 1e6:.0f} MB, 31 joints": ([long], 20_000)}
    whole["read one file of 300 frames"] = ([short], 300)
    if files:
        paths = sorted(files.rglob("*.bvh"))
        paths = paths[:: max(1, len(paths) // 150)]
        whole[f"read {len(paths)} files of {files.name}"] = (paths, sum(len(read_bvh(path)) for path in paths))
    for what, (paths, frames) in whole.items():
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        theirs = best(lambda paths=paths: [pybvh.read_bvh_file(str(path)) for path in paths])
        row(
            what,
            "kinema, quaternions in metres",
            best(lambda paths=paths: [read_bvh(p) for p in paths]),
            megabytes,
            frames,
            theirs,
        )
        row(what, "pybvh, Euler angles", theirs, megabytes, frames, theirs)
        if len(paths) == 1:
            row(
                what,
                "bvhio, poses",
                best(lambda paths=paths: bvhio.readAsBvh(str(paths[0])), 2),
                megabytes,
                frames,
                theirs,
            )
        placed = best(lambda paths=paths: [pybvh.read_bvh_file(str(path)).joint_positions() for path in paths], 3)
        ours = best(lambda paths=paths: [read_bvh(path).joint_positions() for path in paths], 3)
        row(f"{what}, and joint positions", "kinema", ours, megabytes, frames, placed)
        row(f"{what}, and joint positions", "pybvh", placed, megabytes, frames, placed)

    out, megabytes = folder / "out.bvh", long.stat().st_size / 1e6
    theirs = pybvh.read_bvh_file(str(long))
    peer = best(lambda: pybvh.write_bvh_file(theirs, str(out)))
    megabytes_peer = out.stat().st_size / 1e6
    row(
        "write 20,000 frames, 31 joints",
        "kinema, from quaternions",
        best(lambda: write_bvh(motion, out)),
        megabytes,
        20_000,
        peer,
    )
    row("write 20,000 frames, 31 joints", "pybvh, from Euler angles", peer, megabytes_peer, 20_000, peer)
    poses = bvhio.readAsBvh(str(short))
    seconds = best(lambda: bvhio.writeBvh(str(out), poses), 2)
    row("write 300 frames, 31 joints", "bvhio, poses", seconds, out.stat().st_size / 1e6, 300, 0)

    print(f"\n| forward kinematics, 31 joints | frames/s (best of {REPEATS}) | times a loop |\n|---|---|---|")
    ours = 20_000 / best(lambda: forward_kinematics(motion.skeleton, motion.root_position, motion.rotations))
    loop = 100 / best(lambda: _slow_positions(motion, 100), 3)
    np.testing.assert_allclose(_slow_positions(motion, 100), motion.joint_positions()[:100], atol=1e-9)
    print(f"| kinema, 20,000 frames at once | {ours:,.0f} | {ours / loop:.0f} |")
    print(f"| a loop in Python over frames and joints, 4 x 4 matrices in NumPy | {loop:,.0f} | 1 |", flush=True)


def _slow_positions(motion: Motion, frames: int) -> np.ndarray:
    """Forward kinematics as one would write it down: for every frame and joint the matrix of its quaternion."""
    positions = np.empty((frames, len(motion.skeleton), 3))
    for frame in range(frames):
        world: list[np.ndarray] = []
        for joint, parent in enumerate(motion.skeleton.parents):
            w, x, y, z = motion.rotations[frame, joint]
            matrix = np.eye(4)
            matrix[0, :3] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
            matrix[1, :3] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
            matrix[2, :3] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
            matrix[:3, 3] = motion.root_position[frame] if parent < 0 else motion.skeleton.offsets[joint]
            world.append(matrix if parent < 0 else world[parent] @ matrix)
            positions[frame, joint] = world[-1][:3, 3]
    return positions


# --- memory

_MEASURE = """
import sys
from kinema.formats import load
small, large, options = sys.argv[1], sys.argv[2], dict(option.split("=") for option in sys.argv[3:])
options = {key: float(value) if key == "fps" else value for key, value in options.items()}
load(small, **options)  # so that imports are not counted
def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = status("VmRSS")
motion = load(large, **options)
print(status("VmHWM") - before, motion.rotations.nbytes + motion.root_position.nbytes, len(motion))
"""


def memory(folder: Path) -> None:
    print("| format | file, MB | frames | the motion in memory, times the file | peak while reading, times the file |")
    print("|---|---|---|---|---|")
    for name, small, large, options in _files(folder):
        run = [sys.executable, "-c", _MEASURE, str(small), str(large), *options]
        done = subprocess.run(run, capture_output=True, text=True)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr.strip().splitlines()[-1]} | | | |", flush=True)
            continue
        peak, held, frames = map(int, done.stdout.split())
        size = large.stat().st_size
        print(f"| {name} | {size / 1e6:.1f} | {frames:,} | {held / size:.1f} | {peak / size:.1f} |", flush=True)


def _files(folder: Path) -> Iterator[tuple[str, Path, Path, list[str]]]:
    """Name, a small file, a large one, and options, of every format."""
    from kinema.formats import save
    from kinema.motion import BODY
    from kinema.motion.skeleton import BODY_WITH_HANDS

    def body(frames: int, skeleton: Skeleton = BODY) -> Motion:
        made = make_motion(frames, skeleton.parents)
        return made.replace(skeleton=skeleton)

    def both(ending: str, large: Motion, **options: Any) -> tuple[Path, Path]:
        small = folder / f"small{ending}"
        for motion, path in (
            (large.replace(rotations=large.rotations[:30], root_position=large.root_position[:30]), small),
            (large, folder / f"large{ending}"),
        ):
            save(motion, path, **options)
        return small, folder / f"large{ending}"

    yield "BVH", *both(".bvh", make_motion(15_000)), []
    (folder / "large.asf").write_text(_asf())
    (folder / "small.asf").write_text(_asf())
    for name, frames in (("small", 30), ("large", 24_000)):
        _write_amc(folder / f"{name}.amc", frames)
    yield "AMC", folder / "small.amc", folder / "large.amc", []
    yield "npz (Kinema)", *both(".npz", body(20_000)), []
    yield "npz (AMASS, SMPL-H)", *both(".smplh.npz", body(20_000, BODY_WITH_HANDS)), []
    yield "GLB", *both(".glb", body(40_000)), []
    yield "npy (263 numbers)", *both(".npy", body(15_000)), []
    yield "npy (positions)", *both(".joints.npy", body(60_000)), []
    robot = folder / "robot.xml"
    robot.write_text(_ROBOT)
    rows = np.random.default_rng(0).uniform(-0.5, 0.5, (120_000, 10))
    rows[:, 3:7] = (1, 0, 0, 0)
    for name, count in (("small", 30), ("large", len(rows))):
        np.savetxt(folder / f"{name}.csv", rows[:count], "%.9f", ",")
        np.savez(folder / f"{name}.qpos.npz", qpos=rows[:count], fps=30.0)
    options = [f"robot={robot}", "fps=30"]
    yield "csv (qpos)", folder / "small.csv", folder / "large.csv", options
    yield "npz (qpos)", folder / "small.qpos.npz", folder / "large.qpos.npz", options


_ROBOT = """<mujoco><worldbody><body name="pelvis" pos="0 0 0.8"><freejoint/><geom size="0.1"/>
<body name="leg"><joint name="hip" axis="0 1 0"/><joint name="hip2" axis="1 0 0"/><geom size="0.1"/>
<body name="shin" pos="0 0 -0.4"><joint name="knee" axis="0 1 0"/><geom size="0.1"/></body></body></body>
</worldbody></mujoco>
"""


def _asf() -> str:
    bones = "".join(
        f"begin\nid {n}\nname bone{n}\ndirection 0 1 0\nlength 2\naxis 10 0 20 XYZ\ndof rx ry rz\nend\n"
        for n in range(20)
    )
    tree = "root bone0\n" + "".join(f"bone{n} bone{n + 1}\n" for n in range(19))
    return (
        f":version 1.10\n:units\nlength 0.45\nangle deg\n:root\norder TX TY TZ RX RY RZ\naxis XYZ\nposition 0 0 0\n"
        f"orientation 0 0 0\n:bonedata\n{bones}:hierarchy\nbegin\n{tree}end\n"
    )


def _write_amc(path: Path, frames: int) -> None:
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        file.write(":FULLY-SPECIFIED\n:DEGREES\n")
        for frame in range(frames):
            file.write(f"{frame + 1}\nroot " + " ".join(f"{value:.6g}" for value in rng.normal(0, 20, 6)) + "\n")
            for bone, values in enumerate(rng.normal(0, 20, (20, 3)).tolist()):
                file.write(f"bone{bone} " + " ".join(f"{value:.6g}" for value in values) + "\n")


# --- start


def start(folder: Path) -> None:
    write_bvh(make_motion(300), folder / "clip.bvh")
    command = [sys.executable, "-m", "kinema", "convert", str(folder / "clip.bvh"), str(folder / "clip.glb")]
    times = []
    for _ in range(2 * REPEATS):
        begin = perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(perf_counter() - begin)
    print("| command | wall time, s (best, median of 10) |\n|---|---|")
    print(f"| `kinema convert clip.bvh clip.glb`, 300 frames, 31 joints | {min(times):.2f}, {np.median(times):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "start"))
    parser.add_argument("--files", type=Path, help="a folder of real BVH files, for speed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "speed":
            speed(Path(folder), arguments.files)
        elif arguments.what == "memory":
            memory(Path(folder))
        else:
            start(Path(folder))


if __name__ == "__main__":
    main()
