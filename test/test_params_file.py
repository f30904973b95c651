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

"""The ROS 2 parameter file: a node or a parameter that nobody has is refused by name."""


import pytest

from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.run.params_file import check_params_file
from spaars_ros.run.params_file import OF_THE_RUN
from spaars_ros.run.params_file import TABLES


def check(folder, text, namespace='', constraints=('cost', 'torque')):
    (folder / 'params.yaml').write_text(text)
    check_params_file(folder / 'params.yaml', namespace, constraints)


def section(node, **parameters):
    return f'{node}:\n  ros__parameters:\n' + ''.join(
        f'    {name}: {value}\n' for name, value in parameters.items())


@pytest.mark.parametrize(('text', 'said'), [
    (section('/cost_monitor', cost_limt=1.0), "3: cost_monitor has no parameter 'cost_limt'; did "
                                              "you mean 'cost_limit'"),
    (section('/cost_monitor', stop_cots=5.0), "did you mean 'stop_cost'"),
    (section('/polcy_server', max_episode_cost=1.0), "1: no node is named 'polcy_server'; there "
                                                     "are .*did you mean 'policy_server'"),
    (section('/**', stop_cots=5.0), "no node has a parameter 'stop_cots'; did you mean"),
    (section('policy_server', stop_cost=5.0), "'stop_cost'; cost_monitor has it"),
    (section('/left/cost_monitor', stop_cost=5.0), "namespace is '': write /cost_monitor"),
    (section('/*/cost_monitor', stop_cost=5.0), 'is no node of this run'),
    (section('cost_monitor', stop_cost='yes'), "cost_monitor: stop_cost: 'yes' is not a float"),
    (section('cost_monitor', stop_cost='"5.0"'), 'is not a float'),
    (section('cost_monitor', stop_cost='true'), 'True is not a float'),
    (section('cost_monitor', stop_cost='020'), "'020' is not a float"),
    (section('cost_monitor', stop_cost='.inf'), 'is not finite'),
    (section('cost_monitor', stop_cost='.nan'), 'is not finite'),
    (section('cost_monitor', stop_cost=-1), 'is below 0'),
    (section('cost_monitor', stop_cost='[5.0]'), 'is not a float'),
    (section('cost_monitor', stop_cost=''), 'None is not a float'),
    (section('cost_monitor', **{'torqe.cost_limit': 1.0}), "did you mean 'torque.cost_limit'"),
    (section('/**', use_sim_time='yes'), "use_sim_time: 'yes' is not a bool"),
    ('ros__parameters: {stop_cost: 1.0}', 'without the name of a node'),
    ('cost_monitor: {stop_cost: 1.0}', 'stop_cost: expected a node with ros__parameters'),
    ('cost_monitor: {ros_parameters: {stop_cost: 1.0}}', 'expected a node with ros__parameters'),
    ('cost_monitor: {ros__parameters: }', 'expected parameter: value'),
    ('cost_monitor: {}', 'no parameters in it'),
    ('{}', 'no parameters in it'),
    (section('cost_monitor', stop_cost=1.0) * 2, "'cost_monitor' is there twice"),
    ('', 'expected a mapping'),
    *[(section(node, **{name: 'panda'}), f'{name} .value .panda.*: all nodes of a run share it')
      for node, name in (('policy_server', 'robot'), ('/**', 'robot'), ('cost_monitor', 'task'),
                         ('learner', 'training'), ('policy_server', 'bundle'),
                         ('policy_server', 'run_dir'), ('sim', 'run'))],
])
def test_what_a_node_would_ignore_or_refuse_is_refused_before_anything_starts(tmp_path, text,
                                                                              said):
    with pytest.raises(ConfigError, match=rf'params\.yaml:.*{said}'):
        check(tmp_path, text)


@pytest.mark.parametrize(('text', 'namespace'), [
    (section('/**', stop_cost=5, use_sim_time='true', seed=3), ''),
    (section('/**', stop_cost=5.0), 'left'),
    (section('/left/cost_monitor', stop_cost=5.0), 'left'),
    (section('/*/cost_monitor', stop_cost=5.0), 'left'),
    (section('/**/cost_monitor', stop_cost=5.0), 'left/arm'),
    ('left:\n  cost_monitor:\n    ros__parameters: {stop_cost: 5.0}', '/left/'),
    ('cost_monitor:\n  ros__parameters: {torque: {cost_limit: 2.0}}', ''),
    ('sim:\n  ros__parameters: {fault: {drop: 0.5}, fault.delay: 0.1}', ''),
    (section('/*', seed=1), ''),
])
def test_what_the_nodes_take_is_taken(tmp_path, text, namespace):
    check(tmp_path, text, namespace)


@pytest.mark.parametrize('node', TABLES)
def test_every_parameter_with_its_default_is_taken(tmp_path, node):
    values = {name: repr(param.default).lower() if isinstance(param.default, bool)
              else repr(param.default) for name, param in TABLES[node].params.items()
              if name not in OF_THE_RUN}
    check(tmp_path, section(node, **values))
