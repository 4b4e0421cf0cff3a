"""Do the rules of `kinema corpus caption` say of a clip what people wrote about it?

    python benchmarks/captions.py --corpus corpora/cmu corpora/bandai --parts DATA/parts.jsonl \
        --captions DATA/cmu/captions.jsonl DATA/bandai/captions.jsonl [--split test] [--show direction]

Facts are read out of the written sentences by regular expressions (`SAID`); where a clip's sentences disagree with each
other, the clip is left out of that fact. Prints Markdown: the clips whose sentences mention a fact, those of them of
which the rules say something too, the share of these in which both agree, and the same share for an answer that is
always the most frequent one. The parts hold no counts; these are from the captions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from kinema.corpora import Corpus
from kinema.corpora.facts import HEIGHTS, Facts, measure
from kinema.progress import track

_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_NUMBERS = {word: number for number, word in enumerate(_WORDS, 1)}
_NUMBER = "|".join(_NUMBERS)
_HIGH = {"chest": "chest", "shoulder": "shoulder", "face": "head", "head": "head"}


@dataclass
class Options:
    """Args:
    corpus: folders of corpora.
    parts: the sentences about whole, upper and lower body.
    captions: captions files, for counts.
    split: whose clips.
    show: a fact whose disagreements are listed.
    """

    corpus: tuple[Path, ...]
    parts: Path
    captions: tuple[Path, ...] = ()
    split: str = "test"
    show: str = ""


@dataclass(frozen=True)
class Said:
    """One written clip: its three sentences, and all of its captions."""

    overall: str
    upper: str
    lower: str
    captions: tuple[str, ...] = ()


def one(answers: list[str]) -> str | None:
    """The answer, if there is one and only one."""
    return answers[0] if len(set(answers)) == 1 else None


def find(pattern: str, *texts: str) -> list[str]:
    """What the first group of the pattern holds, wherever it is found."""
    return [match.group(1) for text in texts for match in re.finditer(pattern, text)]


def said_hand(said: Said) -> str | None:
    """Which hand: from the whole-body sentence; else from the first words about the upper body."""
    if re.search(r"\bboth (hands|arms)\b", said.overall):
        return "both"
    found = find(r"\b(left|right) (?:hand|arm)\b", said.overall)
    return (
        one(found) if found else one(find(r"^the (left|right) (?:hand|arm) (?:rises|goes|lifts|extends)", said.upper))
    )


def said_turn(said: Said) -> str | None:
    """The side of the first turn, pivot or curve."""
    found = find(r"\b(?:turns?|veers?|pivots?|curve|turn gradually)\b[^,.]*?\b(left|right)\b", said.overall, said.lower)
    found += find(r"\bmakes a sharp (left|right) turn", said.overall)
    return found[0] if found else None


def said_direction(said: Said) -> str | None:
    text = said.overall
    if found := find(r"\bdiagonally to the (left|right)", text):
        return f"forward {found[0]}"
    if found := find(r"\b(?:shuffles|sidesteps|steps) to the (left|right)", text):
        return found[0]
    found = re.findall(r"\b(?:walks?|runs?|dash(?:es)?|jumps?|danc(?:es|ing))\b[^,.]*?\b(forward|backward)\b", text)
    return one(found)


def said_pace(said: Said) -> str | None:
    """Standing, walking or running; None for what is several of these, or neither."""
    stands = re.search(r"\b(stands?|feet stay|stay) (still|in place|apart|close together|wide apart)", said.lower)
    walks = re.search(r"\bwalk(s|ing)?\b", said.overall)
    runs = re.search(r"\b(run(s|ning)?|dash(es)?|sprints?)\b", said.overall)
    kinds = [name for name, found in (("standing", stands), ("walk", walks), ("run", runs)) if found]
    return kinds[0] if len(kinds) == 1 and not re.search(r"\bstops?\b", said.overall) else None


def said_walk(said: Said) -> str | None:
    """Slow or fast, of those who walk."""
    if said_pace(said) != "walk":
        return None
    slow = re.search(r"\bslow(ly)?\b", said.overall + said.lower)
    fast = re.search(r"\b(fast|quick(ly)?|brisk(ly)?)\b", said.overall + said.lower)
    return None if bool(slow) == bool(fast) else "slow" if slow else "fast"


def said_height(said: Said) -> str | None:
    if found := find(r"\b(high above|above) the head", said.upper):
        return one([f"{where} head" for where in found])
    return one([_HIGH[where] for where in find(r"\b(chest|shoulder|face|head) height", said.upper)])


def said_degrees(said: Said) -> str | None:
    if re.search(r"\b90 degrees|90-degree", said.overall):
        return "90"
    return "180" if re.search(r"^[^,]*, turns around|^[^,]*turns around", said.overall) else None


def said_posture(said: Said) -> str | None:
    words = {"sitting": r"\bsits?\b", "crouching": r"\b(squats?|crouch(es)?|ducks?)\b", "lying": r"\b(lies|roll)\b"}
    return one([name for name, pattern in words.items() if re.search(pattern, said.overall + said.lower)])


def counted(pattern: str) -> Callable[[Said], str | None]:
    """The number that the captions give, if all that give one agree."""
    return lambda said: one([str(_NUMBERS[word]) for word in find(pattern, *said.captions)])


def hand(facts: Facts) -> str | None:
    acting = [side for side, arm in (("left", facts.left_arm), ("right", facts.right_arm)) if arm.acts]
    return "both" if len(acting) == 2 else acting[0] if acting else None


def top(facts: Facts) -> str | None:
    found = [arm.height for arm in (facts.left_arm, facts.right_arm) if arm.acts]
    return max(found, key=HEIGHTS.index) if found else None


def waves(facts: Facts) -> str | None:
    return str(max(facts.left_arm.repeats, facts.right_arm.repeats) or "") or None


def first_turn(facts: Facts) -> str | None:
    return ("left" if facts.turns[0] > 0 else "right") if facts.turns else None


def degrees(facts: Facts) -> str | None:
    return str(90 * round(abs(facts.turns[0]) / 90)) if facts.turns else None


def pace(facts: Facts) -> str:
    return facts.pace.split()[-1]


def walk(facts: Facts) -> str | None:
    return {"slow walk": "slow", "fast walk": "fast"}.get(facts.pace)


SAID: dict[str, tuple[Callable[[Said], str | None], Callable[[Facts], str | None]]] = {
    "which hand (left, right, both)": (said_hand, hand),
    "side of the first turn": (said_turn, first_turn),
    "turn of 90 or 180 degrees": (said_degrees, degrees),
    "direction": (said_direction, lambda facts: facts.direction),
    "pace (standing, walk, run)": (said_pace, pace),
    "walk (slow, fast)": (said_walk, walk),
    "height of the hand": (said_height, top),
    "posture (sitting, crouching, lying)": (
        said_posture, lambda facts: facts.posture if facts.posture in ("sitting", "crouching", "lying") else None
    ),
    "how often the hand waves": (counted(rf"\bwaves? (?:it |them )?(?:about )?({_NUMBER}) times"), waves),
    "how many steps": (
        counted(rf"\b({_NUMBER}) (?:\w+ )?steps\b(?! and then| down)"), lambda facts: str(facts.steps or "") or None
    ),
}  # fmt: skip

EVENTS: dict[str, tuple[str, Callable[[Facts], int]]] = {
    "jumps": (r"\b(jump|hop|leap)(s|ing)?\b", lambda facts: facts.jumps),
    "bows": (r"\bbows?\b", lambda facts: facts.bows),
    "kicks": (r"\bkick(s|ing)?\b", lambda facts: facts.left_kicks + facts.right_kicks),
}


def read(parts: Path, captions: tuple[Path, ...]) -> dict[str, Said]:
    """Clip name -> its sentences."""
    texts: dict[str, list[str]] = {}
    for path in captions:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["source"] == "written" and not row["start"] and row["end"] is None:
                texts.setdefault(row["clip"], []).append(row["text"].lower())
    rows = map(json.loads, parts.read_text(encoding="utf-8").splitlines())
    return {
        row["clip"]: Said(row["overall"], row["upper"], row["lower"], tuple(texts.get(row["clip"], ()))) for row in rows
    }


def table(clips: list[tuple[str, Said, Facts]], show: str = "") -> str:
    """Markdown: how often sentences and rules agree, a fact a row."""
    rows = ["| fact | mentioned | both say something | agree | within 1 | always the most frequent |"]
    rows.append("|---|---|---|---|---|---|")
    for fact, (of_said, of_facts) in SAID.items():
        pairs = [(name, of_said(said), of_facts(facts)) for name, said, facts in clips]
        pairs = [(name, text, rule) for name, text, rule in pairs if text is not None]
        both = [(name, text, rule) for name, text, rule in pairs if rule is not None]
        if show and fact.startswith(show):
            print(*(f"{name}: written {text}, measured {rule}" for name, text, rule in pairs if text != rule), sep="\n")
        if not both:
            rows.append(f"| {fact} | {len(pairs)} | 0 | - | - | - |")
            continue
        agree = sum(text == rule for _, text, rule in both)
        common = Counter(text for _, text, _ in both).most_common(1)[0][1]
        near = _near(both)
        cells = [len(pairs), len(both), _share(agree, len(both)), near, f"{common / len(both):.0%}"]
        rows.append(f"| {fact} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def events(clips: list[tuple[str, Said, Facts]]) -> str:
    """Markdown: what happens in few clips, so that never saying it would mostly agree."""
    rows = ["| event | mentioned | found in them | found in others |", "|---|---|---|---|"]
    for event, (pattern, count) in EVENTS.items():
        pairs = [(bool(re.search(pattern, said.overall)), bool(count(facts))) for _, said, facts in clips]
        told = [found for mentioned, found in pairs if mentioned]
        others = [found for mentioned, found in pairs if not mentioned]
        rows.append(f"| {event} | {len(told)} | {sum(told)} | {sum(others)} of {len(others)} |")
    return "\n".join(rows)


def _near(both: list[tuple[str, str, str]]) -> str:
    """The share of numbers, or of heights, that are no more than one apart; "-" where there is no order."""
    order = {name: at for at, name in enumerate(HEIGHTS)} | {str(number): number for number in range(1, 1000)}
    if both[0][1] in ("90", "180") or not all(text in order and rule in order for _, text, rule in both):
        return "-"
    return _share(sum(abs(order[text] - order[rule]) <= 1 for _, text, rule in both), len(both))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} ({part})"


def main(options: Options) -> None:
    written = read(options.parts, options.captions)
    clips = []
    for corpus in map(Corpus.open, options.corpus):
        found = [corpus.clips[index] for index in corpus.select(options.split) if corpus.clips[index].name in written]
        clips += [
            (clip.name, written[clip.name], measure(corpus.motion(clip)))
            for clip in track(found, f"measuring {corpus.folder.name}", len(found))
        ]
    print(f"{len(clips)} clips of the {options.split} split\n\n{table(clips, options.show)}\n\n{events(clips)}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
