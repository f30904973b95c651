# Copyright 2026 The spaars_ros authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Camera frames of a run: written as JPEG beside its records up to a limit, and read again."""

from collections.abc import Iterator
from collections.abc import Mapping
import os
from pathlib import Path
import queue
import threading

from mcap.writer import Writer

from spaars_ros.data.bags import Bag
from spaars_ros.data.bags import BagError
from spaars_ros.data.files import open_inside
from spaars_ros.data.recording import read_messages
from spaars_ros.data.recording import RecorderError
from spaars_ros.vision.image_messages import COMPRESSED
from spaars_ros.vision.image_messages import compressed_message
from spaars_ros.vision.image_messages import DEFINITION
from spaars_ros.vision.image_messages import Frame
from spaars_ros.vision.image_messages import frame_of
from spaars_ros.vision.image_messages import IMAGE
from spaars_ros.vision.images import ImageError
from spaars_ros.vision.images import jpeg_of
from spaars_ros.vision.images import Pixels

WAITING = 64
"""Frames that wait for the disk; further ones are lost, and counted."""
CHUNK = 1024 * 1024
SUFFIX = '/compressed'
"""Suffix of the topic of frames that came uncompressed."""
NAME = 'frames_{:03d}.mcap'
MEGA = 1_000_000


class FramesError(ValueError):
    """Frames cannot be read; the message names the file and says why."""


def frame_files(folder: Path) -> list[Path]:
    """Return the files of frames in the folder of a run, oldest first."""
    return sorted(folder.glob('frames_*.mcap'))


class FrameWriter:
    """
    Write frames to the next free file of a run's folder, on a separate thread.

    :param folder: of the run
    :param most: bytes that all its files of frames may have together
    :param wait: whether `put` waits for the disk instead of losing a frame
    :param encoders: source -> digest of the encoder in use, stored for readers
    :raises OSError: the file cannot be created
    """

    def __init__(self, folder: Path, most: int, wait: bool = False,
                 encoders: Mapping[str, str] | None = None) -> None:
        self._room = most - sum(path.stat().st_size for path in frame_files(folder))
        self._waiting: queue.Queue[tuple[str, int, Pixels | bytes] | None] = queue.Queue(WAITING)
        self._wait = wait
        self.kept = self.lost = 0
        """Frames in the file, and frames lost because the disk was too slow."""
        self.error = ''
        """Why no more frames are kept, '' while they are."""
        folder.mkdir(parents=True, exist_ok=True)
        number = next(n for n in range(1, 10_000) if not (folder / NAME.format(n)).exists())
        self.path = folder / NAME.format(number)
        self._file = os.fdopen(open_inside(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), 'wb')
        self._writer = Writer(self._file, chunk_size=CHUNK)
        self._writer.start(profile='ros2', library='spaars_ros')
        self._writer.add_metadata('encoders', dict(encoders or {}))
        self._schema = self._writer.register_schema(COMPRESSED, 'ros2msg', DEFINITION.encode())
        self._channels: dict[str, int] = {}
        self._check_room(0)
        self._thread = threading.Thread(target=self._run, name='frames', daemon=True)
        self._thread.start()

    def put(self, topic: str, stamp_ns: int, image: Pixels | bytes) -> None:
        """Queue an image (h, w, 3), or JPEG bytes, for writing; return at once unless `wait`."""
        if self.error:
            return
        try:
            self._waiting.put((topic, stamp_ns, image), block=self._wait)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write the queued frames, and finish the file."""
        self._waiting.put(None)
        self._thread.join(10.0)

    def _run(self) -> None:
        while True:
            item = self._waiting.get()
            if item is None:
                break
            if not self.error:
                self._write(*item)
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._file.close()
        except OSError as error:
            self.error = self.error or f'{self.path}: {error.strerror}'

    def _write(self, topic: str, stamp_ns: int, image: Pixels | bytes) -> None:
        data, name = (image, topic) if isinstance(image, bytes) \
            else (jpeg_of(image), topic + SUFFIX)
        name = '/' + name.lstrip('/')
        if name not in self._channels:
            self._channels[name] = self._writer.register_channel(
                name, 'cdr', self._schema, {'offered_qos_profiles': ''})
        message = compressed_message(data, stamp_ns, topic.lstrip('/'))
        try:
            self._writer.add_message(self._channels[name], stamp_ns, message, stamp_ns, self.kept)
        except OSError as error:
            self.error = f'{self.path}: {error.strerror}: no more frames are kept'
            return
        self.kept += 1
        self._check_room(len(message))

    def _check_room(self, used: int) -> None:
        self._room -= used
        if self._room <= 0:
            self.error = 'the bound of frames on disk is reached: no more are kept'


def read_frames(path: Path, topic: str = '') -> Iterator[Frame]:
    """
    Yield the frames of a run's folder, or of a bag of rosbag2, in file order.

    :param path: the folder, or the bag
    :param topic: of the images, with or without its suffix; '': all
    :raises FramesError: there are none, or a file cannot be read
    :raises OSError: a file cannot be read
    """
    files = frame_files(path) if path.is_dir() else []
    if not path.exists():
        raise FramesError(f'{path}: no such file or folder')
    wanted = topic.lstrip('/').removesuffix(SUFFIX)
    count = 0
    for file in files or [path]:
        try:
            for found, kind, data in _messages(file):
                name = found.lstrip('/').removesuffix(SUFFIX)
                if kind in (IMAGE, COMPRESSED) and (
                        not wanted or name == wanted or name.endswith('/' + wanted)):
                    count += 1
                    yield frame_of(found, kind, data)
        except (BagError, RecorderError) as error:
            raise FramesError(str(error)) from None
        except ImageError as error:
            raise FramesError(f'{file}: {error.text}') from None
    if not count:
        raise FramesError(f'{path}: no image{f" on {topic}" if topic else ""} in it: frames are '
                          'kept by the node encoder, by `spaars collect --frames`, or recorded by '
                          '`ros2 bag record`')


def _messages(file: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield topic, type and bytes; from a truncated MCAP file, its complete messages."""
    if file.suffix == '.mcap' and file.is_file():
        for schema, channel, message in read_messages(file):
            yield channel.topic, schema.name, message.data
        return
    for one in Bag(file).raw():
        yield one.topic, one.type, one.data
