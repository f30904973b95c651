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

"""Setup of all tests: a ROS 2 graph that stays on this machine."""

import os
from pathlib import Path
import signal
import sys

import pytest

# Before any import of rclpy: tests must never be visible on the network of a robot.
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.pop('ROS_DOMAIN_ID', None)
os.environ.setdefault('OMP_NUM_THREADS', '1')

if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    # Under nohup, processes of tests would ignore SIGHUP, too. They do not inherit a handler.
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# The folder of the benchmarks is beside the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

pytest.register_assert_rewrite('server_rig', 'finetune_run')

SLOWEST = ('finetune', 'finetune_algorithms', 'trainer', 'learner_node', 'stops', 'policy_server',
           'marvel', 'sim_node', 'bench_control', 'faults', 'skills', 'spar', 'staged', 'access',
           'lifecycle_matrix', 'bundles', 'bench_learning', 'cost_monitor', 'learning', 'fuzz')
"""Slow files, which run first so that the end does not wait for them; no unit tests."""
LONG_LOOKS = ('any_robot', 'filter', 'filter_adversarial')
"""Files with property tests of many examples; no unit tests."""
KINDS = ('unit', 'node', 'system')
RIGS = {'domains', 'server_rig', 'finetune_run', 'small_run'}
"""Helper modules that start nodes."""
OUTSIDE = {'CliRunner', 'subprocess', 'Popen'}
"""Names whose import means that a test drives the package from outside."""


def kind_of(module):
    """Return the kind of a test module from its imports: unit, node or system."""
    names = set(vars(module))
    imported = {getattr(value, '__module__', None) or getattr(value, '__name__', None)
                for value in vars(module).values()}
    if RIGS & imported or 'DOMAINS' in names:
        return 'node'
    slow = module.__name__.removeprefix('test_') in (*SLOWEST, *LONG_LOOKS)
    return 'system' if slow or OUTSIDE & names else 'unit'


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark tests by kind, group them by file (they share a domain and a graph), slow first."""
    for item in items:
        if not any(item.get_closest_marker(kind) for kind in KINDS):
            item.add_marker(kind_of(item.module))
        if not item.get_closest_marker('xdist_group'):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    order = {f'test_{name}': place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
