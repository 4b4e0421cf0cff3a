"""Which joint is which: the names that the field's tools give to the joints that BODY has too."""

from __future__ import annotations

from kinema.motion.skeleton import Skeleton

# How the field's tools name the joints of BODY that every rig has; {left} and {l} stand for the side. The spine is
# found as the joints between pelvis and chest. Names are compared in lower case, without separators and name space.
DIALECTS: dict[str, dict[str, str]] = {
    "Kinema, SMPL": {
        "pelvis": "pelvis", "neck": "neck", "head": "head", "hip": "{left}hip", "knee": "{left}knee",
        "ankle": "{left}ankle", "foot": "{left}foot", "collar": "{left}collar", "shoulder": "{left}shoulder",
        "elbow": "{left}elbow", "wrist": "{left}wrist",
    },
    "MotionBuilder, Mixamo, Rokoko, LAFAN1": {
        "pelvis": "hips", "neck": "neck", "head": "head", "hip": "{left}upleg", "knee": "{left}leg",
        "ankle": "{left}foot", "foot": "{left}toebase|{left}toe", "collar": "{left}shoulder", "shoulder": "{left}arm",
        "elbow": "{left}forearm", "wrist": "{left}hand",
    },
    "3ds Max": {
        "pelvis": "hips", "neck": "neck", "head": "head", "hip": "{left}hip", "knee": "{left}knee",
        "ankle": "{left}ankle", "foot": "{left}toe", "collar": "{left}collar", "shoulder": "{left}shoulder",
        "elbow": "{left}elbow", "wrist": "{left}wrist",
    },
    "Daz": {
        "pelvis": "hip", "neck": "neck", "head": "head", "hip": "{l}thigh", "knee": "{l}shin", "ankle": "{l}foot",
        "foot": "{l}toe", "collar": "{l}collar", "shoulder": "{l}shldr", "elbow": "{l}forearm", "wrist": "{l}hand",
    },
    "Bandai-Namco": {
        "pelvis": "hips", "neck": "neck", "head": "head", "hip": "upperleg{l}", "knee": "lowerleg{l}",
        "ankle": "foot{l}", "foot": "toes{l}", "collar": "shoulder{l}", "shoulder": "upperarm{l}",
        "elbow": "lowerarm{l}", "wrist": "hand{l}",
    },
    "ASF (CMU)": {
        "pelvis": "root", "neck": "lowerneck", "head": "head", "hip": "{l}femur", "knee": "{l}tibia",
        "ankle": "{l}foot", "foot": "{l}toes", "collar": "{l}clavicle", "shoulder": "{l}humerus", "elbow": "{l}radius",
        "wrist": "{l}wrist",
    },
}  # fmt: skip
_MIDDLE = ("pelvis", "neck", "head")
_OPTIONAL = {"foot", "neck", "collar"}


def _plain(name: str) -> str:
    name = name.rsplit(":", 1)[-1].lower()
    for prefix in ("mixamorig", "bip01"):
        name = name.removeprefix(prefix)
    return "".join(letter for letter in name if letter.isalnum())


def match_joints(skeleton: Skeleton) -> dict[str, int]:
    """Which joint of `skeleton` plays which joint of BODY, by name: {BODY name: joint index}.

    Raises:
        ValueError: no known naming fits; the sentence says which joints were not found.
    """
    present: dict[str, int] = {}
    for joint, name in enumerate(skeleton.names):
        present.setdefault(_plain(name), joint)
    best: dict[str, int] = {}
    missing: list[str] = []
    for dialect in DIALECTS.values():
        found: dict[str, int] = {}
        absent: list[str] = []
        for part, pattern in dialect.items():
            for side in ("left", "right") if part not in _MIDDLE else ("",):
                names = pattern.replace("{left}", side).replace("{l}", side[:1]).split("|")
                joint = next((present[name] for name in names if name in present), None)
                ours = f"{side}_{part}" if side else part
                if joint is not None:
                    found[ours] = joint
                elif part not in _OPTIONAL:
                    absent.append(names[0])
        if not best or (len(absent), -len(found)) < (len(missing), -len(best)):
            best, missing = found, absent
    if missing:
        raise ValueError(
            f"cannot tell which joints are the body's: not found {', '.join(missing[:4])}; "
            f"the joints are {', '.join(skeleton.names[:12])}{', ...' if len(skeleton) > 12 else ''}"
        )
    spine: list[int] = []
    joint = skeleton.parents[best.get("left_collar", best["left_shoulder"])]
    while joint > 0 and joint != best["pelvis"]:
        spine.insert(0, joint)
        joint = skeleton.parents[joint]
    if spine:
        best["spine3"] = spine[-1]
    if len(spine) > 1:
        best["spine1"] = spine[0]
    if len(spine) > 2:
        best["spine2"] = spine[len(spine) // 2]
    return best
