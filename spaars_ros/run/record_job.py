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

"""Job that records demonstrations: start the nodes, record the operator, complete the files."""

from collections import Counter
from dataclasses import replace
import os
from typing import Any

import numpy as np

from spaars_ros.data.demonstrations import run_steps
from spaars_ros.data.labels import read_labels
from spaars_ros.data.labels import TOPIC
from spaars_ros.data.reconcile import reconcile
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.seams import discarded_episodes
from spaars_ros.interrupts import Interrupted
from spaars_ros.interrupts import Interrupts
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.check_record import keep_record
from spaars_ros.run.completion import complete_recording
from spaars_ros.run.conductor import Conductor
from spaars_ros.run.conductor import ConductorError
from spaars_ros.run.continuation import continue_run
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.graph_claim import claimed_graph
from spaars_ros.run.job import check_parameters
from spaars_ros.run.job import refuse_others
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.record_graph import record_graph
from spaars_ros.run.report import write_summary


class RecordView(LiveView):
    """View with one line per episode: outcome, length and share of the operator's actions."""

    def __init__(self, state: LiveState, period: float) -> None:
        super().__init__(state, plain=True)
        self._period = period
        self._told, self._message = 0, ''

    def update(self, now: bool = False) -> None:
        """Print new messages and episodes."""
        if self.state.message != self._message:
            self._message = self.state.message
            # The operator acts all the time, so that a takeover constraint has no meaning here.
            if self._message and not self._message.startswith('cost_monitor'):
                self.say(self._message)
        for episode in self.state.episodes[self._told:]:
            self._told += 1
            outcome = episode['outcome'] if episode['outcome'] != 'unlabelled' else \
                f'unlabelled ({episode["ended"]})'
            self.say(f'episode {episode["episode"]}: {outcome}, {episode["steps"]} steps, '
                     f'{episode["steps"] * self._period:.1f} s, a person acted in '
                     f'{episode["human_share"]:.0%}')


def record(folder: RunFolder, interrupts: Interrupts, *, guide: bool = False, put_back: str = '',
           resume: bool = False, launch: bool = True, namespace: str = '', autostart: bool = True,
           run: str = '', log_level: str = 'info') -> dict[str, Any]:
    """
    Record an operator's demonstrations into a run folder; return the summary.

    :param guide: hand guiding: the arm is moved by hand, and nothing is commanded
    :param put_back: what the operator has to put back after each episode, '' for nothing
    :param launch: start the nodes; False if a launch file has started them
    :param run: token of the nodes that a launch file has started; '': make a new one
    :raises RunError: the folder or the graph is in use, or the run cannot start
    :raises ConductorError: a node did not become active, died or belongs to another run
    """
    check_parameters(folder, namespace)
    place = namespace or folder.options.namespace
    run = run or new_run_token(folder.options.out)
    view = RecordView(LiveState(title='record', horizon=folder.task.horizon), folder.robot.period)
    with claimed_graph(place):
        lock = folder.claim(resume)
        try:
            refuse_others(folder, interrupts, place, run)
            if resume:
                for line in reconcile(folder.path):
                    view.say(line)
            if not folder.initial_bundle.exists():
                _place_bundle(folder)
            if not folder.options.sim and not guide:
                keep_record(folder.robot, folder.path)
            folder.begin()
        except BaseException:
            lock.abandon()
            raise
        try:
            settings = replace(continue_run(RunSettings(namespace=place), folder), run=run,
                               log_level=log_level)
            return _record(folder, view, interrupts, settings, guide=guide, put_back=put_back,
                           launch=launch, autostart=autostart)
        finally:
            lock.release()


def _place_bundle(folder: RunFolder) -> None:
    """Write an untrained bundle, which never acts; the server reads the record widths from it."""
    from spaars_ros.data.files import write_whole
    from spaars_ros.learning.online.pretrain import untrained_bundle
    bundle = untrained_bundle(folder.robot, folder.task, folder.training)
    write_whole(folder.initial_bundle, bundle.to_bytes(None))


def _record(folder: RunFolder, view: RecordView, interrupts: Interrupts, settings: RunSettings, *,
            guide: bool, put_back: str, launch: bool, autostart: bool) -> dict[str, Any]:
    (folder.path / 'log').mkdir(exist_ok=True)
    os.environ.setdefault('ROS_LOG_DIR', str((folder.path / 'log').resolve()))
    graph = record_graph(settings, guide=guide, put_back=put_back)
    processes = Processes(settings, graph) if launch else None
    domain = os.environ.get('ROS_DOMAIN_ID', '0')
    space = f' --namespace {settings.namespace}' if settings.namespace else ''
    view.say(f'nodes start with ROS_DOMAIN_ID={domain}; without a joystick, in another terminal: '
             f'spaars teleop --domain {domain}{space}')
    failure: ConductorError | None = None
    reason = 'interrupted'
    with interrupts.deferred():
        conductor = Conductor([node.name for node in graph], task=folder.task, view=view,
                              interrupts=interrupts, processes=processes,
                              namespace=settings.namespace, autostart=autostart,
                              run=settings.run)
        try:
            conductor.refuse_others()
            if processes:
                processes.start()
            try:
                conductor.bring_up()
                reason = conductor.watch()
            except Interrupted:
                view.say('ending, as asked for')
            except ConductorError as error:
                reason, failure = 'failed', error
            try:
                conductor.take_down()
            except Interrupted:
                pass
        finally:
            if processes:
                processes.stop()
            conductor.close()
    view.update(now=True)
    summary = finish(folder, reason, '' if failure is None else str(failure))
    if failure is not None:
        raise failure
    return summary


def finish(folder: RunFolder, reason: str, failure: str = '') -> dict[str, Any]:
    """
    Complete the recording from the server's spool; write and return summary.json.

    :param reason: why the recording ended
    :param failure: error text, '' for none
    :raises OSError: a file cannot be written
    """
    if (folder.path / 'spool' / 'steps.f64').exists():
        complete_recording(folder.path / 'spool', folder.recording)
    summary: dict[str, Any] = {'job': 'record', 'robot': folder.robot.name,
                               'task': folder.task.name, 'ended': reason, 'failure': failure,
                               'episodes': 0, 'transitions': 0, 'outcomes': {}}
    if folder.recording.exists():
        schema, rows = run_steps(folder.path)
        _keep_labels(folder)
        episodes = folder.episodes()
        summary.update(
            episodes=len(episodes), transitions=sum(each['steps'] for each in episodes),
            outcomes=dict(Counter(each['outcome'] for each in episodes)),
            discarded=np.asarray(discarded_episodes(schema, rows)).astype(int).tolist(),
            cost=float(np.mean([each['cost'] for each in episodes])) if episodes else None)
    write_summary(folder.path, summary)
    return summary


def _keep_labels(folder: RunFolder) -> None:
    """Append labels that were given after an episode's end to the recording."""
    labels = read_labels(folder.path)
    schema, rows = folder.recorded()
    if not labels or schema is None:
        return
    recorder = TransitionRecorder(folder.recording, schema)
    stamp = round(float(schema.get(rows[-1], 'stamp')) * 1e9)
    for episode, outcome in labels.items():
        recorder.write(TOPIC, {'episode': episode, 'outcome': int(outcome)}, stamp)
    if not recorder.close():
        raise OSError(f'cannot complete the recording: {recorder.error}')


def closing_lines(folder: RunFolder, summary: dict[str, Any]) -> list[str]:
    """Return the lines for the operator at the end of a recording."""
    outcomes = ', '.join(f'{count} {name}' for name, count in summary['outcomes'].items())
    return [f'ended: {summary["ended"]}, {summary["episodes"]} episodes '
            f'({outcomes or "none"}), {summary["transitions"]} transitions',
            f'look at them   spaars data show {folder.path}',
            f'learn from it  spaars pretrain --demonstrations {folder.path} --out policy.spaars']
