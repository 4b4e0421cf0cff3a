"""Whole folders of motion files, and the options that only some formats have a use for."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinema import load
from kinema.cli.convert import Convert
from kinema.motion import Motion


@pytest.fixture
def mocap(place: Path, walk: Motion) -> Path:
    """Motion files of several formats in sub-folders, among files that are no motion."""
    folder = place / "mocap"
    for name in ("walk.bvh", "deep/er/run.npz", "deep/jump.BVH", ".trash/old.bvh", "deep/.hidden.bvh"):
        walk.save(folder / name)
    (folder / "02.asf").write_text("skeleton")
    (folder / "captions.jsonl").write_text("{}")
    return folder


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ending", [".glb", "glb", ".smplh.npz"])
def test_a_folder_keeps_its_shape(ending, kinema, mocap, place):
    if ending == ".smplh.npz":
        pytest.importorskip("kinema.formats.smpl")
    outcome = kinema("convert", "mocap", "new/out", "--to", ending)
    assert (outcome.status, outcome.out, outcome.err) == (0, "new/out: 3 converted\n", "")
    name = "." + ending.lstrip(".")
    assert written(place / "new/out") == {f"walk{name}", f"deep/er/run{name}", f"deep/jump{name}"}


def test_a_bad_file_does_not_stop_the_others(kinema, mocap, place):
    (mocap / "deep" / "broken\x1b[31m.bvh").write_text("nonsense")
    (mocap / "a.npz").write_bytes(b"PK")
    (mocap / "secret.bvh").mkdir()  # a folder with the name of a file
    outcome = kinema("convert", "mocap", "out", "--to", ".npz", "--fps", "15", "--unit", "cm")
    assert (outcome.status, outcome.out) == (2, "")
    lines = outcome.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("kinema: mocap/a.npz")
    assert lines[1].startswith("kinema: mocap/deep/broken")
    assert lines[2] == "kinema: 3 converted, 2 refused"
    assert "\x1b" not in outcome.err
    assert written(place / "out") == {"walk.npz", "deep/er/run.npz", "deep/jump.npz"}
    assert load(place / "out/walk.npz").fps == 15


def test_what_is_there_is_replaced(kinema, mocap, place, walk):
    (place / "out").mkdir()
    (place / "out" / "walk.npz").write_text("old")
    (place / "out" / "mine.txt").write_text("mine")
    assert kinema("convert", "mocap", "out", "--to", ".npz").status == 0
    np.testing.assert_allclose(load(place / "out/walk.npz").root_position, walk.root_position, atol=1e-5)
    assert (place / "out" / "mine.txt").read_text() == "mine"


def test_names_that_would_clash_are_refused_before_anything_is_written(kinema, mocap, place):
    shutil.copy(mocap / "deep/er/run.npz", mocap / "walk.npz")
    outcome = kinema("convert", "mocap", "out", "--to", ".glb")
    assert outcome.status == 2
    assert re.search(r"mocap/walk\.bvh and mocap/walk\.npz would both become out/walk\.glb", outcome.err)
    assert not (place / "out").exists()


def test_files_that_are_read_are_never_overwritten(kinema, mocap):
    before = {path: path.read_bytes() for path in mocap.rglob("*") if path.is_file()}
    outcome = kinema("convert", "mocap", "mocap", "--to", ".bvh")
    assert outcome.status == 2
    assert "among the files to read" in outcome.err
    assert {path: path.read_bytes() for path in mocap.rglob("*") if path.is_file()} == before
    shutil.copytree(mocap / "deep", mocap / "deep" / "deep")  # deep/deep/jump.BVH would become deep/jump.BVH
    assert "among the files to read" in kinema("convert", "mocap/deep", "mocap", "--to", ".BVH").err


def test_the_new_files_may_lie_within_the_folder(kinema, mocap):
    for _ in range(2):  # the second time they are there
        outcome = kinema("convert", "mocap", "mocap/out", "--to", ".bvh")
        assert (outcome.status, outcome.out) == (0, "mocap/out: 3 converted\n")
    assert written(mocap / "out") == {"walk.bvh", "deep/er/run.bvh", "deep/jump.bvh"}
    assert kinema("convert", "mocap/deep", "mocap/deep", "--to", ".html").status == 0  # beside those that are read
    assert (mocap / "deep/er/run.html").exists()


def test_options_reach_the_files_that_have_a_use_for_them(kinema, mocap, place, walk):
    assert kinema("convert", "mocap", "out", "--to", ".npz", "--unit", "in").status == 0
    ratio = load(place / "out/walk.npz").root_position[0, 1] / walk.root_position[0, 1]
    assert ratio == pytest.approx(2.54, abs=1e-4)
    same = load(place / "out/deep/er/run.npz").root_position
    np.testing.assert_allclose(same, walk.root_position)


def test_a_disk_that_cannot_be_written_ends_it_at_once(kinema, mocap, place, monkeypatch):
    tried = []

    def fail(motion, path, **_):
        tried.append(path)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("kinema.cli.files.save", fail)
    outcome = kinema("convert", "mocap", "out", "--to", ".glb")
    assert (outcome.status, len(tried)) == (2, 1)
    assert "no space left" in outcome.err


def test_a_motion_that_the_format_cannot_hold_is_refused_alone(kinema, mocap, monkeypatch):
    from kinema.cli import files

    save = files.save

    def fussy(motion, path, **options):
        if path.name == "jump.glb":
            raise ValueError("this motion is too much")
        save(motion, path, **options)

    monkeypatch.setattr(files, "save", fussy)
    outcome = kinema("convert", "mocap", "out", "--to", ".glb")
    assert outcome.err == "kinema: mocap/deep/jump.BVH: this motion is too much\nkinema: 2 converted, 1 refused\n"


def test_an_interruption_leaves_whole_files(kinema, mocap, place, monkeypatch):
    done = []
    whole = Convert._motion

    def interrupting(self, source):
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        done.append(source)
        return whole(self, source)

    monkeypatch.setattr(Convert, "_motion", interrupting)
    outcome = kinema("convert", "mocap", "out", "--to", ".npz")
    assert (outcome.status, outcome.err) == (130, "kinema: interrupted\n")
    files = [path for path in (place / "out").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(len(load(path)) == 90 for path in files)


def test_a_terminal_shows_progress_with_the_time_left(mocap):
    script = (
        "from kinema.cli import main; import sys; sys.exit(main(['convert', 'mocap/deep/er', 'out', '--to', '.gif']))"
    )
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stderr=child, stdout=subprocess.PIPE, env=environment)
    os.close(child)
    screen = b""
    while True:
        try:
            screen += os.read(parent, 4096)
        except OSError:  # the other end is closed
            break
    os.close(parent)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert out.decode() == "out: 1 converted\n"
    assert "drawing" in screen.decode()  # within the other bar
    assert re.search(r"/1.*\d:\d\d", screen.decode())
