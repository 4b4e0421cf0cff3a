"""Facts of motions made so that the facts are known, and the sentences about them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.cli import main
from kinema.corpora import Corpus, mirror_text
from kinema.corpora.build import build
from kinema.corpora.captions import read_captions
from kinema.corpora.describe import caption, describe
from kinema.corpora.facts import (
    ABOUT,
    ARM_MOVES,
    DIRECTIONS,
    HEIGHTS,
    PACES,
    POSTURES,
    Arm,
    Facts,
    measure,
    zigzag,
)
from kinema.formats.bvh import write_bvh
from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.editing import ground, mirror, place, resample

FPS = 30.0
X, Y, Z = (np.eye(3)[axis] for axis in range(3))


def still(seconds: float = 4.0) -> Motion:
    """Standing with the arms at the sides."""
    frames = round(seconds * FPS)
    motion = Motion(BODY, FPS, np.tile((0, 1.03, 0), (frames, 1)), np.tile(rot.IDENTITY, (frames, len(BODY), 1)))
    for side, sign in (("left", 1), ("right", -1)):
        motion = turned(motion, f"{side}_shoulder", Z, np.full(frames, -sign * 1.4))
    return ground(motion)


def turned(motion: Motion, joint: str, axis: np.ndarray, angle: np.ndarray) -> Motion:
    """One joint turned by angles (T,) in the frame of its parent."""
    rotations = np.array(motion.rotations)
    index = BODY.index(joint)
    rotations[:, index] = rot.multiply(rot.from_axis_angle(axis, angle), rotations[:, index])
    return motion.replace(rotations=rotations)


def seconds(motion: Motion) -> np.ndarray:
    return np.arange(len(motion)) / motion.fps


def bump(motion: Motion, start: float, length: float) -> np.ndarray:
    """(T,) 0, then once up to 1 and down to 0 again within `length` seconds."""
    share = np.clip((seconds(motion) - start) / length, 0, 1)
    return np.sin(np.pi * share) ** 2


def waving(side: str, count: int) -> Motion:
    """The upper arm to the side, the forearm up, and to the middle and back `count` times in 4 s."""
    motion, sign = still(6.0), 1 if side == "left" else -1
    time = seconds(motion)
    lift = np.clip(np.minimum(time, 6 - time) / 0.8, 0, 1)
    motion = turned(motion, f"{side}_shoulder", Z, sign * 1.4 * lift)
    swing = 0.4 * (1 - np.cos(2 * np.pi * count * np.clip((time - 1) / 4, 0, 1)))
    return turned(motion, f"{side}_elbow", Z, sign * (1.5 * lift + swing))


def test_who_stands_still_does_nothing() -> None:
    facts = measure(still())
    hanging = Arm("still", "hip")
    assert facts == Facts("standing", None, (), 0, 0, "upright", 0, hanging, hanging, 0, 0)
    said = describe(still())
    assert said.overall == "a person stands still."
    assert said.upper == "both arms hang still."
    assert said.lower == "the feet stay in place."


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_waves_are_counted_on_their_side(side: str, count: int) -> None:
    facts = measure(waving(side, count))
    arm, other = (facts.left_arm, facts.right_arm) if side == "left" else (facts.right_arm, facts.left_arm)
    assert (arm.move, arm.height, arm.repeats) == ("waves", "head", count)
    assert other.move == "still"
    times = {2: "twice", 3: "three times", 5: "five times", 8: "eight times"}[count]
    assert describe(facts).overall == f"a person stands and waves the {side} hand {times}."


def test_a_hand_that_rises_once_does_not_wave() -> None:
    motion = still()
    motion = turned(motion, "right_shoulder", Z, -2.9 * bump(motion, 0.5, 3))
    said = describe(motion)
    assert said.overall == "a person stands and raises the right hand."
    assert said.upper == "the right hand rises high above the head and the left arm hangs still."


@pytest.mark.parametrize("at", range(8))
def test_the_direction_is_that_seen_from_the_body(walk: Motion, at: int) -> None:
    course = rot.about_y(np.array(at * np.pi / 4))
    moved = walk.replace(root_position=rot.rotate(course, walk.root_position))  # the body still faces +Z
    assert measure(moved).direction == DIRECTIONS[at]


def test_who_goes_round_in_all_directions_goes_about() -> None:
    motion = still(8.0)
    angle = 2 * np.pi * seconds(motion) / 8
    circle = np.stack([np.sin(angle), np.zeros(len(motion)), np.cos(angle)], 1)
    facts = measure(motion.replace(root_position=motion.root_position + circle))
    assert facts.direction == ABOUT
    assert " about" in describe(facts).overall


def test_faster_is_faster(walk: Motion) -> None:
    paces = []
    for speed in (0.1, 0.5, 1.2, 1.8):
        steps = walk.root_position * (1, 1, speed / 1.2)
        paces.append(PACES.index(measure(walk.replace(root_position=steps)).pace))
    assert paces[0] == 0
    assert paces == sorted(paces)
    assert len(set(paces)) >= 3


@pytest.mark.parametrize("degrees", [-180, -90, 90, 180, 360])
def test_turns_have_side_and_angle(degrees: int) -> None:
    motion = still()
    eased = (1 - np.cos(np.pi * np.clip((seconds(motion) - 0.5) / 3, 0, 1))) / 2
    facts = measure(turned(motion, "pelvis", Y, np.radians(degrees) * eased))
    assert facts.turns == (degrees,)
    assert ("left" if degrees > 0 else "right") in describe(facts).overall


@pytest.mark.parametrize("count", [0, 1, 3])
def test_jumps_and_bows_are_counted(count: int) -> None:
    motion = still(1.0 + 2.0 * max(count, 1))
    root, bend = np.array(motion.root_position), np.zeros(len(motion))
    for number in range(count):
        root[:, 1] += 0.35 * bump(motion, 1 + 2 * number, 0.6)
        bend += 1.1 * bump(motion, 0.5 + 2 * number, 1.5)
    jumping = measure(motion.replace(root_position=root))
    assert (jumping.jumps, jumping.bows) == (count, 0)
    bowing = measure(turned(motion, "spine1", X, bend))
    assert (bowing.jumps, bowing.bows, bowing.posture) == (0, count, "upright")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_kick_is_one_of_its_foot(side: str) -> None:
    motion = still(3.0)
    facts = measure(turned(motion, f"{side}_hip", X, -1.5 * bump(motion, 1, 0.7)))
    assert (facts.left_kicks, facts.right_kicks) == ((1, 0) if side == "left" else (0, 1))
    assert f"kicks with the {side} foot" in describe(facts).overall


@pytest.mark.parametrize(
    "height, lean, posture", [(1.03, 0, "upright"), (1.03, 1.1, "bent"), (0.6, 0, "crouching"), (0.15, 1.5, "lying")]
)
def test_the_lowest_posture_counts(height: float, lean: float, posture: str) -> None:
    motion = still(2.0)
    root = motion.root_position * (1, 0, 1) + (0, height, 0)
    leaning = turned(motion.replace(root_position=root), "pelvis", X, np.full(len(motion), lean))
    assert measure(leaning).posture == posture


def moving(seed: int, walk: Motion) -> Motion:
    """A walk with other arms, speed, course and turns, drawn from the seed."""
    rng, motion = np.random.default_rng(seed), walk
    for joint in ("left_shoulder", "right_shoulder", "left_elbow", "right_hip", "spine1", "left_knee"):
        angle = rng.normal(0, 0.5) + rng.normal(0, 0.8) * np.sin(rng.uniform(1, 8) * seconds(walk))
        motion = turned(motion, joint, rot.normalize(rng.normal(size=3)), angle)
    root = rot.rotate(rot.about_y(rng.uniform(-3, 3)), motion.root_position * (1, 1, rng.uniform(0, 2.5)))
    motion = turned(motion.replace(root_position=root), "pelvis", Y, rng.uniform(-2, 2) * seconds(walk))
    return ground(motion)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_facts_of_the_mirrored_motion_are_the_mirrored_facts(walk: Motion, seed: int) -> None:
    motion = moving(seed, walk)
    assert measure(mirror(motion)) == measure(motion).mirrored()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), x=st.floats(-50, 50), z=st.floats(-50, 50), heading=st.floats(-6, 6))
def test_facts_do_not_depend_on_place_and_heading(walk: Motion, seed: int, x: float, z: float, heading: float) -> None:
    motion = moving(seed, walk)
    assert measure(place(motion, (x, z), heading)) == measure(motion)


def test_facts_do_not_depend_on_the_frame_rate() -> None:
    for motion in (waving("left", 3), still()):
        assert measure(resample(motion, 60)) == measure(motion)


arms = st.builds(Arm, st.sampled_from(ARM_MOVES[:4]), st.sampled_from(HEIGHTS)) | st.builds(
    Arm, st.just("waves"), st.sampled_from(HEIGHTS), st.integers(2, 15)
)
facts_of_any = st.builds(
    Facts,
    pace=st.sampled_from(PACES),
    direction=st.sampled_from([*DIRECTIONS, ABOUT]) | st.none(),
    turns=st.lists(st.integers(8, 200), max_size=5).map(
        lambda sizes: tuple((5 if at % 2 else -5) * size for at, size in enumerate(sizes))
    ),
    steps=st.integers(0, 20),
    jumps=st.integers(0, 3),
    posture=st.sampled_from(POSTURES),
    bows=st.integers(0, 3),
    left_arm=arms,
    right_arm=arms,
    left_kicks=st.integers(0, 3),
    right_kicks=st.integers(0, 3),
)


@settings(max_examples=100, deadline=None)
@given(facts=facts_of_any)
def test_sentences_of_mirrored_facts_are_the_mirrored_sentences(facts: Facts) -> None:
    facts = replace(facts, pace="walk" if facts.direction and facts.pace == "standing" else facts.pace)
    here, there = describe(facts), describe(facts.mirrored())
    for part in ("overall", "upper", "lower"):
        sentence = getattr(here, part)
        assert getattr(there, part) == mirror_text(sentence)
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert " ." not in sentence


def test_a_curve_turns_back_where_it_does() -> None:
    curve = np.array([0.0, 1, 3, 2.5, 4, 1, 1.5, 0, 5])
    assert zigzag(curve, 2.0).tolist() == [0, 4, 0, 5]
    assert zigzag(-curve, 2.0).tolist() == [0, -4, 0, -5]
    assert len(zigzag(curve, 6.0)) == 0


def test_one_frame_and_another_skeleton(walk: Motion) -> None:
    assert measure(still(1 / FPS)).pace == "standing"
    other = Skeleton(BODY.names, BODY.parents, 1.1 * BODY.offsets)
    with pytest.raises(ValueError, match="retarget"):
        measure(Motion(other, FPS, walk.root_position, walk.rotations))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mocap(tmp_path: Path, walk: Motion) -> Path:
    folder = tmp_path / "mocap"
    (folder / "bvh").mkdir(parents=True)
    write_bvh(walk, folder / "bvh" / "walk.bvh")
    write_bvh(waving("left", 3), folder / "bvh" / "wave.bvh")
    (folder / "bvh" / "broken.bvh").write_text("no motion")
    return folder


def test_a_folder_without_captions_becomes_a_corpus(mocap: Path) -> None:
    report = caption([mocap], mocap / "captions.jsonl")
    assert report.described == 2
    assert [path.name for path, _ in report.unreadable] == ["broken.bvh"]
    rows = [json.loads(line) for line in (mocap / "captions.jsonl").read_text().splitlines()]
    assert [row["motion"] for row in rows] == ["bvh/walk.bvh", "bvh/wave.bvh"]
    assert rows[1]["text"] == "a person stands and waves the left hand three times."
    assert "left hand" in rows[1]["upper"]
    assert rows[1]["lower"] == "the feet stay in place."
    build([mocap], mocap.parent / "corpus", licence="CC0", source="constructed", workers=1)
    corpus = Corpus.open(mocap.parent / "corpus")
    assert {clip.captions[0].text for clip in corpus.clips} == {row["text"] for row in rows}
    assert caption([mocap.parent / "corpus"], mocap.parent / "again.jsonl").described == 2
    assert {line.clip for line in read_captions(mocap.parent / "again.jsonl")} == {"bvh/walk", "bvh/wave"}


def test_the_command_writes_them_and_replaces_only_its_own(mocap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = mocap / "captions.jsonl"
    command = ["corpus", "caption", str(mocap / "bvh" / "wave.bvh"), "-o", str(out)]
    assert main(command) == 0
    assert "1 motions described" in capsys.readouterr().out
    assert main(command) == 0
    written = '{"motion": "bvh/wave.bvh", "text": "somebody greets us.", "source": "written"}\n'
    out.write_text(written)
    assert main(command) == 2
    assert "name another file" in capsys.readouterr().err
    assert out.read_text() == written


@pytest.mark.parametrize(
    "source, message",
    [("absent", "no such file"), ("bvh/broken.bvh", "none of the 1"), ("empty", "no motion files"), ("x.txt", "known")],
)
def test_bad_input_is_one_sentence(mocap: Path, source: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (mocap / "empty").mkdir()
    (mocap / "x.txt").write_text("text")
    assert main(["corpus", "caption", str(mocap / source), "-o", str(mocap / "out.jsonl")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(mocap.glob("*out*"))
