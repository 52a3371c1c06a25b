"""The one engine under offline and live speech and evaluation: codes and base frames in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from speech2lip.avatar import Avatar
from speech2lip.composition.blend_net import BlendNet, shrink
from speech2lip.composition.coverage import region_surface
from speech2lip.composition.paste import Paster
from speech2lip.compute import choose_device, probe_precision
from speech2lip.conventions import MEL_RATE, Picture
from speech2lip.head_track import HeadTrack
from speech2lip.inference.render.torch_renderer import TorchRenderer
from speech2lip.media.picture import coded_from_rgb, rgb_from_coded
from speech2lip.model import SpeechFeatures
from speech2lip.synthesis.lip_field import LipField, uv_lattice
from speech2lip.synthesis.paper_field import PaperField
from speech2lip.synthesis.pretrained import PretrainedListener, open_listener
from speech2lip.synthesis.speech import log_mel, mel_windows, window_offsets

_DIRECT = 1.5
"""Lips are read at the frame's own pixels up to this many times as many as the patch has."""


class Engine:
    """Draws an avatar's lips for moments of speech and composes them into frames.

    Raises:
        MissingExtra, SettingsError: the avatar hears with a pretrained encoder that is not on this machine.
    """

    def __init__(self, avatar: Avatar, *, device: str = "auto", precision: str = "auto") -> None:
        self.avatar = avatar
        self.compute = choose_device(device)
        self.model = self.compute.place(avatar.model).eval()
        self.paster = Paster(avatar.canonical, device=self.compute.device)
        self.surface = region_surface(avatar.canonical)
        """Tells which head poses can be spoken over."""
        self.offsets = window_offsets(self.model.settings).to(self.compute.device)
        self.uv = uv_lattice(*self.model.lip_field.drawn_size).to(self.compute.device)
        self.reference = self.model.lip_field.mean.detach()
        self.precision, self.reason = precision, "as asked for"
        if precision == "auto":
            self.precision, gain = probe_precision(self._probe, self.compute)
            self.reason = f"bf16 takes {1 / gain:.1f} of fp32's time here"
        encoder = self.model.encoder
        self.listener: PretrainedListener | None = None
        if encoder.pretrained is not None:
            self.listener = open_listener(
                self.model.settings.speech, encoder.pretrained, precision=self.precision
            )

    def _probe(self) -> None:
        device = self.compute.device
        spoken = SpeechFeatures(
            torch.zeros(1, self.model.settings.code_size, device=device),
            torch.zeros(1, self.model.settings.shape_size, device=device),
        )
        with torch.inference_mode():
            self.model.draw(spoken, torch.zeros(1, 6, device=device), self.uv)

    @torch.inference_mode()
    def mel_features(
        self, wave: Tensor, times: Sequence[float] | NDArray[np.float64] | None = None
    ) -> Tensor:
        """Return what `encode_speech` reads of a wave [S]: its mel spectrum, [M, F].

        Where the avatar was trained with a pretrained encoder, what that hears are more rows.

        Args:
            times: moments that will be listened at; elsewhere the encoder is spared.
        """
        mel = log_mel(wave)
        if self.listener is None:
            return mel
        span = None
        if times is not None and len(times):
            reach = [float(self.offsets[place]) / MEL_RATE for place in (0, self.model.encoder.in_time - 1)]
            span = (float(min(times)) + reach[0], float(max(times)) + reach[1])
        return torch.cat([mel, self.listener.rows(wave, span=span)])

    @torch.inference_mode()
    def encode_speech(self, mel: Tensor, times: Sequence[float] | NDArray[np.float64]) -> SpeechFeatures:
        """Read speech codes and lip shapes at moments of a spectrum [M, F], as `mel_features` returns it."""
        device = self.compute.device
        moments = torch.as_tensor(np.asarray(times, np.float64)).to(device)
        rows = mel[: self.model.encoder.channels]
        return self.model.encode_speech(mel_windows(rows.to(device), moments, self.offsets))

    @torch.inference_mode()
    def draw(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw the lip patches of moments, in canonical light; [B, 3, h, w] about [0, 1].

        Each is drawn for the head pose of its frame.
        """
        with self.compute.autocast(self.precision):
            uv = self.uv.expand(len(head), -1, -1, -1)
            return self.model.draw(spoken, self.pose(head), uv).float()

    @torch.inference_mode()
    def draw_grids(self, spoken: SpeechFeatures, head: HeadTrack) -> Tensor:
        """Draw the lip field's feature grids, from which lips can be read anywhere; [B, C, rows, columns]."""
        with self.compute.autocast(self.precision):
            return self.model.grid_field.grid(spoken.code, spoken.shape, self.pose(head))

    def pose(self, head: HeadTrack) -> Tensor:
        """Describe the head poses of frames to the lip field; [B, 6]."""
        return self.paster.tensor(head.pose)

    def light(self, head: HeadTrack) -> Tensor:
        """Return the light of frames over the canonical one; [B, 3]."""
        return self.paster.tensor(head.light_gain)

    def compose(self, frame: Picture, patch: Tensor, head: HeadTrack, *, blend: bool = True) -> Picture:
        """Put a lip patch [3, h, w] into a frame [H, W, 3]; outside the jaw region it stays bit for bit."""
        return self._compose(
            frame, head, lambda uv: self.paster.carry(patch[None], uv, self.light(head)), blend=blend
        )

    def compose_directly(
        self, frame: Picture, grid: Tensor, head: HeadTrack, *, blend: bool = True
    ) -> Picture:
        """Do as `compose` with lips read from a feature grid [C, rows, columns] at the frame's own pixels.

        Nothing is resampled on the way, so nothing is blurred. Faces much larger than the patch are drawn
        as a patch first: what it costs depends on the person, not on the frame.
        """

        def lips(uv: Tensor) -> Tensor:
            large = uv.shape[1] * uv.shape[2] > _DIRECT * self.uv.shape[1] * self.uv.shape[2]
            with self.compute.autocast(self.precision):
                drawn = self.model.grid_field.read(grid[None], self.uv if large else uv).float()
            if large:
                return self.paster.carry(drawn, uv, self.light(head))
            return drawn * self.light(head)[..., None, None]

        return self._compose(frame, head, lips, blend=blend)

    @torch.inference_mode()
    def _compose(
        self, frame: Picture, head: HeadTrack, lips: Callable[[Tensor], Tensor], *, blend: bool
    ) -> Picture:
        boxes = self.paster.regions(head, (frame.shape[0], frame.shape[1]))
        x0, y0, x1, y1 = boxes[0]
        crop = (
            torch.from_numpy(frame[y0:y1, x0:x1]).to(self.compute.device).permute(2, 0, 1)[None].float() / 255
        )
        uv = self.paster.patch_uv(head, boxes)
        mask = self.paster.carry_mask(uv)
        pasted = crop + (lips(uv) - crop) * mask
        if blend:
            pasted = pasted + self._residual(pasted, mask, uv, head)
        mended = (pasted[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        inside = (mask[0, 0] > 0).cpu().numpy()
        composed = frame.copy()
        composed[y0:y1, x0:x1][inside] = mended[inside]
        return composed

    def _residual(self, pasted: Tensor, mask: Tensor, uv: Tensor, head: HeadTrack) -> Tensor:
        reference = self.paster.carry(self.reference, uv, self.light(head))
        small = shrink(torch.cat([pasted, mask, reference], dim=1))
        with self.compute.autocast(self.precision):
            residual = self.model.blend_net(small[:, :3], small[:, 3:4], small[:, 4:])
        enlarged = functional.interpolate(
            residual.float(), size=mask.shape[-2:], mode="bilinear", align_corners=False
        )
        return enlarged * (mask > 0)

    @cached_property
    def drawing(self) -> TorchRenderer | None:
        """The fast path; None for networks that it does not know."""
        known = type(self.model.lip_field) is LipField and type(self.model.blend_net) is BlendNet
        if not known:
            return None
        if self.compute.device.type == "cpu":
            from speech2lip.inference.render.cpu_renderer import CpuRenderer

            return CpuRenderer(self, direct=_DIRECT)
        return TorchRenderer(self, direct=_DIRECT)

    @property
    def path(self) -> str:
        """Name the way frames are drawn and composed, with the reason."""
        if self.drawing is None:
            return "by the plain path, as no other knows these networks"
        return (
            "by compiled kernels" if self.compute.device.type == "cpu" else "in batches on the graphics card"
        )

    def speak_coded(
        self,
        pictures: Sequence[Picture],
        head: HeadTrack,
        spoken: SpeechFeatures,
        *,
        blend: bool = True,
    ) -> list[Picture]:
        """Do as `speak_frames` for pictures as they are coded, uint8 [3 H / 2, W] (yuv420p), much faster.

        Pixels outside the replaced region are neither converted nor changed.
        """
        if self.drawing is not None:
            return self.drawing.speak(pictures, head, spoken, blend=blend)
        frames = [rgb_from_coded(picture) for picture in pictures]
        return [coded_from_rgb(rgb) for rgb in self.speak_frames(frames, head, spoken, blend=blend)]

    def speak_frames(
        self,
        frames: Sequence[Picture],
        head: HeadTrack,
        spoken: SpeechFeatures,
        *,
        blend: bool = True,
    ) -> list[Picture]:
        """Draw and compose a batch of frames."""
        if isinstance(self.model.lip_field, PaperField):
            patches = self.draw(spoken, head)
            drawn = zip(frames, patches, range(len(head)), strict=True)
            return [self.compose(f, patch, head[i], blend=blend) for f, patch, i in drawn]
        grids = self.draw_grids(spoken, head)
        together = zip(frames, grids, range(len(head)), strict=True)
        return [self.compose_directly(f, grid, head[i], blend=blend) for f, grid, i in together]
