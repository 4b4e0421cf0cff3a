"""A skeleton is a tree in metres or it is refused; BODY is what its description says."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from kinema.motion import BODY, Skeleton
from kinema.motion.skeleton import MAX_JOINTS


def chain(**changes: object) -> Skeleton:
    fields = {"names": ("a", "b", "c"), "parents": (-1, 0, 1), "offsets": np.array([[0, 0, 0], [0, 1, 0], [0, 1, 0.0]])}
    return Skeleton(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"parents": (-1, 2, 1)}, "every parent"),  # a cycle
        ({"parents": (-1, 1, 0)}, "every parent"),  # its own parent
        ({"parents": (-1, -1, 0)}, "every parent"),  # two roots
        ({"parents": (-1, 0, 7)}, "every parent"),
        ({"parents": (0, 0, 1)}, "-1 for the first"),
        ({"parents": (-1, 0)}, "one parent per joint"),
        ({"names": ("a", "b", "b")}, "unique"),
        ({"names": ("a", "b")}, "shape"),
        ({"offsets": np.zeros((3, 2))}, "shape"),
        ({"offsets": np.array([[0, 0, 0], [0, np.nan, 0], [0, 1, 0]])}, "finite"),
        ({"offsets": np.array([[0, 0, 0], [0, np.inf, 0], [0, 1, 0]])}, "finite"),
        ({"offsets": np.ones((3, 3))}, "root"),
        ({"tips": np.zeros((2, 3))}, "shape"),
        ({"names": (), "parents": (), "offsets": np.zeros((0, 3))}, "1 to"),
    ],
)
def test_what_is_not_a_skeleton_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        chain(**changes)


def test_too_many_joints_are_refused() -> None:
    count = MAX_JOINTS + 1
    with pytest.raises(ValueError, match=str(MAX_JOINTS)):
        Skeleton(tuple(map(str, range(count))), tuple(range(-1, count - 1)), np.zeros((count, 3)))


def test_arrays_are_copies_and_read_only() -> None:
    offsets = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 0.0]])
    skeleton = chain(offsets=offsets)
    offsets[1] = 5
    assert skeleton.offsets[1, 1] == 1
    for array in (skeleton.offsets, skeleton.rest_positions, copy.deepcopy(skeleton).offsets):
        with pytest.raises(ValueError):
            array[1] = 5


def test_equality_is_by_value() -> None:
    assert chain() == chain()
    assert hash(chain()) == hash(chain())
    assert chain() != chain(names=("a", "b", "d"))
    assert chain() != chain(offsets=np.array([[0, 0, 0], [0, 1, 0], [0, 2, 0.0]]))


def test_index_of_an_unknown_joint_names_those_there_are() -> None:
    assert chain().index("c") == 2
    with pytest.raises(ValueError, match="no joint 'x'; the joints are a, b, c"):
        chain().index("x")


def test_children_and_rest_positions() -> None:
    skeleton = Skeleton(("r", "a", "b", "c"), (-1, 0, 0, 2), np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3.0]]))
    assert skeleton.children == ((1, 2), (), (3,), ())
    np.testing.assert_array_equal(skeleton.rest_positions, [[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 2, 3]])


def test_body_is_a_symmetrical_person_facing_forward() -> None:
    assert len(BODY) == 22
    rest = BODY.rest_positions
    for name in BODY.names:
        if name.startswith("left_"):
            left, right = BODY.index(name), BODY.index(name.replace("left", "right"))
            np.testing.assert_array_equal(rest[left] * (-1, 1, 1), rest[right])
            assert rest[left, 0] > 0  # facing +Z with Y up, the left is at +X
    height = rest[:, 1].max() + BODY.tips[BODY.index("head"), 1] - (rest[:, 1].min() - 0.03)
    assert 1.6 < height < 1.9
    assert rest[BODY.index("left_foot"), 2] > rest[BODY.index("left_ankle"), 2]
