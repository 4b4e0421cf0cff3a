"""A small rasteriser for the figures of pictures and videos: triangles to pixels with numpy alone."""

from __future__ import annotations

import numpy as np

from kinema.formats.mannequin import MATERIALS, Mannequin
from kinema.motion import rotations as rot

_LIGHT = rot.normalize(np.array([-0.45, 0.75, -0.6]))  # in the camera's frame: right, up, away
_COLOURS = np.array([colour for _, colour in MATERIALS])


def rasterize(
    points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest triangle at every covered pixel.

    A triangle covers a run of pixels in each of its rows, from one edge to another; all runs of all triangles are found
    at once, then of those that share a pixel the nearest stays.

    Args:
        points: (V, 2) pixel coordinates, y down; the centre of the first pixel is (0.5, 0.5).
        depth: (V,) the smaller, the nearer.
        triangles: (F, 3); only those are drawn that run clockwise on the screen (counter-clockwise with y up).
        width, height: of the image.

    Returns:
        triangle (N,), barycentric coordinates (N, 3), pixel (N,) = y * width + x, each pixel once.
    """
    x, y = points[triangles, 0], points[triangles, 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    first = np.maximum(np.ceil(y.min(1) - 0.5), 0)
    last = np.minimum(np.floor(y.max(1) - 0.5), height - 1)
    drawn = np.flatnonzero((area < 0) & (last >= first))
    x, y, area = x[drawn], y[drawn], area[drawn]

    # barycentric coordinate i of a place is slope_i * x + (rise_i * y + start_i), each (F,)
    slope, rise, start = [], [], []
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        slope.append((y[:, j] - y[:, k]) / area)
        rise.append((x[:, k] - x[:, j]) / area)
        start.append((x[:, j] * y[:, k] - x[:, k] * y[:, j]) / area)

    # all rows of all triangles
    count = (last[drawn] - first[drawn] + 1).astype(np.intp)
    of_row = np.repeat(np.arange(len(drawn)), count)
    row = np.arange(len(of_row)) + np.repeat(first[drawn].astype(np.intp) - (np.cumsum(count) - count), count)
    low, high, across = np.zeros(len(row)), np.full(len(row), width - 1.0), []
    with np.errstate(divide="ignore", invalid="ignore"):
        for i in range(3):
            at = rise[i][of_row] * (row + 0.5) + start[i][of_row]
            tilt = slope[i][of_row]
            edge = -at / tilt - 0.5
            low = np.where(tilt > 0, np.maximum(low, np.ceil(edge)), low)
            high = np.where(tilt < 0, np.minimum(high, np.floor(edge)), high)
            high[(tilt == 0) & (at < 0)] = -1
            across.append(at)

    # all pixels of all rows
    count = np.maximum(high - low + 1, 0).astype(np.intp)
    of_pixel = np.repeat(np.arange(len(row)), count)
    column = np.arange(len(of_pixel)) + np.repeat(low.astype(np.intp) - (np.cumsum(count) - count), count)
    pixel = row[of_pixel] * width + column
    corner = depth[triangles[drawn]]
    fall = np.einsum("fi,if->f", corner, np.stack(slope))
    level = np.einsum("ri,ir->r", corner[of_row], np.stack(across))
    near = fall[of_row][of_pixel] * (column + 0.5) + level[of_pixel]

    nearest, winner = np.full(width * height, np.inf), np.full(width * height, -1)
    rest = np.arange(len(pixel))
    while len(rest):
        # of several that write to one pixel at once some one stays; those nearer than it try again
        rest = rest[near[rest] < nearest[pixel[rest]]]
        nearest[pixel[rest]], winner[pixel[rest]] = near[rest], rest
    kept = winner[winner >= 0]
    face = of_row[of_pixel[kept]]
    barycentric = [slope[i][face] * (column[kept] + 0.5) + across[i][of_pixel[kept]] for i in range(3)]
    return drawn[face], np.stack(barycentric, -1), pixel[kept]


def paint(
    mesh: Mannequin, points: np.ndarray, depth: np.ndarray, normals: np.ndarray, width: int, height: int
) -> np.ndarray:
    """(height, width, 4) uint8: figures lit from the front left; colour times cover, and cover.

    Args:
        mesh: F triangles, V vertices.
        points: (K, V, 2) pixel coordinates of K figures of the same mesh, y down.
        depth: (K, V) from the camera.
        normals: (K, V, 3) in the camera's frame: right, up, away.
        width, height: of the image.
    """
    figures, vertices = depth.shape
    corners = (mesh.triangles + vertices * np.arange(figures)[:, None, None]).reshape(-1, 3)
    triangle, barycentric, pixel = rasterize(points.reshape(-1, 2), depth.ravel(), corners, width, height)
    light, gleam = (np.einsum("nk,nk->n", barycentric, of[corners[triangle]]) for of in _lit(normals.reshape(-1, 3)))
    colour = _COLOURS[np.tile(mesh.materials, figures)[triangle]]
    image = np.zeros((height * width, 4), np.uint8)
    image[pixel, :3] = 255 * np.clip(colour * light[:, None] + gleam[:, None], 0, 1)
    image[pixel, 3] = 255
    return image.reshape(height, width, 4)


def _lit(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V,) what colours are multiplied by, and what is added to them.

    A soft key light, light from the sky, a gleam, and darker rims that set limbs apart.
    """
    normal = rot.normalize(normal)
    key = np.clip(normal @ _LIGHT * 0.7 + 0.3, 0, 1)
    sky = 0.5 + 0.5 * normal[:, 1]
    halfway = rot.normalize(_LIGHT + np.array([0.0, 0.0, -1.0]))
    gleam = 0.16 * np.clip(normal @ halfway, 0, 1) ** 24
    rim = 1 - 0.35 * (1 - np.clip(-normal[:, 2], 0, 1)) ** 2.5
    return (0.34 + 0.58 * key + 0.24 * sky) * rim, gleam
