from __future__ import annotations

import numpy as np
import pytest

from kinema.formats.mannequin import LEFT_MATERIAL, RIGHT_MATERIAL, build_mannequin, pose_mannequin
from kinema.motion import BODY, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.kinematics import forward_kinematics
from kinema.motion.skeleton import BODY_WITH_HANDS

FOLDED = Skeleton(  # every bone along X, as in raw Bandai-Namco files, and names that mean nothing
    names=("a", "b", "c", "d", "e"),
    parents=(-1, 0, 1, 0, 3),
    offsets=np.array([[0, 0, 0], [0.4, 0, 0], [0.4, 0, 0], [0.3, 0, 0], [-0.2, 0, 0]]),
)
LONE = Skeleton(names=("only",), parents=(-1,), offsets=np.zeros((1, 3)))


def taller(scale: float, names=BODY.names) -> Skeleton:
    return Skeleton(names, BODY.parents, BODY.offsets * scale, BODY.tips * scale)


def volume(mesh) -> float:
    """Signed volume of the closed surfaces, by the divergence theorem; negative where they are inside out."""
    corners = mesh.vertices[mesh.triangles]
    return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))) / 6


@pytest.mark.parametrize("skeleton", [BODY, FOLDED, LONE, taller(0.5)], ids=["body", "folded", "lone", "child"])
def test_mesh_is_closed_outward_and_fully_weighted(skeleton):
    mesh = build_mannequin(skeleton)
    edges = np.concatenate([mesh.triangles[:, [0, 1]], mesh.triangles[:, [1, 2]], mesh.triangles[:, [2, 0]]])
    there = {tuple(edge) for edge in edges.tolist()}
    # on a closed surface every edge is walked once in each direction
    assert len(there) == len(edges)
    assert all((b, a) in there for a, b in there)
    assert volume(mesh) > 0
    np.testing.assert_allclose(mesh.weights.sum(1), 1, atol=1e-12)
    assert mesh.weights.min() >= 0
    assert mesh.joints.min() >= 0
    assert mesh.joints.max() < len(skeleton)
    assert (mesh.joints[mesh.weights == 0] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-9)
    assert len(np.unique(mesh.triangles)) == len(mesh.vertices)


def changed(**offsets) -> Skeleton:
    new = np.array(BODY.offsets)
    for name, offset in offsets.items():
        new[BODY.index(name)] = offset
    return Skeleton(BODY.names, BODY.parents, new, BODY.tips)


@pytest.mark.parametrize(
    "skeleton",
    [
        changed(left_knee=(0, 0, 0), right_wrist=(0, 0, 0), head=(0, 0, 0)),
        changed(left_elbow=(0, 0, 0.28), left_wrist=(0, 0, 0.23)),
        changed(left_foot=(0, -0.07, 0), right_foot=(0.1, 0, 0)),
        changed(spine1=(0, 0, 0), spine2=(0, -0.2, 0), neck=(0, -0.3, 0.1)),
        changed(**dict.fromkeys(BODY.names, (0, 0, 0))),
        Skeleton(BODY.names, BODY.parents, np.random.default_rng(1).normal(size=(22, 3)) * np.arange(22)[:, None]),
    ],
    ids=["no length", "arm forward", "odd feet", "folded spine", "a point", "chaos"],
)
def test_strange_bodies_give_a_sound_mesh(skeleton):
    mesh = build_mannequin(skeleton)
    for array in (mesh.vertices, mesh.normals, mesh.weights):
        assert np.isfinite(array).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(mesh.weights.sum(1), 1, atol=1e-12)
    assert np.ptp(mesh.vertices, axis=0).max() > 0


def test_normals_point_out():
    mesh = build_mannequin(BODY)
    corners = mesh.vertices[mesh.triangles]
    faces = rot.normalize(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    agreement = np.einsum("ij,ikj->ik", faces, mesh.normals[mesh.triangles])
    assert np.quantile(agreement, 0.01) > 0.3


def test_body_has_human_measures():
    mesh = build_mannequin(BODY)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    assert high[1] - low[1] == pytest.approx(1.722, abs=0.01)
    assert 2000 <= len(mesh.triangles) <= 6500
    # about 70 kg of person; the parts overlap a little
    assert 0.05 < volume(mesh) < 0.085
    # left and right are mirror images
    mirrored = mesh.vertices * [-1, 1, 1]
    nearest = np.linalg.norm(mesh.vertices[:, None] - mirrored[None, ::7], axis=-1).min(0)
    assert nearest.max() < 1e-6


def test_body_stands_on_flat_soles_and_feet_point_forward():
    mesh = build_mannequin(BODY)
    toe = BODY.rest_positions[BODY.index("left_foot")]
    sole = mesh.vertices[:, 1] < toe[1] - 0.03 + 1e-6
    assert mesh.vertices[:, 1].min() == pytest.approx(toe[1] - 0.03, abs=1e-9)
    for side in (mesh.vertices[:, 0] > 0, mesh.vertices[:, 0] < 0):
        length = np.ptp(mesh.vertices[sole & side, 2])
        assert length > 0.18
    assert mesh.vertices[sole, 2].max() > toe[2] + 0.03
    forefoot = sole & (mesh.vertices[:, 2] > toe[2] + 0.03) & (mesh.vertices[:, 0] > 0)
    assert (mesh.joints[forefoot, 0] == BODY.index("left_foot")).all()


def test_left_is_left():
    mesh = build_mannequin(BODY)
    for material, sign in ((LEFT_MATERIAL, 1), (RIGHT_MATERIAL, -1)):
        assert (sign * mesh.vertices[mesh.triangles[mesh.materials == material]][..., 0] > 0).all()


def test_mesh_follows_the_size_of_the_skeleton():
    base, child = build_mannequin(BODY), build_mannequin(taller(0.6))
    np.testing.assert_allclose(child.vertices, 0.6 * base.vertices, atol=1e-9)


def test_other_names_get_the_same_body():
    names = {
        "pelvis": "Hips",
        "spine1": "Spine",
        "spine2": "Spine1",
        "spine3": "Spine2",
        "neck": "Neck",
        "head": "Head",
    }
    for side in ("left", "right"):
        for ours, theirs in (
            ("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase"), ("collar", "Shoulder"),
            ("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand"),
        ):  # fmt: skip
            names[f"{side}_{ours}"] = side.capitalize() + theirs
    other = taller(1.0, tuple(names[name] for name in BODY.names))
    np.testing.assert_allclose(build_mannequin(other).vertices, build_mannequin(BODY).vertices, atol=1e-9)


def test_rest_pose_leaves_the_mesh_alone_and_root_carries_it():
    mesh = build_mannequin(BODY)
    rest = np.tile(rot.IDENTITY, (len(BODY), 1))
    vertices, normals = pose_mannequin(mesh, BODY, np.zeros(3), rest)
    np.testing.assert_allclose(vertices, mesh.vertices, atol=1e-12)
    np.testing.assert_allclose(normals, mesh.normals, atol=1e-12)
    turned = rest.copy()
    turned[0] = rot.about_y(np.array(1.0))
    vertices, _ = pose_mannequin(mesh, BODY, np.array([1.0, 2.0, 3.0]), turned)
    np.testing.assert_allclose(vertices, np.array([1.0, 2, 3]) + rot.rotate(turned[0], mesh.vertices), atol=1e-12)


@pytest.mark.parametrize("skeleton", [BODY, FOLDED], ids=["body", "folded"])
def test_skinning_agrees_with_a_loop(skeleton):
    mesh = build_mannequin(skeleton)
    random = np.random.default_rng(3)
    quats = rot.normalize(random.normal(size=(len(skeleton), 4)))
    root = random.normal(size=3)
    vertices, _ = pose_mannequin(mesh, skeleton, root, quats)
    positions, world = forward_kinematics(skeleton, root, quats)
    for vertex in random.integers(0, len(mesh.vertices), 60):
        expected = np.zeros(3)
        for joint, weight in zip(mesh.joints[vertex], mesh.weights[vertex], strict=True):
            local = mesh.vertices[vertex] - skeleton.rest_positions[joint]
            expected += weight * (positions[joint] + rot.rotate(world[joint], local))
        np.testing.assert_allclose(vertices[vertex], expected, atol=1e-10)


def test_bends_keep_their_thickness():
    """At a knee or elbow bent by 100 degrees the limb stays at least half as thick as straight."""
    mesh = build_mannequin(BODY)
    for joint, axis in (("left_knee", (1.0, 0, 0)), ("left_elbow", (0, -1.0, 0))):
        index = BODY.index(joint)
        quats = np.tile(rot.IDENTITY, (len(BODY), 1))
        quats[index] = rot.from_axis_angle(np.array(axis), np.array(np.radians(100)))
        vertices, _ = pose_mannequin(mesh, BODY, np.zeros(3), quats)
        around = np.linalg.norm(mesh.vertices - BODY.rest_positions[index], axis=1) < 0.065
        around &= np.any((mesh.joints == index) & (mesh.weights > 0), 1)
        before = np.linalg.norm(mesh.vertices[around] - BODY.rest_positions[index], axis=1)
        after = np.linalg.norm(vertices[around] - BODY.rest_positions[index], axis=1)
        assert (after > 0.5 * before).all()


def test_fingers_are_seen_to_bend():
    mesh = build_mannequin(BODY_WITH_HANDS)
    rotations = np.tile(rot.IDENTITY, (len(BODY_WITH_HANDS), 1))
    open_hand, _ = pose_mannequin(mesh, BODY_WITH_HANDS, np.zeros(3), rotations)
    for number in (1, 2, 3):
        bend = rot.from_axis_angle(np.array([0.0, 0, -1]), np.array(1.4))
        rotations[BODY_WITH_HANDS.index(f"left_index{number}")] = bend
    closed, _ = pose_mannequin(mesh, BODY_WITH_HANDS, np.zeros(3), rotations)
    tip = BODY_WITH_HANDS.rest_positions[BODY_WITH_HANDS.index("left_index3")] + BODY_WITH_HANDS.tips[24]
    near = np.linalg.norm(open_hand - tip, axis=-1) < 0.01
    assert near.any()
    assert np.linalg.norm(closed - open_hand, axis=-1)[near].min() > 0.05
    moved = np.linalg.norm(closed - open_hand, axis=-1) > 1e-3
    knuckle = BODY_WITH_HANDS.rest_positions[BODY_WITH_HANDS.index("left_index1")]
    assert np.linalg.norm(open_hand[moved] - knuckle, axis=-1).max() < 0.12
