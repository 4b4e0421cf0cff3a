"""The documents say what is so: their examples run, and their tables agree with the code.

Blocks of bash or python behind the line <!-- test --> run in a folder that holds walk.bvh, one after the other for each
document, without the lines that install.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinema.formats import READERS, WRITERS
from kinema.motion import BODY

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^<!-- test -->\n+```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INSTALLING = re.compile(r"\s*(git clone|cd |make |pip |python3? -m (venv|pip)|source )")
DOCUMENTS = {
    str(path.relative_to(ROOT)): BLOCK.findall(path.read_text(encoding="utf-8"))
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
}


@pytest.mark.parametrize("document", [name for name, blocks in DOCUMENTS.items() if blocks])
def test_examples_run(document, place, weights):
    shipped = ROOT / "weights"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "KINEMA_WEIGHTS": str(shipped if (shipped / "fracmogen").is_dir() else weights),
    }
    for language, text in DOCUMENTS[document]:
        lines = "".join(line for line in text.splitlines(keepends=True) if not INSTALLING.match(line))
        command = ["bash", "-euo", "pipefail", "-c", lines] if language == "bash" else [sys.executable, "-c", lines]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{document}: {text}\n{done.stderr}"


def test_the_table_of_body_is_body():
    rows = re.findall(
        r"^\| (\d+) \| (\w+) \| (\w*) \| ([^|]+) \| ([^|]*) \|$", (ROOT / "docs/motion.md").read_text(), re.M
    )
    assert len(rows) == len(BODY)
    for joint, (number, name, parent, offset, tip) in enumerate(rows):
        above = BODY.parents[joint]
        assert (int(number), name, parent) == (joint, BODY.names[joint], BODY.names[above] if above >= 0 else "")
        np.testing.assert_allclose([float(value) for value in offset.split()], BODY.offsets[joint])
        if tip.strip() or BODY.tips[joint].any():
            np.testing.assert_allclose([float(value) for value in tip.split()], BODY.tips[joint])


def test_the_table_of_formats_is_what_is_read_and_written():
    table = (ROOT / "docs/formats.md").read_text()
    rows = re.findall(r"^\|([^|]*`\.[^|]*)\|[^|]*\|([^|]*)\|([^|]*)\|", table, re.MULTILINE)
    read, written = set(), set()
    for endings, reads, writes in rows:
        listed = re.findall(r"`(\.[\w.]+)`", endings)
        read |= set(listed) if reads.strip() == "yes" else set(re.findall(r"`(\.[\w.]+)`", reads))
        written |= set(listed) if writes.strip() == "yes" else set(re.findall(r"`(\.[\w.]+)`", writes))
    assert {ending for ending in read if ending.count(".") == 1} - {".asf"} == set(READERS)
    assert written == set(WRITERS)
