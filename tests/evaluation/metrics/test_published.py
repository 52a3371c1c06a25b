"""LPIPS and SyncNet: names, refusals, what distances and scores must do; without their public weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter

from speech2lip.errors import SettingsError
from speech2lip.evaluation.accumulate import Moment
from speech2lip.evaluation.metrics.published import (
    Lpips,
    LpipsObserver,
    SyncNet,
    as_tensor,
    encode_faces,
    encode_sounds,
    face_crop,
    face_squares,
    load_lpips,
    load_syncnet,
    mfcc,
    offset_distances,
    score_distances,
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_encoders_give_1024_numbers() -> None:
    expert = SyncNet().eval()
    with torch.inference_mode():
        assert expert.encode_sound(torch.zeros(2, 1, 13, 20)).shape == (2, 1024)
        assert expert.encode_face(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)


def test_tensors_have_the_public_names() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in SyncNet().state_dict().items()}
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnaud.5.running_mean"] == (192,)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.bias"] == (1024,)


def test_weights_come_from_safetensors_alone(tmp_path: Path) -> None:
    written = SyncNet()
    save_file(written.state_dict(), tmp_path / "expert.safetensors")
    read = load_syncnet(tmp_path / "expert.safetensors")
    assert not read.training
    assert torch.equal(read.state_dict()["netfclip.3.weight"], written.state_dict()["netfclip.3.weight"])
    with pytest.raises(SettingsError, match="no SyncNet weights"):
        load_syncnet(tmp_path / "missing.safetensors")
    (tmp_path / "pickle.model").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(SettingsError, match="safetensors"):
        load_syncnet(tmp_path / "pickle.model")
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(SettingsError, match="syncnet_v2"):
        load_syncnet(tmp_path / "other.safetensors")


@pytest.mark.parametrize("late", [-6, 0, 4])
def test_late_sound_is_positive(late: int, random: np.random.Generator) -> None:
    codes = random.normal(size=(120, 16))
    score = score_distances(offset_distances(codes[20:100], codes[20 - late : 100 - late]))
    assert score.offset_frames == late
    assert score.confidence > 3
    assert score.distance < 1.5


def test_swapped_sound_has_low_confidence(random: np.random.Generator) -> None:
    score = score_distances(offset_distances(random.normal(size=(80, 16)), random.normal(size=(80, 16))))
    assert score.confidence < 1


def test_score_of_a_clip_runs(random: np.random.Generator) -> None:
    torch.manual_seed(0)
    expert = SyncNet().eval()
    windows = random.integers(0, 256, (3, 5, 224, 224, 3)).astype(np.uint8)
    sounds = encode_sounds(expert, random.normal(0, 0.1, 6400).astype(np.float32), 3, batch=2)
    score = score_distances(offset_distances(encode_faces(expert, windows), sounds))
    assert -15 <= score.offset_frames <= 15
    assert np.isfinite([score.distance, score.confidence]).all()


def test_mfcc_of_a_tone() -> None:
    t = np.arange(16000) / 16000
    cepstra = mfcc((0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32))
    assert cepstra.shape == (13, 99)
    assert np.allclose(cepstra[:, 20], cepstra[:, 60], atol=0.5)
    louder = mfcc((np.sin(2 * np.pi * 440 * t)).astype(np.float32))
    assert louder[0, 50] - cepstra[0, 50] == pytest.approx(np.log(4), abs=1e-3)
    assert np.allclose(louder[1:, 50], cepstra[1:, 50], atol=1e-3)  # loudness is in the first number alone


def made_metric() -> Lpips:
    """Return a metric with random features and heads that are positive, as the public ones are."""
    torch.manual_seed(0)
    metric = Lpips().eval().requires_grad_(False)
    for name, value in metric.named_parameters():
        if name.startswith("lin"):
            value.abs_()
    return metric


def picture() -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(64, 80, 3)), (2, 2, 0))
    return np.clip(128 + 300 * noise, 0, 255).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    metric = made_metric()
    return float(metric.between(metric.describe(as_tensor([a])), metric.describe(as_tensor([b])))[0])


def test_lpips_tensors_have_the_public_names() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in Lpips().state_dict().items()}
    assert shapes["features.0.weight"] == (64, 3, 11, 11)
    assert shapes["features.3.bias"] == (192,)
    assert shapes["features.6.weight"] == (384, 192, 3, 3)
    assert shapes["features.10.weight"] == (
        256,
        256,
        3,
        3,
    )
    assert shapes["lin0.model.1.weight"] == (1, 64, 1, 1)
    assert shapes["lin4.model.1.weight"] == (1, 256, 1, 1)
    assert len(shapes) == 15


def test_equal_pictures_have_no_distance_and_order_does_not_matter() -> None:
    a, b = picture(), picture()[::-1].copy()
    assert distance(a, a) == pytest.approx(0, abs=1e-6)
    assert distance(a, b) > 0.01
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-5)


def test_distance_grows_with_blur_and_with_noise() -> None:
    a = picture()
    blurred = [distance(a, gaussian_filter(a, (sigma, sigma, 0))) for sigma in (1, 2, 4)]
    random = np.random.default_rng(1).normal(size=a.shape)
    noisy = [distance(a, np.clip(a + level * random, 0, 255).astype(np.uint8)) for level in (4, 12, 36)]
    assert 0 < blurred[0] < blurred[1] < blurred[2]
    assert 0 < noisy[0] < noisy[1] < noisy[2]


def test_the_published_sum_by_hand() -> None:
    """Each layer: places scaled to length 1, squared differences weighted by channel, mean over places."""
    metric = made_metric()
    a, b = as_tensor([picture()]), as_tensor([picture()[:, ::-1].copy()])
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    total, sides = 0.0, [(x - shift[:, None, None]) / scale[:, None, None] for x in (a, b)]
    ends = (2, 5, 8, 10, 12)
    for number, (start, end) in enumerate(zip((0, *ends), ends, strict=False)):
        sides = [metric.features[start:end](x) for x in sides]
        x, y = (torch.nn.functional.normalize(side, dim=1) for side in sides)
        weight = metric.get_parameter(f"lin{number}.model.1.weight")[0]
        total += float(((x - y) ** 2 * weight).sum(dim=1).mean())
    assert float(metric.between(metric.describe(a), metric.describe(b))[0]) == pytest.approx(total, rel=1e-4)


def test_lpips_weights_come_from_safetensors_alone(tmp_path: Path) -> None:
    held = made_metric().state_dict()
    save_file(held | {"classifier.1.bias": torch.zeros(3)}, tmp_path / "lpips.safetensors")
    read = load_lpips(tmp_path / "lpips.safetensors")
    assert not read.training
    assert all(torch.equal(value, held[name]) for name, value in read.state_dict().items())
    with pytest.raises(SettingsError, match="no LPIPS weights"):
        load_lpips(tmp_path / "missing.safetensors")
    (tmp_path / "alex.pth").write_bytes(b"\x80\x02}q\x00.")
    wrong_shape = load_file(tmp_path / "lpips.safetensors") | {"lin0.model.1.weight": torch.zeros(1, 3, 1, 1)}
    save_file(wrong_shape, tmp_path / "shape.safetensors")
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    for name in ("alex.pth", "shape.safetensors", "other.safetensors"):
        with pytest.raises(SettingsError, match=r"docs/metrics\.md") as refused:
            load_lpips(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_rows_of_a_table() -> None:

    real, box = picture(), (0, 0, 8, 8)
    moment = Moment(0, 0.0, real, box, np.zeros((478, 3), np.float32), box, np.ones((8, 8), np.float32))
    rows = {"real_video": real, "ours": gaussian_filter(real, (1, 1, 0)), "static_lips": real[::-1].copy()}
    observer = LpipsObserver(made_metric(), rows)
    assert observer.figures()["ours"] == {"lpips": None}
    for _ in range(2):
        observer.frame(moment, rows, {})
    figures = {name: row["lpips"] for name, row in observer.figures().items()}
    assert figures["real_video"] == pytest.approx(0, abs=1e-6)
    assert figures["ours"] == pytest.approx(distance(real, rows["ours"]), rel=1e-3)
    assert figures["static_lips"] == pytest.approx(distance(real, rows["static_lips"]), rel=1e-3)


def test_square_around_the_mesh() -> None:
    points = np.full((20, 478, 2), 100.0)
    points[:, 1], points[:, 2] = (60, 50), (140, 150)  # 80 wide, 100 high, middle (100, 100)
    points[4] = np.nan
    squares = face_squares(points)
    assert squares == pytest.approx(np.tile([100 - 70, 50, 140], (20, 1)))
    with pytest.raises(AssertionError, match="face"):
        face_squares(np.full((3, 478, 2), np.nan))


def test_crop_at_its_own_size_is_a_cut() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert np.array_equal(face_crop(frame, np.array([10.0, 5.0, 20.0]), side=20), frame[5:25, 10:30])


def test_halving_keeps_the_place_and_outside_is_grey() -> None:
    ramp = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (100, 1, 3))
    crop = face_crop(ramp, np.array([20.0, 20.0, 40.0]), side=20)
    assert crop[0, :, 0] == pytest.approx(2 * (20 + 2 * np.arange(20) + 0.5), abs=1)
    assert (face_crop(ramp, np.array([-90.0, -90.0, 50.0]), side=10) == 110).all()
