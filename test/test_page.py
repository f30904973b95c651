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

"""The operator's page: what it shows, who may move the arm, and that a run never feels it."""

import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

from finetune_run import Run
from finetune_run import runs as runs
import numpy as np
from page_run import page_of
from page_run import shown
import pytest
from small_run import prepare

from spaars_ros.control.person import Person
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.run.liveview import LiveState

viser = pytest.importorskip('viser', reason="the extra 'page' is not installed")
from spaars_ros.run.page import driver  # noqa: E402
from spaars_ros.run.page.curves import moving  # noqa: E402
from spaars_ros.run.page.curves import POINTS  # noqa: E402
from spaars_ros.run.page.curves import series_of  # noqa: E402
from spaars_ros.run.page.meshes import visual_parts  # noqa: E402
from spaars_ros.run.page.server import Access  # noqa: E402
from spaars_ros.run.page.server import choose_port  # noqa: E402
from spaars_ros.run.page.server import PageError  # noqa: E402
from spaars_ros.run.page.server import PageServer  # noqa: E402
from spaars_ros.run.page.server import WRONG_PER_MINUTE  # noqa: E402
from spaars_ros.run.page.words import age  # noqa: E402
from spaars_ros.run.page.words import summary  # noqa: E402

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp('small'))


# What it draws and says


def test_parts_of_the_arm_span_what_its_geoms_span():
    kinematics = Kinematics(load_robot())
    kinematics.tip(np.asarray(load_robot().home))
    model, data = kinematics.model, kinematics.data
    points = np.concatenate([
        part.vertices @ data.xmat[part.body].reshape(3, 3).T + data.xpos[part.body]
        for part in visual_parts(model)])
    shown = [geom for geom in range(model.ngeom)
             if model.geom_group[geom] <= 2 and model.geom_type[geom] != 0]
    centres = data.geom_xpos[shown]
    assert (points.min(axis=0) <= centres.min(axis=0)).all()
    assert (points.max(axis=0) >= centres.max(axis=0)).all()
    radius = model.geom_rbound[shown].max()
    assert (points.max(axis=0) <= centres.max(axis=0) + radius).all()


def test_every_face_names_a_vertex_of_its_part():
    for part in visual_parts(Kinematics(load_robot()).model):
        assert 0 <= part.faces.min() and part.faces.max() < len(part.vertices)


def test_moving_mean_is_that_of_the_last_twenty():
    values = np.arange(50.0)
    assert moving(values)[49] == np.mean(values[30:])
    assert moving(values)[3] == np.mean(values[:4])


def test_ten_thousand_episodes_are_drawn_with_few_points():
    episodes = [{'episode': n, 'return': 1.0, 'success': True, 'cost': 2.0, 'limit': 5.0,
                 'multiplier': float('nan'), 'raw_share': 0.5, 'takeovers': n % 2}
                for n in range(10_000)]
    curves = series_of(episodes)
    assert {len(values) for values in curves.values()} == {POINTS}
    assert np.isfinite(np.concatenate(list(curves.values()))).all()


def test_what_has_not_been_heard_of_is_called_old():
    assert 'old' in age(5.0) and 'old' not in age(0.5) and 'nothing heard yet' in age(None)


def test_texts_of_the_graph_cannot_write_markdown():
    state = LiveState(message='[click](http://evil)', subtitle='<script>')
    said = summary(state, '', '', [], 0, '')
    assert '[click](http://evil)' not in said and '<script>' not in said


# Driving


def test_the_handle_never_asks_for_more_than_its_speed():
    rng = np.random.default_rng(0)
    for error in rng.normal(size=(100, 3)):
        twist = driver.Driver._towards(error)
        assert np.linalg.norm(twist[:3]) <= driver.SPEED + 1e-12 and not twist[3:].any()
    assert not driver.Driver._towards(np.zeros(3)).any()


@pytest.mark.parametrize('how', ['handle', 'home'])
def test_a_server_that_never_heard_of_the_page_obeys_its_first_pull(how: str) -> None:
    """What the page said before the server listened, or before a reset, is forgotten there."""
    home = np.asarray(load_robot().home)
    person = Person(len(home), clock=lambda: 0.0)
    link: Any = SimpleNamespace(position=home + 0.3, drive=lambda twist=None, velocity=None:
                                person.switch('page', not (twist is None and velocity is None)))
    made = driver.Driver(link, load_robot(), lambda: np.zeros(3))
    for beat in range(10):
        made._beat(beat / driver.RATE)
    for _ in range(2):
        person.forget()
        now = time.monotonic()
        if how == 'handle':
            made.pull(np.ones(3))
        else:
            made.home()
        for beat in range(driver.RELEASES + 2):
            made._beat(now + beat / driver.RATE)
        assert person.acts
        made.release()
        for _beat in range(driver.RELEASES):
            made._beat(now + 1.0)
        assert not person.acts


# Serving


def test_a_busy_port_is_one_line_that_names_it():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PageError, match=f'127.0.0.1:{port} is in use'):
            choose_port('127.0.0.1', port)
        done = subprocess.run([sys.executable, '-m', 'spaars_ros.cli', 'page', '--port',
                               str(port)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and 'is in use' in done.stderr
    assert 'Traceback' not in done.stderr and done.stderr.count('\n') == 1


def test_a_browser_cannot_open_a_tunnel_to_the_internet():
    server = PageServer('127.0.0.1', choose_port('127.0.0.1', 0), 'test')
    try:
        assert server.request_share_url() is None and server._share_tunnel is None
    finally:
        server.stop()


# Beside a run


@pytest.mark.parametrize('option', ['--robot', '--task'])
def test_a_file_that_is_not_there_is_said_before_a_server_is_waited_for(option: str) -> None:
    done = subprocess.run([sys.executable, '-m', 'spaars_ros.cli', 'page', option, 'no/x.yaml'],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "'no/x.yaml': no such file" in done.stderr


def test_a_token_cannot_be_found_by_trying() -> None:
    server = PageServer('127.0.0.1', choose_port('127.0.0.1', 0), 'test')
    try:
        access = Access(server, '0123abcd')
        for number in range(WRONG_PER_MINUTE):
            assert access.wait == 0.0
            assert not access.is_right(f'{number:08x}')
        assert access.wait > 0.0
    finally:
        server.stop()


def open_socket(port: int) -> 'socket.socket':
    """Return a browser's connection that never reads what it is sent."""
    client = socket.create_connection(('127.0.0.1', port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall((f'GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n'
                    'Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
                    'Sec-WebSocket-Version: 13\r\n'
                    f'Sec-WebSocket-Protocol: viser-v{viser.__version__}\r\n\r\n').encode())
    return client


def test_twenty_pages_a_stalled_process_and_a_killed_one_lose_no_step(
        small: Path, tmp_path: Path, runs: list[Run]) -> None:
    run = Run(small, tmp_path / 'run', '--page', '--episodes', '60')
    runs.append(run)
    port, _, pid = page_of(run)
    shown(run, 1)
    clients = [open_socket(port) for _ in range(20)]
    assert all(client.recv(12).startswith(b'HTTP/1.1 101') for client in clients)
    shown(run, 10)
    os.kill(pid, signal.SIGSTOP)
    shown(run, 20)
    os.kill(pid, signal.SIGKILL)
    assert run.wait(150) == 0, run.text
    for client in clients:
        client.close()
    summary = run.summary()
    assert summary['episodes'] == 60 and summary['lost_ticks'] == 0
    assert summary['transitions_recorded'] == summary['online_steps'] > 0
