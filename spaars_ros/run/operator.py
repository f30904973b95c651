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

"""Operator requests to a running graph: services, parameters, labels and status."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import os
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import String
from std_srvs.srv import Trigger

from spaars_ros.control.labels import WORDS
from spaars_ros.data.labels import TOPIC
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.codecs import CodecError
from spaars_ros.ros.diagnostics import printable
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS

PATIENCE = 5.0
"""s for discovery, and again for a response."""


class OperatorError(RuntimeError):
    """Request not answered or rejected; the message is for the operator."""


@contextmanager
def _listening(namespace: str) -> Iterator[tuple[Node, Callable[[Callable[[], Any]], bool]]]:
    """Yield a node, and a function that spins until a condition holds, at most `PATIENCE` s."""
    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '--disable-external-lib-logs'], context=context)
    node = rclpy.create_node(f'operator_{os.getpid()}', namespace=namespace, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def until(condition: Callable[[], Any]) -> bool:
        end = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        return bool(condition())
    try:
        yield node, until
    finally:
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.shutdown(context=context)


def _nobody(namespace: str, name: str = 'policy_server') -> OperatorError:
    place = f'/{namespace}/{name}' if namespace else f'/{name}'
    return OperatorError(
        f'{place} does not answer in ROS_DOMAIN_ID {os.environ.get("ROS_DOMAIN_ID", "0")}: give '
        '--domain (a simulated run says its own when it starts) or --namespace')


def call(service: str, namespace: str = '') -> str:
    """Call a service of the policy server; return its message. Raises OperatorError."""
    with _listening(namespace) as (node, until):
        client: Any = node.create_client(Trigger, f'policy_server/{service}')
        if not until(client.service_is_ready):
            raise _nobody(namespace)
        future = client.call_async(Trigger.Request())
        answer = future.result() if until(future.done) else None
        if answer is None:
            raise _nobody(namespace)
        if not answer.success:
            raise OperatorError(answer.message)
        return str(answer.message)


def learner_of(node: Node) -> str:
    """Return the full name of the learner that publishes learner/progress here, '' for none."""
    topic = node.resolve_topic_name('learner/progress')
    names = [(each.node_namespace, each.node_name)
             for each in node.get_publishers_info_by_topic(topic)]
    # The learner of a fleet serves several robots, and its namespace is not theirs.
    return next((f'{space.rstrip("/")}/{name}' for space, name in names if name == 'learner'), '')


def set_paused(paused: bool, namespace: str = '') -> str:
    """
    Pause or resume learning; return a line about the result.

    :raises OperatorError: no learner answers, or it rejects the request
    """
    heard: list[bool] = []
    reader = TopicReader('learner/progress', needs=('paused',))

    def hear(msg: Float64MultiArray) -> None:
        with suppress(CodecError):
            heard.append(bool(reader.read(msg)['paused'][0]))
    with _listening(namespace) as (node, until):
        node.create_subscription(Float64MultiArray, 'learner/progress', hear,
                                 QOS['learner/progress'])
        if not until(lambda: learner_of(node)):
            raise _nobody(namespace, 'learner')
        client: Any = node.create_client(SetParameters, f'{learner_of(node)}/set_parameters')
        if not until(client.service_is_ready):
            raise _nobody(namespace, 'learner')
        future = client.call_async(SetParameters.Request(
            parameters=[Parameter('paused', value=paused).to_parameter_msg()]))
        answer = future.result() if until(future.done) else None
        if answer is None:
            raise _nobody(namespace, 'learner')
        if not answer.results[0].successful:
            raise OperatorError(printable(answer.results[0].reason))
        heard.clear()
        if not until(lambda: heard and heard[-1] is paused):
            raise OperatorError('the learner accepted it but did not confirm it: see its log')
    return 'learning is paused; steps are still recorded. Continue with: spaars resume' \
        if paused else 'learning continues, with the missed updates first'


def say_of(word: str, episode: int, namespace: str = '') -> str:
    """
    Label an episode by its number; return a line about the result.

    :raises OperatorError: no policy server answers, or the episode cannot be labelled
    """
    heard: list[str] = []
    wanted = [float(episode), float(WORDS[word])]

    def hear(msg: Float64MultiArray) -> None:
        if list(msg.data) == wanted:
            heard.append(f'episode {episode} is {word} from now on')
    with _listening(namespace) as (node, until):
        publisher = node.create_publisher(String, 'label', QOS['label'])
        if not until(publisher.get_subscription_count):
            raise _nobody(namespace)
        node.create_subscription(Float64MultiArray, TOPIC, hear, QOS[TOPIC])
        publisher.publish(String(data=f'{word} {episode}'))
        if not until(lambda: heard):
            raise OperatorError(f'episode {episode} was not labelled: there is none of that '
                                "number, or it runs; the policy server's log says more")
    return heard[0]


def status(namespace: str = '') -> list[str]:
    """Return the policy server's status and the learner's progress; raises OperatorError."""
    heard: list[DiagnosticArray] = []
    learner: list[str] = []
    reader = TopicReader('learner/progress', needs=('updates', 'owed', 'paused'))

    def hear(msg: Float64MultiArray) -> None:
        with suppress(CodecError):
            fields = {name: int(value[0]) for name, value in reader.read(msg).items()
                      if name in ('updates', 'owed', 'paused')}
            learner.append(f'learner: {"PAUSED: " if fields["paused"] else ""}'
                           f'{fields["updates"]} updates, {fields["owed"]} owed')
    with _listening(namespace) as (node, until):
        node.create_subscription(DiagnosticArray, 'policy_server/status', heard.append,
                                 QOS['policy_server/status'])
        node.create_subscription(Float64MultiArray, 'learner/progress', hear,
                                 QOS['learner/progress'])
        if not until(lambda: heard):
            raise _nobody(namespace)
        if learner_of(node):
            until(lambda: learner)
    lines = []
    for each in heard[-1].status:
        values = values_of(each)
        lines.append(printable(f'{each.name}: {each.message}'))
        lines += [f'  {key} {value}' for key, value in values.items() if value]
        if values.get('code', '') not in ('', 'BUDGET_DONE'):
            lines.append('the arm is stopped: once the cause is gone, continue with spaars reset')
    lines += learner[-1:]
    if learner and 'PAUSED' in learner[-1]:
        lines.append('  learning rests until: spaars resume')
    return [''.join(sign for sign in line if sign.isprintable()) for line in lines]
