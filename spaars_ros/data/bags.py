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

"""Reader of rosbag2 bags (MCAP and sqlite3), by message; executes nothing from a bag."""

from collections import Counter
from collections.abc import Collection
from collections.abc import Iterator
from dataclasses import dataclass
import os
from pathlib import Path
import sqlite3
from typing import Any

from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from spaars_ros.data.mcap_records import Damage
from spaars_ros.data.recording import read_messages
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.recording import recording_files

NANO = 1_000_000_000


class BagError(ValueError):
    """A bag cannot be read; the message names the file, the topic and the time."""


@dataclass(frozen=True)
class BagMessage:
    """One serialised message of a bag."""

    topic: str
    type: str
    time_ns: int
    """Time of recording, ns."""
    data: bytes


class Bag:
    """
    A rosbag2 folder, an MCAP file or a .db3 file.

    :raises BagError: it is not a bag, it has no message, or its files are compressed
    :raises OSError: it cannot be read
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.damage: list[Damage] = []
        if not self.path.exists():
            raise BagError(f'{self.path}: no such bag')
        self._databases = [self.path] if self.path.suffix == '.db3' else \
            sorted(self.path.glob('*.db3')) if self.path.is_dir() else []
        packed = sorted(self.path.glob('*.zstd')) if self.path.is_dir() else []
        if packed:
            raise BagError(f'{packed[0]}: a bag whose files are compressed: unpack it first '
                           '(zstd --decompress)')
        self._store = get_typestore(Stores.LATEST)
        self.types: dict[str, str] = {}
        """Topic -> message type."""
        self.counts: Counter[str] = Counter()
        """Topic -> number of messages."""
        self.start_ns = 0
        first = None
        for message in self.raw(ordered=False):
            self.types.setdefault(message.topic, message.type)
            self.counts[message.topic] += 1
            first = message.time_ns if first is None else min(first, message.time_ns)
        if first is None:
            raise BagError(f'{self.path}: no message in it')
        self.start_ns = first

    def at(self, time_ns: int) -> str:
        """Return a time in words, as seconds from the first message of the bag."""
        return f'{(time_ns - self.start_ns) / NANO:.3f} s into the bag'

    def named(self, name: str) -> list[str]:
        """Return the topic with this full name, else those whose names end in it."""
        wanted = name.lstrip('/')
        exact = [topic for topic in self.types if topic.lstrip('/') == wanted]
        return exact or [topic for topic in self.types if topic.endswith(f'/{wanted}')]

    def find(self, name: str, what: str) -> str:
        """
        Return the full name of the topic with this name, in any namespace.

        :param name: with or without its namespace
        :param what: what the topic is needed for, for the error message
        :raises BagError: no topic or several topics match; the message lists them
        """
        found = self.named(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise BagError(f'{self.path}: {what}: {name!r} is {len(found)} topics, '
                           f'{", ".join(found)}: name one in full')
        raise BagError(f'{self.path}: {what}: no topic {name!r} in it; there are '
                       + ', '.join(f'{topic} ({kind.rpartition("/")[2]}, {self.counts[topic]})'
                                   for topic, kind in sorted(self.types.items())))

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """
        Yield topic, time of recording (ns) and decoded message, in order of recording.

        :raises BagError: a message cannot be decoded
        """
        for message in self.raw(topics):
            try:
                yield message.topic, message.time_ns, self._store.deserialize_cdr(
                    message.data, message.type)
            except Exception as error:  # noqa: BLE001 - of rosbags, struct and numpy, any kind
                raise BagError(f'{self.path}: {message.topic}: {self.at(message.time_ns)}: not a '
                               f'{message.type}: {type(error).__name__}: {error}') from None

    def raw(self, topics: Collection[str] | None = None, ordered: bool = True
            ) -> Iterator[BagMessage]:
        """
        Yield serialised messages of the given topics, or of all.

        :param ordered: whether in order of recording, which holds all of them in memory; False: in
            file order, for topics as large as those of images
        """
        if self._databases:
            yield from self._of_databases(topics)
            return
        try:
            recording_files(self.path)
            found = (BagMessage(channel.topic, schema.name, message.log_time, message.data)
                     for schema, channel, message in read_messages(self.path, self.damage)
                     if topics is None or channel.topic in topics)
            yield from sorted(found, key=lambda each: each.time_ns) if ordered else found
        except RecorderError as error:
            raise BagError(str(error)) from None

    def _of_databases(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        for path in self._databases:
            try:
                # Open read-only: the bag belongs to the user.
                with sqlite3.connect(f'file:{path}?mode=ro', uri=True) as database:
                    kinds = {number: (name, kind) for number, name, kind in database.execute(
                        'SELECT id, name, type FROM topics')}
                    for number, time, data in database.execute(
                            'SELECT topic_id, timestamp, data FROM messages ORDER BY timestamp'):
                        name, kind = kinds.get(number, ('', ''))
                        if name and (topics is None or name in topics):
                            yield BagMessage(str(name), str(kind), int(time), bytes(data))
            except sqlite3.Error as error:
                raise BagError(f'{path}: not a bag of rosbag2: {error}') from None
