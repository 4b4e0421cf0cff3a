"""Videos of motion: the mannequin on a floor, as an animated GIF or as MP4 (H.264) through ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from kinema.formats.files import atomic_write
from kinema.formats.mannequin import Mannequin, build_mannequin, pose_mannequin
from kinema.formats.pictures import camera_axes, caption, floor_height, shorten, view_direction
from kinema.formats.rasterizer import paint
from kinema.motion import Motion, Skeleton
from kinema.motion.curves import smooth_path
from kinema.motion.editing import resample
from kinema.progress import track

SIZE = (640, 480)
MAX_MP4_FRAMES, MAX_GIF_FRAMES = 216_000, 3_000  # an hour at 60 fps, two minutes at 25 fps
MP4_FPS, GIF_FPS = 60.0, 25.0  # at most; 25 is the fastest that the clock of GIF, 1/100 s, and most viewers keep
_SAMPLES = 2  # pixels of the figure are this much finer
_LENS = 2.9  # focal length in heights of the picture: an angle of 20 degrees, in which a body has its true shape
_MIDDLE = 0.53  # of the height of the picture, where the middle of the scene is: the title is above
_PIECE = 32  # frames that are posed at once
_PAPER, _INK, _FAINT = (247, 248, 250), (33, 37, 43), (128, 135, 146)
_TILE, _SHADOW = np.array((214, 219, 227), np.float32), np.array((40, 46, 58), np.float32)


def write_gif(motion: Motion, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Write an animated GIF, 640 x 480, at the motion's rate or 25 fps if that is less.

    Args:
        motion: any skeleton; at most two minutes at 25 fps.
        path: of the file.
        title: stands above; the motion's caption (`metadata["text"]`) if not given.

    Raises:
        ValueError: the motion is too long.
        OSError: the file cannot be written.
    """
    motion = _at_most(motion, GIF_FPS, MAX_GIF_FRAMES, "GIF")
    scene = Scene(motion, caption(motion) if title is None else title)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _write_gif_frames(scene, file, motion.fps)


def write_mp4(motion: Motion, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Write an MP4 (H.264, yuv420p), 640 x 480, at the motion's rate or 60 fps if that is less, with ffmpeg.

    ffmpeg is the one on PATH, else that of the package imageio-ffmpeg (`pip install kinema[video]`).

    Args:
        motion: any skeleton; at most an hour at 60 fps.
        path: of the file.
        title: stands above; the motion's caption (`metadata["text"]`) if not given.

    Raises:
        ValueError: the motion is too long, or there is no ffmpeg, or it fails.
        OSError: the file cannot be written.
    """
    ffmpeg = find_ffmpeg()
    motion = _at_most(motion, MP4_FPS, MAX_MP4_FRAMES, "MP4")
    title = caption(motion) if title is None else title
    scene = Scene(motion, title)
    rate = str(Fraction(motion.fps).limit_denominator(1001))
    with atomic_write(path) as temporary, tempfile.TemporaryFile() as said:
        command = [ffmpeg, "-v", "error", "-nostdin", "-y"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", rate, "-i", "pipe:0"]
        command += ["-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart", "-metadata", f"title={_plain(title)}", f"file:{temporary.absolute()}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as process:
            assert process.stdin is not None
            try:
                for picture in scene.pictures():
                    process.stdin.write(picture.tobytes())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it stopped; why stands in what it said
            except BaseException:
                process.kill()
                raise
            status = process.wait()
        if status:
            said.seek(0)
            words = said.read(4000).decode("utf-8", "replace").strip().splitlines()
            raise ValueError(f"{path}: ffmpeg failed{f': {words[-1][:300]}' if words else f' with status {status}'}")


def find_ffmpeg() -> str:
    """The program that encodes video.

    Raises:
        ValueError: there is none; it says how to get one.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise ValueError("MP4 needs ffmpeg: install it, or `pip install kinema[video]`; GIF needs neither") from None


def _at_most(motion: Motion, fps: float, frames: int, kind: str) -> Motion:
    if len(motion) * min(1.0, fps / motion.fps) > frames:
        most = frames / min(fps, motion.fps)
        raise ValueError(f"a {kind} holds at most {most:.0f} s of motion, this has {motion.seconds:.0f}; crop it")
    return motion if motion.fps <= fps else resample(motion, fps)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:500]


def _write_gif_frames(scene: Scene, file: BinaryIO, fps: float) -> None:
    """Write frames as they are drawn: colours are chosen once, and of a frame only what changed is stored."""
    from PIL import GifImagePlugin, Image, ImageChops

    samples = np.concatenate([scene.picture(frame) for frame in sorted({0, scene.count // 2, scene.count - 1})])
    palette = Image.fromarray(samples).quantize(255, Image.Quantize.MEDIANCUT)
    colours = palette.getpalette() or []
    shown = None
    header = b"GIF89a" + b"".join(size.to_bytes(2, "little") for size in SIZE) + b"\xf7\x00\x00"
    # an endless loop
    file.write(header + bytes(colours).ljust(768, b"\0") + b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
    for frame, picture in enumerate(scene.pictures()):
        image = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
        box = (0, 0, *SIZE) if shown is None else ImageChops.difference(image, shown).getbbox() or (0, 0, 1, 1)
        shown = image
        delay = min(round(100 * (frame + 1) / fps) - round(100 * frame / fps), 65_535)  # what the format can hold
        part = image.crop(box)
        part.encoderinfo = {}
        for data in GifImagePlugin.getdata(part, box[:2], duration=10 * delay, include_color_table=False):
            file.write(data)
    file.write(b";")


@dataclass(frozen=True)
class _Ground:
    """The floor as the pixels below the horizon see it from a camera at some height.

    Args:
        height: of the camera's target, metres.
        top: the first row R that sees floor.
        place: (R, W, 2) where on the floor, relative to the target, metres.
        footprint: (R, 1) size of a pixel there, in tiles.
        fade: (R, W, 1) how visible the floor is.
    """

    height: float
    top: int
    place: np.ndarray
    footprint: np.ndarray
    fade: np.ndarray


class Scene:
    """A motion before a camera that stands still if all of it fits well into the picture, else follows it.

    The camera looks down a little, from the side of the way that the motion takes. It never turns.
    """

    def __init__(self, motion: Motion, title: str) -> None:
        self.motion, self.count = motion, len(motion)
        self.mesh = build_mannequin(motion.skeleton)
        self.floor = floor_height(motion)
        span = np.ptp(motion.root_position[:, [0, 2]], axis=0).max()
        some = slice(None, None, max(1, len(motion) // 3000))
        joints = motion.replace(
            root_position=motion.root_position[some], rotations=motion.rotations[some]
        ).joint_positions()
        self.thickness = _thickness(self.mesh, motion.skeleton)
        # of the body, about its height, metres
        self.size = max(float(np.median(np.ptp(joints, axis=1).max(-1))), 2 * self.thickness)
        self.view = camera_axes(view_direction(motion), bool(span > 0.3 * self.size))
        self.tile = 0.5 if 0.4 < self.size < 4 else 0.3 * self.size
        follow = smooth_path(motion.root_position, 1.4 * motion.fps)
        if np.ptp(follow[:, 1]) < 0.6 * self.size:
            follow[:, 1] = follow[:, 1].mean()
        still = np.repeat(follow.mean(0, keepdims=True), len(motion), 0)
        distance, middle = self._frame(joints, still[some])
        near, near_middle = self._frame(joints, follow[some])
        # a figure half as large is the price of a camera that stands still
        self.moves = bool(distance > 2 * near)
        self.distance, self.middle = (near, near_middle) if self.moves else (distance, middle)
        self.targets = follow if self.moves else still
        self.title = self._draw_title(title)
        self._ground_at: _Ground | None = None
        self._backdrop_at: tuple[bytes, np.ndarray] | None = None

    def _frame(self, joints: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """How far the camera stands from its targets (T, 3), and what is in the middle of the picture, (2,) metres.

        All joints (T, J, 3), the body around them and the floor below them are in the picture.
        """
        lowest = joints[..., 1].min(1, keepdims=True)
        below = np.array(joints)
        # not so far below that the figure would be lost
        below[..., 1] = np.clip(self.floor, lowest - self.size, lowest)
        local = (np.concatenate([joints, below], 1) - targets[:, None]) @ self.view.T
        flat, depth = local[..., :2].reshape(-1, 2), local[..., 2:].reshape(-1, 1) - self.thickness
        room = np.array([SIZE[0] / SIZE[1] / 2, 1 - _MIDDLE]) * 0.97 / _LENS
        middle = (flat.min(0) + flat.max(0)) / 2
        for _ in range(5):  # what is nearer is larger, which moves the middle
            distance = float(((np.abs(flat - middle) + self.thickness) / room - depth).max())
            distance = max(distance, 2 * self.size)
            seen = (flat - middle) / (depth + distance)
            middle = middle + (seen.min(0) + seen.max(0)) / 2 * distance
        distance = float(((np.abs(flat - middle) + self.thickness) / room - depth).max())
        return max(distance, 2 * self.size), middle

    def project(self, points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (..., 3) in the world -> pixels (..., 2), y down, and their distance along the view (...)."""
        local = (points - target) @ self.view.T
        depth = np.maximum(local[..., 2] + self.distance, 0.05 * self.distance)
        flat = (local[..., :2] - self.middle) / depth[..., None] * (_LENS * SIZE[1])
        return np.stack([SIZE[0] / 2 + flat[..., 0], _MIDDLE * SIZE[1] - flat[..., 1]], -1), depth

    def pictures(self) -> Iterator[np.ndarray]:
        """All frames, (H, W, 3) uint8 each; with a progress bar if there are many."""
        starts = range(0, self.count, _PIECE)
        for start in track(starts, "drawing", len(starts)) if len(starts) > 1 else starts:
            part = slice(start, start + _PIECE)
            vertices, normals = self._pose(part)
            for frame, (points, facing) in enumerate(zip(vertices, normals, strict=True), start):
                yield self._draw(points, facing, self.targets[frame])

    def picture(self, frame: int) -> np.ndarray:
        """(H, W, 3) uint8: one frame."""
        vertices, normals = self._pose(slice(frame, frame + 1))
        return self._draw(vertices[0], normals[0], self.targets[frame])

    def _pose(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        motion = self.motion
        return pose_mannequin(self.mesh, motion.skeleton, motion.root_position[part], motion.rotations[part])

    def _draw(self, vertices: np.ndarray, normals: np.ndarray, target: np.ndarray) -> np.ndarray:
        from PIL import Image

        image = self._backdrop(target).copy()
        self._cast_shadow(image, vertices, target)
        points, depth = self.project(vertices, target)
        low = np.clip(np.floor(points.min(0)).astype(int) - 1, 0, SIZE)
        high = np.clip(np.ceil(points.max(0)).astype(int) + 1, 0, SIZE)
        width, height = (high - low).tolist()
        if width and height:
            fine = _SAMPLES * (points - low)
            figure = paint(
                self.mesh, fine[None], depth[None], (normals @ self.view.T)[None], _SAMPLES * width, _SAMPLES * height
            )
            figure = np.asarray(Image.fromarray(figure, "RGBa").reduce(_SAMPLES))
            there = image[low[1] : high[1], low[0] : high[0]]
            there[:] = figure[..., :3] + there.astype(np.uint16) * (255 - figure[..., 3:]) // 255
        return image

    def _backdrop(self, target: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8: floor and title; drawn once where the camera stands still."""
        key = target.tobytes()
        if self._backdrop_at is None or self._backdrop_at[0] != key:
            image = np.empty((SIZE[1], SIZE[0], 3), np.float32)
            image[:] = _PAPER
            ground = self._ground(float(target[1]))
            start = ((target[[0, 2]] % (2 * self.tile)) / self.tile).astype(np.float32)
            waves = _square_wave(ground.place / np.float32(self.tile) + start, ground.footprint[..., None])
            dark = 0.5 + 0.5 * waves[..., :1] * waves[..., 1:]
            image[ground.top :] += dark * ground.fade * (_TILE - image[ground.top :])
            image[: len(self.title)] += self.title[..., :1] * (self.title[..., 1:] - image[: len(self.title)])
            self._backdrop_at = key, image.astype(np.uint8)
        return self._backdrop_at[1]

    def _ground(self, height: float) -> _Ground:
        if self._ground_at is None or self._ground_at.height != height:
            self._ground_at = self._look_down(height)
        return self._ground_at

    def _look_down(self, height: float) -> _Ground:
        scale = 1 / (_LENS * SIZE[1])
        x = (np.arange(SIZE[0]) + 0.5 - SIZE[0] / 2) * scale
        y = (_MIDDLE * SIZE[1] - np.arange(SIZE[1]) - 0.5) * scale
        right, up, away = self.view
        ray = x[None, :, None] * right + y[:, None, None] * up + away
        eye = self.middle @ self.view[:2] - self.distance * away + [0, height - self.floor, 0]
        down = -ray[:, 0, 1]  # the same along a row, as the camera does not roll
        top = int(np.searchsorted(down, 1e-3))
        steps = max(float(eye[1]), 1e-6) / down[top:, None]
        place = (eye + ray[top:] * steps[..., None])[..., [0, 2]]
        far = np.hypot(place[..., 0] - eye[0], place[..., 1] - eye[2]) / self.distance
        fade = np.clip(2.6 - 1.3 * far, 0, 1)
        footprint = steps * scale / (np.sqrt(down[top:, None]) * self.tile)
        return _Ground(
            height, top, place.astype(np.float32), footprint.astype(np.float32), fade[..., None].astype(np.float32)
        )

    def _cast_shadow(self, image: np.ndarray, vertices: np.ndarray, target: np.ndarray) -> None:
        """Darken the floor, in place: a short shadow to the side, darker below what is close to the floor."""
        from PIL import Image, ImageFilter

        coarse = 4
        width, height = SIZE[0] // coarse, SIZE[1] // coarse
        drop = np.maximum(vertices[:, 1:2] - self.floor, 0)
        cast = vertices * [1, 0, 1] + [0, self.floor, 0] + drop * (0.10 * self.view[0] + 0.02 * self.view[2])
        spots = (self.project(cast, target)[0] / coarse).astype(int)
        inside = ((spots >= 0) & (spots < [width, height])).all(1)
        at = spots[inside, 1] * width + spots[inside, 0]
        # in centimetres of floor a spot stands for as much, however far away the camera is
        strength = np.exp(-1.6 * drop[inside, 0] / self.size * 1.7)
        pixel = self.distance / (_LENS * SIZE[1]) * coarse / self.size
        dark = np.bincount(at, strength, width * height).reshape(height, width)
        dark = 255 * (1 - np.exp(-dark * (0.007 / pixel) ** 2 * 2))
        blurred = Image.fromarray(dark.astype(np.uint8)).filter(ImageFilter.GaussianBlur(max(0.8, 0.018 / pixel)))
        box = blurred.getbbox()
        if box is None:
            return
        left, top, right, bottom = box
        size = (right - left) * coarse, (bottom - top) * coarse
        shadow = np.asarray(blurred.crop(box).resize(size, Image.Resampling.BILINEAR), np.float32)[..., None]
        there = image[top * coarse : bottom * coarse, left * coarse : right * coarse]
        there[:] = there + (0.6 / 255) * shadow * (_SHADOW - there)

    def _draw_title(self, title: str) -> np.ndarray:
        """(rows, W, 4) float32: how much of the title, its length and rate covers a pixel, and its colour."""
        from PIL import Image, ImageDraw, ImageFont

        cover = Image.new("RGBA", (SIZE[0], 34), (*_INK, 0))
        draw = ImageDraw.Draw(cover)
        font, small = ImageFont.load_default(17), ImageFont.load_default(13)
        about = f"{self.motion.seconds:.1f} s, {self.motion.fps:g} fps"
        draw.text((SIZE[0] - 12, 11), about, (*_FAINT, 255), small, anchor="ra")
        room = SIZE[0] - 48 - draw.textlength(about, small)
        draw.text((12, 8), shorten(draw, title, font, room), (*_INK, 255), font)
        array = np.asarray(cover, np.float32)
        return np.concatenate([array[..., 3:] / 255, array[..., :3]], -1)


def _thickness(mesh: Mannequin, skeleton: Skeleton) -> float:
    """How far the surface is from the bones at most, metres; beyond the last joints there is no bone."""
    farthest, rest = 0.0, skeleton.rest_positions
    for joint in np.unique(mesh.joints[:, 0]):
        vertices = mesh.vertices[mesh.joints[:, 0] == joint] - rest[joint]
        distance = np.linalg.norm(vertices, axis=1)
        for bone in skeleton.offsets[list(skeleton.children[joint])]:
            along = np.clip(vertices @ bone / max(float(bone @ bone), 1e-12), 0, 1)
            distance = np.minimum(distance, np.linalg.norm(vertices - along[:, None] * bone, axis=1))
        farthest = max(farthest, float(distance.max()))
    return farthest


def _square_wave(at: np.ndarray, width: np.ndarray) -> np.ndarray:
    """1 and -1 in turn with period 2, averaged over `width`."""

    def integral(x: np.ndarray) -> np.ndarray:
        return 1 - np.abs(x % 2 - 1)

    return (integral(at + width / 2) - integral(at - width / 2)) / width
