"""A motion on somebody's own character: a glTF file with everything that it has, and one animation more."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kinema.formats.gltf_file import Buffer, Document, animation_name, plain, write_document
from kinema.formats.gltf_reader import animation_names, moved_nodes, read_facts
from kinema.formats.gltf_rig import Nodes, Rig, inverse_binds, read_nodes, read_rig
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.humanoid import SIDES, humanoid
from kinema.motion.joint_names import match_joints
from kinema.motion.kinematics import forward_kinematics


def write_character(
    motion: Motion, path: str | os.PathLike[str], character: str | os.PathLike[str], **retargeting: Any
) -> None:
    """Write a character as binary glTF (.glb) with the motion as its first animation.

    Meshes, materials, textures, skins, extensions and other animations stay as they are; of the nodes, only those
    change that are given as matrices and now move. A motion on another skeleton is retargeted, and put to the height
    at which the lowest point of the character's meshes in the bind pose, its sole, is on the ground. Joints that do not
    leave their place (hair, twist bones) get no track, so that an engine may simulate them. `extras` of the animation
    hold fps, units and the motion's metadata.

    Args:
        motion: on any humanoid skeleton; on the character's own (as `read_glb` gives it), nothing is changed.
        path: the .glb file to write.
        character: a skinned .glb, .vrm or .gltf file with everything inside.
        retargeting: handed to `retarget`: `joints`, `onto_joints`, `keep_contacts`.

    Raises:
        ValueError: the character is damaged, has no skeleton or keeps parts in other files, or the motion cannot be
            put onto it.
        OSError: a file cannot be read or written.
    """
    document = Document(character)
    for kind in ("buffers", "images"):
        for item in document.items(kind):
            uri = item.get("uri", "data:")
            if not (isinstance(uri, str) and uri.startswith("data:")):
                document.fail(f"keeps its {kind} in other files ({str(uri)[:40]}); save it as one .glb file first")
    nodes = read_nodes(document)
    rig = read_rig(document, nodes, moved_nodes(document))
    if not _same(motion.skeleton, rig.skeleton):
        from kinema.motion.retarget import retarget

        try:
            lift = _lift(document, nodes, rig)
        except ValueError as error:
            document.fail(f"is no character that a motion can be put onto: {error}")
        motion = retarget(motion, rig.skeleton, **retargeting)
        _check_mesh_follows(document, nodes, rig, motion, retargeting.get("onto_joints"))
        motion = motion.replace(root_position=motion.root_position + (0, lift, 0))

    content = document.content
    buffers = content.setdefault("buffers", [])
    start = document.integer(buffers[0], "byteLength", "buffer 0", 2**32) if buffers else 0
    buffer = Buffer(content, start + -start % 4)
    content.setdefault("animations", []).insert(0, _animation(document, nodes, rig, motion, buffer))

    def binary() -> Iterator[bytes]:
        yield from document.pieces(0, start)
        yield b"\0" * (-start % 4)
        yield from buffer.chunks

    whole = {key: value for key, value in buffers[0].items() if key != "uri"} if buffers else {}
    written = [{**whole, "byteLength": buffer.length}, *buffers[1:]]
    write_document(path, {**content, "buffers": written}, binary(), buffer.length)


def describe_character(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a glTF file holds: generator, meshes, materials, skins, animations with their length, VRM, licence.

    Raises:
        ValueError: the file is damaged.
        OSError: the file cannot be read.
    """
    document = Document(path)
    extensions = document.object(document.content, "extensions", "the file")
    vrm = "1.0" if "VRMC_vrm" in extensions else "0.x" if "VRM" in extensions else "no"
    materials = [str(item.get("name", number))[:200] for number, item in enumerate(document.items("materials"))]
    asset = document.object(document.content, "asset", "the file")
    lengths = [f"{_seconds(document, number):.2f} s" for number in range(len(document.items("animations")))]
    return {
        "generator": str(asset.get("generator", "unknown"))[:200],
        "meshes": len(document.items("meshes")),
        "materials": ", ".join(materials) or "none",
        "skins": len(document.items("skins")),
        "animations": [f"{name}, {length}" for name, length in zip(animation_names(document), lengths, strict=True)],
        "VRM": vrm,
        **({"copyright": str(asset["copyright"])[:1000]} if asset.get("copyright") else {}),
        **read_facts(document, None),
    }


def is_written_by_kinema(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a mannequin of Kinema or a character that it has put a motion onto.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        document = Document(path)
        if document.object(document.content, "asset", "the file").get("generator") == "Kinema":
            return True
        extras = [animation.get("extras") for animation in document.items("animations")[:1]]
    except ValueError:
        return False
    return any(isinstance(extra, dict) and {"fps", "frames", "units"} <= extra.keys() for extra in extras)


def _seconds(document: Document, number: int) -> float:
    """Time of the last key of an animation, by what its accessors say."""
    end, accessors = 0.0, document.items("accessors")
    for sampler in document.objects(document.items("animations")[number], "samplers", f"animation {number}"):
        accessor = document.integer(sampler, "input", f"animation {number}", max(len(accessors), 1))
        if accessors:
            end = max(end, *document.numbers(accessors[accessor], "max", f"accessor {accessor}", (0.0,)))
    return end


def _same(ours: Skeleton, theirs: Skeleton) -> bool:
    """The offsets of a motion may be the mean of an animation, which is not exactly what the nodes have."""
    if ours.names != theirs.names or ours.parents != theirs.parents:
        return False
    size = np.ptp(theirs.rest_positions, axis=0).max()
    return bool(np.abs(ours.offsets - theirs.offsets).max() < 1e-3 * size)


def _check_mesh_follows(
    document: Document, nodes: Nodes, rig: Rig, motion: Motion, onto_joints: Mapping[str, str] | None
) -> None:
    """Rigs for posing have several bones at one place: those that move must be those that the mesh hangs on.

    Raises:
        ValueError: a bone with skin, at the place of a joint of the body, does not come along with it.
    """
    skinned = _skinned_nodes(document, nodes)
    joints = match_joints(rig.skeleton, onto_joints)
    at = {node: joint for joint, node in enumerate(rig.nodes)}
    rest = rig.rest_world[:, :3, 3]
    size = np.ptp(rest[list(joints.values())], axis=0).max()
    frames = np.linspace(0, len(motion) - 1, 20).astype(int)
    positions, _ = forward_kinematics(motion.skeleton, motion.root_position[frames], motion.rotations[frames])
    for node in skinned - set(rig.above):
        place = rest[at[node]] if node in at else nodes.world(node)[0][:3, 3]
        distance = np.linalg.norm(rest - place, axis=-1)
        part, joint = min(joints.items(), key=lambda item: distance[item[1]])
        moved = positions[:, at[node]] if node in at else place
        if distance[joint] < 0.005 * size and np.linalg.norm(moved - positions[:, joint], axis=-1).max() > 0.1 * size:
            document.fail(
                f"its mesh hangs on {nodes.names[node]!r}, which does not move with {nodes.names[rig.nodes[joint]]!r}, "
                f"the {part}; export it with its deforming bones only, in one tree"
            )


def _skinned_nodes(document: Document, nodes: Nodes) -> set[int]:
    """The joints with a weight at some vertex; none for meshes whose weights cannot be read here (Draco)."""
    found: set[int] = set()
    meshes, skins = document.items("meshes"), document.items("skins")
    for number, node in enumerate(document.items("nodes")):
        if "mesh" not in node or "skin" not in node or not (meshes and skins):
            continue
        where = f"node {number}"
        skin = document.integer(node, "skin", where, len(skins))
        joints = np.array(document.integers(skins[skin], "joints", f"skin {skin}", len(nodes.parents)), dtype=int)
        mesh = document.integer(node, "mesh", where, len(meshes))
        for primitive in document.objects(meshes[mesh], "primitives", f"mesh {mesh}"):
            attributes = document.object(primitive, "attributes", f"mesh {mesh}")
            if not {"JOINTS_0", "WEIGHTS_0"} <= attributes.keys() or "extensions" in primitive:
                continue
            which, weights = (
                document.accessor(document.integer(attributes, f"{name}_0", f"mesh {mesh}", 2**32), 4, f"mesh {mesh}")
                for name in ("JOINTS", "WEIGHTS")
            )
            used = np.unique(which[: len(weights)][weights[: len(which)] > 0.1])
            found.update(joints[used[used < len(joints)].astype(int)].tolist())
    return found


def _lift(document: Document, nodes: Nodes, rig: Rig) -> float:
    """How much higher than `retarget` thinks the character must stand for its sole to be on the ground, metres."""
    body = humanoid(rig.skeleton)
    sole = _lowest_point(document, nodes, rig)
    if sole is None or not body.standing:
        return 0.0
    rest = rig.skeleton.rest_positions + rig.rest_world[0, :3, 3]
    unturned = np.tile(rot.IDENTITY, (1, len(rest), 1))
    guessed = min(float(body.sole(side, rest[None], unturned)[0]) for side in SIDES)
    return guessed - sole


def _lowest_point(document: Document, nodes: Nodes, rig: Rig) -> float | None:
    """Height of the lowest corner of the boxes around the character's meshes in the bind pose, metres."""
    at = {node: joint for joint, node in enumerate(rig.nodes)}
    skinned, rigid = [], []
    below = set(at)
    for node in nodes.order:
        if nodes.parents[node] in below:
            below.add(node)
    for number, node in enumerate(document.items("nodes")):
        if "mesh" not in node:
            continue
        if "skin" in node:
            skins = document.items("skins")
            skin = document.integer(node, "skin", f"node {number}", len(skins))
            joints = document.integers(skins[skin], "joints", f"skin {skin}", len(nodes.parents))
            place = next((place for place, joint in enumerate(joints) if joint in at), None)
            if place is not None:
                inverse = inverse_binds(document, skin, joints)
                inverse = np.eye(4) if inverse is None else inverse[place]
                skinned += _corners(document, number, rig.rest_world[at[joints[place]]] @ inverse)
        elif number in below:
            rigid += _corners(document, number, nodes.world(number)[0])
    return min(skinned or rigid, default=None)


def _corners(document: Document, number: int, into_world: np.ndarray) -> list[float]:
    """Heights of the corners of the boxes around the parts of a node's mesh."""
    meshes, accessors = document.items("meshes"), document.items("accessors")
    mesh = document.integer(document.items("nodes")[number], "mesh", f"node {number}", max(len(meshes), 1))
    heights: list[float] = []
    for primitive in document.objects(meshes[mesh], "primitives", f"mesh {mesh}") if meshes else ():
        attributes = document.object(primitive, "attributes", f"mesh {mesh}")
        if "POSITION" in attributes and accessors:
            index = document.integer(attributes, "POSITION", f"mesh {mesh}", len(accessors))
            accessor, where = accessors[index], f"accessor {index}"
            box = [document.numbers(accessor, key, where, (0.0, 0.0, 0.0)) for key in ("min", "max")]
            corners = np.array(list(itertools.product(*zip(*box, strict=True)))) / document.whole(accessor, where)
            heights += (corners @ into_world[1, :3] + into_world[1, 3]).tolist()
    return heights


def _animation(document: Document, nodes: Nodes, rig: Rig, motion: Motion, buffer: Buffer) -> dict[str, Any]:
    """The motion as an animation of the character's nodes, its data put into the buffer."""
    above = np.eye(4)
    turned = rot.IDENTITY
    for node in rig.above:
        above, turned = above @ nodes.local(node), rot.multiply(turned, nodes.rotation[node])
    if abs(np.linalg.det(above[:3, :3])) < 1e-18:
        document.fail("the nodes above its hips are scaled to nothing; export it again")
    inverse = np.linalg.inv(above)

    clock = buffer.put((np.arange(len(motion)) / motion.fps).astype(np.float32), bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def put(node: int, path: str, values: np.ndarray) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": clock, "output": buffer.put(values.astype(np.float32))})
        _loosen(document.items("nodes")[node], nodes, node)

    put(rig.nodes[0], "translation", motion.root_position @ inverse[:3, :3].T + inverse[:3, 3])
    for joint, node in enumerate(rig.nodes):
        parent = motion.skeleton.parents[joint]
        before = rot.inverse(rig.rest[parent] if parent >= 0 else turned)
        local = rot.multiply(before, rot.multiply(motion.rotations[:, joint], rig.rest[joint]))
        if joint == 0 or rot.angle_between(local, nodes.rotation[node]).max() > 1e-6:
            put(node, "rotation", rot.unroll(local)[:, [1, 2, 3, 0]])
    name = animation_name(motion.metadata, animation_names(document))
    metadata = {str(key): plain(value) for key, value in motion.metadata.items()}
    extras = {**metadata, "fps": motion.fps, "frames": len(motion), "units": "metres, seconds"}
    return {"name": name, "samplers": samplers, "channels": channels, "extras": extras}


def _loosen(item: dict[str, Any], nodes: Nodes, node: int) -> None:
    """A node given as a matrix as translation, rotation and scale, the only form in which it can be animated."""
    if node in nodes.sheared:
        raise ValueError(f"node {nodes.names[node] or node} is sheared by its matrix, and so cannot be animated")
    if item.pop("matrix", None) is not None:
        item["translation"] = nodes.translation[node].tolist()
        item["rotation"] = nodes.rotation[node, [1, 2, 3, 0]].tolist()
        item["scale"] = nodes.scale[node].tolist()
