"""The command line. Each command is a module here, imported only when it is asked for, so that small ones start fast.

A command module has `Command`: a dataclass (or a union of them, for commands of two words) that tyro fills from the
arguments, with a method `run`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

COMMANDS = {
    "generate": "make motion from sentences",
    "continue": "make what comes after a motion file",
    "fill": "make what lies between two motion files",
    "describe": "say in a sentence what happens in a motion file",
    "convert": "turn motion files into another format",
    "retarget": "put a motion onto another skeleton, character or robot",
    "joints": "which joint of a file is which, and how that was told",
    "edit": "resample, crop, mirror, join, loop, smooth, lock feet, ...",
    "encode": "turn a motion file into motion tokens",
    "decode": "turn motion tokens into a motion file",
    "info": "what a motion file or a model is, and its licence",
    "show": "look at motion files: a page that plays them, or a picture",
    "corpus": "build a corpus of captioned motions, or describe one",
    "train": "train a model on corpora of your own",
    "evaluate": "measure a model beside real motion",
    "bench": "studies: how a model grows with its size and its data",
    "fbx": "set up the Blender that reads and writes .fbx",
    "systems": "the systems of Kinema, and which of them work",
}
BAD_INPUT = 2
BAD_INPUT_ERRORS = (ValueError, OSError, MemoryError, RecursionError)  # anything else is a bug of ours
_OVERVIEW = """usage: kinema COMMAND ...

3D characters that move by themselves.

commands:
{commands}

`kinema COMMAND --help` tells more. A first try:

  kinema generate "a person walks forward and waves" -o out/wave.glb
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, 2 for bad input, 130 when interrupted, 1 for a bug of ours.

    Whatever goes wrong is one sentence on stderr; with KINEMA_DEBUG=1 it is the traceback.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)  # so that temporary files go, as they do for Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
        return status
    except BaseException as error:
        if isinstance(error, SystemExit) or os.environ.get("KINEMA_DEBUG"):
            raise
        return _report(error)


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        commands = "\n".join(f"  {command:<10}{what}" for command, what in COMMANDS.items())
        print(_OVERVIEW.format(commands=commands))
        return 0
    if name == "--version":
        from kinema import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
        raise ValueError(f"there is no command {name!r}; {hint}")
    command = _parse(name, arguments[1:])
    if isinstance(command, int):
        return command
    command.run()
    return 0


def _parse(name: str, arguments: list[str]) -> Any:
    """The command with its options filled in; the exit status if that was all (--help)."""
    import tyro

    kind = import_module(f"kinema.cli.{name}").Command
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=f"kinema {name}", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if not stop.code:
            return 0
        raise ValueError(f"{_first_sentence(said.getvalue())} (see `kinema {name} --help`)") from None


def _first_sentence(box: str) -> str:
    """What is wrong, out of the framed text that tyro prints: a sentence, perhaps options indented below it."""
    sentence, options = "", []
    for line in box.splitlines()[1:]:
        text = line.strip("│╭╮╰╯").rstrip()
        words = text.strip()
        if re.fullmatch("[─-]*", words):  # drawn with - where the terminal has no lines
            if sentence:
                break
            continue
        indent = len(text) - len(text.lstrip())
        if indent < 4:
            sentence = f"{sentence} {words}".strip()
        elif indent < 8:  # deeper is the help of the option
            options.append(words)
    sentence = f"{sentence} {'; '.join(options)}".strip().rstrip(".")
    return sentence[:1].lower() + sentence[1:] if sentence else "the arguments cannot be read"


def sentence_of(error: BaseException) -> str:
    """What one of `BAD_INPUT_ERRORS` says to the user."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; ask for less at once"
    if isinstance(error, RecursionError):
        return "the input is nested too deeply to be read"
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror[:1].lower()}{error.strerror[1:]}"
    return str(error)


def printable(text: str) -> str:
    """A text of unknown origin, without what would move the cursor or break the line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def complain(sentence: str) -> None:
    """One line on stderr."""
    line = " ".join(printable(sentence).split())
    with contextlib.suppress(OSError):
        print(f"kinema: {line if len(line) <= 600 else line[:597] + '...'}", file=sys.stderr)


def _report(error: BaseException) -> int:
    """Say what went wrong in one line; the exit status."""
    status = BAD_INPUT
    if isinstance(error, KeyboardInterrupt):
        sentence, status = "interrupted", 130
    elif isinstance(error, BrokenPipeError):
        sentence, status = "", 141  # as of a program that SIGPIPE ended: the reader has what it wanted
    elif isinstance(error, BAD_INPUT_ERRORS):
        sentence = sentence_of(error)
    else:
        status = 1
        sentence = f"this is a bug ({type(error).__name__}: {error}); KINEMA_DEBUG=1 shows where, please report it"
    try:
        sys.stdout.flush()
    except OSError:
        # what is left in the buffer would fail once more when Python exits, with a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if sentence:
        complain(sentence)
    return status


def _terminate(number: int, frame: Any) -> None:
    sys.exit(128 + number)
