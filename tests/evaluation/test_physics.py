"""The physics of motion on constructed cases: known slides, depths, stretches, an arm through the chest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.evaluation import physics
from kinema.motion import BODY, Motion, Skeleton
from kinema.motion import rotations as rot

TOES = [BODY.index("left_foot"), BODY.index("right_foot")]
STANDING = BODY.rest_positions + (0, 0.03 - BODY.rest_positions[TOES[0], 1], 0)  # soles on the ground
LYING = STANDING[:, [0, 2, 1]] * (1, 1, -1)  # on the back, its deepest capsule to be laid on the ground


def still(pose: np.ndarray, frames: int = 90) -> np.ndarray:
    return np.tile(pose, (frames, 1, 1))


def standing(frames: int = 90, **turned: tuple[tuple[float, float, float], float]) -> np.ndarray:
    """(T, 22, 3) of somebody who stands with arms down, some joints turned about an axis by degrees."""
    pose = {"left_shoulder": ((0.0, 0, 1), -75.0), "right_shoulder": ((0.0, 0, 1), 75.0), **turned}
    rotations = np.tile(rot.IDENTITY, (frames, len(BODY), 1))
    for joint, (axis, degrees) in pose.items():
        rotations[:, BODY.index(joint)] = rot.from_axis_angle(np.array(axis), np.radians(degrees))
    return Motion(BODY, 30, np.tile(STANDING[0], (frames, 1)), rotations).joint_positions().copy()


def test_speed_jerk_and_drift_of_a_known_path() -> None:
    time = np.arange(40) / 30
    path = np.zeros((40, 2, 3))
    path[..., 2] = (time**3)[:, None]
    assert physics.jerk(path, 30) == pytest.approx(6)
    path[..., 2] = 1.5 * time[:, None]
    assert physics.speed(path, 30) == pytest.approx(1.5)
    assert physics.jerk(path, 30) == pytest.approx(0, abs=1e-8)


def test_corners_at_keys_show_in_the_acceleration_ratio() -> None:
    frames = np.arange(121)
    smooth = np.zeros((121, 1, 3))
    smooth[:, 0, 0] = np.sin(0.1 * frames)
    keys = frames[::8]
    corners = smooth.copy()
    corners[:, 0, 0] = np.interp(frames, keys, smooth[keys, 0, 0])

    def ratio(path: np.ndarray) -> float:
        at_key, between = physics.key_accelerations(path, 8)
        assert len(at_key) == 14
        assert len(between) == 119 - 14
        return at_key.mean() / between.mean()

    assert ratio(smooth) == pytest.approx(1, abs=0.1)
    assert ratio(corners) > 1e6


def test_bones_that_stretch() -> None:
    positions = still(STANDING, 11)
    assert physics.bone_length_drift(positions) == pytest.approx(0, abs=1e-12)
    wrist = BODY.index("right_wrist")
    bone = BODY.offsets[wrist]
    positions[:, wrist] += np.linspace(-0.05, 0.05, 11)[:, None] * bone  # from 95 % to 105 %, the mean stays
    assert physics.bone_length_drift(positions) == pytest.approx(0.1)
    assert physics.bone_length_drift(3 * positions) == pytest.approx(0.1)
    two = Skeleton(("a", "b"), (-1, 0), np.array([[0.0, 0, 0], [0, 1, 0]]))
    assert physics.bone_length_drift(np.array([[[0, 0, 0], [0, 3, 0]], [[5, 0, 0], [5, 1.0, 0]]]), two) == 1
    with pytest.raises(ValueError, match="\\(T, 22, 3\\)"):
        physics.bone_length_drift(positions[:, :21])


@pytest.mark.parametrize(("height", "weight"), [(0.0, 1.0), (-0.02, 1.0), (0.0125, 2 - 2**0.5), (0.025, 0), (0.3, 0)])
@pytest.mark.parametrize("fps", [20, 30])
def test_a_slide_counts_by_its_speed_and_height(height: float, weight: float, fps: int) -> None:
    slide = still(STANDING, 60) + (0, height, 0) + np.arange(60)[:, None, None] / fps * np.array([0.3, 0, -0.4])
    assert physics.weighted_skating(slide, fps) == pytest.approx(0.5 * weight)
    slide[:, TOES[0]] = slide[:1, TOES[0]]  # one foot stands
    assert physics.weighted_skating(slide, fps) == pytest.approx(0.25 * weight)


def test_feet_that_rise_and_fall_do_not_slide() -> None:
    hop = still(STANDING, 60) + np.sin(np.arange(60))[:, None, None] * np.array([0, 0.01, 0])
    assert physics.weighted_skating(hop, 30) == 0
    assert physics.weighted_skating(hop[:1], 30) == 0


def test_a_body_that_is_3_cm_too_low() -> None:
    positions = standing()
    assert physics.lowest(positions) == pytest.approx(0)
    assert physics.penetration(positions) == pytest.approx((0, 0))
    positions[30:60, :, 1] -= 0.03  # a third of the time
    positions[60:, :, 1] -= 0.005  # the skin gives way
    depth, share = physics.penetration(positions)
    assert depth == pytest.approx((0.03 + 0.005) / 3)
    assert share == pytest.approx(1 / 3)


def test_hands_and_knees_go_through_the_ground_too() -> None:
    positions = standing()
    positions[:, BODY.index("left_wrist"), 1] = -0.1
    assert physics.lowest(positions) == pytest.approx(-0.1 - 0.03)


def test_floating_is_not_jumping() -> None:
    positions = standing(300)
    assert physics.floating(positions, 30) == pytest.approx(0)
    flight = np.arange(19)  # 0.6 s
    positions[100:119, :, 1] += (0.45 * (1 - ((flight - 9) / 9.5) ** 2))[:, None]
    assert physics.floating(positions, 30) == pytest.approx(0)
    positions[200:, :, 1] += 0.06  # hangs in the air for the last third
    assert physics.floating(positions, 30) == pytest.approx(0.02)


def test_who_lies_does_not_float() -> None:
    lying = still(LYING)
    lying[..., 1] -= physics.lowest(lying)[:, None]
    assert lying[0, 0, 1] < 0.15
    assert physics.floating(lying, 30) == pytest.approx(0)


@pytest.mark.parametrize(
    "pose",
    [
        {},
        {"left_elbow": ((0.0, 1, 0), -140.0), "right_knee": ((1.0, 0, 0), 140.0)},  # flesh folds at a joint
        {"left_hip": ((1.0, 0, 0), -90.0), "right_hip": ((1.0, 0, 0), -90.0)},  # sits
        {"left_shoulder": ((0.0, 0, 1), 90.0), "right_shoulder": ((0.0, 0, 1), -90.0)},  # arms up
        {"neck": ((1.0, 0, 0), 40.0), "spine2": ((1.0, 0, 0), 60.0)},  # bows
    ],
)
def test_poses_that_people_take_do_not_count_as_intersections(pose: dict) -> None:
    assert physics.self_intersection(standing(2, **pose)) == 0


def test_an_arm_through_the_chest_counts_in_the_frames_where_it_is() -> None:
    positions = standing(10)
    chest = STANDING[BODY.index("spine3")]
    positions[4:7, BODY.index("left_elbow")] = chest + (0.2, 0, 0.1)
    positions[4:7, BODY.index("left_wrist")] = chest
    assert physics.self_intersection(positions) == pytest.approx(0.3)


def test_legs_through_one_another_count() -> None:
    crossed = standing(4, left_hip=((0.0, 0, 1), -20.0), right_hip=((0.0, 0, 1), 20.0))
    assert physics.self_intersection(crossed) == 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_intersections_and_slides_do_not_depend_on_place_and_heading(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = standing(6) + 0.15 * rng.normal(size=(6, 22, 3))
    turned = rot.rotate(rot.about_y(rng.uniform(-3, 3)), positions) + (rng.normal(), 0, rng.normal())
    assert physics.overlaps(turned) == pytest.approx(physics.overlaps(positions), abs=1e-9)
    for measure in (lambda p: physics.weighted_skating(p, 30), lambda p: physics.floating(p, 30), physics.penetration):
        assert measure(turned) == pytest.approx(measure(positions))
    mirrored = turned * (-1, 1, 1)
    mirrored = mirrored[:, [BODY.index(name.replace(*swap(name))) for name in BODY.names]]
    assert physics.self_intersection(mirrored) == physics.self_intersection(positions)


def swap(name: str) -> tuple[str, str]:
    return ("left", "right") if name.startswith("left") else ("right", "left")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_segment_distance_is_the_least_over_both_segments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c, d = rng.normal(size=(4, 1, 3))
    if seed % 3 == 0:
        d = c + (b - a) * rng.uniform(-2, 2)  # parallel
    if seed % 5 == 0:
        b = a.copy()  # a point
    ways = np.linspace(0, 1, 201)[:, None]
    one, other = a + ways * (b - a), c + ways * (d - c)
    slow = np.linalg.norm(one[:, None] - other[None], axis=-1).min()
    found = physics.segment_distance(a, b, c, d)[0]
    assert found <= slow + 1e-12
    assert found == pytest.approx(slow, abs=0.02 * max(np.linalg.norm(b - a), np.linalg.norm(d - c)))


def test_segment_distances_worked_out_by_hand() -> None:
    a, b = np.array([[0.0, 0, 0]] * 4), np.array([[1.0, 0, 0]] * 4)
    c = np.array([[0.5, 1, -1], [0.2, 0.5, 0], [4, 4, 0], [2.0, 0, 0]])
    d = np.array([[0.5, 1, 1], [0.8, 0.5, 0], [4, 5, 0], [3.0, 0, 0]])  # crosses; parallel; far away; in line
    assert physics.segment_distance(a, b, c, d) == pytest.approx([1, 0.5, 5, 1])


def test_damage_moves_the_measures_of_motion_the_right_way(walk: Motion, rng: np.random.Generator) -> None:
    shaken = walk.replace(root_position=walk.root_position + rng.normal(0, 0.003, walk.root_position.shape))
    frozen = walk.replace(
        root_position=np.tile(walk.root_position[:1], (len(walk), 1)),
        rotations=np.tile(walk.rotations[:1], (len(walk), 1, 1)),
    )
    drifting = walk.replace(root_position=walk.root_position + np.linspace(0, 1, len(walk))[:, None] * (2.5, 0, 0))
    same = physics.quality([walk, walk], [walk], every=8)
    assert same.keys() == physics.MEASURES.keys()
    assert same["speed_ratio"] == same["jerk_ratio"] == pytest.approx(1)
    assert "acceleration_ratio" not in physics.quality([walk], [walk])
    assert physics.quality([shaken], [walk])["jerk_ratio"] > 2
    assert physics.quality([shaken], [walk])["speed_ratio"] == pytest.approx(1, abs=0.15)
    still = physics.quality([frozen], [walk])
    assert still["speed_ratio"] == still["sliding"] == still["skating"] == still["weighted_skating"] == 0
    assert physics.quality([drifting], [walk])["sliding"] > same["sliding"] + 0.3
    assert physics.quality([drifting], [walk])["weighted_skating"] > same["weighted_skating"] + 0.1
    risen = walk.replace(root_position=walk.root_position + (0, 0.04, 0))
    assert physics.quality([risen], [walk])["floating"] == pytest.approx(same["floating"] + 0.04, abs=1e-3)
    sunk = walk.replace(root_position=walk.root_position - (0, 0.03, 0))
    assert physics.quality([sunk, walk], [walk])["penetrating"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "measure", [physics.lowest, physics.penetration, physics.self_intersection, lambda p: physics.floating(p, 30)]
)
def test_other_bodies_are_refused(measure: Callable[[np.ndarray], float]) -> None:
    for shape in ((5, 24, 3), (22, 3), (0, 22, 3)):
        with pytest.raises(ValueError, match="those of BODY, \\(T, 22, 3\\)"):
            measure(np.zeros(shape))


def test_what_cannot_be_compared_is_refused(walk: Motion) -> None:
    with pytest.raises(ValueError, match="0 made and 1 real"):
        physics.quality([], [walk])
    with pytest.raises(ValueError, match="1 made and 0 real"):
        physics.quality([walk], [])
    taller = walk.replace(skeleton=Skeleton(BODY.names, BODY.parents, 1.1 * BODY.offsets))
    with pytest.raises(ValueError, match="retarget"):
        physics.quality([taller], [walk])
