"""The renderers give what the plain one gives."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from speech2lip.avatar import Avatar, read_avatar
from speech2lip.config import ModelSettings, PrepareSettings
from speech2lip.decomposition.canonical import lip_patch
from speech2lip.geometry.mapping import sample
from speech2lip.head_track import HeadTrack
from speech2lip.inference.cpu_renderer import CpuRenderer
from speech2lip.inference.engine import Engine
from speech2lip.inference.torch_renderer import Table, TorchRenderer
from speech2lip.media.picture import coded_from_rgb, rgb_from_coded
from speech2lip.media.video import read_coded
from speech2lip.media.yuv import read_box, split, write_box
from speech2lip.model import SpeechFeatures
from tests import made_face
from tests.made_face import SIZE, TINY, made_avatar
from tests.reference.composition.paste import patch_uv
from tests.reference.inference.renderer import PlainRenderer

FRAMES = (0, 5, 11, 22)
Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    avatar = read_avatar(made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar"))
    model: Any = avatar.model
    field, blend_net = model.lip_field, model.blend_net
    for weight, spread in (
        (field.colour[-1].weight, 0.5),
        (field.flow.weight, 0.05),
        (blend_net.out.weight, 0.1),
    ):
        torch.nn.init.normal_(weight, std=spread)
    return avatar


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    settings = dataclasses.replace(TINY, field="paper", blend="paper")
    return read_avatar(made_avatar(tmp_path_factory.mktemp("paper") / "a.avatar", settings=settings))


def _pictures(person: Avatar) -> list[Bytes]:
    path = person.bases[0].folder / "picture.mp4"
    every = read_coded(path, start_frame=0, stop_frame=max(FRAMES) + 1)
    return [every[i] for i in FRAMES]


def _asked(person: Avatar, engine: Engine) -> tuple[HeadTrack, SpeechFeatures]:
    mel = torch.rand(80, 300, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return person.bases[0].head[FRAMES], engine.encode_speech(mel, [0.5, 1.0, 1.5, 2.0])


def _psnr(one: Bytes, other: Bytes) -> float:
    error = ((one.astype(float) - other) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [TorchRenderer, CpuRenderer])
@pytest.mark.parametrize("direct", [1e9, 0.0], ids=["at the frame's pixels", "through a patch"])
def test_renderers_agree_with_the_plain_one(
    person: Avatar, kind: type[TorchRenderer], precision: str, direct: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech2lip.inference.torch_renderer._DIRECT", direct)
    engine = Engine(person, device="cpu", precision=precision)
    head, spoken = _asked(person, engine)
    coded = _pictures(person)
    frames = [rgb_from_coded(picture) for picture in coded]
    plain = PlainRenderer(engine, direct=direct).speak(frames, head, spoken)
    fast = kind(engine.model, engine.paster, precision=precision).speak(coded, head, spoken)
    regions = engine.paster.regions(head, SIZE)
    for picture, truth, drawn, (x0, y0, x1, y1) in zip(coded, plain, fast, regions, strict=True):
        truth_y, drawn_y = split(coded_from_rgb(truth))[0][y0:y1, x0:x1], split(drawn)[0][y0:y1, x0:x1]
        assert (split(picture)[0][y0:y1, x0:x1].astype(int) != drawn_y).mean() > 0.3
        assert _psnr(truth_y, drawn_y) > 45
        # Colours of noise lose on the plain path's way to RGB and back, outside the region as well.
        assert _psnr(coded_from_rgb(truth), drawn) > 40


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [TorchRenderer, CpuRenderer])
def test_the_papers_networks_are_drawn_as_the_plain_path_does(
    paper: Avatar, kind: type[TorchRenderer], precision: str
) -> None:
    engine = Engine(paper, device="cpu", precision=precision)
    head, spoken = _asked(paper, engine)
    coded = _pictures(paper)
    plain = PlainRenderer(engine).speak([rgb_from_coded(picture) for picture in coded], head, spoken)
    drawn = kind(engine.model, engine.paster, precision=precision).speak(coded, head, spoken)
    regions = engine.paster.regions(head, SIZE)
    for truth, picture, (x0, y0, x1, y1) in zip(plain, drawn, regions, strict=True):
        assert _psnr(split(coded_from_rgb(truth))[0][y0:y1, x0:x1], split(picture)[0][y0:y1, x0:x1]) > 45


@pytest.mark.parametrize("kind", [TorchRenderer, CpuRenderer])
def test_patches_are_pasted_as_the_plain_path_does(person: Avatar, kind: type[TorchRenderer]) -> None:
    engine = Engine(person, device="cpu", precision="fp32")
    head, coded = person.bases[0].head[FRAMES], _pictures(person)
    patches = torch.rand(len(FRAMES), 3, 6, 8, generator=torch.Generator().manual_seed(2))
    patches = functional.interpolate(patches, size=person.canonical.patch.size, mode="bilinear")
    drawn = kind(engine.model, engine.paster, precision="fp32").paste(coded, head, patches)
    plain = PlainRenderer(engine)
    for index, (before, picture) in enumerate(zip(coded, drawn, strict=True)):
        truth = coded_from_rgb(plain.compose(rgb_from_coded(before), patches[index], head[index]))
        x0, y0, x1, y1 = engine.paster.regions(head[index], SIZE)[0]
        assert _psnr(split(truth)[0][y0:y1, x0:x1], split(picture)[0][y0:y1, x0:x1]) > 45
        assert (split(before)[0] != split(picture)[0])[y0:y1, x0:x1].mean() > 0.3
        assert np.array_equal(split(before)[0][:y0], split(picture)[0][:y0])


def test_what_is_outside_the_region_keeps_every_bit(person: Avatar) -> None:
    engine = Engine(person, device="cpu", precision="fp32")
    head, spoken = _asked(person, engine)
    coded = _pictures(person)
    kept = [picture.copy() for picture in coded]
    composed = engine.renderer.speak(coded, head, spoken)
    for index, (before, copy, after) in enumerate(zip(coded, kept, composed, strict=True)):
        assert (before == copy).all()
        box = engine.paster.regions(head[index], SIZE)[0]
        mask = engine.paster.warp_mask(patch_uv(engine.paster, head[index], box)[None])[0, 0].numpy()
        outside = np.ones(SIZE, bool)
        # The mapping is interpolated between the nodes of a lattice: a pixel at the very edge may differ.
        outside[box[1] : box[3], box[0] : box[2]] = mask == 0
        changed = split(before)[0] != split(after)[0]
        assert changed.sum() > 500
        assert (changed & outside).sum() < 0.01 * changed.sum()
        y, u, v = (
            (before != after)[: SIZE[0]],
            *(a != b for a, b in zip(split(before)[1:], split(after)[1:], strict=True)),
        )
        assert not y[: box[1]].any()
        assert not (u[: box[1] // 2].any())
        assert not (v[: box[1] // 2].any())


def test_a_frame_is_the_same_alone_and_in_a_batch(person: Avatar) -> None:
    engine = Engine(person, device="cpu", precision="fp32")
    head, spoken = _asked(person, engine)
    coded = _pictures(person)
    together = engine.renderer.speak(coded, head, spoken)
    for i, picture in enumerate(together):
        alone = engine.renderer.speak(
            coded[i : i + 1],
            head[i],
            SpeechFeatures(spoken.code[i : i + 1], spoken.shape[i : i + 1]),
        )
        assert np.abs(alone[0].astype(int) - picture).max() <= 1


def test_table_reads_what_look_up_reads() -> None:
    random = torch.Generator().manual_seed(0)
    pictures = torch.rand(3, 5, 7, 9, generator=random)
    points = torch.rand(3, 40, 2, generator=random) * 14 - 2
    expected = sample(pictures, points)
    which = torch.arange(3).repeat_interleave(40)
    found = (
        Table(pictures)
        .look_up_uv(points.reshape(-1, 2) / torch.tensor([9, 7]), which)
        .reshape(3, 40, 5)
        .movedim(-1, 1)
    )
    assert (expected - found).abs().max() < 1e-5


@pytest.mark.parametrize("colour", [(200, 60, 90), (16, 235, 128), (255, 255, 255), (0, 0, 0)])
def test_colours_are_those_of_ffmpeg(colour: tuple[int, int, int]) -> None:
    rgb = np.broadcast_to(np.array(colour, np.uint8), (16, 32, 3)).copy()
    coded = coded_from_rgb(rgb)
    read = read_box([coded], [(4, 2, 20, 12)])[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(read - colour).max() < 3
    target = coded_from_rgb(np.full_like(rgb, 90))
    write_box(
        target,
        (4, 2, 20, 12),
        torch.from_numpy(rgb[2:12, 4:20]).permute(2, 0, 1) / 255,
        torch.ones(10, 16, dtype=torch.bool),
    )
    for plane, truth, half in zip(split(target), split(coded), (1, 2, 2), strict=True):
        inner = (slice(4 // half, 10 // half), slice(8 // half, 16 // half))
        assert np.abs(plane[inner].astype(int) - truth[inner]).max() <= 1


def test_chroma_stands_where_ffmpeg_puts_it() -> None:
    ramp = np.zeros((32, 64, 3), np.uint8)
    ramp[..., 0], ramp[..., 2] = np.linspace(30, 220, 64)[None], np.linspace(30, 220, 32)[:, None]
    ramp[..., 1] = 100
    coded = coded_from_rgb(ramp)
    read = read_box([coded], [(0, 0, 64, 32)])[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(read - ramp)[4:-4, 4:-4].mean() < 1.5
    target = coded_from_rgb(np.full_like(ramp, 100))
    write_box(
        target,
        (0, 0, 64, 32),
        torch.from_numpy(ramp).permute(2, 0, 1) / 255,
        torch.ones(32, 64, dtype=torch.bool),
    )
    for plane, truth in zip(split(target), split(coded), strict=True):
        assert np.abs(plane.astype(int) - truth)[2:-2, 2:-2].mean() < 0.6


def test_coded_frames_are_found_anywhere(person: Avatar) -> None:
    path = person.bases[0].folder / "picture.mp4"
    every = read_coded(path, start_frame=0, stop_frame=30)
    assert len(every) == 30
    for start, stop in ((0, 3), (24, 27), (25, 30), (29, 40)):
        some = read_coded(path, start_frame=start, stop_frame=stop)
        assert len(some) == min(stop, 30) - start
        assert all((a == b).all() for a, b in zip(some, itertools.islice(every, start, stop), strict=True))


def test_networks_cost_less_than_a_gigaflop_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(made_face, "SIZE", (512, 512))
    monkeypatch.setattr(made_face, "lip_patch", functools.partial(_patch_of_default_width, lip_patch))
    person = read_avatar(made_avatar(tmp_path / "a.avatar", frames=2, settings=ModelSettings()))
    assert person.canonical.patch.size[1] == PrepareSettings().patch_width
    engine = Engine(person, device="cpu", precision="fp32")
    engine.model.requires_grad_(False)
    coded = read_coded(person.bases[0].folder / "picture.mp4", start_frame=0, stop_frame=1)
    head = person.bases[0].head[0]
    left, _, right, _ = engine.paster.regions(head, (512, 512))[0]
    assert right - left > 150
    with FlopCounterMode(display=False) as counter:
        spoken = engine.encode_speech(torch.zeros(80, 200), [1.0])
        engine.renderer.speak(coded, head, spoken)
    assert 0.3e9 < counter.get_total_flops() < 1e9


def _patch_of_default_width(
    lip_patch: Callable[..., object], *arguments: object, **settings: object
) -> object:
    return lip_patch(*arguments, **(settings | {"width": PrepareSettings().patch_width}))
