"""The whole evaluation on made footage, with a stand-in for the landmark detector."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.torch import save_file

from speech2lip import __version__
from speech2lip.config import EvaluateInputs, EvaluateOutputs, EvaluateSettings
from speech2lip.decomposition import footage as footage_module
from speech2lip.errors import AvatarError, FootageError, OutputError, SettingsError, SoundError
from speech2lip.evaluation import evaluate as evaluation
from speech2lip.evaluation import held_out, runner
from speech2lip.evaluation.evaluate import evaluate
from speech2lip.evaluation.metrics import published
from speech2lip.evaluation.metrics.published import Lpips, SyncNet
from speech2lip.evaluation.result import METRICS
from speech2lip.evaluation.speech_labels import pauses
from tests.evaluation.made_footage import FakeDetector, write_avatar, write_footage

SETTINGS = EvaluateSettings(
    silent_frames=10, pairings=2, judge_steps=2, measure_cost=False, device="cpu", precision="fp32"
)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("footage") / "made.footage")


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    return write_avatar(tmp_path / "made.avatar", held_out={"b": [0, 20], "c": [25, 40]})


@pytest.fixture(autouse=True)
def fake_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LandmarkDetector", FakeDetector)


def test_all_rows_and_the_page(messages: list[str], tmp_path: Path, footage: Path, avatar: Path) -> None:
    result = evaluate(
        avatar=str(avatar), footage=str(footage), inputs=EvaluateInputs(paper=str(avatar)),
        outputs=EvaluateOutputs(json=str(tmp_path / "m.json"), report=str(tmp_path / "r.html")),
        settings=SETTINGS,
    )  # fmt: skip
    rows = json.loads((tmp_path / "m.json").read_text())["rows"]
    assert list(rows) == ["real_video", "static_lips", "nearest", "ours", "paper"]
    assert all(list(row) == list(METRICS) and row["frames"] == 34 for row in rows.values())  # one is left out
    assert rows["real_video"]["mouth_psnr"] is None
    assert rows["real_video"]["seam_ratio"] == 1
    assert rows["ours"] == rows["paper"]  # one and the same avatar
    assert rows["nearest"]["mouth_psnr"] > rows["ours"]["mouth_psnr"]  # an untrained one
    judged: Any = result.details["rows"]
    assert rows["real_video"]["leak_r"] is None  # nothing is driven there
    for name in ("static_lips", "nearest", "ours", "paper"):
        driven = ("leak_r", "cross_r", "silent_open_percent", "sync_confidence")
        assert all(rows[name][metric] is not None for metric in driven)
        assert judged[name]["pairings"] == 2
    assert result.cost["prepare_fps"] == 50.0
    assert result.cost["gflop_per_frame"] > 0
    assert "34 held-out frames of 2 takes" in messages[-1]
    assert "| nearest" in messages[-1]
    check_page((tmp_path / "r.html").read_text())
    check_in_browser(tmp_path / "r.html")


def test_unseen_speakers_are_shown(tmp_path: Path, footage: Path) -> None:
    avatar = write_avatar(tmp_path / "short.avatar", held_out={"c": [28, 40]})
    second = np.arange(16_000) / 16_000
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000) * (second % 0.4 < 0.2)
    soundfile.write(tmp_path / "french.wav", noise.astype(np.float32), 16_000)
    settings = dataclasses.replace(SETTINGS, silent_frames=0, pairings=0, judge_steps=0)
    evaluate(
        avatar=avatar, footage=footage, outputs=EvaluateOutputs(report=tmp_path / "r.html"),
        inputs=EvaluateInputs(unseen_speakers=[tmp_path / "french.wav"]), settings=settings,
    )  # fmt: skip
    page = (tmp_path / "r.html").read_text()
    assert page.count("<video") == 2
    assert page.count('class="unseen-speaker"') == 1
    assert "french" in page
    french = EvaluateInputs(unseen_speakers=[tmp_path / "french.wav"])
    with pytest.raises(SettingsError, match="--report"):
        evaluate(avatar=avatar, footage=footage, inputs=french, settings=settings)
    missing = EvaluateInputs(unseen_speakers=[tmp_path / "none.wav"])
    with pytest.raises(SoundError, match=r"none\.wav"):
        evaluate(avatar=avatar, footage=footage, inputs=missing, settings=settings)


def test_long_takes_are_judged_part_by_part_with_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_footage(tmp_path / "long.footage", ("a", "c"), frames=130)
    avatar = write_avatar(tmp_path / "long.avatar", held_out={"c": [90, 110]})
    settings = dataclasses.replace(SETTINGS, silent_frames=0, pairing_frames=25, judge_steps=0)
    rows, lengths = [], []
    original = pauses

    def heard(wave: Any, *words: Any, **more: Any) -> Any:
        lengths.append(len(wave))
        return original(wave, *words, **more)

    monkeypatch.setattr("speech2lip.evaluation.speech_labels.pauses", heard)
    for seconds in (300.0, 0.5):
        for module in (footage_module, held_out):
            monkeypatch.setattr(module, "WHOLE_SECONDS", seconds)
        monkeypatch.setattr(held_out, "PART_SECONDS", 0.4)
        rows.append(evaluate(avatar=avatar, footage=long, settings=settings).rows)
    assert lengths == [83_200, 67_200, 51_200]  # all of 5.2 s; from 1 s on; from 2 s on
    same = ("mouth_psnr", "frame_ssim", "opening_r", "width_r", "lmd_px", "cross_r", "leak_r", "frames")
    for name in ("nearest", "ours"):
        whole, parts = ({key: one[name][key] for key in same} for one in rows)
        assert parts == pytest.approx(whole, abs=2e-3)


def test_given_weights_fill_their_own_columns(
    tmp_path: Path, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "LEAST_FRAMES", 10)
    avatar = write_avatar(tmp_path / "short.avatar", held_out={"c": [28, 40]})
    # The public heads are positive: no difference makes up for another.
    lpips = {
        name: value.abs() if name[:3] == "lin" else value for name, value in Lpips().state_dict().items()
    }
    save_file(lpips, tmp_path / "lpips.safetensors")
    save_file(SyncNet().state_dict(), tmp_path / "syncnet.safetensors")
    settings = dataclasses.replace(
        SETTINGS, silent_frames=0, pairings=0, judge_steps=0, lpips_weights=tmp_path / "lpips.safetensors",
        syncnet_weights=tmp_path / "syncnet.safetensors",
    )  # fmt: skip
    rows = evaluate(avatar=avatar, footage=footage, settings=settings).rows
    assert rows["real_video"]["lpips"] == pytest.approx(0, abs=1e-6)
    assert rows["ours"]["lpips"] > 1e-3
    for row in rows.values():
        assert row["syncnet_distance"] > 0
        assert abs(row["syncnet_offset_ms"]) <= 600
        assert row["syncnet_confidence"] >= 0
    wrong = dataclasses.replace(settings, lpips_weights=tmp_path / "none.safetensors")
    with pytest.raises(SettingsError, match="no LPIPS weights"):
        evaluate(avatar=avatar, footage=footage, settings=wrong)


def check_page(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert page.count("<video") == page.count("data:video/mp4;base64,") == 2
    assert page.count('<svg class="opening"') == 2
    assert page.count('class="line truth"') == 2
    assert page.count('<svg class="training"') == 1
    assert page.count("<td><code>") + page.split('id="missing"')[1].split("</p>")[0].count("<code>") == (
        len(METRICS) + 7
    )
    assert "<code>lpips</code>" in page.split('id="missing"')[1]
    assert page.count("poster=") == 2
    assert page.count(" s</span>") == 24
    assert page.count("<figure>") >= 6 * 2


def check_in_browser(page: Path) -> None:
    """Open the page where there is a browser: players must have a length, plots a place."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return
    words = [
        browser,
        "--headless",
        "--disable-gpu",
        "--no-sandbox",
        "--virtual-time-budget=8000",
        "--dump-dom",
    ]
    words += [f"--user-data-dir={page.parent / 'browser'}", page.as_uri()]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=250, env=dict(os.environ)
    )
    assert done.stdout.count('data-seconds="0.8"') == 1, done.stdout[:400] + done.stderr[-400:]
    assert done.stdout.count('data-seconds="0.6"') == 1


def test_nothing_is_written_when_it_cannot_be(tmp_path: Path, footage: Path, avatar: Path) -> None:
    nowhere = EvaluateOutputs(json=tmp_path / "none" / "m.json")
    with pytest.raises(OutputError):
        evaluate(avatar=avatar, footage=footage, outputs=nowhere, settings=SETTINGS)
    seen = write_avatar(tmp_path / "seen.avatar", held_out={})
    with pytest.raises(FootageError, match="has seen every frame"):
        evaluate(avatar=seen, footage=footage, settings=SETTINGS)
    other = write_avatar(tmp_path / "other.avatar", held_out={"a": [0, 40]})
    with pytest.raises(AvatarError, match="has seen frames"):
        evaluate(avatar=avatar, footage=footage, inputs=EvaluateInputs(paper=other), settings=SETTINGS)


def test_code_is_named_by_its_own_repository_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment inside somebody's repository is no reason to name their commit."""
    installed = tmp_path / "theirs" / ".venv" / "speech2lip" / "evaluation" / "evaluate.py"
    own = tmp_path / "ours" / "src" / "speech2lip" / "evaluation" / "evaluate.py"
    found = {}
    for path in (installed, own):
        path.parent.mkdir(parents=True)
        path.touch()
        top = tmp_path / path.relative_to(tmp_path).parts[0]
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "init", "--quiet", top], check=True)
        subprocess.run(["git", "-C", top, "add", "--all", "--force"], check=True)
        subprocess.run(["git", "-C", top, *identity, "commit", "--quiet", "-m", "a"], check=True)
        monkeypatch.setattr(evaluation, "__file__", str(path))
        found[path] = evaluation.commit()
    assert found[installed] == f"version {__version__}"
    assert re.fullmatch("[0-9a-f]{7,}", found[own])
