"""Footage in, an avatar folder out."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import nn

import speech2lip
from speech2lip.avatar import AVATAR_KIND, FORMAT, Avatar, read_avatar
from speech2lip.composition.bearing import region_surface
from speech2lip.composition.paste import Paster
from speech2lip.compute import choose_device, device_name
from speech2lip.config import NO_EAR, PrepareSettings, TrainSettings, to_plain, with_preset
from speech2lip.conventions import AnyPath
from speech2lip.decomposition.cuts import runs_within_shots
from speech2lip.decomposition.footage import Footage, Take, canonical_plain, canonical_tensors, read_footage
from speech2lip.decomposition.landmarks import eye_opening
from speech2lip.decomposition.report_advice import look_over
from speech2lip.errors import SettingsError
from speech2lip.media.video import VideoWriter
from speech2lip.model import LipModel
from speech2lip.storage import check_output, new_folder_atomically, output_errors, read_json, write_json
from speech2lip.synthesis.ear import ear_fingerprint, give_ear
from speech2lip.synthesis.hf_encoder import PretrainedEncoder, load_pretrained
from speech2lip.synthesis.hf_speech import pretrained_name
from speech2lip.synthesis.lip_shape import principal_components
from speech2lip.synthesis.recogniser import find_recogniser, read_recogniser
from speech2lip.synthesis.speech import mel_windows, window_offsets
from speech2lip.training.checkpoint import Progressed
from speech2lip.training.dataset import TrainingSet, build_training_set, light_gain, usable, usual_light
from speech2lip.training.hf_sound import hear_takes
from speech2lip.training.loop import run
from speech2lip.training.phases import phases
from speech2lip.training.refined_depth import with_refined_depth
from speech2lip.training.split import Ranges, held_out_ranges, trainable
from speech2lip.training.sync import SyncExpert

Say = Callable[[str], None]


def train(
    takes: Sequence[AnyPath] = (),
    *,
    avatar: AnyPath,
    footage: AnyPath | None = None,
    settings: TrainSettings | None = None,
    prepare_settings: PrepareSettings | None = None,
    overwrite: bool = False,
    say: Say = print,
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
    settings = with_preset(settings or TrainSettings())
    check_output(avatar, overwrite=overwrite, kind=AVATAR_KIND)
    prepared = _prepared(videos, avatar, footage, prepare_settings, say)
    for line in look_over(prepared, read_json(prepared.folder / "footage.json")).lines():
        say(line)
    began = time.monotonic()
    compute = choose_device(settings.device)
    ranges = held_out_ranges(prepared.takes, settings.hold_out)
    # Whatever is wrong with it shows before footage is read.
    encoder = _pretrained(settings)
    if settings.depth_steps:
        prepared = with_refined_depth(prepared, ranges, settings.depth_steps, say=say)
    data = build_training_set(prepared, ranges, settings.model)
    say(
        f"{len(data.times)} frames ({data.seconds:.0f} s) to train on, "
        f"{_held_seconds(prepared, ranges):.0f} s held out"
    )
    if turned := _turned_away(prepared, ranges):
        say(f"{turned} more frames are not trained on: the head has turned away")
    model = new_model(data, prepared, settings, say=say)
    part = avatar.with_name(f".{avatar.name}.training")
    with output_errors(part):
        part.mkdir(exist_ok=True)
    reading = time.monotonic() - began
    if encoder is not None:
        _hear_with(encoder.to(compute.device), model, data, settings, part, say)
    expert = SyncExpert().to(compute.device)
    learned = nn.ModuleDict({"model": compute.place(model), "expert": expert})
    plan = phases(
        model,
        expert,
        data.to(compute.device),
        Paster(prepared.canonical, device=compute.device),
        settings,
    )
    state = run(
        learned,
        plan,
        settings,
        compute=compute,
        budget_seconds=max(60 * settings.minutes - reading, 1.0),
        state_path=part / "state.safetensors",
        key=_key(prepared, settings, encoder),
        say=say,
    )
    about = _about(prepared, settings, ranges, data, state, device_name(compute))
    with new_folder_atomically(avatar, replaces=AVATAR_KIND if overwrite else None) as folder:
        _write_avatar(folder, model.cpu(), prepared, about, settings, ranges)
    shutil.rmtree(part)
    say(f"{avatar}: trained {state.seconds:.0f} s in {state.precision} on {about['device']}")
    return read_avatar(avatar)


def _prepared(
    takes: Sequence[Path], avatar: Path, footage: Path | None, settings: PrepareSettings | None, say: Say
) -> Footage:
    if not takes:
        if footage is None:
            raise SettingsError(
                "nothing to train on; name videos of the person, or a prepared folder with --footage"
            )
        return read_footage(footage)
    from speech2lip.decomposition.prepare import prepare

    return prepare(takes, footage=footage or footage_beside(avatar), settings=settings, say=say)


def footage_beside(avatar: Path) -> Path:
    """Return where the footage of an avatar is kept unless said otherwise: `ana.footage` for `ana.avatar`,
    `ana.v2.footage` for `ana.v2`.
    """
    return avatar.with_name(avatar.name.removesuffix(".avatar") + ".footage")


def new_model(data: TrainingSet, footage: Footage, settings: TrainSettings, *, say: Say = print) -> LipModel:
    """Make the networks and give them what needs no training: the built-in ear, the lip shape's components
    and the mean patch.
    """
    torch.manual_seed(settings.seed)
    model = LipModel(settings.model, footage.canonical.patch.size)
    if settings.ear != NO_EAR and not give_ear(model.encoder):
        say("the built-in ear hears mel at the default sizes alone: the encoder begins with nothing")
    mean, components = principal_components(
        data.outlines.numpy().astype(np.float64), settings.model.shape_size
    )
    model.lip_shape.mean.copy_(torch.from_numpy(mean))
    model.lip_shape.components.copy_(torch.from_numpy(components))
    if model.encoder.scores is not None:
        some = data.times[:: max(1, len(data.times) // 1000)]
        windows = mel_windows(data.mel, some, window_offsets(settings.model))
        model.encoder.scores.learn(read_recogniser(find_recogniser()), windows)
    with torch.no_grad():
        model.lip_field.mean.copy_(
            torch.stack([p.float() for p in data.patches[:: max(1, len(data.patches) // 500)]]).mean(0) / 255
        )
    return model


def _pretrained(settings: TrainSettings) -> PretrainedEncoder | None:
    name = pretrained_name(settings.model.speech)
    return None if name is None else load_pretrained(name, download=True)


def _hear_with(
    encoder: PretrainedEncoder,
    model: LipModel,
    data: TrainingSet,
    settings: TrainSettings,
    part: Path,
    say: Say,
) -> None:
    """Let the pretrained encoder hear the takes; this time does not count as training."""
    assert model.encoder.pretrained is not None
    began = time.monotonic()
    projection = hear_takes(data, encoder, seed=settings.seed, cache=part / "heard.safetensors")
    model.encoder.pretrained.load_state_dict(projection.state_dict())
    say(f"{settings.model.speech} heard the takes in {time.monotonic() - began:.0f} s")


def _key(footage: Footage, settings: TrainSettings, encoder: PretrainedEncoder | None) -> str:
    """Name what is trained on what: a saved state of another key is not taken up."""
    plain = to_plain(settings)
    for name in ("minutes", "save_seconds", "device", "precision", "base_seconds"):
        plain.pop(name)
    takes = [(take.name, len(take.times)) for take in footage.takes]
    known = [plain, takes, canonical_plain(footage.canonical)]
    if settings.ear != NO_EAR:
        known.append(ear_fingerprint())
    if encoder is not None:
        known.append(encoder.fingerprint.hex())
    text = json.dumps(known, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _turned_away(footage: Footage, ranges: Ranges) -> int:
    allowed = sum(int(trainable(take, ranges).sum()) for take in footage.takes)
    return allowed - sum(int(flags.sum()) for flags in usable(footage, ranges).values())


def _held_seconds(footage: Footage, ranges: Ranges) -> float:
    return sum(
        (ranges[t.name][1] - ranges[t.name][0]) / float(t.fps) for t in footage.takes if t.name in ranges
    )


def _about(
    footage: Footage,
    settings: TrainSettings,
    ranges: Ranges,
    data: TrainingSet,
    state: Progressed,
    device: str,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": speech2lip.__version__,
        "model": to_plain(settings.model),
        "settings": to_plain(settings),
        "canonical": canonical_plain(footage.canonical),
        "focal": footage.settings.focal,
        "usual_light": usual_light(footage.takes).tolist(),
        "footage": footage.folder.name,
        "takes": [take.name for take in footage.takes],
        "held_out": {name: list(span) for name, span in ranges.items()},
        "seconds_footage": round(data.seconds, 2),
        "seconds_trained": round(state.seconds, 1),
        "precision": state.precision,
        "device": device,
        "history": state.history,
        "bases": [],
    }


def _write_avatar(
    folder: Path,
    model: LipModel,
    footage: Footage,
    about: dict[str, Any],
    settings: TrainSettings,
    ranges: Ranges,
) -> None:
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "weights.safetensors",
    )
    save_arrays(canonical_tensors(footage.canonical), folder / "canonical.safetensors")
    about["bases"] = _write_bases(folder / "base", footage, settings.base_seconds)
    write_json(folder / "avatar.json", about)


def _write_bases(folder: Path, footage: Footage, seconds: float) -> list[str]:
    """Write the longest unbroken runs of good frames that can be spoken over, one a take, until they last
    long enough; the longest first. Where no frame can be spoken over, good ones must do.
    """
    surface, runs = region_surface(footage.canonical), []
    good = {take.name: take.left_out == 0 for take in footage.takes}
    borne = {take.name: good[take.name] & surface.bears(take.camera_from_head) for take in footage.takes}
    flags = borne if any(found.any() for found in borne.values()) else good
    for take in footage.takes:
        spans = runs_within_shots(flags[take.name], take.shot)
        if spans:
            start, stop = max(spans, key=lambda span: span[1] - span[0])
            runs.append((take, start, min(stop, start + max(1, round(seconds * float(take.fps))))))
    runs.sort(key=lambda run: (run[1] - run[2]) / float(run[0].fps))
    usual, names, used = usual_light(footage.takes), [], 0.0
    for take, start, stop in runs:
        if used >= seconds:
            break
        _write_base(folder / take.name, take, start, stop, usual)
        names.append(take.name)
        used += (stop - start) / float(take.fps)
    return names


def _write_base(folder: Path, take: Take, start: int, stop: int, usual: Any) -> None:
    folder.mkdir(parents=True)
    if (start, stop) == (0, len(take.times)):
        shutil.copyfile(take.picture_path, folder / "picture.mp4")
    else:
        with VideoWriter(
            folder / "picture.mp4", width=take.width, height=take.height, fps=take.fps, quality_crf=14
        ) as writer:
            for frame in take.frames(start, stop):
                writer.write(frame.rgb, time=frame.time - take.times[start])
    write_json(folder / "take.json", {"width": take.width, "height": take.height, "fps": str(take.fps)})
    save_arrays(
        {
            "times": take.times[start:stop] - take.times[start],
            "camera_from_head": take.camera_from_head[start:stop],
            "light": light_gain(take.light[start:stop], usual),
            "eyes": eye_opening(take.landmarks[start:stop]),
        },
        folder / "track.safetensors",
    )
