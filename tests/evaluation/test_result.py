"""The JSON contract and the Markdown tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from speech2lip.errors import OutputError
from speech2lip.evaluation.result import COST, METRICS, Result, format_table, metrics_table

METRIC_KEYS = """
    mouth_psnr mouth_ssim mouth_cpbd sharpness_ratio frame_psnr frame_ssim lpips lmd_px lmd_percent opening_r
    opening_ccc opening_std_ratio width_r closure_reached silent_open_percent leak_r cross_r sync_offset_ms
    sync_confidence jitter_ratio flicker_ratio seam_ratio frames
"""
ADDED_KEYS = (
    "syncnet_confidence syncnet_distance syncnet_offset_ms expert_confidence expert_distance "
    "expert_offset_ms frames_not_spoken_over"
)
"""Keys that came later; those above keep their names and order."""
COST_KEYS = "prepare_fps train_seconds speak_fps first_frame_ms peak_mb gflop_per_frame weights_mb"


@pytest.fixture
def result() -> Result:
    return Result(
        footage="presenter", device="two cores", commit="abc123", seconds_trained=900.0,
        rows={
            "real_video": {"mouth_psnr": math.inf, "jitter_ratio": 1.0},
            "ours": {"mouth_psnr": 31.234, "frames": 600},
        },
        cost={"speak_fps": 17.25},
    )  # fmt: skip


def test_the_contract(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "metrics.json")
    read = json.loads((tmp_path / "metrics.json").read_text())
    assert list(read) == [
        "format",
        "footage",
        "seconds_trained",
        "device",
        "commit",
        "rows",
        "cost",
        "details",
    ]
    assert read["format"] == 1
    assert list(read["rows"]) == ["real_video", "ours"]
    keys = list(read["rows"]["ours"])
    assert [key for key in keys if key not in ADDED_KEYS.split()] == METRIC_KEYS.split()
    assert set(ADDED_KEYS.split()) < set(keys)
    assert list(read["cost"]) == COST_KEYS.split()
    assert read["rows"]["ours"]["mouth_psnr"] == 31.234
    assert read["rows"]["ours"]["frames"] == 600
    assert read["rows"]["real_video"]["mouth_psnr"] is None  # infinity is no JSON
    assert read["cost"]["peak_mb"] is None
    assert list(tmp_path.iterdir()) == [tmp_path / "metrics.json"]


def test_an_unknown_key_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="mouth_pnsr"):
        Result(footage="x", device="y", rows={"ours": {"mouth_pnsr": 1.0}}).as_json()


def test_a_place_that_cannot_be_written(result: Result, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"Cannot write .*metrics\.json"):
        result.save(tmp_path / "missing" / "metrics.json")


def test_table() -> None:
    rows = {
        "real_video": {"opening_r": 1.0, "mouth_psnr": None},
        "ours": {"opening_r": 0.8346, "sync_offset_ms": -0.2},
    }
    assert format_table(rows, ["mouth_psnr", "opening_r", "sync_offset_ms"]) == (
        "|            | mouth_psnr | opening_r | sync_offset_ms |\n"
        "| ---------- | ---------: | --------: | -------------: |\n"
        "| real_video |        n/a |     1.000 |            n/a |\n"
        "| ours       |        n/a |     0.835 |              0 |\n"
    )


def test_decimals_of_other_columns() -> None:
    assert "| 1.234 |" in format_table({"a": {"x": 1.2341}}, ["x"], decimals=3)
    assert " 1.23 |" in format_table({"a": {"x": 1.2341}}, ["x"])


def test_markdown_shows_what_was_measured(result: Result) -> None:
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in metrics_table(result.rows).splitlines()
    ]
    assert lines[0] == ["", "real_video", "ours"]
    assert lines[2:] == [
        ["mouth_psnr", "n/a", "31.23"],
        ["jitter_ratio", "1.00", "n/a"],
        ["frames", "n/a", "600"],
    ]
    assert not set(METRICS) & set(COST)
