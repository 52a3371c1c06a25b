"""Parts of the report's page."""

from __future__ import annotations

from speech2lip.evaluation.result import METRICS, Result
from speech2lip.report.quality_page import ForeignView, figures_table, foreign_part, truth_part, voices_part


def _result(**more: object) -> Result:
    rows = {"real_video": {"opening_r": 0.99}, "ours": {"opening_r": 0.8, "mouth_psnr": 32.5}}
    return Result("made", "two cores", rows=rows, **more)  # type: ignore[arg-type]


def test_what_nobody_has_stands_below_the_table() -> None:
    table, missing = figures_table(_result()).split("</table>")
    assert table.count("<td><code>") == 2
    assert 'class="ours">32.50' in table
    assert ">n/a<" in table
    assert missing.count("<code>") == len(METRICS) - 2
    assert "<code>lpips</code>" in missing
    full = {name: 1.0 for name in METRICS}
    assert "Not measured" not in figures_table(Result("made", "cpu", rows={"ours": full}))


def test_the_detectors_own_bias_is_told() -> None:
    exact = {"real_video": {"opening_r": 0.97, "opening_std_ratio": 0.9, "opening_bias": -0.004}}
    told = truth_part(_result(details={"against_exact_truth": exact}))
    assert "real_video r 0.970, spread 0.90, bias -0.0040" in told
    assert truth_part(_result()) == ""


def test_voices_show_what_was_measured_of_them() -> None:
    voices = {"own voice": {"speech_r": 0.9, "speech_drop": 0.0}, "telephone": {"speech_r": 0.85}}
    table = voices_part(_result(revoiced=voices))
    assert table.count("<tr>") == 3
    assert table.count("<th>") == 3
    assert "<td>telephone</td><td>0.850</td><td>n/a</td>" in table
    assert voices_part(_result()) == ""


def test_names_of_sounds_cannot_break_the_page() -> None:
    part = foreign_part(ForeignView(("a<b", "c"), "data:video/mp4;base64,AA", "data:image/jpeg;base64,AA"))
    assert "a&lt;b, c" in part
    assert part.count("<video") == 1
    assert foreign_part(None) == ""
