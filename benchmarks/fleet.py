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

"""Time until one policy succeeds, against the number of simulated arms that it learns from."""

from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from typing import Any

from matplotlib.figure import Figure

from benchmarks.tables import ROOT
from benchmarks.tables import write_table
from spaars_ros.data.files import write_whole
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.evaluate import evaluate
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task

GOAL = 0.95
EVERY = 1000
"""Steps of all arms together between two checkpoints, each of which is evaluated afterwards."""
FIGURE = ROOT / 'docs' / 'images' / 'learning' / 'fleet.png'
EPISODE = re.compile(r'(?:\w+: )?episode \d+/\d+ ')


class Watched:
    """
    A fine-tuning run as a process, whose episodes and checkpoints are timed from outside.

    :param command: of the run
    :param out: its run folder
    :param keep: folder for copies of its checkpoints, of which a run keeps only the newest
    """

    def __init__(self, command: Sequence[str], out: Path, keep: Path) -> None:
        self.episodes: list[float] = []
        """Wall time of the end of each episode of any arm, s."""
        self.checkpoints: list[tuple[Path, float, int]] = []
        """Copy, wall time (s) and episodes done when it was seen."""
        self._folder, self._keep = out / 'checkpoints', keep
        keep.mkdir(parents=True)
        self._log = (keep / 'log.txt').open('w')
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                         stderr=subprocess.STDOUT, errors='replace')
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._log.write(line)
            if EPISODE.match(line):
                self.episodes.append(time.monotonic())

    def wait(self) -> int:
        """Copy checkpoints as they come, until the run has ended; return its exit code."""
        try:
            while self._process.poll() is None:
                self._copy()
                time.sleep(0.2)
            self._copy()
        finally:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait()
            self._reader.join(5.0)
            self._log.close()
        return self._process.returncode

    def _copy(self) -> None:
        known = {path.name for path, _, _ in self.checkpoints}
        for path in sorted(self._folder.glob('*.spaars')):
            if path.name not in known:
                now, done = time.monotonic(), len(self.episodes)
                self.checkpoints.append((Path(shutil.copy(path, self._keep)), now, done))


def measure(robots: int, *, episodes: int, seed: int, out: Path, evaluation_episodes: int
            ) -> dict[str, Any]:
    """
    Return how fine-tuning with so many arms in lockstep went.

    Keys: robots, seed, episodes and steps (of all arms), cpu_s_per_step, seconds (from the first
    episode's end to the last one's), success_before, success_after, lost_ticks,
    evaluations [(steps of each arm, wall s since the first episode's end, success)],
    steps_to_goal (of all arms), robot_s_to_goal (of each arm), wall_s_to_goal; None where no
    checkpoint reached `GOAL`.

    :param episodes: of all arms together
    :raises RuntimeError: the run failed
    """
    command = [sys.executable, '-m', 'spaars_ros.cli', 'finetune', '--robots', str(robots),
               '--episodes', str(episodes // robots), '--seed', str(seed), '--no-page',
               '--evaluation-episodes', str(evaluation_episodes),
               '--set', f'checkpoint_every={EVERY}', '--out', str(out)]
    before = _cpu()
    watched = Watched(command, out, out.with_name(f'{out.name}_checkpoints'))
    code = watched.wait()
    if code:
        raise RuntimeError(f'the run with {robots} arms ended with code {code}: see '
                           f'{out}_checkpoints/log.txt')
    cpu = _cpu() - before
    summary = json.loads((out / 'summary.json').read_text())
    robot = load_robot()
    task = make_task(robot, load_task())
    began = watched.episodes[0]
    rows = []
    for path, at, done in watched.checkpoints:
        found = evaluate(load_bundle(path), robot, task, episodes=evaluation_episodes)
        rows.append((done * task.horizon / robots, at - began, found['success']))
    reached = next((row for row in rows if row[2] >= GOAL), None)
    return {
        'robots': robots, 'seed': seed, 'episodes': summary['episodes'],
        'steps': summary['online_steps'], 'lost_ticks': summary['lost_ticks'],
        'seconds': watched.episodes[-1] - began,
        'cpu_s_per_step': cpu / max(1, summary['online_steps']),
        'success_before': summary['success_before'], 'success_after': summary['success_after'],
        'evaluations': rows,
        'steps_to_goal': reached[0] * robots if reached else None,
        'robot_s_to_goal': reached[0] * robot.period if reached else None,
        'wall_s_to_goal': reached[1] if reached else None}


def _cpu() -> float:
    """Return the processor time of all ended child processes, s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*, robots: Sequence[int] = (1, 2, 4, 8), episodes: int = 160, seeds: Sequence[int] = (0,),
        evaluation_episodes: int = 40, out: Path = Path('runs/bench_fleet'), table: bool = False,
        say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """
    Return a row of `measure` per number of arms and seed; those in `out` are not run again.

    :param table: also write the table and the figure of docs/concepts/scale.md
    """
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for count in robots:
            kept = out / f'robots_{count}_seed_{seed}.json'
            if not kept.exists():
                out.mkdir(parents=True, exist_ok=True)
                row = measure(count, episodes=episodes, seed=seed,
                              out=out / f'robots_{count}_seed_{seed}',
                              evaluation_episodes=evaluation_episodes)
                write_whole(kept, json.dumps(row, indent=1).encode())
            rows.append(json.loads(kept.read_text()))
            say(' '.join(_cells(rows[-1])))
    if table:
        write_table(
            'fleet', ['arms', 'steps of all arms', 'success before, after',
                      'steps of all arms to 95 %', 'robot time to 95 %, s', 'wall time to 95 %, s',
                      'wall time of the run, s', 'processor time per step, ms', 'ticks lost'],
            [_cells(row) for row in rows], seeds=seeds,
            command='./run bench fleet --robots ' + ','.join(map(str, robots))
            + f' --episodes {episodes} --seeds ' + ','.join(map(str, seeds)),
            note=f'arms in lockstep on one machine; a checkpoint every {EVERY} steps, each '
            f'evaluated on {evaluation_episodes} fixed episodes')
        plot(rows, FIGURE)
    return {'rows': rows}


def _cells(row: dict[str, Any]) -> list[str]:
    def whole(value: float | None) -> str:
        return 'not reached' if value is None else f'{value:.0f}'
    after = row['success_after']
    return [f'{row["robots"]}', f'{row["steps"]}', f'{100 * row["success_before"]:.0f} → '
            + ('?' if after is None else f'{100 * after:.0f} %'), whole(row['steps_to_goal']),
            whole(row['robot_s_to_goal']), whole(row['wall_s_to_goal']), whole(row['seconds']),
            f'{1e3 * row["cpu_s_per_step"]:.1f}', f'{row["lost_ticks"]}']


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw robot time and wall time to the goal against the number of arms."""
    figure = Figure(figsize=(7.2, 2.9), layout='constrained')
    axes = figure.subplots(1, 2)
    for place, key, title in ((axes[0], 'robot_s_to_goal', 'robot time to 95 %, s per arm'),
                              (axes[1], 'wall_s_to_goal', 'wall time to 95 %, s')):
        shown = [row for row in rows if row[key] is not None]
        place.plot([row['robots'] for row in shown], [row[key] for row in shown], 'o-')
        place.set_xscale('log', base=2)
        place.set_xticks([row['robots'] for row in rows],
                         [str(row['robots']) for row in rows])
        place.set_ylim(bottom=0.0)
        place.set_xlabel('arms')
        place.set_title(title, fontsize=10)
        place.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
