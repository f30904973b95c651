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
"""`spaars train`: any algorithm on any Gymnasium environment, without ROS."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import warnings_as_one_line
from spaars_ros.commands.common import write_json

POLICY = 'policy.onnx'
"""File with the policy evaluated at the end, for `spaars collect --policy`."""
EXAMPLES = """\b
Examples:
  spaars train --env Hopper-v5 --data hopper-medium.npz --out runs/hopper
  spaars train --env Hopper-v5 --data hopper-medium.npz --set mode=latent-only --out runs/latent
  spaars train --env Walker2d-v5 --algorithm sac --steps 100000 --out runs/sac
  spaars train --env SpaarsReach-v0 --training spaars --steps 15000 --envs 4 --out runs/reach
  spaars collect --env Hopper-v5 --policy runs/hopper/policy.onnx --transitions 10000 mine.npz
"""


def command(
    env: Annotated[str, typer.Option(help='Gymnasium id; SpaarsReach-v0 is the arm.')],
    data: Annotated[str, typer.Option(
        help='Offline transitions: .npz, D4RL .hdf5, or minari:<id>; the arm has its own.')] = '',
    observe: Annotated[Optional[list[str]], typer.Option(
        metavar='KEY', help='Observation key of a robomimic file; may be repeated, in the order '
        'of the environment; default: all keys with rows of numbers.')] = None,
    fix_truncations: Annotated[bool, typer.Option(
        help='Treat terminations that look like time limits as truncations.')] = False,
    algorithm: Annotated[str, typer.Option(
        help='spaars, spaars-supe, spar, marvel, or a baseline: bc, iql, rlpd, sac, plas, td3-bc, '
        'supe, cpq, sac-lagrangian, sac-pid; default: that of the training file.')] = '',
    training: Annotated[str, typer.Option(
        help='Training file: path, or name of a shipped file.')] = 'locomotion',
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='KEY=VALUE that overrides the training file; may be repeated.')] = None,
    seed: Annotated[int, typer.Option(min=0, help='Seed of all random numbers.')] = 0,
    steps: Annotated[int, typer.Option(min=0, help='Environment steps.')] = 50_000,
    evaluate_every: Annotated[int, typer.Option(min=1, help='Steps between evaluations.')] = 5000,
    evaluate_offline: Annotated[int, typer.Option(
        min=0, help='Offline updates between evaluations; 0: only one at their end.')] = 0,
    evaluation_episodes: Annotated[int, typer.Option(min=1, help='Episodes per evaluation.')] = 10,
    cost_limit: Annotated[Optional[float], typer.Option(
        min=0.0, help="Limit of info['cost'] per episode; for cpq and marvel also the cost_limit "
        'of the training file. Of the baselines, only cpq, sac-lagrangian, sac-pid and supe hold '
        'a limit.')] = None,
    envs: Annotated[int, typer.Option(
        min=1, help='Parallel environments to explore, one process each.')] = 1,
    out: Annotated[Path, typer.Option(
        help='Folder of curve and checkpoint; an existing run is '
        'continued.')] = Path('runs/train'),
    json: Annotated[Optional[Path], typer.Option(help='Write the summary here.')] = None,
) -> None:
    """Train offline, fine-tune online and evaluate, with the same classes as the learner."""
    with errors_as_one_line(), warnings_as_one_line():
        from spaars_ros.data.files import write_whole
        from spaars_ros.learning.gym.load_data import find_data
        from spaars_ros.learning.gym.trainer import Trainer
        from spaars_ros.sim.environments import is_arm
        from spaars_ros.training_file import load_training
        from spaars_ros.training_file import SCRATCH
        overrides = overrides_of(change or [])
        if algorithm:
            overrides['algorithm'] = algorithm
        settings = load_training(training, **overrides)
        if settings.algorithm in SCRATCH and data:
            raise ValueError(f'--data {data}: {settings.algorithm} learns from scratch'
                             + ('; rlpd is sac with data' if settings.algorithm == 'sac' else ''))
        if fix_truncations and (is_arm(env) or not data):
            raise ValueError('--fix-truncations: only of --data, and the arm has no such flags')
        trainer = Trainer(env, find_data(env, data, settings, fix=fix_truncations,
                                          observe=observe or []),
                          training=settings, seed=seed, out=out,
                          steps=steps, evaluate_every=evaluate_every,
                          evaluate_offline=evaluate_offline,
                          evaluation_episodes=evaluation_episodes, cost_limit=cost_limit,
                          envs=envs)
        summary = trainer.run(say=typer.echo)
        write_json(out / 'summary.json', summary)
        write_json(json, summary)
        files = 'curve.jsonl, episodes.jsonl, summary.json, checkpoint.npz'
        try:
            write_whole(out / POLICY, trainer.export())
            files += f', {POLICY}'
        except ValueError as error:
            typer.echo(f'no {POLICY}: {error}')
        typer.echo(f'{out}: {files}')
