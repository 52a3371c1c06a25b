"""Only what an avatar has never seen is judged, a few frames at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech2lip.avatar import read_avatar
from speech2lip.decomposition.footage import Footage, read_footage
from speech2lip.errors import FootageError
from speech2lip.evaluation.held_out import Span, unseen_spans
from tests.evaluation.made_footage import write_avatar, write_footage


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    """Make takes a, b, c, of which the avatars know these three, and d, which they do not."""
    return read_footage(write_footage(tmp_path_factory.mktemp("f") / "made.footage", ("a", "b", "c", "d")))


def _places(spans: list[Span]) -> list[tuple[str, int, int]]:
    return [(span.take.name, span.start, span.stop) for span in spans]


def test_held_out_frames_and_unknown_takes_are_unseen(tmp_path: Path, footage: Footage) -> None:
    avatar = read_avatar(write_avatar(tmp_path / "a.avatar", held_out={"c": [30, 40], "gone": [0, 5]}))
    assert _places(unseen_spans(avatar, footage)) == [("c", 30, 40), ("d", 0, 40)]


def test_nothing_unseen_is_told(tmp_path: Path) -> None:
    footage = read_footage(write_footage(tmp_path / "made.footage"))
    avatar = read_avatar(write_avatar(tmp_path / "a.avatar", held_out={}))
    with pytest.raises(FootageError, match="has seen every frame"):
        unseen_spans(avatar, footage)
    # Frame 7 of take b is left out: there is nothing to judge.
    avatar = read_avatar(write_avatar(tmp_path / "b.avatar", held_out={"b": [7, 8]}))
    with pytest.raises(FootageError, match="has seen every frame"):
        unseen_spans(avatar, footage)


def test_batches_never_span_a_gap(footage: Footage) -> None:
    take = next(take for take in footage.takes if take.name == "b")
    span = Span(take, 3, 20)
    batches = [[frame.index for frame in batch] for batch in span.batches(size=5)]
    assert batches == [[3, 4, 5, 6], [8, 9, 10, 11, 12], [13, 14, 15, 16, 17], [18, 19]]
    assert span.kept.tolist() == [index for batch in batches for index in batch]


def test_parts_stay_inside(footage: Footage) -> None:
    span = Span(footage.takes[0], 10, 30)
    assert _places([span.part(5, 8), span.part(15, 99), span.part(50, 3)]) == [
        ("a", 15, 23),
        ("a", 25, 30),
        ("a", 30, 30),
    ]
    assert len(span.part(50, 3).times) == 0
