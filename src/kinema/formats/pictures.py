"""Pictures of motion: a strip of key frames of the mannequin, by a small rasteriser, for looking at many clips."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kinema.formats.files import atomic_write
from kinema.formats.mannequin import build_mannequin, pose_mannequin
from kinema.formats.rasterizer import paint
from kinema.motion import Motion
from kinema.motion import rotations as rot
from kinema.motion.joint_names import match_joints
from kinema.motion.kinematics import forward_kinematics
from kinema.progress import track

if TYPE_CHECKING:
    from PIL import Image

MAX_FRAMES = 20
MAX_MOTIONS = 100
_WIDTH, _PANEL_HEIGHT, _TITLE_HEIGHT, _TIME_HEIGHT, _MAP_WIDTH = 1480, 270, 40, 30, 170
_SAMPLES = 2  # pixels of the figures are this much finer
_DISTANCE = 6.0  # of the camera, metres
_PITCH = np.radians(13)
_PAPER, _INK, _FAINT = (247, 248, 250), (33, 37, 43), (128, 135, 146)
_PATH = (58, 110, 220)


def write_strip(motion: Motion, path: str | os.PathLike[str], frames: int = 8, title: str | None = None) -> None:
    """Write a PNG with `frames` poses of a motion, evenly spaced in time from the first frame to the last.

    Every pose stands in its own panel, whose camera follows the root; the floor has a grid of half metres and the
    path of the root; the map at the right shows the path from above. All panels of a strip share scale and direction.

    Args:
        motion: any skeleton.
        path: of the PNG.
        frames: how many poses, 1 to 20.
        title: stands above; the motion's caption (`metadata["text"]`) if not given.

    Raises:
        ValueError: `frames` is out of range.
        OSError: the file cannot be written.
    """
    write_strips([motion], path, [caption(motion) if title is None else title], frames)


def write_strips(
    motions: Sequence[Motion], path: str | os.PathLike[str], titles: Sequence[str] | None = None, frames: int = 8
) -> None:
    """Write the strips of 1 to 100 motions into one PNG, a row each; see `write_strip`.

    Raises:
        ValueError: no motions or too many, another number of titles than motions, or `frames` is out of range.
        OSError: the file cannot be written.
    """
    from PIL import Image

    titles = titles_of(motions, titles, MAX_MOTIONS)
    if not 1 <= frames <= MAX_FRAMES:
        raise ValueError(f"a strip has 1 to {MAX_FRAMES} frames, got {frames}")
    pairs = zip(motions, titles, strict=True)
    pairs = track(pairs, "drawing", len(motions)) if len(motions) > 4 else pairs
    rows = [_strip(motion, frames, title) for motion, title in pairs]
    sheet = Image.new("RGB", (_WIDTH, sum(row.height for row in rows)), _PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with atomic_write(path) as temporary_path:
        sheet.save(temporary_path, format="PNG", compress_level=4)


def caption(motion: Motion) -> str:
    """What the motion's metadata say that it shows; empty if nothing."""
    return str(motion.metadata.get("text", ""))


def titles_of(motions: Sequence[Motion], titles: Sequence[str] | None, most: int) -> list[str]:
    """The titles of motions that are shown together, their captions if none are given.

    Raises:
        ValueError: not 1 to `most` motions, or another number of titles.
    """
    if not 1 <= len(motions) <= most:
        raise ValueError(f"a file of this kind shows 1 to {most} motions, got {len(motions)}")
    if titles is not None and len(titles) != len(motions):
        raise ValueError(f"{len(motions)} motions need as many titles, got {len(titles)}")
    return [caption(motion) for motion in motions] if titles is None else list(titles)


def floor_height(motion: Motion) -> float:
    """Where the ground is, metres: 0, or the lowest joint ever if that is more than 30 cm away from it."""
    some = slice(None, None, max(1, len(motion) // 3000))
    positions, _ = forward_kinematics(motion.skeleton, motion.root_position[some], motion.rotations[some])
    lowest = float(positions[..., 1].min())
    return 0.0 if abs(lowest) < 0.3 else lowest


def view_direction(motion: Motion) -> np.ndarray:
    """(3,) horizontal unit vector that pictures go by: where the motion travels to, else where it faces."""
    travel = (motion.root_position[-1] - motion.root_position[0]) * np.array([1.0, 0.0, 1.0])
    if np.linalg.norm(travel) > 0.5:
        return rot.normalize(travel)
    try:
        joints = match_joints(motion.skeleton)
        positions, _ = forward_kinematics(motion.skeleton, motion.root_position[0], motion.rotations[0])
        hips = positions[[joints["left_hip"], joints["right_hip"]]]
        facing = np.cross(hips[0] - hips[1], np.array([0.0, 1.0, 0.0]))
        facing = rot.normalize(facing) if np.linalg.norm(facing) > 0.3 * np.linalg.norm(hips[0] - hips[1]) else facing
    except ValueError:
        facing = rot.rotate(motion.rotations[0, 0], np.array([0.0, 0.0, 1.0])) * np.array([1.0, 0.0, 1.0])
    return rot.normalize(facing) if np.linalg.norm(facing) > 0.3 else np.array([0.0, 0.0, 1.0])


def _strip(motion: Motion, frames: int, title: str) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    keys = np.unique(np.round(np.linspace(0, len(motion) - 1, frames)).astype(int))
    mesh = build_mannequin(motion.skeleton)
    vertices, normals = pose_mannequin(mesh, motion.skeleton, motion.root_position[keys], motion.rotations[keys])
    floor = floor_height(motion)
    centres = motion.root_position[keys] * np.array([1.0, 0.0, 1.0]) + np.array([0.0, floor, 0.0])
    view = camera_axes(view_direction(motion), bool(np.ptp(motion.root_position[:, [0, 2]], axis=0).max() > 0.5))

    # seen from the camera of each panel: right, up, away from the viewer
    local = (vertices - centres[:, None]) @ view.T
    depth = local[..., 2] + _DISTANCE
    flat = local[..., :2] * (_DISTANCE / depth)[..., None]
    low, high = flat.min((0, 1)), flat.max((0, 1))
    low[1] = min(low[1], -0.15)
    width = (_WIDTH - _MAP_WIDTH) // frames
    scale = float(min((width - 8) / max(high[0] - low[0], 0.2), (_PANEL_HEIGHT - 14) / max(high[1] - low[1], 1.9)))
    middle = np.array([(low[0] + high[0]) / 2, low[1] + (_PANEL_HEIGHT / 2 - 4) / scale])

    image = Image.new("RGB", (_WIDTH, _TITLE_HEIGHT + _PANEL_HEIGHT + _TIME_HEIGHT), _PAPER)
    panels = _floor(motion, keys, vertices, centres, view, scale, middle, width)
    image.paste(Image.fromarray(panels.astype(np.uint8)), (0, _TITLE_HEIGHT))
    figures = Image.fromarray(_figures(mesh, normals @ view.T, flat, depth, scale, middle, width), "RGBa")
    figures = figures.reduce(_SAMPLES).convert("RGBA")
    image.paste(figures, (0, _TITLE_HEIGHT), figures)

    draw = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(14), ImageFont.load_default(19)
    about = f"{motion.seconds:.1f} s, {motion.fps:g} fps"
    room = _WIDTH - 60 - draw.textlength(about, small)
    draw.text((14, 9), shorten(draw, title, large, room), _INK, large)
    draw.text((_WIDTH - 14, 13), about, _FAINT, small, anchor="ra")
    baseline = _TITLE_HEIGHT + _PANEL_HEIGHT + 6
    draw.line([(14, baseline), (_WIDTH - _MAP_WIDTH - 14, baseline)], (214, 218, 224), 2)
    for panel, key in enumerate(keys):
        x = panel * width + width // 2
        draw.ellipse([x - 3, baseline - 3, x + 3, baseline + 3], _PATH)
        draw.text((x, baseline + 6), f"{key / motion.fps:.2f} s", _FAINT, small, anchor="ma")
    image.paste(_map(motion, keys, view), (_WIDTH - _MAP_WIDTH, _TITLE_HEIGHT))
    return image


def shorten(draw, text: str, font, room: float) -> str:
    text = " ".join(text[:2000].split())
    if draw.textlength(text, font) <= room:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        half = (fits + too_long) // 2
        if draw.textlength(text[:half] + "…", font) <= room:
            fits = half
        else:
            too_long = half
    return text[:fits] + "…"


def camera_axes(direction: np.ndarray, travels: bool) -> np.ndarray:
    """(3, 3) rows: the camera's right, up and away. The figure faces the viewer's right, more so when it travels."""
    turn = rot.about_y(np.array(-np.radians(52 if travels else 33)))
    towards = rot.rotate(turn, direction)
    away = -(np.cos(_PITCH) * towards + np.sin(_PITCH) * np.array([0.0, 1.0, 0.0]))
    right = rot.normalize(np.cross(away, np.array([0.0, 1.0, 0.0])))
    return np.stack([right, np.cross(right, away), away])


def _floor(motion, keys, vertices, centres, view, scale, middle, width) -> np.ndarray:
    """(H, W, 3) the ground of all panels: grid, shadow, path; fading out around each figure."""
    from PIL import Image, ImageDraw, ImageFilter

    column = np.arange(width) + 0.5 - width / 2
    row = np.arange(_PANEL_HEIGHT)[:, None] + 0.5 - _PANEL_HEIGHT / 2
    x = column / scale + middle[0]
    y = middle[1] - row / scale
    # where the ray of a pixel meets the floor, which lies at height 0 of the panel's own frame
    ray = (x[..., None] * view[0] + y[..., None] * view[1] + _DISTANCE * view[2]) / _DISTANCE
    eye = -_DISTANCE * view[2]
    steps = np.where(ray[..., 1] < -1e-3, -eye[1] / np.minimum(ray[..., 1], -1e-3), np.inf)
    ahead = np.isfinite(steps)
    ground = eye + ray * np.where(ahead, steps, 0)[..., None]
    radius = np.hypot(ground[..., 0], ground[..., 2])
    reach = 0.5 * width / scale
    edge = np.clip((width / 2 - np.abs(column)) / (0.22 * width), 0, 1)
    fade = np.where(ahead, np.clip(1.25 - radius / max(reach * 1.5, 1.0), 0, 1), 0) * edge * edge * (3 - 2 * edge)
    # the size of a pixel on the floor, across and along the view, blurs the grid lines
    blur = np.maximum(steps / scale / np.sqrt(np.abs(ray[..., 1]) + 1e-6), 1e-6)
    past = motion.root_position[:, [0, 2]]
    stride = max(1, len(past) // 400)

    strip = np.empty((_PANEL_HEIGHT, _WIDTH - _MAP_WIDTH, 3))
    strip[:] = _PAPER
    for panel, key in enumerate(keys):
        place = ground[..., [0, 2]] + centres[panel, [0, 2]]
        grid = 0.0
        for axis in range(2):
            distance = np.abs((place[..., axis] / 0.5 + 0.5) % 1 - 0.5) * 0.5
            grid = np.maximum(grid, np.clip(1.1 - distance / blur, 0, 1))

        drop = vertices[panel] - centres[panel]
        # the light casts a short shadow to the side
        cast = drop - drop[:, 1:2] * np.array([0.0, 1.0, 0.0]) + drop[:, 1:2] * (0.10 * view[0] + 0.02 * view[2])
        spots = _project(cast, view, scale, middle, width).round().astype(int)
        inside = ((spots >= 0) & (spots < [width, _PANEL_HEIGHT])).all(1)
        shadow = np.zeros((_PANEL_HEIGHT, width), np.float32)
        # what is close to the floor darkens it more
        np.add.at(shadow, (spots[inside, 1], spots[inside, 0]), np.exp(-1.6 * np.maximum(drop[inside, 1], 0)))
        spots = Image.fromarray((255 * (1 - np.exp(-0.8 * shadow))).astype(np.uint8))
        shadow = np.asarray(spots.filter(ImageFilter.GaussianBlur(max(2.2, scale * 0.03)))) / 255.0

        line = Image.new("L", (width * _SAMPLES, _PANEL_HEIGHT * _SAMPLES))
        draw = ImageDraw.Draw(line)
        for part, strength in ((past[key::stride], 90), (past[: key + 1][::-1][::stride], 235)):
            near = np.hypot(*(part - centres[panel, [0, 2]]).T) < 0.6 * _DISTANCE
            part = part[: np.argmin(near)] if not near.all() else part
            if len(part) > 1:
                points = np.stack([part[:, 0], np.full(len(part), centres[panel, 1]), part[:, 1]], -1) - centres[panel]
                draw.line((_project(points, view, scale, middle, width) * _SAMPLES).ravel().tolist(), strength, 5)
        trail = np.asarray(line.resize((width, _PANEL_HEIGHT), Image.Resampling.BOX)) / 255.0

        tile = np.empty((_PANEL_HEIGHT, width, 3))
        tile[:] = _PAPER
        for amount, colour in (
            (0.9 * fade, (226, 229, 235)),
            (fade * grid, (190, 197, 207)),
            (fade * trail, _PATH),
            (0.65 * np.sqrt(edge) * shadow, (40, 46, 58)),
        ):
            tile += np.asarray(amount)[..., None] * (np.array(colour) - tile)
        strip[:, panel * width : (panel + 1) * width] = tile
    return strip


def _project(points: np.ndarray, view: np.ndarray, scale: float, middle: np.ndarray, width: int) -> np.ndarray:
    """Points (N, 3) in a panel's frame -> pixels (N, 2) of the panel."""
    local = points @ view.T
    flat = local[:, :2] * (_DISTANCE / np.maximum(local[:, 2:] + _DISTANCE, 0.1)) - middle
    return np.stack([width / 2 + scale * flat[:, 0], _PANEL_HEIGHT / 2 - scale * flat[:, 1]], -1)


def _figures(mesh, normals, flat, depth, scale, middle, width) -> np.ndarray:
    """The figures of all panels, finer by `_SAMPLES`, (H, W, 4) uint8: colour times cover, and cover.

    Args:
        mesh: F triangles, V vertices.
        normals: (K, V, 3) in the camera's frame.
        flat: (K, V, 2) right and up in metres at the distance of the root.
        depth: (K, V) from the camera.
        scale: pixels per metre.
        middle: (2,) what is at the middle of a panel.
        width: of a panel, pixels.
    """
    height, full = _PANEL_HEIGHT * _SAMPLES, (_WIDTH - _MAP_WIDTH) * _SAMPLES
    left = np.arange(len(depth))[:, None] * width * _SAMPLES
    x = left + _SAMPLES * (width / 2 + scale * (flat[..., 0] - middle[0]))
    y = _SAMPLES * (_PANEL_HEIGHT / 2 - scale * (flat[..., 1] - middle[1]))
    return paint(mesh, np.stack([x, y], -1), depth, normals, full, height)


def _map(motion: Motion, keys: np.ndarray, view: np.ndarray) -> Image.Image:
    """The path from above, the viewer below, with the key frames and a scale."""
    from PIL import Image, ImageDraw, ImageFont

    fine = 2 * _SAMPLES
    size = np.array([_MAP_WIDTH, _PANEL_HEIGHT]) * fine
    image = Image.new("RGB", tuple(size.tolist()), _PAPER)
    draw = ImageDraw.Draw(image)
    right, away = view[0, [0, 2]], rot.normalize(view[2, [0, 2]])
    plane = motion.root_position[:, [0, 2]] @ np.stack([right, -away], -1)
    low, high = plane.min(0), plane.max(0)
    box = np.array([10, 12, _MAP_WIDTH - 14, _MAP_WIDTH + 20]) * fine
    draw.rounded_rectangle(box.tolist(), 8 * fine, (238, 240, 244), (222, 226, 232), fine)
    extent = max(float((high - low).max()), 1.0)
    scale = (_MAP_WIDTH - 58) * fine / extent
    centre = (box[:2] + box[2:]) / 2

    def place(points: np.ndarray) -> np.ndarray:
        return centre + (points - (low + high) / 2) * scale

    points = place(plane)[:: max(1, len(plane) // 1000)]
    if len(points) > 1:
        draw.line(points.ravel().tolist(), _PATH, 2 * fine, joint="curve")
    for number, (x, y) in enumerate(place(plane[keys])):
        r = 4.5 * fine if number == 0 else 3 * fine
        draw.ellipse([x - r, y - r, x + r, y + r], _PAPER if number == 0 else _PATH, _PATH, 2 * fine)
    # the largest of 1, 2, 5 x 10^n metres that fits
    choices = [digit * 10.0**power for power in range(-1, 5) for digit in (1, 2, 5)]
    metres = max(length for length in choices if length * scale <= (_MAP_WIDTH - 50) * fine)
    left, bottom = 24 * fine, (_MAP_WIDTH + 38) * fine
    draw.line([left, bottom, left + metres * scale, bottom], _FAINT, fine)
    for x in (left, left + metres * scale):
        draw.line([x, bottom - 3 * fine, x, bottom + 3 * fine], _FAINT, fine)
    font = ImageFont.load_default(13 * fine)
    draw.text((left, bottom + 6 * fine), f"{metres:g} m, from above", _FAINT, font)
    return image.resize((_MAP_WIDTH, _PANEL_HEIGHT), Image.Resampling.LANCZOS)
