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

"""Value of human interventions: fine-tune a task in process with and without a person."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.fine_tuning import begin
from benchmarks.tables import write_table
from spaars_ros.constraints.costs import transition_costs
from spaars_ros.constraints.episode_limits import EpisodeLimits
from spaars_ros.control.person import Person
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import Robot
from spaars_ros.sim.evaluate import EVALUATION_SEED
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.sim.person import as_command
from spaars_ros.sim.person import SimulatedPerson
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.scoring import episodes_from_steps

GOAL = 0.95
"""Success rate of the policy alone that ends a run."""


class Assisted:
    """
    Episodes of a policy with a simulated person, who uses the commands of a real one.

    :param seed: seed of the episodes and the simulated person
    """

    def __init__(self, bundle: Bundle, robot: Robot, task: Task, seed: int) -> None:
        self._now = 0.0
        self._task, self._period = task, robot.period
        self._person = Person(len(robot.joints), clock=lambda: self._now)
        self.simulated = SimulatedPerson(task, np.random.default_rng([seed, 5]))
        self.rollouts = Rollouts(PolicyRuntime(bundle), robot, task, seed=seed, explore=True,
                                 person=self._person)

    def episode(self) -> Array:
        """Run the next episode and return its step records (T + 1, width)."""
        self._person.forget()
        self._person.switch('hand', False)
        self.simulated.begin()
        return self.rollouts.episode(self._seen)

    def _seen(self, arm: Any, record: Array | None) -> None:
        self._now += self._period
        asked = None
        if record is not None:
            asked = self.simulated.see(record[self.rollouts.schema.fields['observation']])
        self._person.switch('hand', asked is not None)
        if asked is not None:
            command = as_command(self._task, asked)
            if command.frame is None:
                self._person.joint_velocities(command.values)
            else:
                self._person.twist(command.values, command.frame)


def run(*, task: str = 'insert', training: str = 'spaars', seed: int = 0, episodes: int = 100,
        every: int = 10, evaluation_episodes: int = 40, assisted: bool,
        overrides: dict[str, Any] | None = None, start: Bundle | None = None,
        say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """
    Fine-tune with or without a person; stop when the policy alone reaches `GOAL`.

    Keys of the result: the arguments; `evaluations`, a list of (training episodes, success rate
    of the policy alone on fixed episodes); `episodes_to_goal` (training episodes, None if not
    reached); `takeovers` (number) and `human_share` (of ticks) over all training;
    `training_success` (with the help of the person); `bundle` (pretrained; not JSON).

    :param episodes: maximum number of training episodes
    :param every: training episodes per evaluation
    :param assisted: whether a simulated person takes over
    :param overrides: settings that override the training file
    :param start: pretrained bundle; None: pretrain one
    """
    begun = begin(task, training, seed, overrides, start)
    robot, made, wanted, bundle, tuner = (begun.robot, begun.task, begun.training, begun.bundle,
                                          begun.tuner)
    watched = Assisted(bundle, robot, made, seed) if assisted else None
    online = watched.rollouts if watched else Rollouts(PolicyRuntime(bundle), robot, made,
                                                       seed=seed, explore=True)
    limits = EpisodeLimits(made.constraint_limits, robot.constraints, horizon=made.horizon,
                           gamma=wanted.gamma)
    evaluations = [(0, _alone(bundle, robot, made, evaluation_episodes))]
    scores: list[dict[str, Any]] = []
    ticks = human = 0
    for number in range(1, episodes + 1):
        rows = watched.episode() if watched else online.episode()
        for record in rows:
            tuner.add(record)
        scores += episodes_from_steps(online.schema, rows, made)
        human += int((online.schema.get(rows[:-1], 'mode') == Mode.HUMAN).sum())
        ticks += len(rows) - 1
        if len(made.constraint_limits):
            tuner.multipliers = limits.update(transition_costs(
                made, robot.constraints, online.schema, rows))
        while tuner.updates_owed:
            tuner.update()
        if tuner.bundle_due:
            online.loop.swap(PolicyRuntime(tuner.export()))
        if number % every == 0:
            evaluations.append((number, _alone(tuner.export(), robot, made,
                                               evaluation_episodes)))
            if say is not None:
                say(f'{"with" if assisted else "without"} a person, episode {number}: '
                    f'{evaluations[-1][1]:.0%} alone, {_mean(scores[-every:], "success"):.0%} in '
                    f'training, {_mean(scores[-every:], "takeovers"):.1f} takeovers an episode, '
                    f"{human / ticks:.0%} of all ticks a person's")
        if evaluations[-1][1] >= GOAL:
            break
    return {'task': task, 'training_file': training, 'seed': seed, 'episodes': episodes,
            'overrides': overrides or {}, 'assisted': assisted, 'evaluations': evaluations,
            'episodes_to_goal': next((at for at, success in evaluations if success >= GOAL), None),
            'takeovers': int(sum(each['takeovers'] for each in scores)),
            'human_share': human / max(ticks, 1),
            'training_success': _mean(scores, 'success'), 'bundle': bundle}


def _alone(bundle: Bundle, robot: Robot, task: Task, episodes: int) -> float:
    """Return the success rate of the policy alone on fixed episodes, without exploration."""
    rollouts = Rollouts(PolicyRuntime(bundle), robot, task, seed=EVALUATION_SEED, explore=False)
    rows = np.concatenate([rollouts.episode() for _ in range(episodes)])
    return _mean(episodes_from_steps(rollouts.schema, rows, task), 'success')


def _mean(scores: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([each[name] for each in scores])) if scores else 0.0


def write(rows: list[dict[str, Any]], command: str, note: str = '') -> None:
    """Write the table of the runs to docs/results/data/tables."""
    made = []
    for row in rows:
        at, last = row['evaluations'][-1]
        who = 'nobody' if not row['assisted'] else 'a person' + ''.join(
            f', {name} {value:g}' for name, value in row['overrides'].items())
        made.append([row['task'], row['seed'], who,
                     at if row['episodes_to_goal'] is not None else f'not within {at}',
                     f'{100 * row["evaluations"][0][1]:.0f}', f'{100 * last:.0f}',
                     f'{100 * row["training_success"]:.0f}', row['takeovers'],
                     f'{100 * row["human_share"]:.0f}'])
    write_table('interventions', (
        'task', 'seed', 'who takes over', 'episodes until 95 % alone', 'alone before, %',
        'alone at the end, %', 'in training, %', 'takeovers', "a person's ticks, %"),
        made, command=command, seeds=sorted({row['seed'] for row in rows}), note=note)
