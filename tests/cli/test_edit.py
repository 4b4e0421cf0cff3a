"""What each edit does to a file."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kinema import load
from kinema.motion import BODY
from kinema.motion import rotations as rot
from kinema.motion.contacts import ANKLE_HEIGHT, TOE_HEIGHT
from kinema.motion.editing import concatenate, heading

SIDES = ("left", "right")


@pytest.fixture
def edit(kinema, place):
    """Edit walk.bvh; the motion that is written."""

    def run(name: str, *options: object, source: str = "walk.bvh"):
        outcome = kinema("edit", name, source, *options, "-o", "out/x.npz")
        assert (outcome.status, outcome.err) == (0, "")
        motion = load(place / "out" / "x.npz")
        assert outcome.out.splitlines()[-1].startswith(f"out/x.npz: {motion.seconds:.2f} s, {len(motion)} frames")
        return motion

    return run


def test_resample(edit):
    motion = edit("resample", "--fps", 60)
    assert (motion.fps, len(motion)) == (60, 179)


def test_crop(edit, walk):
    motion = edit("crop", "--start", 1, "--end", 2.5)
    assert len(motion) == 45
    np.testing.assert_allclose(motion.root_position[0], walk.root_position[30], atol=1e-5)
    assert len(edit("crop", "--start", 1)) == 60


def test_mirror(edit, place, walk):
    walk.replace(root_position=walk.root_position + (1, 0, 0)).save(place / "beside.bvh")
    motion = edit("mirror", source="beside.bvh")
    left, right = (motion.joint_positions()[:, motion.skeleton.index(f"{side}_wrist")] for side in SIDES)
    before = walk.joint_positions()
    np.testing.assert_allclose(left, (before[:, BODY.index("right_wrist")] + (1, 0, 0)) * (-1, 1, 1), atol=1e-5)
    np.testing.assert_allclose(right, (before[:, BODY.index("left_wrist")] + (1, 0, 0)) * (-1, 1, 1), atol=1e-5)


def test_join(kinema, place, walk):
    kinema("edit", "resample", "walk.bvh", "--fps", "60", "-o", "fast.bvh")
    kinema("edit", "place", "walk.bvh", "--heading", "90", "-o", "turned.bvh")
    outcome = kinema("edit", "join", "walk.bvh", "fast.bvh", "turned.bvh", "-o", "x.npz", "--blend", "0.2")
    assert outcome.out == "x.npz: 9.00 s, 270 frames at 30 fps, 22 joints\n"
    root = load(place / "x.npz").root_position
    np.testing.assert_allclose(root[-1, [0, 2]], [0, 9 * 1.2], atol=0.1)  # it walks on, straight ahead
    assert np.linalg.norm(np.diff(root, axis=0), axis=-1).max() < 1.5 * 1.2 / 30


def test_ground(edit, place, walk):
    walk.replace(root_position=walk.root_position + (0, 0.7, 0)).save(place / "high.bvh")
    high, usual = edit("ground", source="high.bvh"), edit("ground")
    np.testing.assert_allclose(high.root_position, usual.root_position, atol=1e-5)
    lowest = min(usual.joint_positions()[:, usual.skeleton.index(f"{side}_ankle"), 1].min() for side in SIDES)
    assert abs(lowest - ANKLE_HEIGHT) < 0.01


def test_place(edit):
    motion = edit("place", "--position", 1, -2.5, "--heading", 90)
    np.testing.assert_allclose(motion.root_position[0, [0, 2]], [1, -2.5], atol=1e-9)
    assert heading(motion)[0] == pytest.approx(np.pi / 2, abs=1e-9)
    np.testing.assert_allclose(motion.root_position[-1] - motion.root_position[0], [89 / 30 * 1.2, 0, 0], atol=0.1)


def test_loop_can_be_repeated(edit, place):
    cycle = edit("loop", "--blend", "0.2")
    assert 45 <= len(cycle) < 90
    three = concatenate([cycle] * 3)
    step = np.linalg.norm(np.diff(three.joint_positions(), axis=0), axis=-1).max(1)
    seams = step[[len(cycle) - 1, 2 * len(cycle) - 1]]
    assert seams.max() <= 1.2 * np.delete(step, [len(cycle) - 1, 2 * len(cycle) - 1]).max()


def test_smooth_takes_trembling_away(edit, place, walk):
    noise = rot.from_rotation_vector(np.random.default_rng(0).normal(0, 0.05, (*walk.rotations.shape[:2], 3)))
    walk.replace(rotations=rot.multiply(walk.rotations, noise)).save(place / "noisy.npz")

    def error(motion):
        return rot.angle_between(motion.rotations, walk.rotations)[5:-5].mean()

    assert error(edit("smooth", "--seconds", "0.15", source="noisy.npz")) < 0.6 * error(load(place / "noisy.npz"))


def test_path_leads_elsewhere(edit):
    motion = edit("path", "--points", 1, 1, 3, 1, 3, 2.5)
    np.testing.assert_allclose(motion.root_position[[0, -1]][:, [0, 2]], [[1, 1], [3, 2.5]], atol=0.1)


def test_lock_feet_holds_them_and_says_by_how_much(kinema, place, walk):
    """A figure that sways over feet which follow it."""
    sway = 0.04 * np.sin(np.arange(90) / 8)[:, None] * (1, 0, 0) + BODY.offsets[[1, 4, 7, 10]].sum(0) * (0, -1, 0)
    standing = walk.replace(root_position=sway + (0, TOE_HEIGHT, 0), rotations=walk.rotations * 0 + rot.IDENTITY)
    standing.save(place / "sway.npz")

    def sliding(name):
        toe = load(place / name).joint_positions()[:, standing.skeleton.index("left_foot"), 0]
        return np.abs(np.diff(toe)).mean()

    outcome = kinema("edit", "lock-feet", "sway.npz", "-o", "x.npz")
    assert outcome.status == 0
    before, after = (float(word) for word in re.findall(r"([\d.]+) cm/s", outcome.out))
    assert before > 5
    assert after < 0.2 * before
    assert sliding("x.npz") < 0.2 * sliding("sway.npz")
    kinema("edit", "lock-feet", "sway.npz", "--max-speed", "0.01", "-o", "slow.npz")  # then next to nothing is planted
    assert sliding("slow.npz") > 2 * sliding("x.npz")


def test_any_format_goes_in_and_out(kinema, place):
    for source, out in (("walk.bvh", "a.glb"), ("a.glb", "b.npz"), ("b.npz", "c.html")):
        outcome = kinema("edit", "crop", source, "--end", "2", "-o", out)
        assert (outcome.status, outcome.out.split(",")[0]) == (0, f"{out}: 2.00 s")


def test_options_of_reading_reach_the_reader(kinema, place, walk):
    kinema("edit", "mirror", "walk.bvh", "--unit", "in", "-o", "x.npz")
    assert load(place / "x.npz").root_position[0, 1] == pytest.approx(2.54 * walk.root_position[0, 1], abs=1e-4)
