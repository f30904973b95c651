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

"""The launch files in the real ros2 launch; skipped where ROS 2's launch is not installed."""

import importlib.util
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from domains import DOMAINS
import pytest
from small_run import prepare
from small_run import until
from terminal import PATIENT

from spaars_ros.data.recording import read_steps
from spaars_ros.robot.config import share_directory

pytest.importorskip('launch', reason="ROS 2's launch is not installed (it is not on PyPI)")
pytest.importorskip('launch_ros', reason='launch_ros is not installed (it is not on PyPI)')

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = sorted((ROOT / 'launch').glob('*.launch.py'))
ARGUMENTS = {'sim', 'robot', 'params_file', 'namespace', 'use_sim_time', 'log_level', 'autostart'}
DOMAIN = next(DOMAINS)


def installed():
    """Whether launch can find the nodes' executables: built with colcon and sourced."""
    return any((Path(prefix) / 'lib' / 'spaars_ros' / 'sim').exists()
               for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep))


needs_install = pytest.mark.skipif(not installed(), reason='not built with colcon and sourced')


def description_of(path):
    spec = importlib.util.spec_from_file_location(path.name.split('.')[0] + '_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


class Launched:
    """`ros2 launch spaars_ros FILE ARGUMENTS` with everything that it prints."""

    def __init__(self, file, folder, domain, **arguments):
        self.log = folder / 'launch.log'
        self.domain = domain
        program = ('import sys\n'
                   'from launch import LaunchService\n'
                   'from launch.actions import IncludeLaunchDescription as Include\n'
                   'from launch.launch_description_sources import AnyLaunchDescriptionSource\n'
                   'service = LaunchService(argv=sys.argv[2:])\n'
                   'given = [tuple(text.split(":=", 1)) for text in sys.argv[2:]]\n'
                   'source = AnyLaunchDescriptionSource(sys.argv[1])\n'
                   'service.include_launch_description(Include(source, '
                   'launch_arguments=given))\n'
                   'sys.exit(service.run())\n')
        given = [f'{name}:={value}' for name, value in arguments.items()]
        path = share_directory() / 'launch' / file
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-c', program, str(path), *given], cwd=folder, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, 'ROS_DOMAIN_ID': str(domain), 'PYTHONUNBUFFERED': '1'})

    @property
    def text(self):
        return self.log.read_text(errors='replace')

    def until(self, words, timeout):
        deadline = time.monotonic() + timeout
        while words not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, f'no {words!r}:\n{self.text}'
            time.sleep(0.1)

    def interrupt(self):
        """Ctrl-C in a terminal: every process of the group gets it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'still running:\n{self.text}') from None
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def nodes(self):
        """Return pid -> executable of what launch has started and still lives."""
        found = {}
        for entry in Path('/proc').iterdir():
            try:
                command = (entry / 'cmdline').read_bytes().decode(errors='replace')
                domain = (entry / 'environ').read_bytes().split(b'\0')
            except OSError:
                continue
            if '/lib/spaars_ros/' in command and f'ROS_DOMAIN_ID={self.domain}'.encode() in domain:
                found[int(entry.name)] = command.partition('/lib/spaars_ros/')[2].split('\0')[0]
        return found

    def finished_cleanly(self, name):
        return f'[{name}-' in self.text and any(
            'finished cleanly' in line for line in self.text.splitlines() if f'[{name}-' in line)


@pytest.mark.parametrize('path', LAUNCH, ids=lambda path: path.name)
def test_every_launch_argument_has_a_description_and_a_default(path):
    declared = {argument.name: argument
                for argument in description_of(path).get_launch_arguments()}
    assert declared
    for argument in declared.values():
        assert len(argument.description) > 8
        # Nobody can guess the robots of a fleet.
        assert argument.default_value is not None or argument.name == 'robots'
    if path.name == 'finetune.launch.py':
        assert set(declared) >= ARGUMENTS


@needs_install
@pytest.mark.timeout(120)
def test_sim_launch_becomes_active_and_ctrl_c_ends_it_with_exit_code_0(tmp_path):
    launched = Launched('sim.launch.py', tmp_path, next(DOMAINS), out=tmp_path / 'run',
                        real_time_factor='1.0')
    try:
        launched.until('active: sim', 60)
        launched.interrupt()
    finally:
        code = launched.end(30)
    assert code == 0, launched.text
    assert launched.finished_cleanly('sim')


@needs_install
@pytest.mark.timeout(120)
def test_wrong_robot_file_ends_the_launch_and_names_it(tmp_path):
    launched = Launched('sim.launch.py', tmp_path, next(DOMAINS), out=tmp_path / 'run',
                        robot='no_such_arm')
    code = launched.end(90)
    assert "robot file 'no_such_arm'" in launched.text
    assert code != 0 or 'process has died' in launched.text


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp('small'))


@needs_install
@pytest.mark.timeout(180)
@pytest.mark.parametrize(('moment', 'number'), [
    ('importing', signal.SIGINT), ('importing', signal.SIGKILL),
    ('evaluating the policy before', signal.SIGINT),
    ('evaluating the policy before', signal.SIGHUP),
    ('episode 2/', signal.SIGINT), ('episode 2/', signal.SIGTERM),
    ('episode 2/', signal.SIGHUP), ('episode 2/', signal.SIGKILL)])
def test_a_signal_to_launch_alone_ends_every_process_in_order(small, tmp_path, moment, number):
    """The accident: nodes that live on for 86 s, and whom the next launch takes for its own."""
    launched = Launched('finetune.launch.py', tmp_path, next(DOMAINS), out=tmp_path / 'run',
                        training=small / 'training.yaml', task=small / 'task.yaml',
                        bundle=small / 'initial.spaars', episodes='3000')
    try:
        if moment == 'importing':
            until(lambda: len(launched.nodes()) == 5, 60)
        else:
            launched.until(moment, 120)
        launched.process.send_signal(number)
        until(lambda: not launched.nodes(), 60, launched.text)
    finally:
        for pid in launched.nodes():
            os.kill(pid, signal.SIGKILL)
        code = launched.end(30)
    text = launched.text
    assert 'Traceback' not in text and 'process has died' not in text
    if number == signal.SIGINT:
        assert code == 0, text
        assert all(launched.finished_cleanly(name) for name in (
            'sim', 'learner', 'cost_monitor', 'policy_server', 'conductor')), text
    if moment.startswith('episode'):
        assert (tmp_path / 'run' / 'summary.json').exists()


@needs_install
@pytest.mark.timeout(580)
def test_finetune_launch_comes_up_takes_parameters_and_ends_by_itself(tmp_path):
    from rcl_interfaces.srv import SetParameters
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    launched = Launched('finetune.launch.py', tmp_path, DOMAIN, sim='true',
                        training='smoke', episodes='12', out=tmp_path / 'run')
    context = rclpy.Context()
    try:
        launched.until('episode 1/12', 300)
        rclpy.init(context=context, domain_id=DOMAIN)
        node = rclpy.create_node('somebody', context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        client = node.create_client(SetParameters, '/cost_monitor/set_parameters')
        assert client.wait_for_service(20.0)
        request = SetParameters.Request()
        request.parameters = [Parameter('cost_limit', value=4.0).to_parameter_msg()]
        future = client.call_async(request)
        executor.spin_until_future_complete(future, 20.0)
        assert future.result().results[0].successful
        launched.until(' of 4 ', 60)
        launched.until('episode 12/12', 150)
    finally:
        code = launched.end(100)
        if context.ok():
            rclpy.shutdown(context=context)
    assert code == 0, launched.text
    for name in ('sim', 'learner', 'cost_monitor', 'policy_server', 'conductor'):
        assert launched.finished_cleanly(name), launched.text
    assert (tmp_path / 'run' / 'summary.json').exists()


@needs_install
@pytest.mark.timeout(240)
def test_record_launch_records_what_a_person_does_and_ends_by_itself(tmp_path):
    from geometry_msgs.msg import TwistStamped
    import rclpy
    from sensor_msgs.msg import Joy
    from std_srvs.srv import Trigger

    from spaars_ros.data.schema import Mode
    from spaars_ros.ros.qos import QOS

    domain = next(DOMAINS)
    (tmp_path / 'params.yaml').write_text(PATIENT)
    launched = Launched('record.launch.py', tmp_path, domain, sim='true', episodes='1',
                        out=tmp_path / 'run', params_file=tmp_path / 'params.yaml')
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node('somebody', context=context)
    joy = node.create_publisher(Joy, 'joy', QOS['joy'])
    twist = node.create_publisher(TwistStamped, 'teleop/twist', QOS['teleop/twist'])
    success = node.create_client(Trigger, 'policy_server/label_success')

    def act(seconds, held):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            joy.publish(Joy(axes=[0.0] * 6, buttons=[int(held and place == 4)
                                                     for place in range(8)]))
            if held:
                msg = TwistStamped()
                msg.header.frame_id = 'base'
                msg.twist.linear.z = 0.05
                twist.publish(msg)
            time.sleep(0.03)
    try:
        launched.until("hold a dead man's switch", 120)
        act(2.0, False)
        act(3.0, True)
        assert success.wait_for_service(20.0)
        success.call_async(Trigger.Request())
        act(1.0, True)
        act(1.0, False)
    finally:
        code = launched.end(100)
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert code == 0, launched.text
    assert '[learner-' not in launched.text
    schema, rows = read_steps(tmp_path / 'run' / 'transitions.mcap')
    assert (schema.get(rows, 'mode') == Mode.HUMAN).sum() > 20
