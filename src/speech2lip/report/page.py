"""What both pages share: one skeleton and stylesheet, and pictures that stand in the page itself."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from speech2lip.atomic import write_atomically
from speech2lip.conventions import Picture
from speech2lip.evaluation.result import cell


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"cell": cell, "picture": picture_uri, "json": as_json}
    return environment


def render(template: str, **values: object) -> Markup:
    """Fill a template in; all that is not marked up is escaped."""
    return Markup(_templates().get_template(template).render(values))


def write_page(path: Path, template: str, **values: object) -> None:
    """Write a page: one HTML file with all pictures in it; an older one stays until the new one is whole.

    Raises:
        OutputError: it cannot be written.
    """
    page = render(template, **values)
    with write_atomically(path) as partial:
        partial.write_text(f"{page}\n", encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """Return content as a part of the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_uri(picture: Picture) -> str:
    """Return a picture [H, W, 3] as a JPEG that stands in the page itself."""
    done, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done, f"a picture of {picture.shape} could not be compressed"
    return data_uri(packed.tobytes(), "image/jpeg")


def as_json(values: object) -> str:
    """Return plain values as JSON for people."""
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False)


def resized(picture: Picture, width: int, height: int) -> Picture:
    """Resample a picture [H, W, 3]."""
    way = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)
