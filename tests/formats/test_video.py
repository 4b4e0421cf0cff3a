from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.formats import video
from kinema.formats.mannequin import MATERIALS
from kinema.formats.video import SIZE, Scene, write_gif, write_mp4
from kinema.motion import Motion, Skeleton
from kinema.motion import rotations as rot


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    try:
        return video.find_ffmpeg()
    except ValueError:
        pytest.skip("needs ffmpeg on PATH, or the package imageio-ffmpeg")


def decode(ffmpeg: str, path: Path) -> tuple[np.ndarray, str]:
    """All frames (T, H, W, 3) of a video, and what ffmpeg says of it."""
    said = subprocess.run([ffmpeg, "-hide_banner", "-i", str(path)], capture_output=True, timeout=60).stderr.decode()
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        str(path),
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
    ]
    raw = subprocess.run([*command, "-"], capture_output=True, check=True, timeout=60).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, SIZE[1], SIZE[0], 3), said


def colourful(picture: np.ndarray) -> np.ndarray:
    """(2,) the middle of all pixels in the colours of hands and feet, x and y."""
    pixels = picture / np.maximum(np.linalg.norm(picture, axis=-1, keepdims=True), 1)
    there = np.zeros(picture.shape[:2], bool)
    for _, colour in MATERIALS[2:]:
        there |= pixels @ (np.array(colour) / np.linalg.norm(colour)) > 0.99
    rows, columns = np.nonzero(there)
    assert len(rows) > 100
    return np.array([columns.mean(), rows.mean()])


def test_mp4_holds_every_frame_and_the_figure_moves_as_the_root(walk, tmp_path, ffmpeg):
    write_mp4(walk.replace(metadata={"text": "a person walks"}), tmp_path / "-a b%d:.mp4")
    frames, said = decode(ffmpeg, tmp_path / "-a b%d:.mp4")
    assert len(frames) == len(walk)
    assert re.search(r"h264.*yuv420p.*640x480.* 30 fps", said)
    assert re.search(r"title +: a person walks", said)
    assert "Duration: 00:00:03.00" in said
    scene = Scene(walk, "")
    assert not scene.moves
    root, _ = scene.project(walk.root_position, scene.targets[0])
    # the root crosses the picture, and hands and feet stay around it
    assert np.ptp(root[:, 0]) > 0.5 * SIZE[0]
    places = np.array([colourful(frames[frame]) for frame in range(0, len(walk), 22)])
    assert np.abs(places[:, 0] - root[::22, 0]).max() < 0.04 * SIZE[0]


def test_rate_of_television_stays(walk, tmp_path, ffmpeg):
    motion = walk.replace(fps=30000 / 1001, rotations=walk.rotations[:9], root_position=walk.root_position[:9])
    write_mp4(motion, tmp_path / "x.mp4")
    frames, said = decode(ffmpeg, tmp_path / "x.mp4")
    assert len(frames) == 9
    assert " 29.97 fps" in said


def test_fast_motion_is_shown_at_60(walk, tmp_path, ffmpeg):
    motion = walk.replace(fps=240, rotations=walk.rotations[:25], root_position=walk.root_position[:25])
    write_mp4(motion, tmp_path / "x.mp4")
    frames, said = decode(ffmpeg, tmp_path / "x.mp4")
    assert len(frames) == 7
    assert " 60 fps" in said


def test_gif_keeps_time(walk, tmp_path):
    write_gif(walk, tmp_path / "walk.gif", "a person walks")
    slow = walk.replace(fps=7, rotations=walk.rotations[:15], root_position=walk.root_position[:15])
    write_gif(slow, tmp_path / "slow.gif")
    slowest = walk.replace(fps=0.001, rotations=walk.rotations[:3], root_position=walk.root_position[:3])
    write_gif(slowest, tmp_path / "slowest.gif")  # beyond what the format can say
    for name, frames, seconds in (("walk", 75, 3.0), ("slow", 15, 15 / 7), ("slowest", 3, 3 * 655.35)):
        with Image.open(tmp_path / f"{name}.gif") as image:
            assert image.size == SIZE
            assert image.info["loop"] == 0
            assert image.n_frames == frames
            delays = []
            for frame in range(frames):
                image.seek(frame)
                delays.append(image.info["duration"])
        assert sum(delays) == pytest.approx(1000 * seconds, abs=5.1)
        assert max(delays) - min(delays) <= 10


def test_gif_shows_what_the_scene_shows(walk, tmp_path):
    """Although only what changed is stored, in 255 colours."""
    motion = walk.replace(fps=20, rotations=walk.rotations[:40], root_position=walk.root_position[:40])
    write_gif(motion, tmp_path / "x.gif")
    scene = Scene(motion, "")
    with Image.open(tmp_path / "x.gif") as image:
        for frame in (0, 1, 17, 39):
            image.seek(frame)
            shown, drawn = np.asarray(image.convert("RGB")).astype(float), scene.picture(frame)
            assert np.abs(shown - drawn).mean() < 2
            assert np.abs(colourful(shown) - colourful(drawn.astype(float))).max() < 8


def far_walk(walk: Motion) -> Motion:
    return walk.replace(root_position=walk.root_position * [1, 1, 12])


def test_camera_follows_long_ways(walk):
    motion = far_walk(walk)
    scene = Scene(motion, "")
    assert scene.moves
    pictures = [scene.picture(frame).astype(float) for frame in (0, 40, 80)]
    places = np.array([colourful(picture) for picture in pictures])
    assert np.abs(places - [SIZE[0] / 2, 0.6 * SIZE[1]]).max() < 0.2 * SIZE[0]
    # the floor passes by below
    floor = slice(SIZE[1] - 60, SIZE[1])
    assert np.abs(pictures[0][floor] - pictures[1][floor]).mean() > 2
    # one frame after the other makes the same pictures as one by itself
    for frame, picture in zip(range(41), scene.pictures(), strict=False):
        if frame in (0, 40):
            np.testing.assert_array_equal(picture, pictures[(0, 40).index(frame)])


def odd_motions(walk: Motion) -> dict[str, Motion]:
    folded = Skeleton(("a", "b", "c"), (-1, 0, 1), np.array([[0, 0, 0], [0.5, 0, 0], [0.5, 0, 0]]))
    quats = np.tile(rot.IDENTITY, (5, 3, 1))
    lying = rot.from_axis_angle(np.array([1.0, 0, 0]), np.array(-1.5))
    giant = Skeleton(walk.skeleton.names, walk.skeleton.parents, walk.skeleton.offsets * 100)
    return {
        "one frame": walk.replace(root_position=walk.root_position[:1], rotations=walk.rotations[:1]),
        "no body, high up": Motion(folded, 30.0, np.tile([0, 50.0, 0], (5, 1)), quats),
        "far": walk.replace(root_position=walk.root_position * [1, 1, 1000.0]),
        "far away": walk.replace(root_position=walk.root_position + [1e6, 0, -1e6]),
        "upwards": walk.replace(root_position=walk.root_position[:, [0, 2, 1]] * [1, 5, 1]),
        "lying": walk.replace(rotations=np.tile(lying, (len(walk), 22, 1))),
        "giant": Motion(giant, 30.0, walk.root_position * 100, walk.rotations),
        "point": Motion(Skeleton(("a",), (-1,), np.zeros((1, 3))), 1.0, np.zeros((2, 3)), quats[:2, :1]),
    }


ODD = ("one frame", "no body, high up", "far", "far away", "upwards", "lying", "giant", "point")


@pytest.mark.parametrize("kind", ODD)
def test_figure_is_in_every_picture(kind, walk):
    motion = odd_motions(walk)[kind]
    scene = Scene(motion, "")
    empty = Scene(motion, "")
    for frame in {0, len(motion) // 2, len(motion) - 1}:
        picture = scene.picture(frame).astype(int)
        figure = np.abs(picture - empty._backdrop(empty.targets[frame])).max(-1) > 60
        assert figure.sum() > 300
        # none of it is cut off, nor does it hide the title
        assert not figure[[0, -1]].any()
        assert not figure[:, [0, -1]].any()


def test_title_is_drawn_and_cut_to_fit(walk):
    for text, wide in (("hop", (10, 60)), ("very " * 5000, (300, 560)), ("", (0, 0))):
        title = Scene(walk, text).picture(0)[5:32, :540].min(-1) < 120
        columns = np.nonzero(title.any(0))[0]
        reach = columns.max() if len(columns) else 0
        assert wide[0] <= reach <= wide[1]


def fake_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit(1)", "ffmpeg failed with status 1"),
        ("sys.exit('Unknown encoder libx264')", "ffmpeg failed: Unknown encoder libx264"),
        ("sys.stdin.buffer.read(); open(sys.argv[-1][5:], 'w').write('half'); sys.exit(9)", "with status 9"),
    ],
)
def test_when_ffmpeg_fails_nothing_stays_behind(code, reason, walk, tmp_path, monkeypatch):
    fake_ffmpeg(tmp_path, monkeypatch, code)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=reason):
        write_mp4(walk, tmp_path / "out" / "x.mp4")
    assert not list((tmp_path / "out").iterdir())


def test_interrupted_video_leaves_nothing(walk, tmp_path, monkeypatch, ffmpeg):
    drawn = Scene._draw

    def interrupt(scene, *arguments):
        if interrupt.calls == 5:
            raise KeyboardInterrupt
        interrupt.calls += 1
        return drawn(scene, *arguments)

    monkeypatch.setattr(Scene, "_draw", interrupt)
    for name, write in (("x.mp4", write_mp4), ("x.gif", write_gif)):
        interrupt.calls = 0
        with pytest.raises(KeyboardInterrupt):
            write(walk, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_ffmpeg_one_sentence_says_how(walk, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match=r"MP4 needs ffmpeg.*kinema\[video\]"):
        write_mp4(walk, tmp_path / "x.mp4")
    write_gif(walk.replace(root_position=walk.root_position[:3], rotations=walk.rotations[:3]), tmp_path / "x.gif")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.gif"]


@pytest.mark.parametrize(("write", "name", "most"), [(write_mp4, "x.mp4", "3600 s"), (write_gif, "x.gif", "120 s")])
def test_too_long_motion_is_refused(write, name, most, tmp_path, ffmpeg):
    one = Skeleton(("a",), (-1,), np.zeros((1, 3)))
    motion = Motion(one, 100.0, np.zeros((400_000, 3)), np.tile(rot.IDENTITY, (400_000, 1, 1)))
    with pytest.raises(ValueError, match=f"at most {most} of motion, this has 4000; crop it"):
        write(motion, tmp_path / name)
    assert not list(tmp_path.iterdir())
