from __future__ import annotations

import numpy as np
import pytest
import torch

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.composition.occlusion import Foreground, mixed_by
from speech2lip.config import SpeakSettings
from speech2lip.inference.cpu_renderer import CpuRenderer
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion import Motion
from speech2lip.inference.torch_renderer import TorchRenderer
from speech2lip.media.video import read_coded
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.media.yuv import split
from speech2lip.model import SpeechFeatures
from tests.made_face import SIZE, made_avatar

FRAMES, CROSSED = 40, range(24, 36)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    """An avatar across whose mouth something dark goes for twelve frames."""
    folder = made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar", frames=FRAMES)
    person = read_avatar(folder)
    base = person.bases[0]
    picture = base.folder / "picture.mp4"
    plain = np.full((*SIZE, 3), (190, 150, 130), np.uint8)
    engine = Engine(person, device="cpu", precision="fp32")
    picture.unlink()
    with VideoWriter(picture, VideoFormat(width=SIZE[1], height=SIZE[0], fps=base.fps), crf=5) as writer:
        for index in range(FRAMES):
            frame = plain.copy()
            if index in CROSSED:
                x0, y0, x1, _ = engine.paster.regions(base.head[index], SIZE)[0]
                frame[y0 + 10 :, (x0 + x1) // 2 :] = (40, 40, 45)
            writer.write(frame)
    return person


def test_frames_in_which_something_crosses_are_found(person: Avatar) -> None:
    foreground = Foreground(person, person.bases[0])
    assert set(foreground.covered) <= set(CROSSED)
    assert len(foreground.covered) >= len(CROSSED) - 2


@pytest.mark.parametrize("kind", [TorchRenderer, CpuRenderer])
def test_what_crosses_stays_bit_for_bit_on_every_path(person: Avatar, kind: type[TorchRenderer]) -> None:
    motion = Motion(person, person.bases[0], SpeakSettings(device="cpu", keep_in_front=True))
    engine = Engine(person, device="cpu", precision="fp32")
    renderer = kind(engine.model, engine.paster, precision="fp32")
    spoken = SpeechFeatures(
        torch.ones(1, engine.model.settings.code_size), torch.ones(1, engine.model.settings.shape_size)
    )
    for index, crossed in ((30, True), (10, False)):
        shown = next(one for one in motion.shown() if one.index == index and not one.part)
        coded = read_coded(person.bases[0].folder / "picture.mp4", start_frame=index, stop_frame=index + 1)
        picture, head = motion.picture(coded, shown), motion.heads([shown])
        composed = renderer.speak([picture], head, spoken)[0]
        finished = motion.finish(composed, picture, shown, head)
        dark = split(picture)[0] < 60
        drawn = split(composed)[0] != split(picture)[0]
        assert dark.any() == crossed
        if crossed:
            assert (drawn & dark).sum() > 50
            still = split(finished)[0] != split(picture)[0]
            assert (still & dark).sum() < 0.02 * (drawn & dark).sum()
            assert (still & ~dark).sum() > 50
        else:
            assert (finished == composed).all()


def test_without_the_option_nothing_is_searched(person: Avatar) -> None:
    motion = Motion(person, person.bases[0], SpeakSettings(device="cpu"))
    picture = np.zeros((SIZE[0] * 3 // 2, SIZE[1]), np.uint8)
    shown = next(motion.shown())
    assert motion.finish(picture, picture, shown, person.bases[0].head[0]) is picture
    assert motion.messages() == []


def test_the_user_is_told_what_is_in_foreground(person: Avatar) -> None:
    motion = Motion(person, person.bases[0], SpeakSettings(device="cpu", keep_in_front=True))
    assert "in front of the mouth in 1" in motion.messages()[0]


def test_pictures_are_mixed_by_a_mask() -> None:
    random = np.random.default_rng(0)
    first, second = (random.integers(0, 256, (24, 32), np.uint8) for _ in range(2))
    mask = np.zeros((16, 32), np.float32)
    assert (mixed_by(first, second, mask) == first).all()
    assert (mixed_by(first, second, mask + 1) == second).all()
    mask[:, :10] = 1
    mask[:, 10] = 0.5
    luma = split(mixed_by(first, second, mask))[0]
    assert (luma[:, :10] == split(second)[0][:, :10]).all()
    assert (luma[:, 11:] == split(first)[0][:, 11:]).all()
    assert np.abs(luma[:, 10] - (split(first)[0] / 2 + split(second)[0] / 2)[:, 10]).max() <= 1
