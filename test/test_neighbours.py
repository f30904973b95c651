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

"""Two runs in one domain, and who changes the lifecycle of a run's nodes."""

from collections.abc import Callable
from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from domains import DOMAINS
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn

from spaars_ros.interrupts import begin_as_child
from spaars_ros.interrupts import STARTED_BY
from spaars_ros.ros.lifecycle import ManagedNode
from spaars_ros.ros.parameters import ParameterTable
from spaars_ros.ros.parameters import RUN
from spaars_ros.run.bringup import START
from spaars_ros.run.folder import RunError
from spaars_ros.run.graph_claim import claimed_graph
from spaars_ros.run.lifecycle_client import LifecycleClient
from spaars_ros.run.lifecycle_client import LifecycleError
from spaars_ros.run.lifecycle_client import UNKNOWN
from spaars_ros.run.lifecycle_watch import LifecycleWatch
from spaars_ros.run.neighbours import NeighbourError
from spaars_ros.run.neighbours import Neighbours

pytestmark = pytest.mark.timeout(90)


class Graph:
    """A node `one` of the run `mine`, and a node that asks; both spun by `spin`."""

    def __init__(self) -> None:
        os.environ['ROS_DOMAIN_ID'] = str(next(DOMAINS))
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        rclpy.init(args=[])
        self.one = ManagedNode('one', ParameterTable(RUN), overrides={'run': 'mine'})
        self.asks: Any = rclpy.create_node('asks')
        self.executor = SingleThreadedExecutor()
        for node in (self.one, self.asks):
            self.executor.add_node(node)

    def spin(self, seconds: float) -> None:
        self.executor.spin_once(timeout_sec=seconds)

    def until(self, true: Callable[[], Any]) -> None:
        end = time.monotonic() + 30.0
        while not true():
            assert time.monotonic() < end
            self.spin(0.05)

    def close(self) -> None:
        self.executor.shutdown()
        for node in (self.one, self.asks):
            node.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def graph() -> Iterator[Graph]:
    made = Graph()
    yield made
    made.close()


def test_the_nodes_of_another_run_are_refused_and_not_touched(graph: Graph) -> None:
    """The accident: the second run of a domain takes the first one's cost control down."""
    mine = LifecycleClient(graph.asks, graph.executor, run='mine')
    mine.bring_up('one', 30.0)
    with pytest.raises(NeighbourError, match=r'/one already exists .*\(mine\)'):
        Neighbours(graph.asks, 'other', graph.spin).refuse(['one', 'two'])
    other = LifecycleClient(graph.asks, graph.executor, run='other')
    with pytest.raises(LifecycleError, match='belongs to another run'):
        other.take_down('one', 5.0)
    assert graph.one.is_active
    Neighbours(graph.asks, 'mine', graph.spin).refuse(['one', 'two'])
    mine.take_down('one', 30.0)
    assert not graph.one.is_active


def test_two_runs_that_start_in_the_same_second_do_not_share_a_graph(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The accident: none sees the other's nodes yet, and both drive the same arm."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(next(DOMAINS)))
    code = ('from spaars_ros.run.graph_claim import claimed_graph\n'
            'with claimed_graph("left/arm"):\n    print("mine", flush=True)\n    input()\n')
    other = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b'mine\n'
    with pytest.raises(RunError, match=f'process {other.pid} has a run in /left/arm'), \
            claimed_graph('/left/arm'):
        pass
    with claimed_graph('right'):
        pass
    other.kill()  # what is killed holds nothing
    other.wait()
    with claimed_graph('left/arm'):
        pass


def test_who_is_no_longer_active_is_named(graph: Graph) -> None:
    """The accident: a run that waits for ever for a policy server that somebody cleaned up."""
    watch = LifecycleWatch(graph.asks, ['one'])
    client = LifecycleClient(graph.asks, graph.executor)
    client.bring_up('one', 30.0)
    graph.until(lambda: graph.asks.count_publishers('one/transition_event'))
    assert watch.complaint == ''
    client.take_down('one', 30.0)
    graph.until(lambda: watch.complaint)
    assert watch.complaint.startswith('one is no longer active')
    assert graph.one.trigger_activate() == TransitionCallbackReturn.SUCCESS
    graph.until(lambda: not watch.complaint)


def test_a_node_that_ended_is_not_waited_for(graph: Graph) -> None:
    """The accident: a launch file's conductor that asks nodes that are gone, for 125 s."""
    watch = LifecycleWatch(graph.asks, ['one'])
    client = LifecycleClient(graph.asks, graph.executor, ended=watch.has_ended)
    client.bring_up('one', 30.0)
    graph.until(lambda: graph.asks.count_publishers('one/transition_event'))
    graph.one.finish()
    graph.until(lambda: watch.has_ended('one'))
    graph.executor.remove_node(graph.one)  # still in the graph, and answers nobody
    assert client.states(['one'], timeout=1e6, leaving=True) == {'one': UNKNOWN}
    client.take_down('one', 1e6)
    # One that is started again is there again.
    graph.one.destroy_node()
    graph.one = ManagedNode('one', ParameterTable(RUN))
    graph.executor.add_node(graph.one)
    graph.until(lambda: graph.one.count_subscribers('one/transition_event'))
    graph.one.trigger_configure()
    graph.until(lambda: not watch.has_ended('one'))


def test_a_signal_after_the_last_one_changes_no_exit_code() -> None:
    """The accident: code -15 of a learner that let go of torch when launch lost its patience."""
    code = ('import os, signal\n'
            'from spaars_ros.interrupts import take_no_more_signals\n'
            'signal.signal(signal.SIGTERM, lambda *of: None)\n'
            'class Late:\n    def __del__(self):\n        kill(pid, 15)\n'
            'kill, pid, late = os.kill, os.getpid(), Late()\n'
            'import builtins; builtins.late = late\n'
            'take_no_more_signals()\n')
    assert subprocess.run([sys.executable, '-c', code], timeout=30.0).returncode == 0


def test_a_node_whose_launch_was_killed_while_it_imported_knows() -> None:
    """The accident: nodes that nobody watches, and whom the next launch meets."""
    code = ('from spaars_ros.interrupts import starter_has_ended\n'
            'print(starter_has_ended())\n')
    killed = subprocess.Popen(['sleep', '60'])
    for ended in (False, True):
        if ended:
            killed.kill()  # and not waited for, as by the terminal that it ran in
            time.sleep(0.2)
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                              timeout=60.0, env={**os.environ, STARTED_BY: str(killed.pid)})
        assert done.stdout == f'{ended}\n', done.stderr
    killed.wait()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_that_is_still_importing_ends_in_order(tmp_path: Path, number: int) -> None:
    """And what lies in the working folder does not run inside it."""
    (tmp_path / 'random.py').write_text('raise SystemExit("my own script ran")\n')
    process = subprocess.Popen(
        [sys.executable, str(START), 'spaars_ros.nodes.learner.node'], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=begin_as_child)
    time.sleep(0.4)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0
    assert output == b''


def test_a_process_that_leaves_has_done_what_an_interpreter_does_at_its_end() -> None:
    code = ('import atexit, sys, threading, time\n'
            'from spaars_ros.interrupts import leave\n'
            'atexit.register(print, "exit function")\n'
            'threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()\n'
            'sys.stdout.write("main ")\n'
            'leave(7)\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=60.0)
    assert (done.returncode, done.stdout, done.stderr) == (7, 'main thread\nexit function\n', '')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_still_importing_ends_without_a_traceback(
        tmp_path: Path, number: int) -> None:
    """Ctrl-C within an import was a traceback, or 'error: initialization failed'."""
    for wait in (0.3, 0.6, 0.9, 1.2, 1.6, 2.0):
        process = subprocess.Popen(
            [sys.executable, '-m', 'spaars_ros.cli', 'evaluate', str(tmp_path / 'no.spaars')],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(wait)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60.0)
        assert 'Traceback' not in output and 'initialization' not in output
        assert process.returncode in (-number, 130, 0, 1)
        assert process.returncode != 1 or 'no.spaars' in output, 'it was done before'


def test_an_interrupt_within_a_call_of_ctypes_is_an_interrupt() -> None:
    """Python makes an ArgumentError of it, as while MuJoCo loads EGL; that was an error's line."""
    code = ('import ctypes, os, signal\n'
            'from spaars_ros.commands.common import errors_as_one_line\n'
            'from spaars_ros.interrupts import interrupt_and_note\n'
            'signal.signal(signal.SIGINT, interrupt_and_note)\n'
            'class Interrupts:\n'
            '    @classmethod\n'
            '    def from_param(cls, value):\n'
            '        os.kill(os.getpid(), signal.SIGINT)\n'
            '        return value\n'
            'call = ctypes.CDLL(None).abs\n'
            'call.argtypes = [Interrupts]\n'
            'with errors_as_one_line():\n'
            '    try:\n'
            '        call(1)\n'
            '    except ctypes.ArgumentError as error:\n'
            '        raise ValueError(f"MuJoCo cannot be loaded: {error}") from None\n')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=60.0)
    assert 'ended, as asked for' in done.stderr
    assert 'MuJoCo cannot be loaded' not in done.stderr


@pytest.mark.parametrize('killed', [False, True])
def test_a_node_whose_launch_ends_while_it_imports_ends_at_once(killed: bool) -> None:
    """The accident: 29 s of nodes that import for a launch that is gone."""
    code = ('import os, subprocess, sys, time\n'
            f'os.environ[{STARTED_BY!r}] = str(os.getpid())\n'
            f'subprocess.Popen([sys.executable, {str(START)!r}, '
            "'spaars_ros.nodes.learner.node'])\n"
            'time.sleep(60.0 if len(sys.argv) > 1 else 0.05)\n')
    reader, writer = os.pipe()
    launch = subprocess.Popen([sys.executable, '-c', code, *(['wait'] if killed else [])],
                              stdout=writer, stderr=writer)
    os.close(writer)
    if killed:
        time.sleep(0.6)
        launch.kill()
    launch.wait()
    with os.fdopen(reader) as output:
        # The node has the pipe, too: it is empty when both are gone.
        assert output.read() == ''
