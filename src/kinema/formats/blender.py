"""Blender, a program of its own that turns FBX into GLB and back: where it is, how it is started, how it is set up.

It is PyPI's `bpy` in an environment that `setup` makes, as bpy pins a Python and a numpy that Kinema does not, or an
installed Blender. It runs as a subprocess only, which also keeps its licence (GPL) apart from Kinema's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from kinema.progress import spinner

VERSION = "4.5"
PYTHON = (3, 11)  # the one that bpy of this version is made for
DISK_BYTES = 2_500_000_000  # while it is being installed
TIMEOUT, TIMEOUT_PER_MB = 120.0, 20.0  # seconds; some 30 times of what a file takes on one free core
_SCRIPT = Path(__file__).with_name("inside_blender.py")
_HOW = "run `kinema fbx setup` once (0.9 GB), or install Blender so that `blender` is on PATH"


def data_folder() -> Path:
    """Where this user's programs keep their data: by XDG_DATA_HOME, LOCALAPPDATA or the system's custom."""
    home = Path.home()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or home / ".local" / "share"
    return Path(base) / "kinema"


def environment() -> Path:
    """The folder of the environment that `setup` makes, there or not."""
    return data_folder() / f"blender-{VERSION}"


def find() -> list[str]:
    """The beginning of a command that runs a script in Blender; the script's own argument follows.

    Looked for in this order: KINEMA_BLENDER_PYTHON (a Python that has bpy), the environment that `setup` makes,
    `blender` on PATH.

    Raises:
        ValueError: none is there; it says how to get one.
    """
    named = os.environ.get("KINEMA_BLENDER_PYTHON")
    if named:
        if not shutil.which(named):
            raise ValueError(f"KINEMA_BLENDER_PYTHON is {named}, which is no program; {_HOW}")
        return _script_in_python(named)
    python = _python_of(environment())
    if python.exists():
        return _script_in_python(str(python))
    installed = shutil.which("blender")
    if installed:
        options = ("--background", "--factory-startup", "--python-exit-code", "1")
        return [installed, *options, "--python", str(_SCRIPT), "--"]
    raise ValueError(f"FBX is read and written by Blender, which is not here: {_HOW}")


def _script_in_python(python: str) -> list[str]:
    return [python, "-I", "-X", "utf8", str(_SCRIPT)]


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def convert(source: Path, target: Path, path: Path, **options: Any) -> dict[str, Any]:
    """Let Blender read `source` (.fbx or .glb) and write `target` (.glb or .fbx); see inside_blender.py for `options`.

    Blender starts with its factory settings and sees no preferences, add-ons or start-up files of the user.

    Args:
        source, target: files.
        path: the one of them that the user knows of, for messages.

    Returns:
        What the script reports: `fps`, `frames`.

    Raises:
        ValueError: there is no Blender, or it cannot do this; one sentence.
    """
    command = find()
    with tempfile.TemporaryDirectory(prefix="kinema-blender-") as name:
        folder = Path(name)
        job, result, log = folder / "job.json", folder / "result.json", folder / "log.txt"
        paths = {"source": source, "target": target, "result": result}
        job.write_text(json.dumps({key: str(path.absolute()) for key, path in paths.items()} | options))
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("BLENDER_", "PYTHON"))}
        variables["BLENDER_USER_RESOURCES"] = str(folder / "user")
        variables["MALLOC_ARENA_MAX"] = "2"  # a thread's own 64 MB would count towards the limit of memory
        timeout = TIMEOUT + TIMEOUT_PER_MB * source.stat().st_size / 1e6
        with log.open("wb") as said, spinner(f"Blender works on {path.name}"):
            status = _run([*command, str(job)], said, variables, timeout)
        if status is None:
            raise ValueError(f"{path}: Blender was still at work after {timeout:.0f} s and was stopped")
        try:
            report = json.loads(result.read_bytes())
        except (OSError, ValueError):
            reason = f"by signal {-status}" if status < 0 else f"with status {status}"
            raise ValueError(f"{path}: Blender stopped {reason}{_last_words(log)}") from None
    if "error" in report:
        raise ValueError(f"{path}: Blender cannot convert it, it may be damaged: {report['error']}")
    return report


def _run(command: Sequence[str], said: BinaryIO | int, variables: dict[str, str], timeout: float | None) -> int | None:
    """The exit status of a program, None if it took too long; neither it nor what it started outlives this function."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.STDOUT,
        env=variables,
        # a group of its own: Ctrl-C reaches it from here alone, and all of it
        start_new_session=True,
    ) as process:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()


def _last_words(log: Path) -> str:
    lines = log.read_bytes()[-4000:].decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1].strip()[:300]}" if lines else ""


def version(command: Sequence[str]) -> str:
    """What `find` found says of its version.

    Raises:
        ValueError: it does not start.
    """
    if str(_SCRIPT) in command and "-I" in command:
        return _ask([command[0], "-I", "-c", "import bpy; print(bpy.app.version_string)"])
    return _ask([command[0], "--version"]).removeprefix("Blender ")


def _ask(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{command[0]} does not start: {error}") from None
    lines = (done.stderr if done.returncode else done.stdout).decode("utf-8", "replace").strip().splitlines()
    if done.returncode or not lines:
        raise ValueError(f"{command[0]} does not start: {lines[-1] if lines else 'it says nothing'}")
    return lines[0] if not done.returncode else lines[-1]


def setup() -> Path:
    """Make the environment with bpy in this user's data folder, with pip's own progress on stderr.

    It is made under another name and renamed when it works, so that an interrupted set-up leaves nothing.

    Returns:
        Its folder; one that is there is kept.

    Raises:
        ValueError: there is no Python 3.11, too little room, or pip fails; one sentence.
        OSError: the folder cannot be made.
    """
    folder = environment()
    if _python_of(folder).exists():
        return folder
    python = _find_python()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder.parent).free) < DISK_BYTES:
        raise ValueError(f"{folder.parent}: has {free / 1e9:.1f} GB free, but installing takes {DISK_BYTES / 1e9:.1f}")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a set-up that was killed
    try:
        _install([*python, "-m", "venv", str(partial)], "making an environment")
        pip = [str(_python_of(partial)), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        _install([*pip, "--only-binary", ":all:", f"bpy=={VERSION}.*"], "installing bpy")
        version(_script_in_python(str(_python_of(partial))))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _install(command: Sequence[str], doing: str) -> None:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    status = _run(command, 2, variables, None)  # 2 is stderr, as stdout is for what a command makes
    if status:
        raise ValueError(f"{doing} failed, see above ({Path(command[0]).name} ended with status {status})")


def _find_python() -> list[str]:
    """A command that starts the Python that bpy needs."""
    wanted = ".".join(map(str, PYTHON))
    if sys.version_info[:2] == PYTHON:
        return [sys.executable]
    commands = [["py", f"-{wanted}"]] if sys.platform == "win32" else []
    for name, *options in [*commands, [f"python{wanted}"]]:
        if (program := shutil.which(name)) is None:
            continue
        with contextlib.suppress(ValueError):  # a shim of pyenv is there even if no Python is behind it
            if _ask([program, *options, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]) == wanted:
                return [program, *options]
    raise ValueError(f"bpy {VERSION} needs Python {wanted}; install it so that python{wanted} is on PATH, or Blender")
