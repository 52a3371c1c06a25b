"""Who is benchmarked, how time is shared, and the page that is made of result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import speech2lip_presenter as presenter
from benchmarks.quality import bench as benchmark
from benchmarks.quality.bench import Arguments, _Bench, main, share_time
from benchmarks.quality.page import quality_page
from benchmarks.quality.presenter import SPLITS, film, view
from benchmarks.quality.subjects import Subject, grid_words, sounds_beside, subjects
from speech2lip.atomic import write_json
from speech2lip.config import EvaluateInputs, PresentSettings, TrainSettings
from speech2lip.decomposition import prepare as preparation
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import SettingsError
from speech2lip.evaluation.result import Result
from speech2lip.training import train as training
from speech2lip_presenter import truth_path
from tests.evaluation.made_footage import write_avatar, write_footage


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
    assert found["hdtf_WDA_KatieHill_000"].benchmark == "II"
    assert not found["hdtf_WDA_KatieHill_000"].missing
    assert "no footage" in found["words"].missing
    assert not found["presenter"].missing
    assert found["presenter"].takes == ()
    assert found["ana"].benchmark == "own"
    assert sounds_beside(tmp_path) == [tmp_path / "speech" / "french.wav"]


def test_a_users_own_folder_is_one_person(tmp_path: Path) -> None:
    _touch(tmp_path / "me" / "1.mp4", tmp_path / "me" / "2.mov")
    assert [(subject.name, len(subject.takes)) for subject in subjects(tmp_path / "me")] == [("me", 2)]
    assert all(subject.missing for subject in subjects(None) if subject.name != "presenter")


def test_grid_names_tell_their_words() -> None:
    assert grid_words("bbaf2n") == "bin blue at f two now"
    assert grid_words("swwz9p") == "set white with z nine please"
    assert grid_words("swizzp") == "set white in z zero please"
    assert grid_words("ana") is None
    assert grid_words("xxxxxx") is None


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


def test_nobody_there_is_told_not_raised(
    messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(_Bench, "_presenter", lambda *_: None)
    where: dict[str, Any] = {"work": tmp_path / "w", "results": tmp_path / "r", "page": tmp_path / "q.md"}
    main(Arguments(tmp_path / "data", **where))
    text = (tmp_path / "q.md").read_text()
    assert text.count("Not measured: no footage") == 6
    assert json.loads((tmp_path / "r" / "I_grid_s1.json").read_text())["rows"] == {}
    with pytest.raises(SettingsError, match="nobody is called 'ana'"):
        main(Arguments(tmp_path / "data", only=("ana",), **where))
    with pytest.raises(SettingsError, match="no folder of footage"):
        main(Arguments(tmp_path / "none", **where))


def test_the_page_is_made_of_the_files_alone(tmp_path: Path) -> None:
    rows = {"real_video": {"opening_r": 0.99}, "ours": {"opening_r": 0.8, "mouth_psnr": 32.5, "leak_r": 0.01}}
    details = {
        "benchmark": "I", "split": "whole takes", "machine": "two cores", "seconds_footage": 215.0,
        "phones": ["aligned words"],
        "rows": {"ours": {"leak_r_interval": [-0.1, 0.12], "leak_r_plain": 0.3, "pairings": 8}},
        "against_ground_truth": {"ours": {"opening_r": 0.9, "opening_std_ratio": 1.0, "opening_bias": 0.01}},
    }  # fmt: skip
    voices = {
        "own voice": {"speech_r": 0.91, "opening_r": 0.88},
        "telephone": {"speech_r": 0.9, "speech_drop": 0.01, "opening_r": 0.85, "opening_drop": 0.03},
    }
    details["robustness"] = voices
    one = Result("grid_s1", "cpu", "abc", 900.0, rows, {"speak_fps": 30.0}, details)
    one.save(tmp_path / "I_grid_s1.json")
    Result("words", "none", details={"benchmark": "II", "missing": "no footage"}).save(
        tmp_path / "II_words.json"
    )
    write_json(tmp_path / "speed.json", {"format": 1, "rows": {"another": "benchmark"}})
    text = quality_page(tmp_path)
    assert text == quality_page(tmp_path)
    wanted = ["| grid_s1: ours", "| opening_r  |      0.990 | 0.800 |", "Not measured: no footage."]
    wanted += ["900 s of training", "leak_r -0.10 to 0.12", "phones by aligned words", "bias +0.0100"]
    wanted += ["speak_fps 30.0", "| grid_s1 |     0.880 |     0.030 |"]
    assert [words for words in wanted if words not in text] == []
    assert "mouth_ssim" not in text.split("## I.")[1]


def test_the_presenters_splits_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def present(folder: Path, *, settings: PresentSettings, **_: object) -> None:
        for number in range(settings.takes or 6):
            stem = f"{settings.split}_{settings.voice}_{number:02}"
            _touch(folder / f"{stem}.mp4", folder / f"{stem}.truth.npz")

    monkeypatch.setattr(presenter, "present", present)
    takes = film(tmp_path)
    assert list(takes) == ["train", "sentences", "voice", "poses"]
    assert [path.name for path in takes["poses"]] == [f"poses_{number:02}.mp4" for number in range(4)]
    stems = [path.stem for paths in takes.values() for path in paths]
    assert len(set(stems)) == len(stems) == 6 + 6 + 6 + 4
    assert all(truth_path(path).exists() for paths in takes.values() for path in paths)
    monkeypatch.setattr(presenter, "present", None)
    assert film(tmp_path) == takes  # what is there is not filmed again


def test_splits_differ_in_what_they_say() -> None:
    sentences, voice, poses = SPLITS
    assert sentences.settings.split == voice.settings.split == "unseen"
    assert poses.settings.split == "train"
    assert voice.settings.voice == "b"
    assert sentences.settings.voice == poses.settings.voice == "a"
    assert poses.settings.seed != 0  # the seed of what is learned from


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Stand in for what takes long; list what was asked for."""
    asked: list[tuple[str, object]] = []

    def train(*, avatar: Path, settings: object, **_: object) -> None:
        asked.append((avatar.name, settings))
        write_avatar(avatar, held_out={"c": [20, 40]})

    def evaluate(*, inputs: EvaluateInputs, footage: Path, **_: object) -> Result:
        asked.append(("judged", inputs.paper and Path(inputs.paper).name))
        return Result(footage.name, "cpu", rows={"ours": {"opening_r": 0.5}})

    def prepare(takes: object, *, footage: Path, **_: object) -> None:
        write_footage(footage)

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(preparation, "prepare", prepare)
    monkeypatch.setattr(benchmark, "evaluate", evaluate)
    monkeypatch.setattr(_Bench, "_unseen_speakers", lambda *_: None)
    monkeypatch.setattr(_Bench, "_robustness", lambda *_: {})
    return asked


def _own(tmp_path: Path, **more: Any) -> str:
    _touch(tmp_path / "me" / "1.mp4", tmp_path / "me" / "2.mov")
    where: dict[str, Any] = {"work": tmp_path / "w", "results": tmp_path / "r", "page": tmp_path / "q.md"}
    main(Arguments(tmp_path / "me", minutes=4, **where, **more))
    return (tmp_path / "q.md").read_text()


def test_a_plain_folder_of_one_person(tmp_path: Path, stages: list[tuple[str, object]]) -> None:
    text = _own(tmp_path)
    assert [what for what, _ in stages] == ["me.avatar", "judged"]
    assert stages[0][1].minutes == 4  # type: ignore[attr-defined]
    assert stages[1][1] is None
    assert "## Own footage" in text
    assert "### me" in text
    assert "Not measured" not in text
    assert "grid_s1" not in text


def test_the_papers_row_is_judged_where_there_is_one(
    tmp_path: Path, stages: list[tuple[str, object]]
) -> None:
    write_avatar(tmp_path / "w" / "me.paper.avatar", held_out={"c": [20, 40]})
    _own(tmp_path)
    assert stages[-1] == ("judged", "me.paper.avatar")
    saved = json.loads((tmp_path / "r" / "own_me.json").read_text())
    assert saved["details"]["paper_seconds_trained"] == 12.0


def test_the_papers_avatar_gets_as_much_time(tmp_path: Path, stages: list[tuple[str, Any]]) -> None:
    _own(tmp_path, paper=True)
    assert [what for what, _ in stages] == ["me.avatar", "me.paper.avatar", "judged"]
    assert stages[0][1].minutes == stages[1][1].minutes == 2
    assert (stages[0][1].preset, stages[1][1].preset) == ("default", "paper")
    assert stages[-1] == ("judged", "me.paper.avatar")


def test_a_paper_avatar_that_fails_costs_no_other_row(
    tmp_path: Path, stages: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:

    def refuse(**asked: Any) -> object:
        if asked["preset"] == "paper":
            raise SettingsError("no such preset")
        return TrainSettings(**asked)

    monkeypatch.setattr(benchmark, "TrainSettings", refuse)
    assert "Not measured" not in _own(tmp_path, paper=True)
    assert [what for what, _ in stages] == ["me.avatar", "judged"]
