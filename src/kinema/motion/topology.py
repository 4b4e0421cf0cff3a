"""Which joint is which by the shape of the tree alone, whatever the names: lengths of bones, and where they branch.

The legs are two like chains of a long thigh and shin and a short foot, which meet at the pelvis; the arms two like
chains above them, in the lengths that people have compared with their legs; the head hangs where the arms meet. How
well a chain fits is a sum of squares of logarithms of ratios, each over the spread that such a ratio has among people
and characters. Directions in the rest pose tell left from right, and twist joints, which lie on a line, from others;
lengths must do for the rest, as a rest pose may have all bones along one axis.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import combinations

import numpy as np

from kinema.motion.skeleton import Skeleton

_Limb = tuple[int, int, int]  # hip, knee and ankle, or shoulder, elbow and wrist
_Pair = tuple[float, int, tuple[_Limb, _Limb]]

FINGERS = ("index", "middle", "pinky", "ring", "thumb")

_LONGEST_CHAIN = 16  # joints of a limb that are looked at, from the trunk
_MOST_CHAINS = 12  # chains at a joint that are looked at, the longest
_MOST_BRANCHINGS = 24  # joints from which two chains hang that are looked at, those with the longest
_MOST_PAIRS = 8  # pairs of legs, and of arms, that are looked at
_WORST = -20.0  # a body that fits less well than this is none
_ALIKE = 0.12  # how much two chains of a pair may differ in length


def is_below(skeleton: Skeleton, joint: int, above: int) -> bool:
    """Whether `joint` hangs somewhere below the joint `above`."""
    while joint > above:  # parents stand before their children
        joint = skeleton.parents[joint]
        if joint == above:
            return True
    return False


def lowest_common(skeleton: Skeleton, *joints: int) -> int:
    """The joint farthest from the root that all of these hang from, or are."""
    left = set(joints)
    while len(left) > 1:
        last = max(left)
        left.remove(last)
        left.add(skeleton.parents[last])
    return left.pop()


def joints_of_tree(skeleton: Skeleton, without: Collection[int] = ()) -> dict[str, int]:
    """The joints of BODY but for the spine, as the shape of the tree tells them: {BODY name: joint index}.

    Left and right are told by where the toes point, or without toes by +Z being forward, with the trunk upwards.

    Args:
        skeleton: of a human, with any other joints.
        without: joints that are no part of the body, and with them all that hangs below.

    Returns:
        Pelvis, head, hips, knees, ankles, shoulders, elbows and wrists; collars, toes and neck where there are some.
        Nothing if no part of the tree is like a human body, or left cannot be told from right.
    """
    return _Tree(skeleton, without).body() if _has_lengths(skeleton) else {}


def fingers_of_tree(skeleton: Skeleton, wrist: int) -> dict[str, list[int]]:
    """{finger: its three joints} of a hand with five of them; nothing if there are not just five chains of joints.

    The thumb begins nearest to the wrist and points away from the others; the index finger is next to it.
    """
    if not _has_lengths(skeleton):
        return {}
    chains = []
    queue = [[child] for child in skeleton.children[wrist]]
    while queue:  # a finger is a chain that branches no more
        chain = queue.pop()
        if len(chain) > 6 or len(queue) > 40:
            return {}
        below = [
            child for child in skeleton.children[chain[-1]] if skeleton.children[child] or _is_long(skeleton, child)
        ]
        if len(below) == 1:
            queue.append([*chain, below[0]])
        elif len(below) > 1:
            queue.extend([child] for child in below)
        elif len(chain) >= 3:
            chains.append(chain)
    if len(chains) != 5:
        return {}
    position = skeleton.rest_positions - skeleton.rest_positions[wrist]
    bases = np.array([position[chain[0]] for chain in chains])
    heading = np.array([position[chain[2]] - position[chain[0]] for chain in chains])
    near, size = np.linalg.norm(bases, axis=-1), np.linalg.norm(heading, axis=-1)
    if min(near.max(), size.min()) < 1e-9:
        return {}
    heading /= size[:, None]
    apart = np.arccos(np.clip((heading @ heading.T).mean(1), -1, 1))
    joints = np.array([len(chain) for chain in chains])
    thumb = int(np.argmax(2 * apart - near / np.median(near) - (joints - np.median(joints))))
    others = [finger for finger in range(5) if finger != thumb]
    usual = min(joints[others])
    # longer fingers than the thumb begin with the bone of the palm; what is beyond three joints is an end
    first = {finger: int(usual > joints[thumb]) for finger in others} | {thumb: 0}
    # the knuckles of the others lie in a line across the hand, index finger on the side of the thumb
    straight = heading[others].mean(0)
    knuckles = np.array([position[chains[finger][first[finger]]] for finger in (*others, thumb)])
    knuckles -= np.outer(knuckles @ straight, straight) / max(float(straight @ straight), 1e-9)
    middle = knuckles[:4].mean(0)
    across = np.linalg.svd(knuckles[:4] - middle)[2][0]
    side = (knuckles - middle) @ across
    others = [others[k] for k in np.argsort(-side[:4] * np.sign(side[4] or 1))]
    order = dict(zip(("thumb", "index", "middle", "ring", "pinky"), (thumb, *others), strict=True))
    return {name: chains[order[name]][first[order[name]] : first[order[name]] + 3] for name in FINGERS}


def _has_lengths(skeleton: Skeleton) -> bool:
    """Whether the bones are neither all without length nor longer than can be reckoned with."""
    return 1e-6 < max(float(np.abs(skeleton.offsets).max()), float(np.abs(skeleton.tips).max())) < 1e6


def _is_long(skeleton: Skeleton, joint: int) -> bool:
    return bool(np.linalg.norm(skeleton.offsets[joint]) > 1e-6)


def _misfit(ratio: np.ndarray, usual: float, spread: float) -> np.ndarray:
    return (np.log(np.maximum(ratio, 1e-9) / usual) / spread) ** 2


def _cheapest(chain: list[int], cost: np.ndarray) -> _Limb:
    first, middle, last = np.unravel_index(np.nanargmin(cost), cost.shape)
    return chain[first], chain[middle], chain[last]


class _Tree:
    """A skeleton as lengths along its bones, to compare with those of people."""

    def __init__(self, skeleton: Skeleton, without: Collection[int]) -> None:
        self.skeleton = skeleton
        self.rest = skeleton.rest_positions
        self.length = np.linalg.norm(skeleton.offsets, axis=-1)
        dropped = np.zeros(len(skeleton), dtype=bool)
        dropped[list(without)] = True
        for joint, parent in enumerate(skeleton.parents[1:], 1):
            dropped[joint] |= dropped[parent]
        self.children = [[child for child in row if not dropped[child]] for row in skeleton.children]
        # from a joint to the farthest end below it, along the bones, and the child on that way
        self.reach = np.linalg.norm(skeleton.tips, axis=-1)
        self.next = [-1] * len(skeleton)
        for joint in range(len(skeleton) - 1, -1, -1):
            if self.children[joint]:
                self.next[joint] = max(self.children[joint], key=lambda child: self.length[child] + self.reach[child])
                self.reach[joint] = self.length[self.next[joint]] + self.reach[self.next[joint]]
        self.whole = self.length + self.reach
        self.measured: dict[int, tuple[np.ndarray, ...]] = {}

    def body(self) -> dict[str, int]:
        """The best fit of legs, arms and head together."""
        score, found = _WORST, {}
        arms: dict[float, list[_Pair]] = {}
        for leg_score, pelvis, legs in self.pairs(self.leg):
            size = (self.along(legs[0][0], legs[0][2]) + self.along(legs[1][0], legs[1][2])) / 2
            size = float(np.exp(np.round(np.log(size), 1)))  # arms of about this size are looked for once
            if size not in arms:
                arms[size] = self.pairs(lambda chain, size=size: self.arm(chain, size))
            for arm_score, chest, both in arms[size]:
                if leg_score + arm_score <= score or not is_below(self.skeleton, chest, pelvis):
                    continue
                if any(chest == top or is_below(self.skeleton, chest, top) for top in self.tops(pelvis, legs)):
                    continue
                head = self.head(pelvis, chest, self.tops(chest, both), size)
                named = self.named(pelvis, chest, legs, both, size) if head else {}
                if named:
                    score, found = leg_score + arm_score, {"pelvis": pelvis, **head, **named}
        return found

    def tops(self, joint: int, limbs: tuple[_Limb, _Limb]) -> list[int]:
        """The children of `joint` that these limbs hang from."""
        result = []
        for limb in limbs:
            top = limb[0]
            while self.skeleton.parents[top] != joint:
                top = self.skeleton.parents[top]
            result.append(top)
        return result

    def along(self, above: int, joint: int) -> float:
        """Length of the bones from `above` down to `joint`, metres."""
        total = 0.0
        while joint != above:
            total += float(self.length[joint])
            joint = self.skeleton.parents[joint]
        return total

    def pairs(self, fit: Callable[[list[int]], np.ndarray]) -> list[_Pair]:
        """The best pairs of like limbs: score, the joint that both hang from, and their joints."""
        enough = 0.1 * self.whole.max()
        branchings = []
        for joint, children in enumerate(self.children):
            tops = sorted((child for child in children if self.whole[child] > enough), key=lambda top: -self.whole[top])
            if len(tops) > 1:
                branchings.append((self.whole[tops[1]], joint, tops[:_MOST_CHAINS]))
        found = []
        for _, joint, tops in sorted(branchings, reverse=True)[:_MOST_BRANCHINGS]:
            fits = [(chain, fit(chain)) for chain in map(self.chain, tops)]
            for (one, cost), (other, other_cost) in combinations(fits, 2):
                if len(one) == len(other):  # then the same joint of both is the knee
                    cost = other_cost = cost + other_cost
                if not (np.isfinite(cost).any() and np.isfinite(other_cost).any()):
                    continue
                limbs = _cheapest(one, cost), _cheapest(other, other_cost)
                total = np.nanmin(cost) if len(one) == len(other) else np.nanmin(cost) + np.nanmin(other_cost)
                for upper, lower in ((0, 1), (1, 2)):
                    a, b = (self.along(limb[upper], limb[lower]) for limb in limbs)
                    total += 2 * (np.log(a / b) / _ALIKE) ** 2
                found.append((-float(total) / 2, joint, limbs))
        return sorted(found, key=lambda pair: -pair[0])[:_MOST_PAIRS]

    def chain(self, top: int) -> list[int]:
        """The joints from `top` on the way to the farthest end."""
        chain = [top]
        while self.next[chain[-1]] >= 0 and len(chain) < _LONGEST_CHAIN:
            chain.append(self.next[chain[-1]])
        return chain

    def leg(self, chain: list[int]) -> np.ndarray:
        """(n, n, n) how badly joints i, j, k of a chain do for hip, knee and ankle; nan where they cannot be."""
        before, upper, lower, after, cost = self.segments(chain)
        cost = cost + _misfit(upper / lower, 0.95, 0.2) + ((before / lower - 0.25) / 0.4) ** 2
        cost += np.where(after > 1e-6 * lower, np.minimum(_misfit(after / lower, 0.35, 0.5), 9), 1)
        return cost - 6 * np.log((upper + lower) / self.whole.max())

    def arm(self, chain: list[int], size: float) -> np.ndarray:
        """(n, n, n) how badly joints i, j, k of a chain do for shoulder, elbow and wrist beside legs of length `size`;
        nan where they cannot be."""
        before, upper, lower, after, cost = self.segments(chain)
        cost = cost + _misfit(upper / lower, 1.15, 0.3) + ((before / upper - 0.9) / 0.7) ** 2
        cost += np.where(after > 1e-6 * lower, np.minimum(_misfit(after / lower, 0.7, 0.7), 4), 0.5)
        cost += _misfit((upper + lower) / size, 0.62, 0.35)
        branches = np.array([self.branches(joint) for joint in chain])
        if (branches > 2).any():  # fingers begin at the wrist; a thumb alone is less of a sign
            cost += 9 * (np.arange(len(chain)) != np.argmax(branches > 2))
        return cost - 5 * (branches > 1)

    def branches(self, joint: int) -> int:
        """How many ways lead on from a joint, not counting twist joints: those lie on the bone."""
        if self.next[joint] < 0:
            return 0
        bone = self.skeleton.offsets[self.next[joint]]
        away = 1
        for child in self.children[joint]:
            end = self.skeleton.offsets[child] + self.skeleton.tips[child]
            away += bool(np.linalg.norm(np.cross(end, bone)) > 0.1 * np.linalg.norm(bone) * np.linalg.norm(end))
        chains = sum(bool(self.children[child]) for child in self.children[joint])
        return max(away, chains) if chains > 2 else away

    def segments(self, chain: list[int]) -> tuple[np.ndarray, ...]:
        """Lengths of what is before, between and after every three joints (n, n, n) of a chain, nan where they are
        not in order, and a cost of the joints between them: twist joints lie on a line, other joints do not."""
        if chain[0] in self.measured:
            return self.measured[chain[0]]
        at = np.cumsum(self.length[chain])
        n = len(chain)
        first, middle, last = np.ix_(range(n), range(n), range(n))
        upper, lower = at[middle] - at[first], at[last] - at[middle]
        valid = (upper > 1e-6 * at[-1]) & (lower > 1e-6 * at[-1]) & (first < middle) & (middle < last)
        place = self.rest[chain]
        bone = place[None] - place[:, None]
        size = np.linalg.norm(bone, axis=-1)
        # how far joint j is off the line from i to k, beside its distance from the nearer of them: a sine
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.linalg.norm(np.cross(bone[:, None, :], bone[:, :, None]), axis=-1) / size[:, :, None]
            off = (off / np.minimum(size[:, None, :], size.T[None])).transpose(0, 2, 1)  # here i, j, k
        between = (middle > first) & (middle < last)
        off = np.where(between, np.minimum(np.nan_to_num(off, nan=0, posinf=9) / 0.1, 10) + 0.15, 0)
        bent = off.sum(1)
        total = bent[:, :, None] + bent[None]
        upper, lower = np.where(valid, upper, np.nan), np.where(valid, lower, np.nan)
        after = at[-1] + self.reach[chain[-1]] - at[last]
        # of joints at one place, the last one turns the bone below it; the limb ends with the first
        self.measured[chain[0]] = at[first], upper, lower, after, total - 1e-4 * (first + middle - last)
        return self.measured[chain[0]]

    def head(self, pelvis: int, chest: int, arms: list[int], size: float) -> dict[str, int]:
        """Head, and neck if there is one: up from the chest to where the face branches off, or to the last bone."""
        up = self.rest[chest] - self.rest[pelvis]
        top = self.rest + self.skeleton.tips
        height = np.where(np.linalg.norm(up) > 0, np.maximum(self.rest @ up, top @ up), self.whole)
        for joint in range(len(self.skeleton) - 1, 0, -1):
            height[self.skeleton.parents[joint]] = max(height[self.skeleton.parents[joint]], height[joint])
        below = [child for child in self.children[chest] if child not in arms]
        if not below:
            return {}
        chain = [max(below, key=lambda child: height[child])]
        if height[chain[0]] <= self.rest[chest] @ up:
            return {}
        while self.children[chain[-1]] and len(chain) < _LONGEST_CHAIN:
            chain.append(max(self.children[chain[-1]], key=lambda child: height[child]))
        last = len(chain) - 1
        if last > 1 and self.reach[chain[-1]] == 0 and self.length[chain[-1]] > 0.13 * size:
            last -= 1  # an end: the top of the head
        at = np.cumsum(self.length[chain])
        branching = [k for k, joint in enumerate(chain) if len(self.children[joint]) > 1]
        head = min([last, *branching], key=lambda k: abs(np.log((at[k] + 1e-9) / (0.35 * size))) + 0.2 * (k == last))
        while head > 1 and self.length[chain[head]] < 1e-6 * size:  # the bone of the face, at the place of the head's
            head -= 1
        return {"head": chain[head], **({"neck": chain[0]} if head > 0 else {})}

    def named(
        self, pelvis: int, chest: int, legs: tuple[_Limb, _Limb], arms: tuple[_Limb, _Limb], size: float
    ) -> dict[str, int]:
        """Legs and arms by their sides; nothing where these cannot be told, or the body goes on all fours."""
        rest = self.rest
        leg = np.array([rest[ankle] - rest[hip] for hip, _, ankle in legs])
        arm = np.array([rest[wrist] - rest[shoulder] for shoulder, _, wrist in arms])
        leg, arm = (limb / np.maximum(np.linalg.norm(limb, axis=-1, keepdims=True), 1e-9) for limb in (leg, arm))
        trunk = rest[chest] - rest[[legs[0][0], legs[1][0]]].mean(0)
        trunk = trunk / max(float(np.linalg.norm(trunk)), 1e-9)
        down = leg.mean(0)
        if leg[0] @ leg[1] > 0.7 and abs(down @ trunk) < 0.5:
            return {}
        stands = down @ trunk < -0.5
        up = trunk - down if stands else trunk
        up = up / max(float(np.linalg.norm(up)), 1e-9)
        toes = np.mean([rest[end] + self.skeleton.tips[end] - rest[limb[2]] for limb, end in self.ends(legs)], 0)
        for forward, least in ((toes, 0.05 * size if stands else np.inf), (np.array([0.0, 0.0, 1.0]), 0.3)):
            forward = forward - (forward @ up) * up
            if np.linalg.norm(forward) > least:
                break
        else:
            forward = np.array([0.0, -1.0, 0.0])  # the trunk is along Z: Blender's world
        left = np.cross(up, forward / max(float(np.linalg.norm(forward)), 1e-9))
        apart = (rest[list(legs[0])] - rest[list(legs[1])]).sum(0) @ left
        if abs(apart) < 1e-3 * size:
            return {}
        legs, leg = (legs, leg) if apart > 0 else ((legs[1], legs[0]), leg[::-1])
        across = (rest[list(arms[0])] - rest[list(arms[1])]).sum(0) @ left
        if abs(across) < 0.05 * size:  # bones along an axis: those of one side point along it, of the other against it
            across = (arm[0] - arm[1]) @ (leg[0] - leg[1])
            if abs(across) < 0.5:
                return {}
        arms = arms if across > 0 else (arms[1], arms[0])
        found = {}
        for side, leg_joints, arm_joints in zip(("left", "right"), legs, arms, strict=True):
            found |= zip((f"{side}_hip", f"{side}_knee", f"{side}_ankle"), leg_joints, strict=True)
            found |= zip((f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"), arm_joints, strict=True)
            toe = self.next[leg_joints[2]]
            if toe >= 0 and self.length[toe] > 1e-6 * size:
                found[f"{side}_foot"] = toe
            collar = self.skeleton.parents[arm_joints[0]]
            if collar != chest:
                found[f"{side}_collar"] = collar
        return found

    def ends(self, legs: tuple[_Limb, _Limb]) -> list[tuple[_Limb, int]]:
        return [(leg, self.chain(leg[2])[-1]) for leg in legs]
