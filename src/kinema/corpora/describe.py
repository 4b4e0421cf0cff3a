"""Hierarchical captions by rules: a sentence about the whole body, one about the upper and one about the lower body.

The form is that of MotionLib (Being-M0, Wang et al. 2024), where a language model wrote the sentences from video; here
they are put together from measured `Facts`, and say nothing of what cannot be measured: no style, no aim, no object.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.corpora.build import motion_files, stored
from kinema.corpora.captions import read_captions
from kinema.corpora.corpus import Corpus
from kinema.corpora.facts import ABOUT, ARM_MOVES, HEIGHTS, Arm, Facts, measure
from kinema.formats import READERS, load
from kinema.formats.files import atomic_write
from kinema.motion.motion import Motion
from kinema.progress import track

SOURCE = "rules"
"""What stands as `source` beside these sentences in a captions file."""

_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_WALKS = {"slow walk": "walks slowly", "walk": "walks", "fast walk": "walks fast", "run": "runs"}
_STEPS = {"slow walk": "slow steps", "fast walk": "fast steps", "run": "running steps"}
_WHERE = {"hip": "hip height", "waist": "waist height", "chest": "chest height", "shoulder": "shoulder height"}
_WHERE |= {"head": "head height", "above head": "above the head", "high above head": "high above the head"}


@dataclass(frozen=True)
class Description:
    """Sentences about the whole body, the upper body and the lower body."""

    overall: str
    upper: str
    lower: str


@dataclass(frozen=True)
class CaptionReport:
    """What `caption` did: how many motions it described, and (file, what was wrong) for those it could not read."""

    described: int
    unreadable: list[tuple[Path, str]]


def describe(motion: Motion | Facts) -> Description:
    """Sentences about a motion on BODY that stands on y = 0, or about its facts.

    The sentences of a mirrored motion are those of the motion with "left" and "right" swapped.

    Raises:
        ValueError: the motion is on another skeleton.
    """
    facts = measure(motion) if isinstance(motion, Motion) else motion
    return Description(_overall(facts), _upper(facts), _lower(facts))


def caption(sources: Sequence[str | Path], out: str | Path) -> CaptionReport:
    """Describe motions and write the sentences as a captions file, one line a motion.

    `text` is the sentence about the whole body; `upper` and `lower` stand beside it. Files that cannot be read are left
    out, and are in the report. The file appears whole or not at all.

    Args:
        sources: motion files, folders of them, or corpora; of a corpus, `motion` is the name of the clip.
        out: the captions file; one that is there is replaced if all of it was written by these rules.

    Raises:
        ValueError: nothing to describe, nothing that can be described, or `out` holds other sentences.
        OSError: a file is missing or cannot be written.
    """
    out = Path(out)
    if out.exists() and any(line.source != SOURCE for line in read_captions(out)):
        raise ValueError(f"{out} holds sentences that are not by these rules; name another file")
    items = [item for source in sources for item in _find(Path(source))]
    unreadable: list[tuple[Path, str]] = []
    described = 0
    with atomic_write(out) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for item in track(items, "describing motions", len(items)):
            try:
                motion, names = _read(item, out.parent)
                said = describe(motion)
            except (ValueError, OSError) as error:
                unreadable.append((item if isinstance(item, Path) else item[0].folder, str(error)))
                continue
            row = {**names, "start": 0.0, "end": None, "text": said.overall, "upper": said.upper, "lower": said.lower}
            file.write(json.dumps({**row, "source": SOURCE}, ensure_ascii=False) + "\n")
            described += 1
        if not described:
            raise ValueError(f"none of the {len(items)} motions can be described; the first: {unreadable[0][1]}")
    return CaptionReport(described, unreadable)


def _find(source: Path) -> Iterator[Path | tuple[Corpus, int]]:
    """The motion files, or clips of a corpus, that a source stands for."""
    if source.is_file():
        if source.suffix.lower() not in READERS:
            raise ValueError(f"{source}: is no motion file; known are {' '.join(READERS)}")
        yield source
    elif (source / "corpus.json").is_file():
        corpus = Corpus.open(source)
        yield from ((corpus, index) for index in range(len(corpus)))
    elif source.is_dir():
        yield from motion_files(source)
    else:
        raise FileNotFoundError(f"{source}: there is no such file or folder")


def _read(item: Path | tuple[Corpus, int], folder: Path) -> tuple[Motion, dict[str, str]]:
    """A motion on BODY as `build` would store it, and what names it in a captions file in this folder."""
    if isinstance(item, Path):
        return stored(load(item)), {"motion": Path(os.path.relpath(item, folder)).as_posix()}
    corpus, index = item
    name = corpus.clips[index].name
    return corpus.motion(index), {"motion": name, "clip": name}


def _overall(facts: Facts) -> str:
    done = []
    stays = facts.direction is None
    if facts.pace != "standing":
        done.append(_join(_WALKS[facts.pace], _way(facts.direction)))
    if facts.jumps:
        done.append(_join("jumps", _way(facts.direction) if facts.pace == "standing" else "", _times(facts.jumps)))
    if facts.turns:
        done.append(_turning(facts.turns))
    if facts.bows:
        done.append(_join("bends forward and straightens up", _times(facts.bows)))
    elif facts.posture != "upright":
        done.append(
            {"bent": "bends over", "crouching": "crouches", "sitting": "sits", "lying": "lies down"}[facts.posture]
        )
    done += _kicks(facts)
    done += _arms_overall(facts)
    if not done:
        done.append("steps about" if facts.steps > 2 else "moves the legs" if facts.steps else "stands still")
    elif stays and facts.pace == "standing" and facts.posture == "upright" and not (facts.jumps or facts.steps > 2):
        done.insert(0, "stands")
    return f"a person {_listed(done)}."


def _arms_overall(facts: Facts) -> list[str]:
    first, second, lead = _lead(facts)
    if not first.acts:
        quiet = facts.pace != "standing" or facts.bows or facts.jumps
        return (
            [] if quiet or first.move != "moves" else [f"moves {'both arms' if lead == 'both' else f'the {lead} arm'}"]
        )
    verb = "waves" if first.move == "waves" else "raises"
    both = lead == "both" or (second.move == first.move)
    hands = "both hands" if both else f"the {lead} hand"
    said = [_join(verb, hands, _times(first.repeats) if first.repeats else "")]
    if not both and second.acts:
        said.append(f"raises the {_OTHER[lead]} hand")
    return said


def _upper(facts: Facts) -> str:
    first, second, lead = _lead(facts)
    if lead == "both":
        said = [_arm("both hands" if first.acts else "both arms", first, plural=True)]
    else:
        said = [_arm(f"the {lead} {'hand' if first.acts else 'arm'}", first)]
        said.append(_arm(f"the {_OTHER[lead]} {'hand' if second.acts else 'arm'}", second))
    if facts.bows:
        said.append(_join("the torso bends forward and straightens up", _times(facts.bows)))
    elif facts.posture == "bent":
        said.append("the torso bends over")
    return f"{_listed(said)}."


def _arm(who: str, arm: Arm, plural: bool = False) -> str:
    where = _WHERE[arm.height]
    s = "" if plural else "s"
    if arm.move == "rises":
        return f"{who} rise{s} {'' if 'above' in where else 'to '}{where}"
    if arm.move == "waves":
        return _join(f"{who} wave{s} from side to side {'' if 'above' in where else 'at '}{where}", _times(arm.repeats))
    low = arm.height in ("hip", "waist")
    if arm.move == "still":
        return f"{who} hang{s} still" if low else f"{who} stay{s} at {where}"
    verb = "swing" if arm.move == "swings" else "move"
    return f"{who} {verb}{s} beside the body" if low else f"{who} {verb}{s} up to {where}"


def _lower(facts: Facts) -> str:
    said = []
    if facts.pace != "standing":
        steps = _STEPS.get(facts.pace, "steps")
        count = _NUMBERS[facts.steps] if 0 < facts.steps < len(_NUMBERS) else "many" if facts.steps else ""
        steps = steps[:-1] if facts.steps == 1 else steps
        said.append(_join("the legs take", count, steps, _way(facts.direction)))
    elif facts.steps:
        said.append("the feet step about" if facts.steps > 2 else "a foot is moved")
    if facts.jumps:
        said.append(_join("both feet leave the ground", _times(facts.jumps)))
    if facts.turns and facts.pace != "standing":
        said.append("the feet " + _turning(facts.turns, plural=True))
    if facts.posture in ("crouching", "sitting"):
        said.append("the knees bend deeply")
    elif facts.posture == "lying":
        said.append("the legs lie on the ground")
    said += [kick.replace("kicks with", "kicks come from") for kick in _kicks(facts)]
    if not said:
        said.append("the feet stay in place")
    return f"{_listed(said)}."


_OTHER = {"left": "right", "right": "left"}


def _lead(facts: Facts) -> tuple[Arm, Arm, str]:
    """The arm that does more, the other one, and "left", "right", or "both" where they do the same."""
    left, right = facts.left_arm, facts.right_arm
    orders = [(ARM_MOVES.index(arm.move), HEIGHTS.index(arm.height), arm.repeats) for arm in (left, right)]
    low = max(order[1] for order in orders) <= HEIGHTS.index("waist")
    if orders[0][:2] == orders[1][:2] or (left.move == right.move and low):
        first = left if orders[0] >= orders[1] else right
        return first, first, "both"
    return (left, right, "left") if orders[0] > orders[1] else (right, left, "right")


def _kicks(facts: Facts) -> list[str]:
    kicks = {"left": facts.left_kicks, "right": facts.right_kicks}
    if not any(kicks.values()):
        return []
    if kicks["left"] == kicks["right"]:
        return [_join("kicks with each foot", _times(kicks["left"]))]
    more = max(kicks, key=lambda side: kicks[side])
    other = kicks[_OTHER[more]]
    said = _join(f"kicks with the {more} foot", _times(kicks[more]))
    return [said + (_join(f" and with the {_OTHER[more]} foot", _times(other)) if other else "")]


def _turning(turns: tuple[int, ...], plural: bool = False) -> str:
    sides = ["left" if turn > 0 else "right" for turn in turns]
    verb = "turn" if plural else "turns"
    if len(turns) > 3:
        return f"{verb} to the {sides[0]} and to the {sides[1]} again and again"
    return f"{verb} " + " and then ".join(
        f"{_angle(abs(turn))}to the {side}" for turn, side in zip(turns, sides, strict=True)
    )


def _angle(degrees: int) -> str:
    if degrees < 70:
        return "a little "
    if degrees <= 110:
        return "90 degrees "
    if degrees < 150:
        return "far "
    if degrees <= 210:
        return "around "
    rounds = round(degrees / 360)
    return f"around {_times(rounds)} " if rounds > 1 else "all the way around " if degrees > 310 else "far around "


def _way(direction: str | None) -> str:
    if direction is None:
        return ""
    if direction == ABOUT:
        return direction
    words = direction.split()
    ahead = [word for word in words if word.endswith("ward")]
    aside = [f"to the {word}" for word in words if not word.endswith("ward")]
    return " and ".join(ahead + aside)


def _times(count: int) -> str:
    """How often; nothing for once."""
    if count <= 1:
        return ""
    return "twice" if count == 2 else f"{_NUMBERS[count]} times" if count < len(_NUMBERS) else "many times"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)
