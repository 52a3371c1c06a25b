import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from speech2lip.config import ModelSettings, TrainSettings, with_preset
from speech2lip.errors import SettingsError
from speech2lip.synthesis.lip_field import uv_lattice
from speech2lip.synthesis.paper_field import PaperField, sinusoids


def _field() -> PaperField:
    torch.manual_seed(0)
    return PaperField(ModelSettings(), (80, 120)).eval()


def test_it_has_the_published_size() -> None:
    # Three embeddings at the start, three for the skip, eight layers, the joined one twice as wide, a colour.
    embeddings = 2 * ((42 + 64 + 20) * 256 + 3 * 256)
    expected = embeddings + 8 * (256 * 256 + 256) + 256 * 256 + 256 * 3 + 3
    assert sum(p.numel() for p in _field().parameters()) == expected == 658_691
    assert _field().drawn_size == (80, 120)


def test_a_lip_image_costs_what_was_published() -> None:
    # 6.3 GMAC: all weights but those of speech and time, once for each of the 80 x 120 points.
    with FlopCounterMode(display=False) as counter:
        _field()(torch.randn(1, 64), uv_lattice(80, 120))
    per_point = 2 * 42 * 256 + 8 * 256 * 256 + 256 * 256 + 256 * 3
    assert counter.get_total_flops() == 2 * (9600 * per_point + 2 * (64 + 20) * 256)


def test_sinusoids_of_known_numbers() -> None:
    code = sinusoids(torch.tensor([[torch.pi / 2]]), 2)
    assert torch.allclose(code, torch.tensor([[1.0, 0.0, 0.0, -1.0]]), atol=1e-6)


def test_colours_follow_speech_and_time() -> None:
    field, uv = _field(), uv_lattice(4, 6).expand(2, -1, -1, -1)
    code = torch.randn(1, 64).expand(2, -1)
    drawn = field(code, uv)
    assert drawn.shape == (2, 3, 4, 6)
    assert torch.equal(drawn[0], drawn[1])
    told = field(code, uv, torch.tensor([0.1, 0.7]))
    assert not torch.allclose(told[0], told[1])
    other = field(torch.randn(2, 64), uv)
    assert not torch.allclose(other[0], other[1])


def test_the_ensemble_weighs_to_one_and_stays_near_the_point() -> None:
    field, uv = _field(), uv_lattice(8, 12)
    code = torch.randn(1, 64)
    plain = field(code, uv)
    field.train()
    torch.manual_seed(1)
    ensemble = field._ensemble(code, uv, torch.zeros(1, 20))
    assert (ensemble - plain).abs().mean() < 0.5 * (plain - plain.mean()).abs().mean()
    field.colour.weight.data.zero_()
    field.colour.bias.data.fill_(0.25)
    assert torch.allclose(field._ensemble(code, uv, torch.zeros(1, 20)), torch.tensor(0.25), atol=1e-4)


def test_the_preset_is_the_papers_losses_and_nothing_of_ours() -> None:
    settings = with_preset(TrainSettings(preset="paper", minutes=3))
    assert settings.minutes == 3
    assert settings.model.field == "paper"
    assert (settings.losses.shape, settings.losses.gradient, settings.tempo_changes) == (0, 0, 0)
    assert settings.losses.l2 > 0
    assert settings.losses.sync > 0
    assert with_preset(TrainSettings()).losses == TrainSettings().losses
    with pytest.raises(SettingsError, match="'papers'"):
        with_preset(TrainSettings(preset="papers"))  # type: ignore[arg-type]
