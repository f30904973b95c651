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

"""An operator at a run of all nodes: the limit changes while the arm learns; bad versions go."""

from collections.abc import Callable
from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from domains import DOMAINS
import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from small_run import prepare
from std_msgs.msg import Float64MultiArray

from benchmarks.operator import response
from benchmarks.operator import run as bench_operator
from spaars_ros.ros.codecs import ArrayCodec
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS

pytestmark = pytest.mark.timeout(120)

DOMAIN = next(DOMAINS)
PARAMETERS = """
/**/cost_monitor:
  ros__parameters:
    kp_rate: 0.0
    ki_rate: 0.0
    kd_rate: 0.0
    setpoint: 0.05
    rollback_cost: 0.05
"""


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp('small'))


@pytest.fixture
def process(small: Path, tmp_path: Path) -> Iterator['subprocess.Popen[bytes]']:
    (tmp_path / 'params.yaml').write_text(PARAMETERS)
    with open(tmp_path / 'log.txt', 'wb') as log:
        made = subprocess.Popen(
            [sys.executable, '-m', 'spaars_ros.cli', 'finetune', '--out', str(tmp_path / 'run'),
             '--episodes', '3000', '--evaluation-episodes', '1', '--training',
             str(small / 'training.yaml'), '--task', str(small / 'task.yaml'), '--bundle',
             str(small / 'initial.spaars'), '--params-file', str(tmp_path / 'params.yaml')],
            stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'OMP_NUM_THREADS': '1'})
    yield made
    if made.poll() is None:
        made.send_signal(signal.SIGINT)
        try:
            made.wait(40.0)
        except subprocess.TimeoutExpired:
            made.kill()  # its nodes end with it
            made.wait()


class Operator(Node):
    """Hears the cost monitor and sets its parameters."""

    def __init__(self, context: rclpy.Context) -> None:
        super().__init__('operator', context=context)
        self.multipliers: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.create_subscription(
            Float64MultiArray, 'cost_monitor/multiplier', self._on_multiplier,
            QOS['cost_monitor/multiplier'])
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics,
                                 QOS['/diagnostics'])
        self.parameters = self.create_client(SetParameters, 'cost_monitor/set_parameters')
        self.executor_ = SingleThreadedExecutor(context=context)
        self.executor_.add_node(self)

    def _on_multiplier(self, msg: Float64MultiArray) -> None:
        self.multipliers.append(ArrayCodec.of_message(msg).decode(msg))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name.startswith('cost_monitor'):
                self.said.append(values_of(status).get('rollback', ''))

    def until(self, true: Callable[[], Any], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f'not within {seconds} s'
            self.executor_.spin_once(timeout_sec=0.05)

    def set(self, **values: float) -> None:
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg()
                              for name, value in values.items()]
        future = self.parameters.call_async(request)
        self.until(future.done)
        assert all(result.successful for result in future.result().results)


@pytest.fixture
def operator(process: 'subprocess.Popen[bytes]') -> Iterator[Operator]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = Operator(context)
    yield node
    node.executor_.shutdown(timeout_sec=1.0)
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_limit_halved_while_the_arm_learns_takes_effect_without_a_kick(
        operator: Operator, tmp_path: Path) -> None:
    operator.until(lambda: len(operator.multipliers) >= 6 and
                   operator.multipliers[-1]['multiplier'][0] > 0.0)
    operator.set(cost_limit=2.5)
    operator.until(lambda: operator.multipliers[-1]['limit'][0] == 2.5)
    changed = next(i for i, m in enumerate(operator.multipliers) if m['limit'][0] == 2.5)
    before, after = operator.multipliers[changed - 1:changed + 1]
    assert after['episode'] == before['episode'], 'the change itself is published'
    assert after['multiplier'] == before['multiplier'] > 0.0
    operator.until(lambda: len(operator.multipliers) > changed + 5)
    for old, new in zip(operator.multipliers[changed:], operator.multipliers[changed + 1:]):
        excess = (new['cost'] - 0.05 * 2.5) / 2.5
        assert abs(new['multiplier'] - old['multiplier'] - (new['d'] - old['d'])) \
            <= 0.2 * max(1.0, abs(float(excess[0]))), 'what K_p and K_i add, and no more'
    # Any cost is above rollback_cost: the server is asked to go back, and answers.
    operator.until(lambda: any(' rolled back' in said for said in operator.said))


def test_bench_operator_tells_when_the_cost_followed(small: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = bench_operator(
        seed=0, episodes=12, change_at=6, out=tmp_path, task=str(small / 'task.yaml'),
        training=str(small / 'training.yaml'), bundle=str(small / 'initial.spaars'),
        say=lines.append)
    assert result['curve']['limit'] == [5.0] * 6 + [2.5] * 6
    assert result['multiplier_at_change'] == result['multiplier_before'] \
        == result['curve']['multiplier'][5]
    assert (tmp_path / 'operator_seed0.png').read_bytes().startswith(b'\x89PNG')
    assert lines and lines[0].startswith('episode 10: cost ')


@pytest.mark.parametrize(('after', 'followed', 'first'), [
    ([0.0] * 30, 5, 5), ([4.0] * 30, None, None), ([2.0] * 30, 10, 10),
    ([0.0] * 10 + [4.0] * 20, None, 5), ([0.0] * 10 + [4.0] * 8 + [0.0] * 12, 23, 5)])
def test_following_means_to_stay_under_the_limit(after: list[float], followed: int | None,
                                                 first: int | None) -> None:
    cost = np.asarray([4.0] * 20 + after)
    result = response(cost, 20, 2.0)
    assert (result['followed'], result['first_under']) == (followed, first)
    assert result['cost_before'] == 4.0 and result['cost_after'] == np.mean(after[20:])


def test_a_change_outside_the_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='--change-at 9'):
        bench_operator(seed=0, episodes=9, change_at=9, out=tmp_path)
