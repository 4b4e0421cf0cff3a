"""Kinema's own file: nothing is lost, and nothing hostile gets in."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinema.formats.npz import read_any_npz, read_npz, write_npz
from kinema.motion import Motion


@pytest.fixture
def motion(walk: Motion) -> Motion:
    contacts = np.zeros((len(walk), len(walk.skeleton)), dtype=bool)
    contacts[::2, 3] = True
    metadata = {"source": "Gänge/01", "licence": "CC0", "seconds": 2.5, "captions": ["geht", "歩く"], "n": np.int64(3)}
    return walk.replace(contacts=contacts, metadata=metadata, fps=29.97)


def test_round_trip(tmp_path, motion):
    write_npz(motion, tmp_path / "x.npz")
    back = read_npz(tmp_path / "x.npz")
    assert back.skeleton == motion.skeleton
    np.testing.assert_array_equal(back.skeleton.tips, motion.skeleton.tips)
    assert back.fps == motion.fps
    np.testing.assert_array_equal(back.root_position, motion.root_position)
    np.testing.assert_allclose(back.rotations, motion.rotations, rtol=0, atol=3e-16)
    np.testing.assert_array_equal(back.contacts, motion.contacts)
    assert dict(back.metadata) == dict(motion.metadata)


def test_without_contacts_or_metadata(tmp_path, walk):
    write_npz(walk.replace(metadata={}), tmp_path / "x.npz")
    back = read_npz(tmp_path / "x.npz")
    assert back.contacts is None
    assert dict(back.metadata) == {}


def test_metadata_that_json_cannot_hold_is_refused_before_writing(tmp_path, walk):
    with pytest.raises(ValueError, match="metadata must be"):
        write_npz(walk.replace(metadata={"model": object()}), tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def rewrite(path: Path, **changes: object) -> None:
    """Replace arrays of an npz; None removes one, bytes stand as they are."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, value in changes.items():
        if value is None:
            del members[f"{name}.npy"]
        elif isinstance(value, bytes):
            members[f"{name}.npy"] = value
        else:
            buffer = io.BytesIO()
            np.save(buffer, np.array(value), allow_pickle=True)
            members[f"{name}.npy"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def header_only(shape: str, dtype: str = "<f8") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": None}, "not a motion file of Kinema"),
        ({"format": "kinema-motion-2"}, "not a motion file of Kinema"),
        ({"rotations": None}, "not a motion file of Kinema"),
        ({"rotations": np.zeros((3, 4))}, "rotations must be"),
        ({"rotations": header_only("(10**9, 22, 4)")}, "damaged"),
        ({"rotations": header_only("(1000000000, 22, 4)")}, "cannot be"),
        ({"rotations": header_only("(-5, 22, 4)")}, "damaged"),
        ({"root_position": np.array([[{}, 1, 2]], dtype=object)}, "root_position has type object"),
        ({"fps": [30.0, 30.0]}, "wrong shapes"),
        ({"fps": float("nan")}, "fps must be"),
        ({"names": np.array("all")}, "wrong shapes"),
        ({"names": np.array(["a", "a"])}, r"skeleton offsets must have shape \(2, 3\)"),
        ({"parents": np.zeros(22, dtype=np.int32)}, "-1 for the first"),
        ({"metadata": "{"}, "x.npz"),
        ({"metadata": "[1]"}, "not an object"),
        ({"metadata": "[" * 100_000}, "x.npz"),
        ({"tips": b"garbage"}, "damaged"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, motion, changes, words):
    path = tmp_path / "x.npz"
    write_npz(motion, path)
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=words) as error:
        read_npz(path)
    assert "x.npz" in str(error.value)


def test_a_zip_bomb_is_refused_unopened(tmp_path, motion):
    path = tmp_path / "x.npz"
    write_npz(motion, path)
    content = bytearray(path.read_bytes())
    # the directory entry of `rotations` claims 3 GB
    at = content.rindex(b"rotations.npy") - 46
    content[at + 24 : at + 28] = (3_000_000_000).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"unpacks to .* MB, which no motion needs"):
        read_npz(path)


def test_files_of_other_programs(tmp_path):
    np.savez(tmp_path / "amass.npz", poses=np.zeros((3, 156)), trans=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="not a motion file of Kinema"):
        read_npz(tmp_path / "amass.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3), bias=np.zeros(3))
    with pytest.raises(ValueError, match="it holds bias, weights; known are"):
        read_any_npz(tmp_path / "other.npz")
    np.savez(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match="it holds nothing"):
        read_any_npz(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text(json.dumps({}))
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("text", "empty"):
        for read in (read_npz, read_any_npz):
            with pytest.raises(ValueError, match=rf"{name}\.npz: is .*damaged"):
                read(tmp_path / f"{name}.npz")


def test_an_npz_is_read_by_what_it_holds(tmp_path, motion, monkeypatch):
    smpl, mujoco = pytest.importorskip("kinema.formats.smpl"), pytest.importorskip("kinema.formats.mujoco")
    monkeypatch.setattr(smpl, "read_smpl", lambda path: "SMPL")
    monkeypatch.setattr(mujoco, "read_qpos", lambda path, robot: f"qpos of {robot}")
    write_npz(motion, tmp_path / "x.npz")
    assert len(read_any_npz(tmp_path / "x.npz")) == len(motion)
    np.savez(tmp_path / "x.npz", poses=np.zeros((3, 156)), trans=np.zeros((3, 3)))
    assert read_any_npz(tmp_path / "x.npz") == "SMPL"
    np.savez(tmp_path / "x.npz", qpos=np.zeros((3, 36)))
    assert read_any_npz(tmp_path / "x.npz", robot="g1.xml") == "qpos of g1.xml"
