"""Places found again in moved pictures."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from speech2lip.decomposition.photometric.align import choose_places, track_places

UNIT = 100.0


def _texture(shift: tuple[float, float] = (0, 0)) -> NDArray[np.float32]:
    random = np.random.default_rng(0).normal(0, 60, (160, 160)).astype(np.float32)
    smooth = cv2.GaussianBlur(random, (0, 0), 2.5) * 4
    moved: Any = cv2.warpAffine(
        smooth, np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64), (160, 160)
    )
    return moved


def test_places_keep_to_where_they_are_allowed_and_off_the_border() -> None:
    allowed = np.zeros((160, 160), bool)
    allowed[:, :90] = True
    places = choose_places(_texture(), allowed, unit=UNIT)
    assert len(places) > 50
    assert places[:, 0].max() < 90
    assert places.min() > 9
    assert places[:, 1].max() < 151


def test_moved_places_are_found_again() -> None:
    home = _texture()
    places = choose_places(home, np.ones(home.shape, bool), unit=UNIT)
    brought = np.stack([home, _texture((2.4, -1.3)) * 0.8, -home])
    moved, information = track_places(home, brought, places, unit=UNIT)
    found = information[..., 0, 0] > 0
    assert np.abs(moved[0]).max() < 1e-3
    assert found[0].all()
    assert found[1].mean() > 0.9
    assert np.abs(np.median(moved[1][found[1]], axis=0) - [2.4, -1.3]).max() < 0.05
    assert found[2].mean() < 0.02  # a blob that looks like another by chance


def test_an_edge_tells_nothing_along_itself() -> None:
    step = np.zeros((160, 160), np.float32)
    step[:, 80:] = 60
    picture = cv2.GaussianBlur(step, (0, 0), 1.5).astype(np.float32)
    _, information = track_places(picture, picture[None], np.array([[80.0, 80.0]]), unit=UNIT)
    across, along = information[0, 0, 0, 0], information[0, 0, 1, 1]
    assert across > 100 * along
