"""The skeleton in a glTF file: which nodes are joints, which of them is the hips, and how they stand in the bind pose.

A `Skeleton`'s rest pose has no rotations, while the nodes of a file do. With W the rotation of a node in the world of
the bind pose and R(t) the one at time t, the joint of the motion has turned by R(t) W^-1, which is the identity in the
bind pose. The bone of a child is W times its translation, in metres, which all scales above it have gone into.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.formats.gltf_file import Document
from kinema.motion import rotations as rot
from kinema.motion.joint_names import REQUIRED, find_joints, is_transform_node, match_joints, unique_name
from kinema.motion.skeleton import MAX_JOINTS, Skeleton

MAX_NODES = 20_000
# of the bind pose, relative to the size of the body; what exporters lose lies far below it
_TOLERANCE = 0.01


@dataclass
class Nodes:
    """The nodes of a document as arrays, N of them; lengths in units of the node above."""

    names: list[str]
    parents: list[int]
    children: list[list[int]]
    order: list[int]  # parents first
    translation: np.ndarray  # (N, 3)
    rotation: np.ndarray  # (N, 4) wxyz
    scale: np.ndarray  # (N, 3)
    sheared: set[int]  # given as a matrix that translation, rotation and scale cannot make

    def __post_init__(self) -> None:
        self._worlds: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def above(self, node: int) -> list[int]:
        """The nodes above one, outermost first."""
        chain = []
        while (node := self.parents[node]) >= 0:
            chain.append(node)
        return chain[::-1]

    def local(self, node: int) -> np.ndarray:
        """(4, 4) from the space of the node to that of the node above."""
        matrix = np.eye(4)
        matrix[:3, :3] = rot.to_matrix(self.rotation[node]) * self.scale[node]
        matrix[:3, 3] = self.translation[node]
        return matrix

    def world(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """Matrix (4, 4) and rotation (4,) from the space of the node to the world, as the nodes stand in the file."""
        open_nodes = [node]
        while node not in self._worlds:
            current = open_nodes[-1]
            parent = self.parents[current]
            if parent >= 0 and parent not in self._worlds:
                open_nodes.append(parent)
                continue
            matrix, rotation = self.local(current), self.rotation[current]
            if parent >= 0:
                above = self._worlds[parent]
                matrix, rotation = above[0] @ matrix, rot.multiply(above[1], rotation)
            self._worlds[open_nodes.pop()] = matrix, rotation
        return self._worlds[node]


@dataclass(frozen=True)
class Rig:
    """A skeleton of J joints, and how it hangs together with the nodes of the file."""

    skeleton: Skeleton
    nodes: list[int]  # of each joint
    above: list[int]  # nodes above the hips, outermost first
    rest: np.ndarray  # (J, 4) rotation of the nodes in the world of the bind pose
    rest_world: np.ndarray  # (J, 4, 4) from the space of the nodes to the world of the bind pose
    spans: np.ndarray  # (J, 3, 3) turns the translation of a child node into the offset of its joint


def read_nodes(document: Document) -> Nodes:
    """The nodes of a document.

    Raises:
        ValueError: they are damaged, or not a tree.
    """
    items = document.items("nodes")
    count = len(items)
    nodes = Nodes([], [-1] * count, [], [], np.zeros((count, 3)), np.zeros((count, 4)), np.ones((count, 3)), set())
    if count > MAX_NODES:
        document.fail(f"{count} nodes are more than any character needs; remove what is not needed")
    matrices: dict[int, np.ndarray] = {}
    identity = tuple(np.eye(4).ravel().tolist())
    for number, node in enumerate(items):
        where = f"node {number}"
        name = node.get("name")
        nodes.names.append(name.encode(errors="replace").decode()[:200] if isinstance(name, str) else "")
        children = document.integers(node, "children", where, count)
        for child in children:
            if nodes.parents[child] >= 0 or child == number:
                document.fail(f"node {child} stands below two nodes, or below itself; export the file again")
            nodes.parents[child] = number
        nodes.children.append(children)
        if "matrix" in node:
            matrices[number] = np.array(document.numbers(node, "matrix", where, identity)).reshape(4, 4).T
        else:
            nodes.translation[number] = document.numbers(node, "translation", where, (0, 0, 0))
            nodes.scale[number] = document.numbers(node, "scale", where, (1, 1, 1))
            x, y, z, w = document.numbers(node, "rotation", where, (0, 0, 0, 1))
            nodes.rotation[number] = w, x, y, z
    if matrices:
        given, stacked = list(matrices), np.stack(list(matrices.values()))
        nodes.translation[given] = stacked[:, :3, 3]
        nodes.rotation[given], nodes.scale[given], whole = decompose(stacked[:, :3, :3])
        nodes.sheared.update(number for number, good in zip(given, whole, strict=True) if not good)
    length = np.linalg.norm(nodes.rotation, axis=-1)
    if count and length.min() < 0.1:
        document.fail(f"node {int(length.argmin())}: its rotation is not a unit quaternion; export the file again")
    nodes.rotation /= length[:, None]
    nodes.order.extend(number for number in range(count) if nodes.parents[number] < 0)
    for number in nodes.order:
        nodes.order.extend(nodes.children[number])
    if len(nodes.order) < count:
        document.fail("some of its nodes stand below each other in a ring; export the file again")
    return nodes


def decompose(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations (..., 4) and scales (..., 3) of matrices (..., 3, 3), and whether they make them up (...)."""
    scale = np.linalg.norm(matrices, axis=-2)
    scale[..., 0] *= np.where(np.linalg.det(matrices) < 0, -1, 1)
    axes = matrices / np.where(scale == 0, 1, scale)[..., None, :]
    rotation = rot.from_6d(np.concatenate([axes[..., 0], axes[..., 1]], -1))
    length = np.linalg.norm(rotation, axis=-1, keepdims=True)
    rotation = np.where((length > 0.99) & (length < 1.01), rotation, rot.IDENTITY)  # scaled to nothing
    off = np.abs(rot.to_matrix(rotation) * scale[..., None, :] - matrices).max((-1, -2))
    return rotation, scale, off <= 1e-3 * np.abs(scale).max(-1)


def read_rig(document: Document, nodes: Nodes, animated: set[int]) -> Rig:
    """The skeleton of the character in a document, from the hips on.

    Joints are the nodes that a skin or a VRM names, or, in a file without either, those in `animated` and the empty
    nodes below them. Nodes above the hips are no joints, nor is what hangs there beside the hips (IK targets).

    Raises:
        ValueError: the document is damaged or has no skeleton.
    """
    humanoid = read_humanoid(document, len(nodes.parents))
    skins = _skins(document, len(nodes.parents))
    joints = {joint for joints in skins for joint in joints} | set(humanoid.values())
    if not joints:
        joints = _animated_joints(document, nodes, animated)
    if not joints:
        document.fail("has no skeleton: no skin, and no nodes that are animated; export it with its armature")
    kept = _connected(document, nodes, joints)
    if (depth := len(nodes.above(kept[0]))) > MAX_JOINTS:
        document.fail(f"its skeleton stands below {depth} other nodes; remove those that are not needed")
    with np.errstate(all="ignore"):
        places = np.stack([nodes.world(node)[0][:3, 3] for node in kept])
        parents = _parents(nodes, kept)
        skeleton = _skeleton(document, nodes, kept, places - places[np.maximum(parents, 0)])
        root = _hips(document, nodes, skeleton, kept, humanoid, joints)
        below = {root}
        for joint, parent in enumerate(skeleton.parents):
            if parent in below:
                below.add(joint)
        kept = [kept[joint] for joint in sorted(below)]
        rest_world, rest = _bind_pose(document, nodes, kept, skins)
        turned = rot.multiply(rest, rot.inverse(np.stack([nodes.world(node)[1] for node in kept])))
        spans = rot.to_matrix(turned) @ np.stack([nodes.world(node)[0][:3, :3] for node in kept])
        offsets = np.zeros((len(kept), 3))
        for joint, parent in enumerate(_parents(nodes, kept)):
            if parent >= 0:
                offsets[joint] = spans[parent] @ nodes.translation[kept[joint]]
        skeleton = _skeleton(document, nodes, kept, offsets)
        if humanoid and not _known(skeleton):
            standard = {node: name for name, node in humanoid.items()}
            names = _unique([standard.get(node, nodes.names[node]) for node in kept], kept)
            skeleton = Skeleton(names, skeleton.parents, skeleton.offsets, skeleton.tips)
    return Rig(skeleton, kept, nodes.above(kept[0]), rest, rest_world, spans)


def read_humanoid(document: Document, count: int) -> dict[str, int]:
    """What a VRM says of its bones: {name in VRM: node}; empty where the file is none."""
    extensions = document.object(document.content, "extensions", "the file")
    found: dict[str, int] = {}
    for key in ("VRMC_vrm", "VRMC_vrm_animation"):
        humanoid = document.object(document.object(extensions, key, "extensions"), "humanoid", key)
        for name, bone in document.object(humanoid, "humanBones", key).items():
            if not isinstance(bone, dict):
                document.fail(f"{key}: humanBones must hold objects; export the file again")
            found[name[:100]] = document.integer(bone, "node", f"{key}, bone {name[:100]}", count)
    humanoid = document.object(document.object(extensions, "VRM", "extensions"), "humanoid", "VRM")
    for bone in document.objects(humanoid, "humanBones", "VRM"):
        if bone.get("node", -1) != -1:  # what UniVRM writes for a bone that is not there
            name = str(bone.get("bone"))[:100]
            found[name] = document.integer(bone, "node", f"VRM, bone {name}", count)
    return found


def _skins(document: Document, count: int) -> list[list[int]]:
    return [
        document.integers(skin, "joints", f"skin {number}", count)
        for number, skin in enumerate(document.items("skins"))
    ]


def inverse_binds(document: Document, number: int, joints: list[int]) -> np.ndarray | None:
    """(N, 4, 4) from the space of the mesh to those of the skin's joints; None where the skin has none."""
    skin, where = document.items("skins")[number], f"skin {number}"
    if "inverseBindMatrices" not in skin:
        return None
    index = document.integer(skin, "inverseBindMatrices", where, 2**32)
    values = document.accessor(index, 16, where)
    if len(values) < len(joints):
        document.fail(f"{where}: has {len(values)} inverse bind matrices for {len(joints)} joints; export it again")
    return values[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)


def _animated_joints(document: Document, nodes: Nodes, animated: set[int]) -> set[int]:
    """Animated nodes other than cameras and lights, and the empty nodes below them."""
    items = document.items("nodes")
    seen = {
        number
        for number, node in enumerate(items)
        if "camera" in node or "KHR_lights_punctual" in document.object(node, "extensions", f"node {number}")
    }
    joints = animated - seen
    for node in nodes.order:
        if nodes.parents[node] in joints and node not in seen and "mesh" not in items[node]:
            joints.add(node)
    return joints


def _connected(document: Document, nodes: Nodes, joints: set[int]) -> list[int]:
    """The nodes that join most of the joints into one tree, parents first."""
    counts = [0] * len(nodes.parents)
    for joint in joints:
        counts[joint] = 1
    for node in reversed(nodes.order):
        if nodes.parents[node] >= 0:
            counts[nodes.parents[node]] += counts[node]
    top = max((node for node in nodes.order if nodes.parents[node] < 0), key=counts.__getitem__)
    while top not in joints and (inner := [c for c in nodes.children[top] if counts[c] == counts[top]]):
        top = inner[0]
    kept, open_nodes = [], [top]
    while open_nodes and len(kept) <= MAX_JOINTS:
        kept.append(open_nodes.pop())
        open_nodes.extend(child for child in reversed(nodes.children[kept[-1]]) if counts[child])
    if len(kept) > MAX_JOINTS:
        document.fail(f"has more than {MAX_JOINTS} joints; remove those that are not needed")
    # the order of the file where that is one of parents first, as it is in files that Kinema wrote
    return sorted(kept) if all(nodes.parents[node] < node for node in kept[1:]) and top == min(kept) else kept


def _parents(nodes: Nodes, kept: list[int]) -> list[int]:
    at = {node: joint for joint, node in enumerate(kept)}
    return [-1, *(at[nodes.parents[node]] for node in kept[1:])]


def _skeleton(document: Document, nodes: Nodes, kept: list[int], offsets: np.ndarray) -> Skeleton:
    parents = _parents(nodes, kept)
    tips = np.zeros_like(offsets)
    for joint, node in enumerate(kept):
        extras = document.items("nodes")[node].get("extras")
        if isinstance(extras, dict) and "kinema_tip" in extras:
            tips[joint] = document.numbers(extras, "kinema_tip", f"node {node}", (0, 0, 0))
    try:
        return Skeleton(_unique([nodes.names[node] for node in kept], kept), tuple(parents), offsets, tips)
    except ValueError as error:
        document.fail(f"its skeleton cannot be used: {error}")


def _unique(names: list[str], kept: list[int]) -> tuple[str, ...]:
    taken: set[str] = set()
    return tuple(unique_name(name or f"node_{node}", taken) for name, node in zip(names, kept, strict=True))


def _known(skeleton: Skeleton) -> bool:
    """Whether the names of the joints tell which they are."""
    try:
        found = find_joints(skeleton)
    except ValueError:
        return False
    return all(found[name][1] == "name" for name in REQUIRED if name != "pelvis")


def _hips(
    document: Document, nodes: Nodes, skeleton: Skeleton, kept: list[int], humanoid: dict[str, int], joints: set[int]
) -> int:
    """Index of the joint that carries legs and head."""
    if document.object(document.content, "asset", "the file").get("generator") == "Kinema":
        return 0
    at = {node: joint for joint, node in enumerate(kept)}
    bones = [humanoid.get(name) for name in ("hips", "leftUpperLeg", "rightUpperLeg", "head")]
    found = [at[node] for node in bones if node in at]
    if not found:
        try:
            known = match_joints(skeleton)
            found = [known[name] for name in ("pelvis", "left_hip", "right_hip", "head") if name in known]
        except ValueError:
            pass
    if found:
        chains = [[*nodes.above(kept[joint]), kept[joint]] for joint in found]
        common = [row[0] for row in zip(*chains, strict=False) if len(set(row)) == 1]
        return at[common[-1]]
    root, size = 0, np.ones(len(kept), dtype=int)
    for joint in range(len(kept) - 1, 0, -1):
        size[skeleton.parents[joint]] += size[joint]
    while skeleton.children[root] and (kept[root] not in joints or is_transform_node(skeleton.names[root])):
        root = max(skeleton.children[root], key=size.__getitem__)
    return root


def _bind_pose(
    document: Document, nodes: Nodes, kept: list[int], skins: list[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """(J, 4, 4) and rotations (J, 4) of the joints in the world of the bind pose."""
    wanted = set(kept)
    worlds = {node: nodes.world(node)[0] for node in kept}
    if not all(np.abs(matrix).max() < 1e12 for matrix in worlds.values()):
        document.fail("its nodes are scaled beyond all measure; export it again")
    numbers = sorted(range(len(skins)), key=lambda number: -len(wanted.intersection(skins[number])))
    bind: dict[int, np.ndarray] = {}
    into_world, size = np.eye(4), 1.0
    for number in numbers:
        inside = [place for place, joint in enumerate(skins[number]) if joint in wanted]
        if all(skins[number][place] in bind for place in inside):
            continue
        inverse = inverse_binds(document, number, skins[number])
        if inverse is None:
            continue
        inverse = inverse[inside]
        joints = [skins[number][place] for place in inside]
        determinants = np.abs(np.linalg.det(inverse[:, :3, :3]))
        if determinants.min() < 1e-18 or np.abs(inverse[:, 3] - (0, 0, 0, 1)).max() > 1e-3:
            document.fail(f"skin {number}: has an inverse bind matrix that cannot be inverted; export it again")
        if not bind:
            common = np.stack([worlds[joint] for joint in joints]) @ inverse
            size = max(float(np.ptp([worlds[node][:3, 3] for node in kept], axis=0).max()), 1e-6)
            unlike = np.abs(common - common[0]).max(0)
            if unlike[:3, :3].max() < _TOLERANCE * np.abs(common[0, :3, :3]).max() and (
                unlike[:3, 3].max() < _TOLERANCE * size
            ):
                break  # the nodes stand in the bind pose
        standing = np.linalg.inv(inverse)
        shared = next((place for place, joint in enumerate(joints) if joint in bind), None)
        if not bind:
            above = [nodes.parents[kept[0]], *_mesh_nodes(document, number)]
            candidates = [np.eye(4), *(nodes.world(node)[0] for node in above if node >= 0)]
            into_world = min(candidates, key=lambda matrix: _distance(matrix @ standing, joints, nodes, size))
        elif shared is not None:
            into_world = bind[joints[shared]] @ inverse[shared]
        for place, joint in enumerate(joints):
            bind.setdefault(joint, into_world @ standing[place])
    if not bind:
        return np.stack([worlds[node] for node in kept]), np.stack([nodes.world(node)[1] for node in kept])
    for node in kept:
        if node not in bind:
            parent = bind.get(nodes.parents[node])
            bind[node] = worlds[node] if parent is None else parent @ nodes.local(node)
    matrices = np.stack([bind[node] for node in kept])
    return matrices, decompose(matrices[:, :3, :3])[0]


def _mesh_nodes(document: Document, skin: int) -> list[int]:
    return [number for number, node in enumerate(document.items("nodes")) if node.get("skin") == skin][:1]


def _distance(bind: np.ndarray, joints: list[int], nodes: Nodes, size: float) -> float:
    """How far a bind pose (N, 4, 4) is from where the nodes stand, in turns of the joints, place and size."""
    there = np.stack([nodes.world(joint)[0] for joint in joints])
    turned = (
        rot.angle_between(decompose(bind[:, :3, :3])[0], np.stack([nodes.world(joint)[1] for joint in joints])).mean()
        / np.pi
    )
    away = np.linalg.norm(bind[0, :3, 3] - there[0, :3, 3]) / size
    sizes = [max(np.linalg.norm(np.ptp(matrices[:, :3, 3], axis=0)), 1e-9) for matrices in (bind, there)]
    return float(turned + min(1.0, away) + min(1.0, abs(np.log(sizes[0] / sizes[1]))))
