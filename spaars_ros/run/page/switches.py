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

"""Switches of the page: learning on or paused, and the reaction to a spent budget."""

from functools import partial
from typing import Any

import viser

from spaars_ros.run.page.controls import Controls
from spaars_ros.run.page.link import Link
from spaars_ros.run.page.link import told
from spaars_ros.run.page.server import Access

Switch = tuple[str, str, str, tuple[tuple[str, Any], ...], str, dict[Any, str]]
SWITCHES: tuple[Switch, ...] = (
    ('learner', 'paused', 'Learning', (('Go on', False), ('Pause', True)),
     'Paused, the arm acts and every step is recorded; nothing is learned or pushed.',
     {False: 'goes on', True: 'PAUSED'}),
    ('policy_server', 'budget', 'Budget', tuple((word, word) for word in ('off', 'warn', 'hold')),
     'What follows when an episode has spent the limit of a constraint; hold: the pretrained '
     'policy, slow and away from the zones.', {}),
)
"""Node, parameter, label, (button, value) pairs, hint, value -> text to show for it."""


class Switches:
    """One row of buttons per parameter, below the value that was read back."""

    def __init__(self, server: viser.ViserServer, access: Access, link: Link,
                 controls: Controls) -> None:
        self._link, self._controls = link, controls
        self._shown: dict[tuple[str, str], tuple[str, dict[Any, str], Any]] = {}
        with server.gui.add_folder('Learning and budget', order=1.5):
            for node, name, label, choices, hint, words in SWITCHES:
                said = server.gui.add_markdown(f'{label}: not read yet')
                self._shown[node, name] = label, dict(words), said
                buttons = server.gui.add_button_group(label, [word for word, _ in choices],
                                                      hint=hint)
                buttons.on_click(partial(self._clicked, access, label, node, name,
                                         dict(choices)))

    def _clicked(self, access: Access, label: str, node: str, name: str,
                 values: dict[str, Any], event: Any) -> None:
        value = values[event.target.value]
        access.guarded(label, partial(self._set, node, name, value))(event)

    def _set(self, node: str, name: str, value: Any) -> None:
        def answer(good: bool, text: str) -> None:
            self._controls.say(f'{name}: {text}' if good else f'{name} was REFUSED: {text}')
            self.ask()
        self._link.write(node, name, value, answer)

    def ask(self) -> None:
        """Read all values back from the nodes."""
        for node, name in self._shown:
            self._link.read(node, [name], partial(self._take, node))

    def _take(self, node: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            label, words, shown = self._shown[node, name]
            content = f'{label}: **{words.get(value, told(value))}**'
            if shown.content != content:
                shown.content = content
