import torch
from torch.utils.flop_counter import FlopCounterMode

from speech2lip.composition.blend_net import CROP_SIZE, BlendNet, punch_holes
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
    holed = punch_holes(pasted, mask, generator=torch.Generator().manual_seed(0))
    black = (holed == 0).all(1, keepdim=True)
    assert not (black & (mask == 0)).any()
    share = black.flatten(1).any(1).float().mean()
    assert 0.4 < share < 0.6
    assert torch.equal(holed[~black.expand_as(holed)], pasted[~black.expand_as(pasted)])
