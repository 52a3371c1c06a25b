"""LPIPS: names, refusals and what a distance must do; without its public weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter

from speech2lip.errors import SettingsError
from speech2lip.evaluation.metrics.lpips import Lpips, as_tensor, load_lpips
from tests.evaluation.made_footage import made_take


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
    return float(made_metric()(as_tensor([a]), as_tensor([b]))[0])


def test_tensors_have_the_public_names() -> None:
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
    assert float(metric(a, b)[0]) == pytest.approx(total, rel=1e-4)


def test_weights_come_from_safetensors_alone(tmp_path: Path) -> None:
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
    from speech2lip.evaluation.accumulate import Moment
    from speech2lip.evaluation.held_out import Span
    from speech2lip.evaluation.metrics.lpips import Likeness

    real, box = picture(), (0, 0, 8, 8)
    moment = Moment(0.0, real, box, np.zeros((478, 3), np.float32), box, np.ones((8, 8), np.float32))
    span = Span(made_take("a"), 0, 1)
    rows = {"real_video": real, "ours": gaussian_filter(real, (1, 1, 0)), "static_lips": real[::-1].copy()}
    watcher = Likeness(made_metric(), rows)
    assert watcher.figures()["ours"] == {"lpips": None}
    for _ in range(2):
        watcher.frame(span, 0, moment, rows, {})
    figures = {name: row["lpips"] for name, row in watcher.figures().items()}
    assert figures["real_video"] == pytest.approx(0, abs=1e-6)
    assert figures["ours"] == pytest.approx(distance(real, rows["ours"]), rel=1e-3)
    assert figures["static_lips"] == pytest.approx(distance(real, rows["static_lips"]), rel=1e-3)
