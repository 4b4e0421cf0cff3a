from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from kinema.corpora import Corpus
from kinema.corpora import build as building
from kinema.corpora.build import build
from kinema.formats.bvh import write_bvh
from kinema.motion.editing import ground

LICENCE = {"licence": "CC0", "source": "constructed"}


def small(folder: Path, motion, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        write_bvh(motion.replace(root_position=motion.root_position * (1, 1, 1 + 0.2 * i)), folder / f"walk_{i}.bvh")
    rows = [{"motion": f"walk_{i}.bvh", "text": f"walks {i}"} for i in range(count)]
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_what_is_broken_is_rejected_with_its_reason(built) -> None:
    reasons = {Path(row.motion).stem: (row.reason, row.detail) for row in built.report.rejected}
    assert {name: reason for name, (reason, _) in reasons.items()} == {
        "static": "static",
        "short": "too short",
        "silent": "no captions",
        "late": "no captions",
        "jump": "jump",
        "flip": "jump",
        "far": "implausible",
        "unnamed": "joints cannot be named",
        "garbage": "unreadable",
        "empty": "unreadable",
        "half": "unreadable",
        "nan": "unreadable",
    }
    assert all(detail for _, detail in reasons.values())
    assert "1.33 s" in reasons["jump"][1]
    assert Corpus.open(built.folder).rejected() == [row.__dict__ for row in built.report.rejected]


def test_the_report_says_what_happened(built) -> None:
    corpus = Corpus.open(built.folder)
    report = built.report
    assert (report.clips, report.frames) == (12, sum(clip.frames for clip in corpus.clips))
    assert report.captions == sum(len(clip.captions) for clip in corpus.clips) == 14
    assert report.splits == {split: len(corpus.select(split)) for split in report.splits}
    assert sum(report.splits.values()) == 12
    assert report.outside == 2
    assert [Path(path).name for path in report.unknown] == ["absent.bvh"]
    assert sorted(report.joined) == [["walk_000", "two/walk_000"], ["walk_001", "twin"]]


def test_the_store_holds_the_motions_that_were_read(built) -> None:
    corpus = Corpus.open(built.folder)
    clips = {clip.name: clip for clip in corpus.clips}
    for name, motion in built.motions.items():
        stored = corpus.motion(clips[name])
        expected = ground(motion).joint_positions()
        assert stored.fps == 30
        assert len(stored) == len(motion) == clips[name].frames
        # 0.1 mm, of the six digits of the BVH file and of float32
        assert np.abs(stored.joint_positions() - expected).max() < 1e-4
    assert clips["fast_12"].frames == 45


def test_clips_carry_names_labels_captions_and_terms(built) -> None:
    clips = {clip.name: clip for clip in Corpus.open(built.folder).clips}
    assert clips["walk_003"].label == "walk"
    assert clips["two/walk_000"].label == "walk"
    assert clips["fast_12"].label == "fast"
    struts = clips["x_9"]
    assert struts.label == "Strut"
    assert [(c.text, c.start, c.end, c.source) for c in struts.captions] == [
        ("Strut", 0, struts.frames, "cmu_index"),
        ("a person struts.", 15, 30, "me"),
        ("to the end.", 30, struts.frames, "me"),
    ]
    assert {(clip.licence, clip.source) for clip in clips.values()} == {("CC0", "constructed")}


def test_one_recording_under_two_names_is_one_take_and_in_one_split(built) -> None:
    clips = {clip.name: clip for clip in Corpus.open(built.folder).clips}
    assert clips["walk_000"].take == clips["two/walk_000"].take
    assert clips["twin"].take == clips["walk_001"].take
    splits: dict[str, set[str]] = {}
    for clip in clips.values():
        splits.setdefault(clip.take, set()).add(clip.split)
    assert all(len(parts) == 1 for parts in splits.values())
    assert {name for name, clip in clips.items() if clip.split == "compositional"} == {"walk_004", "walk_005"}


def test_several_processes_make_the_same_corpus_as_one(tmp_path, walk) -> None:
    source = small(tmp_path / "in", walk, count=26)
    (source / "walk_3.bvh").write_text("broken")
    reports = [build([source], tmp_path / f"out{n}", workers=n, **LICENCE) for n in (1, 2)]
    assert reports[0].rejected == reports[1].rejected
    hashes = [Corpus.open(report.folder).info["sha256"] for report in reports]
    assert hashes[0] == hashes[1]


def test_one_captions_file_serves_all_folders_and_names_come_from_paths(tmp_path, walk) -> None:
    small(tmp_path / "in" / "a", walk)
    small(tmp_path / "in" / "b", walk.replace(root_position=walk.root_position * (1, 1, 0.4)))
    rows = [{"motion": f"in/{folder}/walk_{i}.bvh", "text": "walks"} for folder in "ab" for i in range(2)]
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build([tmp_path / "in"], tmp_path / "out", path, **LICENCE)
    corpus = Corpus.open(tmp_path / "out")
    assert [clip.name for clip in corpus.clips] == ["a/walk_0", "a/walk_1", "b/walk_0", "b/walk_1"]
    assert len({clip.take for clip in corpus.clips}) == 4  # names in subfolders are no sign of one recording


def test_captions_find_their_motions_through_linked_folders(tmp_path, walk) -> None:
    source = small(tmp_path / "disk" / "in", walk)
    (tmp_path / "link").symlink_to("disk")
    for folder, captions in ((source, tmp_path / "link/in/captions.jsonl"), (tmp_path / "link/in", None)):
        assert build([folder], tmp_path / "out", captions, **LICENCE).clips == 2
    (tmp_path / "corpora").symlink_to("disk")
    build([source], tmp_path / "corpora" / "out", **LICENCE)
    assert len(Corpus.open(tmp_path / "disk" / "out")) == 2


def test_a_file_whose_name_is_no_text_is_rejected_like_any_other(tmp_path, walk) -> None:
    source = small(tmp_path / "in", walk)
    (source / "caf\udce9.bvh").write_text("broken")
    report = build([source], tmp_path / "out", **LICENCE)
    assert [row.reason for row in report.rejected] == ["no captions"]
    assert len(Corpus.open(tmp_path / "out").rejected()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_build_leaves_nothing_and_keeps_the_corpus_that_was_there(
    tmp_path, walk, monkeypatch, error
) -> None:
    source = small(tmp_path / "in", walk, count=3)
    build([source], tmp_path / "old" / "out", **LICENCE)
    before = Corpus.open(tmp_path / "old" / "out").info
    real, calls = building._prepare, []

    def interrupted(path: Path):
        calls.append(path)
        if len(calls) == 2:
            raise error
        return real(path)

    monkeypatch.setattr(building, "_prepare", interrupted)
    for folder in ("new", "old"):
        calls.clear()
        with pytest.raises((KeyboardInterrupt, OSError)):
            build([source], tmp_path / folder / "out", **LICENCE)
    assert list((tmp_path / "new").iterdir()) == []
    assert os.listdir(tmp_path / "old") == ["out"]
    assert Corpus.open(tmp_path / "old" / "out").info == before


def test_a_corpus_is_replaced_whole(tmp_path, walk) -> None:
    source = small(tmp_path / "in", walk, count=3)
    (tmp_path / "out").mkdir()  # an empty folder is no obstacle
    build([source], tmp_path / "out", **LICENCE)
    (source / "walk_2.bvh").unlink()
    report = build([source], tmp_path / "out", **LICENCE)
    assert len(Corpus.open(tmp_path / "out")) == 2
    assert [Path(path).name for path in report.unknown] == ["walk_2.bvh"]
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_bad_input_is_one_clear_sentence_and_leaves_nothing(tmp_path, walk) -> None:
    source = small(tmp_path / "in", walk)
    out = tmp_path / "out"

    def refused(match: str, folders: list[Path], *arguments, where: Path = out, **options) -> None:
        with pytest.raises(ValueError, match=match):
            build(folders, where, *arguments, **{**LICENCE, **options})

    captions = (source / "captions.jsonl").read_text()
    refused("at least one folder", [])
    refused("is not a folder", [tmp_path / "absent"])
    refused("needs the licence", [source], licence=" ")
    refused("at least 1", [source], workers=0)
    refused("no clip has such a name", [source], hold_out=["run*"])
    refused("not a corpus", [source], where=source)
    refused("not a corpus", [source], where=source / "captions.jsonl")
    refused("no captions: .*absent.jsonl does not exist", [source], tmp_path / "absent.jsonl")
    (source / "captions.jsonl").write_text("\n")
    refused("no captions in", [source])
    (source / "captions.jsonl").write_text('{"motion": "other.bvh", "text": "x"}\n')
    refused("no captions: none of the 2", [source])
    (source / "captions.jsonl").write_text(captions + "oops\n")
    refused("line 3", [source])
    names = '{"motion": "walk_0.bvh", "clip": "a", "text": "x"}\n{"motion": "walk_0.bvh", "clip": "b", "text": "x"}\n'
    (source / "captions.jsonl").write_text(names)
    refused("several clip names", [source])
    (source / "captions.jsonl").unlink()
    refused("captions.jsonl does not exist", [source])
    (source / "captions.jsonl").write_text(captions)
    for path in source.glob("*.bvh"):
        path.write_text("broken")
    refused(r"none of the 2 motion files can be used: unreadable \(2\)", [source])
    for path in source.glob("*.bvh"):
        path.unlink()
    refused("no motion files", [source])
    assert sorted(os.listdir(tmp_path)) == ["in"]


def test_the_known_broken_clips_of_cmu_are_rejected_and_twins_joined(tmp_path, data_dir, monkeypatch) -> None:
    """As the notes of the data say: six Daz clips jump, 135_08 is a static pose, 14_31 and 14_36 are one recording."""
    monkeypatch.syspath_prepend(data_dir / "tools")
    from expand import write_bvh as expand
    from load_motion import load_shard

    jumping = {"94_04", "94_07", "60_09", "60_10", "60_11", "60_13"}
    rows = []
    for shard, names in (
        ("cmu_motions.npz", {"14_31", "14_36", "135_08", "07_01"}),
        ("cmu_daz_motions.npz", jumping | {"61_10", "10_01"}),
    ):
        motions = load_shard(data_dir / "cmu" / shard)
        for name in names:
            expand(tmp_path / f"{name}.bvh", motions[name])
            rows.append({"motion": f"{name}.bvh", "text": "moves"})
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = build([tmp_path], tmp_path / "out", **LICENCE)
    reasons = {Path(row.motion).stem: row.reason for row in report.rejected}
    assert reasons == {**dict.fromkeys(jumping, "jump"), "135_08": "static"}
    assert report.joined == [["14_31", "14_36"]]
    walking = next(clip for clip in Corpus.open(report.folder).clips if clip.name == "07_01")
    path = Corpus.open(report.folder).motion(walking).root_position
    assert np.linalg.norm(path[-1] - path[0]) == pytest.approx(3.55, rel=0.1)  # scaled to the legs of BODY
