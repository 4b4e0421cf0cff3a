"""MJCF: humanoid robots from the models of MuJoCo.

Of a file only the tree of bodies, joints and simple geoms is handed to MuJoCo: meshes, textures, plugins and other
files are never opened. MuJoCo's world is Z up and its robots face +X, so our (x, y, z) is their (y, z, x).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.robot import Hinge, Robot
from kinema.motion.skeleton import MAX_JOINTS, Skeleton

MAX_MJCF_BYTES = 4_000_000
MAX_DEPTH = 200
MAX_ELEMENTS = 5_000
MAX_MAGNITUDE = 1e6

_PLACE = {"pos", "quat", "axisangle", "xyaxes", "zaxis", "euler"}
_KEPT = {  # the elements that say how a body moves, and their attributes that do
    "mujoco": {"model"},
    "compiler": {"angle", "eulerseq", "autolimits"},
    "default": {"class"},
    "worldbody": set(),
    "body": {"name", "childclass", *_PLACE},
    "frame": {"name", "childclass", *_PLACE},
    "joint": {"name", "class", "type", "pos", "axis", "range", "limited", "ref"},
    "freejoint": {"name"},
    "geom": {"class", "type", "size", "fromto", "contype", "conaffinity", *_PLACE},
}
_REFUSED = {"include", "attach", "replicate", "composite", "flexcomp"}
_SHAPES_OF_FILES = {"mesh", "hfield", "sdf"}
_SPHERE, _CAPSULE, _ELLIPSOID, _CYLINDER, _BOX = 2, 3, 4, 5, 6  # mjtGeom
_FREE, _HINGE = 0, 3  # mjtJoint


def read_robot(path: str | os.PathLike[str]) -> Robot:
    """Read a humanoid robot from an MJCF file: one body with a free joint, and hinges below it.

    The rest pose is MuJoCo's own (qpos0), so that default angles are the `ref` of the joints, zero as a rule.
    Links without a joint are kept as joints that never turn. Hinges that are no part of the robot, but have their
    numbers in qpos (the G1 with 23 degrees of freedom has six), become joints at the root that move nothing.

    Raises:
        ValueError: the file is damaged, too large, includes other files, or is not such a robot; mujoco is missing.
        OSError: the file cannot be read.
    """
    path = Path(path)
    text = _Kinematics(path).text()
    try:
        mujoco: Any = import_module("mujoco")
    except ImportError:
        raise ValueError(f"{path}: robots need MuJoCo; pip install 'kinema[robots]'") from None
    warn = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _: None)  # its own writes a log file into the current folder
    try:
        model = mujoco.MjModel.from_xml_string(text)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
    except (ValueError, mujoco.FatalError) as error:
        raise ValueError(f"{path}: MuJoCo refuses it: {' '.join(str(error).split())[:300]}") from None
    finally:
        mujoco.set_mju_user_warning(warn)
    free = [joint for joint in range(model.njnt) if model.jnt_type[joint] == _FREE]
    if len(free) != 1:
        many = "no body" if not free else f"{len(free)} bodies"
        raise ValueError(f"{path}: has {many} with a free joint; a robot has one, its root (<freejoint/>)")
    root = int(model.jnt_bodyid[free[0]])
    for joint in range(model.njnt):
        name, kind = model.joint(joint).name or f"number {joint}", model.jnt_type[joint]
        if kind not in (_FREE, _HINGE):
            raise ValueError(f"{path}: joint {name!r} is a ball or slide joint; only hinges are read")
        if kind == _HINGE and (joint < free[0] or model.jnt_bodyid[joint] == root):
            raise ValueError(f"{path}: hinge {name!r} stands before the free joint or beside it; it belongs below")
    places = (data.xpos, data.xaxis, data.xanchor, data.geom_xpos, data.geom_xmat)
    for array in (*places, model.geom_size, model.jnt_range, model.qpos0):
        if not np.isfinite(array).all() or np.abs(array).max(initial=0) > MAX_MAGNITUDE:
            raise ValueError(f"{path}: its numbers are not those of a robot")
    if not 1 < model.njnt <= MAX_JOINTS or model.nbody > MAX_JOINTS:
        raise ValueError(f"{path}: has {model.njnt - 1} hinges and {model.nbody} bodies; a robot has 1 to {MAX_JOINTS}")
    try:
        return _robot(model, data, root)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _robot(model: Any, data: Any, root: int) -> Robot:
    names, parents, positions, hinges = [], [], [], []
    last: dict[int, int] = {}  # the joint that carries a body
    for body in range(root, model.nbody):
        stray = model.body_rootid[body] != root
        if stray and not model.body_jntnum[body]:
            continue
        label = model.body(body).name or f"body{body}"
        first = int(model.body_jntadr[body])
        own = [] if body == root else list(range(first, first + int(model.body_jntnum[body])))
        parent = 0 if stray else last.get(int(model.body_parentid[body]), -1)
        for number, joint in enumerate(own or [None], 1):
            place, name = data.xpos[body], label
            if joint is not None:
                place = data.xpos[root] if stray else data.xanchor[joint]
                hinge = model.joint(joint).name or f"{label}_{number}"
                name = label if joint == own[-1] else hinge
                low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.inf, np.inf)
                axis = rot.normalize(to_ours(data.xaxis[joint])).tolist()
                default = float(model.qpos0[model.jnt_qposadr[joint]])
                hinges.append(Hinge(hinge, len(names), tuple(axis), float(low), float(high), default))
            while name in names:
                name += "_"
            names.append(name)
            parents.append(parent)
            positions.append(to_ours(place))
            parent = len(names) - 1
        if not stray:
            last[body] = parent
    points = [point for body in last for point in _contacts(model, data, body, last[body], positions)]
    offsets = [
        here - positions[parent] if parent >= 0 else np.zeros(3)
        for here, parent in zip(positions, parents, strict=True)
    ]
    return Robot(
        name=model.names[: model.names.index(b"\0")].decode("utf-8", "replace") or "robot",
        skeleton=Skeleton(tuple(names), tuple(parents), np.array(offsets)),
        hinges=tuple(hinges),
        root_rest=tuple(quaternion_to_ours(rot.normalize(model.qpos0[3:7])).tolist()),
        height=float(model.qpos0[2]),
        contact_joints=np.array([joint for joint, _, _ in points], dtype=int),
        contact_points=np.array([point for _, point, _ in points]).reshape(-1, 3),
        contact_radii=np.array([radius for _, _, radius in points], dtype=float),
    )


def _contacts(model: Any, data: Any, body: int, joint: int, positions: list[np.ndarray]) -> Iterator[tuple]:
    """Spheres that touch the ground where the geoms of a body do: (joint, centre in its frame, radius)."""
    circle = [(np.cos(angle), np.sin(angle)) for angle in np.arange(8) * np.pi / 4]
    first = int(model.body_geomadr[body])
    for geom in range(first, first + int(model.body_geomnum[body])):
        if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        kind, (a, b, c) = model.geom_type[geom], model.geom_size[geom]
        radius, points = 0.0, [(0.0, 0.0, 0.0)]
        if kind == _SPHERE:
            radius = a
        elif kind == _CAPSULE:
            radius, points = a, [(0, 0, -b), (0, 0, b)]
        elif kind == _CYLINDER:
            points = [(a * x, a * y, z) for x, y in circle for z in (-b, b)]
        elif kind == _BOX:
            points = [(x, y, z) for x in (-a, a) for y in (-b, b) for z in (-c, c)]
        elif kind == _ELLIPSOID:
            points = [(-a, 0, 0), (a, 0, 0), (0, -b, 0), (0, b, 0), (0, 0, -c), (0, 0, c)]
        else:
            continue
        for point in points:
            world = data.geom_xpos[geom] + data.geom_xmat[geom].reshape(3, 3) @ np.array(point)
            yield joint, to_ours(world) - positions[joint], float(radius)


def to_ours(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of MuJoCo's world in ours."""
    return vectors[..., [1, 2, 0]]


def quaternion_to_ours(quats: np.ndarray) -> np.ndarray:
    """Rotations (..., 4), wxyz, of MuJoCo's world in ours."""
    return quats[..., [0, 2, 3, 1]]


class _Kinematics:
    """The MJCF text with nothing in it but what moves, so that no other file is named and no plugin runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pieces: list[str] = []
        self.open: list[str] = []  # tags of the elements around the place
        self.kept: list[bool] = []  # whether each of them is kept
        self.count = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler, self.parser.EndElementHandler = self.start, self.end
        self.parser.StartDoctypeDeclHandler = lambda *_: self.refuse("has a DOCTYPE, which no MJCF needs")

    def text(self) -> str:
        if self.path.stat().st_size > MAX_MJCF_BYTES:
            raise ValueError(f"{self.path}: is larger than {MAX_MJCF_BYTES // 1_000_000} MB, which no robot's MJCF is")
        try:
            self.parser.Parse(self.path.read_bytes(), True)
        except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that Python does not know
            raise ValueError(f"{self.path}: is not XML, or damaged: {error}") from None
        return "".join(self.pieces)

    def refuse(self, why: str) -> None:
        raise ValueError(f"{self.path}: line {self.parser.CurrentLineNumber}: {why}")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if not self.open and tag != "mujoco":
            self.refuse(f"begins with <{tag[:40]}>, so it is not the MJCF of a robot")
        if len(self.open) >= MAX_DEPTH or self.count > MAX_ELEMENTS:
            self.refuse(f"has more than {MAX_DEPTH} nested or {MAX_ELEMENTS} elements, which no robot has")
        kept = all(self.kept) and tag in _KEPT
        if all(self.kept) and tag in _REFUSED:
            self.refuse(f"<{tag}> is not followed; name the file with the bodies, or save it whole (mj_saveLastXML)")
        if tag == "geom" and "default" not in self.open:
            drawn_by_file = {"mesh", "hfield"} & attributes.keys() or attributes.get("type") in _SHAPES_OF_FILES
            kept = kept and "body" in self.open and not drawn_by_file
        self.open.append(tag)
        self.kept.append(kept)
        if kept:
            wanted = {key: value for key, value in attributes.items() if key in _KEPT[tag]}
            if tag == "mujoco":
                wanted.setdefault("model", self.path.stem)
            if wanted.get("type") in _SHAPES_OF_FILES:
                del wanted["type"]
            if tag == "geom":
                wanted["mass"] = "0"
            self.pieces.append(f"<{tag}{''.join(f' {key}={quoteattr(value)}' for key, value in wanted.items())}>")
            if len(self.open) == 1:  # masses do not matter, but MuJoCo wants them
                self.pieces.append('<compiler boundmass="1" boundinertia="1" balanceinertia="true"/>')

    def end(self, tag: str) -> None:
        self.open.pop()
        if self.kept.pop():
            self.pieces.append(f"</{tag}>")
