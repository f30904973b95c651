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

"""Handle on the tip with which the operator drives the arm."""

from typing import Any

import numpy as np
import viser

from spaars_ros.data.schema import Array
from spaars_ros.run.page.driver import Driver
from spaars_ros.run.page.server import Access


class Handle:
    """Handle that follows the tip until an authorised operator pulls it."""

    def __init__(self, server: viser.ViserServer, access: Access, driver: Driver) -> None:
        self._driver = driver
        self._tip = np.zeros(3)
        self._controls = server.scene.add_transform_controls(
            '/handle', scale=0.15, disable_rotations=True, visible=False,
            depth_test=False)  # draw it in front of the hand that would hide it
        with server.gui.add_folder('Take over', order=2.5, expand_by_default=False):
            shown = server.gui.add_checkbox(
                'Handle on the tip', False, hint="Hold it and pull: the arm is yours as long as "
                "you do. It moves through the safety filter, like the policy's actions.")
            home = server.gui.add_button('Move home', hint='Slowly, in a straight line of the '
                                                           'joints, through the safety filter.')
            let_go = server.gui.add_button('Let go')
        home.on_click(access.guarded('Move home', driver.home))
        let_go.on_click(lambda _: driver.release())

        @shown.on_update
        def _(_: Any) -> None:
            self._controls.visible = shown.value

        pull = access.guarded('Take over', lambda: driver.pull(
            np.asarray(self._controls.position, dtype=np.float64)))

        @self._controls.on_update
        def _(event: Any) -> None:
            if event.phase == 'end' or not shown.value:
                driver.release()
            elif event.phase == 'start' or access.allows(event.client_id):
                pull(event)
        server.on_client_disconnect(lambda _: driver.release())

    def follow(self, tip: Array) -> None:
        """Place the handle on the tip (3,) in m while nobody holds it."""
        if self._driver.active != 'handle' and not np.allclose(tip, self._tip, atol=1e-4):
            self._tip = tip
            self._controls.position = tip
