import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from speech2lip.composition.blend_net import CROP_SIZE, BlendNet, PaperBlendNet, punch_holes
from speech2lip.config import ModelSettings


def _inputs(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mask = torch.zeros(batch, 1, *CROP_SIZE)
    mask[..., 10:86, 12:116] = 1
    return torch.rand(batch, 3, *CROP_SIZE), mask, torch.rand(batch, 3, *CROP_SIZE)


def test_untrained_it_changes_nothing() -> None:
    assert BlendNet(8)(*_inputs()).abs().max() == 0


def test_residual_stays_inside_the_mask_and_can_be_learned() -> None:
    net, inputs = BlendNet(8), _inputs()
    torch.nn.init.normal_(net.out.weight)
    residual = net(*inputs)
    assert residual[inputs[1].expand_as(residual) == 0].abs().max() == 0
    assert residual.abs().max() > 0
    residual.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_half_a_gigaflop_is_enough() -> None:
    net = BlendNet(ModelSettings().blend_width)
    with FlopCounterMode(display=False) as counter:
        net(*_inputs(1))
    assert 0.05e9 < counter.get_total_flops() <= 0.5e9


def test_holes_are_punched_into_half_of_the_pictures_and_only_inside() -> None:
    pasted, mask = (part[..., ::2, ::2] for part in _inputs(400)[:2])
    pasted = pasted + 0.01
    holed = punch_holes(pasted, mask, share=0.5, generator=torch.Generator().manual_seed(0))
    black = (holed == 0).all(1, keepdim=True)
    assert not (black & (mask == 0)).any()
    share = black.flatten(1).any(1).float().mean()
    assert 0.4 < share < 0.6
    assert torch.equal(holed[~black.expand_as(holed)], pasted[~black.expand_as(pasted)])


def _paper_inputs(rows: int, columns: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    mask = torch.zeros(batch, 1, rows, columns)
    mask[..., 2:-2, 3:-3] = 1
    pasted, reference = torch.rand(2, batch, 3, rows, columns, generator=random)
    return pasted, mask, reference


@pytest.mark.parametrize("size", [(24, 32), (25, 31), (4, 4)])
def test_the_papers_changes_nothing_at_any_size(size: tuple[int, int]) -> None:
    pasted, mask, reference = _paper_inputs(8, 8)
    grown = [torch.nn.functional.interpolate(x, size=size) for x in (pasted, mask, reference)]
    assert PaperBlendNet(4)(*grown).abs().max() == 0


def test_the_papers_residual_stays_inside_the_mask_and_can_be_learned() -> None:
    net, inputs = PaperBlendNet(4), _paper_inputs(24, 32)
    torch.nn.init.normal_(net.out.weight)
    residual = net(*inputs)
    assert residual[inputs[1].expand_as(residual) == 0].abs().max() == 0
    residual.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_papers_sees_the_pasted_picture_alone() -> None:
    net = PaperBlendNet(4).eval()
    torch.nn.init.normal_(net.out.weight)
    pasted, mask, reference = _paper_inputs(24, 32)
    inside = (mask > 0).expand_as(pasted)
    same = net(pasted, torch.ones_like(mask), torch.zeros_like(reference))
    assert torch.allclose(net(pasted, mask, reference)[inside], same[inside], atol=1e-5)
    assert not torch.allclose(net(1 - pasted, mask, reference)[inside], same[inside], atol=1e-3)


def test_the_papers_costs_what_was_published() -> None:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        PaperBlendNet()(torch.rand(1, 3, 500, 500), torch.rand(1, 1, 500, 500), torch.rand(1, 3, 500, 500))
    assert counter.get_total_flops() / 2 == pytest.approx(79e9, rel=0.005)
