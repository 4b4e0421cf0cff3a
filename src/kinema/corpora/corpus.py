"""The store: captioned motions on disk, on BODY at one frame rate, read through memory maps.

A corpus is a folder:

    corpus.json         format version, frame rate, joint names, licence, source, counts, hash of the content
    root_position.npy   (N, 3) float32, metres; the frames of all clips, one clip after the other
    rotations.npy       (N, 22, 4) float32, local unit quaternions wxyz
    clips.parquet       one row a clip: name, take, label, split, start, frames, licence, source
    captions.parquet    one row a caption: clip, text, start, end, source
    rejected.jsonl      one line for each motion that the build left out: motion, reason, detail

float32 places joints within 0.001 mm. int16 would halve the arrays at 0.05 mm, but a frame's rounding is noise to its
neighbours: at 30 fps that is 6 m/s^3 of jerk, which is no longer small beside a person who stands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.motion import BODY, Motion
from kinema.motion.editing import mirror

FORMAT = "kinema corpus"
VERSION = 1
FPS = 30.0
SPLITS = ("train", "val", "test", "compositional")
MAX_CLIPS = 1_000_000


@dataclass(frozen=True)
class Caption:
    """A sentence about the frames `start` to `end` (exclusive) of its clip."""

    text: str
    start: int
    end: int
    source: str


@dataclass(frozen=True)
class Clip:
    """One motion of a corpus.

    Args:
        index: position in the corpus.
        name: unique in the corpus.
        take: the group of near-identical recordings that it belongs to; all of them are in one split.
        label: the class of the motion, for counting and for judging by class.
        split: one of `SPLITS`.
        start: its first row in the arrays.
        frames: its number of rows.
        licence, source: what the motion came with.
        captions: at least one.
    """

    index: int
    name: str
    take: str
    label: str
    split: str
    start: int
    frames: int
    licence: str
    source: str
    captions: tuple[Caption, ...]


class Corpus:
    """A corpus opened for reading. Motions are read when they are asked for.

    Attributes:
        folder, licence, source, fps: what the corpus says of itself.
        clips: in the order of the arrays.
        root_position: (N, 3) float32 memory map, metres.
        rotations: (N, 22, 4) float32 memory map, local quaternions wxyz.
        info: all of corpus.json.
    """

    def __init__(
        self, folder: Path, info: dict[str, Any], clips: list[Clip], root_position: np.ndarray, rotations: np.ndarray
    ) -> None:
        self.folder = folder
        self.info = info
        self.licence: str = info["licence"]
        self.source: str = info["source"]
        self.fps: float = float(info["fps"])
        self.clips = clips
        self.root_position = root_position
        self.rotations = rotations

    @classmethod
    def open(cls, folder: str | Path) -> Corpus:
        """Open a corpus that `build` wrote.

        Raises:
            ValueError: the folder is no corpus, one of another version, or damaged.
            OSError: its files cannot be read.
        """
        folder = Path(folder)
        info = _read_info(folder)
        for name in ("root_position.npy", "rotations.npy", "clips.parquet", "captions.parquet"):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: the corpus is damaged, {name} is missing; build it again")
        try:
            root_position = np.load(folder / "root_position.npy", mmap_mode="r", allow_pickle=False)
            rotations = np.load(folder / "rotations.npy", mmap_mode="r", allow_pickle=False)
            clips = _read_clips(folder)
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise ValueError(f"{folder}: the corpus is damaged ({error}); build it again") from None
        total = info["frames"]
        if root_position.dtype != np.float32 or rotations.dtype != np.float32:
            raise ValueError(f"{folder}: the corpus is damaged, its arrays are not float32; build it again")
        if root_position.shape != (total, 3) or rotations.shape != (total, len(BODY), 4):
            raise ValueError(f"{folder}: the corpus is damaged, its arrays do not hold {total} frames; build it again")
        if len(clips) != info["clips"] or any(
            not (0 <= clip.start < clip.start + clip.frames <= total)
            or any(not 0 <= caption.start < caption.end <= clip.frames for caption in clip.captions)
            for clip in clips
        ):
            raise ValueError(f"{folder}: the corpus is damaged, its clips do not fit its arrays; build it again")
        return cls(folder, info, clips, root_position, rotations)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def __repr__(self) -> str:
        return f"Corpus({str(self.folder)!r}, {len(self)} clips, {len(self.rotations) / self.fps / 3600:.2f} h)"

    def motion(self, clip: Clip | int, start: int = 0, end: int | None = None, *, mirrored: bool = False) -> Motion:
        """Frames `start` to `end` (exclusive, None = to the last) of a clip, on BODY at `fps`.

        Args:
            clip: a clip of this corpus or its index.
            start, end: frames within the clip.
            mirrored: left and right swapped; its captions are then `mirror_text(caption.text)`.

        Raises:
            ValueError: no such clip or frames.
        """
        if not isinstance(clip, Clip):
            if not 0 <= clip < len(self.clips):
                raise ValueError(f"no clip {clip}: {self.folder} has {len(self.clips)}")
            clip = self.clips[clip]
        end = clip.frames if end is None else end
        if not 0 <= start < end <= clip.frames:
            raise ValueError(f"no frames {start} to {end}: {clip.name} has {clip.frames}")
        rows = slice(clip.start + start, clip.start + end)
        motion = Motion(
            BODY,
            self.fps,
            self.root_position[rows],
            self.rotations[rows],
            metadata={"source": clip.source, "licence": clip.licence, "clip": clip.name},
        )
        return mirror(motion) if mirrored else motion

    def select(self, split: str) -> list[int]:
        """Indices of the clips of one split."""
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
        return [clip.index for clip in self.clips if clip.split == split]

    def rejected(self) -> list[dict[str, str]]:
        """What the build left out: `motion`, `reason` (one of few) and `detail`."""
        with open(self.folder / "rejected.jsonl", encoding="utf-8") as file:
            return [json.loads(line) for line in file]


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a corpus (it has no corpus.json); make one with `kinema corpus build`")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe a corpus; make one with `kinema corpus build`")
    if info.get("version") != VERSION:
        raise ValueError(
            f"{folder} is a corpus of version {info.get('version')}, and this Kinema reads version {VERSION}; "
            "build it again"
        )
    if info.get("joints") != list(BODY.names):
        raise ValueError(f"{folder}: the joints of the corpus are not those of BODY; build it again")
    wanted = {"licence": str, "source": str, "fps": int | float, "clips": int, "frames": int}
    wrong = [key for key, kind in wanted.items() if not isinstance(info.get(key), kind)]
    if not wrong and not 0 < info["fps"] < 10_000:
        wrong = ["fps"]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]!r} is missing or wrong; build the corpus again")
    return info


def _read_clips(folder: Path) -> list[Clip]:
    import pyarrow.parquet as parquet
    from pyarrow import ArrowException

    try:
        rows = parquet.read_table(folder / "clips.parquet").to_pylist()
        lines = parquet.read_table(folder / "captions.parquet").to_pydict()
    except ArrowException as error:
        raise ValueError(str(error)) from None
    captions: list[list[Caption]] = [[] for _ in rows]
    for clip, text, start, end, source in zip(
        lines["clip"], lines["text"], lines["start"], lines["end"], lines["source"], strict=True
    ):
        if not 0 <= clip < len(rows):
            raise ValueError(f"a caption belongs to clip {clip} of {len(rows)}")
        captions[clip].append(Caption(text, start, end, source))
    return [Clip(index=index, captions=tuple(captions[index]), **row) for index, row in enumerate(rows)]
