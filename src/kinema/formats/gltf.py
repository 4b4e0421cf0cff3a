"""glTF 2.0 out: the mannequin with its skin and the motion as an animation, in one binary file (.glb).

Written from the specification (Khronos, glTF 2.0, 2021). glTF is Y up, right-handed, metres and seconds, and characters
face +Z: a `Motion` needs no conversion but the order of its quaternions.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import numpy as np

from kinema.formats.files import atomic_write
from kinema.formats.mannequin import MATERIALS, build_mannequin
from kinema.motion import Motion
from kinema.motion import rotations as rot

_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_COMPONENT = {"uint8": 5121, "uint16": 5123, "uint32": 5125, "float32": 5126}
_TYPE = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
# the length field of the file is 32 bits wide
_MAX_BYTES = 2**32 - 1


def write_glb(motion: Motion, path: str | os.PathLike[str]) -> None:
    """Write a skinned, animated mannequin as binary glTF 2.0.

    Joints are nodes with the names of the skeleton; every joint has a linear rotation track and the root a translation
    track, with one key a frame: frame i at i / fps seconds. `asset.extras` holds fps, units and the motion's metadata.

    Raises:
        OSError: the file cannot be written.
        ValueError: the motion needs more than the 4 GiB that a .glb can hold.
    """
    document, binary = _document(motion)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace")
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    if total > _MAX_BYTES:
        raise ValueError(f"a .glb file holds at most 4 GiB, this motion needs {total / 2**30:.1f}; crop or resample it")
    with atomic_write(path) as temporary_path:
        temporary_path.write_bytes(
            struct.pack("<4sII", b"glTF", 2, total)
            + struct.pack("<I4s", len(text), b"JSON")
            + text
            + struct.pack("<I4s", len(binary), b"BIN\0")
            + binary
        )


class _Buffer:
    """The binary chunk, with a buffer view and an accessor for every array put into it."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.length = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def put(self, array: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """Index of the new accessor for an array (N,) or (N, K)."""
        data = np.ascontiguousarray(array).tobytes()
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        padding = -len(data) % 4
        self.chunks.append(data + b"\0" * padding)
        self.length += len(data) + padding
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": _COMPONENT[array.dtype.name],
            "count": len(array),
            "type": _TYPE[array[0].size],
        }
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor["min"], accessor["max"] = flat.min(0).tolist(), flat.max(0).tolist()
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _linear(colour: tuple[float, float, float]) -> list[float]:
    """sRGB to the linear colour of a glTF material."""
    value = np.array(colour)
    return [*np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).round(5).tolist(), 1.0]


def _plain(value: Any) -> str | int | float | bool | None:
    """Metadata as JSON can hold it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and np.isfinite(value) else str(value)


def _document(motion: Motion) -> tuple[dict[str, Any], bytes]:
    skeleton, mesh = motion.skeleton, build_mannequin(motion.skeleton)
    buffer = _Buffer()
    wide = np.uint8 if len(skeleton) <= 256 else np.uint16
    attributes = {
        "POSITION": buffer.put(mesh.vertices.astype(np.float32), target=_ARRAY_BUFFER, bounds=True),
        "NORMAL": buffer.put(rot.normalize(mesh.normals).astype(np.float32), target=_ARRAY_BUFFER),
        "JOINTS_0": buffer.put(mesh.joints.astype(wide), target=_ARRAY_BUFFER),
        "WEIGHTS_0": buffer.put(mesh.weights.astype(np.float32), target=_ARRAY_BUFFER),
    }
    index = np.uint16 if len(mesh.vertices) < 65535 else np.uint32
    used = [material for material in range(len(MATERIALS)) if (mesh.materials == material).any()]
    primitives = []
    for number, material in enumerate(used):
        corners = mesh.triangles[mesh.materials == material].ravel().astype(index)
        primitives.append(
            {
                "attributes": attributes,
                "indices": buffer.put(corners, target=_ELEMENT_ARRAY_BUFFER),
                "material": number,
            }
        )
    bind = np.tile(np.eye(4, dtype=np.float32), (len(skeleton), 1, 1))
    # a matrix is stored column by column
    bind[:, 3, :3] = mesh.inverse_bind
    skin = {
        "joints": list(range(len(skeleton))),
        "skeleton": 0,
        "inverseBindMatrices": buffer.put(bind.reshape(-1, 16)),
    }

    # keys on the clock of the file, whose floats grow coarse late in a long motion
    time = (np.arange(len(motion)) / motion.fps).astype(np.float32)
    clock = buffer.put(time, bounds=True)
    samplers = [{"input": clock, "output": buffer.put(motion.root_position.astype(np.float32))}]
    channels = [{"sampler": 0, "target": {"node": 0, "path": "translation"}}]
    quats = rot.unroll(motion.rotations)[..., [1, 2, 3, 0]].astype(np.float32)
    for joint in range(len(skeleton)):
        samplers.append({"input": clock, "output": buffer.put(quats[:, joint])})
        channels.append({"sampler": joint + 1, "target": {"node": joint, "path": "rotation"}})

    nodes: list[dict[str, Any]] = []
    for joint, name in enumerate(skeleton.names):
        # the node itself stands in the rest pose at the place of the first frame, for viewers that do not animate
        offset = skeleton.offsets[joint] if joint else motion.root_position[0]
        node: dict[str, Any] = {"name": name, "translation": offset.tolist()}
        if skeleton.children[joint]:
            node["children"] = list(skeleton.children[joint])
        nodes.append(node)
    nodes.append({"name": "mannequin", "mesh": 0, "skin": 0})
    metadata = {str(key): _plain(value) for key, value in motion.metadata.items()}
    asset: dict[str, Any] = {"version": "2.0", "generator": "Kinema"}
    if metadata.get("licence"):
        asset["copyright"] = str(metadata["licence"])
    asset["extras"] = {"fps": motion.fps, "frames": len(motion), "units": "metres, seconds", **metadata}
    document = {
        "asset": asset,
        "scene": 0,
        "scenes": [{"nodes": [0, len(skeleton)]}],
        "nodes": nodes,
        "meshes": [{"name": "mannequin", "primitives": primitives}],
        "skins": [skin],
        "materials": [
            {
                "name": MATERIALS[material][0],
                "pbrMetallicRoughness": {
                    "baseColorFactor": _linear(MATERIALS[material][1]),
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.7,
                },
            }
            for material in used
        ],
        "animations": [{"name": "motion", "samplers": samplers, "channels": channels}],
        "buffers": [{"byteLength": buffer.length}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    return document, b"".join(buffer.chunks)
