"""Footage in, an avatar folder out."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import speech2lip
from speech2lip.arrays import Floats
from speech2lip.atomic import check_output, new_folder_atomically, save_tensors, write_json
from speech2lip.avatar import AVATAR_KIND, Avatar, read_avatar
from speech2lip.checks import to_plain
from speech2lip.composition.coverage import region_surface
from speech2lip.composition.paste import Paster
from speech2lip.compute import choose_device, device_name
from speech2lip.config import PrepareSettings, TrainSettings, with_preset
from speech2lip.conventions import AnyPath
from speech2lip.decomposition.footage import Footage, Take, canonical_plain, canonical_tensors, read_footage
from speech2lip.decomposition.overview import look_over
from speech2lip.errors import FootageError, SettingsError
from speech2lip.faces.landmarks import eye_opening
from speech2lip.formats import AvatarInfo, CanonicalInfo
from speech2lip.geometry.rigid import unbroken_runs
from speech2lip.head_track import light_gain, median_skin_colour
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.model import LipModel
from speech2lip.synthesis.pretrained import load_pretrained, pretrained_name
from speech2lip.synthesis.speech import init_encoder
from speech2lip.training.checkpoint import (
    KeptState,
    finished_before,
    footage_fingerprint,
    note_written,
    remove_state,
    state_folder,
    training_key,
)
from speech2lip.training.dataset import TrainingSet, build_training_set
from speech2lip.training.loop import TrainingRun
from speech2lip.training.phases import phases
from speech2lip.training.pretrained_sound import hear_takes
from speech2lip.training.split import held_out_ranges
from speech2lip.training.sync import SyncExpert

_LOG = logging.getLogger(__name__)


def train(
    takes: Sequence[AnyPath] = (),
    *,
    avatar: AnyPath,
    footage: AnyPath | None = None,
    settings: TrainSettings | None = None,
    prepare_settings: PrepareSettings | None = None,
    overwrite: bool = False,
) -> Avatar:
    """Train an avatar on takes of a person, or on footage that has been prepared from them.

    Stopped or killed, the same call goes on where the state was last saved (every 20 s by default).

    Args:
        takes: videos; they are prepared first, into `footage` or beside the avatar.
        avatar: the folder to make.
        footage: a prepared footage folder.
        overwrite: replace an avatar that is there; it stays until the new one is complete.

    Raises:
        FootageError, SettingsError, OutputError: as their messages say.
    """
    videos, avatar = [Path(take) for take in takes], Path(avatar)
    footage = None if footage is None else Path(footage)
    asked = settings or TrainSettings()
    decided = with_preset(asked)
    if complete := finished_before(avatar):
        return complete
    check_output(avatar, overwrite=overwrite, kind=AVATAR_KIND)
    with state_folder(avatar) as part:
        prepared = _prepared(videos, avatar, footage, prepare_settings)
        mark = footage_fingerprint(prepared)
        for line in look_over(prepared).lines():
            _LOG.info(line)
        model, info = _learn(prepared, mark, asked, part)
        with new_folder_atomically(avatar, replaces=AVATAR_KIND if overwrite else None) as folder:
            # What was learned belongs to the footage as it was: neither other poses nor other pictures.
            _require_unchanged(prepared, mark, part)
            save_tensors(folder / "weights.safetensors", model.state_dict())
            save_tensors(folder / "canonical.safetensors", canonical_tensors(prepared.canonical))
            bases = _write_bases(folder / "base", prepared, decided.base_seconds)
            write_json(folder / "avatar.json", to_plain(replace(info, bases=tuple(bases))))
            _require_unchanged(prepared, mark, part)
            note_written(part, folder)
        made = read_avatar(avatar)
        remove_state(part)
    _LOG.info(f"{avatar}: trained {info.seconds_trained:.0f} s in {info.precision} on {info.device}")
    return made


def _learn(footage: Footage, mark: str, asked: TrainSettings, part: Path) -> tuple[LipModel, AvatarInfo]:
    """Train the networks, going on where the state was last saved.

    Args:
        mark: fingerprint of the footage; asked: settings as the user wrote them; part: folder of the state.

    Returns:
        The networks on the processor, and what is said of them, without base videos.
    """
    began = time.monotonic()
    settings = with_preset(asked)
    compute = choose_device(settings.device)
    ranges = held_out_ranges(footage.takes, settings.hold_out)
    # Whatever is wrong with it shows before footage is read.
    name = pretrained_name(settings.model.speech)
    encoder = None if name is None else load_pretrained(name, download=True)
    data = build_training_set(footage, ranges, settings.model)
    model = new_model(data, settings)
    reading = time.monotonic() - began
    if encoder is not None:
        # This does not count as training.
        cache = part / "heard.safetensors"
        projection = hear_takes(data, encoder.to(compute.device), seed=settings.seed, cache=cache)
        model.encoder.pretrained = projection
    expert = SyncExpert().to(compute.device)
    networks = nn.ModuleDict({"model": compute.place(model), "expert": expert})
    kept = KeptState(part, training_key(mark, asked, networks, data=data, encoder=encoder))
    saved = kept.take_up()
    if saved:
        settings = replace(settings, voice_changes=saved.progressed.voice_changes)
    paster = Paster(footage.canonical, device=compute.device)
    state = TrainingRun(
        networks,
        phases(model, expert, data.to(compute.device), paster, settings),
        settings,
        compute,
        kept,
        saved,
        budget_seconds=max(60 * settings.minutes - reading, 1.0),
    ).run()
    info = AvatarInfo(
        model=settings.model,
        canonical=CanonicalInfo(**canonical_plain(footage.canonical)),
        focal=footage.settings.focal,
        bases=(),
        version=speech2lip.__version__,
        settings=to_plain(settings),
        median_skin_colour=median_skin_colour(footage.takes).tolist(),
        footage=footage.folder.name,
        takes=tuple(take.name for take in footage.takes),
        held_out=ranges,
        seconds_footage=round(data.seconds, 2),
        seconds_trained=round(state.seconds, 1),
        precision=state.precision,
        device=device_name(compute),
        history=tuple(state.history),
    )
    return model.cpu(), info


def _require_unchanged(footage: Footage, mark: str, part: Path) -> None:
    if footage_fingerprint(read_footage(footage.folder)) != mark:
        raise FootageError(
            f"{footage.folder} has changed while it was trained on, so no avatar is written; what was "
            f"learned is kept in {part}: bring the old footage back to go on, or train again to begin anew"
        )


def _prepared(
    takes: Sequence[Path], avatar: Path, footage: Path | None, settings: PrepareSettings | None
) -> Footage:
    if not takes:
        if footage is None:
            raise SettingsError(
                "nothing to train on; name videos of the person, or a prepared folder with --footage"
            )
        return read_footage(footage)
    from speech2lip.decomposition.prepare import prepare

    return prepare(takes, footage=footage or footage_beside(avatar), settings=settings)


def footage_beside(avatar: Path) -> Path:
    """Return where an avatar's footage is kept unless said otherwise.

    `ana.footage` for `ana.avatar`, `ana.v2.footage` for `ana.v2`.
    """
    return avatar.with_name(avatar.name.removesuffix(".avatar") + ".footage")


def new_model(data: TrainingSet, settings: TrainSettings) -> LipModel:
    """Make the networks, with built-in encoder weights, the lip shape's components and the mean patch."""
    torch.manual_seed(settings.seed)
    model = LipModel(settings.model, (data.patches.shape[2], data.patches.shape[3]))
    if settings.encoder_init != "nothing" and not init_encoder(model.encoder):
        _LOG.info("the built-in weights fit mel at the default sizes alone: the encoder begins with nothing")
    model.lip_shape.learn(data.outlines)
    some = data.patches[:: max(1, len(data.patches) // 500)]
    model.lip_field.mean.data.copy_(some.float().mean(0) / 255)
    return model


def _write_bases(folder: Path, footage: Footage, seconds: float) -> list[str]:
    """Write the longest unbroken runs of good frames that can be spoken over, one a take.

    As many as last long enough; the longest first. Where no frame can be spoken over, good ones must do.
    """
    surface, runs = region_surface(footage.canonical), []
    good = {take.name: take.kept for take in footage.takes}
    borne = {take.name: good[take.name] & surface.bears(take.camera_from_head) for take in footage.takes}
    flags = borne if any(found.any() for found in borne.values()) else good
    for take in footage.takes:
        spans = unbroken_runs(flags[take.name], take.shot)
        if spans:
            start, stop = max(spans, key=lambda span: span[1] - span[0])
            runs.append((take, start, min(stop, start + max(1, round(seconds * float(take.fps))))))
    runs.sort(key=lambda run: (run[1] - run[2]) / float(run[0].fps))
    skin_colour, names, used = median_skin_colour(footage.takes), [], 0.0
    for take, start, stop in runs:
        if used >= seconds:
            break
        _write_base(folder / take.name, take, start, stop, skin_colour)
        names.append(take.name)
        used += (stop - start) / float(take.fps)
    return names


def _write_base(folder: Path, take: Take, start: int, stop: int, skin_colour: Floats) -> None:
    folder.mkdir(parents=True)
    if (start, stop) == (0, len(take.times)):
        shutil.copyfile(take.picture_path, folder / "picture.mp4")
    else:
        video = VideoFormat(width=take.width, height=take.height, fps=take.fps)
        with VideoWriter(folder / "picture.mp4", video, crf=14) as writer:
            for frame in take.frames(start, stop):
                writer.write(frame.rgb, time=frame.time - take.times[start])
    write_json(folder / "take.json", {"width": take.width, "height": take.height, "fps": str(take.fps)})
    save_tensors(
        folder / "track.safetensors",
        {
            "times": take.times[start:stop] - take.times[start],
            "camera_from_head": take.camera_from_head[start:stop],
            "light": light_gain(take.light[start:stop], skin_colour),
            "eyes": eye_opening(take.landmarks[start:stop]),
        },
    )
