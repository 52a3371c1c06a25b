"""Pictures of the page about a footage: contact sheets, what still moves, and what was left out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.conventions import Picture
from speech2lip.decomposition.footage import Footage, Rejection, Take
from speech2lip.faces.landmarks import FACE_OVAL
from speech2lip.geometry.mapping import look_up, observed_from_canonical_points, pixel_centres

SHEET = 24
"""Frames on a contact sheet."""
_COLUMNS = 8
_HEIGHT = 150
_EXAMPLES = 4
_STRONGEST = 40.0
"""Grey levels of movement that are shown white-hot."""


@dataclass(frozen=True)
class Pictures:
    """Everything the page shows."""

    observed: Picture
    """Contact sheet of frames, the face's outline drawn in."""
    canonical: Picture
    """The same frames with the head held still."""
    mean: Picture
    motion: Picture
    """What still moves after the head is held still."""
    left_out: dict[str, list[tuple[str, Picture]]]
    """Per reason: where it is, and the frame."""


def take_pictures(footage: Footage) -> Pictures:
    """Decode a few frames and make all pictures of them."""
    places = [(take, int(i)) for take in footage.takes for i in np.flatnonzero(take.left_out == 0)]
    chosen = [places[int(n)] for n in np.linspace(0, len(places) - 1, min(SHEET, len(places)))]
    frames = [frame_at(take, index) for take, index in chosen]
    canonical = footage.canonical
    return Pictures(
        observed=sheet([_outlined(f, take, i) for f, (take, i) in zip(frames, chosen, strict=True)]),
        canonical=sheet(
            [held_still(footage, f, take, i) for f, (take, i) in zip(frames, chosen, strict=True)]
        ),
        mean=canonical.picture,
        motion=heat(canonical.motion),
        left_out=_examples(footage.takes),
    )


def frame_at(take: Take, index: int) -> Picture:
    """Decode one frame of a take."""
    return next(take.frames(index, index + 1)).rgb


def held_still(footage: Footage, frame: Picture, take: Take, index: int) -> Picture:
    """Bring a frame into canonical space; [H, W, 3]."""
    canonical = footage.canonical
    transform = take.camera_from_head[index] @ np.linalg.inv(canonical.camera_from_head)
    points = observed_from_canonical_points(
        pixel_centres(*canonical.size).reshape(1, -1, 2),
        torch.from_numpy(canonical.depth),
        torch.from_numpy(transform)[None].float(),
        torch.from_numpy(canonical.k).float(),
        torch.from_numpy(take.k)[None].float(),
    )
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    found = look_up(picture, points).reshape(3, *canonical.size)
    return found.clamp(0, 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def heat(motion: NDArray[np.float32]) -> Picture:
    """Colour a map of grey levels, dark blue to white-hot at 40 levels; [H, W, 3]."""
    strength = np.clip(motion / _STRONGEST * 255, 0, 255).astype(np.uint8)
    coloured = cv2.applyColorMap(strength, cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(coloured[..., ::-1]).astype(np.uint8)


def sheet(pictures: Sequence[Picture], *, height: int = _HEIGHT) -> Picture:
    """Lay pictures out in rows of eight, all scaled to one height."""
    widest = max(round(p.shape[1] * height / p.shape[0]) for p in pictures)
    cells = [_fitted(p, height, widest) for p in pictures]
    blank = np.full_like(cells[0], 128)
    cells += [blank] * (-len(cells) % min(_COLUMNS, len(cells)))
    columns = min(_COLUMNS, len(cells))
    return np.vstack([np.hstack(cells[n : n + columns]) for n in range(0, len(cells), columns)])


def data_uri(picture: Picture, *, quality: int = 85) -> str:
    """Return a picture as a JPEG that stands in the page itself."""
    done, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


def _fitted(picture: Picture, height: int, width: int) -> Picture:
    scaled = round(picture.shape[1] * height / picture.shape[0])
    small = cv2.resize(picture, (max(1, scaled), height), interpolation=cv2.INTER_AREA)
    cell: Picture = np.full((height, width, 3), 128, np.uint8)
    left = (width - small.shape[1]) // 2
    cell[:, left : left + small.shape[1]] = small
    return cell


def _outlined(frame: Picture, take: Take, index: int) -> Picture:
    """Draw the outline of the face that was followed into a frame."""
    oval = take.landmarks[index][list(FACE_OVAL), :2]
    if not np.isfinite(oval).all():
        return frame
    drawn = frame.copy()
    width = max(1, round(frame.shape[0] / 150))
    cv2.polylines(drawn, [np.round(oval).astype(np.int32)], True, (255, 140, 0), width, cv2.LINE_AA)
    return drawn


def _examples(takes: Sequence[Take]) -> dict[str, list[tuple[str, Picture]]]:
    """Choose up to four frames for every reason, spread over the footage."""
    found: dict[str, list[tuple[str, Picture]]] = {}
    for reason in Rejection:
        places = [(take, int(i)) for take in takes for i in np.flatnonzero(take.left_out == reason)]
        if not reason or not places:
            continue
        count = min(_EXAMPLES, len(places))
        spread = [places[int(n)] for n in (np.arange(count) + 0.5) / count * len(places)]
        found[reason.told] = [
            (f"{take.name}, {take.times[i]:.2f} s", _fitted_to(_outlined(frame_at(take, i), take, i)))
            for take, i in spread
        ]
    return found


def _fitted_to(picture: Picture) -> Picture:
    height = min(200, picture.shape[0])
    return _fitted(picture, height, max(1, round(picture.shape[1] * height / picture.shape[0])))
