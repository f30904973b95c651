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

"""Check of the ROS 2 parameter file before a run: ROS 2 would ignore a misspelled stop."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from spaars_ros.nodes.cost_monitor.parameters import limit_parameter
from spaars_ros.nodes.cost_monitor.parameters import PARAMETERS as COST_MONITOR
from spaars_ros.nodes.learner.parameters import PARAMETERS as LEARNER
from spaars_ros.nodes.policy_server.parameters import PARAMETERS as POLICY_SERVER
from spaars_ros.nodes.sim.parameters import PARAMETERS as SIM
from spaars_ros.robot.files import nearest
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import Document
from spaars_ros.robot.strict_yaml import Place
from spaars_ros.robot.strict_yaml import read_yaml
from spaars_ros.robot.strict_yaml import shown
from spaars_ros.ros.parameters import Param
from spaars_ros.ros.parameters import ParameterTable

TABLES: dict[str, ParameterTable] = {
    'policy_server': POLICY_SERVER, 'cost_monitor': COST_MONITOR, 'learner': LEARNER, 'sim': SIM}
"""Node -> parameters that a parameter file may set."""

SECTION = 'ros__parameters'
OF_THE_RUN = {'robot': 'robot', 'task': 'task', 'training': 'training', 'bundle': 'bundle',
              'demonstrations': 'demonstrations', 'run_dir': 'out', 'run': ''}
"""
Parameter that all nodes of a run have to share -> option of the run.

A policy server with another robot file than its cost monitor would guard other limits and zones.
"""
OF_EVERY_NODE = {'use_sim_time': Param('use_sim_time', True, 'of rclpy itself')}


def check_params_file(path: str | Path, namespace: str = '',
                      constraints: Sequence[str] = ()) -> None:
    """
    Check that the nodes would use every entry of a parameter file and accept every value.

    :param namespace: namespace of the nodes; ROS 2 ignores sections for another one
    :param constraints: constraint names in the robot file; the cost monitor has a limit for each
    :raises ConfigError: one line with file, line, node, parameter, and the most similar valid
        name, or the option to give instead
    """
    document = read_yaml(Path(path))
    here = namespace.strip('/')
    tables = {node: {**table.params, **OF_EVERY_NODE} for node, table in TABLES.items()}
    for name in constraints:
        limit = f'{name}.cost_limit'
        tables['cost_monitor'][limit] = limit_parameter(limit, 0.0, name)
    for place, section, parameters in _sections(document, document.content, (), ''):
        nodes = _nodes(document, place, section, here)
        for parameter, value, at in _flat(parameters, place, ''):
            _check(document, tables, nodes, parameter, value, at)


def _sections(document: Document, content: dict[str, Any], place: Place, name: str) -> \
        Iterator[tuple[Place, str, dict[str, Any]]]:
    """Yield place, full node name and parameters of each section; namespaces may be nested."""
    if not content:
        raise ConfigError(f'{document.where(place)}: {name or "the file"}: no parameters in it')
    for key, value in content.items():
        at = (*place, key)
        if key == SECTION:
            if not name:
                raise ConfigError(f'{document.where(at)}: {SECTION} without the name of a node '
                                  'above it')
            if not isinstance(value, dict):
                raise ConfigError(f'{document.where(at)}: {name}: {SECTION}: expected '
                                  'parameter: value')
            yield at, name, value
        elif isinstance(value, dict):
            yield from _sections(document, value, at, f'{name}/{key.strip("/")}')
        else:
            raise ConfigError(f'{document.where(at)}: {key}: expected a node with {SECTION}: '
                              'below it')


def _nodes(document: Document, place: Place, name: str, namespace: str) -> list[str]:
    """Return the nodes of this run that match a section's name with its wildcards."""
    space, _, last = name.rpartition('/')
    nodes = [node for node in TABLES if fnmatchcase(node, last)]
    where = document.where(place[:-1])
    if not nodes:
        raise ConfigError(f'{where}: no node is named {last!r}; there are {", ".join(TABLES)}'
                          f'{nearest(last, list(TABLES))}')
    given = space.strip('/')
    if last == '**' and not given or given.startswith('**'):
        return nodes
    if not fnmatchcase(namespace, given) or bool(namespace) != bool(given):
        right = f'/{namespace}/{last}' if namespace else f'/{last}'
        raise ConfigError(f'{where}: {name} is no node of this run, whose namespace is '
                          f'{namespace!r}: write {right}')
    return nodes


def _flat(parameters: dict[str, Any], place: Place, prefix: str) -> \
        Iterator[tuple[str, Any, Place]]:
    """Yield name, value and place of each parameter; join nested keys by dots."""
    for key, value in parameters.items():
        name, at = f'{prefix}{key}', (*place, key)
        if isinstance(value, dict):
            yield from _flat(value, at, f'{name}.')
        else:
            yield name, value, at


def _check(document: Document, tables: Mapping[str, Mapping[str, Param]], nodes: list[str],
           parameter: str, value: Any, place: Place) -> None:
    known = [node for node in nodes if parameter in tables[node]]
    where = document.where(place)
    if not known:
        who = f'{" and ".join(nodes)} has no' if len(nodes) < len(TABLES) else 'no node has a'
        elsewhere = [node for node in tables if parameter in tables[node]]
        names = sorted({name for node in nodes for name in tables[node]})
        hint = f'; {elsewhere[0]} has it' if elsewhere else nearest(parameter, names)
        raise ConfigError(f'{where}: {who} parameter {parameter!r}{hint}')
    if parameter in OF_THE_RUN:
        option = OF_THE_RUN[parameter]
        how = f'give the option {option} of the run instead' if option else 'leave it out'
        raise ConfigError(f'{where}: {" and ".join(known)}: {parameter} (value {shown(value)}): '
                          f'all nodes of a run share it: {how}')
    for node in known:
        wrong = tables[node][parameter].check(value)
        if wrong:
            raise ConfigError(f'{where}: {node}: {wrong}')
