"""Names of the arrays that are handed from one part to another; shapes stand where they are used.

Apart from `conventions`, which the help of every command loads: numpy takes its time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""What geometry reckons with."""

Series = NDArray[np.floating[Any]]
"""Figures of one frame after the other, [T]; NaN where one is not known."""

Floats = NDArray[np.float32]
"""Waves, pictures in floating point, and what is stored."""

Points = NDArray[np.float32]
"""[..., 2] places in pixels, or [..., 3] in space."""

Picture = NDArray[np.uint8]
"""[H, W, 3] RGB, or [3 H / 2, W] YUV 4:2:0 as it is coded."""
