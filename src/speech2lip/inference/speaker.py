"""What any number of streams share: an avatar ready to speak, and its base video, decoded ahead of use."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from speech2lip.arrays import Picture
from speech2lip.avatar import BaseVideo, read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.conventions import SAMPLE_RATE, AnyPath
from speech2lip.errors import AvatarError, FootageError
from speech2lip.inference.engine import Engine
from speech2lip.inference.motion import Motion, Shown, base_of
from speech2lip.media.video import CodedReader

if TYPE_CHECKING:
    from typing_extensions import Self

_CHUNK = 25
"""Frames decoded at once, at most; our base videos have a key frame every second."""
_CHUNK_BYTES = 100_000_000
"""Most that the frames decoded at once may need: eight of 3840 x 2160."""
_CHUNKS_KEPT = 2
"""Of each reader: the one that it shows and the one that comes next."""
_SOON = 12
"""Frames ahead whose decoding is begun."""
_WHOLE_BYTES = 32_000_000
"""A take whose frames need no more than this is decoded once and kept."""


class BaseVideoReader:
    """Gives frames uint8 [3 H / 2, W] of a base video; a thread decodes the chunk that comes next.

    Several streams may read one: what is kept is shared. Use it in a `with` block, which ends the thread.
    """

    def __init__(self, take: BaseVideo) -> None:
        self.take = take
        self._count = len(take.times)
        self._bytes = take.width * take.height * 3 // 2
        self._chunk_frames = max(1, min(_CHUNK, _CHUNK_BYTES // self._bytes))
        self._reader = CodedReader(take.picture_path)
        self._chunks: OrderedDict[int, Future[list[Picture]]] = OrderedDict()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="base video")
        self._lock = Lock()
        self._readers = 0
        whole = self._count * self._bytes <= _WHOLE_BYTES
        self._whole = -(-self._count // self._chunk_frames) if whole else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def count_reader(self, change: int) -> None:
        """Tell that one reader more (1) or less (-1) goes through the take at its own pace."""
        with self._lock:
            self._readers += change

    def close(self) -> None:
        """End the decoding thread."""
        self._decoder.shutdown(wait=True, cancel_futures=True)
        self._reader.close()
        self._chunks.clear()

    def __getitem__(self, index: int) -> Picture:
        """Return a frame.

        Raises:
            AvatarError: the video is missing, cut short or damaged.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"the take has frames 0 to {self._count - 1}, not {index}")
        chunk, place = divmod(index, self._chunk_frames)
        try:
            pictures = self._chunk(chunk).result()
        except FootageError as error:
            raise AvatarError(f"A base video of the avatar cannot be read: {error}") from error
        if place >= len(pictures):
            raise self.take.damaged(f"it ends before frame {index} of {self._count}")
        if pictures[place].shape != (self.take.height * 3 // 2, self.take.width):
            raise self.take.damaged(f"frame {index} is not {self.take.width} x {self.take.height}")
        return pictures[place]

    def expect(self, indices: Sequence[int]) -> None:
        """Begin to decode what holds frames that will soon be asked for."""
        for index in indices:
            self._chunk(index // self._chunk_frames)

    def _chunk(self, chunk: int) -> Future[list[Picture]]:
        with self._lock:
            if chunk not in self._chunks:
                start = chunk * self._chunk_frames
                stop = min(start + self._chunk_frames, self._count)
                self._chunks[chunk] = self._decoder.submit(self._reader.read, start, stop)
                kept = self._whole or _CHUNKS_KEPT * max(1, self._readers)
                while len(self._chunks) > kept:
                    self._chunks.popitem(last=False)
            self._chunks.move_to_end(chunk)
            return self._chunks[chunk]


class Speaker:
    """Holds engine, motion and base video of an avatar; close it, or use it in a `with` block.

    Raises:
        AvatarError, SettingsError: as their messages say.
    """

    def __init__(self, avatar: AnyPath, *, settings: SpeakSettings | None = None) -> None:
        """Load an avatar folder and draw one frame, so that the first one that is wanted is not late."""
        self.settings = settings or SpeakSettings()
        avatar = Path(avatar)
        person = read_avatar(avatar)
        self.name = avatar.name
        self.base = base_of(person, self.settings.take)
        self.engine = Engine(person, device=self.settings.device, precision=self.settings.precision)
        self.motion = Motion(person, self.base, self.settings)
        self.pictures = BaseVideoReader(self.base)
        first = self.motion.first
        try:
            spoken = self.engine.speech_at(np.zeros(SAMPLE_RATE, np.float32), [0.5])
            self.engine.renderer.speak([self.pictures[first]], self.base.head[first], spoken)
        except BaseException:
            self.close()
            raise

    def planned(self) -> Iterator[Shown]:
        """Yield without end what is shown; what comes soon begins to be decoded, so that no frame waits."""
        order = self.motion.shown()
        coming = deque(itertools.islice(order, _SOON))
        for one in order:
            coming.append(one)
            self.pictures.expect((*coming[0].indices, *one.indices))
            yield coming.popleft()

    def filmed(self, shown: Shown) -> list[Picture]:
        """Return the frames of the base video that something shown is made of."""
        return [self.pictures[index] for index in shown.indices]

    def close(self) -> None:
        """Let go of the base video."""
        self.pictures.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
