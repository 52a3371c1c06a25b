"""The three parts in forward order.

Speech becomes a code and a lip shape, the lip field draws them, the Blend-Net mends the seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from speech2lip.composition.blend_net import BlendNet, PaperBlendNet
from speech2lip.config import ModelSettings
from speech2lip.faces.landmarks import SHAPE_POINTS
from speech2lip.synthesis.lip_field import LipField, LipShape
from speech2lip.synthesis.paper_field import PaperField
from speech2lip.synthesis.speech import SpeechEncoder


@dataclass(frozen=True)
class SpeechFeatures:
    """What speech says about a moment."""

    code: Tensor
    """[B, D]."""
    shape: Tensor
    """[B, K] lip shape."""
    moment: Tensor | None = None
    """[B] place in the footage from 0 to 1, for the paper's time code; None: not told."""

    def of(self, which: Sequence[int]) -> SpeechFeatures:
        """Return what speech says about some of the moments."""
        chosen = list(which)
        return SpeechFeatures(
            self.code[chosen],
            self.shape[chosen],
            None if self.moment is None else self.moment[chosen],
        )


class LipModel(nn.Module):
    """Everything that is learned of a person."""

    def __init__(self, settings: ModelSettings, patch_size: tuple[int, int]) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = SpeechEncoder(settings)
        self.lip_shape = LipShape(settings, 2 * len(SHAPE_POINTS))
        self.lip_field: LipField | PaperField = (
            PaperField(settings, patch_size) if settings.field == "paper" else LipField(settings, patch_size)
        )
        self.blend_net: BlendNet | PaperBlendNet = (
            PaperBlendNet() if settings.blend == "paper" else BlendNet(settings.blend_width)
        )

    @property
    def grid_field(self) -> LipField:
        """Our lip field, where the model has it."""
        assert isinstance(self.lip_field, LipField)
        return self.lip_field

    def encode_speech(self, windows: Tensor) -> SpeechFeatures:
        """Mel windows [B, M, W] -> codes and lip shapes."""
        code = self.encoder(windows)
        return SpeechFeatures(code, self.lip_shape(code))

    def draw(self, spoken: SpeechFeatures, pose: Tensor, uv: Tensor) -> Tensor:
        """Draw lips at places [B, ..., 2] of the patch for head poses [B, 6]; [B, 3, ...]."""
        if isinstance(self.lip_field, PaperField):
            drawn: Tensor = self.lip_field(spoken.code, uv, spoken.moment)
        else:
            drawn = self.lip_field(spoken.code, spoken.shape, pose, uv)
        return drawn
