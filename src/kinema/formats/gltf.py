"""glTF 2.0 out: the mannequin with its skin and the motion as an animation, in one binary file (.glb).

Written from the specification (Khronos, glTF 2.0, 2021). glTF is Y up, right-handed, metres and seconds, and characters
face +Z: a `Motion` needs no conversion but the order of its quaternions.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from kinema.formats.gltf_file import Buffer, animation_name, plain, write_document
from kinema.formats.mannequin import MATERIALS, build_mannequin
from kinema.motion import Motion
from kinema.motion import rotations as rot

_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


def write_glb(
    motion: Motion,
    path: str | os.PathLike[str],
    character: str | os.PathLike[str] | None = None,
    **retargeting: Any,
) -> None:
    """Write a skinned, animated mannequin, or a character of one's own, as binary glTF 2.0.

    Joints are nodes with the names of the skeleton; every joint has a linear rotation track and the root a translation
    track, with one key a frame: frame i at i / fps seconds. `asset.extras` holds fps, units and the motion's metadata.

    Args:
        motion: what to write.
        path: the .glb file.
        character: a skinned .glb, .vrm, .gltf or .fbx file to put the motion onto, instead of the mannequin; see
            `kinema.formats.character.write_character`.
        retargeting: how it is put there, handed to `retarget`: `joints`, `onto_joints`, `keep_contacts`.

    Raises:
        OSError: the file cannot be written, or the character not be read.
        ValueError: the motion needs more than the 4 GiB that a .glb can hold, or does not fit the character.
    """
    if character is not None:
        from kinema.formats.character import write_character
        from kinema.formats.fbx import character_as_glb

        with character_as_glb(character) as skinned:
            write_character(motion, path, skinned, **retargeting)
        return
    if retargeting:
        raise ValueError(f"{', '.join(retargeting)}: only for motion on a character; name one as character")
    content, buffer = _document(motion)
    write_document(path, content, buffer.chunks, buffer.length)


def _linear(colour: tuple[float, float, float]) -> list[float]:
    """sRGB to the linear colour of a glTF material."""
    value = np.array(colour)
    return [*np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).round(5).tolist(), 1.0]


def _document(motion: Motion) -> tuple[dict[str, Any], Buffer]:
    skeleton, mesh = motion.skeleton, build_mannequin(motion.skeleton)
    content: dict[str, Any] = {"asset": {"version": "2.0", "generator": "Kinema"}}
    buffer = Buffer(content)
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
        elif skeleton.tips[joint].any():
            node["extras"] = {"kinema_tip": skeleton.tips[joint].tolist()}
        nodes.append(node)
    nodes.append({"name": "mannequin", "mesh": 0, "skin": 0})
    metadata = {str(key): plain(value) for key, value in motion.metadata.items()}
    if metadata.get("licence"):
        content["asset"]["copyright"] = str(metadata["licence"])
    content["asset"]["extras"] = {**metadata, "fps": motion.fps, "frames": len(motion), "units": "metres, seconds"}
    content |= {
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
        "animations": [{"name": animation_name(motion.metadata), "samplers": samplers, "channels": channels}],
        "buffers": [{"byteLength": buffer.length}],
    }
    return content, buffer
