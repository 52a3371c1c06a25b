"""Who is benchmarked, how time is shared, and the page that is made of result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import SettingsError
from speech2lip.evaluation.bench import _Bench, bench, share_time, view
from speech2lip.evaluation.quality_page import quality_page
from speech2lip.evaluation.subjects import Subject, foreign_sounds, grid_words, subjects
from speech2lip.evaluation.table import Result
from tests.evaluation.made_footage import write_footage


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_people_of_a_folder(tmp_path: Path) -> None:
    _touch(tmp_path / "grid_s1" / "b.mpg", tmp_path / "grid_s1" / "a.mpg", tmp_path / "ana" / "one.MP4")
    _touch(
        tmp_path / "hdtf" / "WDA_KatieHill_000.mp4", tmp_path / "speech" / "french.wav", tmp_path / "x.txt"
    )
    found = {subject.name: subject for subject in subjects(tmp_path)}
    assert [take.name for take in found["grid_s1"].takes] == ["a.mpg", "b.mpg"]
    assert found["hdtf_WDA_KatieHill_000"].benchmark == "II" and not found["hdtf_WDA_KatieHill_000"].missing
    assert "no footage" in found["words"].missing
    assert not found["presenter"].missing and found["presenter"].takes == ()
    assert found["ana"].benchmark == "own"
    assert foreign_sounds(tmp_path) == [tmp_path / "speech" / "french.wav"]


def test_a_users_own_folder_is_one_person(tmp_path: Path) -> None:
    _touch(tmp_path / "me" / "1.mp4", tmp_path / "me" / "2.mov")
    assert [(subject.name, len(subject.takes)) for subject in subjects(tmp_path / "me")] == [("me", 2)]
    assert all(subject.missing for subject in subjects(None) if subject.name != "presenter")


def test_grid_names_tell_their_words() -> None:
    assert grid_words("bbaf2n") == "bin blue at f two now"
    assert grid_words("swwz9p") == "set white with z nine please"
    assert grid_words("swizzp") == "set white in z zero please"
    assert grid_words("ana") is None and grid_words("xxxxxx") is None


def test_time_goes_to_the_first_when_there_is_little() -> None:
    people = [
        Subject("a", "I", 15),
        Subject("b", "II", 3),
        Subject("c", "II", 3),
        Subject("d", "II", 3, (), "gone"),
    ]
    assert share_time(people, 1000) == {"a": 15, "b": 3, "c": 3}
    assert share_time(people, 7) == pytest.approx({"a": 5, "b": 1, "c": 1})
    assert share_time(people, 2) == {"a": 2}
    assert share_time([], 5) == {}


def test_a_view_shares_files(tmp_path: Path) -> None:
    footage = write_footage(tmp_path / "made.footage")
    seen = view(footage, tmp_path / "some.footage", ["a", "c"])
    assert [take.name for take in read_footage(seen).takes] == ["a", "c"]
    picture = Path("takes") / "a" / "picture.mp4"
    assert (seen / picture).samefile(footage / picture)
    assert view(footage, seen, ["a", "c"]) == seen
    assert [take.name for take in read_footage(view(footage, seen, ["b"])).takes] == ["b"]


def test_nobody_there_is_told_not_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(_Bench, "_presenter", lambda *_: None)
    told: list[str] = []
    page = bench(
        data=tmp_path / "data",
        work=tmp_path / "w",
        results=tmp_path / "r",
        page=tmp_path / "q.md",
        say=told.append,
    )
    text = page.read_text()
    assert text.count("Not measured: no footage") == 6
    assert json.loads((tmp_path / "r" / "I_grid_s1.json").read_text())["rows"] == {}
    with pytest.raises(SettingsError, match="nobody is called 'ana'"):
        bench(data=tmp_path / "data", only=["ana"], work=tmp_path / "w")
    with pytest.raises(SettingsError, match="no benchmark of 'speed'"):
        bench("speed")
    with pytest.raises(SettingsError, match="no folder of footage"):
        bench(data=tmp_path / "none")


def test_the_page_is_made_of_the_files_alone(tmp_path: Path) -> None:
    rows = {"real_video": {"opening_r": 0.99}, "ours": {"opening_r": 0.8, "mouth_psnr": 32.5, "leak_r": 0.01}}
    details = {
        "benchmark": "I", "split": "whole takes", "machine": "two cores", "seconds_footage": 215.0,
        "phones": ["aligned words"],
        "rows": {"ours": {"leak_r_interval": [-0.1, 0.12], "leak_r_plain": 0.3, "pairings": 8}},
        "against_exact_truth": {"ours": {"opening_r": 0.9, "opening_std_ratio": 1.0, "opening_bias": 0.01}},
    }  # fmt: skip
    one = Result("grid_s1", "cpu", "abc", 900.0, rows, {"speak_fps": 30.0}, details)
    one.save(tmp_path / "I_grid_s1.json")
    Result("words", "none", details={"benchmark": "II", "missing": "no footage"}).save(
        tmp_path / "II_words.json"
    )
    text = quality_page(tmp_path)
    assert text == quality_page(tmp_path)
    wanted = ["| grid_s1: ours", "| opening_r  |      0.990 | 0.800 |", "Not measured: no footage."]
    wanted += ["900 s of training", "leak_r -0.10 to 0.12", "phones by aligned words", "bias +0.0100"]
    wanted += ["speak_fps 30.0"]
    assert [words for words in wanted if words not in text] == []
    assert "mouth_ssim" not in text.split("## I.")[1]
