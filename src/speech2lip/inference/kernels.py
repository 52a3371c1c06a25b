"""Pixel work of the processor's fast path, compiled: geometry, look-ups and mixing, each in one pass.

Each kernel names its plain twin, which says what it computes; it runs without Python's lock, so that frames
are worked on side by side. Compiled once and kept on disk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech2lip.arrays import Floats
from speech2lip.compute import compiled

Bytes = NDArray[np.uint8]
Indices = NDArray[np.int32]


@compiled(fastmath=True)
def _corners(
    x: np.float32, y: np.float32, rows: int, columns: int
) -> tuple[int, int, np.float32, np.float32, np.float32, np.float32]:
    """Return row and column of the node above and left of x, y, and the weights of it and its neighbours.

    The weights are those of the node, the one to its right, the one below and the one below that; x and y
    count nodes from 0. Beyond the last node the nearest place counts.
    """
    zero, one = np.float32(0), np.float32(1)
    x = min(max(x, zero), np.float32(columns - 1))
    y = min(max(y, zero), np.float32(rows - 1))
    column, row = min(int(x), columns - 2), min(int(y), rows - 2)
    x, y = x - np.float32(column), y - np.float32(row)
    far = x * y
    return row, column, one - x - y + far, x - far, y - far, far


@compiled(fastmath=True)
def solve_lattice(  # noqa: PLR0913 - compiled: arrays and numbers only
    start: Floats,
    step: Floats,
    depth: Floats,
    observed_from_canonical: Floats,
    canonical_from_observed: Floats,
    k_canonical: Floats,
    k_observed: Floats,
    box: Floats,
    rounds: int,
    uv: Floats,
) -> None:
    """Solve the mapping at the nodes of a lattice into `uv` [ny, nx, 2].

    Twin: `canonical_from_observed_points`. `start` and `step` are x, y in pixels; `box` is where the patch
    begins (x, y) and its size.
    """
    rows, columns = depth.shape
    forth, back = observed_from_canonical, canonical_from_observed
    half, one = np.float32(0.5), np.float32(1)
    middle_x, middle_y = np.float32(columns * 0.5), np.float32(rows * 0.5)
    focal_x, focal_y, centre_x, centre_y = (
        k_canonical[0, 0],
        k_canonical[1, 1],
        k_canonical[0, 2],
        k_canonical[1, 2],
    )
    flat_x, flat_y = one / focal_x, one / focal_y
    for row in range(uv.shape[0]):
        ray_y = (start[1] + np.float32(row) * step[1] - k_observed[1, 2]) / k_observed[1, 1]
        for column in range(uv.shape[1]):
            ray_x = (start[0] + np.float32(column) * step[0] - k_observed[0, 2]) / k_observed[0, 0]
            # Along the ray, a point in canonical camera space is direction x depth + shift.
            along_x = back[0, 0] * ray_x + back[0, 1] * ray_y + back[0, 2]
            along_y = back[1, 0] * ray_x + back[1, 1] * ray_y + back[1, 2]
            along_z = back[2, 0] * ray_x + back[2, 1] * ray_y + back[2, 2]
            x, y = middle_x, middle_y
            for _ in range(rounds + 1):
                i, j, w00, w01, w10, w11 = _corners(x - half, y - half, rows, columns)
                z = depth[i, j] * w00 + depth[i, j + 1] * w01
                z += depth[i + 1, j] * w10 + depth[i + 1, j + 1] * w11
                bent = (
                    forth[2, 0] * (x - centre_x) * flat_x
                    + forth[2, 1] * (y - centre_y) * flat_y
                    + forth[2, 2]
                )
                away = bent * z + forth[2, 3]
                closer = one / (along_z * away + back[2, 3])
                x = focal_x * (along_x * away + back[0, 3]) * closer + centre_x
                y = focal_y * (along_y * away + back[1, 3]) * closer + centre_y
            uv[row, column, 0] = (x - box[0]) / box[2]
            uv[row, column, 1] = (y - box[1]) / box[3]


@compiled(fastmath=True)
def spread_lattice(
    lattice: Floats, mask_and_mean: Floats, light: Floats, seen: Floats, points: Floats, where: Indices
) -> int:
    """Read mask and reference at every pixel of a box between the nodes of its lattice; list what is inside.

    Twins: `Paster.patch_uv`, `warp_mask`, `warp`. `mask_and_mean` [p + 2, q + 2, 4] is the mask with zeros
    around it and the reference with its edge repeated. Written are channels 3 (mask) and 4 to 6 (reference)
    of `seen` [h, w, 8], and for the pixels with a mask above 0 their places on the patch `points` [N, 2] and
    their numbers `where` [N] in the box. Returns N.
    """
    height, width = seen.shape[0], seen.shape[1]
    nodes_y, nodes_x = lattice.shape[0], lattice.shape[1]
    rows, columns = np.float32(mask_and_mean.shape[0] - 2), np.float32(mask_and_mean.shape[1] - 2)
    half = np.float32(0.5)
    along_y = np.float32((nodes_y - 1) / max(height - 1, 1))
    along_x = np.float32((nodes_x - 1) / max(width - 1, 1))
    red, green, blue = light[0], light[1], light[2]
    line = np.empty((nodes_x, 2), np.float32)
    count = 0
    for i in range(height):
        fy = np.float32(i) * along_y
        top = min(int(fy), nodes_y - 2)
        part = fy - np.float32(top)
        for node in range(nodes_x):
            for axis in range(2):
                above = lattice[top, node, axis]
                line[node, axis] = above + (lattice[top + 1, node, axis] - above) * part
        for j in range(width):
            fx = np.float32(j) * along_x
            left = min(int(fx), nodes_x - 2)
            part = fx - np.float32(left)
            u = line[left, 0] + (line[left + 1, 0] - line[left, 0]) * part
            v = line[left, 1] + (line[left + 1, 1] - line[left, 1]) * part
            y, x, w00, w01, w10, w11 = _corners(
                u * columns + half, v * rows + half, mask_and_mean.shape[0], mask_and_mean.shape[1]
            )
            a, b, c, d = (
                mask_and_mean[y, x],
                mask_and_mean[y, x + 1],
                mask_and_mean[y + 1, x],
                mask_and_mean[y + 1, x + 1],
            )
            covered = a[0] * w00 + b[0] * w01 + c[0] * w10 + d[0] * w11
            pixel = seen[i, j]
            pixel[3] = covered
            pixel[4] = red * (a[1] * w00 + b[1] * w01 + c[1] * w10 + d[1] * w11)
            pixel[5] = green * (a[2] * w00 + b[2] * w01 + c[2] * w10 + d[2] * w11)
            pixel[6] = blue * (a[3] * w00 + b[3] * w01 + c[3] * w10 + d[3] * w11)
            pixel[7] = 0
            if covered > 0:
                points[count, 0], points[count, 1], where[count] = u, v, i * width + j
                count += 1
    return count


@compiled(fastmath=True)
def read_features(
    points: Floats, grid: Floats, texture: Floats, flow_scale: float, colours: Floats, hidden: Floats
) -> None:
    """Read what the colour network needs at places `points` [N, 2] of the patch.

    Twin: `LipField.read`. `grid` [r, c, 2 + F] holds flow and features, `texture` [p, q, 3 + F] mean colour
    and features, both with the network's first layer in them; `flow_scale` is what flow is multiplied with.
    Written are mean colours [N, 3] and the sums of the features [N, F].
    """
    rows, columns = np.float32(grid.shape[0]), np.float32(grid.shape[1])
    height, width = np.float32(texture.shape[0]), np.float32(texture.shape[1])
    half, features = np.float32(0.5), hidden.shape[1]
    for n in range(points.shape[0]):
        u, v = points[n, 0], points[n, 1]
        y, x, w00, w01, w10, w11 = _corners(u * columns - half, v * rows - half, grid.shape[0], grid.shape[1])
        a, b, c, d = grid[y, x], grid[y, x + 1], grid[y + 1, x], grid[y + 1, x + 1]
        flow_x = a[0] * w00 + b[0] * w01 + c[0] * w10 + d[0] * w11
        flow_y = a[1] * w00 + b[1] * w01 + c[1] * w10 + d[1] * w11
        for f in range(features):
            hidden[n, f] = a[2 + f] * w00 + b[2 + f] * w01 + c[2 + f] * w10 + d[2 + f] * w11
        place_x = u * width + flow_x * np.float32(flow_scale) - half
        place_y = v * height + flow_y * np.float32(flow_scale) - half
        y, x, w00, w01, w10, w11 = _corners(place_x, place_y, texture.shape[0], texture.shape[1])
        a, b, c, d = texture[y, x], texture[y, x + 1], texture[y + 1, x], texture[y + 1, x + 1]
        for f in range(3):
            colours[n, f] = a[f] * w00 + b[f] * w01 + c[f] * w10 + d[f] * w11
        for f in range(features):
            hidden[n, f] += a[3 + f] * w00 + b[3 + f] * w01 + c[3 + f] * w10 + d[3 + f] * w11


@compiled(fastmath=True)
def warp_patch(points: Floats, patch: Floats, colours: Floats) -> None:
    """Read a patch [p, q, 3] at places [N, 2] into colours [N, 3]; twin: `Paster.warp`."""
    rows, columns = np.float32(patch.shape[0]), np.float32(patch.shape[1])
    half = np.float32(0.5)
    for n in range(points.shape[0]):
        y, x, w00, w01, w10, w11 = _corners(
            points[n, 0] * columns - half, points[n, 1] * rows - half, patch.shape[0], patch.shape[1]
        )
        a, b, c, d = patch[y, x], patch[y, x + 1], patch[y + 1, x], patch[y + 1, x + 1]
        for f in range(3):
            colours[n, f] = a[f] * w00 + b[f] * w01 + c[f] * w10 + d[f] * w11


@compiled(fastmath=True)
def paste(colours: Floats, light: Floats, where: Indices, seen: Floats) -> None:
    """Mix colours [N, 3] into the pixels `where` [N] of `seen` [h x w, 8], as the mask says."""
    for n in range(where.shape[0]):
        pixel = seen[where[n]]
        for c in range(3):
            pixel[c] += (colours[n, c] * light[c] - pixel[c]) * pixel[3]


@compiled(fastmath=True)
def read_colours(  # noqa: PLR0913 - compiled: arrays and numbers only
    y: Bytes, u: Bytes, v: Bytes, x0: int, y0: int, rgb_from_yuv: Floats, seen: Floats
) -> None:
    """Read the colours of a box that begins at even x0, y0 into channels 0 to 2 of `seen` [h, w, 8].

    Twin: `read_box`, except that chroma is interpolated with what lies around the box.
    """
    height, width = seen.shape[0], seen.shape[1]
    rows, columns = u.shape
    m = rgb_from_yuv
    scale, near, far = np.float32(1 / 255), np.float32(0.75), np.float32(0.25)
    for i in range(height):
        row = (y0 + i) // 2
        other = min(row + 1, rows - 1) if (y0 + i) % 2 else max(row - 1, 0)
        for j in range(width):
            column = (x0 + j) // 2
            beside = min(column + 1, columns - 1) if j % 2 else max(column - 1, 0)
            blue = near * (near * u[row, column] + far * u[other, column])
            blue += far * (near * u[row, beside] + far * u[other, beside])
            red = near * (near * v[row, column] + far * v[other, column])
            red += far * (near * v[row, beside] + far * v[other, beside])
            luma = (np.float32(y[y0 + i, x0 + j]) - np.float32(16)) * scale
            blue, red = (blue - np.float32(128)) * scale, (red - np.float32(128)) * scale
            for c in range(3):
                value = m[c, 0] * luma + m[c, 1] * blue + m[c, 2] * red
                seen[i, j, c] = min(max(value, np.float32(0)), np.float32(1))


@compiled(fastmath=True)
def add_residual(seen: Floats, residual: Floats, left: int, top: int, right: int, bottom: int) -> None:
    """Enlarge `residual` [p, q, 3] over part of a box and add it to the colours where the mask is above 0.

    Twin: a bilinear `interpolate` with `align_corners=False`.
    """
    rows, columns = residual.shape[0], residual.shape[1]
    scale_x, scale_y = np.float32(columns / (right - left)), np.float32(rows / (bottom - top))
    half = np.float32(0.5)
    for i in range(top, bottom):
        place_y = (np.float32(i - top) + half) * scale_y - half
        for j in range(left, right):
            if seen[i, j, 3] <= 0:
                continue
            place_x = (np.float32(j - left) + half) * scale_x - half
            y, x, w00, w01, w10, w11 = _corners(place_x, place_y, rows, columns)
            a, b, c, d = residual[y, x], residual[y, x + 1], residual[y + 1, x], residual[y + 1, x + 1]
            for f in range(3):
                seen[i, j, f] += a[f] * w00 + b[f] * w01 + c[f] * w10 + d[f] * w11


@compiled(fastmath=True)
def write_colours(
    seen: Floats, yuv_from_rgb: Floats, y: Bytes, u: Bytes, v: Bytes, start: tuple[int, int]
) -> None:
    """Write channels 0 to 2 of `seen` [h, w, 8] into a picture where the mask (channel 3) is above 0.

    Twin: `write_box`. The box begins at `start`, even x and y; the mean of four pixels is a chroma sample's.
    """
    m = yuv_from_rgb
    zero, one, full, half = np.float32(0), np.float32(1), np.float32(255), np.float32(0.5)
    quarter, middle = np.float32(255 / 4), np.float32(128.5)
    x0, y0 = start
    for i in range(0, seen.shape[0], 2):
        for j in range(0, seen.shape[1], 2):
            to_blue, to_red, touched = zero, zero, False
            for n in range(4):
                row, column = i + n // 2, j + n % 2
                pixel = seen[row, column]
                red, green, blue = (
                    min(max(pixel[0], zero), one),
                    min(max(pixel[1], zero), one),
                    min(max(pixel[2], zero), one),
                )
                to_blue += m[1, 0] * red + m[1, 1] * green + m[1, 2] * blue
                to_red += m[2, 0] * red + m[2, 1] * green + m[2, 2] * blue
                if pixel[3] > 0:
                    touched = True
                    luma = (m[0, 0] * red + m[0, 1] * green + m[0, 2] * blue) * full + np.float32(16)
                    y[y0 + row, x0 + column] = np.uint8(luma + half)
            if touched:
                u[(y0 + i) // 2, (x0 + j) // 2] = np.uint8(to_blue * quarter + middle)
                v[(y0 + i) // 2, (x0 + j) // 2] = np.uint8(to_red * quarter + middle)
