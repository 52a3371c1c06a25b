from typing import Any

import torch

from speech2lip.model import LipModel
from speech2lip.training.losses import contrastive_losses
from speech2lip.training.sync import (
    SyncClips,
    SyncExpert,
    drawn_sync_losses,
    expert_losses,
    sight_uv,
)
from tests.made_face import TINY, made_canonical
from tests.training.made_set import made_set


def test_clips_do_not_reach_over_a_gap() -> None:
    data = made_set(canonical=made_canonical(), frames=11)
    data.followed = torch.tensor([0, 1, 2, 3, 4, 6, 7, 8, 9])  # frame 5 is a take's last
    assert SyncClips(data).starts.tolist() == [0, 1, 6]
    data.followed = torch.tensor([], dtype=torch.long)
    assert SyncClips(data).starts.tolist() == []


def test_clips_last_as_long_at_60_frames_a_second() -> None:
    data = made_set(canonical=made_canonical(), frames=60)
    data.times = torch.arange(60, dtype=torch.float64) / 60 + 1
    data.rates = torch.full((60,), 60.0, dtype=torch.float64)
    clips = SyncClips(data)
    assert clips.frames(torch.tensor([3])).tolist() == [[3, 5, 8, 10, 13]]
    assert clips.starts.tolist() == list(range(50))
    assert torch.isclose(clips.moment, torch.tensor(0.04, dtype=torch.float64))
    assert clips.shown(clips.starts[:2]).shape[1] == 5
    assert torch.isclose(clips.middle_times(torch.tensor([3])), data.times[8])


def test_contrastive_loss_of_known_pairs() -> None:
    cosine = torch.tensor([[0.5, -0.2], [0.4, 1.0]])
    losses = contrastive_losses(cosine)
    assert torch.isclose(losses["sync"], torch.tensor(0.25))
    assert torch.isclose(losses["sync_negative"], torch.tensor(0.2))
    left_out = cosine.clone()
    left_out[1, 0] = torch.nan
    assert torch.isclose(contrastive_losses(left_out)["sync_negative"], torch.tensor(0.0))


def test_the_expert_learns_which_sound_belongs() -> None:
    torch.manual_seed(0)
    clips = SyncClips(made_set(canonical=made_canonical(), frames=160))
    expert = SyncExpert(width=8)
    optimiser = torch.optim.Adam(expert.parameters(), lr=3e-3)
    random = torch.Generator().manual_seed(0)
    for _ in range(60):
        optimiser.zero_grad()
        torch.stack(list(expert_losses(expert, clips, 32, random).values())).sum().backward()
        optimiser.step()
    expert.eval()
    starts = clips.starts[::7]
    times = clips.middle_times(starts)
    seen = expert.embed_lips(clips.shown(starts))
    own, off = expert.embed_sound(clips.heard(times)), expert.embed_sound(clips.heard(times + 8 / 25))
    assert float(((seen * own).sum(1) > (seen * off).sum(1)).float().mean()) > 0.8


def test_gradient_reaches_the_lips_through_matched_and_unmatched_pairs() -> None:
    torch.manual_seed(0)
    canonical = made_canonical()
    clips = SyncClips(made_set(canonical=canonical, frames=80))
    model: Any = LipModel(TINY, canonical.patch.size)
    expert = SyncExpert(width=8).requires_grad_(False)
    random = torch.Generator().manual_seed(1)

    def windows_at(index: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(index), 80, 60, generator=random)

    torch.nn.init.normal_(model.lip_field.colour[-1].weight)
    drawn_sync_losses(expert, model, clips, windows_at, 3, random)["sync_negative"].backward()
    assert float(model.lip_field.start.grad.abs().sum()) > 0
    cosine = torch.full((2, 2), 0.3, requires_grad=True)
    losses = contrastive_losses(cosine)
    torch.stack(list(losses.values())).sum().backward()
    assert (cosine.grad.diagonal() < 0).all()
    assert (cosine.grad[[0, 1], [1, 0]] > 0).all()


def test_the_expert_looks_at_the_lips() -> None:
    outlines = torch.tensor([[0.4, 0.5, 0.6, 0.5, 0.5, 0.4, 0.5, 0.6]]).expand(50, -1)
    uv = sight_uv(outlines)
    assert uv.shape[-1] == 2
    assert torch.allclose(uv.mean((0, 1, 2)), torch.tensor([0.5, 0.5]), atol=1e-3)
    assert 0.3 < float(uv[..., 0].min()) < 0.4 < 0.6 < float(uv[..., 0].max()) < 0.7
