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

"""Start of the page next to a run, as a process that cannot block the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
import os
from pathlib import Path
import signal
import subprocess
import sys

from spaars_ros.interrupts import die_with_parent
from spaars_ros.run.bringup import RunSettings

NICENESS = 10
"""Added to the niceness of the page, so that the nodes have priority."""
GRACE = 2.0
"""s for the page to end before it is killed."""


def has_viser() -> bool:
    """Return whether the extra `page` is installed."""
    return find_spec('viser') is not None


def require_viser() -> None:
    """Raise ValueError that names the extra when it is not installed."""
    if not has_viser():
        raise ValueError("the operator's page needs the extra `page`, which is not installed: "
                         'pip install "spaars_ros[page]"')


def _prepare() -> None:
    die_with_parent()
    os.nice(NICENESS)


def is_wanted(choice: bool | None) -> bool:
    """
    Return whether to serve a page.

    :param choice: choice of the user; None: whether the extra is installed and this is a terminal
    :raises ValueError: a page is requested and the extra is not installed
    """
    if choice is None:
        return has_viser() and sys.stdout.isatty()
    if choice:
        require_viser()
    return choice


@contextmanager
def page_of(settings: RunSettings) -> Iterator[str]:
    """
    Run the page during the block; yield a line with its address and token, '' for no page.

    Its output is in `<out>/log/page.log`. A failure of the page does not affect the run.
    """
    if not settings.page:
        yield ''
        return
    from spaars_ros.run.page.server import choose_port
    from spaars_ros.run.page.server import new_token
    from spaars_ros.run.page.server import PageError
    from spaars_ros.run.page.server import TOKEN
    host, token = '127.0.0.1', new_token()
    try:
        port = choose_port(host, 0)
    except PageError as error:
        yield f"no operator's page: {error}"
        return
    command = [sys.executable, '-m', 'spaars_ros.cli', 'page', '--host', host, '--port',
               str(port), '--robot', settings.robot, '--task', settings.task]
    for option, value in (('--namespace', settings.namespace),
                          ('--joint-states', settings.joint_states)):
        if value:
            command += [option, value]
    with open(Path(settings.out) / 'log' / 'page.log', 'ab') as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, TOKEN: token, 'PYTHONUNBUFFERED': '1'}, preexec_fn=_prepare,
            start_new_session=True)
    try:
        yield f"operator's page: http://{host}:{port}  token {token}"
    finally:
        # Resume it first: a suspended process could not end.
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
