"""Preparation, from videos made on the fly."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from speech2lip.atomic import locked, write_json
from speech2lip.config import PrepareSettings, PresentSettings
from speech2lip.decomposition.prepare import _name_takes, prepare
from speech2lip.decomposition.staging import WORK, claim_folder
from speech2lip.errors import FootageError, OutputError, SettingsError, SoundError
from speech2lip.media.video import read_frames
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.report.footage_page import GENERATOR, check_report
from speech2lip_presenter import present, read_truth

pytest.importorskip("mediapipe", reason="preparing footage needs mediapipe")


def _video(path: Path, *, seconds: float = 1.0, sound: bool = True, side: int = 64) -> Path:
    random = np.random.default_rng(0)
    with VideoWriter(
        path, VideoFormat(width=side, height=side, fps=Fraction(25), sample_rate=16_000 if sound else None)
    ) as writer:
        for _ in range(round(seconds * 25)):
            writer.write(random.integers(0, 255, (side, side, 3), np.uint8))
            if sound:
                writer.write_sound(random.normal(0, 0.1, 640).astype(np.float32))
    return path


def test_bad_videos_are_told_before_any_work(tmp_path: Path) -> None:
    good, out = _video(tmp_path / "good.mp4"), tmp_path / "a.footage"
    (tmp_path / "text.mp4").write_text("not a video")
    silent = _video(tmp_path / "silent.mp4", sound=False)
    for bad, told in (
        (tmp_path / "none.mp4", "none.mp4"),
        (tmp_path / "text.mp4", "text.mp4"),
        (silent, "no sound"),
    ):
        with pytest.raises(FootageError, match=told) as error:
            prepare([good, bad], footage=out)
        assert "\n" not in str(error.value)
    assert not out.exists()
    with pytest.raises(FootageError, match="no take"):
        prepare([], footage=out)


def test_a_folder_stands_for_the_videos_in_it(messages: list[str], tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "a.footage"
    clips.mkdir()
    with pytest.raises(FootageError, match="no video in it"):
        prepare([clips], footage=out)
    for name in ("two.mp4", "one.MP4"):
        _video(clips / name)
    (clips / "notes.txt").write_text("not a take")
    with pytest.raises(FootageError, match="seen for"):
        prepare([clips], footage=out)
    assert f"{clips}: 2 videos; other files left alone: 1" in messages
    assert sorted(path.name for path in (out / WORK / "takes").iterdir()) == ["one", "two"]


def test_without_a_face_it_says_so_and_keeps_what_was_read(tmp_path: Path) -> None:
    out = tmp_path / "a.footage"
    with pytest.raises(FootageError, match=r"seen for 0\.0 s"):
        prepare([_video(tmp_path / "noise.mp4")], footage=out)
    assert (out / WORK / "takes" / "noise" / "track.safetensors").is_file()
    assert not (out / "footage.json").exists()


def test_a_take_that_was_damaged_is_read_anew(tmp_path: Path) -> None:
    out, source = tmp_path / "a.footage", _video(tmp_path / "noise.mp4", seconds=0.4)
    for _ in range(2):
        with pytest.raises(FootageError, match=r"seen for 0\.0 s"):
            prepare([source], footage=out)
        (damaged,) = out.rglob("track.safetensors")
        damaged.write_bytes(b"nothing")


def test_what_is_remembered_of_failures_may_be_damaged(tmp_path: Path) -> None:
    out, source = tmp_path / "a.footage", _video(tmp_path / "noise.mp4", seconds=0.4)
    (out / "takes").mkdir(parents=True)
    (out / WORK).mkdir()
    for text in ('{"noise": "broken"}', '{"noise": {"source": []}}', "nothing"):
        (out / "takes" / "failed.json").write_text(text)
        with pytest.raises(FootageError, match=r"seen for 0\.0 s"):
            prepare([source], footage=out)


def test_footage_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "a.footage"
    (out / "takes").mkdir(parents=True)
    (out / "footage.json").write_text('{"format": 9}')
    with pytest.raises(FootageError, match=r"newer version of speech2lip \(format 9.*: update speech2lip"):
        prepare([_video(tmp_path / "noise.mp4", seconds=0.4)], footage=out)
    assert sorted(path.name for path in out.iterdir()) == ["footage.json", "takes"]


def test_all_black_says_that_no_face_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "black.mp4"
    with VideoWriter(path, VideoFormat(width=64, height=64, fps=Fraction(25), sample_rate=16_000)) as writer:
        for _ in range(12):
            writer.write(np.zeros((64, 64, 3), np.uint8))
            writer.write_sound(np.zeros(640, np.float32))
    with pytest.raises(FootageError, match=r"seen for 0\.0 s") as error:
        prepare([path], footage=tmp_path / "b.footage")
    assert "\n" not in str(error.value)


def test_a_take_that_fails_is_remembered_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fails(path: Path, *_: object, **__: object) -> None:
        tried.append(path.name)
        raise SoundError(f"The sound of {path} cannot be decoded. Give a file with somebody speaking.")

    monkeypatch.setattr("speech2lip.decomposition.prepare.track_take", fails)
    bad, out = _video(tmp_path / "bad.mp4"), tmp_path / "a.footage"
    for overwrite, tries in ((False, 1), (False, 1), (True, 2)):
        with pytest.raises(FootageError, match="none of the takes") as error:
            prepare([bad], footage=out, overwrite=overwrite)
        assert "cannot be decoded" in str(error.value)
        assert len(tried) == tries
    bad.unlink()
    _video(bad, seconds=2)
    with pytest.raises(FootageError, match="none of the takes"):
        prepare([bad], footage=out)
    assert len(tried) == 3


def test_settings_and_places_that_make_no_sense_are_told_before_any_work(tmp_path: Path) -> None:
    good, out = _video(tmp_path / "good.mp4"), tmp_path / "a.footage"
    with pytest.raises(SettingsError, match="face must be"):
        prepare([good], footage=out, settings=PrepareSettings(face="middle"))
    with pytest.raises(SettingsError, match="canonical_frame must be"):
        prepare([good], footage=out, settings=PrepareSettings(canonical_frame="good"))
    with pytest.raises(OutputError, match="does not exist"):
        prepare([good], footage=out, report=tmp_path / "nowhere" / "page.html")
    assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "letter.txt").write_text("dear")
    good = _video(tmp_path / "good.mp4")
    with pytest.raises(OutputError, match="something else"):
        prepare([good], footage=tmp_path / "papers")
    with pytest.raises(OutputError, match="is a file"):
        prepare([good], footage=good)


def test_videos_in_the_footage_folder_are_never_touched(tmp_path: Path) -> None:
    """A folder of a person's videos may well look like footage."""
    own = tmp_path / "p" / "takes" / "monday"
    own.mkdir(parents=True)
    video = _video(own / "monday.mp4")
    with pytest.raises(OutputError, match="lies in"):
        prepare([video], footage=tmp_path / "p")
    other = _video(tmp_path / "monday.mp4")
    with pytest.raises(OutputError, match="something else"):
        prepare([other], footage=tmp_path / "p")
    (tmp_path / "p" / WORK).mkdir()  # a footage folder into which somebody has put a video
    with pytest.raises(OutputError, match=r"is not a take of footage.*left alone"):
        prepare([other], footage=tmp_path / "p")
    assert [path.name for path in own.iterdir()] == ["monday.mp4"]


def test_a_page_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    page, good = tmp_path / "thesis.html", _video(tmp_path / "good.mp4")
    page.write_text("<html>years of work</html>")
    with pytest.raises(OutputError, match="no report of ours"):
        prepare([good], footage=tmp_path / "a.footage", report=page)
    assert page.read_text() == "<html>years of work</html>"
    page.write_text(f"<html><head>{GENERATOR}</head></html>")
    check_report(page)


def test_two_at_once_are_told(tmp_path: Path) -> None:
    good, out = _video(tmp_path / "good.mp4"), tmp_path / "a.footage"
    claim_folder(out)
    with locked(out), pytest.raises(OutputError, match="another speech2lip is at work"):
        prepare([good], footage=out)


def test_a_bad_take_leaves_good_footage_usable(tmp_path: Path) -> None:
    """What was prepared before stays as it is, to the byte, until something better is complete."""
    out = tmp_path / "a.footage"
    write_footage(out, name="good")
    before = contents(out)
    with pytest.raises(FootageError, match=r"seen for 0\.0 s"):
        prepare([_video(tmp_path / "noise.mp4")], footage=out)
    after = contents(out)
    assert {name: after[name] for name in before} == before


def write_footage(folder: Path, *, name: str) -> None:
    """Something that passes as footage without being readable."""
    (folder / "takes" / name).mkdir(parents=True)
    write_json(folder / "takes" / name / "take.json", {"source": name})
    write_json(folder / "footage.json", {"format": 1, "takes": [name]})


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_names_of_takes_differ_in_more_than_case(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("A.mp4", "a.mov", "b.mp4", "failed.json.mp4", ".hidden.mp4")]
    named = _name_takes(paths)
    assert sorted(named.values()) == sorted(paths)
    assert set(named) == {"A", "a-2", "b", "failed.json-2", "hidden"}


@pytest.fixture(scope="module")
def presenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presenter")
    present(folder / "takes", settings=PresentSettings(takes=1, size=256))
    return folder


@pytest.mark.slow
def test_the_presenter_is_held_still(messages: list[str], presenter: Path) -> None:
    takes = sorted((presenter / "takes").glob("*.mp4"))
    footage = prepare(takes, footage=presenter / "p.footage")
    take, truth = footage.takes[0], read_truth(takes[0])
    assert len(take.times) == len(truth.times) == len(list(read_frames(takes[0])))
    assert take.kept.mean() > 0.98
    # The head's own axes are free: the fitted poses may differ from the true ones by one fixed turn.
    found, true = take.camera_from_head[:, :3, :3], truth.camera_from_head[:, :3, :3]
    between = np.einsum("tji,tjk->tik", found, true)
    mean = np.linalg.svd(between.mean(0))
    fixed_turn = mean[0] @ mean[2]
    error = np.einsum("tij,jk,tlk->til", found, fixed_turn, true)
    degrees = np.degrees(np.arccos(np.clip((np.trace(error, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert np.median(degrees) < 0.5
    assert np.corrcoef(take.lip_opening, truth.lip_opening)[0, 1] > 0.95
    assert not len(take.cuts)
    assert len(set(take.shot)) == 1
    before = (footage.folder / "footage.json").stat().st_mtime_ns
    page = presenter / "page.html"
    prepare(takes, footage=presenter / "p.footage", report=page)
    assert (footage.folder / "footage.json").stat().st_mtime_ns == before
    assert "up to date" in messages[-2]
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == 4
    assert "http" not in text
    assert "record more" in text
    assert 'id="offsets"' in text


@pytest.mark.slow
def test_too_small_a_face_says_how_large_it_should_be(tmp_path: Path) -> None:
    present(tmp_path / "takes", settings=PresentSettings(takes=1, size=96))
    with pytest.raises(FootageError, match=r"px wide; at least 64 px"):
        prepare(sorted((tmp_path / "takes").glob("*.mp4")), footage=tmp_path / "s.footage")
