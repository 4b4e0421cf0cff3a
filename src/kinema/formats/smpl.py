"""Poses of SMPL, SMPL-H and SMPL-X in AMASS's .npz files, without any body-model file.

| array | shape | |
| --- | --- | --- |
| `trans` | (T, 3) | where the origin of the model is: not its pelvis |
| `poses` | (T, 156), (T, 165), (T, 72) or (T, 66) | axis times angle of each joint relative to its parent, radians |
| `root_orient`, `pose_body`, `pose_hand`, `pose_jaw`, `pose_eye` | (T, 3), 63, 90, 3, 6 | the same in parts (SMPL-X) |
| `mocap_framerate` or `mocap_frame_rate` | | frames per second |
| `betas`, `gender`, `surface_model_type` | | the shape of the body, and which model it is |

The models rest in a T-pose, Y up, facing +Z, with palms down: as BODY does, so rotations carry over as they are. The
world of AMASS is Z up (`root_orient` holds the quarter turn); some other programs write it Y up.

The pelvis is at `trans` plus the pelvis of the resting body, in the axes of the file's world. That depends on the shape
of the body; without the model's file the mean shape stands in for every shape. Its pelvis is 8 % lower than BODY's, so
lengths are scaled by the ratio of the heights of the pelvis over the toe joints: the feet stay on the ground and do not
slide, as far as the shape is near the mean.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from kinema.formats.arrays import read_arrays
from kinema.formats.files import atomic_write
from kinema.motion import rotations as rot
from kinema.motion.motion import MAX_FRAMES, Motion
from kinema.motion.retarget import retarget
from kinema.motion.skeleton import BODY, BODY_WITH_HANDS, Skeleton

# Of the mean shape, as published with many tools: the resting pelvis in the model's frame (m), and its height over the
# toe joints (m).
_MEAN_SHAPE = {
    "smplh": (np.array([-0.002, -0.223, 0.028]), 0.92),
    "smplx": (np.array([0.003, -0.351, 0.012]), 0.93),
}
_Z_TO_Y = rot.from_axis_angle(np.array([1.0, 0.0, 0.0]), np.array(-np.pi / 2))  # (x, y, z) becomes (x, z, -y)
_BODY, _HANDS, _ALL = len(BODY), len(BODY_WITH_HANDS) - len(BODY), len(BODY_WITH_HANDS)
_PARTS = {"root_orient": 3, "pose_body": 63, "pose_hand": 90, "pose_jaw": 3, "pose_eye": 6}
_RATES = ("mocap_framerate", "mocap_frame_rate")
_FARTHEST, _LARGEST_ANGLE = 1e4, 1e3  # metres, radians: beyond them a number is no motion
_BETAS = 16


def read_smpl(path: str | os.PathLike[str], fps: float | None = None, up: str | None = None) -> Motion:
    """Read AMASS poses as a motion on BODY, or on BODY_WITH_HANDS where the fingers are not at rest throughout.

    Jaw and eyes are dropped (`metadata["dropped_joints"]`), `betas` and `gender` go into the metadata. Metadata also
    say which `body_model` it was, and the `scale` between the file's path and the motion's.

    Args:
        path: the file.
        fps: frames per second; by default what the file says.
        up: "z" (AMASS) or "y": the vertical axis of the file's world. By default it is "y" where the body's own up axis
            is within 45 degrees of it on average, else "z"; `metadata["up"]` holds what was used, `metadata["up_from"]`
            "guess" or "option".

    Raises:
        ValueError: arrays are missing, of another shape or type, not finite, or the frame rate is not known.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if up not in (None, "y", "z"):
        raise ValueError(f"{path}: the up axis is y or z, not {up!r}")
    kinds = dict.fromkeys(("trans", "poses", *_PARTS), "f") | dict.fromkeys(_RATES, "fiu")
    arrays = read_arrays(path, kinds)
    metadata: dict[str, Any] = {"source": path.name}
    try:
        poses, face = _poses(arrays)
        trans = _checked("trans", arrays["trans"], (len(poses), 3), _FARTHEST)
        rate = _rate(arrays) if fps is None else float(fps)
        model = _model(path, arrays)
        metadata |= {"body_model": model, **_shape(path)}
        if face:
            metadata["dropped_joints"] = "jaw, eyes"
        hands = poses.shape[1] == _ALL and bool(poses[:, _BODY:].any())
        skeleton = BODY_WITH_HANDS if hands else BODY
        rotations = np.empty((len(poses), len(skeleton), 4))
        for joint in range(len(skeleton)):
            rotations[:, joint] = rot.from_rotation_vector(poses[:, joint].astype(np.float64))
        metadata |= {"up": up or _guess_up(rotations[:, 0]), "up_from": "guess" if up is None else "option"}
        pelvis, height = _MEAN_SHAPE[model]
        root = trans + pelvis
        if metadata["up"] == "z":
            root = rot.rotate(_Z_TO_Y, root)
            rotations[:, 0] = rot.multiply(_Z_TO_Y, rotations[:, 0])
        metadata["scale"] = _pelvis_height(BODY) / height
        return Motion(skeleton, rate, metadata["scale"] * root, rotations, metadata=metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(name: str, values: np.ndarray, shape: tuple[int, ...], limit: float) -> np.ndarray:
    if values.shape != shape:
        raise ValueError(f"{name} has the shape {values.shape}, where {shape} fits the rest of the file")
    good = np.abs(values) < limit  # false for NaN
    if not good.all():
        frame = int(np.argwhere(~good)[0][0])
        raise ValueError(f"{name} has a number in frame {frame} that is not finite, or too large")
    return values


def _poses(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, bool]:
    """Rotation vectors (T, 22 or 52, 3) in the order of BODY_WITH_HANDS, and whether jaw or eyes moved."""
    parts = [name for name in _PARTS if name in arrays]
    name = "poses" if "poses" in arrays else "root_orient"
    if "trans" not in arrays or name not in arrays or (name == "root_orient" and "pose_body" not in arrays):
        raise ValueError("has no trans and poses (or trans, root_orient and pose_body), as AMASS files have")
    count = len(arrays[name]) if arrays[name].ndim else 0
    if not 1 <= count <= MAX_FRAMES:
        raise ValueError(f"{name} has {count} frames; a motion has 1 to {MAX_FRAMES}")
    if name == "poses":
        poses = arrays["poses"]
        poses = poses.reshape(count, -1) if poses.ndim == 3 else poses
        if poses.ndim != 2 or poses.shape[1] not in (66, 72, 156, 165):
            raise ValueError(
                f"poses has the shape {arrays['poses'].shape}; SMPL has 72 numbers a frame, SMPL-H 156, SMPL-X 165"
            )
        poses = _checked("poses", poses, poses.shape, _LARGEST_ANGLE).reshape(count, -1, 3)
        if poses.shape[1] == _ALL + 3:  # jaw and eyes stand before the hands
            face = poses[:, _BODY : _BODY + 3]
            return np.concatenate([poses[:, :_BODY], poses[:, _BODY + 3 :]], 1), bool(face.any())
        return (poses if poses.shape[1] == _ALL else poses[:, :_BODY]), False
    for part in parts:
        _checked(part, arrays[part], (count, _PARTS[part]), _LARGEST_ANGLE)
    joined = [arrays[part] for part in ("root_orient", "pose_body", "pose_hand") if part in parts]
    face = any(arrays[part].any() for part in ("pose_jaw", "pose_eye") if part in parts)
    return np.concatenate(joined, 1).reshape(count, -1, 3), face


def _rate(arrays: dict[str, np.ndarray]) -> float:
    rates = [arrays[name] for name in _RATES if name in arrays]
    if not rates:
        raise ValueError("does not say its frame rate (mocap_framerate); give it as fps (--input-fps)")
    if rates[0].size != 1:
        raise ValueError(f"the frame rate has the shape {rates[0].shape}, where one number is expected")
    return float(rates[0].reshape(()))


def _optional(path: Path, name: str, kinds: str) -> np.ndarray | None:
    """An array that nothing depends on: None where it is missing or not readable, such as pickled objects."""
    try:
        return read_arrays(path, {name: kinds}).get(name)
    except ValueError:
        return None


def _word(path: Path, name: str) -> str:
    """A short text as AMASS files have it, text or bytes, in small ASCII letters; "" where there is none."""
    array = _optional(path, name, "US")
    if array is None or array.size != 1 or not 0 < array.dtype.itemsize <= 400:
        return ""
    # letter by letter: numpy has no text for numbers that are no letters
    codes = array.reshape(1).view(array.dtype.byteorder + ("u4" if array.dtype.kind == "U" else "u1"))
    return "".join(chr(code) for code in codes if 32 <= code < 127).strip().lower()


def _model(path: Path, arrays: dict[str, np.ndarray]) -> str:
    said = _word(path, "surface_model_type")
    if said in ("smpl", *_MEAN_SHAPE):
        return "smplh" if said == "smpl" else said
    wide = "poses" in arrays and arrays["poses"].size == 165 * len(arrays["poses"])
    return "smplx" if wide or "pose_jaw" in arrays or "pose_eye" in arrays else "smplh"


def _shape(path: Path) -> dict[str, Any]:
    """What the file says about the body, as metadata."""
    found: dict[str, Any] = {}
    if gender := _word(path, "gender"):
        found["gender"] = gender
    betas = _optional(path, "betas", "f")
    if betas is not None and betas.ndim == 2 and len(betas):  # one row a frame, or one
        betas = betas[0]
    if betas is not None and betas.ndim == 1 and 0 < betas.size <= 400 and np.isfinite(betas).all():
        found["betas"] = [float(beta) for beta in betas]
    return found


def _guess_up(root: np.ndarray) -> str:
    up = rot.rotate(root, np.array([0.0, 1.0, 0.0])).mean(0)
    return "y" if up[1] > np.sqrt(0.5) else "z"


def _pelvis_height(skeleton: Skeleton) -> float:
    """Of the pelvis over the toe joints at rest, metres."""
    return -float(skeleton.rest_positions[[BODY.index("left_foot"), BODY.index("right_foot")], 1].mean())


def write_smplh(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write AMASS poses of SMPL-H: Z up, 156 numbers a frame, with the keys that readers of AMASS ask for.

    A motion on another skeleton than BODY is put onto BODY_WITH_HANDS first. Metadata stay behind, but for the gender
    and the betas of a motion that came from the same model; otherwise the body is the neutral mean shape.

    Raises:
        ValueError: the motion cannot be put onto BODY.
        OSError: the file cannot be written.
    """
    arrays, poses = _arrays(motion, "smplh")
    count = len(motion)
    _write(path, {**arrays, "poses": poses.reshape(count, -1), "dmpls": np.zeros((count, 8))})


def write_smplx(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write AMASS poses of SMPL-X: Z up, 165 numbers a frame, and the same in parts. Otherwise as `write_smplh`."""
    arrays, poses = _arrays(motion, "smplx")
    count = len(motion)
    face = np.zeros((count, 3, 3))
    parts = {
        "root_orient": poses[:, 0],
        "pose_body": poses[:, 1:_BODY].reshape(count, -1),
        "pose_hand": poses[:, _BODY:].reshape(count, -1),
        "pose_jaw": face[:, 0],
        "pose_eye": face[:, 1:].reshape(count, -1),
    }
    poses = np.concatenate([poses[:, :_BODY], face, poses[:, _BODY:]], 1).reshape(count, -1)
    info = {"surface_model_type": "smplx", "num_betas": _BETAS, "mocap_time_length": motion.seconds}
    _write(path, {**arrays, **info, "poses": poses, **parts})


def _arrays(motion: Motion, model: str) -> tuple[dict[str, Any], np.ndarray]:
    """What the files of both models have, and rotation vectors (T, 52, 3)."""
    if not _rests_as_body(motion.skeleton):
        motion = retarget(motion, BODY_WITH_HANDS)
    pelvis, height = _MEAN_SHAPE[model]
    back = rot.inverse(_Z_TO_Y)
    poses = np.zeros((len(motion), _ALL, 3))
    for joint in range(len(motion.skeleton)):
        local = motion.rotations[:, joint]
        poses[:, joint] = rot.to_rotation_vector(rot.multiply(back, local) if joint == 0 else local)
    root = rot.rotate(back, motion.root_position * (height / _pelvis_height(motion.skeleton)))
    gender, betas = "neutral", np.zeros(_BETAS)
    if motion.metadata.get("body_model") == model:
        if motion.metadata.get("gender") in ("female", "male"):
            gender = str(motion.metadata["gender"])
        known = np.asarray(motion.metadata.get("betas", ()))
        if known.ndim == 1 and known.dtype.kind in "fiu" and np.isfinite(known).all():
            betas[: known.size] = known[:_BETAS]
    arrays = {"trans": root - pelvis, "betas": betas, "gender": gender, **dict.fromkeys(_RATES, motion.fps)}
    return arrays, poses


def _rests_as_body(skeleton: Skeleton) -> bool:
    """Whether joints and rest pose are BODY's, with or without hands, whatever the lengths of the bones."""
    body = next((body for body in (BODY, BODY_WITH_HANDS) if skeleton.names == body.names), None)
    if body is None or skeleton.parents != body.parents:
        return False
    cosines = np.sum(rot.normalize(skeleton.offsets) * rot.normalize(body.offsets), -1)[1:]
    return bool((cosines > 0.9).all())


def _write(path: str | os.PathLike[str], arrays: dict[str, Any]) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
