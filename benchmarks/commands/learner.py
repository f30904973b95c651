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

"""`spaars bench learner` and `spaars bench peers`: speed of our learner and of peers."""

from pathlib import Path
from typing import Annotated
from typing import Optional

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import report
from spaars_ros.commands.common import seeds_of

EXAMPLES = """\b
Examples:
  spaars bench peers
  spaars bench learner --json learner.json
  spaars bench learner --sizes
  spaars bench learner --device cuda
  spaars bench learner --replay
  spaars bench learner --wall-clock --tasks reach,Hopper-v5=hopper-medium.npz --budget 3600
"""
PEERS_EXAMPLES = """\b
Examples:
  spaars bench peers
  spaars bench peers --peers /tmp/peers
  spaars bench peers --only metaworld
"""

Peers = Annotated[Path, typer.Option(
    help='Folder of the environments of SBX, stable-baselines3 and d3rlpy.')]
DEFAULT = Path('~/.cache/spaars_ros/peers')


def register(app: typer.Typer) -> None:
    """Add both commands to the app."""
    app.command('learner', epilog=EXAMPLES)(learner)
    app.command('peers', epilog=PEERS_EXAMPLES)(make_peers)


def make_peers(peers: Peers = DEFAULT, only: Annotated[str, typer.Option(
    help='Create only this one; bench manipulation needs metaworld.')] = '') -> None:
    """Create the environments of peers: SBX, stable-baselines3, d3rlpy, Bullet, Meta-World."""
    with errors_as_one_line():
        from benchmarks.peer_environments import make
        report(make(peers, say=_say, only=only), None)


def learner(
    updates: Annotated[int, typer.Option(min=1, help='Updates per round.')] = 50,
    rounds: Annotated[int, typer.Option(min=1, help='Rounds, in which all take turns.')] = 20,
    width: Annotated[int, typer.Option(min=8, help='Units per hidden layer.')] = 256,
    batch: Annotated[int, typer.Option(min=2, help='Transitions per update.')] = 256,
    heads: Annotated[int, typer.Option(min=2, help='Critic heads.')] = 2,
    sizes: Annotated[bool, typer.Option(
        '--sizes', help='Instead of one size: 2x256 with 2 heads, our defaults, and 10 heads.')
    ] = False,
    compiled: Annotated[bool, typer.Option(
        help='Our SAC compiled, as in a long run; compiling takes a minute or two the first '
        'time.')] = True,
    device: Annotated[str, typer.Option(
        help='cuda: also ours on a GPU; auto: if torch sees one; cpu: on the CPU alone.')] = 'cpu',
    replay: Annotated[bool, typer.Option(
        '--replay', help='Also measure the replay at 10,000 to 1,000,000 transitions.')] = False,
    wall_clock: Annotated[bool, typer.Option(
        '--wall-clock', help='Instead: measure the seconds to a reference return.')] = False,
    tasks: Annotated[str, typer.Option(
        help='For --wall-clock: reach, and Gymnasium ids as ID=FILE, comma-separated.')] = 'reach',
    methods: Annotated[str, typer.Option(
        help='For --wall-clock: methods, comma-separated.')] = 'spaars,sbx,sb3,d3rlpy',
    reference: Annotated[str, typer.Option(
        help='For --wall-clock: TASK=RETURN, comma-separated; default: reach=-40 (about 70 % '
             'success), Hopper-v5=2000.')] = '',
    hold: Annotated[int, typer.Option(
        min=1, help='For --wall-clock: consecutive evaluations whose mean has to reach it.')] = 1,
    budget: Annotated[float, typer.Option(
        min=1.0, help='For --wall-clock: s of training after which a run counts as failed.')
    ] = 1800.0,
    change: Annotated[Optional[list[str]], typer.Option(
        '--set', help='For --wall-clock: KEY=VALUE that overrides our training file; may be '
        'repeated.')
    ] = None,
    seeds: Annotated[str, typer.Option(help='For --wall-clock: seeds, comma-separated.')] = '0',
    jobs: Annotated[int, typer.Option(min=1, help='For --wall-clock: parallel runs.')] = 1,
    out: Annotated[Path, typer.Option(
        help='For --wall-clock: folder of rows; existing rows are not run again.')
    ] = Path('runs/bench_learner'),
    peers: Peers = DEFAULT,
    json: Annotated[Optional[Path], typer.Option(help='Also write the result here.')] = None,
) -> None:
    """Time updates against SAC of SBX and stable-baselines3 and IQL of d3rlpy, in one run."""
    with errors_as_one_line():
        if wall_clock:
            from benchmarks.wall_clock import run as time_to_reference
            try:
                references = {name: float(value) for name, value in _pairs(reference).items()}
            except ValueError:
                raise ValueError(f'--reference {reference}: expected TASK=RETURN, '
                                 'comma-separated') from None
            report(time_to_reference(
                tasks=_pairs(tasks), references=references, budget=budget, jobs=jobs, out=out,
                methods=tuple(methods.split(',')), hold=hold, peers=peers, say=_say,
                overrides=overrides_of(change or []),
                seeds=seeds_of(seeds)), json)
            return
        from benchmarks import learner as speed
        result = speed.run_sizes(updates=updates, rounds=rounds, peers=peers, compiled=compiled,
                                 device=device, say=_say) if sizes else \
            speed.run(updates=updates, rounds=rounds, width=width, batch=batch, heads=heads,
                      peers=peers, compiled=compiled, device=device, say=_say)
        if replay:
            from benchmarks import replay as memory
            result['replay'] = memory.run()
        report(result, json)


def _pairs(text: str) -> dict[str, str]:
    """Return name -> value of NAME=VALUE,NAME=VALUE; a value may be missing."""
    return {name: value for name, _, value in (pair.partition('=')
                                               for pair in text.split(',') if pair)}


def _say(line: str) -> None:
    typer.echo(line, err=True)
