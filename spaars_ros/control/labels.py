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

"""What people say of episodes: success, failure, discard; ready. Free of ROS."""

from collections.abc import Callable

from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.schema import Outcome

WORDS = {'success': Outcome.SUCCESS, 'failure': Outcome.FAILURE, 'discard': Outcome.DISCARDED}
"""Word -> the outcome that it gives an episode."""
READY = 'ready'
MOST_DIGITS = 9


class LabelRefused(ValueError):
    """A label that cannot be taken; the message says why."""


class Labels:
    """
    Take people's labels, by whatever way they come; the newest of an episode wins.

    A label of the running episode ends it, and is in its last record. One of an episode that has
    ended stands beside the records, and corrects what was learned. Either wins over what the task
    computes.

    :param known: episode -> label, of before
    :param changed: is told all labels of ended episodes, and which one is new
    """

    def __init__(self, supervisor: Supervisor, known: dict[int, Outcome],
                 changed: Callable[[dict[int, Outcome], int], None]) -> None:
        self._supervisor = supervisor
        self.known = known
        self._changed = changed

    def say(self, text: str) -> str:
        """
        Take `success`, `failure`, `discard` or `ready`; return what came of it.

        :param text: the word; after one of the first three may stand the number of the episode,
            else it is the running one's, or the last one's that ended
        :raises LabelRefused: another word, or an episode that does not exist
        """
        word, number = _parsed(text)
        supervisor = self._supervisor
        if word == READY:
            if not supervisor.asking.ready():
                raise LabelRefused('nobody waits for it')
            return 'the run goes on'
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
