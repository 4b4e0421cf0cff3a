from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from kinema.formats import blender


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's data folder with nothing in it, and no Blender anywhere."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home of a user"))
    monkeypatch.delenv("KINEMA_BLENDER_PYTHON", raising=False)
    monkeypatch.setattr(blender, "DISK_BYTES", 0)
    return tmp_path / "home of a user"


def wheel_of_bpy(folder: Path) -> None:
    """A package that only says that it is bpy."""
    information = "bpy-4.5.99.dist-info"
    with zipfile.ZipFile(folder / "bpy-4.5.99-py3-none-any.whl", "w") as wheel:
        wheel.writestr("bpy.py", "class app:\n    version_string = '4.5.99 of the test'\n")
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: bpy\nVersion: 4.5.99\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")


def needs_python() -> None:
    try:
        blender._find_python()
    except ValueError as error:
        pytest.skip(str(error))


def test_setup_makes_an_environment_that_is_found(kinema, home, place, monkeypatch):
    needs_python()
    wheel_of_bpy(place)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", place.as_uri())
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    assert kinema("fbx", "status").status == 2
    done = kinema("fbx", "setup")
    folder = blender.environment()
    assert (done.status, done.out.strip()) == (0, str(folder))
    assert home in folder.parents
    assert "0.9 GB" in done.err
    assert "GPL" in done.err
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]
    assert "4.5.99 of the test" in kinema("fbx", "status").out
    # what is there stays
    monkeypatch.setenv("PIP_FIND_LINKS", str(home / "nowhere"))
    again = kinema("fbx", "setup")
    assert (again.status, again.out.strip(), again.err) == (0, str(folder), "")


def test_interrupted_setup_leaves_nothing(home, tmp_path):
    needs_python()
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "kinema", "fbx", "setup"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        partial = next((home / "kinema").glob("*.partial"), None) if home.exists() else None
        while partial is None and process.poll() is None:
            time.sleep(0.01)
            partial = next((home / "kinema").glob("*.partial"), None) if home.exists() else None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.decode().splitlines()[-1] == "kinema: interrupted"
    assert list((home / "kinema").iterdir()) == []


def test_failed_setup_is_one_sentence_and_leaves_nothing(kinema, home, monkeypatch):
    monkeypatch.setattr(blender, "_find_python", lambda: [shutil.which("false")])
    failed = kinema("fbx", "setup")
    assert failed.status == 2
    assert "making an environment failed" in failed.err.splitlines()[-1]
    assert not list((home / "kinema").iterdir())


def test_setup_without_room_or_python_says_so(kinema, home, monkeypatch):
    monkeypatch.setattr(blender, "DISK_BYTES", 10**18)
    needs_python()
    assert "GB free" in kinema("fbx", "setup").err.splitlines()[-1]
    monkeypatch.setattr(blender, "PYTHON", (3, 4))
    monkeypatch.setenv("PATH", str(home))
    assert "needs Python 3.4" in kinema("fbx", "setup").err.splitlines()[-1]


def test_data_folder_of_each_system(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    monkeypatch.setenv("HOME", "/home/her")
    for system, folder in (
        ("linux", "/x/kinema"),
        ("win32", "/local/kinema"),
        ("darwin", "/home/her/Library/Application Support/kinema"),
    ):
        monkeypatch.setattr(sys, "platform", system)
        assert blender.data_folder() == Path(folder)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert blender.data_folder() == Path("/home/her/.local/share/kinema")


def test_without_blender_convert_says_how_to_get_it(kinema, home, place, monkeypatch):
    monkeypatch.setenv("PATH", str(home))
    failed = kinema("convert", "walk.bvh", "walk.fbx")
    assert failed.status == 2
    assert "kinema fbx setup" in failed.err
    assert sorted(entry.name for entry in place.iterdir()) == ["walk.bvh"]
