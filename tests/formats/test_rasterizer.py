from __future__ import annotations

import numpy as np

from kinema.formats.rasterizer import rasterize


def slow_rasterize(points, depth, triangles, width, height):
    """Every pixel against every triangle: which is nearest, -1 for none."""
    winner, nearest = np.full((height, width), -1), np.full((height, width), np.inf)
    for number, triangle in enumerate(triangles):
        a, b, c = points[triangle]
        area = np.cross(np.append(b - a, 0), np.append(c - a, 0))[2]
        if area >= 0:
            continue
        for y in range(height):
            for x in range(width):
                p = np.array([x + 0.5, y + 0.5])
                u = np.cross(np.append(b - p, 0), np.append(c - p, 0))[2] / area
                v = np.cross(np.append(c - p, 0), np.append(a - p, 0))[2] / area
                w = 1 - u - v
                z = np.dot([u, v, w], depth[triangle])
                if min(u, v, w) >= 0 and z < nearest[y, x]:
                    winner[y, x], nearest[y, x] = number, z
    return winner


def test_rasterizer_agrees_with_a_loop():
    random = np.random.default_rng(5)
    # also triangles that reach over the edges of the image, and degenerate ones
    points = random.uniform(-6, 26, (30, 2))
    depth = random.uniform(1, 5, 30)
    triangles = np.concatenate([random.integers(0, 30, (25, 3)), [[3, 3, 7]]])
    triangle, barycentric, pixel = rasterize(points, depth, triangles, 20, 16)
    image = np.full(20 * 16, -1)
    image[pixel] = triangle
    assert len(np.unique(pixel)) == len(pixel) > 20
    np.testing.assert_array_equal(image.reshape(16, 20), slow_rasterize(points, depth, triangles, 20, 16))
    place = np.einsum("nk,nkc->nc", barycentric, points[triangles[triangle]])
    np.testing.assert_allclose(place, np.stack([pixel % 20, pixel // 20], -1) + 0.5, atol=1e-9)
