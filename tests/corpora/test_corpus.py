from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kinema.corpora import Corpus
from kinema.motion.editing import mirror


def test_a_part_of_a_clip_is_that_part_of_its_motion(built) -> None:
    corpus = Corpus.open(built.folder)
    whole = corpus.motion(3)
    part = corpus.motion(corpus.clips[3], 10, 25)
    assert len(part) == 15
    assert np.array_equal(part.rotations, whole.rotations[10:25])
    assert np.array_equal(part.root_position, whole.root_position[10:25])
    assert dict(part.metadata) == {"source": "constructed", "licence": "CC0", "clip": corpus.clips[3].name}


def test_mirrored_reading_is_mirroring_what_was_read(built) -> None:
    corpus = Corpus.open(built.folder)
    expected = mirror(corpus.motion(2, 5, 40)).joint_positions()
    assert np.allclose(corpus.motion(2, 5, 40, mirrored=True).joint_positions(), expected)
    assert not np.allclose(corpus.motion(2, 5, 40).joint_positions(), expected, atol=0.01)


def test_splits_share_the_clips_among_them(built) -> None:
    corpus = Corpus.open(built.folder)
    chosen = [index for split in ("train", "val", "test", "compositional") for index in corpus.select(split)]
    assert sorted(chosen) == list(range(len(corpus)))
    with pytest.raises(ValueError, match="no split 'training'; there are train, val, test, compositional"):
        corpus.select("training")


def test_frames_and_clips_that_are_not_there_are_refused(built) -> None:
    corpus = Corpus.open(built.folder)
    frames = corpus.clips[0].frames
    for start, end in ((-1, 5), (5, 5), (0, frames + 1), (frames, None)):
        with pytest.raises(ValueError, match="no frames"):
            corpus.motion(0, start, end)
    for clip in (-1, len(corpus)):
        with pytest.raises(ValueError, match="no clip"):
            corpus.motion(clip)


def test_arrays_are_mapped_and_cannot_be_written(built) -> None:
    corpus = Corpus.open(built.folder)
    assert isinstance(corpus.rotations, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.rotations[0] = 0


def _edit(folder: Path, **changes) -> None:
    info = json.loads((folder / "corpus.json").read_text())
    info.update(changes)
    (folder / "corpus.json").write_text(json.dumps(info))


def _replace_array(folder: Path, name: str, array: np.ndarray) -> None:
    np.save(folder / name, array, allow_pickle=True)


DAMAGE = {
    "absent": (lambda f: shutil.rmtree(f), "is not a corpus"),
    "no description": (lambda f: (f / "corpus.json").unlink(), "is not a corpus"),
    "no JSON": (lambda f: (f / "corpus.json").write_text("{"), "does not describe"),
    "deep JSON": (lambda f: (f / "corpus.json").write_text("[" * 100_000), "does not describe"),
    "no text": (lambda f: (f / "corpus.json").write_bytes(b"\xff\x00"), "does not describe"),
    "other file": (lambda f: _edit(f, format="model"), "does not describe"),
    "other version": (lambda f: _edit(f, version=99), "version 99, and this Kinema reads version 1"),
    "other joints": (lambda f: _edit(f, joints=["hips"]), "joints"),
    "no licence": (lambda f: _edit(f, licence=None), "'licence'"),
    "other rate": (lambda f: _edit(f, fps=0), "'fps'"),
    "more frames": (lambda f: _edit(f, frames=10**9), "do not hold 1000000000"),
    "more clips": (lambda f: _edit(f, clips=3), "do not fit"),
    "no array": (lambda f: (f / "rotations.npy").unlink(), "rotations.npy is missing"),
    "half an array": (lambda f: (f / "rotations.npy").write_bytes((f / "rotations.npy").read_bytes()[:999]), "damaged"),
    "empty array": (lambda f: (f / "root_position.npy").write_bytes(b""), "damaged"),
    "pickle": (lambda f: _replace_array(f, "rotations.npy", np.array([{}], dtype=object)), "damaged"),
    "integers": (lambda f: _replace_array(f, "rotations.npy", np.load(f / "rotations.npy").astype(int)), "damaged"),
    "no parquet": (lambda f: (f / "clips.parquet").write_text("clips"), "damaged"),
    "no captions": (lambda f: (f / "captions.parquet").unlink(), "captions.parquet is missing"),
    "other table": (lambda f: shutil.copy(f / "captions.parquet", f / "clips.parquet"), "damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_corpus_is_one_clear_sentence(built, tmp_path, case: str) -> None:
    damage, sentence = DAMAGE[case]
    folder = tmp_path / "corpus"
    shutil.copytree(built.folder, folder)
    damage(folder)
    with pytest.raises(ValueError, match=sentence) as error:
        Corpus.open(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
