"""Every setting is checked where it is made: what is accepted is sound, what is not is one line."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from speech2lip.checks import parse, to_plain
from speech2lip.cli import main
from speech2lip.config import (
    EvaluateSettings,
    LiveSettings,
    LossWeights,
    ModelSettings,
    PrepareSettings,
    SpeakSettings,
    TrainSettings,
    with_preset,
)
from speech2lip.errors import SettingsError
from tests.hostile import NASTY

KINDS: tuple[type[Any], ...] = (
    PrepareSettings, LossWeights, ModelSettings, TrainSettings, SpeakSettings, LiveSettings, EvaluateSettings,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_fine_and_come_back_from_json(kind: type[Any]) -> None:
    assert parse(kind, to_plain(kind())) == kind()


@pytest.mark.parametrize(("kind", "name"), [(k, f.name) for k in KINDS for f in dataclasses.fields(k)])
def test_a_nasty_value_is_one_line_or_harmless(kind: type[Any], name: str) -> None:
    default = getattr(kind(), name)
    for value in (*NASTY, float("nan"), math.inf, -math.inf):
        try:
            made = getattr(kind(**{name: value}), name)
        except SettingsError as error:
            told = str(error)
        else:
            told = ""
        if told:
            assert "\n" not in told
            assert name.replace("_", "-") in told
            continue
        if isinstance(default, float):
            assert isinstance(made, float)
            assert math.isfinite(made)
        elif default is not None:
            assert isinstance(made, type(default))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SpeakSettings(start="x"), "--start must be a number from 0 to 1,000,000, not 'x'"),  # type: ignore[arg-type]
        (lambda: SpeakSettings(crf=-1), "--crf must be a number from 0 to 51, not -1"),
        (lambda: SpeakSettings(precision="fp16"), "--precision must be auto, fp32 or bf16, not 'fp16'"),
        (lambda: SpeakSettings(device="tpu"), "--device must be auto, cpu or cuda, not 'tpu'"),
        (lambda: TrainSettings(precision="fp16"), "--precision must be auto, fp32 or bf16, not 'fp16'"),
        (lambda: TrainSettings(steps=-5), "--steps must be a whole number from 1"),
        (lambda: TrainSettings(hold_out=1.5), "--hold-out must be a number from 0 to 0.9"),
        (lambda: TrainSettings(minutes=0), "--minutes must be a number above 0"),
        (
            lambda: TrainSettings(encoder_init="left"),  # type: ignore[arg-type]
            "--encoder-init must be built-in or nothing",
        ),
        (lambda: ModelSettings(field="gird"), "--model.field must be grid or paper, not 'gird'"),  # type: ignore[arg-type]
        (lambda: ModelSettings(blend="huge"), "--model.blend must be small or paper, not 'huge'"),  # type: ignore[arg-type]
        (
            lambda: ModelSettings(speech="smell"),
            "--model.speech must be mel, mel.hf:FOLDER or hf",
        ),
        (
            lambda: ModelSettings(field_cells=(0, 4)),
            r"--model.field-cells\[0\] must be a whole number from 1",
        ),
        (lambda: ModelSettings(encoder_width=12_000), "--model.encoder-width must be .* to 1,024, not 12000"),
        (lambda: ModelSettings(past_seconds=0, ahead_seconds=0), "must be 0.08 together"),
        (lambda: TrainSettings(blend_share=0.8), "must be less than 1 together"),
        (lambda: LossWeights(sync=-0.1), "--losses.sync must be a number from 0"),
        (lambda: LiveSettings(channels=3), "--channels must be a whole number from 1 to 2, not 3"),
        (lambda: EvaluateSettings(pairings=-1), "--pairings must be a whole number from 0"),
        (lambda: PrepareSettings(focal=float("nan")), "--focal must be a number from 0.1 to 100, not nan"),
    ],
)
def test_the_line_names_the_flag_what_it_may_be_and_the_value(make: Any, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        make()


def test_whole_numbers_serve_as_numbers() -> None:
    assert isinstance(SpeakSettings(crf=20).crf, float)
    with pytest.raises(SettingsError, match="--batch"):
        TrainSettings(batch=2.0)  # type: ignore[arg-type]


def test_a_preset_refuses_what_it_has_otherwise() -> None:
    for asked, told in (
        (TrainSettings(preset="paper", batch=8), "--preset paper has --batch 16, not 8: leave one"),
        (TrainSettings(preset="paper", losses=LossWeights(l1=2.0)), "--losses.l1 0.0, not 2.0"),
        (TrainSettings(preset="paper", model=ModelSettings(speech="hf:a")), "--model.speech mel, not hf:a"),
    ):
        with pytest.raises(SettingsError, match=told):
            with_preset(asked)
    same = TrainSettings(preset="paper", batch=16)
    assert with_preset(with_preset(same)) == with_preset(TrainSettings(preset="paper"))


def test_presets_keep_to_the_bounds() -> None:
    for preset in ("default", "paper"):
        with_preset(TrainSettings(preset=preset))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["speak", "a.wav", "--avatar", "a", "--output", "o.mp4", "--precision", "fp16"], "--precision must"),
        (["speak", "a.wav", "--avatar", "a", "--output", "o.mp4", "--start", "nan"], "--start must be"),
        (["train", "--avatar", "a", "--model.field", "gird"], "--model.field must be grid or paper"),
        (["train", "--avatar", "a", "--steps", "-3"], "--steps must be a whole number"),
    ],
)
def test_on_the_command_line_too(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
