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

"""Page of a recorded run: scrub, explain decisions, compare two policies on the same states."""

from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import numpy as np
import viser
from viser import uplot

from spaars_ros.data.schema import Array
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import StepSchema
from spaars_ros.interrupts import Interrupts
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import Robot
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.page.picture import Picture
from spaars_ros.run.page.server import PageError
from spaars_ros.run.page.server import PageServer
from spaars_ros.run.page.why import describe_recorded
from spaars_ros.run.page.why import told
from spaars_ros.run.page.why import Why
from spaars_ros.run.page.why import why
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.protocols import TopView


@dataclass(frozen=True)
class Recording:
    """Recorded run and the policies to compare on it."""

    robot: Robot
    task: Task
    schema: StepSchema
    episodes: dict[int, Array]
    """Episode -> its step records (m, width) in order."""
    policies: dict[str, PolicyRuntime]
    """Name -> policy to compare, one or two."""

    def observations(self, episode: int) -> Array:
        """Return the observations of an episode (m, n)."""
        return self.episodes[episode][:, self.schema.fields['observation']]

    def positions(self, episode: int) -> Array:
        """Return the joint positions of an episode (m, d) in rad; raises PageError for none."""
        names = self.task.observation_names
        try:
            columns = [names.index(f'{joint}.position') for joint in self.robot.joints]
        except ValueError as error:
            raise PageError(f'the observation of task {self.task.name} has no joint positions to '
                            f'show the arm by ({error})') from None
        return self.observations(episode)[:, columns]


def read_run(out: str, bundles: list[str]) -> Recording:
    """
    Load a run to replay.

    :param bundles: bundle files to compare; empty: the initial and the newest one of the run
    :raises PageError: nothing is recorded, or a bundle has another observation width
    :raises RunError, BundleError: the run or a bundle cannot be read
    """
    folder = RunFolder.resume(out)
    schema, rows = folder.recorded()
    if schema is None:
        raise PageError(f'{folder.recording}: no step is recorded')
    _, once = np.unique(schema.get(rows, 'sequence'), return_index=True)
    rows = rows[once]
    number = schema.get(rows, 'episode').astype(int)
    paths = [Path(each) for each in bundles] or list(dict.fromkeys(
        (folder.initial_bundle, folder.newest_bundle())))
    policies = {}
    for path in paths:
        bundle = load_bundle(path)
        if bundle.manifest.observation_dim != folder.task.observation_dim:
            raise PageError(f'{path} observes {bundle.manifest.observation_dim} values, the run '
                            f'{folder.task.observation_dim}: give bundles of its task')
        policies[f'{path.name} (version {bundle.manifest.version})'] = PolicyRuntime(bundle)
    return Recording(folder.robot, folder.task, schema,
                     {int(each): rows[number == each] for each in np.unique(number)}, policies)


class ReplayPage:
    """Page with sliders for episode and tick."""

    def __init__(self, server: PageServer, run: Recording) -> None:
        self._server, self._run = server, run
        self._picture = Picture(server, run.robot)
        server.look_at(*self._picture.kinematics.reach(run.robot))
        first, last = min(run.episodes), max(run.episodes)
        gui = server.gui
        self._episode = gui.add_slider('Episode', first, max(last, first + 1), 1, last)
        self._tick: Any = gui.add_slider('Tick', 0, 1, 1, 0)
        self._playing = gui.add_checkbox('Play', False)
        self._words = gui.add_markdown('')
        self._plots = [self._plot('Lower bound of the advantage of raw'),
                       self._plot('Largest difference of the action from the executed one')]
        self._shown = (-1, -1)
        self._positions = np.zeros((1, len(run.robot.joints)))

    def _plot(self, title: str) -> 'viser.GuiUplotHandle':
        names = list(self._run.policies)
        empty = np.zeros(1)
        return self._server.gui.add_uplot(
            data=(empty, *(empty for _ in names)), title=title, height=160,
            series=(uplot.Series(label='tick'),
                    *(uplot.Series(label=name, stroke=colour, width=2)
                      for name, colour in zip(names, ('#3c78e6', '#f08c14')))),
            scales={'x': uplot.Scale(time=False)}, legend=uplot.Legend(show=True))

    def update(self) -> None:
        """Show the tick that the sliders select; advance by one tick while playing."""
        episode = int(self._episode.value)
        if episode not in self._run.episodes:
            episode = min(self._run.episodes, key=lambda each: abs(each - episode))
        if episode != self._shown[0]:
            self._show_episode(episode)
        length = len(self._run.episodes[episode])
        if self._playing.value:
            self._tick.value = (int(self._tick.value) + 1) % length
        tick = min(int(self._tick.value), length - 1)
        if (episode, tick) != self._shown:
            self._shown = (episode, tick)
            self._show_tick(episode, tick)

    def _show_episode(self, episode: int) -> None:
        run, schema = self._run, self._run.schema
        rows = run.episodes[episode]
        self._positions = run.positions(episode)
        self._tick.max = max(len(rows) - 1, 1)
        self._tick.value = 0
        tips = np.array([self._picture.tip_at(each) for each in self._positions])
        modes = [int(mode) if mode in list(Mode) else int(Mode.NONE)
                 for mode in schema.get(rows, 'mode')]
        self._picture.trail('episode', tips, modes, list(schema.get(rows, 'intervention') > 0))
        answers = {name: [why(policy, each) for each in run.observations(episode)]
                   for name, policy in run.policies.items()}
        ticks = np.arange(len(rows), dtype=np.float64)
        done = np.atleast_2d(rows[:, schema.fields['action']])
        self._plots[0].data = (ticks, *(np.array([each.gate for each in found])
                                        for found in answers.values()))
        self._plots[1].data = (ticks, *(
            np.array([np.abs(each.action - row).max() for each, row in zip(found, done)])
            for found in answers.values()))
        self._answers: dict[str, list[Why]] = answers

    def _show_tick(self, episode: int, tick: int) -> None:
        row = self._run.episodes[episode][tick]
        self._picture.show(self._positions[tick])
        if isinstance(self._run.task, TopView):
            self._picture.point_at(np.asarray(self._run.task.target(
                row[self._run.schema.fields['observation']])))
        self._words.content = '\n\n'.join([
            f'### Episode {episode}, tick {tick}', describe_recorded(self._run.schema, row),
            *(told(name, found[tick]) for name, found in self._answers.items())])


def replay(out: str, bundles: list[str], *, host: str, port: int,
           interrupts: Interrupts) -> None:
    """
    Serve a recorded run until interrupted.

    :raises PageError: the port is in use, nothing is recorded, or a bundle is of another task
    """
    run = read_run(out, bundles)
    server = PageServer(host, port, 'spaars replay')
    try:
        page = ReplayPage(server, run)
        with interrupts.deferred():
            while not interrupts.requested:
                page.update()
                time.sleep(run.robot.period)
    finally:
        server.stop()
