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

"""`spaars collect`: demonstrations of a scripted operator, or rollouts of a policy."""

from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.run_options import Robot
from spaars_ros.commands.run_options import run_option
from spaars_ros.commands.run_options import Task
from spaars_ros.run.run_config import robot_of
from spaars_ros.run.run_config import TASK

EXAMPLES = """\b
Examples:
  spaars collect demonstrations.h5 --episodes 60 --seed 0
  spaars collect --env Hopper-v5 --policy hopper.onnx --transitions 200000 --seed 0 hopper.npz
  spaars collect --env SpaarsStaged-v0 --episodes 300 --seed 0 staged.npz
"""

ARM_ONLY = ('episodes', 'robot', 'task', 'frames')
ROLLOUT_ONLY = ('policy', 'transitions')
STAGED = 'SpaarsStaged-v0'
EPISODES, STAGED_EPISODES = 60, 300


def command(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(
        help='File to write: HDF5; with --env also .npz.')],
    episodes: Annotated[Optional[int], typer.Option(
        min=1, help='Episodes of the arm to record; default: 60, or 300 for '
        'SpaarsStaged-v0.')] = None,
    seed: Annotated[int, run_option(
        'seed', 'Seed of the operator and the goals, or of the resets and the noise.')] = 0,
    robot: Robot = '',
    task: Task = TASK,
    frames: Annotated[Optional[Path], typer.Option(
        help='Folder in which to store the camera images, as JPEG in MCAP.')] = None,
    env: Annotated[str | None, typer.Option(
        help='Gymnasium environment to record instead of the arm; needs --policy, except for '
             'SpaarsStaged-v0, which has a scripted demonstrator.')] = None,
    policy: Annotated[Path | None, typer.Option(
        help='ONNX graph: observation and, if stochastic, noise to action, in the '
             "environment's units.")] = None,
    transitions: Annotated[int, typer.Option(
        min=1, help='With --env: transitions to record; the last episode is recorded whole.',
    )] = 200_000,
) -> None:
    """Record a scripted operator at a teach pendant, or, with --env, a policy's rollouts."""
    with errors_as_one_line():
        if env == STAGED and policy is None:
            _refuse(context, ('robot', 'task', 'transitions'), f'for the demonstrator of {STAGED}')
            _demonstrator(out, episodes or STAGED_EPISODES, seed)
            return
        _refuse(context, ARM_ONLY if env is not None else ROLLOUT_ONLY,
                'with --env' if env is not None else 'without --env')
        if env is None:
            _operator(out, episodes or EPISODES, seed, robot, task, frames)
        elif policy is None:
            raise ValueError('--env needs --policy FILE.onnx')
        else:
            _rollouts(out, env, policy, transitions, seed)


def _refuse(context: typer.Context, names: tuple[str, ...], how: str) -> None:
    """Raise ValueError for an option that was given and would be silently ignored."""
    for name in names:
        source: Any = context.get_parameter_source(name)
        if source is not None and source.name == 'COMMANDLINE':
            raise ValueError(f'--{name} has no meaning {how}')


def _demonstrator(out: Path, episodes: int, seed: int) -> None:
    from spaars_ros.data.importers import ENDINGS
    from spaars_ros.data.transitions import save_transitions
    from spaars_ros.sim.staged_operator import collect_staged
    if out.suffix not in ENDINGS:
        raise ValueError(f'{out}: unknown format; expected {", ".join(ENDINGS)}')
    data = collect_staged(episodes=episodes, seed=seed)
    save_transitions(data, out)
    typer.echo(f'{out}: {data.episodes} episodes, {len(data)} transitions, '
               f'{data.returns.mean():.2f} of 4 stages, at most {data.returns.max():.0f}')


def _operator(out: Path, episodes: int, seed: int, robot: str, task: str,
              frames: Path | None) -> None:
    from spaars_ros.data.dataset import save_dataset
    from spaars_ros.robot.config import load_robot
    from spaars_ros.sim.operator import record
    from spaars_ros.tasks.registry import load_task
    robot = robot_of(robot, task)
    dataset, summary = record(load_robot(robot), load_task(task), episodes=episodes, seed=seed,
                              frames=frames)
    if summary.poor:
        raise ValueError(f'{out} not written, most episodes failed: {summary.text()}; look at '
                         f'the targets of {task} and at `spaars robot check {robot}`')
    dataset.attributes['source'] = (f'spaars collect {out.name} --episodes {episodes} '
                                    f'--seed {seed} --robot {robot} --task {task}')
    save_dataset(dataset, out)
    typer.echo(f'{out}: {summary.recorded} episodes, {len(dataset.observations)} transitions')
    typer.echo(summary.text())


def _rollouts(out: Path, env_id: str, path: Path, transitions: int, seed: int) -> None:
    from spaars_ros.data.importers import ENDINGS
    from spaars_ros.data.scores import normalised_score
    from spaars_ros.data.transitions import save_transitions
    from spaars_ros.sim.collect import OnnxPolicy
    from spaars_ros.sim.collect import roll_out
    from spaars_ros.sim.environments import make_environment
    if out.suffix not in ENDINGS:  # fail before the recording, which takes minutes
        raise ValueError(f'{out}: unknown format; expected {", ".join(ENDINGS)}')
    env = make_environment(env_id)
    try:
        data = roll_out(env, OnnxPolicy(path, env), transitions=transitions, seed=seed)
    finally:
        env.close()
    data.attributes['source'] = (f'spaars collect --env {env_id} --policy {path.name} '
                                 f'--transitions {transitions} --seed {seed} {out.name}')
    save_transitions(data, out)
    returns = data.returns
    score = normalised_score(env_id, float(returns.mean()))
    typer.echo(f'{out}: {data.episodes} episodes, {len(data)} transitions, return '
               f'{returns.mean():.0f} +- {returns.std():.0f}'
               + ('' if score is None else f', normalised {score:.1f}'))
