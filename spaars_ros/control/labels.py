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

"""Labels that people give to episodes: success, failure, discard; and ready. Free of ROS."""

from collections.abc import Callable

from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.schema import Outcome

WORDS = {'success': Outcome.SUCCESS, 'failure': Outcome.FAILURE, 'discard': Outcome.DISCARDED}
"""Word -> the outcome that it gives an episode."""
READY = 'ready'
MOST_DIGITS = 9


class LabelRefused(ValueError):
    """A label that is refused; the message says why."""


class Labels:
    """
    Take people's labels from any input; the newest label of an episode counts.

    A label of the running episode ends it, and is stored in its last record. A label of an earlier
    episode is stored beside the records, and corrects what was learned. Both override the outcome
    that the task computes.

    :param supervisor: runs the episodes
    :param known: episode -> earlier label
    :param changed: called with all labels of earlier episodes, and the episode of the new one
    """

    def __init__(self, supervisor: Supervisor, known: dict[int, Outcome],
                 changed: Callable[[dict[int, Outcome], int], None]) -> None:
        self._supervisor = supervisor
        self.known = known
        self._changed = changed

    def say(self, text: str) -> str:
        """
        Take `success`, `failure`, `discard` or `ready`; return the effect in words.

        :param text: the word; the first three may be followed by an episode number, by default the
            running episode's or else the last one's
        :raises LabelRefused: another word, an episode that does not exist, or `ready` without a
            request
        """
        word, number = _parsed(text)
        supervisor = self._supervisor
        if word == READY:
            if not supervisor.asking.ready():
                raise LabelRefused('nobody waits for it')
            return 'the run continues'
        newest = supervisor.loop.episode
        running = supervisor.phase is Phase.RUNNING
        if newest < 0:
            raise LabelRefused('no episode has begun yet')
        episode = newest if number is None else number
        if episode > newest:
            raise LabelRefused(f'there is no episode {episode}: the newest is {newest}')
        if episode == newest and running:
            supervisor.loop.verdict = WORDS[word]
            return f'episode {episode} ends as {word}'
        self.known[episode] = WORDS[word]
        self._changed(self.known, episode)
        return f'episode {episode} is {word} from now on'


def _parsed(text: str) -> tuple[str, int | None]:
    parts = text.split()
    if not parts or len(parts) > 2 or parts[0] not in (*WORDS, READY) \
            or parts[0] == READY and len(parts) > 1:
        raise LabelRefused(f'{text[:60]!r} is no label: expected {", ".join(WORDS)}, each with '
                           f'the number of an episode or without, or {READY}')
    if len(parts) == 1:
        return parts[0], None
    if not (parts[1].isascii() and parts[1].isdigit() and len(parts[1]) <= MOST_DIGITS):
        raise LabelRefused(f'{parts[1][:60]!r} is no number of an episode')
    return parts[0], int(parts[1])
