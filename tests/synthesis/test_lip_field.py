import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from speech2lip.config import ModelSettings
from speech2lip.decomposition.canonical import LipPatch
from speech2lip.geometry.mapping import sample
from speech2lip.synthesis.lip_field import POSE_SIZE, LipField, LipShape, _look_up_one

SETTINGS = ModelSettings()
SIZE = (96, 128)


def _uv(scale: int = 1) -> torch.Tensor:
    points = LipPatch((0.0, 0.0, 1.0, 1.0), SIZE).points(scale)
    return torch.from_numpy(points)[None]


def _speech(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(batch, n, generator=random) for n in (SETTINGS.code_size, SETTINGS.shape_size, POSE_SIZE)
    )  # type: ignore[return-value]


@pytest.fixture
def field() -> LipField:
    torch.manual_seed(0)
    field = LipField(SETTINGS, SIZE)
    torch.nn.init.normal_(field.get_parameter("colour.4.weight"), std=0.3)
    torch.nn.init.normal_(field.flow.weight, std=0.02)
    return field


def test_untrained_it_draws_the_mean() -> None:
    field = LipField(SETTINGS, SIZE)
    with torch.no_grad():
        field.mean.copy_(torch.rand(1, 3, *SIZE))
        drawn = field(*_speech(), _uv())
    assert torch.allclose(drawn, field.mean, atol=1e-5)


def test_any_points_in_any_arrangement(field: LipField) -> None:
    speech = _speech(2)
    points = torch.rand(2, 5, 7, 2)
    drawn = field(*speech, points)
    assert drawn.shape == (2, 3, 5, 7)
    flat = field(*speech, points.reshape(2, 35, 2))
    assert torch.allclose(drawn.reshape(2, 3, 35), flat, atol=1e-5)


def test_drawn_twice_as_fine_and_reduced_it_is_the_same_patch(field: LipField) -> None:
    with torch.no_grad():
        speech = _speech()
        coarse, fine = field(*speech, _uv()), functional.avg_pool2d(field(*speech, _uv(2)), 2)
        # An untrained texture is noise; what is compared is the part that varies smoothly, as a trained one
        # does.
        coarse, fine = (functional.avg_pool2d(p, 4) for p in (coarse, fine))
    assert coarse.std() > 0.01
    assert (coarse - fine).abs().mean() < 0.1 * coarse.std()


def test_speech_changes_the_picture(field: LipField) -> None:
    one, other = field(*_speech(2), _uv().expand(2, -1, -1, -1))
    assert (one - other).abs().mean() > 1e-3


def test_half_a_gigaflop_for_a_patch(field: LipField) -> None:
    with FlopCounterMode(display=False) as counter:
        field(*_speech(), _uv())
    assert 0.05e9 < counter.get_total_flops() <= 0.5e9


def test_every_weight_learns(field: LipField) -> None:
    field(*_speech(2), torch.rand(2, 50, 2)).square().mean().backward()
    assert [
        name for name, p in field.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ] == []


def test_outline_and_shape_are_each_others_inverse() -> None:
    random = torch.Generator().manual_seed(0)
    outlines = torch.randn(200, 4, generator=random) @ torch.randn(4, 30, generator=random) + 3
    shape = LipShape(ModelSettings(shape_size=4), 30)
    shape.learn(outlines)
    numbers = shape.from_outline(outlines)
    assert torch.allclose(shape.outline(numbers), outlines, atol=1e-3)
    assert torch.allclose(numbers.std(0), torch.ones(4), atol=0.02)


def test_looking_up_together_is_looking_up_in_each() -> None:
    picture = torch.rand(1, 4, 9, 11, requires_grad=True)
    points = torch.rand(6, 5, 7, 2) * 9
    together = _look_up_one(picture, points)
    each = sample(picture.expand(6, -1, -1, -1), points)
    assert torch.allclose(together, each, atol=1e-6)
    (gradient,) = torch.autograd.grad(together.square().sum(), picture)
    (plain,) = torch.autograd.grad(each.square().sum(), picture)
    assert torch.allclose(gradient, plain, atol=1e-4)
