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

"""Node graph for recording demonstrations: the operator acts instead of a policy."""

from dataclasses import replace
from typing import Any

from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import RunSettings

LONGEST = 10_000_000
"""Horizon of an episode in ticks; in practice the operator ends it."""


def record_graph(settings: RunSettings, *, guide: bool = False,
                 put_back: str = '') -> list[NodeDescription]:
    """
    Return the nodes of a recording: the graph of a run without its learner.

    :param guide: hand guiding: the arm is moved by hand, and nothing is commanded
    :param put_back: manual reset: what the operator has to put back after each episode
    """
    graph = describe(replace(settings, explore=False), learner=False)
    server: dict[str, Any] = {'person': 'guide' if guide else 'drive', 'horizon': LONGEST,
                              'person_reset': put_back}
    for node in graph:
        if node.name == 'policy_server':
            node.parameters.update(server)
            if guide:
                node.parameters['reset_service'] = ''
    return graph
