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

"""Simulated arm as a separate process, for checks on that arm alone."""

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spaars_ros.commissioning.check import WiringNode
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.lifecycle_client import LifecycleClient
from spaars_ros.run.lifecycle_client import LifecycleError

BRING_UP = 60.0
"""s for the sim to become active."""
TIMEOUT = 0.2
"""s without commands after which the arm brakes to rest, like a robot's controller should."""


@contextmanager
def simulated_arm(beside: WiringNode, folder: Path, parameters: Mapping[str, float]
                  ) -> Iterator[None]:
    """
    Run the sim in real time with stamps of the system clock while the block runs.

    :param beside: the node that takes it through its lifecycle
    :param folder: for its log
    :param parameters: of the sim, such as faults
    :raises RuntimeError: it does not become active
    """
    task = folder / 'task.yaml'
    task.write_text(yaml.safe_dump(_near_home(beside.robot)))
    settings = RunSettings(
        out=str(folder), task=str(task), robot=beside.robot.source or beside.robot.name,
        real_time_factor=1.0, use_sim_time=False, namespace=beside.node.get_namespace().strip('/'),
        command_interface=beside.interface, run=new_run_token(str(folder)))
    graph = [dataclasses.replace(node, parameters={
        **node.parameters, 'stamps': 'system', 'command_timeout': TIMEOUT, **parameters})
        for node in describe(settings, learner=False, policy=False)]
    processes = Processes(settings, graph)
    processes.start()
    try:
        client = LifecycleClient(beside.node, beside.executor, run=settings.run)
        try:
            client.bring_up('sim', BRING_UP)
        except LifecycleError as error:
            raise RuntimeError(f'{error}: {processes.last_words("sim")}') from None
        yield
    finally:
        processes.stop()


def _near_home(robot: Robot) -> dict[str, Any]:
    """Return any task that this arm can do: the sim needs one, and the check does not use it."""
    tip = Kinematics(robot).tip(np.asarray(robot.home))
    return {'target_low': [float(value) - 0.01 for value in tip],
            'target_high': [float(value) + 0.01 for value in tip], 'start_noise': 0.0}
