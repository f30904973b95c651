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

"""Web server of the page, and access control for moving the arm."""

from collections import deque
from collections.abc import Callable
from contextlib import redirect_stdout
import hmac
import io
import logging
import secrets
import socket
import time
from typing import Any

import numpy as np
import viser

from spaars_ros.data.schema import Array

PORT = 8080
TRIED = 20
"""Number of ports to try, from `PORT` on, when none is given."""
TOKEN = 'SPAARS_PAGE_TOKEN'
"""Environment variable that passes the run's token to its page, so that ps does not show it."""
WRONG_PER_MINUTE = 10
"""Wrong tokens per minute, of all browsers together, after which none is compared."""


class PageError(RuntimeError):
    """Page cannot be served; the message says why and what to do."""


def new_token() -> str:
    """
    Return a random token of 32 bits as 8 hex digits, short enough to type.

    With `WRONG_PER_MINUTE` attempts, finding it takes 400 years on average.
    """
    return secrets.token_hex(4)


def is_free(host: str, port: int) -> bool:
    """Return whether a TCP port can be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def choose_port(host: str, port: int) -> int:
    """Return the port to listen on; 0: the first free one from `PORT` on. Raises PageError."""
    if port:
        if not is_free(host, port):
            raise PageError(f'--port {port}: {host}:{port} is in use: is a page open already? '
                            'Give another --port, or 0 for a free one')
        return port
    for free in range(PORT, PORT + TRIED):
        if is_free(host, free):
            return free
    raise PageError(f'ports {PORT} to {PORT + TRIED - 1} of {host} are all in use: give --port')


class PageServer(viser.ViserServer):
    """
    Viser server without its share links, which open a tunnel to the Internet.

    :param host: address to listen on
    :param port: free port to listen on
    :param title: title of the page
    :raises PageError: the port is in use
    """

    def __init__(self, host: str, port: int, title: str) -> None:
        # No traceback when a browser closes the connection.
        logging.getLogger('websockets.server').setLevel(logging.CRITICAL)
        with redirect_stdout(io.StringIO()):
            super().__init__(host=host, port=port, label=title, verbose=False)
        if self.get_port() != port:  # in use by now, so that viser took the next one
            self.stop()
            raise PageError(f'{host}:{port} is in use: give another --port')
        self.gui.configure_theme(control_width='large', show_logo=False, show_share_button=False)
        self.gui.main_panel.dock_right()

    def look_at(self, centre: Array, reach: float) -> None:
        """Set the initial camera to an arm: its centre (3,) in m and its reach in m."""
        self.initial_camera.look_at = centre + np.array([0.25 * reach, 0.0, 0.1 * reach])
        self.initial_camera.position = centre + reach * np.array([1.1, 1.1, 0.7])

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Return None: any client could request a link, and its tunnel would admit everybody."""
        return None


class Access:
    """
    Access control: browsers may move the arm after the run's token was typed in them.

    After `WRONG_PER_MINUTE` wrong tokens within a minute, of all browsers together, none is
    compared until the minute is over.

    :param token: token of the run
    """

    def __init__(self, server: viser.ViserServer, token: str) -> None:
        self._token = token
        self._wrong: deque[float] = deque(maxlen=WRONG_PER_MINUTE)
        self._allowed: set[int] = set()
        server.on_client_connect(self._greet)
        server.on_client_disconnect(lambda client: self._allowed.discard(client.client_id))

    def _greet(self, client: viser.ClientHandle) -> None:
        with client.gui.add_folder('Who may move the arm', order=0.5):
            field = client.gui.add_text(
                'Token', '', hint='Printed where the run was started. Each browser needs it once; '
                                  'a stop request needs none.')
            said = client.gui.add_markdown('This browser watches, and can stop.')

        @field.on_update
        def _(_: Any) -> None:
            typed = field.value.strip()
            if len(typed) < len(self._token):  # a field reports each key
                return
            if self.wait:
                said.content = f'Too many wrong tokens: try again in {self.wait:.0f} s.'
            elif self.is_right(typed):
                self._allowed.add(client.client_id)
                field.remove()
                said.content = '**This browser may move the arm.**'
            else:
                said.content = 'Wrong token. This browser watches, and can stop.'

    @property
    def wait(self) -> float:
        """Return the time in s until a token is compared again, 0.0 if it is now."""
        if len(self._wrong) < WRONG_PER_MINUTE:
            return 0.0
        return max(0.0, self._wrong[0] + 60.0 - time.monotonic())

    def is_right(self, typed: str) -> bool:
        """Compare a token in constant time, and count it if it is wrong."""
        right = hmac.compare_digest(typed.encode(), self._token.encode())
        if not right:
            self._wrong.append(time.monotonic())
        return right

    def allows(self, client_id: int | None) -> bool:
        """Return whether a browser may move the arm."""
        return client_id in self._allowed

    def guarded(self, what: str, act: Callable[[], None]) -> Callable[[Any], None]:
        """Return a callback that calls `act` for authorised browsers and notifies others."""
        def call(event: Any) -> None:
            if self.allows(event.client_id):
                act()
            elif event.client is not None:
                event.client.add_notification(
                    "Needs the run's token", f'{what}: type the token that was printed where the '
                    'run was started into the field Token.', color='orange',
                    auto_close_seconds=8.0)
        return call
