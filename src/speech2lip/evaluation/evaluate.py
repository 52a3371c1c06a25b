"""Judge an avatar on frames that it has never seen: the same frames, the same sound, its own lips."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.compute import device_name
from speech2lip.config import EvaluateSettings
from speech2lip.decomposition.footage import Footage, Take, read_footage
from speech2lip.decomposition.head_pose import project
from speech2lip.decomposition.landmarks import MOUTH_CORNERS, LandmarkDetector
from speech2lip.errors import FootageError
from speech2lip.evaluation.mouth_box import Box, mouth_box
from speech2lip.evaluation.table import Result
from speech2lip.evaluation.tally import Tally
from speech2lip.inference.engine import Engine
from speech2lip.progress import Progress
from speech2lip.storage import check_output
from speech2lip.synthesis.speech import log_mel
from speech2lip.training.dataset import place_of

_BATCH = 8

Picture = NDArray[np.uint8]


def evaluate(
    *,
    avatar: Path,
    footage: Path,
    json: Path | None = None,
    settings: EvaluateSettings | None = None,
    overwrite: bool = True,
    say: Callable[[str], None] = print,
) -> Result:
    """Measure an avatar on the held-out frames of its footage and print the table.

    Rows: `real_video` (the footage against itself: what the landmark detector's own jitter costs), `static_lips` (the mean lip
    patch in every frame: what any system must beat) and `ours`.

    Args:
        avatar: an avatar folder; it knows what it has never seen.
        footage: the footage that it was trained on.
        json: where to write the figures.

    Raises:
        AvatarError, FootageError, OutputError: as their messages say.
    """
    settings = settings or EvaluateSettings()
    if json is not None:
        check_output(json, overwrite=overwrite)
    person, prepared = read_avatar(avatar), read_footage(footage)
    spans = unseen_spans(person, prepared)
    engine = Engine(person, device=settings.device, precision=settings.precision)
    rows = {name: Tally() for name in ("real_video", "static_lips", "ours")}
    frames = sum(stop - start for _, start, stop in spans)
    done = 0
    with Progress("Evaluating", total=frames, unit="frames") as progress:
        for take, start, stop in spans:
            with _TakeJudge(take, prepared, rows, settings) as judge:
                for batch in _batches(take, start, stop):
                    judge.add(batch, _made(engine, batch, take, person, judge.mel))
                    done += len(batch)
                    progress.set(done)
    result = Result(
        footage=prepared.folder.name, device=device_name(engine.compute), commit=_commit(),
        seconds_trained=person.about["seconds_trained"], rows={name: tally.row() for name, tally in rows.items()},
        cost={"train_seconds": person.about["seconds_trained"], "weights_mb": _weights_mb(avatar)},
    )  # fmt: skip
    say(_heading(person, prepared, len(spans), frames) + "\n" + result.markdown())
    if json is not None:
        result.save(json)
    return result


def unseen_spans(avatar: Avatar, footage: Footage) -> list[tuple[Take, int, int]]:
    """List takes of the footage with start and stop of the frames that the avatar has never seen.

    Raises:
        FootageError: there are none, or the footage is not the avatar's.
    """
    takes = {take.name: take for take in footage.takes}
    held: dict[str, list[int]] = avatar.about["held_out"]
    unknown = [take.name for take in footage.takes if take.name not in avatar.about["takes"]]
    spans = [(takes[name], start, stop) for name, (start, stop) in held.items() if name in takes]
    spans += [(takes[name], 0, len(takes[name].times)) for name in unknown]
    if not spans:
        raise FootageError(
            f"{avatar.folder} has seen every frame of {footage.folder}; train without --hold-out 0, or prepare other takes"
        )
    return spans


def _batches(take: Take, start: int, stop: int) -> Iterator[list[tuple[int, Picture]]]:
    batch: list[tuple[int, Picture]] = []
    for frame in take.frames(start, stop):
        if take.left_out[frame.index] == 0:
            batch.append((frame.index, frame.rgb))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _made(
    engine: Engine, batch: Sequence[tuple[int, Picture]], take: Take, avatar: Avatar, mel: torch.Tensor
) -> dict[str, list[Picture]]:
    """Make the frames of every row."""
    usual = np.array(avatar.about["usual_light"], np.float32)
    pictures = [rgb for _, rgb in batch]
    places = [place_of(take, index, usual) for index, _ in batch]
    spoken = engine.listen(mel, take.times[[index for index, _ in batch]])
    still = engine.reference.expand(len(batch), -1, -1, -1)
    return {
        "real_video": pictures,
        "static_lips": engine.speak_frames(pictures, places, spoken, patch_of=lambda _: still),
        "ours": engine.speak_frames(pictures, places, spoken),
    }


class _TakeJudge:
    """Follows the lips of every row through one take and tallies its figures."""

    def __init__(
        self, take: Take, footage: Footage, rows: dict[str, Tally], settings: EvaluateSettings
    ) -> None:
        self.take, self.shape, self.rows = take, footage.canonical.shape, rows
        self.mel = log_mel(torch.from_numpy(take.wave()))
        self.detectors = {name: LandmarkDetector(enlarge_below=settings.enlarge_below) for name in rows}

    def __enter__(self) -> _TakeJudge:
        return self

    def __exit__(self, *_: object) -> None:
        for name, detector in self.detectors.items():
            detector.close()
            self.rows[name].end_take()

    def add(self, batch: Sequence[tuple[int, Picture]], made: dict[str, list[Picture]]) -> None:
        for place, (index, real) in enumerate(batch):
            box = self.box(index, real)
            for name, tally in self.rows.items():
                picture = made[name][place]
                tally.add(
                    picture, real, box, self.detectors[name].detect(picture), self.take.landmarks[index]
                )

    def box(self, index: int, picture: Picture) -> Box:
        """Return the mouth box of a frame; it depends on head pose alone."""
        corners = self.shape[list(MOUTH_CORNERS)]
        pose = self.take.camera_from_head[index]
        centre = project(pose[None], self.take.k, corners.mean(0, keepdims=True))[0, 0]
        distance = (pose[:3, :3] @ corners.mean(0) + pose[:3, 3])[2]
        width = float(np.linalg.norm(corners[1] - corners[0]) * self.take.k[0, 0] / distance)
        return mouth_box(centre, width, frame_height=picture.shape[0], frame_width=picture.shape[1])


def _heading(avatar: Avatar, footage: Footage, spans: int, frames: int) -> str:
    return (
        f"{footage.folder.name}: {frames} held-out frames of {spans} takes; trained {avatar.about['seconds_trained']:.0f} s "
        f"on {avatar.about['seconds_footage']:.0f} s of footage ({avatar.about['device']}, {avatar.about['precision']})\n"
    )


def _weights_mb(avatar: Path) -> float:
    return (avatar / "weights.safetensors").stat().st_size / 1e6


def _commit() -> str | None:
    """Return the commit of the code where it runs from a checkout, marked when files were changed since."""
    try:
        here = Path(__file__).parent
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
