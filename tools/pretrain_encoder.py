"""`python -m tools.pretrain_encoder`: train the built-in encoder weights; for maintainers, users have it.

Speech is in `synthetic_speech.py`. The encoder learns which phones are spoken around a moment; changes of
the sound are those of training. Half an hour on two processor cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from safetensors.torch import save_file
from torch import Tensor, nn

from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_RATE
from speech2lip.progress import Progress
from speech2lip.synthesis.speech import (
    ENCODER_WEIGHTS,
    SILENT_MEL,
    SpeechEncoder,
    cut_windows,
    log_mel,
    mel_windows,
    window_offsets,
)
from speech2lip.training.augmentation import quiet_windows, vary_speech
from speech2lip.training.loop import learning_rate_share
from speech2lip.training.stretches import FrameSequence
from speech2lip_presenter.motion import VISEMES
from tools.synthetic_speech import Clip, Texts, speak_clips

PHONES = sorted(VISEMES)
AROUND = (-0.08, -0.04, 0.0, 0.04, 0.08)
"""Seconds from the moment at which the phone is asked for."""
_FRAME = 0.04
_LENGTH = 8
"""Moments of a stretch, a frame of 25 a second apart."""
_GAP = 80
"""Mel frames of silence between clips."""
_QUIET_BATCH, _QUIET_WEIGHT = 16, 0.05
_HELD_OUT = 80
"""Clips on which it is judged."""


@dataclass(frozen=True)
class Arguments:
    """Train the built-in encoder weights."""

    out: Path = ENCODER_WEIGHTS
    """Where the weights go."""
    steps: int = 5200
    """Of training."""
    stretches: int = 48
    """In a step, of eight moments each."""
    flite: int = 2400
    """Clips by flite's voices."""
    ked: int = 600
    """Clips by festival's."""
    varied: float = 0.8
    """Share of the sound that is varied."""
    tempo: float = 0.3
    """Largest change of tempo."""
    texts: Path = Path("/usr/share/doc")
    """Licences in its folders tell which words are frequent."""
    bf16: bool = True
    """Half the precision, faster on many processors."""


@dataclass(frozen=True)
class Corpus:
    """All clips behind one another."""

    mel: Tensor
    """[M, F], with silence between clips."""
    phones: Tensor
    """[F] index of the phone that is spoken."""
    spans: Tensor
    """[N, 2] first and last mel frame at which stretches begin, for each clip."""

    @staticmethod
    def of(clips: list[Clip], room: int) -> Corpus:
        """Put clips one after the other, the phones named at each mel frame; `room` is a stretch's length."""
        mels, phones, spans, clock = [], [], [], 0
        for wave, spoken in clips:
            mel = log_mel(torch.from_numpy(wave))
            ends = torch.tensor([end for _, _, end in spoken])
            which = torch.searchsorted(ends, torch.arange(mel.shape[1]) / MEL_RATE).clamp_max(len(ends) - 1)
            names = torch.tensor([PHONES.index(name) for name, _, _ in spoken])
            mels += [mel, torch.full((len(mel), _GAP), SILENT_MEL)]
            phones += [names[which], torch.full((_GAP,), PHONES.index("pau"))]
            spans.append((clock + 10, clock + max(11, mel.shape[1] - room)))
            clock += mel.shape[1] + _GAP
        return Corpus(torch.cat(mels, 1), torch.cat(phones), torch.tensor(spans))

    def spoken_at(self, frames: Tensor, pace: Tensor) -> Tensor:
        """Return the phones around moments [S, N] in mel frames; [S, N, len(AROUND)]."""
        around = torch.tensor(AROUND) * MEL_RATE * pace[:, None, None]
        return self.phones[(frames[..., None] + around).round().long().clamp(0, len(self.phones) - 1)]


class Lesson:
    """An encoder and what it is asked."""

    def __init__(self, corpus: Corpus, arguments: Arguments) -> None:
        settings = ModelSettings()
        self.corpus, self.arguments = corpus, arguments
        self.offsets = window_offsets(settings)
        self.encoder = SpeechEncoder(settings)
        self.answer = nn.Sequential(nn.GELU(), nn.Linear(settings.code_size, len(AROUND) * len(PHONES)))
        self.steps = torch.arange(_LENGTH) * _FRAME

    def loss(self, random: torch.Generator) -> Tensor:
        """Cross-entropy of the phones around random moments, and of nobody speaking under quiet sounds."""
        count, tempo = self.arguments.stretches, self.arguments.tempo
        # The last clips are what it is judged on.
        chosen = torch.randint(len(self.corpus.spans) - _HELD_OUT, (count,), generator=random)
        first, last = self.corpus.spans[chosen].T
        start = first + torch.rand(count, generator=random) * (last - first)
        pace = 1 + tempo * (2 * torch.rand(count, generator=random) - 1)
        moments = start.double()[:, None] / MEL_RATE + self.steps
        sequence = FrameSequence.of(moments, self.offsets, pace)
        sound = mel_windows(self.corpus.mel, moments[:, 0], sequence.offsets, pace=pace)
        varied = torch.rand(count, generator=random) < self.arguments.varied
        if varied.any():
            sound[varied] = vary_speech(sound[varied], generator=random)
        spoken = self.corpus.spoken_at(start[:, None] + self.steps * MEL_RATE, pace)
        heard = self._ask(cut_windows(sound, sequence.columns))
        quiet = quiet_windows(_QUIET_BATCH, sound.shape[1], len(self.offsets), generator=random)
        nobody = torch.full((_QUIET_BATCH * len(AROUND),), PHONES.index("pau"))
        loss = nn.functional.cross_entropy(heard, spoken.flatten(), label_smoothing=0.05)
        return loss + _QUIET_WEIGHT * nn.functional.cross_entropy(self._ask(quiet), nobody)

    def _ask(self, windows: Tensor) -> Tensor:
        answers: Tensor = self.answer(self.encoder(windows))
        return answers.float().reshape(-1, len(PHONES))

    @torch.no_grad()
    def right(self) -> float:
        """Return the share of held-out moments whose phone is told."""
        spans = self.corpus.spans[-_HELD_OUT:].tolist()
        frames = torch.cat([torch.arange(first, last, 16) for first, last in spans])
        self.encoder.eval()
        parts = [
            self._ask(mel_windows(self.corpus.mel, part.double() / MEL_RATE, self.offsets))
            for part in torch.split(frames, 256)
        ]
        self.encoder.train()
        told = torch.cat(parts).reshape(len(frames), len(AROUND), -1)[:, AROUND.index(0.0)].argmax(1)
        return float((told == self.corpus.phones[frames]).float().mean())


def pretrain_encoder(clips: list[Clip], arguments: Arguments) -> Lesson:
    """Train an encoder on clips; the last ones are held out."""
    torch.manual_seed(0)
    room = round(_LENGTH * _FRAME * MEL_RATE) + 13
    lesson = Lesson(Corpus.of(clips, room), arguments)
    learned = [*lesson.encoder.parameters(), *lesson.answer.parameters()]
    optimiser = torch.optim.AdamW(learned, weight_decay=0.01, betas=(0.9, 0.98))
    random = torch.Generator().manual_seed(0)
    with Progress("Training the encoder", total=arguments.steps, unit="steps") as progress:
        for step in range(arguments.steps):
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * learning_rate_share(step / arguments.steps)
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
                loss = lesson.loss(random)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            progress.set(step + 1)
    return lesson


def main(arguments: Arguments) -> None:
    """Speak, train, tell and write."""
    texts = Texts(sorted(arguments.texts.glob("*/copyright"))[:200], seed=0)
    clips = speak_clips(texts, flite=arguments.flite, ked=arguments.ked)
    # Voices come in turn; what is held out shall have all of them.
    texts.random.shuffle(clips)
    lesson = pretrain_encoder(clips, arguments)
    print(f"right about {lesson.right():.1%} of {len(PHONES)} phones in {_HELD_OUT} clips held out")
    weights = {name: value.half().contiguous() for name, value in lesson.encoder.state_dict().items()}
    save_file(weights, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
