"""pose151 and its inverse."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.features import pose151
from kinema.motion import BODY, Motion
from kinema.motion import rotations as rot


def test_decode_inverts_encode(walk: Motion) -> None:
    back = pose151.decode(pose151.encode(walk))
    assert back.fps == walk.fps
    assert np.abs(back.joint_positions() - walk.joint_positions()).max() < 2e-3
    np.testing.assert_allclose(back.root_position, walk.root_position, atol=1e-9)
    assert np.degrees(rot.angle_between(back.rotations, walk.rotations)).max() < 1.0


def test_pose_does_not_depend_on_place_and_heading(walk: Motion) -> None:
    turn = rot.about_y(np.array(2.2))
    rotations = np.array(walk.rotations)
    rotations[:, 0] = rot.multiply(turn, rotations[:, 0])
    moved = walk.replace(root_position=rot.rotate(turn, walk.root_position) + (3.0, 0.0, -7.0), rotations=rotations)
    here, there = pose151.encode(walk), pose151.encode(moved)
    np.testing.assert_allclose(here.pose, there.pose, atol=1e-9)
    np.testing.assert_allclose(np.diff(here.heading), np.diff(there.heading), atol=1e-9)
    assert (there.heading - here.heading)[0] == pytest.approx(2.2)


def test_channels_are_where_the_table_says(walk: Motion) -> None:
    seen = pose151.encode(walk)
    np.testing.assert_allclose(seen.pose[:, 0], walk.root_position[:, 1])
    np.testing.assert_allclose(
        seen.pose[:, pose151.JOINTS].reshape(-1, 21, 6), rot.to_6d(walk.rotations[:, 1:]), atol=1e-12
    )
    effectors = seen.pose[:, pose151.EFFECTOR].reshape(len(walk), 6, 3)
    world = pose151.effectors_world(seen, effectors)
    joints = [BODY.index(name) for name in pose151.EFFECTORS]
    np.testing.assert_allclose(world, walk.joint_positions()[:, joints], atol=1e-9)


def test_decode_follows_the_effectors(walk: Motion) -> None:
    seen = pose151.encode(walk)
    pose = seen.pose.copy()
    left_wrist = pose151.EFFECTOR.start + 3 * pose151.EFFECTORS.index("left_wrist")
    pose[:, left_wrist + 1] += 0.05
    moved = pose151.decode(pose151.Pose151(pose, seen.path, seen.heading, seen.fps)).joint_positions()
    wrist = BODY.index("left_wrist")
    rise = moved[:, wrist, 1] - walk.joint_positions()[:, wrist, 1]
    np.testing.assert_allclose(rise, 0.05, atol=2e-3)
