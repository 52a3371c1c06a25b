import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from speech2lip.composition.blend_net import PaperBlendNet


def _inputs(rows: int, columns: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    mask = torch.zeros(batch, 1, rows, columns)
    mask[..., 2:-2, 3:-3] = 1
    pasted, reference = torch.rand(2, batch, 3, rows, columns, generator=random)
    return pasted, mask, reference


@pytest.mark.parametrize("size", [(24, 32), (25, 31), (4, 4)])
def test_untrained_it_changes_nothing_at_any_size(size: tuple[int, int]) -> None:
    pasted, mask, reference = _inputs(8, 8)
    grown = [torch.nn.functional.interpolate(x, size=size) for x in (pasted, mask, reference)]
    assert PaperBlendNet(4)(*grown).abs().max() == 0


def test_residual_stays_inside_the_mask_and_can_be_learned() -> None:
    net, inputs = PaperBlendNet(4), _inputs(24, 32)
    torch.nn.init.normal_(net.out.weight)
    residual = net(*inputs)
    assert residual[inputs[1].expand_as(residual) == 0].abs().max() == 0
    residual.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_it_sees_the_pasted_picture_alone() -> None:
    net = PaperBlendNet(4).eval()
    torch.nn.init.normal_(net.out.weight)
    pasted, mask, reference = _inputs(24, 32)
    inside = (mask > 0).expand_as(pasted)
    same = net(pasted, torch.ones_like(mask), torch.zeros_like(reference))
    assert torch.allclose(net(pasted, mask, reference)[inside], same[inside], atol=1e-5)
    assert not torch.allclose(net(1 - pasted, mask, reference)[inside], same[inside], atol=1e-3)


def test_it_costs_what_was_published() -> None:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        PaperBlendNet()(torch.rand(1, 3, 500, 500), torch.rand(1, 1, 500, 500), torch.rand(1, 3, 500, 500))
    assert counter.get_total_flops() / 2 == pytest.approx(79e9, rel=0.005)
