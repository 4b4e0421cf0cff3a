"""kinema joints: the match is shown, can be written, corrected and handed back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kinema.formats.bvh import write_bvh
from kinema.motion import BODY, Motion, Skeleton
from kinema.motion.skeleton import BODY_WITH_HANDS


def named(motion: Motion, names: dict[str, str]) -> Motion:
    body = motion.skeleton
    return motion.replace(
        skeleton=Skeleton(tuple(names.get(name, name) for name in body.names), body.parents, body.offsets, body.tips)
    )


def row(out: str, joint: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.startswith(f"{joint} "))


def test_every_joint_is_shown_with_how_it_was_found(kinema, place, walk):
    write_bvh(named(walk, {"left_knee": "gizmo", "neck": "Hals"}), place / "odd.bvh")
    outcome = kinema("joints", "odd.bvh")
    assert outcome.status == 0
    assert row(outcome.out, "head") == ["head", "head", "name"]
    assert row(outcome.out, "left_knee") == ["left_knee", "gizmo", "tree"]
    assert row(outcome.out, "neck") == ["neck", "Hals", "tree"]
    assert sum(line.split()[0] in BODY.names for line in outcome.out.splitlines() if line) == 22
    assert "left_index1" not in outcome.out


def test_joints_that_are_matched_with_none_are_shown(kinema, place, walk):
    write_bvh(named(walk, {"left_foot": "sole"}), place / "odd.bvh")
    outcome = kinema("joints", "odd.bvh")
    assert row(outcome.out, "left_foot") == ["left_foot", "-"]
    assert "not matched: sole" in outcome.out


def test_a_match_is_written_corrected_and_used(kinema, place, walk):
    write_bvh(named(walk, {"left_foot": "sole"}), place / "odd.bvh")
    assert kinema("joints", "odd.bvh", "-o", "match.json").status == 0
    match = json.loads((place / "match.json").read_text())
    assert match == {name: name if name in BODY.names else "" for name in BODY_WITH_HANDS.names} | {"left_foot": ""}
    (place / "match.json").write_text(json.dumps(match | {"left_foot": "sole", "right_foot": ""}))
    outcome = kinema("joints", "odd.bvh", "--joints", "match.json", "-o", "again.json")
    assert outcome.status == 0
    assert row(outcome.out, "left_foot") == ["left_foot", "sole", "override"]
    assert row(outcome.out, "right_foot") == ["right_foot", "-"]
    assert json.loads((place / "again.json").read_text()) == match | {"left_foot": "sole", "right_foot": ""}


def test_what_is_no_body_is_shown_written_and_then_refused(kinema, place):
    """So that the joints can be filled in by hand."""
    offsets = np.array([[0, 0, 0], [0, 0.5, 0], [0, 0.5, 0]])
    rotations = np.tile([1.0, 0, 0, 0], (5, 3, 1))
    snake = Motion(Skeleton(("root", "middle", "head"), (-1, 0, 1), offsets), 30, np.zeros((5, 3)), rotations)
    write_bvh(snake, place / "snake.bvh")
    outcome = kinema("joints", "snake.bvh", "-o", "match.json")
    assert outcome.status == 2
    assert "cannot tell which joints are the body's: not found left_hip, left_knee" in outcome.err
    assert row(outcome.out, "head") == ["head", "head", "name"]
    match = json.loads((place / "match.json").read_text())
    assert match["head"] == "head"
    assert set(match) == set(BODY_WITH_HANDS.names)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["none.bvh"], "none.bvh"),
        (["walk.bvh", "-o", "match.txt"], "a match is written as .json"),
        (["walk.bvh", "--joints", "none.json"], "none.json"),
        (["walk.bvh", "--joints", "walk.bvh"], "is not JSON"),
        (["walk.bvh", "--joints", "wrong.json"], "left_hip cannot be 'x'"),
    ],
)
def test_bad_input_is_one_sentence(kinema, place, arguments, sentence):
    (place / "wrong.json").write_text('{"left_hip": "x"}')
    outcome = kinema("joints", *arguments)
    assert outcome.status == 2
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (place / "match.txt").exists()
