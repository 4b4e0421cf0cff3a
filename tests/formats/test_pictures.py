from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kinema.formats.mannequin import MATERIALS
from kinema.formats.pictures import write_strip, write_strips
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot


def coloured(image: np.ndarray, material: int) -> np.ndarray:
    """(H, W) where the picture has the hue of a material, however lit."""
    colour = np.array(MATERIALS[material][1])
    pixels = image / np.maximum(np.linalg.norm(image, axis=-1, keepdims=True), 1)
    return pixels @ (colour / np.linalg.norm(colour)) > 0.995


def test_strip_shows_a_figure_in_every_panel(walk, tmp_path):
    write_strip(walk, tmp_path / "walk.png", frames=6, title="a person walks")
    image = np.asarray(Image.open(tmp_path / "walk.png").convert("RGB")).astype(float)
    left_limbs, right_limbs = coloured(image, 2), coloured(image, 3)
    width = (image.shape[1] - 170) // 6
    for panel in range(6):
        columns = slice(panel * width, (panel + 1) * width)
        assert left_limbs[:, columns].sum() > 60
        assert right_limbs[:, columns].sum() > 60
    # figures keep to their panels: little ink on the seams
    body = left_limbs | right_limbs
    assert body[:, [panel * width for panel in range(1, 6)]].sum() < 10


def test_strip_tells_motions_apart(walk, tmp_path):
    still = walk.replace(rotations=np.repeat(walk.rotations[:1], len(walk), 0))
    for name, motion in (("walk", walk), ("still", still), ("again", walk)):
        write_strip(motion, tmp_path / f"{name}.png", frames=4, title="")
    files = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("walk", "still", "again")}
    assert files["walk"] == files["again"]
    assert files["walk"] != files["still"]


def test_caption_comes_from_the_metadata_and_is_cut_to_fit(walk, tmp_path):
    for name, text in (("short", "hop"), ("none", ""), ("long", "very " * 5000), ("other", "走る </script>")):
        write_strip(walk.replace(metadata={"text": text}), tmp_path / f"{name}.png", frames=2)
    title = {
        name: np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))[:38] < 140
        for name in ("short", "none", "long", "other")
    }
    assert title["short"][:, :800].any()
    assert not title["none"][:, :800].any()
    assert title["long"][:, 1000:1200].any()
    # not over the length and rate at the right
    assert not title["long"][:, 1368:1386].any()


def test_sheet_has_a_row_for_every_motion(walk, tmp_path):
    write_strip(walk, tmp_path / "one.png", frames=3)
    write_strips([walk, walk, walk], tmp_path / "three.png", ["a", "b", "c"], frames=3)
    one, three = (Image.open(tmp_path / f"{name}.png") for name in ("one", "three"))
    assert three.size == (one.width, 3 * one.height)


def test_odd_motions_can_be_drawn(walk, tmp_path):
    folded = Skeleton(("a", "b", "c"), (-1, 0, 1), np.array([[0, 0, 0], [0.5, 0, 0], [0.5, 0, 0]]))
    quats = np.tile(rot.IDENTITY, (5, 3, 1))
    motions = [
        walk.replace(root_position=walk.root_position[:1], rotations=walk.rotations[:1]),
        Motion(folded, 30.0, np.tile([0, 50.0, 0], (5, 1)), quats),
        walk.replace(root_position=walk.root_position * [1, 1, 1000.0]),
        # lies on the floor
        walk.replace(rotations=np.tile(rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(-1.5)), (len(walk), 22, 1))),
    ]
    write_strips(motions, tmp_path / "x.png", frames=8)
    image = np.asarray(Image.open(tmp_path / "x.png").convert("L"))
    height = image.shape[0] // len(motions)
    for row in range(len(motions)):
        assert (image[row * height + 40 : row * height + 300, :160] < 120).sum() > 30


@pytest.mark.parametrize("frames", [0, 21])
def test_number_of_frames_is_checked(walk, tmp_path, frames):
    with pytest.raises(ValueError, match="1 to 20 frames"):
        write_strip(walk, tmp_path / "x.png", frames=frames)
    assert not list(tmp_path.iterdir())


def test_titles_must_fit_motions(walk, tmp_path):
    with pytest.raises(ValueError, match="titles"):
        write_strips([walk], tmp_path / "x.png", ["a", "b"])
    with pytest.raises(ValueError, match="1 to 100 motions, got 0"):
        write_strips([], tmp_path / "x.png")
