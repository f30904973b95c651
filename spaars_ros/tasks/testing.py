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

"""Conformance test for tasks, also of other packages: `check_task(MyTask(robot, settings))`."""

from typing import Any

import numpy as np

from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.robot.start_pose import sample_start
from spaars_ros.tasks.base import Array
from spaars_ros.tasks.base import Episode
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import goal_of
from spaars_ros.tasks.protocols import Goals
from spaars_ros.tasks.protocols import Potential
from spaars_ros.tasks.spec import TaskSpec

RESERVED = ('success', 'return', 'cost', 'raw_share', 'episodes', 'metrics', 'multiplier')
"""Keys of evaluations and summaries, which are not allowed as names of metrics."""


class TaskError(ValueError):
    """A task violates the interface; the message names the method and says what to do."""


def check_task(task: Task, *, sources: dict[str, Array] | None = None, seed: int = 0) -> None:
    """
    Raise TaskError, with a one-line message, if a task violates the interface in `tasks.base`.

    :param sources: source -> values (k,) for its observations; missing sources are filled with
        zeros (width of the encoder's vector for a camera, otherwise 6)
    :param seed: of the random states and actions
    """
    if not isinstance(task, Task):
        raise TaskError(f'{type(task).__name__}: derive the class from spaars_ros.tasks.base.Task')
    spec: Any = getattr(task, 'spec', None)
    if not isinstance(spec, TaskSpec):
        raise TaskError(f'{type(task).__name__}.spec is {spec!r}: set it to a TaskSpec in '
                        '__init__')
    named = sorted({m.name for m in spec.metrics} & set(RESERVED))
    if named:
        raise TaskError(f'spec.metrics: {named[0]!r} is a name of the house: choose another one')
    if spec.action.space == 'joint_velocity' and spec.action.joints != len(task.robot.joints):
        raise TaskError(f'spec.action has {spec.action.joints} joints, robot {task.robot.name} '
                        f'{len(task.robot.joints)}: ActionSpace(joints=len(robot.joints))')
    try:
        _check_calls(task, sources or {}, np.random.default_rng(seed))
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f'{type(task).__name__}: {_where(error)}{type(error).__name__}: {error}'
                        ) from error


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return '' if trace is None else \
        f'{trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}: '


def _check_calls(task: Task, sources: dict[str, Array], rng: np.random.Generator) -> None:
    spec, kinematics = task.spec, Kinematics(task.robot)
    # A camera's source has the name of its term, and the width of its encoder's vector.
    widths = {name: spec.widths[name] for name in spec.encoders}
    samples = {name: Sample(np.asarray(sources.get(name, np.zeros(widths.get(name, 6))), float),
                            0.01) for name in spec.sources}
    goal = goal_of(task, rng)
    d = len(task.robot.joints)
    worlds = [World(RobotState(1_000_000_000 * (i + 1), sample_start(task.robot, 0.05, rng),
                               rng.normal(scale=0.1, size=d), np.zeros(d)), kinematics, samples)
              for i in range(5)]
    states = np.stack([_shaped('observe', task.observe(world, goal), (spec.observation_dim,))
                       for world in worlds])
    for name, place in spec.slices.items():
        term = next(term for term in spec.terms if term.name == name)
        part = states[:, place]
        if (part < term.low - 1e-9).any() or (part > term.high + 1e-9).any():
            raise TaskError(f'observe: term {name!r} is {part.min():g} to {part.max():g}, its '
                            f'spec says {term.low:g} to {term.high:g}')
    if not np.array_equal(states[0], task.observe(worlds[0], goal)):
        raise TaskError('observe: the same world gives another observation the second time: keep '
                        'no state in the task')
    actions = rng.uniform(-1.0, 1.0, (4, spec.action_dim))
    before, after = states[:-1], states[1:]
    _batched('reward', lambda b, a, s: task.reward(b, a, s), (before, actions, after))
    _check_costs(task, after, actions)
    for state, world in zip(states, worlds):
        outcome = task.outcome(state, world)
        if not isinstance(outcome, Outcome):
            raise TaskError(f'outcome returns {outcome!r}: one of Outcome')
    _check_episodes(task, states, actions)
    if isinstance(task, Goals):
        _check_goals(task, states, rng)
    if isinstance(task, Potential):
        _batched('potential', task.potential, (states,))


def _shaped(what: str, value: Any, shape: tuple[int, ...]) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise TaskError(f'{what} returns shape {array.shape}, expected {shape}')
    if not np.isfinite(array).all():
        raise TaskError(f'{what} returns {array[~np.isfinite(array)][0]}: finite numbers only')
    return array


def _batched(what: str, call: Any, arguments: tuple[Array, ...]) -> None:
    """Check that a call returns (B, T) for leading axes (B, T), equal to calls one by one."""
    size = len(arguments[0])
    copies = [argument.copy() for argument in arguments]
    once = _shaped(what, call(*arguments), (size,))
    for copy, argument in zip(copies, arguments):
        if not np.array_equal(copy, argument):
            raise TaskError(f'{what} changes its arguments: work on a copy')
    single = [float(_shaped(f'{what} of one state', call(*(a[i] for a in arguments)), ()))
              for i in range(size)]
    twice = _shaped(f'{what} of two leading axes', call(*(a[None] for a in arguments)), (1, size))
    if not (np.allclose(once, single) and np.allclose(once, twice[0])):
        raise TaskError(f'{what}: a batch gives other values than its states one by one: index '
                        'the last axis, as in after[..., 0]')


def _check_costs(task: Task, after: Array, actions: Array) -> None:
    found = task.costs(after, actions)
    if set(found) != set(task.spec.costs):
        raise TaskError(f'costs returns {sorted(found)}, spec.costs says '
                        f'{sorted(task.spec.costs)}')
    for name in found:
        _batched(f'costs: {name}', lambda s, a, name=name: task.costs(s, a)[name],
                 (after, actions))
        if (np.asarray(found[name]) < 0).any():
            raise TaskError(f'costs: {name} is {np.min(found[name]):g}: costs are not negative')


def _check_episodes(task: Task, states: Array, actions: Array) -> None:
    for flag in (Flag.TRUNCATED, Flag.ABORTED):
        for count in (1, len(actions)):  # also an episode that was interrupted at once
            episode = Episode(states[:count + 1], actions[:count], flag)
            outcome = task.judge(episode)
            if not isinstance(outcome, Outcome):
                raise TaskError(f'judge returns {outcome!r}: one of Outcome')
            found, wanted = task.metrics(episode), task.spec.metrics
            if set(found) != {m.name for m in wanted}:
                raise TaskError(f'metrics returns {sorted(found)}, spec.metrics says '
                                f'{sorted(m.name for m in wanted)}')
            for each in wanted:
                metric = found[each.name]
                if (metric.unit, metric.better) != (each.unit, each.better):
                    raise TaskError(f'metrics: {each.name} is in {metric.unit!r}, '
                                    f'{metric.better}; its spec says {each.unit!r}, {each.better}')


def _check_goals(task: Any, states: Array, rng: np.random.Generator) -> None:
    goal = np.asarray(task.sample_goal(rng), float)
    if goal.ndim != 1 or not np.isfinite(goal).all():
        raise TaskError(f'sample_goal returns {goal}: a vector of finite numbers')
    n = states.shape[-1]
    _shaped('relabel', task.relabel(states, np.tile(goal, (len(states), 1))), (len(states), n))
    _shaped('relabel of a path', task.relabel(states[None], goal[None, None]), (1, *states.shape))
    goals = np.asarray(task.hindsight(states, states[::-1], rng), float)
    if goals.shape != (len(states), len(goal)):
        raise TaskError(f'hindsight returns shape {goals.shape}, expected '
                        f'{(len(states), len(goal))}')
