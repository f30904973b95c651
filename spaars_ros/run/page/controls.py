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

"""Controls of the page: requests on a click, and their results."""

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
import math
from typing import Any

import viser

from spaars_ros.run.page.driver import Driver
from spaars_ros.run.page.link import Link
from spaars_ros.run.page.server import Access
from spaars_ros.run.page.words import plain

LABELS = (('Success', 'label_success'), ('Failure', 'label_failure'),
          ('Discard', 'label_discard'), ('Put back: ready', 'label_ready'))


class Controls:
    """Buttons for stop request, reset, rollback and labels."""

    def __init__(self, server: viser.ViserServer, access: Access, link: Link,
                 driver: Driver) -> None:
        self._server, self._access, self._link, self._driver = server, access, link, driver
        gui = server.gui
        # In a floating window, which does not scroll away. On a telephone such a window is
        # collapsed, so that the button is at the top of the panel, too.
        window = gui.add_panel(order=0.0)
        with window.add_tab('Stop'):
            self._add_stop()
        window.float(x=15, y=-15, width=200)
        self._add_stop()
        self._said = gui.add_markdown('', order=0.2)
        with gui.add_folder('Run', order=1.0):
            self._add('Reset after a stop', 'reset', 'The cause has to be gone; the arm moves '
                      'again.')
            self._add('Roll back the policy', 'rollback', 'To the version before.')
        with gui.add_folder('Judge the episode', order=3.0, expand_by_default=False):
            for label, service in LABELS:
                self._add(label, service, '')

    def _add_stop(self) -> None:
        button = self._server.gui.add_button(
            'STOP REQUEST', color='red', order=0.1,
            hint='Asks the policy server to brake the arm. It is no emergency stop: that is the '
                 'one of the robot. Needs no token.')
        button.on_click(lambda _: self.stop())

    def _add(self, label: str, service: str, hint: str) -> None:
        button = self._server.gui.add_button(label, hint=hint or None)
        button.on_click(self._access.guarded(label, lambda: self.ask(label, service)))

    def stop(self) -> None:
        """Request a stop immediately; no token is needed."""
        # The request goes first, before anything else.
        self._link.trigger('estop', self._answer('Stop request'))
        self._driver.release()

    def ask(self, label: str, service: str) -> None:
        """Call a service of the policy server and show its response."""
        self._link.trigger(service, self._answer(label))

    def _answer(self, label: str) -> Callable[[bool, str], None]:
        def show(good: bool, text: str) -> None:
            self.say(f'{label}: {text}' if good else f'{label} was REFUSED: {text}')
        return show

    def say(self, text: str) -> None:
        """Show the result of the last click."""
        self._said.content = plain(text)


class Limits:
    """
    Fields for the cost limits, each with the value that was read back.

    :param constraints: names of the constraints in the robot file
    """

    def __init__(self, server: viser.ViserServer, access: Access, link: Link,
                 controls: Controls, constraints: Sequence[str]) -> None:
        self._link = link
        self._shown: dict[tuple[str, str], Any] = {}
        self._labels: dict[tuple[str, str], str] = {}
        wanted = [('cost_monitor', 'cost_limit' if not number else f'{name}.cost_limit',
                   f'Limit of {name}')
                  for number, name in enumerate(constraints)]
        wanted += [('cost_monitor', 'stop_cost', 'An episode that costs more is a stop (0: off)'),
                   ('policy_server', 'max_episode_cost',
                    'The same, held by the policy server (0: off)')]
        with server.gui.add_folder('Limits', order=2.0, expand_by_default=False):
            for node, name, label in wanted:
                self._add(server, access, controls, node, name, label)

    def _add(self, server: viser.ViserServer, access: Access, controls: Controls, node: str,
             name: str, label: str) -> None:
        self._labels[node, name] = label
        self._shown[node, name] = server.gui.add_markdown(f'{plain(label)}: not read yet')
        field = server.gui.add_text(f'{name} to', '', hint='New value, then Set.')

        def set_it() -> None:
            try:
                value = float(field.value)
            except ValueError:
                value = math.nan
            if not math.isfinite(value) or value < 0.0:
                controls.say(f'{name} {field.value!r}: expected a number from 0')
                return

            def answer(good: bool, text: str) -> None:
                controls.say(f'{name}: {text}' if good else f'{name} was REFUSED: {text}')
                self.ask()
            self._link.write(node, name, value, answer)
        server.gui.add_button(f'Set {name}').on_click(access.guarded(f'Set {name}', set_it))

    def ask(self) -> None:
        """Read all limits back from the nodes."""
        for node in ('cost_monitor', 'policy_server'):
            names = [name for of, name in self._shown if of == node]
            self._link.read(node, names, partial(self._take, node))

    def _take(self, node: str, values: dict[str, Any]) -> None:
        for (of, name), shown in self._shown.items():
            if of == node:
                value = values.get(name)
                said = 'there is none' if value is None else f'**{value:g}**'
                content = f'{plain(self._labels[of, name])}: {said}'
                if shown.content != content:
                    shown.content = content
