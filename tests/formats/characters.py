"""Synthetic characters as glTF files, as the field's tools write them: boxes around bones, skinned; and a slow oracle.

Every character is BODY's size. Its node transforms, names, units and bind pose follow one tool's habits each; none is
that tool's file.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import numpy as np

from kinema.motion import rotations as rot
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.skeleton import BODY, BODY_WITH_HANDS, Skeleton

KINDS = ("mixamo", "vrm0", "vrm1", "unreal", "posed")
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A glTF document in the making."""

    def __init__(self, generator: str) -> None:
        self.json: dict = {"asset": {"version": "2.0", "generator": generator}, "bufferViews": [], "accessors": []}
        self.binary = b""

    def view(self, data: bytes, **facts) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **facts}
        self.json["bufferViews"].append(view)
        self.binary += data
        return len(self.json["bufferViews"]) - 1

    def put(self, array: np.ndarray, kind: int = 5126, *, bounds: bool = False, target: int | None = None) -> int:
        """An accessor (N, width), as 32-bit floats or in another component type, normalised where that is 8 or 16 bit
        and the array is of floats."""
        array = np.asarray(array)
        array = array[:, None] if array.ndim == 1 else array
        normalized = kind in (5120, 5121, 5122, 5123) and array.dtype.kind == "f"
        if normalized:
            array = np.round(array * np.iinfo(_DTYPES[kind]).max)
        data = array.astype(_DTYPES[kind])
        accessor = {
            "bufferView": self.view(data.tobytes(), **({"target": target} if target else {})),
            "componentType": kind,
            "count": len(data),
            "type": {width: name for name, width in _WIDTHS.items()}[data.shape[1]],
            **({"normalized": True} if normalized else {}),
            **({"min": data.min(0).tolist(), "max": data.max(0).tolist()} if bounds else {}),
        }
        self.json["accessors"].append(accessor)
        return len(self.json["accessors"]) - 1

    def animate(self, name: str, tracks: list[tuple[int, str, np.ndarray, np.ndarray, str]], kind: int = 5126) -> None:
        """Tracks are node, path, times (K,), values (K, width; rotations xyzw), interpolation."""
        samplers, channels = [], []
        clocks: dict[bytes, int] = {}
        for node, path, times, values, interpolation in tracks:
            if times.tobytes() not in clocks:
                clocks[times.tobytes()] = self.put(times, bounds=True)
            output = self.put(values, kind if path == "rotation" else 5126)
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
            samplers.append({"input": clocks[times.tobytes()], "output": output, "interpolation": interpolation})
        animation = {"name": name, "samplers": samplers, "channels": channels}
        self.json.setdefault("animations", []).append(animation)

    def save(self, path: Path) -> Path:
        """As .glb or .vrm, or as .gltf with its buffer inside."""
        self.json["buffers"] = [{"byteLength": len(self.binary)}] if self.binary else []
        for key in ("bufferViews", "accessors", "buffers"):
            if not self.json[key]:
                del self.json[key]
        if path.suffix == ".gltf":
            data = base64.b64encode(self.binary).decode()
            self.json["buffers"][0]["uri"] = "data:application/octet-stream;base64," + data
            path.write_text(json.dumps(self.json), encoding="utf-8")
        else:
            path.write_bytes(pack(json.dumps(self.json).encode(), self.binary))
        return path


def pack(text: bytes, binary: bytes) -> bytes:
    """The bytes of a .glb file."""
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def unpack(path: Path) -> tuple[dict, bytes]:
    """JSON and binary part of a .glb file."""
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[28 + size :]


_MIXAMO = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    "collar": "Shoulder", "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand", "hip": "UpLeg", "knee": "Leg",
    "ankle": "Foot", "foot": "ToeBase",
}  # fmt: skip
_UNREAL = {
    "pelvis": "pelvis", "spine1": "spine_01", "spine2": "spine_02", "spine3": "spine_03", "neck": "neck_01",
    "head": "head", "collar": "clavicle", "shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand",
    "hip": "thigh", "knee": "calf", "ankle": "foot", "foot": "ball",
}  # fmt: skip
_VRM = {
    "pelvis": "hips", "spine1": "spine", "spine2": "chest", "spine3": "upperChest", "neck": "neck", "head": "head",
    "collar": "Shoulder", "shoulder": "UpperArm", "elbow": "LowerArm", "wrist": "Hand", "hip": "UpperLeg",
    "knee": "LowerLeg", "ankle": "Foot", "foot": "Toes",
}  # fmt: skip


def _named(name: str, kind: str, number: int) -> str:
    side, _, part = name.rpartition("_")
    if kind in ("vrm0", "vrm1"):
        return f"骨.{number}"
    if kind == "unreal":
        return _UNREAL[part] + (f"_{side[0]}" if side else "")
    fingers = ("index", "middle", "pinky", "ring", "thumb")
    plain = f"Hand{part.capitalize()}" if part.startswith(fingers) else _MIXAMO[part]
    return ("mixamorig:" if kind == "mixamo" else "") + side.capitalize() + plain


def _pose(skeleton: Skeleton, kind: str) -> np.ndarray:
    """World positions (J, 3) of the bind pose: T, or for Unreal an A; VRM 0 looks backward."""
    quats = np.tile(rot.IDENTITY, (len(skeleton), 1))
    if kind == "unreal":
        for side, sign in (("left", -1), ("right", 1)):
            joint = skeleton.index(f"{side}_shoulder")
            quats[joint] = rot.from_axis_angle(np.array([0, 0, 1.0]), np.array(sign * np.pi / 4))
    positions = forward_kinematics(skeleton, np.array([0, 1.031, 0]), quats)[0]
    return positions * (-1, 1, -1) if kind == "vrm0" else positions


def make_character(kind: str) -> tuple[Glb, dict[str, int], np.ndarray]:
    """A character, its nodes by the name in BODY_WITH_HANDS, and the matrix (4, 4) from its mesh to the bind world."""
    skeleton = BODY_WITH_HANDS if kind == "mixamo" else BODY
    glb = Glb({"mixamo": "FBX2glTF", "unreal": "Unreal"}.get(kind, "UniGLTF"))
    places = _pose(skeleton, kind)
    names = [_named(name, kind, number) for number, name in enumerate(skeleton.names)]
    parents = list(skeleton.parents)
    turned = np.tile(rot.IDENTITY, (len(names), 1))
    if kind in ("mixamo", "unreal"):  # bones lie along an axis of their own
        for joint in range(len(names)):
            children = skeleton.children[joint]
            towards = places[list(children)].mean(0) - places[joint] if children else skeleton.tips[joint]
            turned[joint] = rot.between(np.array([0, 1.0, 0] if kind == "mixamo" else [1.0, 0, 0]), towards)
    outer = {"mixamo": ["Armature"], "unreal": ["SKM_Manny", "root"], "posed": ["Armature"]}.get(kind, ["Root"])
    top = np.eye(4)
    if kind == "mixamo":
        top[:3, :3] = 0.01 * rot.to_matrix(rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(-np.pi / 2)))
    elif kind == "unreal":
        top[:3, :3] *= 0.01

    nodes: list[dict] = []
    for number, name in enumerate(outer):
        nodes.append({"name": name, "children": [number + 1]})
    if kind == "mixamo":
        nodes[0] |= {"rotation": [-(0.5**0.5), 0, 0, 0.5**0.5], "scale": [0.01, 0.01, 0.01]}
    elif kind == "unreal":
        nodes[0] |= {"scale": [0.01, 0.01, 0.01]}
    first = len(nodes)
    worlds = []
    for joint, parent in enumerate(parents):
        world = np.eye(4)
        world[:3, :3] = rot.to_matrix(turned[joint]) * np.cbrt(np.linalg.det(top[:3, :3]))
        world[:3, 3] = places[joint]
        local = np.linalg.inv(worlds[parent] if parent >= 0 else top) @ world
        worlds.append(world)
        quat = rot.from_matrix(local[:3, :3])
        nodes.append(
            {"name": names[joint], "translation": local[:3, 3].tolist(), "rotation": quat[[1, 2, 3, 0]].tolist()}
        )
        if parent >= 0:
            nodes[first + parent].setdefault("children", []).append(first + joint)
    at = {name: first + joint for joint, name in enumerate(skeleton.names)}
    joints = list(at.values())

    def extra(name: str, below: int, translation: list[float], bone: bool = True) -> int:
        nodes.append({"name": name, "translation": translation})
        nodes[below].setdefault("children", []).append(len(nodes) - 1)
        if bone:
            joints.append(len(nodes) - 1)
            above = worlds[below - first] if below >= first else top
            world = above.copy()
            world[:3, 3] = (above @ [*translation, 1])[:3]
            worlds.append(world)
        return len(nodes) - 1

    if kind == "unreal":
        extra("ik_foot_root", 1, [0, 0, 0])
        extra("upperarm_twist_01_l", at["left_shoulder"], [14.0, 0, 0])
    elif kind in ("vrm0", "vrm1"):
        extra("hair", at["head"], [0, 0.1, 0.05])
        extra("secondary", 0, [0, 0, 0], bone=False)
    elif kind == "mixamo":
        extra("mixamorig:HeadTop_End", at["head"], [0, 17.0, 0])

    mesh = np.linalg.inv(top) if kind == "mixamo" else np.eye(4)  # from the bind world to the space of the mesh
    points, indices, which = _boxes(skeleton, places)
    points = points @ mesh[:3, :3].T + mesh[:3, 3]
    inverse = np.stack([np.linalg.inv(mesh @ world) for world in worlds])
    weights = np.tile([1.0, 0, 0, 0], (len(points), 1))
    attributes = {
        "POSITION": glb.put(points, bounds=True, target=34962),
        "JOINTS_0": glb.put(np.pad(which[:, None], ((0, 0), (0, 3))).astype(int), 5121, target=34962),
        "WEIGHTS_0": glb.put(weights, target=34962),
    }
    corners = glb.put(indices.ravel(), 5123, target=34963)
    nodes.append({"name": "Body", "mesh": 0, "skin": 0})
    glb.json |= {
        "scene": 0,
        "scenes": [{"nodes": [0, len(nodes) - 1]}],
        "nodes": nodes,
        "meshes": [{"name": "Body", "primitives": [{"attributes": attributes, "indices": corners, "material": 0}]}],
        "materials": [
            {"name": "cloth", "pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.5, 0.9, 1], "metallicFactor": 0.0}}
        ],
        "skins": [
            {"joints": joints, "inverseBindMatrices": glb.put(inverse.transpose(0, 2, 1).reshape(-1, 16))},
        ],
    }
    if kind in ("vrm0", "vrm1"):
        bones = {_vrm_bone(name): node for name, node in at.items()}
        if kind == "vrm0":
            listed = [{"bone": bone, "node": node, "useDefaultValues": True} for bone, node in bones.items()]
            extension = {"VRM": {"humanoid": {"humanBones": listed}, "meta": {"title": "x", "licenseName": "CC0"}}}
        else:
            named = {bone: {"node": node} for bone, node in bones.items()}
            meta = {"name": "x", "authors": ["y"], "licenseUrl": "https://vrm.dev/licenses/1.0/"}
            extension = {"VRMC_vrm": {"specVersion": "1.0", "humanoid": {"humanBones": named}, "meta": meta}}
        glb.json |= {"extensionsUsed": list(extension), "extensions": extension}
    if kind == "posed":  # the nodes stand as in a frame of an animation; only the inverse bind matrices know the T-pose
        rng = np.random.default_rng(5)
        for name, node in at.items():
            angle = np.array(0.5 if name == "pelvis" else rng.uniform(0.2, 0.8))
            turn = rot.from_axis_angle(rot.normalize(rng.normal(size=3)), angle)
            nodes[node]["rotation"] = turn[[1, 2, 3, 0]].tolist()
    return glb, at, np.linalg.inv(mesh)


def _vrm_bone(name: str) -> str:
    side, _, part = name.rpartition("_")
    return side + _VRM[part]


def _boxes(skeleton: Skeleton, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box along every bone: points (N, 3), triangles (M, 3), joint of each point (N,). The soles are at y = 0."""
    cube = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                      [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip
    points, triangles, which = [], [], []
    left = places[skeleton.index("left_hip"), 0] - places[0, 0]
    facing = np.array([np.sign(left), 1, np.sign(left)])
    for joint in range(len(skeleton)):
        for child in skeleton.children[joint] or (-1,):
            bone = places[child] - places[joint] if child >= 0 else skeleton.tips[joint] * facing
            length = float(np.linalg.norm(bone))
            if length < 1e-3:
                continue
            width = min(0.08, 0.3 * length)
            box = rot.rotate(rot.between(np.array([0, 1.0, 0]), bone), cube * (width, length, width)) + places[joint]
            triangles.append(faces + 8 * len(which))
            points.append(box)
            which.append(joint)
    points = np.concatenate(points)
    points[points[:, 1] < 0.029, 1] = 0
    return points, np.concatenate(triangles), np.repeat(which, 8)


def dance(glb: Glb, at: dict[str, int], *, count: int = 20, fps: float = 30, seed: int = 0, **options) -> np.ndarray:
    """Add an animation of all joints, one key a frame, and a root that moves; the times (count,)."""
    rng = np.random.default_rng(seed)
    times = np.arange(count) / fps
    tracks = []
    for name, node in at.items():
        rest = np.array(glb.json["nodes"][node].get("rotation", [0, 0, 0, 1]))[[3, 0, 1, 2]]
        axis, speed = rot.normalize(rng.normal(size=3)), rng.uniform(1, 6)
        swing = rot.from_axis_angle(axis, 0.5 * np.sin(speed * times + rng.uniform(0, 6)))
        tracks.append((node, "rotation", times, rot.multiply(rest, swing)[:, [1, 2, 3, 0]], "LINEAR"))
        if name == "pelvis":
            start = np.array(glb.json["nodes"][node]["translation"])
            path = np.linalg.norm(start) * 0.2 * np.stack([np.sin(times * 2), np.cos(times * 3), times], -1)
            tracks.append((node, "translation", times, start + path, "LINEAR"))
    glb.animate(options.pop("name", "dance"), tracks, **options)
    return times


def seeds(folder: Path) -> list[Path]:
    """One small file of each kind, written into a folder, for fuzzing."""
    paths = []
    for kind, suffix in zip(KINDS, (".glb", ".vrm", ".vrm", ".glb", ".gltf"), strict=True):
        glb, at, _ = make_character(kind)
        dance(glb, at, count=4)
        paths.append(glb.save(folder / f"{kind}{suffix}"))
    return paths


def read_array(document: dict, binary: bytes, index: int) -> np.ndarray:
    """An accessor, element by element; without sparse."""
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    kind, width = np.dtype(_DTYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
    stride = view.get("byteStride", kind.itemsize * width)
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    rows = [np.frombuffer(binary, kind, width, start + stride * row) for row in range(accessor["count"])]
    values = np.array(rows, dtype=float)
    return np.maximum(values / np.iinfo(kind).max, -1) if accessor.get("normalized") else values


def node_worlds(document: dict, binary: bytes, animation: int | None, time: float) -> list[np.ndarray]:
    """World matrices of all nodes at a time, one after the other as the specification says: the slow oracle."""
    values: dict[tuple[int, str], np.ndarray] = {}
    if animation is not None:
        for channel in document["animations"][animation]["channels"]:
            sampler = document["animations"][animation]["samplers"][channel["sampler"]]
            keys = read_array(document, binary, sampler["input"])[:, 0]
            out = read_array(document, binary, sampler["output"])
            how, turning = sampler.get("interpolation", "LINEAR"), channel["target"]["path"] == "rotation"
            if how == "CUBICSPLINE":
                out = out.reshape(len(keys), 3, -1)
            key = int(np.clip(np.searchsorted(keys, time, side="right") - 1, 0, len(keys) - 1))
            value = out[key, 1] if how == "CUBICSPLINE" else out[key]
            if how != "STEP" and key + 1 < len(keys) and time > keys[key]:
                gap = keys[key + 1] - keys[key]
                t = (time - keys[key]) / gap
                if how == "CUBICSPLINE":
                    a, b = out[key], out[key + 1]
                    value = (2 * t**3 - 3 * t**2 + 1) * a[1] + gap * (t**3 - 2 * t**2 + t) * a[2]
                    value = value + (-2 * t**3 + 3 * t**2) * b[1] + gap * (t**3 - t**2) * b[0]
                elif turning:
                    value = rot.slerp(out[key][[3, 0, 1, 2]], out[key + 1][[3, 0, 1, 2]], np.array(t))[[1, 2, 3, 0]]
                else:
                    value = out[key] + t * (out[key + 1] - out[key])
            values[channel["target"]["node"], channel["target"]["path"]] = rot.normalize(value) if turning else value
    worlds: list = [None] * len(document["nodes"])
    children = {child for node in document["nodes"] for child in node.get("children", [])}
    open_nodes = [(node, np.eye(4)) for node in range(len(worlds)) if node not in children]
    while open_nodes:
        number, above = open_nodes.pop()
        node, local = document["nodes"][number], np.eye(4)
        if "matrix" in node:
            local = np.array(node["matrix"]).reshape(4, 4).T
        else:
            quat = values.get((number, "rotation"), np.array(node.get("rotation", [0, 0, 0, 1])))
            scale = values.get((number, "scale"), np.array(node.get("scale", [1, 1, 1])))
            local[:3, :3] = rot.to_matrix(rot.normalize(quat[[3, 0, 1, 2]])) * scale
            local[:3, 3] = values.get((number, "translation"), np.array(node.get("translation", [0, 0, 0])))
        worlds[number] = above @ local
        open_nodes += [(child, worlds[number]) for child in node.get("children", [])]
    return worlds
