"""A player made of NumPy, ONNX Runtime and what an export holds shows what the engine shows."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

import speech2lip
from speech2lip.avatar import Avatar, read_avatar
from speech2lip.errors import AvatarError, MissingExtra, OutputError
from speech2lip.inference.engine import Engine
from speech2lip.inference.export import convolved_mel
from speech2lip.synthesis.speech import log_mel, mel_windows
from tests.made_face import made_avatar
from tests.reference.composition.paste import patch_uv
from tests.reference.inference.renderer import PlainRenderer

Array = np.ndarray[Any, Any]


def _avatar(folder: Path) -> Path:
    made_avatar(folder, frames=6)
    person = read_avatar(folder)
    model: Any = person.model
    field = model.lip_field
    for weight, spread in (
        (field.colour[-1].weight, 0.5),
        (field.flow.weight, 0.05),
        (model.blend_net.out.weight, 0.1),
    ):
        torch.nn.init.normal_(weight, std=spread)
    save_file(person.model.state_dict(), folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'speech2lip[onnx]'")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'speech2lip[onnx]'")
    place = tmp_path_factory.mktemp("export")
    avatar = _avatar(place / "a.avatar")
    return avatar, speech2lip.export(avatar, onnx=place / "a.onnx")


class Player:
    """Runs the graphs of an export."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.tables = load_file(folder / "tables.safetensors")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.sessions = {
            name: onnxruntime.InferenceSession(folder / graph["file"], options, ["CPUExecutionProvider"])
            for name, graph in self.manifest["graphs"].items()
        }

    def run(self, name: str, **inputs: Array) -> list[Array]:
        """Run a graph on named inputs."""
        assert set(inputs) == set(self.manifest["graphs"][name]["inputs"])
        return self.sessions[name].run(None, {key: np.float32(value) for key, value in inputs.items()})

    def show(
        self, rgb: Array, wave: Array, moment: float, base: str, index: int, box: tuple[int, int, int, int]
    ) -> Array:
        """Follow the manifest's steps for one picture [H, W, 3] in [0, 1]; the box is the region."""
        constants, track = (
            self.manifest["constants"],
            {name.split("/")[1]: table for name, table in self.tables.items() if name.startswith(f"{base}/")},
        )
        mel = self.run("mel", wave=wave[None])[0]
        frames = np.round(moment * constants["mel_rate"]).astype(int) + self.tables["window_offsets"]
        inside = (frames >= 0) & (frames < mel.shape[1])
        windows = np.where(inside, mel[:, frames.clip(0, mel.shape[1] - 1)], constants["silent_mel"])
        code, shape = self.run("listen", windows=windows[None])
        (grid,) = self.run("grid", code=code, shape=shape, pose=track["pose"][index : index + 1])
        x0, y0, x1, y1 = box
        x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
        uv, mask = self.run(
            "map",
            pixels=np.stack([x, y], axis=-1).reshape(1, -1, 2),
            observed_from_canonical=track["observed_from_canonical"][index : index + 1],
            canonical_from_observed=track["canonical_from_observed"][index : index + 1],
            k_observed=track["k_observed"],
        )
        light = track["light"][index][None, :, None]
        lips, reference = (part * light for part in self.run("read", grid=grid, uv=uv))
        size = (1, -1, y1 - y0, x1 - x0)
        crop = rgb[y0:y1, x0:x1].transpose(2, 0, 1)[None]
        mask = mask.reshape(size)
        pasted = crop + (lips.reshape(size) - crop) * mask
        small = [_resized(part, constants["crop_size"]) for part in (pasted, mask, reference.reshape(size))]
        (residual,) = self.run("blend", pasted=small[0], mask=small[1], reference=small[2])
        pasted = pasted + _resized(residual, size[2:]) * (mask > 0)
        shown = rgb.copy()
        shown[y0:y1, x0:x1] = np.where(
            mask[0, 0][..., None] > 0, pasted[0].transpose(1, 2, 0), shown[y0:y1, x0:x1]
        )
        return shown.clip(0, 1)


def _resized(picture: Array, size: Any) -> Array:
    found = torch.nn.functional.interpolate(
        torch.from_numpy(np.float32(picture)), size=tuple(size), mode="bilinear", antialias=True
    )
    return found.numpy()


def test_a_player_without_torch_shows_what_the_engine_shows(exported: tuple[Path, Path]) -> None:
    avatar, folder = exported
    person: Avatar = read_avatar(avatar)
    engine = Engine(person, device="cpu", precision="fp32")
    player = Player(folder)
    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    base = person.bases[0]
    for index, frame in enumerate(base.frames(0, 3)):
        head = base.head[index]
        spoken = engine.encode_speech(log_mel(torch.from_numpy(wave)), [0.4 + 0.2 * index])
        truth = PlainRenderer(engine).speak([frame.rgb], head, spoken)[0]
        box = engine.paster.regions(head, (base.height, base.width))[0]
        shown = player.show(frame.rgb / 255, wave, 0.4 + 0.2 * index, base.name, index, box)
        error = ((shown * 255 - truth)[box[1] : box[3], box[0] : box[2]] ** 2).mean()
        assert (truth != frame.rgb).any(axis=-1).sum() > 500
        assert 10 * np.log10(255**2 / error) > 45


def test_every_graph_gives_the_numbers_of_the_reference(exported: tuple[Path, Path]) -> None:
    avatar, folder = exported
    person = read_avatar(avatar)
    engine = Engine(person, device="cpu", precision="fp32")
    player = Player(folder)
    random = np.random.default_rng(1)
    wave = random.normal(0, 0.1, 9_000).astype(np.float32)
    mel = log_mel(torch.from_numpy(wave))
    assert np.abs(player.run("mel", wave=wave[None])[0] - mel.numpy()).max() < 1e-3
    windows = mel_windows(mel, torch.tensor([0.2, 0.3, 0.4], dtype=torch.float64), engine.offsets)
    code, shape = player.run("listen", windows=windows.numpy())
    spoken = engine.encode_speech(mel, [0.2, 0.3, 0.4])
    assert np.abs(code - spoken.code.numpy()).max() < 1e-3
    assert np.abs(shape - spoken.shape.numpy()).max() < 1e-3
    pose = random.normal(0, 0.5, (3, 6)).astype(np.float32)
    with torch.inference_mode():
        field: Any = person.model.lip_field
        grid = field.grid(spoken.code, spoken.shape, torch.from_numpy(pose))
        uv = random.uniform(-0.1, 1.1, (1, 77, 2)).astype(np.float32)
        lips = field.read(grid[1:2], torch.from_numpy(uv))
    (found,) = player.run("grid", code=code[1:2], shape=shape[1:2], pose=pose[1:2])
    assert np.abs(found - grid[1:2].numpy()).max() < 1e-3
    assert np.abs(player.run("read", grid=found, uv=uv)[0] - lips.numpy()).max() < 1e-3
    head = person.bases[0].head[3]
    box = engine.paster.regions(head, (160, 192))[0]
    truth = patch_uv(engine.paster, head, box).reshape(1, -1, 2)
    x, y = np.meshgrid(np.arange(box[0], box[2]) + 0.5, np.arange(box[1], box[3]) + 0.5)
    track = {
        name: player.tables[f"base/{name}"] for name in ("observed_from_canonical", "canonical_from_observed")
    }
    uv, mask = player.run(
        "map",
        pixels=np.stack([x, y], -1).reshape(1, -1, 2),
        k_observed=player.tables["base/k_observed"],
        **{name: table[3:4] for name, table in track.items()},
    )
    expected = engine.paster.warp_mask(truth)[0, 0]
    assert np.abs(uv - truth.numpy())[:, expected.numpy() > 0].max() < 1e-3
    assert np.abs(mask[0, 0] - expected.numpy()).max() < 0.02


def test_manifest_tells_shapes_units_and_constants(exported: tuple[Path, Path]) -> None:
    avatar, folder = exported
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["graphs"]) == ["mel", "listen", "grid", "map", "read", "blend"]
    tables = load_file(folder / "tables.safetensors")
    assert set(manifest["tables"]) == set(tables)
    assert all(told["shape"] == list(tables[name].shape) for name, told in manifest["tables"].items())
    assert all(told["unit"] for told in manifest["tables"].values())
    assert manifest["constants"]["sample_rate"] == 16_000
    assert (folder / manifest["bases"][0]["file"]).read_bytes() == (
        avatar / "base/base/picture.mp4"
    ).read_bytes()


def test_the_spectrum_as_a_convolution() -> None:
    wave = torch.randn(12_345, generator=torch.Generator().manual_seed(0)) * 0.1
    assert (convolved_mel()(wave[None]) - log_mel(wave)).abs().max() < 1e-3
    assert (convolved_mel()(torch.zeros(1, 4000)) - log_mel(torch.zeros(4000))).abs().max() < 1e-4


def test_a_folder_that_is_no_export_is_left_alone(exported: tuple[Path, Path], tmp_path: Path) -> None:
    avatar, _ = exported
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "wedding.mp4").write_bytes(b"film")
    with pytest.raises(OutputError, match="left alone"):
        speech2lip.export(avatar, onnx=tmp_path / "films", overwrite=True)
    assert (tmp_path / "films" / "wedding.mp4").read_bytes() == b"film"


def test_what_was_put_beside_an_export_is_not_lost(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    avatar, folder = exported
    shutil.copytree(folder, tmp_path / "a.onnx")
    (tmp_path / "a.onnx" / "wedding.mp4").write_bytes(b"film")
    with pytest.raises(OutputError, match=r"wedding\.mp4"):
        speech2lip.export(avatar, onnx=tmp_path / "a.onnx", overwrite=True)
    assert (tmp_path / "a.onnx" / "wedding.mp4").is_file()


def test_an_older_export_stays_until_the_new_one_is_whole(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    avatar, folder = exported
    shutil.copytree(folder, tmp_path / "a.onnx")
    before = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "a.onnx").iterdir())

    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("speech2lip.inference.export.shutil.copyfile", full)
    with pytest.raises(OutputError, match="No room left"):
        speech2lip.export(avatar, onnx=tmp_path / "a.onnx", overwrite=True)
    after = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "a.onnx").iterdir())
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_an_older_export_is_replaced(exported: tuple[Path, Path], tmp_path: Path) -> None:
    avatar, folder = exported
    shutil.copytree(folder, tmp_path / "a.onnx")
    (tmp_path / "a.onnx" / "mel.onnx").write_bytes(b"old")
    speech2lip.export(str(avatar), onnx=str(tmp_path / "a.onnx"), overwrite=True)
    assert (tmp_path / "a.onnx" / "mel.onnx").read_bytes() == (folder / "mel.onnx").read_bytes()


def test_what_cannot_be_exported_is_one_line(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    avatar, folder = exported
    with pytest.raises(OutputError, match="exists"):
        speech2lip.export(avatar, onnx=folder)
    with pytest.raises(AvatarError, match="no avatar"):
        speech2lip.export(tmp_path / "none", onnx=tmp_path / "o")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match="pip install"):
        speech2lip.export(avatar, onnx=tmp_path / "o")
    assert not list(tmp_path.iterdir())
