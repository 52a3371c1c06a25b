"""The inner loops of photometric head poses, compiled.

Their plain twins are `normal_equations` and `plain_settle` in `photometric`, and `plain_gather` in
`photometric_bundle`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech2lip.compiled import compiled
from speech2lip.conventions import Array, Floats


@compiled()
def _sample(picture: Floats, x: float, y: float) -> float:
    """Look a picture up at pixel (x, y), which lies at least one pixel inside."""
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    u, v = x - 0.5 - column, y - 0.5 - row
    above = (1 - u) * picture[row, column] + u * picture[row, column + 1]
    below = (1 - u) * picture[row + 1, column] + u * picture[row + 1, column + 1]
    return float((1 - v) * above + v * below)


@compiled()
def accumulate(  # noqa: PLR0913 - compiled: arrays and numbers only
    picture: Floats,
    points: Array,
    values: Array,
    pose: Array,
    k: Array,
    light: Array,
    soft: float,
    normal: Array,
    right: Array,
) -> tuple[float, float]:
    """Add up the normal equations of a small motion and a change of light into `normal` and `right`.

    Returns:
        The sum of the robust errors and the sum of the weights of the points inside the picture.
    """
    height, width = picture.shape
    normal[:] = 0.0
    right[:] = 0.0
    row = np.empty(8)
    error_sum, count = 0.0, 0.0
    for n in range(len(points)):
        hx = pose[0, 0] * points[n, 0] + pose[0, 1] * points[n, 1] + pose[0, 2] * points[n, 2]
        hy = pose[1, 0] * points[n, 0] + pose[1, 1] * points[n, 1] + pose[1, 2] * points[n, 2]
        hz = pose[2, 0] * points[n, 0] + pose[2, 1] * points[n, 1] + pose[2, 2] * points[n, 2]
        px, py, pz = hx + pose[0, 3], hy + pose[1, 3], hz + pose[2, 3]
        x = k[0, 0] * px / pz + k[0, 2]
        y = k[1, 1] * py / pz + k[1, 2]
        if not (x > 2.0 and y > 2.0 and x < width - 2.0 and y < height - 2.0):
            continue
        seen = _sample(picture, x, y)
        gx = 0.5 * light[0] * (_sample(picture, x + 1, y) - _sample(picture, x - 1, y))
        gy = 0.5 * light[0] * (_sample(picture, x, y + 1) - _sample(picture, x, y - 1))
        error = values[n] - light[0] * seen - light[1]
        weight = 1.0 / (1.0 + (error / soft) ** 2)
        ax, ay = gx * k[0, 0] / pz, gy * k[1, 1] / pz
        az = -(ax * px + ay * py) / pz
        row[0] = hy * az - hz * ay
        row[1] = hz * ax - hx * az
        row[2] = hx * ay - hy * ax
        row[3], row[4], row[5] = ax, ay, az
        row[6], row[7] = seen, 1.0
        for i in range(8):
            right[i] += weight * row[i] * error
            for j in range(i, 8):
                normal[i, j] += weight * row[i] * row[j]
        error_sum += weight * error * error
        count += 1.0
    for i in range(8):
        for j in range(i):
            normal[i, j] = normal[j, i]
    return error_sum, count


@compiled()
def _turned(vector: Array) -> Array:
    """Return the rotation by a vector, [3, 3] (Rodrigues)."""
    angle = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    sine = 1.0 if angle < 1e-9 else np.sin(angle) / angle
    rest = 0.5 if angle < 1e-6 else (1 - np.cos(angle)) / angle**2
    x, y, z = vector[0], vector[1], vector[2]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sine * cross + rest * np.dot(cross, cross)


@compiled()
def _turn_between(now: Array, then: Array) -> Array:
    """Return the vector of a small rotation from one to another, [3]."""
    between = np.dot(np.ascontiguousarray(now), np.ascontiguousarray(then).T)
    double = np.array([
        between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]
    ])  # fmt: skip
    sine = 0.5 * np.sqrt(double[0] ** 2 + double[1] ** 2 + double[2] ** 2)
    cosine = 0.5 * (between[0, 0] + between[1, 1] + between[2, 2] - 1)
    stretch = 0.5 if sine < 1e-9 else 0.5 * np.arctan2(sine, cosine) / sine
    return double * stretch


@compiled()
def settle(  # noqa: PLR0913 - compiled: arrays and numbers only
    picture: Floats,
    points: Array,
    values: Array,
    pose: Array,
    k: Array,
    prior: Array,
    soft: float,
    rounds: int,
) -> tuple[float, float, float, float, float]:
    """Take Gauss-Newton steps of a head pose, in place, and of light, until the picture has the values.

    Args:
        picture, points, values, k: as in `normal_equations`; pose: [4, 4], changed.
        prior: [6] how strongly turn and shift are held to the start.

    Returns:
        The mean robust error before and after, the gain of light, the sum of the points' weights, and the
        number of points inside. Where too few points are inside, it stops at once.
    """
    start = pose.copy()
    light = np.array([1.0, 0.0])
    normal, right = np.empty((8, 8)), np.empty(8)
    first, last, count = 0.0, 0.0, 0.0
    for step in range(rounds + 1):
        error, count = accumulate(picture, points, values, pose, k, light, soft, normal, right)
        if count < 0.6 * len(points):
            break
        last = error / count
        if step == 0:
            first = last
        if step == rounds:
            break
        turn = _turn_between(pose[:3, :3], start[:3, :3])
        for i in range(3):
            right[i] -= prior[i] * turn[i]
            right[3 + i] -= prior[3 + i] * (pose[i, 3] - start[i, 3])
        for i in range(6):
            normal[i, i] += prior[i]
        normal[6, 6] += 1e-6 * count
        normal[7, 7] += 1e-6 * count
        change = np.linalg.solve(normal, right)
        pose[:3, :3] = np.dot(_turned(change[:3]), np.ascontiguousarray(pose[:3, :3]))
        pose[:3, 3] += change[3:6]
        light += change[6:]
    return first, last, light[0], normal[7, 7], count


@compiled()
def gather_frames(  # noqa: C901, PLR0913 - compiled: arrays and numbers only
    rays: Array,
    depth: Array,
    knots: NDArray[np.intp],
    shares: Array,
    transforms: Array,
    ks: Array,
    centre: Array,
    places: Array,
    information: Array,
    soft: float,
    normal: Array,
    right: Array,
    away: Array,
) -> float:
    """Add up what tracked places say of knots and of head poses into `normal` and `right`.

    Args:
        rays, depth: [N, 3], [N] of the places; knots, shares: [N, 4] the knots around each, what each says.
        transforms, ks: [F, 4, 4], [F, 3, 3]; centre: [3] that turns are about.
        places, information: [F, N, 2], [F, N, 2, 2].
        normal, right: [J + 6 F, J + 6 F], [J + 6 F], of the knots and then of six numbers a frame.
        away: [F, N] filled with the distances in pixels.

    Returns:
        The sum of the robust errors.
    """
    frames, count = places.shape[0], normal.shape[0] - 6 * places.shape[0]
    jacobian = np.empty((2, 7))
    cost = 0.0
    for f in range(frames):
        pose, k = transforms[f], ks[f]
        first = count + 6 * f
        middle = np.empty(3)
        for i in range(3):
            middle[i] = pose[i, 0] * centre[0] + pose[i, 1] * centre[1] + pose[i, 2] * centre[2] + pose[i, 3]
        for n in range(len(rays)):
            turned, there = np.empty(3), np.empty(3)
            for i in range(3):
                turned[i] = pose[i, 0] * rays[n, 0] + pose[i, 1] * rays[n, 1] + pose[i, 2] * rays[n, 2]
                there[i] = turned[i] * depth[n] + pose[i, 3]
            x, y = there[0] / there[2], there[1] / there[2]
            ex = places[f, n, 0] - (x * k[0, 0] + k[0, 2])
            ey = places[f, n, 1] - (y * k[1, 1] + k[1, 2])
            away[f, n] = np.sqrt(ex * ex + ey * ey)
            a, b, c = information[f, n, 0, 0], information[f, n, 0, 1], information[f, n, 1, 1]
            squared = a * ex * ex + 2 * b * ex * ey + c * ey * ey
            if squared == 0.0 and a == 0.0:
                continue
            cost += soft * soft * np.log1p(squared / (soft * soft))
            weight = 1.0 / (1.0 + squared / (soft * soft))
            a, b, c = a * weight, b * weight, c * weight
            gx, gy = k[0, 0] / there[2], k[1, 1] / there[2]
            lx, ly, lz = there[0] - middle[0], there[1] - middle[1], there[2] - middle[2]
            jacobian[0, 0], jacobian[1, 0] = -x * gx * ly, -gy * (lz + y * ly)
            jacobian[0, 1], jacobian[1, 1] = gx * (lz + x * lx), y * gy * lx
            jacobian[0, 2], jacobian[1, 2] = -gx * ly, gy * lx
            jacobian[0, 3], jacobian[1, 3] = gx, 0.0
            jacobian[0, 4], jacobian[1, 4] = 0.0, gy
            jacobian[0, 5], jacobian[1, 5] = -x * gx, -y * gy
            jacobian[0, 6] = gx * (turned[0] - x * turned[2])
            jacobian[1, 6] = gy * (turned[1] - y * turned[2])
            for i in range(7):
                u = a * jacobian[0, i] + b * jacobian[1, i]
                v = b * jacobian[0, i] + c * jacobian[1, i]
                pull = u * ex + v * ey
                if i < 6:
                    right[first + i] += pull
                    for j in range(6):
                        normal[first + i, first + j] += u * jacobian[0, j] + v * jacobian[1, j]
                    both = u * jacobian[0, 6] + v * jacobian[1, 6]
                    for corner in range(4):
                        share = both * shares[n, corner]
                        normal[first + i, knots[n, corner]] += share
                        normal[knots[n, corner], first + i] += share
                else:
                    both = u * jacobian[0, 6] + v * jacobian[1, 6]
                    for corner in range(4):
                        right[knots[n, corner]] += pull * shares[n, corner]
                        for other in range(4):
                            normal[knots[n, corner], knots[n, other]] += (
                                both * shares[n, corner] * shares[n, other]
                            )
    return cost
