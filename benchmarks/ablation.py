"""`python -m benchmarks ablation --footage F --work W`: what each part of the method is worth, one table.

Every arm is trained anew on the same footage for the same time and judged on the same held-out frames. An arm
that has been judged is not trained again, so the table can be made in pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from speech2lip.atomic import read_json, write_atomically
from speech2lip.config import EvaluateOutputs, EvaluateSettings, TrainSettings
from speech2lip.evaluation.evaluate import evaluate
from speech2lip.evaluation.result import cell, format_table
from speech2lip.training.train import train

ARMS: Mapping[str, Mapping[str, object]] = {
    "default": {},
    "without sync loss": {"losses.sync": 0.0, "losses.sync_negative": 0.0, "expert_share": 0.0},
    "without negatives": {"losses.sync_negative": 0.0},
    "without lip shape": {"losses.shape": 0.0, "losses.velocity": 0.0, "speech_share": 0.0},
    "without speech first": {"speech_share": 0.0},
    "without built-in encoder weights": {"encoder_init": "nothing"},
    "without continuous sampling": {"point_jitter_px": 0.0},
    "without voice and tempo changes": {"voice_changes": 0.0, "tempo_changes": 0.0},
    "without tempo changes": {"tempo_changes": 0.0},
    "pretrained encoder": {"model.speech": "mel+hf:"},
    "without gradient loss": {"losses.gradient": 0.0},
    "without Blend-Net": {"blend_share": 0.0},
    "without holes": {"hole_probability": 0.0},
    "paper": {"preset": "paper"},
}
"""What each arm changes of the settings; a name the settings do not have leaves the arm out, told. The one
with a pretrained encoder is trained where one is named.
"""

COLUMNS = (
    "mouth_psnr", "sharpness_ratio", "lmd_px", "opening_r", "opening_ccc", "opening_std_ratio", "width_r",
    "closure_reached", "silent_open_percent", "leak_r", "cross_r", "sync_confidence", "jitter_ratio",
    "flicker_ratio", "seam_ratio",
)  # fmt: skip


def changed(settings: TrainSettings, changes: Mapping[str, object]) -> TrainSettings:
    """Return settings with some of them changed, `losses.sync` being the field of a field."""
    for name, value in changes.items():
        first, _, inner = name.partition(".")
        if inner:
            value = dataclasses.replace(getattr(settings, first), **{inner: value})
        settings = dataclasses.replace(settings, **{first: value})  # type: ignore[arg-type]
    return settings


@dataclass(frozen=True)
class Arguments:
    """Train and judge all arms and write the table."""

    footage: Path
    """A prepared footage folder."""
    work: Path = Path("runs/ablation")
    """Avatars are kept here."""
    results: Path = Path("benchmarks/ablation")
    """One JSON file an arm."""
    page: Path = Path("docs/ablation.md")
    """The Markdown table."""
    minutes: float = 4.0
    """Training of each arm."""
    steps: int | None = None
    """Of each arm, instead of a time: arms compare even where the machine is shared."""
    precision: str = "auto"
    """`auto`, `fp32` or `bf16`."""
    only: tuple[str, ...] = ()
    """Names of arms; all without."""
    encoder: str = ""
    """Folder or hub name of a pretrained speech encoder for the arm that hears with one."""
    pairings: int = 28
    """Pairs of takes in which leaks are looked for."""

    def settings(self, name: str) -> TrainSettings | None:
        """Return the settings of an arm; None, told, where it cannot be trained."""
        changes = dict(ARMS[name])
        if changes.get("model.speech") == "mel+hf:":
            if not self.encoder:
                print(f"{name}: left out, as no --encoder is named")
                return None
            changes["model.speech"] = f"mel+hf:{self.encoder}"
        plain = TrainSettings(minutes=self.minutes, steps=self.steps, precision=self.precision)
        try:
            return changed(plain, changes)
        except TypeError as error:
            print(f"{name}: left out ({error})")
            return None


def main(arguments: Arguments) -> None:
    """Train and judge what has not been, and write the table anew after each arm."""
    footage, results = arguments.footage, arguments.results
    for folder in (arguments.work, results):
        folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or ARMS:
        stem = f"{footage.stem}_{name.replace(' ', '_')}"
        path, avatar = results / f"{stem}.json", arguments.work / f"{stem}.avatar"
        settings = None if path.exists() else arguments.settings(name)
        if settings is None:
            continue
        if not avatar.exists():
            train(avatar=avatar, footage=footage, settings=settings)
        evaluate(
            avatar=avatar,
            footage=footage,
            outputs=EvaluateOutputs(json=path),
            settings=EvaluateSettings(measure_cost=False, pairings=arguments.pairings),
        )
        with write_atomically(arguments.page) as partial:
            partial.write_text(table(results, footage.stem), encoding="utf-8")


def table(results: Path, footage: str) -> str:
    """Return the page of one footage's arms."""
    found = {
        name: read_json(path)
        for name in ARMS
        if (path := results / f"{footage}_{name.replace(' ', '_')}.json").exists()
    }
    first = next(iter(found.values()))
    rows = {
        row: first["rows"][row] for row in ("real_video", "static_lips", "nearest") if row in first["rows"]
    }
    rows |= {name: one["rows"]["ours"] for name, one in found.items()}
    seconds = ", ".join(f"{name} {cell(one['seconds_trained'], 0)}" for name, one in found.items())
    return (
        f"# Ablation\n\nMade by `python -m benchmarks ablation` on {footage}: every row trained anew for the "
        "same time or number of steps and judged on the same held-out frames; [metrics.md](metrics.md) says "
        "what the figures mean. Training is short: compare rows, not with [quality.md](quality.md).\n\n"
        f"{format_table(rows, COLUMNS)}\nSeconds trained: {seconds}. Device: {first['device']}.\n"
    )
