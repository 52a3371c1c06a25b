from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from typing import Any

import pytest
import torch

from speech2lip.avatar import BaseVideo, read_avatar
from speech2lip.compute import ordered_map, worker_count
from speech2lip.inference import speaker as speaking
from speech2lip.inference.speaker import BaseVideoReader
from speech2lip.media.video import CodedReader, VideoReader, read_coded
from tests.made_face import made_avatar


def test_work_is_handed_over_in_order_and_little_waits() -> None:
    taken = []

    def jobs() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    most, done = 0, []
    for result in ordered_map(work, jobs(), workers=2):
        done.append(result)
        most = max(most, len(taken) - len(done))
    assert done == list(range(30))
    assert most <= 4


def test_workers_compute_on_one_core_and_the_rest_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert set(ordered_map(lambda _: torch.get_num_threads(), range(4), workers=2)) == {1}
        assert torch.get_num_threads() == 3
        others: list[int] = []
        thread = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert others == [3]
    finally:
        torch.set_num_threads(before)


def test_a_fault_of_work_is_told_and_ends_it() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(ordered_map(work, range(1000), workers=2))
    assert len(begun) < 20


def test_who_does_not_want_the_rest_need_not_take_it() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    results = ordered_map(work, range(1000), workers=1)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(begun) < 10


def test_one_batch_at_a_time_on_a_graphics_card() -> None:
    assert worker_count(torch.device("cuda")) == 1
    assert 1 <= worker_count(torch.device("cpu")) <= 4


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> BaseVideo:
    folder = made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar", frames=110, fps=Fraction(25))
    return read_avatar(folder).bases[0]


def test_base_frames_come_in_any_order_and_few_are_kept(
    take: BaseVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_coded(take.folder / "picture.mp4", start_frame=0, stop_frame=110)
    monkeypatch.setattr(speaking, "_WHOLE_BYTES", 1)
    with BaseVideoReader(take) as planes:
        for index in (0, 1, 30, 29, 109, 50, 2):
            planes.expect([index])
            assert (planes[index] == whole[index]).all()
            assert len(planes._chunks) <= 2
        for wrong in (-1, 110):
            with pytest.raises(IndexError):
                planes[wrong]


def test_a_short_take_is_decoded_once(take: BaseVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    read, passes = CodedReader.read, []

    def counted(self: CodedReader, start: int, stop: int) -> list[Any]:
        passes.append(start)
        return read(self, start, stop)

    monkeypatch.setattr(CodedReader, "read", counted)
    with BaseVideoReader(take) as planes:
        for index in [*range(110), *range(109, -1, -1)]:
            planes[index]
    assert passes == [0, 25, 50, 75, 100]


def test_stretches_that_follow_each_other_open_the_file_once(
    take: BaseVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = take.folder / "picture.mp4"
    whole = read_coded(path, start_frame=0, stop_frame=110)
    opened = []
    pictures = VideoReader.pictures

    def counted(self: VideoReader, start: int) -> Any:
        opened.append(1)
        return pictures(self, start)

    monkeypatch.setattr(VideoReader, "pictures", counted)
    with closing(CodedReader(path)) as reader:
        found = [picture for start in (0, 25, 50, 75, 100) for picture in reader.read(start, start + 25)]
        assert len(opened) == 1
        assert len(found) == 110
        assert all((one == other).all() for one, other in zip(found, whole, strict=True))
        assert (reader.read(40, 41)[0] == whole[40]).all()
        assert (reader.read(41, 43)[1] == whole[42]).all()
        assert len(opened) == 2
        assert reader.read(200, 201) == []


def test_large_pictures_are_decoded_few_at_a_time(take: BaseVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "_WHOLE_BYTES", 1)
    monkeypatch.setattr(speaking, "_CHUNK_BYTES", 4 * take.width * take.height * 3 // 2)
    whole = read_coded(take.folder / "picture.mp4", start_frame=0, stop_frame=110)
    with BaseVideoReader(take) as planes:
        for index in (0, 1, 2, 3, 4, 9, 8, 7, 109):
            assert (planes[index] == whole[index]).all()
        assert {len(chunk.result()) for chunk in planes._chunks.values()} <= {4, 2}


def test_readers_at_their_own_paces_keep_their_own_chunks(
    take: BaseVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "_WHOLE_BYTES", 1)
    with BaseVideoReader(take) as planes:
        planes.count_reader(1)
        planes.count_reader(1)
        for index in (0, 30, 60, 100):
            planes[index]
        assert len(planes._chunks) == 4
        planes.count_reader(-1)
        planes[30]
        planes[80]
        assert len(planes._chunks) == 2
