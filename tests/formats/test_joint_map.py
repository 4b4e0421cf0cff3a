"""Joint maps: what is written is read, and what is no joint map is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.formats.joint_map import read_joint_map, write_joint_map
from kinema.motion.skeleton import BODY_WITH_HANDS


def test_what_is_written_is_read(tmp_path: Path) -> None:
    joints = {name: f"骨 {name}" for name in reversed(BODY_WITH_HANDS.names)} | {"left_foot": ""}
    write_joint_map(joints, tmp_path / "match.json")
    found = read_joint_map(tmp_path / "match.json")
    assert found == joints
    assert tuple(found) == BODY_WITH_HANDS.names
    assert (tmp_path / "match.json").read_text(encoding="utf-8").count("\n") == 54  # a joint a line, to be edited


def test_null_is_none_and_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "match.json").write_text('\ufeff{"neck": null, "head": "Kopf"}', encoding="utf-8")
    assert read_joint_map(tmp_path / "match.json") == {"neck": "", "head": "Kopf"}


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "must hold names"),
        (b'"head"', "must hold names"),
        (b'{"Hips": "pelvis"}', "no joint 'Hips' to match; `kinema joints"),
        (b'{"head": 3}', "head must be the name"),
        (b'{"head": {"head": "head"}}', "head must be the name"),
        (b'{"head": "a", "neck": "c", "head": "b"}', "has 'head' twice"),
        (b'{"head": "' + b"a" * 5000 + b'"}', "head must be the name"),
        (b" " * 1_000_001, "is larger than 1 MB"),
    ],
)
def test_what_is_no_joint_map_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "match.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_joint_map(path)
    assert str(caught.value).startswith(f"{path}: ")
