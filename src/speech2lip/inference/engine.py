"""The one engine under offline and live speech and evaluation: a loaded avatar that hears and is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speech2lip.arrays import Floats
from speech2lip.avatar import Avatar
from speech2lip.composition.coverage import region_surface
from speech2lip.composition.paste import Paster
from speech2lip.compute import choose_device, probe_precision
from speech2lip.conventions import MEL_RATE
from speech2lip.inference.torch_renderer import TorchRenderer
from speech2lip.model import SpeechFeatures
from speech2lip.synthesis.lip_field import POSE_SIZE, uv_lattice
from speech2lip.synthesis.pretrained import PretrainedListener, open_listener
from speech2lip.synthesis.speech import log_mel, mel_windows, window_offsets


class Engine:
    """Holds an avatar's networks on a device: encodes speech, and has the renderer that draws it.

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
            uv = uv_lattice(*self.model.lip_field.drawn_size).to(device)
            self.model.draw(spoken, torch.zeros(1, POSE_SIZE, device=device), uv)

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

    def speech_at(self, wave: Floats, moments: Sequence[float]) -> SpeechFeatures:
        """Read what is said at moments of a wave [S], in seconds."""
        return self.encode_speech(self.mel_features(torch.from_numpy(wave), moments), moments)

    @cached_property
    def renderer(self) -> TorchRenderer:
        """What draws and composes: compiled kernels on a processor, torch on a graphics card."""
        if self.compute.device.type != "cpu":
            return TorchRenderer(self.model, self.paster, precision=self.precision)
        from speech2lip.inference.cpu_renderer import CpuRenderer

        return CpuRenderer(self.model, self.paster, precision=self.precision)

    @property
    def path(self) -> str:
        """Name the way frames are drawn and composed."""
        on_cpu = self.compute.device.type == "cpu"
        return "by compiled kernels" if on_cpu else "in batches on the graphics card"
