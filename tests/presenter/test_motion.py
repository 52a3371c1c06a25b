"""The presenter's movement: mouths do what the phones ask for; heads keep natural bounds, by seed."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip_presenter.motion import CLOSURES, LIMITS, VISEMES, clip_states, dominance, mouth_track
from speech2lip_presenter.speech import Phone, SpeechClip, speech_clips

CLIP = speech_clips()[0]


def test_the_same_seed_gives_the_same_movement() -> None:
    assert clip_states(CLIP, seed=3) == clip_states(CLIP, seed=3)
    assert clip_states(CLIP, seed=3) != clip_states(CLIP, seed=4)
    assert clip_states(CLIP)[0].yaw != clip_states(speech_clips()[1])[0].yaw


def test_poses_keep_within_bounds_and_use_them() -> None:
    angles = np.array([(s.yaw, s.pitch, s.roll) for clip in speech_clips()[:8] for s in clip_states(clip)])
    assert (np.abs(angles) <= list(LIMITS.values())).all()
    assert (np.ptp(angles, axis=0) > [15, 8, 5]).all()


def test_the_head_moves_smoothly() -> None:
    for clip in speech_clips()[:4]:
        angles = np.array([(s.yaw, s.pitch, s.roll) for s in clip_states(clip)])
        assert np.abs(np.diff(angles, axis=0)).max() < 2.0


def test_blinks_happen_and_are_never_cut() -> None:
    for clip in speech_clips()[:6]:
        blink = np.array([state.moves["blink"] for state in clip_states(clip)])
        assert blink[0] == blink[-1] == 0
        assert blink.max() > 0.5


def test_a_still_head_speaks_all_the_same() -> None:
    states = clip_states(CLIP, still=True)
    assert {(s.yaw, s.pitch, s.roll, s.sway, s.moves["blink"]) for s in states} == {
        (0.0, 0.0, 0.0, (0.0, 0.0, 0.0), 0.0)
    }
    assert len({s.moves["jaw"] for s in states}) > 50


def test_one_state_a_frame_at_any_rate() -> None:
    for fps in (25.0, 29.97, 50.0):
        states = clip_states(CLIP, fps)
        assert len(states) == int(CLIP.seconds * fps)
    by_rate = {fps: clip_states(CLIP, fps)[int(2 * fps)].moves["jaw"] for fps in (25.0, 50.0)}
    assert by_rate[25.0] == by_rate[50.0]


def spoken(*names: str, each: float = 0.12) -> tuple[Phone, ...]:
    """Phones of equal length with half a second of silence at both ends."""
    inner = [Phone(name, 0.5 + i * each, 0.5 + (i + 1) * each) for i, name in enumerate(names)]
    end = inner[-1].end
    return (Phone("pau", 0.0, 0.5), *inner, Phone("pau", end, end + 0.5))


def at_middle(phones: tuple[Phone, ...], index: int, channel: str) -> float:
    middle = np.array([(phones[index].start + phones[index].end) / 2])
    return float(mouth_track(phones, middle)[channel][0])


@pytest.mark.parametrize("clip", speech_clips()[::5], ids=lambda clip: clip.name)
def test_lips_close_in_some_frame_of_every_closure(clip: SpeechClip) -> None:
    times = np.arange(int(clip.seconds * 25)) / 25
    opening = mouth_track(clip.phones, times)["lip_opening"]
    for phone in clip.phones:
        if phone.name in CLOSURES:
            near = np.abs(times - (phone.start + phone.end) / 2) <= max((phone.end - phone.start) / 2, 0.03)
            assert opening[near].min() < 1e-6, phone


@pytest.mark.parametrize("clip", speech_clips()[::5], ids=lambda clip: clip.name)
def test_the_mouth_rests_in_silence_and_opens_in_speech(clip: SpeechClip) -> None:
    times = np.arange(int(clip.seconds * 25)) / 25
    opening = mouth_track(clip.phones, times)["lip_opening"]
    pauses = [phone for phone in clip.phones if phone.name == "pau" and phone.end - phone.start > 0.4]
    assert pauses
    for pause in pauses:
        assert opening[(times > pause.start + 0.12) & (times < pause.end - 0.12)].max(initial=0.0) < 1e-6
    assert opening.max() > 0.1


def test_vowels_differ_as_they_should() -> None:
    wide, round_, open_ = spoken("t", "iy", "t"), spoken("t", "uw", "t"), spoken("t", "aa", "t")
    assert at_middle(wide, 2, "wide") > 0.08 > -0.15 > at_middle(round_, 2, "wide")
    assert at_middle(round_, 2, "protrude") > 0.6
    assert at_middle(open_, 2, "lip_opening") > 0.2 > at_middle(wide, 2, "lip_opening")
    assert at_middle(spoken("aa", "f", "aa"), 2, "tuck") > 0.7


def test_neighbours_colour_a_consonant() -> None:
    assert (
        at_middle(spoken("uw", "t", "uw"), 2, "protrude")
        > at_middle(spoken("iy", "t", "iy"), 2, "protrude") + 0.1
    )


def test_movement_is_smooth() -> None:
    phones = speech_clips()[0].phones
    times = np.arange(0, phones[-1].end, 0.001)
    track = mouth_track(phones, times)
    assert np.abs(np.diff(track["lip_opening"])).max() < 0.012  # eye units a millisecond
    assert np.abs(np.diff(track["jaw"])).max() < 0.012


def test_dominance_sums_to_one_everywhere() -> None:
    phones = spoken("p", "aa", "s")
    weights = dominance(phones, np.linspace(0, phones[-1].end, 200))
    np.testing.assert_allclose(weights.sum(1), 1.0)
    assert (weights >= 0).all()


def test_targets_are_plausible() -> None:
    for viseme in VISEMES.values():
        jaw, opening, lift, *_ = viseme.target
        assert 0 <= jaw <= 0.25
        assert 0 <= lift <= opening + 1e-9 or opening == 0
