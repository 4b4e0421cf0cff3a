"""A motion is finite, of unit rotations, and cannot be changed; the ground floor starts fast."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest

from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot
from kinema.motion.motion import MAX_FRAMES

REST = np.tile(rot.IDENTITY, (5, 22, 1))
ROOT = np.zeros((5, 3))


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[2, 1] = value
    return array


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"root_position": np.zeros((0, 3)), "rotations": REST[:0]}, "1 to"),
        ({"root_position": np.zeros((5, 2))}, "root_position"),
        ({"root_position": np.zeros(3)}, "root_position"),
        ({"rotations": REST[:4]}, "rotations"),
        ({"rotations": REST[:, :21]}, "rotations"),
        ({"rotations": np.zeros((5, 22, 3))}, "rotations"),
        ({"root_position": with_value(ROOT, np.nan)}, "finite"),
        ({"rotations": with_value(REST, np.inf)}, "finite"),
        ({"rotations": REST * 2}, "unit"),
        ({"rotations": REST * 0}, "unit"),
        ({"fps": 0}, "fps"),
        ({"fps": -30}, "fps"),
        ({"fps": np.nan}, "fps"),
        ({"fps": 1e9}, "fps"),
        ({"contacts": np.zeros((5, 21), bool)}, "contacts"),
    ],
)
def test_what_is_not_a_motion_is_refused(changes: dict[str, object], sentence: str) -> None:
    fields = {"skeleton": BODY, "fps": 30.0, "root_position": ROOT, "rotations": REST}
    with pytest.raises(ValueError, match=sentence):
        Motion(**{**fields, **changes})  # type: ignore[arg-type]


def test_too_many_frames_are_refused() -> None:
    root = np.broadcast_to(np.zeros(3), (MAX_FRAMES + 1, 3))
    with pytest.raises(ValueError, match=str(MAX_FRAMES)):
        Motion(BODY, 30, root, REST)


def test_nearly_unit_rotations_are_normalised() -> None:
    motion = Motion(BODY, 30, ROOT, REST * 1.005)
    np.testing.assert_allclose(np.linalg.norm(motion.rotations, axis=-1), 1, atol=1e-15)


def test_a_motion_cannot_be_changed(walk: Motion) -> None:
    for array in (walk.root_position, walk.rotations):
        with pytest.raises(ValueError):
            array[0] = 0
    with pytest.raises(TypeError):
        walk.metadata["source"] = "other"  # type: ignore[index]
    with pytest.raises(AttributeError):
        walk.fps = 60  # type: ignore[misc]


def test_a_motion_does_not_follow_the_arrays_it_was_made_from() -> None:
    root = ROOT.copy()
    motion = Motion(BODY, 30, root, REST, contacts=np.ones((5, 22), bool))
    root[:] = 7
    np.testing.assert_array_equal(motion.root_position, ROOT)


def test_nor_what_a_read_only_view_looks_at() -> None:
    rotations, root = REST.copy(), ROOT.copy()
    views = rotations[:], root[:]
    for view in views:
        view.flags.writeable = False
    motion = Motion(BODY, 30, views[1], views[0])
    rotations[0, 0], root[0] = (0, 1, 0, 0), (1, 2, 3)
    assert (motion.rotations[0, 0] == rot.IDENTITY).all()
    assert (motion.root_position[0] == 0).all()


def test_numbers_stay_bit_by_bit_when_a_motion_is_made_of_another(walk: Motion) -> None:
    again = Motion(BODY, 30, walk.root_position, np.array(walk.rotations))
    assert np.array_equal(again.rotations, walk.rotations)
    assert walk.replace(fps=25).rotations is walk.rotations  # long motions are large


def test_replace_drops_contacts_that_would_be_stale() -> None:
    motion = Motion(BODY, 30, ROOT, REST, contacts=np.ones((5, 22), bool), metadata={"source": "made"})
    assert motion.replace(fps=60).contacts is not None
    moved = motion.replace(root_position=ROOT + 1)
    assert moved.contacts is None
    assert moved.metadata == {"source": "made"}
    assert motion.replace(root_position=ROOT, contacts=np.zeros((5, 22), bool)).contacts is not None


def test_length() -> None:
    motion = Motion(BODY, 25, ROOT, REST)
    assert (len(motion), motion.seconds) == (5, 0.2)


def test_the_ground_floor_imports_nothing_heavy() -> None:
    code = (
        "import sys, kinema.motion, kinema.formats, kinema.motion.editing, kinema.motion.retarget\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded
    assert not {"torch", "scipy", "matplotlib", "transformers", "pyarrow", "accelerate"} & set(loaded)


def test_copies_are_equal_and_still_immutable(walk: Motion) -> None:
    copied = copy.deepcopy(walk.replace(metadata={"text": "walks"}))
    np.testing.assert_array_equal(copied.rotations, walk.rotations)
    assert copied.skeleton == walk.skeleton
    assert copied.metadata == {"text": "walks"}
    assert not copied.root_position.flags.writeable
