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
"""Fleet of simulated arms with one shared learner: each arm is a separate run."""

from collections.abc import Sequence
from dataclasses import replace
import json
import os
from pathlib import Path
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from std_msgs.msg import Float64MultiArray

from spaars_ros.data.files import write_whole
from spaars_ros.interrupts import die_with_parent
from spaars_ros.interrupts import Interrupted
from spaars_ros.interrupts import Interrupts
from spaars_ros.ros.borders import Border
from spaars_ros.ros.borders import TopicReader
from spaars_ros.ros.qos import QOS
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.conductor import Conductor
from spaars_ros.run.conductor import ConductorError
from spaars_ros.run.continuation import continue_run
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.graph_claim import claimed_graph
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.metrics import metrics_summary
from spaars_ros.run.option_words import words_of
from spaars_ros.run.preparation import evaluate_policy
from spaars_ros.run.preparation import prepare

MEMBERS = 'members'
"""Folder with the run folder of each robot; the learner's recordings are next to it."""
PROGRESS = 'learner/progress'
SETTLE = 2.0
"""s without a change of progress after which the learner has received all that was sent."""
GRACE = 30.0
"""s for a robot's run to end before it is killed."""


class RobotRun:
    """Run of one robot in a separate process with a separate folder."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name, self.folder = name, folder
        self.lines: 'queue.Queue[str]' = queue.Queue()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors='replace', start_new_session=True, preexec_fn=die_with_parent)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(line.rstrip())

    @property
    def code(self) -> int | None:
        """Return the exit code, None while the process runs."""
        return self._process.poll()

    def end(self, number: int) -> None:
        """Send a signal to the process if it still runs."""
        if self.code is None:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> None:
        """Wait for the process to end; kill its process group after `seconds` s."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(1.0)

    def summary(self) -> dict[str, Any]:
        """Return the run's summary.json, {} when there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / 'summary.json').read_text())
        except (OSError, ValueError):
            return {}
        return found


class LearnerProgress:
    """Newest progress of the learner per robot: steps received and updates owed."""

    def __init__(self, conductor: Conductor, names: Sequence[str]) -> None:
        self.owed: dict[str, float] = {}
        self.received: dict[str, float] = {}
        self.version = 0
        self.changed = time.monotonic()
        reader, border = TopicReader(PROGRESS), Border()
        for name in names:
            def take(msg: Float64MultiArray, name: str = name) -> None:
                values = reader.read(msg)
                new = float(values['received'][0]), float(values['owed'][0])
                if new != (self.received.get(name), self.owed.get(name)):
                    self.changed = time.monotonic()
                self.received[name], self.owed[name] = new
                self.version = max(self.version, int(values['bundle_version'][0]))
            conductor.node.create_subscription(
                Float64MultiArray, f'/{name}/{PROGRESS}',
                border.guarded(f'/{name}/{PROGRESS}', take), QOS[PROGRESS])

    @property
    def done(self) -> bool:
        """Return whether no update is owed and nothing has changed for `SETTLE` s."""
        return not any(self.owed.values()) and time.monotonic() - self.changed > SETTLE


def names_of(count: int) -> list[str]:
    """Return the namespaces of `count` robots."""
    return [f'robot_{number + 1}' for number in range(count)]


def member_command(folder: RunFolder, name: str, number: int, log_level: str) -> list[str]:
    """Return the command that runs one robot; its seed is the fleet's seed plus `number`."""
    options = folder.options
    values = {**vars(options), 'out': str(folder.path / MEMBERS / name),
              'bundle': str(folder.initial_bundle), 'robot': folder.files['robot'],
              'task': folder.files['task'], 'training': str(folder.path / 'training.yaml'),
              'seed': options.seed + number, 'namespace': name, 'shared_learner': True,
              'signing_key': '', 'overrides': {}, 'log_level': log_level, 'show': False}
    return [sys.executable, '-m', 'spaars_ros.cli', 'finetune', *words_of('finetune', values)]


def finetune_fleet(folder: RunFolder, count: int, view: LiveView, interrupts: Interrupts, *,
                   log_level: str = 'info') -> dict[str, Any]:
    """
    Fine-tune one policy with several simulated arms; return the summary.

    Each arm is a separate run in `members/<name>`, with its own limits and multipliers. A run that
    fails stops none of the others; `--resume` with its folder continues it.

    :raises ConductorError: the learner failed; or a robot's run failed, raised after the others
        have ended
    """
    names, began = names_of(count), time.monotonic()
    with claimed_graph(''):
        lock = folder.claim(False)
        try:
            start = prepare(folder, view, False)
            assert start is not None
            folder.place_bundle(start)
            folder.begin()
        except BaseException:
            lock.abandon()
            raise
        try:
            before = evaluate_policy(folder, folder.initial_bundle, view, 'before')
            settings = replace(
                continue_run(RunSettings(), folder), robots=','.join(names), log_level=log_level,
                run=new_run_token(folder.options.out))
            with interrupts.deferred():
                members, reason = _run(folder, names, settings, view, interrupts)
            failed = [member.name for member in members if member.code]
            after = evaluate_policy(folder, folder.newest_bundle(), view, 'after') \
                if reason == 'budget done' else None
            summary = _summary(folder, members, before, after,
                               'failed' if failed else reason, time.monotonic() - began)
            write_whole(folder.path / 'summary.json', json.dumps(summary, indent=2).encode())
            if failed:
                raise ConductorError(f'{", ".join(failed)} failed: see {folder.path / MEMBERS}; '
                                     'the others went on to their end')
            return summary
        finally:
            lock.release()


def _run(folder: RunFolder, names: Sequence[str], settings: RunSettings, view: LiveView,
         interrupts: Interrupts) -> tuple[list[RobotRun], str]:
    """Start the learner, then every robot; return their runs and why the fleet ended."""
    processes = Processes(settings, [each for each in describe(settings)
                                     if each.name == 'learner'])
    conductor = Conductor(['learner'], task=folder.task, view=view, interrupts=interrupts,
                          processes=processes, run=settings.run)
    members: list[RobotRun] = []
    reason = 'interrupted'
    try:
        conductor.refuse_others()
        processes.start()
        conductor.bring_up()
        progress = LearnerProgress(conductor, names)
        members = [RobotRun(name, member_command(folder, name, number, settings.log_level),
                            folder.path / MEMBERS / name) for number, name in enumerate(names)]
        while any(member.code is None for member in members) or not progress.done:
            conductor.look()
            _say(members, view)
        reason = 'budget done'
    except Interrupted:
        for member in members:
            member.end(signal.SIGINT)
    finally:
        for member in members:
            if reason != 'budget done':
                member.end(signal.SIGINT)
            member.wait(GRACE)
        _say(members, view)
        try:
            conductor.take_down()
        except Interrupted:
            pass
        for name in processes.stop():
            view.say(f'{name} did not end by itself and was killed')
        conductor.close()
    return members, reason


def _say(members: Sequence[RobotRun], view: LiveView) -> None:
    for member in members:
        while not member.lines.empty():
            view.say(f'{member.name}: {member.lines.get()}')


def _summary(folder: RunFolder, members: Sequence[RobotRun], before: dict[str, Any],
             after: dict[str, Any] | None, ended: str, seconds: float) -> dict[str, Any]:
    robots = {member.name: member.summary() for member in members}

    def total(key: str) -> int:
        return sum(int(each.get(key) or 0) for each in robots.values())
    return {
        'algorithm': folder.training.algorithm, 'seed': folder.options.seed,
        'task': folder.task.name, 'robots': robots, 'ended': ended,
        'success_before': before['success'], 'success_after': after['success'] if after else None,
        **metrics_summary(folder.task.spec.metrics, before, after),
        'cost_before': before['cost_mean'], 'cost_after': after['cost_mean'] if after else None,
        'episodes': total('episodes'), 'online_steps': total('online_steps'),
        'transitions_recorded': total('transitions_recorded'), 'lost_ticks': total('lost_ticks'),
        'wall_seconds': seconds}
