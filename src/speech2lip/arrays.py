"""Names of the arrays that are handed from one part to another; shapes stand where they are used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""What geometry reckons with."""

Floats = NDArray[np.float32]
"""Waves, pictures in floating point, and what is stored."""

Points = NDArray[np.float32]
"""[..., 2] places in pixels, or [..., 3] in space."""

Picture = NDArray[np.uint8]
"""[H, W, 3] RGB, or [3 H / 2, W] YUV 4:2:0 as it is coded."""
