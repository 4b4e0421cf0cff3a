"""Which joint is which: by the names that the field's tools give, else by the shape of the tree, else as the user says.

A name is read as words ("mixamorig:LeftUpLeg" -> left | up leg), after what only says whose joint it is: name spaces,
a prefix that nearly all joints share, and those that tools put before every name. The words must then be exactly one of
those below, so that twist bones, helpers and ends ("LeftUpLegTwist", "Head_End") are never taken.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import lru_cache

from kinema.motion.skeleton import BODY_WITH_HANDS, Skeleton
from kinema.motion.topology import fingers_of_tree, is_below, joints_of_tree, lowest_common

# What the joints of a limb are called, from the trunk outwards, best first. A word may stand for two of them (a "foot"
# is the toe joint of SMPL and the ankle of most others): the limb is read so that most joints of it are found, in
# their order along the tree, each by its best word.
LIMBS: dict[str, dict[str, tuple[str, ...]]] = {
    "leg": {
        "hip": ("upleg", "upperleg", "thigh", "femur", "hip", "leg"),
        "knee": ("knee", "lowerleg", "lowleg", "calf", "shin", "tibia", "leg"),
        "ankle": ("ankle", "foot"),
        "foot": ("toebase", "toes", "toe", "ball", "foot"),
    },
    "arm": {
        "collar": ("clavicle", "collar", "collarbone", "scapula", "shoulder"),
        "shoulder": ("upperarm", "uparm", "uarm", "humerus", "shldr", "arm", "shoulder"),
        "elbow": ("forearm", "lowerarm", "lowarm", "farm", "radius", "elbow"),
        "wrist": ("wrist", "hand"),
    },
}
TRUNK: dict[str, tuple[str, ...]] = {
    "pelvis": ("hips", "pelvis", "hip"),
    "neck": ("neck", "lowerneck", "necklower"),
    "head": ("head",),
}
OPTIONAL = {"foot", "collar"}
REQUIRED = ("pelvis", "head") + tuple(
    f"{side}_{part}" for side in ("left", "right") for limb in LIMBS.values() for part in limb if part not in OPTIONAL
)

_PREFIX = re.compile(
    r"(mixamorig\d*|valvebiped[ _.]*bip\d*|bip\d*(?=[ _.A-Z])|cc_base|j_bip|character\d*|def(?=[-_. ])|org(?=[-_. ]))"
    r"[-_. ]*",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_SIDES = {"left": "left", "l": "left", "左": "left", "right": "right", "r": "right", "右": "right"}
_EMPTY_WORDS = {"m", "c", "x", "mid", "center", "centre", "stretch", "bend", "jnt", "joint", "bone", "bn"}
_LIMB_WORDS = {word for limb in LIMBS.values() for words in limb.values() for word in words}
_FINGER = re.compile(
    r"(?:hand|finger|f)*(thumb|index|middle|mid|ring|pinky|pinkie|little)(?:finger)?"
    r"(?:phalanx)?(metacarpal|base|proximal|intermediate|distal)?"
)
_FINGER_NAMES = {"mid": "middle", "pinkie": "pinky", "little": "pinky"}
_LONGEST_NAME = 200  # letters of a name that are looked at
_NUMBERED_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_TRANSFORM_NODES = {"root", "jointroot", "rootjoint", "reference", "armature", "world", "origin", "scene", "character"}
_DECORATION = {
    "hair", "skirt", "tail", "cape", "cloak", "coat", "dress", "ribbon", "scarf", "breast", "bust", "ear", "wing",
    "eye", "jaw", "tongue", "weapon", "prop", "ik", "pole", "ctrl", "control", "target",
}  # fmt: skip


def is_transform_node(name: str) -> bool:
    """Whether a joint above the hips is called as one that only carries the character about, and is no part of it."""
    return "".join(filter(str.isalpha, name.lower().rpartition(":")[2])) in _TRANSFORM_NODES


def unique_name(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is in `taken`; it is put there."""
    candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    free = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(free)
    return free


def match_joints(skeleton: Skeleton, overrides: Mapping[str, str] | None = None) -> dict[str, int]:
    """Which joint of `skeleton` plays which joint of BODY_WITH_HANDS: {BODY name: joint index}.

    All of the body is there but for toes, collars, neck and spine joints that the skeleton lacks; of the fingers, those
    that were found. `find_joints` also says how.

    Args:
        skeleton: of a human.
        overrides: {BODY name: name of a joint of the skeleton, or "" for none}, stronger than what is found.

    Raises:
        ValueError: some joint of the body cannot be told, or an override names a joint that is not there.
    """
    return {name: joint for name, (joint, _) in find_joints(skeleton, overrides).items()}


def find_joints(skeleton: Skeleton, overrides: Mapping[str, str] | None = None) -> dict[str, tuple[int, str]]:
    """Like `match_joints`, with how each joint was found: {BODY name: (joint index, "name", "tree" or "override")}."""
    found = guess_joints(skeleton, overrides)
    check_joints(skeleton, found)
    return found


def guess_joints(skeleton: Skeleton, overrides: Mapping[str, str] | None = None) -> dict[str, tuple[int, str]]:
    """Like `find_joints`, of any skeleton: what is missing is left out."""
    found = dict(_told(skeleton)[0])
    if overrides:
        _override(skeleton, found, overrides)
    return {name: found[name] for name in BODY_WITH_HANDS.names if name in found}


def check_joints(skeleton: Skeleton, found: Collection[str]) -> None:
    """Is that all of a body?

    Raises:
        ValueError: some joint is missing that every body has.
    """
    if any(name not in found for name in REQUIRED):
        # the pelvis is told by what hangs from it, so that its own name is no news
        missing = [name for name in REQUIRED if name not in found and name != "pelvis"]
        raise ValueError(
            _told(skeleton)[1]
            or f"cannot tell which joints are the body's: not found {', '.join(missing[:4] or ['pelvis'])}; "
            f"the joints are {', '.join(skeleton.names[:12])}{', ...' if len(skeleton) > 12 else ''}"
        )


def _override(skeleton: Skeleton, found: dict[str, tuple[int, str]], overrides: Mapping[str, str]) -> None:
    taken: dict[int, str] = {}
    for ours, theirs in overrides.items():
        if ours not in BODY_WITH_HANDS.names:
            near = get_close_matches(ours[:100], BODY_WITH_HANDS.names, 1)
            hint = f"did you mean {near[0]}?" if near else "they are those of BODY_WITH_HANDS, such as left_hip"
            raise ValueError(f"there is no joint {ours!r} to match; {hint}")
        if not theirs:
            continue
        if theirs not in skeleton.names:
            near = get_close_matches(theirs[:100], [name for name in skeleton.names if len(name) < 100], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"its joints are {', '.join(skeleton.names[:12])}"
            raise ValueError(f"{ours} cannot be {theirs!r}: the skeleton has no such joint; {hint}")
        joint = skeleton.index(theirs)
        if joint in taken:
            raise ValueError(f"{theirs!r} cannot be both {taken[joint]} and {ours}")
        taken[joint] = ours
    for ours in [ours for ours, (joint, _) in found.items() if joint in taken or ours in overrides]:
        del found[ours]
    found |= {ours: (joint, "override") for joint, ours in taken.items()}


def _told(skeleton: Skeleton) -> tuple[dict[str, tuple[int, str]], str]:
    """What names tell and, where they do not do, the tree; and a sentence on what is wrong with the names, or ""."""
    return _remembered(skeleton, skeleton.tips.tobytes())


@lru_cache(maxsize=16)
def _remembered(skeleton: Skeleton, tips: bytes) -> tuple[dict[str, tuple[int, str]], str]:
    """`_told` of a skeleton with these tips: the tree tells by them, and skeletons are equal without them."""
    names = _Names(skeleton)
    limbs, reason = {}, ""
    for side, limb in itertools.product(("left", "right"), LIMBS):
        limbs[side, limb], wrong = names.limb(side, limb)
        reason = reason or wrong
    found = names.head() | {name: joint for limb in limbs.values() for name, joint in limb.items()}
    how = dict.fromkeys(found, "name")
    if "head" not in found or not all(limbs.values()):
        tree = names.with_their_sides(joints_of_tree(skeleton, names.decoration()))
        wanted = {f"{side}_{part}" for (side, limb), joints in limbs.items() if not joints for part in LIMBS[limb]}
        if "head" not in found:
            wanted |= {"head", "neck"} - found.keys()
        more = {name: joint for name, joint in tree.items() if name in wanted}
        if set(found.values()) & set(more.values()):  # the names mislead
            found, how, more = {}, {}, tree
        found |= more
        how |= dict.fromkeys(more, "tree")
    if {"left_hip", "right_hip", "left_shoulder", "right_shoulder"} <= found.keys():
        _add_trunk(names, found, how)
    for side in ("left", "right"):
        if f"{side}_wrist" in found:
            wrist = found[f"{side}_wrist"]
            fingers, by = names.fingers(wrist), "name"
            if not fingers:
                fingers, by = fingers_of_tree(skeleton, wrist), "tree"
            for finger, joints in fingers.items():
                for number, joint in enumerate(joints, 1):
                    found[f"{side}_{finger}{number}"], how[f"{side}_{finger}{number}"] = joint, by
    return {name: (joint, how[name]) for name, joint in found.items()}, reason


def _add_trunk(names: _Names, found: dict[str, int], how: dict[str, str]) -> None:
    """Pelvis, spine joints, and what else is on the way from chest to head."""
    skeleton = names.skeleton
    hips = found["left_hip"], found["right_hip"]
    arms = [found.get(f"{side}_collar", found[f"{side}_shoulder"]) for side in ("left", "right")]
    root = lowest_common(skeleton, *hips, *arms)
    candidates = names.called(TRUNK["pelvis"])
    above = [joint for joint in candidates if joint == root or is_below(skeleton, root, joint)]
    if above or candidates:
        found["pelvis"], how["pelvis"] = (above or candidates)[0], "name"
    else:
        found["pelvis"], how["pelvis"] = root, "tree"
    chest = lowest_common(skeleton, *arms)
    if not is_below(skeleton, chest, found["pelvis"]):
        chest = skeleton.parents[arms[0]]
    spine: list[int] = []
    joint = chest
    while joint > 0 and joint != found["pelvis"]:
        spine.insert(0, joint)
        joint = skeleton.parents[joint]
    middle = len(spine) // 2
    for name, place, least in (("spine3", -1, 1), ("spine1", 0, 2), ("spine2", middle, 3)):
        if len(spine) >= least and spine[place] not in found.values():
            found[name], how[name] = spine[place], "tree"
    if "neck" not in found and "head" in found and is_below(skeleton, found["head"], chest):
        joint = found["head"]
        while skeleton.parents[joint] != chest:
            joint = skeleton.parents[joint]
        if joint not in found.values():
            found["neck"], how["neck"] = joint, "tree"


class _Names:
    """The names of a skeleton's joints as words."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        words = [_words(name) for name in skeleton.names]
        for _ in range(3):  # what nearly all names begin with says whose joints they are
            first, count = Counter(row[0].lower() for row in words if row).most_common(1)[0] if any(words) else ("", 0)
            if count < max(0.8 * len(words), 5) or first in _SIDES or first in _LIMB_WORDS:
                break
            words = [row[1:] if row and row[0].lower() == first else row for row in words]
        self.words = [[word.lower() for word in row] for row in words]
        read = [_read(row) for row in self.words]
        self.side = [side for side, _, _ in read]
        self.core = [core for _, core, _ in read]
        # of several joints with the same words, the one that deforms; without number, or with the smallest
        spare = [bool(re.match(r"org\W", name, re.IGNORECASE)) for name in skeleton.names]
        self.order = sorted(range(len(skeleton)), key=lambda joint: (spare[joint], read[joint][2], joint))

    def called(self, words: tuple[str, ...], side: str = "") -> list[int]:
        """The joints of a side that are called so, the best first."""
        return [
            joint for word in words for joint in self.order if self.core[joint] == word and self.side[joint] == side
        ]

    def head(self) -> dict[str, int]:
        """Head, and the neck above which it is."""
        for head in self.called(TRUNK["head"]):
            necks = [joint for joint in self.called(TRUNK["neck"]) if is_below(self.skeleton, head, joint)]
            return {"head": head, **({"neck": necks[0]} if necks else {})}
        return {}

    def limb(self, side: str, limb: str) -> tuple[dict[str, int], str]:
        """The joints of a limb, none unless all that bodies need are there; and what is wrong with their tree."""
        parts = LIMBS[limb]
        called = {part: self.called(words, side) for part, words in parts.items()}
        if any(not joints for part, joints in called.items() if part not in OPTIONAL):
            return {}, ""
        chains: list[tuple[float, tuple[int | None, ...]]] = [(0.0, ())]
        for part, joints in called.items():
            longer = []
            for cost, chain in chains:
                above = next((joint for joint in reversed(chain) if joint is not None), None)
                for rank, joint in enumerate(joints[:6]):
                    if above is None or is_below(self.skeleton, joint, above):
                        longer.append((cost + rank, (*chain, joint)))
                if part in OPTIONAL:
                    longer.append((cost + 100, (*chain, None)))
            chains = longer
        if not chains:
            ends = [part for part in parts if part not in OPTIONAL]
            first, last = (f"the {side} {end} ({self.skeleton.names[called[end][0]]})" for end in (ends[0], ends[-1]))
            return {}, f"{last} does not hang below {first}; parent it to the limb and export again"
        best = min(chains, key=lambda found: found[0])[1]
        return {f"{side}_{part}": joint for part, joint in zip(parts, best, strict=True) if joint is not None}, ""

    def fingers(self, wrist: int) -> dict[str, list[int]]:
        """The joints of each finger of a hand from the knuckle on (of the thumb, from the wrist), at most three."""
        found: dict[str, list[int]] = {}
        for joint in range(wrist + 1, len(self.skeleton)):
            finger = self.finger(joint)
            if finger and is_below(self.skeleton, joint, wrist):
                chain = found.setdefault(finger, [])
                if len(chain) < 3 and (not chain or is_below(self.skeleton, joint, chain[-1])):
                    chain.append(joint)
        return found

    def finger(self, joint: int) -> str:
        """Which finger a joint belongs to by its name; "" for none, and for metacarpals in the palm."""
        core, numbers = self.core[joint], [word for word in self.words[joint] if word.isdecimal()]
        if core == "finger" and numbers:
            # the index finger is finger2-1 and so on in MakeHuman, Finger1, Finger11 and Finger12 in 3ds Max
            number = int(numbers[0]) - 1 if len(numbers) > 1 else int(numbers[0][0])
            return _NUMBERED_FINGERS[number] if 0 <= number < 5 else ""
        found = _FINGER.fullmatch(core)
        if not found:
            return ""
        finger = _FINGER_NAMES.get(found[1], found[1])
        return "" if found[2] in ("metacarpal", "base") and finger != "thumb" else finger

    def decoration(self) -> list[int]:
        """Joints that are no part of a body: hair, clothes, what a rig is moved by."""
        return [joint for joint, words in enumerate(self.words) if _DECORATION.intersection(words)]

    def with_their_sides(self, joints: dict[str, int]) -> dict[str, int]:
        """Left and right of joints that the tree told, swapped if most of their names say so."""
        votes = [self.side[joint] == name.partition("_")[0] for name, joint in joints.items() if self.side[joint]]
        if 2 * sum(votes) >= len(votes):
            return joints
        swap = {"left": "right", "right": "left"}
        return {"_".join(swap.get(word, word) for word in name.split("_")): joint for name, joint in joints.items()}


def _words(name: str) -> list[str]:
    """The words of a name, without its name space and what tools put before every name."""
    name = re.split(r"[:|]", name)[-1][:_LONGEST_NAME]
    name = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
    return _WORDS.findall(name.lower() if name.isupper() else name)


def _read(words: list[str]) -> tuple[str, str, int]:
    """Side ("left", "right" or ""), the words that say which joint, as one, and the number at their end (or -1)."""
    side = ""
    rest = []
    for word in words:
        if word in _SIDES and not side:
            side = _SIDES[word]
        elif word[0] in _SIDES and not word.isascii():  # scripts that set no words apart
            side = side or _SIDES[word[0]]
            rest.append(word[1:])
        elif not word.isdecimal():
            rest.append(word)
    core = "".join(rest)
    if len(rest) > 1:
        core = "".join(word for word in rest if word not in _EMPTY_WORDS) or core
    if not side:
        side, core = _side_within(core)
    numbers = [int(word[:6]) for word in words if word.isdecimal()]
    return side, core, numbers[-1] if numbers else -1


def _side_within(core: str) -> tuple[str, str]:
    """The side in one word such as "leftupleg", "lfemur" or "handl", and the word without it."""
    for mark in ("left", "right", "l", "r"):
        for inner in (core.removeprefix(mark), core.removesuffix(mark)):
            if inner != core and (inner in _LIMB_WORDS or _FINGER.fullmatch(inner)):
                return _SIDES[mark], inner
    return "", core
