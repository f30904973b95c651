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

"""Demonstrations by a task's own scripted demonstrator, recorded in the simulation."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spaars_ros.data.dataset import Dataset
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import contract_of
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.env import ArmEnv
from spaars_ros.tasks.base import average_metrics
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import TaskSettings
from spaars_ros.tasks.protocols import Candid
from spaars_ros.tasks.protocols import Demonstrator
from spaars_ros.tasks.protocols import Guarded
from spaars_ros.tasks.protocols import Informed
from spaars_ros.tasks.protocols import Operator
from spaars_ros.tasks.sources import cameras_of

FIELDS = ('observations', 'actions', 'next_observations', 'efforts', 'terminations',
          'truncations', 'episode')

MOST_FRAMES = 2_000_000_000
"""bytes of frames that are kept per recording."""


@dataclass
class Summary:
    """Statistics of the demonstrations."""

    asked: int
    """Number of requested episodes."""
    recorded: int = 0
    """Number of these that have a step."""
    failures: Counter[str] = field(default_factory=Counter)
    """Reason why an episode did not go as its operator intended -> number of episodes."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics of the task, means over episodes."""
    units: dict[str, str] = field(default_factory=dict)
    cost: float = 0.0
    """Cost of the first constraint, per episode."""
    succeeded: int = 0
    """Episodes that the task judges a success; an operator may stop before success on purpose."""
    candid: bool = True
    """Whether the operator reports which episodes failed."""
    over: int = 0
    """Episodes above a constraint's limit."""
    filtered: float = 0.0
    """Share of the ticks in which the filter changed the action."""

    @property
    def failed(self) -> int:
        """Return the number of episodes that did not go as their operator intended."""
        return sum(self.failures.values())

    def text(self) -> str:
        """Return the statistics as one line."""
        why = ', '.join(f'{count} {reason}' for reason, count in self.failures.most_common())
        reached = f'targets reached {self.asked - self.failed} of {self.asked}' + (
            f' ({why})' if why else '') if self.candid else f'success {self.succeeded} of ' \
            f'{self.asked}'
        if not self.recorded:
            return reached
        return (reached + ''.join(f', {name.replace("_", " ")} {value:.3g} {self.units[name]}'
                                  for name, value in self.metrics.items())
                + f', cost {self.cost:.2g} per episode, above its limit in {self.over}, '
                f'filter in {self.filtered:.1%} of the ticks')

    @property
    def poor(self) -> bool:
        """Return whether most episodes failed, or most were above a cost limit."""
        return 2 * max(self.failed, self.over) > self.asked


def collect(robot: Robot, settings: TaskSettings, *, episodes: int, seed: int) -> Dataset:
    """Return the data set of `record`."""
    return record(robot, settings, episodes=episodes, seed=seed)[0]


def record(robot: Robot, settings: TaskSettings, *, episodes: int, seed: int,
           frames: Path | None = None) -> tuple[Dataset, Summary]:
    """
    Record demonstrations of the task's demonstrator; the same seed gives the same data.

    An operator that finds no path makes no step; such an episode is not in the data.

    :param robot: the robot file
    :param settings: the task file
    :param episodes: number of requested episodes
    :param seed: of the environment and the operator
    :param frames: folder in which every camera image is kept; None: none is
    :raises ConfigError: the task has no demonstrator, or no episode has a step
    """
    env = ArmEnv(robot, settings)
    with kept_frames(env, frames):
        return _record(env, episodes=episodes, seed=seed)


@contextmanager
def kept_frames(env: ArmEnv, folder: Path | None) -> Iterator[None]:
    """
    Keep the camera images of an environment while the block runs.

    :param env: the environment
    :param folder: of the frames; None: none are kept
    :raises ConfigError: the task has no camera
    """
    sight = env.arm.sight
    if folder is None:
        yield
        return
    if sight is None:
        raise ConfigError(f'task {env.task.name!r} has no camera: there are no frames to keep')
    from spaars_ros.vision.frames import FrameWriter
    folder.mkdir(parents=True, exist_ok=True)
    writer = FrameWriter(folder, MOST_FRAMES, wait=True)
    topics = {source.name: source.images for source in cameras_of(env.task)}
    sight.seen = lambda name, stamp, image: writer.put(topics[name], stamp, image)
    try:
        yield
    finally:
        writer.close()


def _record(env: ArmEnv, *, episodes: int, seed: int) -> tuple[Dataset, Summary]:
    robot = env.robot
    if not isinstance(env.task, Demonstrator):
        raise ConfigError(f'task {env.task.name!r} has no scripted demonstrator: record a person '
                          'with the nodes, or give it `demonstrator(rng)`')
    operator = env.task.demonstrator(np.random.default_rng(seed))
    _guard(operator, robot)
    columns: dict[str, list[object]] = {name: [] for name in FIELDS}
    summary = Summary(episodes, units={spec.name: spec.unit for spec in env.task.spec.metrics},
                      candid=isinstance(operator, Candid))
    scores, costs, filtered = [], [], []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed * 100_003 + episode)
        operator.begin(_shown(env, observation))
        done, spent = operator.done, np.zeros(len(env.task.constraint_names))
        states, actions = [observation], []
        while not done:
            action = operator.act(_shown(env, observation))
            following, _, terminated, truncated, info = env.step(action)
            truncated = truncated or operator.done
            done = terminated or truncated
            for name, value in (
                    ('observations', observation), ('actions', info['executed']),
                    ('next_observations', following), ('efforts', info['effort']),
                    ('terminations', terminated), ('truncations', truncated),
                    ('episode', summary.recorded)):
                columns[name].append(value)
            spent += info['costs']
            filtered.append(bool(info['intervention']))
            actions.append(info['executed'])
            states.append(following)
            observation = following
            summary.succeeded += bool(info.get('success', False))
        failure = operator.failure if isinstance(operator, Candid) else ''
        if failure:
            summary.failures[failure] += 1
        if actions:
            summary.recorded += 1
            costs.append(spent)
            scores.append({'metrics': {name: metric.value for name, metric in env.task.metrics(
                Episode(np.asarray(states), np.asarray(actions))).items()}})
    if not summary.recorded:
        raise ConfigError(f'task {env.task.name!r} on robot {robot.name!r}: not written, most '
                          f'episodes failed: {summary.text()}; look at the targets')
    summary.metrics = average_metrics(env.task.spec.metrics, scores)
    spent_all: NDArray[np.float64] = np.asarray(costs)
    summary.cost = float(spent_all[:, 0].mean()) if spent_all.shape[1] else 0.0
    summary.over = int((spent_all > env.task.constraint_limits).any(axis=-1).sum())
    summary.filtered = float(np.mean(filtered))
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    return Dataset(**arrays, attributes={
        'robot': robot.name, 'joints': list(robot.joints),
        'observation_names': env.task.observation_names, **env.task.attributes,
        'action_scale': robot.control.action_scale,
        'contract': contract_of(robot, env.task.observation_names).model_dump_json(),
        'source': f'spaars collect --episodes {episodes} --seed {seed}'}), summary


def _shown(env: ArmEnv, observation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the operator acts on."""
    return env.task.informed(env.world) if isinstance(env.task, Informed) else observation


def _guard(operator: Operator, robot: Robot) -> None:
    """Give the operator the distances that the filter keeps."""
    cartesian = SafetyFilter(robot).cartesian
    if isinstance(operator, Guarded) and cartesian is not None:
        operator.guard(lambda position: min(cartesian.least(position).values(),
                                            default=float('inf')))
