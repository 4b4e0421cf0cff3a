"""The package itself: its names are there without what they need being loaded before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kinema
import kinema.formats
import kinema.motion
import kinema.motion.retarget


def test_every_public_name_is_there() -> None:
    assert all(hasattr(kinema, name) for name in kinema.__all__)
    assert set(kinema.__all__) <= set(dir(kinema))
    assert (kinema.load, kinema.save) == (kinema.formats.load, kinema.formats.save)
    assert kinema.Motion is kinema.motion.Motion
    assert kinema.BODY is kinema.motion.BODY
    assert kinema.retarget is kinema.motion.retarget.retarget
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        kinema.laod  # noqa: B018


def test_importing_it_loads_next_to_nothing() -> None:
    code = "import sys, kinema; print('numpy' in sys.modules); from kinema import load; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["False", "False"]
