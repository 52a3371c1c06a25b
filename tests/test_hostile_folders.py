"""Whatever is wrong in an avatar or footage folder, it is read and used, or refused in one line."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file

from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.decomposition.footage import read_footage
from speech2lip.decomposition.overview import look_over
from speech2lip.errors import AvatarError, FootageError, SettingsError, Speech2LipError
from speech2lip.head_track import HeadTrack
from speech2lip.inference.speak import speak
from tests.hostile import flipped, hostile_texts

DATA = Path(__file__).parent / "data" / "version_1"
SPEAKING = SpeakSettings(device="cpu", precision="fp32")
Use = Callable[[Path], object]


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "presenter.avatar", tmp_path / "a.avatar"))


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "presenter.footage", tmp_path / "a.footage"))


def _use_footage(folder: Path) -> None:
    footage = read_footage(folder)
    for take in footage.takes:
        assert np.isfinite(HeadTrack.of_take(take, footage.canonical, np.ones(3, np.float32)).pose).all()
        assert len(take.lip_opening) == len(take.times) == len(take.shot)


def _speak(folder: Path) -> None:
    sound = folder.parent / "words.wav"
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 1600).astype(np.float32), 16_000)
    output = folder.parent / "spoken.mp4"
    speak(sound, avatar=folder, output=output, settings=SPEAKING, overwrite=True)


def _is_told(use: Use, folder: Path, wrong: str) -> bool:
    """Use a folder; tell whether it was refused, which must be in one line that is not too long."""
    try:
        use(folder)
    except Speech2LipError as error:
        line = str(error)
    except Exception as error:
        raise AssertionError(f"{wrong}: {type(error).__name__} {error}") from error
    else:
        return False
    assert "\n" not in line, wrong
    assert len(line) < 800, wrong
    return True


def _sweep_json(folder: Path, use: Use, *, of: int, seed: int = 0) -> int:
    """Use a folder with `of` things wrong in its JSON, one at a time; return how many were refused."""
    wrong = [(path, *one) for path in sorted(folder.rglob("*.json")) for one in hostile_texts(path)]
    refused = 0
    for path, told, text in random.Random(seed).sample(wrong, min(of, len(wrong))):
        kept = path.read_bytes()
        path.write_bytes(text.encode())
        refused += _is_told(use, folder, told)
        path.write_bytes(kept)
    return refused


def _sweep_arrays(folder: Path, use: Use, *, each: int) -> int:
    """Use a folder with bytes of its array files flipped, `each` times a file; count what was refused."""
    refused = 0
    for path in sorted(folder.rglob("*.safetensors")):
        kept = path.read_bytes()
        for seed in range(each):
            path.write_bytes(flipped(kept, seed))
            refused += _is_told(use, folder, f"{path.name}, seed {seed}")
        path.write_bytes(kept)
    return refused


def test_wrong_json_of_an_avatar_is_one_line_or_harmless(avatar: Path) -> None:
    assert _sweep_json(avatar, read_avatar, of=40) > 12


def test_wrong_json_of_footage_is_one_line_or_harmless(footage: Path) -> None:
    assert _sweep_json(footage, _use_footage, of=150) > 75


def test_flipped_bytes_of_an_avatar_are_one_line_or_harmless(avatar: Path) -> None:
    assert _sweep_arrays(avatar, read_avatar, each=6) > 8


def test_flipped_bytes_of_footage_are_one_line_or_harmless(footage: Path) -> None:
    assert _sweep_arrays(footage, _use_footage, each=15) > 40


def test_what_loads_speaks(avatar: Path) -> None:
    _sweep_json(avatar, _speak, of=6, seed=1)
    _sweep_arrays(avatar, _speak, each=1)


@pytest.mark.slow
def test_much_that_may_be_wrong_with_an_avatar(avatar: Path) -> None:
    _sweep_json(avatar, read_avatar, of=1000, seed=2)
    _sweep_arrays(avatar, read_avatar, each=60)
    _sweep_json(avatar, _speak, of=60, seed=3)
    _sweep_arrays(avatar, _speak, each=15)


@pytest.mark.slow
def test_everything_that_may_be_wrong_with_footage(footage: Path) -> None:
    def look(folder: Path) -> None:
        look_over(read_footage(folder)).lines()

    _sweep_json(footage, _use_footage, of=100_000)
    _sweep_arrays(footage, _use_footage, each=300)
    _sweep_json(footage, look, of=150, seed=2)
    _sweep_arrays(footage, look, each=40)


@pytest.mark.parametrize("value", [None, "160", 0, -160, 160.5, 10**9, [160]])
@pytest.mark.parametrize("name", ["width", "height"])
def test_a_size_that_is_none_is_told(avatar: Path, name: str, value: Any) -> None:
    path = avatar / "base" / "a" / "take.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(AvatarError, match=f"take.json is damaged: {name} must be a whole number from 16"):
        read_avatar(avatar)


def test_a_size_that_is_not_the_pictures_is_told(avatar: Path) -> None:
    path = avatar / "base" / "a" / "take.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"width": 320}))
    with pytest.raises(AvatarError, match=r"it is 160 x 160 pixels, where take.json says 320 x 160"):
        read_avatar(avatar)


def test_fewer_frames_than_the_track_has_are_told(avatar: Path) -> None:
    shutil.copyfile(avatar / "base/b/picture.mp4", avatar / "base/a/picture.mp4")
    with pytest.raises(AvatarError, match=r"it holds 22 frames, where track.safetensors has 28"):
        read_avatar(avatar)


def test_a_base_video_cut_short_is_told(avatar: Path) -> None:
    for path in avatar.glob("base/*/picture.mp4"):
        for share in (0.3, 0.6, 0.9):
            kept = path.read_bytes()
            path.write_bytes(kept[: round(share * len(kept))])
            _is_told(_speak, avatar, f"{path} cut to {share:.0%}")
            path.write_bytes(kept)


def test_numbers_that_are_not_finite_in_the_networks_are_told(avatar: Path) -> None:
    path = avatar / "weights.safetensors"
    weights = load_file(path)
    weights["lip_shape.mean"][3] = np.nan
    save_file(weights, path)
    with pytest.raises(AvatarError, match=r"lip_shape\.mean\[3\] must be a number from .*, not nan"):
        read_avatar(avatar)


@pytest.mark.parametrize(
    ("name", "value"), [("encoder_width", 1024), ("code_size", 4096), ("blend_width", 256)]
)
def test_no_room_is_made_for_networks_that_the_file_does_not_hold(
    avatar: Path, name: str, value: int
) -> None:
    """The largest that settings allow would be gigabytes."""
    path = avatar / "avatar.json"
    plain = json.loads(path.read_text())
    plain["model"] |= {name: value, "past_seconds": 5.0}
    path.write_text(json.dumps(plain))
    before = _most_memory()
    with pytest.raises(AvatarError, match=r"weights.safetensors is damaged: .* must be float32 .*, not F32"):
        read_avatar(avatar)
    assert _most_memory() - before < 100e6


def _most_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_landmarks_that_swell_are_told_before_they_do(footage: Path) -> None:
    path = footage / "takes" / "a" / "track.safetensors"
    track = load_file(path)
    swelling = np.frombuffer(zlib.compress(bytes(200_000_000), 9), np.uint8)
    track |= {"landmarks": swelling, "landmark_blocks": np.array([0, len(swelling)])}
    save_file(track, path)
    take = read_footage(footage).takes[0]
    tracemalloc.start()
    with pytest.raises(FootageError, match="landmarks do not unpack to those of 28 frames"):
        take.landmarks[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(swelling) < 200_000
    assert peak < 5e6


@pytest.mark.parametrize("name", ["../b", "/etc", "a/../b", "."])
def test_names_lead_nowhere_else(avatar: Path, footage: Path, name: str) -> None:
    for folder, file, listed, error in (
        (avatar, "avatar.json", "bases", AvatarError),
        (footage, "footage.json", "takes", FootageError),
    ):
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {listed: [name]}))
        with pytest.raises(error, match="must be the plain name of a folder"):
            read_avatar(folder) if folder == avatar else read_footage(folder)


def test_links_are_not_followed(avatar: Path, footage: Path, tmp_path: Path) -> None:
    for folder, names in (
        (avatar, ("base/a/picture.mp4", "base/a/take.json", "base/a", "weights.safetensors", "avatar.json")),
        (footage, ("takes/a/picture.mp4", "takes/a/sound.flac", "takes/a", "canonical.safetensors")),
    ):
        for name in names:
            path, outside = folder / name, tmp_path / "outside"
            path.rename(outside)
            path.symlink_to(outside)
            with pytest.raises(Speech2LipError, match=f"{path} is a link"):
                read_avatar(folder) if folder == avatar else read_footage(folder)
            path.unlink()
            outside.rename(path)


def test_a_pipe_does_not_hang(avatar: Path) -> None:
    (avatar / "base/a/track.safetensors").unlink()
    os.mkfifo(avatar / "base/a/track.safetensors")
    with pytest.raises(AvatarError, match="must be a file"):
        read_avatar(avatar)


def test_a_start_beyond_the_base_take_is_told(avatar: Path) -> None:
    base = read_avatar(avatar).bases[0]
    assert base.frame_at(1.0) == 25
    with pytest.raises(SettingsError, match=r"--start 99 lies beyond the base video 'a': give 0 to 1\.08"):
        base.frame_at(99)
