from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.corpora import mirror_text
from kinema.corpora.captions import read_captions

MIRRORED = [
    ("a person waves the right hand.", "a person waves the left hand."),
    ("walks forward, turns about 90 degrees to the left and walks on.",
     "walks forward, turns about 90 degrees to the right and walks on."),
    ("A person is running left and then right around an obstacle.",
     "A person is running right and then left around an obstacle."),
    ("Run Side Step Left", "Run Side Step Right"),
    ("LEFT hand, Right foot", "RIGHT hand, Left foot"),
    ("gives a ball a strong right-footed kick", "gives a ball a strong left-footed kick"),
    ("a left-handed throw with the righthand side leading", "a right-handed throw with the lefthand side leading"),
    ("runs in a 90 degree leftwards curve", "runs in a 90 degree rightwards curve"),
    ("leftward, then rightward; leftmost", "rightward, then leftward; rightmost"),
    ("throws two lefts and a right.", "throws two rights and a left."),
    ("spins clockwise, then counterclockwise", "spins counterclockwise, then clockwise"),
    ("Counter-clockwise", "Clockwise"),
    ("turns anticlockwise, then anti-clockwise", "turns clockwise, then clockwise"),
    ("turns counter clockwise", "turns clockwise"),
    ("basketball - forward dribble, 90-degree right turns", "basketball - forward dribble, 90-degree left turns"),
    ("dataset-2_walk-turn-left_youthful", "dataset-2_walk-turn-right_youthful"),
    # a side before a word that often follows the other "right"
    ("turns right before slowing to a walk", "turns left before slowing to a walk"),
    ("the person runs, turning to the right before slowing", "the person runs, turning to the left before slowing"),
    ("crosses the right in front of the left", "crosses the left in front of the right"),
    ("raises the right behind the back", "raises the left behind the back"),
    ("the right back foot", "the left back foot"),
    ("turns right the way a very old person would", "turns left the way a very old person would"),
    ("turns left the way a very old person would", "turns right the way a very old person would"),
    ("steps left and then right before stopping", "steps right and then left before stopping"),
    ("has left hand on the hip", "has right hand on the hip"),
    ("a man left of the box", "a man right of the box"),
    # both kinds in one sentence
    ("a person steps up a ladder, comes right back down and turns away to the right.",
     "a person steps up a ladder, comes right back down and turns away to the left."),
    ("waves the right hand like someone with no energy left.", "waves the left hand like someone with no energy left."),
]  # fmt: skip

UNCHANGED = [
    "a person walks forward",
    "a person bows quickly and stiffly and straightens up right away.",
    "a person leaps right away while running forward with long strides.",
    "stops and right away turns around",
    "a person dashes straight ahead with the body upright.",
    "stands bolt upright, outright, forthright, brightly",
    "it is all right",
    "alright",
    "bends the elbows at right angles",
    "at a right-angled corner",
    "stands right in front of the door",
    "somebody is right behind",
    "walks right up to the wall and right through it",
    "sits right down",
    "does it the right way",
    "starts at the right moment",
    "stops Right There",
    "a figure jogs forward like someone with no energy left.",
    "nothing left to do",
    "is left behind",
    "has left the room",
    "before he left his chair",
    "a cleft rock, wrights, copyright",
    "",
]


@pytest.mark.parametrize(("text", "expected"), MIRRORED)
def test_left_and_right_change_places(text: str, expected: str) -> None:
    assert mirror_text(text) == expected


@pytest.mark.parametrize("text", UNCHANGED)
def test_words_that_are_no_side_stay(text: str) -> None:
    assert mirror_text(text) == text


WORDS = ["somebody", "left", "RIGHT", "hand,", "turns", "clockwise", "his", "Left-handed", "and"]


@given(st.lists(st.sampled_from(WORDS)))
def test_mirroring_twice_gives_the_sentence_back(words: list[str]) -> None:
    text = " ".join(words)
    assert mirror_text(mirror_text(text)) == text


def test_every_real_caption_comes_back_and_only_sides_change(data_dir) -> None:
    files = sorted(data_dir.glob("*/captions*.jsonl"))
    texts = {json.loads(line)["text"] for path in files for line in path.read_bytes().splitlines()}
    assert len(texts) > 10_000
    side = re.compile(r"\b(?:left|right)", re.IGNORECASE)
    for text in texts:
        mirrored = mirror_text(text)
        assert mirror_text(mirrored) == text
        assert side.sub("", mirrored) == side.sub("", text)
        if re.search(r"\b(?:left|right) (?:hand|arm|leg|foot|turn)\b|\bto the (?:left|right)\b", text):
            assert mirrored != text


def test_captions_are_read_as_described(tmp_path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text(
        '{"motion": "bvh/a.bvh", "clip": "a", "start": 0.5, "end": 2, "text": " walks\\n on ", "source": "me"}\n'
        "\n"
        '{"motion": "b.bvh", "text": "läuft", "end": null}\n',
        encoding="utf-8",
    )
    first, second = read_captions(path)
    assert (first.motion, first.clip, first.start, first.end) == (tmp_path / "bvh/a.bvh", "a", 0.5, 2.0)
    assert (first.text, first.source) == ("walks on", "me")
    assert (second.clip, second.start, second.end, second.text, second.source) == (None, 0.0, None, "läuft", "")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("walks", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"motion": "a.bvh"}', "'text'"),
        ('{"motion": "a.bvh", "text": 3}', "'text'"),
        ('{"motion": "a.bvh", "text": "  "}', "empty"),
        ('{"motion": "a.bvh", "text": "%s"}' % ("x" * 3000), "3000 characters"),
        ('{"motion": "a.bvh", "text": "\\ud800"}', "surrogate"),
        ('{"text": "walks"}', "'motion'"),
        ('{"motion": "", "text": "walks"}', "'motion'"),
        ('{"motion": "a\\u0000b", "text": "walks"}', "'motion'"),
        ('{"motion": "a.bvh", "text": "walks", "start": -1}', "'start'"),
        ('{"motion": "a.bvh", "text": "walks", "start": "0"}', "'start'"),
        ('{"motion": "a.bvh", "text": "walks", "end": NaN}', "'end'"),
        ('{"motion": "a.bvh", "text": "walks", "end": 1%s}' % ("0" * 400), "'end'"),
        ('{"motion": "a.bvh", "text": "walks", "end": true}', "'end'"),
        ('{"motion": "a.bvh", "text": "walks", "start": 2, "end": 1}', "before it starts"),
        ('{"motion": "a.bvh", "text": "walks", "clip": "a\\nb"}', "'clip'"),
        ('{"motion": "a.bvh", "text": "walks", "source": 7}', "'source'"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line: str, why: str) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"motion": "a.bvh", "text": "walks"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"captions\.jsonl, line 3: ") as error:
        read_captions(path)
    assert why in str(error.value)


def test_bytes_that_are_no_text_are_a_bad_line(tmp_path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_bytes(b"\xff\xfe\x00garbage\n")
    with pytest.raises(ValueError, match="line 1"):
        read_captions(path)
