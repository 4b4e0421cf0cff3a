"""HumanML3D: the dataset's own sample comes out, and a slow implementation of the published recipe agrees.

`encode_slowly` is that recipe frame by frame; benchmarks/humanml.py times it.
"""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

import kinema
from kinema.formats import humanml
from kinema.formats.humanml import decode, encode, read_humanml, write_humanml, write_joints
from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot
from kinema.motion.skeleton import BODY_WITH_HANDS

CHAINS = ([0, 2, 5, 8, 11], [0, 1, 4, 7, 10], [0, 3, 6, 9, 12, 15], [9, 14, 17, 19, 21], [9, 13, 16, 18, 20])
RAW = {1: (1, 0, 0), 13: (1, 0, 0), 2: (-1, 0, 0), 14: (-1, 0, 0), 10: (0, 0, 1), 11: (0, 0, 1), 15: (0, 0, 1)}
RAW |= dict.fromkeys((3, 6, 9, 12), (0, 1, 0)) | dict.fromkeys((4, 5, 7, 8, *range(16, 22)), (0, -1, 0))
PARTS = {
    "turn": slice(0, 1),
    "step": slice(1, 3),
    "height": slice(3, 4),
    "positions": slice(4, 67),
    "rotations": slice(67, 193),
    "velocities": slice(193, 259),
    "contacts": slice(259, 263),
}


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    w = a[0] * b[0] - np.dot(a[1:], b[1:])
    return np.array([w, *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])


def conjugate(q: np.ndarray) -> np.ndarray:
    return np.array([q[0], -q[1], -q[2], -q[3]])


def turned(q: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return product(product(q, np.array([0.0, *vector])), conjugate(q))[1:]


def smallest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    q = np.array([np.linalg.norm(a) * np.linalg.norm(b) + np.dot(a, b), *np.cross(a, b)])
    return q / np.linalg.norm(q)


def six(q: np.ndarray) -> np.ndarray:
    return np.concatenate([turned(q, np.array([1.0, 0, 0])), turned(q, np.array([0.0, 1, 0]))])


def encode_slowly(positions: np.ndarray) -> np.ndarray:
    """The published recipe with quaternions, one frame and one bone after the other, float64."""
    ahead = np.array([0.0, 0, 1])
    positions = np.array(positions, dtype=float)
    positions[..., 1] -= positions[..., 1].min()
    positions -= positions[0, 0] * (1, 0, 1)
    across = positions[0, 2] - positions[0, 1] + positions[0, 17] - positions[0, 16]
    turn = smallest(np.cross((0, 1, 0), across), ahead)
    for frame in positions:
        for joint in range(22):
            frame[joint] = turned(turn, frame[joint])

    facing = []
    for frame in positions:
        across = frame[1] - frame[2] + frame[17] - frame[16]
        facing.append(np.cross((0, 1, 0), across / np.linalg.norm(across)))
    root = [smallest(one, ahead) for one in gaussian_filter1d(np.array(facing), 20, axis=0, mode="nearest")]
    root[0] = np.array([1.0, 0, 0, 0])

    rows = []
    for t in range(len(positions) - 1):
        now, after, heading = positions[t], positions[t + 1], root[t]
        change = product(root[t + 1], conjugate(heading))
        rates = [np.arcsin(change[2] * np.sign(change[0]))]
        step = turned(root[t + 1], after[0] - now[0])
        local = [turned(heading, now[joint] - now[0] * (1, 0, 1)) for joint in range(1, 22)]
        sixes = np.zeros((22, 6))
        for chain in CHAINS:
            above = heading
            for parent, joint in pairwise(chain):
                world = smallest(np.array(RAW[joint], float), now[joint] - now[parent])
                sixes[joint] = six(product(conjugate(above), world))
                above = world
        velocities = [turned(heading, after[joint] - now[joint]) for joint in range(22)]
        contacts = [float(np.sum((after[joint] - now[joint]) ** 2) < 0.002) for joint in (7, 10, 8, 11)]
        parts = [rates, step[[0, 2]], [now[0, 1]], *local, *sixes[1:], *velocities, contacts]
        rows.append(np.concatenate(parts))
    return np.array(rows)


def tumble(seed: int, frames: int = 60) -> np.ndarray:
    """Joint positions of a body that turns more than once around and moves every joint."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None] / 20
    waves = np.sin(time * rng.uniform(0.5, 4, (1, 22, 3)) + rng.uniform(0, 7, (1, 22, 3)))
    quats = rot.from_rotation_vector(0.7 * waves)
    quats[:, 0] = rot.multiply(rot.about_y(3 * time[:, 0, 0] + rng.uniform(-3, 3)), quats[:, 0])
    root = np.cumsum(rng.normal(0, 0.03, (frames, 3)), 0) + rng.normal(size=3)
    return Motion(BODY, 20, root, quats).joint_positions()


@pytest.fixture
def golden(data_dir) -> tuple[np.ndarray, np.ndarray]:
    folder = data_dir / "humanml3d" / "golden"
    return np.load(folder / "012314_joints.npy"), np.load(folder / "012314_vecs.npy")


def test_the_vectors_of_the_dataset_come_out(golden):
    """All 263 channels of all 170 frames, within 1e-5.

    The dataset's 170 joint frames are decoded from its 170 vectors, which were made of 171 poses. The last pose stands
    in the velocities of the last vector; without it the smoothing of the heading sees another end (next test).
    """
    joints, vectors = golden
    poses = decode(vectors)
    heading = -2 * vectors[:-1, 0].astype(float).sum()
    steps = rot.rotate(rot.about_y(np.array(heading)), vectors[-1, 193:259].reshape(22, 3).astype(float))
    encoded = encode(np.concatenate([joints, (poses[-1] + steps)[None]]))
    assert encoded.shape == vectors.shape
    assert encoded.dtype == np.float32
    for name, part in PARTS.items():
        np.testing.assert_allclose(encoded[:, part], vectors[:, part], rtol=0, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(encoded[:, PARTS["contacts"]], vectors[:, PARTS["contacts"]])
    assert np.median(np.abs(encoded - vectors)) < 1e-7


def test_from_the_joints_alone_the_end_differs(golden):
    """One pose fewer: the last 35 frames (heading smoothed over 80 to each side) are off by up to 0.0133."""
    joints, vectors = golden
    difference = np.abs(encode(joints) - vectors[:-1])
    assert np.median(difference) < 1e-7
    assert difference[:134].max() < 1e-3
    assert 0.013 < difference.max() < 0.0133
    for name in ("turn", "step", "height", "contacts"):
        assert difference[:, PARTS[name]].max() < 1e-3, name
    # positions and velocities by the angle of the heading; of the rotations only those relative to it
    channels = np.unique(np.argwhere(difference > 1e-3)[:, 1])
    heights = set(range(5, 67, 3)) | set(range(194, 259, 3))
    assert not heights & set(channels)
    rotations = {(channel - 67) // 6 + 1 for channel in channels if 67 <= channel < 193}
    assert rotations <= {1, 2, 3, 13, 14}


def test_positions_come_out_of_the_vectors_of_the_dataset(golden):
    joints, vectors = golden
    np.testing.assert_allclose(decode(vectors), joints, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_slow_recipe_agrees(seed):
    positions = tumble(seed)
    np.testing.assert_allclose(encode(positions), encode_slowly(positions), rtol=0, atol=2e-6)


def test_the_slow_recipe_agrees_on_a_walk_longer_than_a_piece(walk, monkeypatch):
    monkeypatch.setattr(humanml, "_PIECE", 50)
    positions = np.concatenate([walk.joint_positions() + (0, 0, 3.6 * turn) for turn in range(2)])
    np.testing.assert_allclose(encode(positions), encode_slowly(positions), rtol=0, atol=2e-6)


def test_the_slow_recipe_agrees_within_a_degree_of_opposite_bones():
    """An arm straight up is opposite to its raw axis: where the smallest rotation is nearly undefined."""
    quats = np.tile(rot.IDENTITY, (30, 22, 1))
    near = np.radians(np.linspace(-1.0, 1.1, 30))
    quats[:, BODY.index("left_shoulder")] = rot.from_axis_angle(np.array([0.0, 0, 1]), np.pi / 2 + near)
    positions = Motion(BODY, 20, np.zeros((30, 3)), quats).joint_positions()
    np.testing.assert_allclose(encode(positions), encode_slowly(positions), rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), yaw=st.floats(-7, 7), shift=st.tuples(*[st.floats(-50, 50)] * 3))
def test_place_and_heading_do_not_matter(seed, yaw, shift):
    positions = tumble(seed, 25)
    moved = rot.rotate(rot.about_y(np.array(yaw)), positions) + shift
    np.testing.assert_allclose(encode(moved), encode(positions), atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(2, 300))
def test_decode_is_the_inverse(seed, frames):
    """Also through headings of 180 degrees, where the published recipe loses the direction of the turn."""
    positions = tumble(seed, frames)
    expected = positions - positions[0, 0] * (1, 0, 1) - (0, positions[..., 1].min(), 0)
    across = expected[0, 17] - expected[0, 16] + expected[0, 2] - expected[0, 1]
    yaw = np.arctan2(across[2], -across[0])
    expected = rot.rotate(rot.about_y(np.array(-yaw)), expected)
    # every step is rounded to float32
    np.testing.assert_allclose(decode(encode(positions)), expected[:-1], atol=1e-6 * frames**0.5 + 2e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "positions",
    [
        np.zeros((3, 22, 3)),
        np.tile(BODY.rest_positions * (1, 0, 1), (5, 1, 1)),  # legs and spine without length
        np.tile(BODY.rest_positions[:, [0, 2, 1]], (5, 1, 1)),
        np.tile(-BODY.rest_positions, (5, 1, 1)),  # spine exactly opposite to its raw axis
    ],
)
def test_bones_without_direction_still_give_rotations(positions):
    vectors = encode(positions)
    assert np.isfinite(vectors).all()
    sixes = vectors[:, PARTS["rotations"]].reshape(-1, 2, 3)
    np.testing.assert_allclose(
        np.einsum("nij,nkj->nik", sixes, sixes), np.eye(2)[None].repeat(len(sixes), 0), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(1, 22, 3), (5, 21, 3), (5, 66), (0, 22, 3)])
def test_encode_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="at least 2 frames"):
        encode(np.zeros(shape))


def test_a_file_of_vectors_and_back(tmp_path, walk):
    write_humanml(walk, tmp_path / "walk.npy")
    vectors = np.load(tmp_path / "walk.npy")
    assert vectors.shape == (59, 263)  # 3 s at 30 fps are 60 frames at 20
    assert vectors.dtype == np.float32
    back = read_humanml(tmp_path / "walk.npy")
    assert back.fps == 20
    assert back.skeleton.names == BODY.names
    # Every third frame is every second one at 20 fps. The frames between them have another lowest point.
    difference = back.joint_positions()[::2] - walk.joint_positions()[::3]
    assert 0 <= difference[0, 0, 1] < 1e-3
    np.testing.assert_allclose(difference, difference[:1, :1] * np.array([0, 1, 0]) * np.ones((30, 22, 1)), atol=2e-5)
    assert back.contacts is not None
    feet = [BODY.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "foot")]
    np.testing.assert_array_equal(back.contacts[:, feet], vectors[:, 259:] == 1)
    assert back.contacts[:, feet].any(1).mean() > 0.8  # the constructed walk nearly always has a slow foot
    assert not np.delete(back.contacts, feet, 1).any()
    # once more: nothing moves but by rounding
    write_humanml(back, tmp_path / "again.npy")
    np.testing.assert_allclose(np.load(tmp_path / "again.npy")[:50, :67], vectors[:50, :67], atol=2e-2)
    np.testing.assert_allclose(np.load(tmp_path / "again.npy")[:, 3], vectors[:-1, 3], atol=1e-5)


def test_files_of_joint_positions(tmp_path, walk):
    write_joints(walk, tmp_path / "walk.joints.npy")
    joints = np.load(tmp_path / "walk.joints.npy")
    assert joints.shape == (60, 22, 3)
    assert joints.dtype == np.float32
    np.testing.assert_allclose(joints[::2], walk.joint_positions()[::3], atol=1e-6)
    np.save(tmp_path / "flat.npy", joints.reshape(60, 66).astype(np.float64))
    for name in ("walk.joints.npy", "flat.npy"):
        back = read_humanml(tmp_path / name)
        np.testing.assert_allclose(back.joint_positions(), joints, atol=1e-6)
        assert back.metadata["source"] == name
    assert read_humanml(tmp_path / "flat.npy", fps=25).fps == 25


def test_by_the_ending_of_the_name(tmp_path, walk):
    walk.save(tmp_path / "a.npy")
    walk.save(tmp_path / "a.joints.npy")
    assert np.load(tmp_path / "a.npy").shape == (59, 263)
    assert np.load(tmp_path / "a.joints.npy").shape == (60, 22, 3)
    assert len(kinema.load(tmp_path / "a.joints.npy", fps=20)) == 60


def test_hands_and_other_skeletons(tmp_path, walk):
    hands = np.tile(rot.IDENTITY, (len(walk), len(BODY_WITH_HANDS), 1))
    hands[:, : len(BODY)] = walk.rotations
    write_joints(Motion(BODY_WITH_HANDS, walk.fps, walk.root_position, hands), tmp_path / "hands.npy")
    write_joints(walk, tmp_path / "walk.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "hands.npy"), np.load(tmp_path / "walk.npy"))

    capital = {"hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase"}
    capital |= {"collar": "Shoulder", "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand"}
    middle = {
        "pelvis": "Hips",
        "spine1": "Spine",
        "spine2": "Spine1",
        "spine3": "Spine2",
        "neck": "Neck",
        "head": "Head",
    }
    names = [
        middle[name] if name in middle else name.split("_")[0].title() + capital[name.split("_")[1]]
        for name in BODY.names
    ]
    rig = Skeleton(tuple(names), BODY.parents, BODY.offsets * 1.1, BODY.tips * 1.1)
    write_joints(Motion(rig, walk.fps, walk.root_position * 1.1, walk.rotations), tmp_path / "rig.npy")
    difference = np.load(tmp_path / "rig.npy") - np.load(tmp_path / "walk.npy")
    assert np.abs(difference - difference[:1, :1]).max() < 0.03


def test_a_motion_of_one_frame_has_no_vectors(tmp_path, walk):
    short = Motion(BODY, 30, walk.root_position[:1], walk.rotations[:1])
    with pytest.raises(ValueError, match="at least 2 frames"):
        write_humanml(short, tmp_path / "x.npy")
    assert not list(tmp_path.iterdir())
    write_joints(short, tmp_path / "x.npy")
    assert len(read_humanml(tmp_path / "x.npy")) == 1


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(np.zeros((5, 251), np.float32)), r"shape \(5, 251\)"),
        (saved(np.zeros((1, 5, 263))), "shape"),
        (saved(np.zeros((0, 263))), "shape"),
        (saved(np.zeros((5, 263), int)), "int64"),
        (saved(np.array({"motion": 1}, dtype=object)), "object"),
        (saved(np.float64(3)), "shape"),
        (saved(np.where(np.arange(263) == 7, np.nan, 0)[None] * np.ones((3, 1))), "frame 0"),
        (saved(np.zeros((9, 263)) + 1e308 * (np.arange(9) == 4)[:, None]), "frame 4"),
        (saved(np.where(np.arange(9)[:, None, None] == 5, np.inf, np.zeros((9, 22, 3)))), "frame 5"),
        (saved(np.zeros((9, 263)))[:-100], "x.npy"),
        (b"", "damaged"),
        (b"PK\x03\x04", "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=words) as error:
        read_humanml(tmp_path / "x.npy")
    assert "x.npy" in str(error.value)


def test_a_frame_rate_that_cannot_be_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 22, 3)))
    with pytest.raises(ValueError, match=r"x\.npy: fps"):
        read_humanml(tmp_path / "x.npy", fps=0)
