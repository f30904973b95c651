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

"""Samples of a task's sources out of a bag; images pass through the encoder of their camera."""

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from spaars_ros.data.bags import Bag
from spaars_ros.data.bags import BagError
from spaars_ros.data.bags import BagMessage
from spaars_ros.data.bags import NANO
from spaars_ros.robot.sources import Source
from spaars_ros.ros.sources.features import features_message
from spaars_ros.ros.sources.frames import Frames
from spaars_ros.ros.sources.kind import SourceError
from spaars_ros.ros.sources.row import RowMaker
from spaars_ros.run.bag_tracks import Track
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.sources import sources_of
from spaars_ros.vision.encoder import Encoder
from spaars_ros.vision.frames import SUFFIX
from spaars_ros.vision.image_messages import COMPRESSED
from spaars_ros.vision.image_messages import frame_of
from spaars_ros.vision.images import ImageError


class BagSources:
    """
    Tracks of the sources that a task observes.

    A camera's values come from its images, and from recorded vectors of its encoder if the bag has
    no images. As in a run, an image is known from when it was recorded, not from its stamp, and
    its age counts from its stamp.

    :param frames: frames of the robot at its present position
    :param clock: stamp or log, see `ImportOptions`
    :param notes: takes a line for each sample that cannot be used
    :raises BagError: the bag lacks a topic, or its type is wrong
    :raises ConfigError: a source of the task is not declared
    """

    def __init__(self, bag: Bag, task: Task, frames: Frames, clock: str,
                 notes: list[str]) -> None:
        self._bag, self._clock, self._notes = bag, clock, notes
        self._makers: dict[str, RowMaker] = {}
        self._images: dict[str, str] = {}
        self.tracks: dict[str, Track] = {}
        """Source -> its values."""
        for source in sources_of(task):
            if source.name not in task.spec.sources:
                continue  # of success or reward, which no observation holds
            self._makers[source.name] = RowMaker(
                source, frames.between,
                lambda one, other: frames.name(one) == frames.name(other))
            images = images_of(bag, source)
            if images:
                self._images[source.name] = images
            self.tracks[source.name] = Track(images or bag.find(
                source.on, f'source {source.name}'))

    @property
    def topics(self) -> list[str]:
        """Return the topics whose messages `take` wants; images are none of them."""
        return [track.topic for name, track in self.tracks.items() if name not in self._images]

    def take(self, topic: str, log: int, msg: Any) -> None:
        """Add a message of a topic, recorded at `log` ns, to the sources on it."""
        for name, track in self.tracks.items():
            if track.topic == topic and name not in self._images:
                self._add(name, log, msg)

    def see(self, shift: int) -> None:
        """
        Encode the images of all cameras.

        :param shift: ns to add to a time of recording to convert it to the clock of the states
        :raises BagError: of a topic no image at all can be used
        """
        for name, topic in self._images.items():
            source, track = self._makers[name].source, self.tracks[name]
            track.came, track.late = [], source.max_age
            encoder, count, before = Encoder(source, provider='auto'), 0, len(self._notes)
            for message in self._due(source, topic):
                count += 1
                try:
                    frame = frame_of(topic, message.type, message.data)
                    values = encoder.encode(frame.pixels())
                except ImageError as error:
                    self._note(topic, message.time_ns, str(error))
                    continue
                if self._add(name, message.time_ns,
                             features_message(values, frame.stamp_ns, encoder.digest)):
                    track.came.append(max(track.times[-1], message.time_ns + shift))
            if not track.times:
                why = self._notes[before] if len(self._notes) > before else 'there is none'
                raise BagError(f'{self._bag.path}: source {name}: none of {count} images can be '
                               f'used: {why}')

    def _due(self, source: Source, topic: str) -> Iterator[BagMessage]:
        """Yield the images that the camera's rate asks for; those out of order are noted."""
        period = source.camera.period_ns if source.camera is not None else 0
        newest: int | None = None
        for message in self._bag.raw([topic], ordered=False):
            try:
                stamp = message.time_ns if self._clock == 'log' \
                    else frame_of(topic, message.type, message.data).stamp_ns
            except ImageError:
                yield message  # it is named where it is read
                continue
            if newest is not None and stamp < newest:
                self._note(topic, message.time_ns, 'an image that is older than the one before')
            elif newest is None or stamp - newest >= max(period, 1):
                newest = stamp
                yield message

    def at(self, time: int) -> dict[str, Sample] | None:
        """Return the newest samples at a tick in ns; None if one is missing or too old."""
        found = {}
        for name, track in self.tracks.items():
            sample = self._newest(name, track, time)
            if sample is None:
                return None
            found[name] = sample
        return found

    def lacking(self, times: Iterable[int]) -> list[str]:
        """Return the topics that have no sample at one of some ticks in ns."""
        ticks = list(times)
        return [track.topic for name, track in self.tracks.items()
                if any(self._newest(name, track, time) is None for time in ticks)]

    def _newest(self, name: str, track: Track, time: int) -> Sample | None:
        place = track.before(time)
        if place < 0:
            return None
        age = (time - track.times[place]) / NANO
        return Sample(track.values[place], age) if age <= self._makers[name].source.max_age \
            else None

    def _add(self, name: str, log: int, msg: Any) -> bool:
        """Add the sample of a message, if it has one; return whether it has."""
        try:
            row = self._makers[name].row(msg, log)
        except SourceError as error:
            if error.code != 'NO_STATE':
                self._note(self.tracks[name].topic, log, str(error))
            return False
        if row is not None:
            self.tracks[name].add(row.stamp_ns, log, row.values, self._clock)
        return row is not None

    def _note(self, topic: str, log: int, text: str) -> None:
        self._notes.append(f'{topic}: {self._bag.at(log)}: {text}')


def images_of(bag: Bag, source: Source) -> str:
    """
    Return the topic of a camera's images in a bag, also of those that were compressed for it.

    '' for a source without a camera, or if only vectors of its encoder were recorded.

    :raises BagError: there is neither, several topics match, or the type is another one
    """
    if source.camera is None:
        return ''
    for name, kind in ((source.images, source.type), (source.images + SUFFIX, COMPRESSED)):
        if not bag.named(name):
            continue
        topic = bag.find(name, f'source {source.name}')
        if bag.types[topic] != kind:
            raise BagError(f'{bag.path}: source {source.name}: {topic} is {bag.types[topic]}, '
                           f'declared is {kind}: change `type` of the source in the task file')
        return topic
    if not bag.named(source.on):
        bag.find(source.images, f'source {source.name}')  # raises, with the topics there are
    return ''
