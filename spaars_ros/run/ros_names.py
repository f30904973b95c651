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


"""Checks of the ROS names that a run is given, before anything starts."""

import re

INTERFACES = ('forward_velocity', 'forward_position', 'joint_trajectory')


def checked_namespace(namespace: str) -> str:
    """Return a namespace without slashes at its ends; raises ValueError when it is invalid."""
    name = namespace.strip('/')
    if name and not re.fullmatch(r'[A-Za-z_]\w*(/[A-Za-z_]\w*)*', name, re.ASCII):
        raise ValueError(f'--namespace {namespace}: expected letters, digits and _, parts '
                         'separated by /, none of them beginning with a digit')
    return name


def checked_topic(option: str, topic: str) -> str:
    """Return the name of a topic, or ''; raises ValueError when no topic can have it."""
    from spaars_ros.robot.sources import TOPIC  # late: options are shown without pydantic
    if not TOPIC.match(topic):
        raise ValueError(f'--{option.replace("_", "-")} {topic}: expected the name of a topic: '
                         'letters, digits and _, parts separated by /, none of them beginning '
                         'with a digit')
    return topic


def checked_interface(interface: str) -> str:
    """Return the interface of a controller, or ''; raises ValueError when it is unknown."""
    if interface and interface not in INTERFACES:
        raise ValueError(f'--command-interface {interface}: expected one of '
                         f'{", ".join(INTERFACES)}')
    return interface
