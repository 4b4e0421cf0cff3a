"""What the source must not do: run what a file says, or look upwards in the house."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "kinema"
FILES = sorted(SOURCE.rglob("*.py"))

# the rooms of the house, from the ground up; a room imports itself and those before it
ROOMS = ("motion", "formats", "features", "corpora", "conditions", "nn", "models", "training", "evaluation", "physics",
         "agents", "server", "cli")  # fmt: skip
UPWARDS = {
    ("motion/motion.py", "formats"),  # Motion.save, for the user's sake; imported when it is called
}

BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_METHODS = {"torch.load", "torch.save", "torch.hub.load", "os.system", "os.popen", "numpy.loads"}
ALIASES = {"np": "numpy"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression that is names and dots, else the last name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "?")
    first, *rest = reversed(parts)
    return ".".join([ALIASES.get(first, first), *rest])


def faults(tree: ast.AST) -> Iterator[str]:
    """What is dangerous in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in BANNED_MODULES)
            if isinstance(node, ast.ImportFrom):
                found = (f"{node.module}.{alias.name}" for alias in node.names)
                yield from (f"imports {name}" for name in found if name in BANNED_METHODS)
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            options = {option.arg: option.value for option in node.keywords}
            if name in BANNED_CALLS or name in BANNED_METHODS or name.split(".")[0] in BANNED_MODULES:
                yield f"calls {name}"
            if name in ("numpy.load", "numpy.lib.format.read_array"):
                allowed = options.get("allow_pickle")
                if not (isinstance(allowed, ast.Constant) and allowed.value is False):
                    yield f"calls {name} without allow_pickle=False"
            shell = options.get("shell")
            if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
                yield f"calls {name} with a shell"
            trusted = options.get("trust_remote_code")
            if trusted is not None and not (isinstance(trusted, ast.Constant) and trusted.value is False):
                yield f"calls {name} with trust_remote_code"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_runs_what_a_file_says(path: Path) -> None:
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import numpy as np\nnp.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "eval(text)",
        "exec(text)",
        "yaml.safe_load(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=trusted)",
    ],
)
def test_the_check_finds_what_it_looks_for(code: str) -> None:
    assert list(faults(ast.parse(code)))


def test_the_check_lets_pass_what_is_safe() -> None:
    code = "np.load(path, allow_pickle=False)\njson.loads(text)\nmodel.eval()\nre.compile('x')\nload_file(path)"
    assert list(faults(ast.parse(code))) == []


def imported_rooms(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names |= {f"kinema.{alias.name}" for alias in node.names} if module == "kinema" else {module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if re.match(r"kinema\.", name)} & set(ROOMS)


@pytest.mark.parametrize("room", [room for room in ROOMS if (SOURCE / room).is_dir()])
def test_imports_run_downwards(room: str) -> None:
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    found = {
        (path.relative_to(SOURCE).as_posix(), other)
        for path in (SOURCE / room).rglob("*.py")
        for other in imported_rooms(ast.parse(path.read_text(encoding="utf-8"))) & above
    }
    assert found - UPWARDS == set()


def test_every_folder_is_a_room() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"} <= set(ROOMS)
