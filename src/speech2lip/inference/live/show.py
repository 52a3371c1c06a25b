"""Listen, speak and serve the page until the sound has ended: what `speech2lip live` does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

import numpy as np

from speech2lip.config import LiveSettings, SpeakSettings
from speech2lip.conventions import AnyPath
from speech2lip.errors import Speech2LipError
from speech2lip.inference.live.player import Audience, Played, Player
from speech2lip.inference.live.server import LiveServer
from speech2lip.inference.live.sources import Source, open_source
from speech2lip.inference.speaker import Speaker
from speech2lip.inference.stream import SpeechStream, Streamed, stream
from speech2lip.media.picture import JpegWriter

_LOG = logging.getLogger(__name__)

_ROOM = 1.0
"""Seconds of sound for which there must be room before more is taken from the source; blocks are shorter."""
_POLL = 0.02
_LINGER = 2.0
"""Seconds that viewers get to take the last packets."""


def live(
    avatar: AnyPath,
    *,
    sound: str = "mic",
    settings: LiveSettings | None = None,
    stop: Event | None = None,
) -> Played:
    """Let an avatar speak live on a local page.

    Args:
        avatar: an avatar folder.
        sound: `mic`, a sound file (played as if it were the microphone, from when somebody watches), `-` for
            raw 16-bit samples from standard input, or a named pipe of such.
        settings: how.
        stop: ends it from another thread.

    Returns:
        What was played, when the sound has ended.

    Raises:
        SoundError, AvatarError, OutputError, SettingsError, MissingExtra: as their messages say.
    """
    settings = settings or LiveSettings()
    stop = stop or Event()
    source = open_source(sound, settings)
    how = SpeakSettings(
        take=settings.take, start=settings.start, device=settings.device, precision=settings.precision
    )
    with (
        Speaker(avatar, settings=how) as speaker,
        stream(speaker, sample_rate=source.sample_rate, channels=source.channels) as speech,
    ):
        audience = Audience(fps=float(speech.fps))
        player = Player(speech, _shower(audience, speaker, settings.quality))
        server = LiveServer(
            settings.host,
            settings.port,
            audience=audience,
            played=player.played,
            interrupt=speech.interrupt,
            source=source,
        )
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        serving.start()
        _LOG.info(f"{speaker.name} listens to {source.name}; watch at {server.url} (Ctrl-C ends)")
        speaker.motion.log_messages()
        try:
            _play(player, speech, source, audience, stay=settings.stay, stop=stop)
        finally:
            audience.close()
            server.shutdown()
            server.server_close()
    played = player.played
    _LOG.info(f"{played.frames} frames, {played.frames_dropped} of them dropped, {played.silent} in silence")
    return played


def _play(
    player: Player, speech: SpeechStream, source: Source, audience: Audience, *, stay: bool, stop: Event
) -> None:
    while source.patient and not stop.is_set() and not audience.wait_for_viewer(0.1):
        pass
    faults: list[Speech2LipError] = []

    def listen() -> None:
        try:
            pour(source, speech, stop)
        except Speech2LipError as fault:
            faults.append(fault)
            stop.set()
        else:
            if not stay:
                speech.finish()

    Thread(target=listen, daemon=True).start()
    player.run(stop)
    if faults:
        raise faults[0]
    audience.close()
    stop.wait(_LINGER if audience.viewers else 0.0)


def pour(source: Source, speech: SpeechStream, stop: Event) -> None:
    """Push all sound of a source; what comes faster than it is spoken waits in the source."""
    for block in source.blocks():
        while speech.room_seconds < _ROOM and not stop.wait(_POLL):
            pass
        if stop.is_set():
            return
        speech.push(block)


def _shower(audience: Audience, speaker: Speaker, quality: int) -> Callable[[Streamed], None]:
    writer = JpegWriter(width=speaker.base.width, height=speaker.base.height, quality=quality)

    def show(one: Streamed) -> None:
        watched = one.coded is not None and audience.viewers
        jpeg = writer.write(one.coded) if watched and one.coded is not None else b""
        samples = (one.sound.clip(-1, 1) * 32767).astype("<i2")
        audience.show(one.time, jpeg, np.ascontiguousarray(samples).tobytes())

    return show
