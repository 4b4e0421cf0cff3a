"""From folders of motion files and captions to a corpus: read, put on BODY, reject what is broken, split, write."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from kinema.corpora import splits
from kinema.corpora.captions import CaptionLine, read_captions
from kinema.corpora.corpus import FORMAT, FPS, MAX_CLIPS, SPLITS, VERSION
from kinema.formats import READERS, load
from kinema.motion import BODY, Motion
from kinema.motion.editing import ground, resample
from kinema.motion.retarget import retarget

ENDINGS = tuple(READERS)
WORKERS = 2
_IN_PROCESS = 24  # starting workers takes as long as reading this many files

SHORTEST = 0.5  # seconds
# A jump: the step of a joint from one frame to the next changes by more than this, metres at 30 fps. The hardest
# punches and kicks of CMU reach 0.32, limbs that flip for a frame or two start at 0.37.
JUMP = 0.35
FASTEST = 20.0  # m/s
STATIC = 0.03  # metres that the joint that moves most must move
FURTHEST = 1000.0  # metres from the origin
HIPS = (-0.5, 3.0)  # metres; median height of the pelvis above the ground

LABEL_SOURCE = "cmu_index"


@dataclass(frozen=True)
class Rejected:
    """A motion that was left out: its file, one of few reasons, and what exactly was wrong."""

    motion: str
    reason: str
    detail: str


@dataclass(frozen=True)
class BuildReport:
    """What `build` did.

    Args:
        folder: the corpus.
        clips, frames, captions: how many were written.
        splits: clips in each split.
        rejected: motions that were left out.
        joined: takes that hold more than one clip: names of the clips.
        unknown: motion files that the captions name and that are not in the folders.
        outside: captions whose span lies behind the end of their motion; left out.
        seconds: how long it took.
    """

    folder: Path
    clips: int
    frames: int
    captions: int
    splits: dict[str, int]
    rejected: list[Rejected]
    joined: list[list[str]]
    unknown: list[str]
    outside: int
    seconds: float


@dataclass(frozen=True)
class _Source:
    """One motion file that may become a clip."""

    path: Path
    shown: str
    name: str
    recording: str
    captions: list[CaptionLine]


@dataclass(frozen=True)
class _Ready:
    """A motion on BODY at 30 fps, as the store holds it."""

    root_position: np.ndarray
    rotations: np.ndarray
    fingerprint: np.ndarray


@dataclass
class _Written:
    """A clip in the arrays."""

    source: _Source
    start: int
    frames: int
    captions: list[tuple[str, int, int, str]] = field(default_factory=list)


def build(
    folders: Sequence[str | Path],
    out: str | Path,
    captions: str | Path | None = None,
    *,
    licence: str,
    source: str,
    hold_out: Sequence[str] = (),
    workers: int = WORKERS,
) -> BuildReport:
    """Build a corpus from folders of motion files.

    Every motion is resampled to 30 fps, retargeted to BODY and set on the ground. Broken ones are left out with a
    reason, and never stop the build. The corpus appears under `out` whole or not at all.

    Args:
        folders: searched for motion files (.bvh, .amc, .npz), with their subfolders.
        out: the corpus to write; a corpus that is there is replaced.
        captions: a captions file for all folders; None = captions.jsonl in each folder. See `kinema.corpora.captions`.
        licence, source: the terms of the motions and where they came from; written beside each clip.
        hold_out: patterns of clip names whose takes go to the split "compositional" and to no other.
        workers: processes that read motions.

    Raises:
        ValueError: no motions, no captions, a captions file that cannot be read, `out` is something else than a
            corpus, or nothing is left after rejection.
        OSError: a file cannot be read or written.
    """
    began = time.monotonic()
    out = Path(out)
    if not licence.strip() or not source.strip():
        raise ValueError("a corpus needs the licence and the source of its motions")
    if workers < 1:
        raise ValueError(f"the number of workers must be at least 1, got {workers}")
    if out.exists() and not (out / "corpus.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} exists and is not a corpus; choose another place")
    sources, unknown = _find(folders, captions)
    splits.fitting([item.name for item in sources], hold_out)  # a wrong pattern is told before the hours, not after

    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        report = _write(sources, temporary, licence.strip(), source.strip(), hold_out, workers)
        os.chmod(temporary, 0o755)
        _move(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return BuildReport(folder=out, unknown=unknown, seconds=time.monotonic() - began, **report)


def _move(temporary: Path, out: Path) -> None:
    """Put the finished folder in its place; a corpus that is there goes only when the new one stands."""
    if not out.exists():
        os.rename(temporary, out)
        return
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as attic:
        old = Path(attic) / "old"
        os.rename(out, old)
        try:
            os.rename(temporary, out)
        except BaseException:  # also Ctrl-C: the attic, and the old corpus in it, is about to be removed
            os.rename(old, out)
            raise


def motion_files(folder: Path) -> list[Path]:
    """The motion files in a folder and those below it, sorted.

    Raises:
        ValueError: there are none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise ValueError(f"no motion files ({', '.join(ENDINGS)}) in {folder}")
    return found


def stored(motion: Motion) -> Motion:
    """A motion as a corpus has it: on BODY, at FPS, standing on y = 0.

    Raises:
        ValueError: its joints cannot be told.
    """
    return ground(retarget(resample(motion, FPS), keep_contacts=False))


def _find(folders: Sequence[str | Path], captions: str | Path | None) -> tuple[list[_Source], list[str]]:
    """The motion files of the folders with their captions; and the files that captions name and that are not there."""
    if not folders:
        raise ValueError("name at least one folder of motion files")
    files: list[tuple[Path, Path]] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        files += [(folder, path) for path in motion_files(folder)]
    if len(files) > MAX_CLIPS:
        raise ValueError(f"{len(files)} motion files are more than the {MAX_CLIPS} of one corpus")

    lists = [Path(captions)] if captions is not None else [Path(folder) / "captions.jsonl" for folder in folders]
    lines: dict[str, list[CaptionLine]] = {}
    for path in lists:
        if not path.is_file():
            raise ValueError(f"no captions: {path} does not exist; write one line a sentence, or name another file")
        for line in read_captions(path):
            lines.setdefault(_place(line.motion), []).append(line)
    if not lines:
        raise ValueError(f"no captions in {', '.join(map(str, lists))}")

    sources: list[_Source] = []
    used: set[str] = set()
    seen: set[str] = set()
    for folder, path in files:
        key = _place(path)
        if key in seen:  # folders that lie in each other
            continue
        seen.add(key)
        own = lines.pop(key, [])
        named = {line.clip for line in own} - {None}
        if len(named) > 1:
            raise ValueError(f"the captions call {path} by several clip names: {', '.join(sorted(map(str, named)))}")
        recording = str(named.pop()) if named else path.relative_to(folder).with_suffix("").as_posix()
        name = recording
        if name in used:
            name = f"{folder.resolve().name}/{recording}"
        count = 2
        while name in used:
            name = f"{folder.resolve().name}/{recording} ({count})"
            count += 1
        used.add(name)
        shown = (Path(folder.resolve().name) / path.relative_to(folder)).as_posix()
        sources.append(_Source(path, shown, name, recording, own))
    unknown = sorted({str(rows[0].motion) for rows in lines.values()})
    if not any(item.captions for item in sources):
        raise ValueError(
            f"no captions: none of the {len(sources)} motion files is named in {', '.join(map(str, lists))}"
            f" (it names {unknown[0]})"
        )
    return sources, unknown


def _place(path: Path) -> str:
    """The same for a file by whatever way through linked folders it is named; a link to a file is a file of its own."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _write(
    sources: list[_Source], folder: Path, licence: str, source: str, hold_out: Sequence[str], workers: int
) -> dict:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    clips: list[_Written] = []
    rejected = [Rejected(item.shown, "no captions", "no line of the captions names it") for item in sources]
    rejected = [row for row, item in zip(rejected, sources, strict=True) if not item.captions]
    captioned = [item for item in sources if item.captions]
    fingerprints: list[np.ndarray] = []
    outside = frames = 0
    content = hashlib.sha256()
    with (
        contextlib.closing(_prepared([item.path for item in captioned], workers)) as results,
        _ArrayWriter(folder / "root_position.npy", (3,)) as roots,
        _ArrayWriter(folder / "rotations.npy", (len(BODY), 4)) as quats,
    ):
        for item, result in zip(captioned, results, strict=True):
            if isinstance(result, tuple):
                rejected.append(Rejected(item.shown, *result))
                continue
            clip = _Written(item, frames, len(result.root_position))
            for line in item.captions:
                start = round(line.start * FPS)
                end = clip.frames if line.end is None else min(round(line.end * FPS), clip.frames)
                if start < end:
                    clip.captions.append((line.text, start, end, line.source))
            outside += len(item.captions) - len(clip.captions)
            if not clip.captions:
                rejected.append(Rejected(item.shown, "no captions", "all of its captions lie behind its end"))
                continue
            for array in (result.root_position, result.rotations):
                content.update(array.tobytes())
            roots.append(result.root_position)
            quats.append(result.rotations)
            fingerprints.append(result.fingerprint)
            clips.append(clip)
            frames += clip.frames
    if not clips:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in Counter(r.reason for r in rejected).items())
        raise ValueError(f"none of the {len(sources)} motion files can be used: {reasons}")

    lengths = np.array([clip.frames for clip in clips])
    pairs = splits.near_identical(np.stack(fingerprints), lengths)
    groups = splits.takes([clip.source.recording for clip in clips], [(a, b) for a, b, _ in pairs])
    names = [clip.source.name for clip in clips]
    parts = splits.split(names, groups, hold_out)

    rows = {
        "name": names,
        "take": groups,
        "label": [_label(clip) for clip in clips],
        "split": parts,
        "start": [clip.start for clip in clips],
        "frames": [clip.frames for clip in clips],
        "licence": [licence] * len(clips),
        "source": [source] * len(clips),
    }
    lines = [(index, *caption) for index, clip in enumerate(clips) for caption in clip.captions]
    columns = dict(zip(("clip", "text", "start", "end", "source"), map(list, zip(*lines, strict=True)), strict=True))
    content.update(json.dumps([rows, columns]).encode())
    parquet.write_table(arrow.table(rows), folder / "clips.parquet", compression="zstd")
    parquet.write_table(arrow.table(columns), folder / "captions.parquet", compression="zstd")
    with open(folder / "rejected.jsonl", "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(row.__dict__, ensure_ascii=False) + "\n" for row in rejected)
    counts = {name: parts.count(name) for name in SPLITS}
    info = {
        "format": FORMAT,
        "version": VERSION,
        "fps": FPS,
        "joints": list(BODY.names),
        "licence": licence,
        "source": source,
        "clips": len(clips),
        "frames": frames,
        "captions": len(lines),
        "splits": counts,
        "hold_out": list(hold_out),
        "rejected": len(rejected),
        "sha256": content.hexdigest(),
    }
    (folder / "corpus.json").write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    members: dict[str, list[str]] = {}
    for name, group in zip(names, groups, strict=True):
        members.setdefault(group, []).append(name)
    return {
        "clips": len(clips),
        "frames": frames,
        "captions": len(lines),
        "splits": counts,
        "rejected": rejected,
        "joined": [group for group in members.values() if len(group) > 1],
        "outside": outside,
    }


def _label(clip: _Written) -> str:
    for text, _, _, source in clip.captions:
        if source == LABEL_SOURCE:
            return text
    recording = clip.source.recording
    return re.sub(r"[_-]?\d+$", "", recording) or recording


def _prepared(paths: list[Path], workers: int) -> Generator[_Ready | tuple[str, str], None, None]:
    """The motions of the files in order, with a progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        if workers == 1 or len(paths) <= _IN_PROCESS:
            yield from bar.track(map(_prepare, paths), total=len(paths), description="reading motions")
            return
        # spawn: the caller may hold threads (torch, progress), which a fork would copy in an unknown state
        with _single_threaded():
            pool = ProcessPoolExecutor(workers, get_context("spawn"), _ignore_interrupt)
            results = pool.map(_prepare, paths, chunksize=4)
        try:
            yield from bar.track(results, total=len(paths), description="reading motions")
        except BrokenProcessPool:
            raise OSError(
                "a process that reads motions died: for want of memory (try fewer workers), or because the script that "
                "builds does so outside of `if __name__ == '__main__':`"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started inside get one thread each: two of them share two cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process; only the first one answers, by closing the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _prepare(path: Path) -> _Ready | tuple[str, str]:
    """One motion file -> what the store holds of it, or why it is rejected (reason, detail)."""
    try:
        motion = load(path)
    except (ValueError, OSError) as error:
        return "unreadable", str(error)
    except Exception as error:  # a file that its reader did not foresee must not cost the user all the others
        return "unreadable", f"{path}: {type(error).__name__}: {error}"
    if motion.seconds < SHORTEST:
        return "too short", f"{motion.seconds:.2f} s"
    try:
        motion = stored(motion)
    except ValueError as error:
        return "joints cannot be named", str(error)
    # what is judged is what is stored
    root_position = motion.root_position.astype(np.float32)
    rotations = motion.rotations.astype(np.float32)
    positions = motion.joint_positions()
    if wrong := _broken(positions):
        return wrong
    return _Ready(root_position, rotations, splits.fingerprint(motion, positions))


def _broken(positions: np.ndarray) -> tuple[str, str] | None:
    """Why joint positions (T, 22, 3) at 30 fps cannot be a person's motion: (reason, detail)."""
    furthest = float(np.abs(positions).max())
    if furthest > FURTHEST:
        return "implausible", f"a joint is {furthest:.0f} m from the origin"
    hips = float(np.median(positions[:, 0, 1]))
    if not HIPS[0] <= hips <= HIPS[1]:
        return "implausible", f"the pelvis is {hips:.2f} m above the ground"
    if float(np.ptp(positions, 0).max()) < STATIC:
        return "static", f"no joint moves more than {STATIC * 100:.0f} cm"
    steps = np.diff(positions, axis=0)
    speed = np.linalg.norm(steps, axis=-1) * FPS
    frame, joint = np.unravel_index(int(np.argmax(speed)), speed.shape)
    if speed[frame, joint] > FASTEST:
        return "jump", f"{BODY.names[joint]} at {speed[frame, joint]:.0f} m/s, {(frame + 1) / FPS:.2f} s"
    change = np.linalg.norm(np.diff(steps, axis=0), axis=-1)
    frame, joint = np.unravel_index(int(np.argmax(change)), change.shape)
    if change[frame, joint] > JUMP:
        return (
            "jump",
            f"{BODY.names[joint]} jerks by {change[frame, joint]:.2f} m in a frame, {(frame + 1) / FPS:.2f} s",
        )
    return None


class _ArrayWriter:
    """Writes a float32 .npy file (N, *shape) piece by piece, N unknown until the end."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path = path
        self._shape = shape
        self._rows = 0

    def __enter__(self) -> _ArrayWriter:
        self._file = open(self._path, "wb")
        self._header()
        return self

    def append(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows, np.float32).tobytes())
        self._rows += len(rows)

    def __exit__(self, *_: object) -> None:
        # numpy leaves room in the header for the first axis to grow to 21 digits
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        shape = (self._rows, *self._shape)
        np.lib.format.write_array_header_1_0(self._file, {"descr": "<f4", "fortran_order": False, "shape": shape})
