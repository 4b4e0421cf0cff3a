"""Joints are found by any tool's names, by the tree alone as by the names, and as the user says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.formats.bvh import read_bvh
from kinema.motion import BODY, Skeleton
from kinema.motion.joint_names import find_joints, guess_joints, match_joints
from kinema.motion.skeleton import BODY_WITH_HANDS
from kinema.motion.topology import joints_of_tree

SIDES = ("left", "right")
TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
LIMBS = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
FINGERS = ("thumb", "index", "middle", "ring", "pinky")
Names = Callable[[str, str], str]  # of a side and what is there
Fingers = Callable[[str, str, int], str]


def rig(trunk: str, limb: str, words: str, fingers: Fingers | None = None) -> tuple[Skeleton, dict[str, int]]:
    """BODY or BODY_WITH_HANDS under other names, and which joint is which.

    Args:
        trunk: names from pelvis to head.
        limb: how a name is made of {w} and the side, one of {s} left {S} Left {l} l {L} L.
        words: {w} from hip to toes and from collar to wrist.
    """
    names: dict[str, str] = dict(zip(TRUNK, trunk.split(","), strict=True))
    for side in SIDES:
        for part, word in zip(LIMBS, words.split(), strict=True):
            names[f"{side}_{part}"] = limb.format(w=word, s=side, S=side.title(), l=side[0], L=side[0].upper())
        for finger in FINGERS if fingers else ():
            for number in (1, 2, 3):
                names[f"{side}_{finger}{number}"] = fingers(side, finger, number) if fingers else ""
    body = BODY_WITH_HANDS if fingers else BODY
    return (
        Skeleton(tuple(names[name] for name in body.names), body.parents, body.offsets, body.tips),
        {name: joint for joint, name in enumerate(body.names)},
    )


def mixamo(prefix: str) -> tuple[Skeleton, dict[str, int]]:
    return rig(
        ",".join(f"{prefix}{name}" for name in ("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head")),
        prefix + "{S}{w}",
        "UpLeg Leg Foot ToeBase Shoulder Arm ForeArm Hand",
        lambda side, finger, number: f"{prefix}{side.title()}Hand{finger.title()}{number}",
    )


def biped(prefix: str) -> tuple[Skeleton, dict[str, int]]:
    return rig(
        ",".join(f"{prefix}{name}" for name in ("Pelvis", "Spine", "Spine1", "Spine2", "Neck", "Head")),
        prefix + "{L} {w}",
        "Thigh Calf Foot Toe0 Clavicle UpperArm Forearm Hand",
        lambda side, finger, number: (
            f"{prefix}{side[0].upper()} Finger{FINGERS.index(finger)}{number - 1 if number > 1 else ''}"
        ),
    )


def rigify(prefix: str) -> tuple[Skeleton, dict[str, int]]:
    return rig(
        ",".join(f"{prefix}spine{tail}" for tail in ("", ".001", ".002", ".003", ".004", ".006")),
        prefix + "{w}.{L}",
        "thigh shin foot toe shoulder upper_arm forearm hand",
        lambda side, finger, number: f"{prefix}{'' if finger == 'thumb' else 'f_'}{finger}.0{number}.{side[0].upper()}",
    )


def humanoid(phase: Mapping[str, str], made: str) -> tuple[Skeleton, dict[str, int]]:
    """The bones of Unity and VRM."""
    title = made.startswith("{S}")
    trunk = "Hips,Spine,Chest,UpperChest,Neck,Head" if title else "hips,spine,chest,upperChest,neck,head"
    return rig(
        trunk,
        made,
        "UpperLeg LowerLeg Foot Toes Shoulder UpperArm LowerArm Hand",
        lambda side, finger, number: made.format(
            s=side,
            S=side.title(),
            w=finger.title().replace("Pinky", "Little")
            + (" " if " " in made else "")
            + phase["thumb" if finger == "thumb" else "other"].split()[number - 1],
        ),
    )


USUAL, NEW_THUMB = "Proximal Intermediate Distal", "Metacarpal Proximal Distal"
SPINES = "Spine,Spine1,Spine2"
TOOLS = {
    "Mixamo": mixamo("mixamorig:"),
    "Mixamo, second character": mixamo("mixamorig1:"),
    "Mixamo, without name spaces": mixamo("mixamorig_"),
    "Mixamo in three.js": mixamo("mixamorig"),
    "Ready Player Me, MotionBuilder": mixamo(""),
    "HumanIK": mixamo("Character1_"),
    "Motive": mixamo("Skeleton_"),
    "Maya path and name space": mixamo("|group|hero:"),
    "VRM 0.x": humanoid({"thumb": USUAL, "other": USUAL}, "{s}{w}"),
    "VRM 1.0": humanoid({"thumb": NEW_THUMB, "other": USUAL}, "{s}{w}"),
    "Unity": humanoid({"thumb": USUAL, "other": USUAL}, "{S} {w}"),
    "VRoid": rig(
        "J_Bip_C_Hips,J_Bip_C_Spine,J_Bip_C_Chest,J_Bip_C_UpperChest,J_Bip_C_Neck,J_Bip_C_Head", "J_Bip_{L}_{w}",
        "UpperLeg LowerLeg Foot ToeBase Shoulder UpperArm LowerArm Hand",
        lambda s, f, k: f"J_Bip_{s[0].upper()}_{f.title().replace('Pinky', 'Little')}{k}",
    ),
    "VRChat": rig(
        "Hips,Spine,Chest,Upper Chest,Neck,Head", "{S} {w}", "leg knee ankle toe shoulder arm elbow wrist",
    ),
    "Unreal": rig(
        "pelvis,spine_01,spine_02,spine_03,neck_01,head", "{w}_{l}",
        "thigh calf foot ball clavicle upperarm lowerarm hand", lambda s, f, k: f"{f}_0{k}_{s[0]}",
    ),
    "3ds Max Biped": biped("Bip01 "),
    "3ds Max Biped, new": biped("Bip001 "),
    "Biped with underscores": biped("Bip01_"),
    "Valve": biped("ValveBiped.Bip01_"),
    "Rigify, metarig": rigify(""),
    "Rigify, deforming": rigify("DEF-"),
    "Rigify, ORG": rigify("ORG-"),
    "Auto-Rig Pro": rig(
        "root.x,spine_01.x,spine_02.x,spine_03.x,neck.x,head.x", "{w}.{l}",
        "thigh_stretch leg_stretch foot toes_01 shoulder arm_stretch forearm_stretch hand",
        lambda s, f, k: f"c_{f}{k}.{s[0]}",
    ),
    "Xsens": rig(
        "Pelvis,L5,L3,T8,Neck,Head", "{S}{w}", "UpperLeg LowerLeg Foot Toe Shoulder UpperArm ForeArm Hand",
    ),
    "OptiTrack": rig(
        "Hip,Ab,Ab2,Chest,Neck,Head", "{L}{w}", "Thigh Shin Foot Toe Shoulder UArm FArm Hand",
        lambda s, f, k: f"{s[0].upper()}{f.title()}{k}",
    ),
    "Rokoko": rig(f"Hips,{SPINES},Neck,Head", "{S}{w}", "Thigh Shin Foot Toe Shoulder Arm ForeArm Hand"),
    "LAFAN1": rig(f"Hips,{SPINES},Neck,Head", "{S}{w}", "UpLeg Leg Foot Toe Shoulder Arm ForeArm Hand"),
    "MakeHuman": rig(
        "root,spine05,spine03,spine01,neck01,head", "{w}.{L}",
        "upperleg01 lowerleg01 foot toe1-1 clavicle upperarm01 lowerarm01 wrist",
        lambda s, f, k: f"finger{FINGERS.index(f) + 1}-{k}.{s[0].upper()}",
    ),
    "SMPL": rig("Pelvis,Spine1,Spine2,Spine3,Neck,Head", "{L}_{w}", "Hip Knee Ankle Foot Collar Shoulder Elbow Wrist"),
    "SMPL-X": rig(
        "pelvis,spine1,spine2,spine3,neck,head", "{s}_{w}", "hip knee ankle foot collar shoulder elbow wrist",
        lambda s, f, k: f"{s}_{f}{k}",
    ),
    "Daz": rig(
        "hip,abdomen,abdomen2,chest,neck,head", "{l}{w}", "Thigh Shin Foot Toe Collar Shldr ForeArm Hand",
        lambda s, f, k: f"{s[0]}{f.title().replace('Middle', 'Mid')}{k}",
    ),
    "Daz Genesis 8": rig(
        "hip,abdomenLower,abdomenUpper,chestUpper,neckLower,head", "{l}{w}",
        "ThighBend Shin Foot Toe Collar ShldrBend ForearmBend Hand",
        lambda s, f, k: f"{s[0]}{f.title().replace('Middle', 'Mid')}{k}",
    ),
    "Character Creator": rig(
        "CC_Base_Hip,CC_Base_Waist,CC_Base_Spine01,CC_Base_Spine02,CC_Base_NeckTwist01,CC_Base_Head", "CC_Base_{L}_{w}",
        "Thigh Calf Foot ToeBase Clavicle Upperarm Forearm Hand",
        lambda s, f, k: f"CC_Base_{s[0].upper()}_{f.title().replace('Middle', 'Mid')}{k}",
    ),
    "AdvancedSkeleton": rig(
        "Root_M,Spine1_M,Spine2_M,Chest_M,Neck_M,Head_M", "{w}_{L}",
        "Hip Knee Ankle Toes Scapula Shoulder Elbow Wrist", lambda s, f, k: f"{f.title()}Finger{k}_{s[0].upper()}",
    ),
    "ASF (CMU)": rig(
        "root,lowerback,upperback,thorax,lowerneck,head", "{l}{w}",
        "femur tibia foot toes clavicle humerus radius wrist",
    ),
    "Bandai-Namco": rig(
        "Hips,Spine,Spine1,Chest,Neck,Head", "{w}_{L}", "UpperLeg LowerLeg Foot Toes Shoulder UpperArm LowerArm Hand",
    ),
    "small letters": rig(
        "hips,spine,spine1,spine2,neck,head", "{s}{w}", "upleg leg foot toebase shoulder arm forearm hand",
        lambda s, f, k: f"{s}hand{f}{k}",
    ),
    "capitals": rig(
        "HIPS,SPINE,SPINE1,SPINE2,NECK,HEAD", "{L}_{w}", "THIGH SHIN FOOT TOE COLLAR SHLDR FOREARM HAND",
        lambda s, f, k: f"{s[0]}_{f}{k}".upper(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
def test_names_of_every_tool(tool: str) -> None:
    skeleton, expected = TOOLS[tool]
    found = find_joints(skeleton)
    assert {name: joint for name, (joint, _) in found.items()} == expected
    assert {found[f"{side}_{part}"][1] for side in SIDES for part in LIMBS} == {"name"}


@pytest.mark.parametrize("tool", TOOLS)
def test_names_count_more_than_the_order_of_joints(tool: str) -> None:
    """The same with all the arms of a rig in front, which a table of indices would not survive."""
    skeleton, expected = TOOLS[tool]
    other, moved = shuffled(skeleton, np.random.default_rng(3), names=True)
    assert match_joints(other) == {name: moved[joint] for name, joint in expected.items()}


def with_more(skeleton: Skeleton, extra: Mapping[str, str]) -> Skeleton:
    """With further joints {name: the joint that it hangs from, half-way to its child}."""
    offsets, tips = list(skeleton.offsets), list(skeleton.tips)
    parents, names = list(skeleton.parents), list(skeleton.names)
    for name, parent in extra.items():
        joint = names.index(parent)
        child = next((c for c in range(len(parents)) if parents[c] == joint), None)
        offsets.append(np.array([0, -0.05, 0]) if child is None else offsets[child] / 2)
        names.append(name)
        parents.append(joint)
        tips.append(np.zeros(3))
    return Skeleton(tuple(names), tuple(parents), np.array(offsets), np.array(tips))


@pytest.mark.parametrize(
    "tool, extra",
    [
        ("Mixamo", {"mixamorig:HeadTop_End": "mixamorig:Head", "mixamorig:LeftToe_End": "mixamorig:LeftToeBase",
                    "mixamorig:LeftHandIndex4": "mixamorig:LeftHandIndex3",
                    "mixamorig:LeftUpLegTwist": "mixamorig:LeftUpLeg",
                    "mixamorig:LeftForeArmRoll": "mixamorig:LeftForeArm", "mixamorig:LeftEye": "mixamorig:Head"}),
        ("Unreal", {"thigh_twist_01_l": "thigh_l", "upperarm_twist_01_r": "upperarm_r", "ik_foot_l": "pelvis",
                    "ik_hand_l": "pelvis", "hand_l_end": "hand_l", "calf_kneeBack_l": "calf_l"}),
        ("3ds Max Biped", {"Bip01 HeadNub": "Bip01 Head", "Bip01 L Toe0Nub": "Bip01 L Toe0",
                           "Bip01 L Finger0Nub": "Bip01 L Finger02", "Bip01 LUpArmTwist": "Bip01 L UpperArm"}),
        ("Rigify, deforming", {"DEF-thigh.L.001": "DEF-thigh.L", "DEF-upper_arm.L.001": "DEF-upper_arm.L",
                               "ORG-thigh.L": "DEF-spine", "thigh_ik.L": "DEF-spine", "MCH-foot.L": "DEF-foot.L",
                               "DEF-pelvis.L": "DEF-spine", "DEF-breast.L": "DEF-spine.003",
                               "heel.02.L": "DEF-foot.L"}),
        ("Character Creator", {"CC_Base_Pelvis": "CC_Base_Hip", "CC_Base_L_ThighTwist01": "CC_Base_L_Thigh",
                               "CC_Base_L_KneeShareBone": "CC_Base_L_Calf", "CC_Base_JawRoot": "CC_Base_Head"}),
        ("VRoid", {"J_Sec_Hair1_01": "J_Bip_C_Head", "J_Sec_L_Bust1": "J_Bip_C_UpperChest",
                   "J_Adj_L_FaceEye": "J_Bip_C_Head", "J_Sec_L_SkirtFront0_01": "J_Bip_C_Hips"}),
        ("Unity", {"Left Index Metacarpal": "Left Hand", "Left Thumb Tip": "Left Thumb Distal"}),
    ],
)  # fmt: skip
def test_twists_ends_and_helpers_never_win(tool: str, extra: dict[str, str]) -> None:
    skeleton, expected = TOOLS[tool]
    assert match_joints(with_more(skeleton, extra)) == expected


def test_metacarpals_are_no_finger_joints() -> None:
    names = {f"{side}_index0": f"index_metacarpal_{side[0]}" for side in SIDES}
    skeleton, expected = TOOLS["Unreal"]
    parents, offsets = list(skeleton.parents), list(skeleton.offsets)
    for side, name in zip(SIDES, names.values(), strict=True):  # between hand and knuckle
        joint = expected[f"{side}_index1"]
        parents.insert(joint, parents[joint])
        parents = parents[: joint + 1] + [p + (p >= joint) for p in parents[joint + 1 :]]
        parents[joint + 1] = joint
        offsets.insert(joint, offsets[joint] / 2)
        offsets[joint + 1] = offsets[joint]
        names_now = list(skeleton.names)
        names_now.insert(joint, name)
        skeleton = Skeleton(tuple(names_now), tuple(parents), np.array(offsets))
        expected = {ours: j + (j >= joint) for ours, j in expected.items()}
    found = match_joints(skeleton)
    assert {name: skeleton.names[j] for name, j in found.items()} == {
        name: skeleton.names[j] for name, j in expected.items()
    }


def test_a_pelvis_is_what_legs_and_trunk_hang_from() -> None:
    """Genesis 8: the legs hang from a joint "pelvis", which hangs from "hip", as the spine does."""
    skeleton, expected = TOOLS["Daz Genesis 8"]
    names = ("hip", "pelvis", *skeleton.names[1:])
    parents = [-1, 0]
    for joint, name in enumerate(skeleton.names[1:], 1):
        parent = skeleton.parents[joint]
        parents.append((1 if "Thigh" in name else 0) if parent == 0 else parent + 1)
    offsets = np.concatenate([np.zeros((2, 3)), skeleton.offsets[1:]])
    found = match_joints(Skeleton(names, tuple(parents), offsets))
    assert names[found["pelvis"]] == "hip"
    assert {name: joint + 1 for name, joint in expected.items() if joint} == {
        name: joint for name, joint in found.items() if name != "pelvis"
    }


def test_the_head_is_not_the_face_that_rests_in_it() -> None:
    """Rigify's metarig: all bones of the face hang from one at the place of the head, which the skull does not."""
    skeleton, expected = TOOLS["Rigify, metarig"]
    face = with_more(skeleton, {"face": "spine.006", "jaw": "face", "nose": "face", "forehead": "face"})
    offsets = face.offsets.copy()
    for name, offset in (
        ("face", (0, 0, 0)),
        ("jaw", (0, 0, 0.02)),
        ("nose", (0, 0.05, 0.1)),
        ("forehead", (0, 0.1, 0.1)),
    ):
        offsets[face.index(name)] = offset
    assert match_joints(Skeleton(face.names, face.parents, offsets)) == expected


# --- the tree


def shuffled(skeleton: Skeleton, rng: np.random.Generator, names: bool = False, mirrored: bool = False):
    """The same skeleton with its joints in any other order, and called Bone.000 and so on; {old index: new index}."""
    order, ready = [], [0]
    while ready:
        joint = ready.pop(int(rng.integers(len(ready))))
        order.append(joint)
        ready += skeleton.children[joint]
    moved = {joint: place for place, joint in enumerate(order)}
    called = [skeleton.names[joint] if names else f"Bone.{place:03}" for place, joint in enumerate(order)]
    flip = (-1, 1, 1) if mirrored else (1, 1, 1)
    parents = tuple(moved.get(skeleton.parents[joint], -1) for joint in order)
    return Skeleton(tuple(called), parents, skeleton.offsets[order] * flip, skeleton.tips[order] * flip), moved


def other_side(name: str) -> str:
    return name.replace("left", "?").replace("right", "left").replace("?", "right")


def assert_tree_tells(skeleton: Skeleton, rng: np.random.Generator, joints: Collection[str] = BODY.names) -> None:
    """Under any names, in any order and in a mirror, the joints are those that the names say."""
    by_name = match_joints(skeleton)
    for mirrored in (False, True):
        other, moved = shuffled(skeleton, rng, mirrored=mirrored)
        found = find_joints(other)
        assert {way for _, way in found.values()} == {"tree"}
        back = {joint: skeleton.names[old] for old, joint in moved.items()}
        expected = {(other_side(name) if mirrored else name): skeleton.names[joint] for name, joint in by_name.items()}
        assert {name: back[joint] for name, (joint, _) in found.items() if name in joints} == {
            name: joint for name, joint in expected.items() if name in joints
        }


@pytest.mark.parametrize("skeleton", [BODY, BODY_WITH_HANDS], ids=["body", "hands"])
@pytest.mark.parametrize("seed", range(3))
def test_the_tree_alone_tells_kinemas_own(skeleton: Skeleton, seed: int) -> None:
    assert_tree_tells(skeleton, np.random.default_rng(seed), BODY_WITH_HANDS.names)


@pytest.fixture(scope="module")
def real(data_dir) -> dict[str, list[Skeleton]]:
    """Skeletons of real corpora: 24 subjects of CMU, the one of Daz, 3 of Bandai-Namco, and one with hands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(data_dir / "tools")
        from load_motion import load_shard
    found: dict[str, list[Skeleton]] = {}
    for name in ("cmu/cmu_motions.npz", "cmu/cmu_daz_motions.npz", "bandai/bandai_motions.npz"):
        motions = load_shard(data_dir / name)
        with np.load(data_dir / name) as arrays:
            _, firsts = np.unique(arrays["skeleton"], return_index=True)
        for clip in (motions[motions.ids[first]] for first in firsts):
            offsets = clip["offsets"] * (np.arange(len(clip["offsets"])) > 0)[:, None]
            found.setdefault(name, []).append(
                Skeleton(tuple(clip["joint_names"]), tuple(clip["parents"]), offsets, clip["end_offsets"])
            )
    path = next((data_dir / "cospeech" / "zeroeggs_sample").glob("*.bvh"))
    found["zeroeggs"] = [read_bvh(path).skeleton]
    return found


@pytest.mark.parametrize(
    "name, count", [("cmu/cmu_motions.npz", 24), ("cmu/cmu_daz_motions.npz", 1), ("bandai/bandai_motions.npz", 3)]
)
def test_the_tree_alone_tells_real_bodies(real: dict[str, list[Skeleton]], name: str, count: int) -> None:
    assert len(real[name]) == count
    for seed, skeleton in enumerate(real[name]):
        assert_tree_tells(skeleton, np.random.default_rng(seed))


def test_the_tree_alone_tells_real_fingers(real: dict[str, list[Skeleton]]) -> None:
    assert len(match_joints(real["zeroeggs"][0])) == 52
    assert_tree_tells(real["zeroeggs"][0], np.random.default_rng(0), BODY_WITH_HANDS.names)


def test_stubs_of_fingers_are_those_that_they_are_called(real: dict[str, list[Skeleton]]) -> None:
    skeleton = real["cmu/cmu_motions.npz"][0]
    found = {name: skeleton.names[joint] for name, joint in match_joints(skeleton).items() if name not in BODY.names}
    assert found == {
        "left_index1": "LeftHandIndex1", "left_thumb1": "LThumb",
        "right_index1": "RightHandIndex1", "right_thumb1": "RThumb",
    }  # fmt: skip


class Rig:
    """A skeleton that grows."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.names, self.parents = list(skeleton.names), list(skeleton.parents)
        self.offsets, self.tips = list(skeleton.offsets), list(skeleton.tips)

    def hang(self, name: str, parent: str, *offset: float) -> str:
        self.names.append(name)
        self.parents.append(self.names.index(parent))
        self.offsets.append(np.array(offset))
        self.tips.append(np.zeros(3))
        return name

    def twist(self, name: str, inside: bool) -> None:
        """A twist joint half-way along the bone that leads to a joint: in the chain, or beside it."""
        joint = self.names.index(name)
        above, bone = self.names[self.parents[joint]], self.offsets[joint]
        self.hang(f"{name} half", above, *(bone / 2))
        if inside:
            self.parents[joint], self.offsets[joint] = len(self.names) - 1, bone / 2

    def built(self) -> Skeleton:
        order: list[int] = []
        while len(order) < len(self.names):
            order += [j for j in range(len(self.names)) if j not in order and self.parents[j] in (*order, -1)]
        place = {joint: k for k, joint in enumerate(order)}
        return Skeleton(
            tuple(self.names[j] for j in order),
            tuple(place.get(self.parents[j], -1) for j in order),
            np.array([self.offsets[j] for j in order]),
            np.array([self.tips[j] for j in order]),
        )


def dressed(skeleton: Skeleton, what: Collection[str], rng: np.random.Generator) -> Skeleton:
    made = Rig(skeleton)
    for part in ("knee", "ankle", "elbow", "wrist"):
        for side in SIDES:
            if {"twists", "twists inside"} & set(what):
                made.twist(f"{side}_{part}", "twists inside" in what)
    if "hair" in what:
        for lock in range(6):
            at = "head"
            for k in range(5):
                at = made.hang(f"lock {lock} {k}", at, *rng.normal(0, 0.03, 2), -0.05)
                made.offsets[-1][1] -= 0.06
    if "skirt" in what:
        for angle in np.arange(8) * np.pi / 4:
            at = "pelvis"
            for k in range(4):
                away = 0.11 if k == 0 else 0.03
                at = made.hang(f"hem {angle} {k}", at, away * np.sin(angle), -0.19, away * np.cos(angle))
    if "tail" in what:
        at = "pelvis"
        for k in range(8):
            at = made.hang(f"tail {k}", at, 0.0, -0.02, -0.12)
    if "face" in what:
        for sign in (1, -1):
            made.hang(f"eye {sign}", "head", 0.03 * sign, 0.06, 0.08)
            made.hang(f"breast end {sign}", made.hang(f"breast {sign}", "spine3", 0.08 * sign, 0.05, 0.1), 0, 0, 0.04)
        made.hang("chin", made.hang("jaw", "head", 0, 0.02, 0.04), 0, -0.04, 0.06)
    if "spine" in what:
        made.twist("spine2", inside=True)
        made.twist("neck", inside=False)
    return made.built()


@pytest.mark.parametrize(
    "what",
    [("twists",), ("twists inside",), ("hair",), ("skirt",), ("tail",), ("face",), ("spine",),
     ("twists", "hair", "skirt", "tail", "face", "spine")],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("hands", [False, True], ids=["body", "hands"])
def test_what_is_no_part_of_a_body_does_not_confuse_the_tree(what: tuple[str, ...], hands: bool) -> None:
    rng = np.random.default_rng(0)
    skeleton = dressed(BODY_WITH_HANDS if hands else BODY, what, rng)
    names = [name for name in BODY.names if not name.startswith("spine")]
    assert_tree_tells(skeleton, rng, names + [name for name in BODY_WITH_HANDS.names[22:] if hands])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.05, 20))
def test_the_tree_alone_tells_any_proportions(seed: int, size: float) -> None:
    """Every bone 10 % (standard deviation) longer or shorter, both sides alike, in any pose of arms and any heading."""
    rng = np.random.default_rng(seed)
    parts = sorted({name.split("_")[-1] for name in BODY_WITH_HANDS.names})
    longer = {part: np.exp(rng.normal(0, 0.1)) for part in parts}
    factors = np.array([longer[name.split("_")[-1]] for name in BODY_WITH_HANDS.names])[:, None] * size
    offsets, tips = BODY_WITH_HANDS.offsets * factors, BODY_WITH_HANDS.tips * factors
    drop, yaw = rng.uniform(-0.2, 1.2), rng.uniform(-np.pi, np.pi)
    for joint, name in enumerate(BODY_WITH_HANDS.names):  # an A-pose: everything from the shoulder on turns about Z
        if name.split("_")[-1].rstrip("123") in ("elbow", "wrist", "index", "middle", "pinky", "ring", "thumb"):
            for vectors in (offsets, tips):
                x, y, _ = vectors[joint]
                angle = -drop if name.startswith("left") else drop
                vectors[joint, :2] = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    skeleton = Skeleton(BODY_WITH_HANDS.names, BODY_WITH_HANDS.parents, offsets @ turn.T, tips @ turn.T)
    other, moved = shuffled(skeleton, rng)
    assert match_joints(other) == {name: moved[joint] for joint, name in enumerate(BODY_WITH_HANDS.names)}


def test_without_toes_left_is_where_it_is_for_who_faces_z() -> None:
    keep = [joint for joint, name in enumerate(BODY.names) if not name.endswith("foot")]
    place = {joint: k for k, joint in enumerate(keep)}
    parents = tuple(place.get(BODY.parents[joint], -1) for joint in keep)
    names = tuple(f"b{k}" for k in range(len(keep)))
    found = match_joints(Skeleton(names, parents, BODY.offsets[keep]))
    assert found == {BODY.names[joint]: k for k, joint in enumerate(keep)}


def test_marks_of_sides_in_foreign_names_decide_left_and_right() -> None:
    """A rest pose that faces backwards without toes could not be told otherwise."""
    keep = [joint for joint, name in enumerate(BODY.names) if not name.endswith("foot")]
    place = {joint: k for k, joint in enumerate(keep)}
    parents = tuple(place.get(BODY.parents[joint], -1) for joint in keep)
    marks = {"left": "左", "right": "右"}
    names = tuple(f"{marks.get(BODY.names[j].split('_')[0], '')}骨{j}" for j in keep)
    found = match_joints(Skeleton(names, parents, BODY.offsets[keep] * (-1, 1, -1)))
    assert found == {BODY.names[joint]: k for k, joint in enumerate(keep)}


def test_a_limb_whose_names_fail_is_told_by_the_tree_and_the_rest_by_name() -> None:
    odd = {"left_knee": "joint 7", "right_elbow": "right_gizmo"}
    skeleton = Skeleton(tuple(odd.get(name, name) for name in BODY.names), BODY.parents, BODY.offsets, BODY.tips)
    found = find_joints(skeleton)
    assert {name: joint for name, (joint, _) in found.items()} == {name: j for j, name in enumerate(BODY.names)}
    by_tree = {name for name, (_, way) in found.items() if way == "tree" and not name.startswith("spine")}
    limbs = {f"left_{part}" for part in LIMBS[:4]} | {f"right_{part}" for part in LIMBS[4:]}
    assert by_tree == limbs


def random_tree(seed: int) -> Skeleton:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 90))
    parents = (-1, *(int(rng.integers(max(0, joint - 6), joint)) for joint in range(1, count)))
    offsets = rng.normal(0, 0.2, (count, 3)) * (np.arange(count) > 0)[:, None]
    return Skeleton(tuple(f"Bone.{k}" for k in range(count)), parents, offsets)


def test_trees_that_are_no_bodies_are_not_taken_for_one() -> None:
    assert [seed for seed in range(40) if joints_of_tree(random_tree(seed))] == []


def test_a_dog_is_no_human() -> None:
    """Legs of the lengths of arms and legs, but all down from a trunk that lies."""
    offsets = BODY.offsets.copy()
    for joint, name in enumerate(BODY.names):
        if name.startswith(("spine", "neck")):
            offsets[joint] = (0, 0, offsets[joint, 1])
        if name.endswith(("elbow", "wrist")):
            offsets[joint] = (0, -abs(offsets[joint, 0]), 0)
    other, _ = shuffled(Skeleton(BODY.names, BODY.parents, offsets), np.random.default_rng(0))
    with pytest.raises(ValueError, match="cannot tell which joints are the body's"):
        match_joints(other)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e308])
def test_bones_of_impossible_lengths_are_one_sentence(size: float) -> None:
    offsets = np.full((22, 3), size) * (np.arange(22) > 0)[:, None]
    with pytest.raises(ValueError, match="cannot tell which joints are the body's: not found head, left_hip"):
        match_joints(Skeleton(tuple(f"b{k}" for k in range(22)), BODY.parents, offsets))


def test_names_that_the_tree_contradicts_are_one_sentence() -> None:
    parents = list(BODY.parents)
    parents[BODY.index("left_knee")] = 0
    with pytest.raises(
        ValueError, match=r"the left ankle \(left_ankle\) does not hang below the left hip \(left_hip\)"
    ):
        match_joints(Skeleton(BODY.names, tuple(parents), BODY.offsets))


@pytest.mark.parametrize("kind", ["comb", "star", "binary"])
def test_a_thousand_joints_come_to_an_end(kind: str) -> None:
    parents = {"star": [-1, *[0] * 999], "binary": [-1, *((joint - 1) // 2 for joint in range(1, 1000))]}
    comb = [-1]
    top = 0
    while len(comb) < 970:
        comb.append(top)
        top = len(comb) - 1
        for _ in range(23):
            comb.append(len(comb) - 1)
    chosen = parents.get(kind, comb)
    offsets = np.random.default_rng(0).normal(0, 0.2, (len(chosen), 3)) * (np.arange(len(chosen)) > 0)[:, None]
    assert guess_joints(Skeleton(tuple(f"b{k}" for k in range(len(chosen))), tuple(chosen), offsets)) == {}


# --- overrides


def test_overrides_are_stronger_than_names_and_take_away() -> None:
    skeleton, expected = TOOLS["Mixamo"]
    told = {"left_ankle": "mixamorig:LeftToeBase", "right_foot": "", "left_thumb1": "", "spine2": "mixamorig:Spine"}
    found = find_joints(skeleton, told)
    assert found["left_ankle"] == (expected["left_foot"], "override")
    assert found["spine2"] == (expected["spine1"], "override")
    gone = {"left_foot", "right_foot", "left_thumb1", "spine1"}  # a joint plays one part only
    assert expected.keys() - found.keys() == gone
    for name in expected.keys() - gone - told.keys():
        assert found[name][0] == expected[name]


def test_overrides_do_where_nothing_else_does() -> None:
    skeleton = Skeleton(
        tuple(f"b{k}" for k in range(22)), BODY.parents, BODY.offsets * (np.arange(22) % 3 == 0)[:, None]
    )
    with pytest.raises(ValueError, match="not found"):
        match_joints(skeleton)
    told = {name: f"b{joint}" for joint, name in enumerate(BODY.names)}
    assert match_joints(skeleton, told) == {name: joint for joint, name in enumerate(BODY.names)}
    with pytest.raises(ValueError, match="not found left_hip;"):
        match_joints(skeleton, {**told, "left_hip": ""})


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        ({"left_hips": "pelvis"}, "no joint 'left_hips' to match; did you mean left_hip"),
        ({"left_hip": "left_hipp"}, "left_hip cannot be 'left_hipp': .* did you mean 'left_hip'"),
        ({"left_hip": "tail"}, "left_hip cannot be 'tail'"),
        ({"left_hip": "pelvis", "neck": "pelvis"}, "'pelvis' cannot be both left_hip and neck"),
    ],
)
def test_wrong_overrides_are_refused(overrides: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        match_joints(BODY, overrides)


def test_what_is_found_can_be_changed_without_harm() -> None:
    match_joints(BODY).clear()
    assert len(match_joints(BODY)) == 22


def test_skeletons_that_differ_in_tips_alone_are_told_apart() -> None:
    """They are equal, but without toe joints the tips of the feet say which side is left."""
    kept = [joint for joint, name in enumerate(BODY.names) if not name.endswith("_foot")]
    parents = [kept.index(BODY.parents[joint]) if joint else -1 for joint in kept]
    names = tuple(f"bone{joint}" for joint in kept)
    tips = BODY.offsets[[10, 11]]
    sides = []
    for way in (1, -1):
        feet = np.zeros((len(kept), 3))
        feet[[7, 8]] = tips * (1, 1, way)
        sides.append(match_joints(Skeleton(names, tuple(parents), BODY.offsets[kept], feet))["left_hip"])
    assert sides == [1, 2]
