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

"""People at the policy server: takeovers, labels and manual reset requests."""

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaars_ros.control.asking import Asking
from spaars_ros.control.control import ControlLoop
from spaars_ros.control.labels import LabelRefused
from spaars_ros.control.labels import Labels
from spaars_ros.control.person import Person
from spaars_ros.control.supervisor import Phase
from spaars_ros.control.supervisor import Supervisor
from spaars_ros.data.labels import read_labels
from spaars_ros.nodes.policy_server.label_keeper import LabelKeeper
from spaars_ros.nodes.policy_server.person_listener import PersonListener
from spaars_ros.ros.borders import Border
from spaars_ros.ros.lifecycle import ManagedNode

CALL = "hold a dead man's switch to begin an episode"
LEAD = 'lead the arm to its start, then begin: the episode begins when it moves'
DRIVES = {'takeover': 'policy', 'drive': 'person', 'guide': 'guide'}
"""Value of parameter `person` -> drive, see `control.takeover.DRIVES`."""


def person_of(p: Mapping[str, Any], joints: int) -> tuple[Person | None, str]:
    """Return the person who may take over (None if off), and the drive, from the parameters."""
    if p['person'] == 'off':
        return None, 'policy'
    return (Person(joints, age=p['person_age'], lost=p['person_lost']), DRIVES[p['person']])


class People:
    """
    Interfaces of the policy server to people, created by `configure`.

    :param p: parameters of the policy server
    :param border: counts refused messages
    :param put: writes a file, given name and content; must not block
    :raises LabelError: the label file of the run folder cannot be read
    """

    def __init__(self, node: ManagedNode, loop: ControlLoop, p: Mapping[str, Any], border: Border,
                 put: Callable[[str, bytes], None]) -> None:
        self._node, self._takeover, self._p = node, loop.takeover, p
        self._guiding = loop.guiding
        self._known = read_labels(Path(p['run_dir']))
        self._keeper = LabelKeeper(node, self._known, put)
        self._labels: Labels | None = None
        self._supervisor: Supervisor | None = None
        self.made: list[Any] = [self._keeper.publisher]
        """Publishers and subscriptions."""
        self._listener: PersonListener | None = None
        if self._takeover is not None:
            self._listener = PersonListener(node, self._takeover, p, self.label, border)
            self.made += self._listener.subscriptions

    def asking(self) -> Asking:
        """Return what the episodes of an activation wait for: manual reset, switch or motion."""
        p, takeover = self._p, self._takeover
        begins: Callable[[], bool] | None = None
        if takeover is not None:
            takeover.person.forget()  # a switch that is held now has to be released first
            if takeover.drive == 'person':
                person = takeover.person
                begins = lambda: person.acts  # noqa: E731 - takes no argument but the person
        guiding = self._guiding
        if guiding is not None:
            begins = lambda: guiding.moving  # noqa: E731
        return Asking(reset=p['person_reset'], limit=p['person_reset_time'], begins=begins,
                      call=CALL if guiding is None else LEAD)

    def begin(self, supervisor: Supervisor) -> None:
        """Accept labels of the episodes of an activation."""
        self._supervisor = supervisor
        self._labels = Labels(supervisor, self._known, self._keeper.changed)

    def label(self, text: str) -> str:
        """Apply a person's label and return the result as text; raises LabelRefused."""
        if not self._node.is_active or self._labels is None:
            raise LabelRefused('the policy server is not active')
        return self._labels.say(text)

    def said(self) -> list[str]:
        """Return messages to people: requests, and inputs of theirs that are ignored."""
        supervisor = self._supervisor
        lines = [supervisor.asking.wanted if supervisor is not None
                 and supervisor.phase is Phase.ASKING else '',
                 self._takeover.person.complaint() if self._takeover is not None else '',
                 self._listener.missing if self._listener is not None else '',
                 f'{self._guiding.fast} ticks were led faster than the actions reach: go slower'
                 if self._guiding is not None and self._guiding.fast else '']
        return [line for line in lines if line]
