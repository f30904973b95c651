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

"""`spaars describe`: description and transforms of a real arm for viewers."""

from typing import Annotated

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.operator import Domain
from spaars_ros.commands.operator import Namespace
from spaars_ros.commands.operator import prepare
from spaars_ros.commands.run_options import JointStates
from spaars_ros.commands.run_options import run_option

EXAMPLES = """\b
Examples:
  spaars describe --robot my_arm.yaml
  spaars describe --robot ur5e --joint-states /arm/joint_states --namespace left
"""


def command(
    robot: Annotated[str, run_option(
        'robot', 'Robot file: path, or name of a shipped file.')] = 'panda',
    namespace: Namespace = '', domain: Domain = -1,
    joint_states: JointStates = 'joint_states',
) -> None:
    """Publish robot_description and link transforms of an arm, for RViz and Foxglove."""
    with errors_as_one_line():
        place = prepare(namespace, domain)
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run.describe import describe
        with Interrupts() as interrupts:
            describe(place, robot=robot, joint_states=joint_states, say=typer.echo,
                     interrupts=interrupts)
