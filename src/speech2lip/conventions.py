"""Axes, pixel centres, units and shape letters that the whole package keeps to.

Pixels
    A picture of W x H pixels covers [0, W] x [0, H]; the centre of pixel (column j, row i) is (j + 0.5, i +
    0.5).
    Normalised look-up coordinates are 2 x / W - 1 and 2 y / H - 1, which is `align_corners=False` of
    `grid_sample`.
    Boxes are (x0, y0, x1, y1), half-open, in pixels. Points are (x, y), x to the right, y down.

Pictures
    At the edges of the package: uint8 RGB, [H, W, 3]. In networks: float32 in [0, 1], [B, 3, H, W].

Camera and head
    Camera axes: x right, y down, z away from the camera (depth). Pinhole, square pixels, `K` 3 x 3, in
    pixels.
    Head axes equal the camera's when the person faces the camera: +x is the right of the picture, +y down,
    the nose at -z.
    Lengths in head and camera space are in eye units: 1 is the distance between the two outer eye corners.
    Rigid transforms are 4 x 4 and named `to_from_from`: p_camera = camera_from_head @ p_head.
    A head pose is `camera_from_head`.
    Angles shown to people: yaw > 0 turns the nose to the picture's right, pitch > 0 lifts the nose,
    roll > 0 turns the head clockwise in the picture; degrees.

Time
    Seconds from the first frame of the take; sound sample 0 is at time 0. `frame_index` counts from 0. Waves
    are mono
    float32 at 16 kHz in [-1, 1]; mel frames are 100 a second.

Letters
    B batch, T time, N points, C channels, H W frame, h w patch, D features, M mels, S samples.
"""

from __future__ import annotations

import os
from typing import TypeAlias

AnyPath: TypeAlias = "str | os.PathLike[str]"
"""What public functions take for a file or a folder."""

SAMPLE_RATE = 16_000
"""Samples per second of every wave inside the package."""

MEL_RATE = 100
"""Mel frames per second."""

MEL_WINDOW, MEL_FFT, MEL_HOP = 400, 512, SAMPLE_RATE // MEL_RATE
"""Samples of the window, of the Fourier transform and from one mel frame to the next."""

MEL_BANDS = 80
"""Bands of the log-mel spectrum."""

LANDMARK_COUNT = 478
"""Points of the face mesh (468) and the two irises (10)."""

LANDMARK_SCHEME = "mediapipe-478"
"""Name of the landmark scheme kept in footage folders."""

Box: TypeAlias = "tuple[int, int, int, int]"
"""x0, y0, x1, y1, half-open, in pixels."""
