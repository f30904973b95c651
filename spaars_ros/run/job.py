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

"""Main job: pretrain, evaluate, fine-tune over ROS 2, evaluate again, report."""

from collections.abc import Sequence
from dataclasses import replace
import os
import time
from typing import Any

import numpy as np

from spaars_ros.data.folder_lock import FolderError
from spaars_ros.data.folder_lock import FolderLock
from spaars_ros.interrupts import Interrupted
from spaars_ros.interrupts import Interrupts
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import new_run_token
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.check_record import keep_record
from spaars_ros.run.completion import complete_recording
from spaars_ros.run.conductor import Conductor
from spaars_ros.run.conductor import ConductorError
from spaars_ros.run.continuation import continue_run
from spaars_ros.run.continuation import from_newest_bundle
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.graph_claim import claimed_graph
from spaars_ros.run.liveview import LiveState
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.measured import measured_on_robot
from spaars_ros.run.page.start import page_of
from spaars_ros.run.params_file import check_params_file
from spaars_ros.run.preparation import evaluate_policy
from spaars_ros.run.preparation import paths_of
from spaars_ros.run.preparation import prepare
from spaars_ros.run.report import write_report
from spaars_ros.tasks.scoring import paths_from_steps

STOP_TIMEOUT = 60.0
"""s that a latched stop of the simulated arm may last; a real robot has no limit."""


def _prepare_state(folder: RunFolder, view: LiveView, before: dict[str, Any]) -> None:
    """Initialise the live view, including the episodes of a resumed run."""
    options, state = folder.options, view.state
    state.title = 'finetune'
    training = folder.training
    runs = training.mode if training.algorithm == 'spaars' else training.algorithm
    state.subtitle = f'{folder.robot.name}, {folder.task.name}, {runs}, seed {options.seed}'
    state.episodes_total, state.horizon = options.episodes, folder.task.horizon
    limits = folder.task.constraint_limits
    state.limit = float(limits[0]) if len(limits) else float('inf')
    state.success_before = before.get('success')
    state.metrics = folder.task.spec.metrics
    state.episodes = folder.episodes()
    state.step = state.first_step = sum(int(each['steps']) for each in state.episodes)


def check_parameters(folder: RunFolder, namespace: str = '') -> None:
    """Raise ConfigError when the nodes would ignore or reject a part of the parameter file."""
    if folder.files['params_file']:
        check_params_file(folder.files['params_file'], namespace or folder.options.namespace,
                          folder.task.constraint_names)


def finetune(folder: RunFolder, view: LiveView, interrupts: Interrupts, *, resume: bool,
             launch: bool = True, namespace: str = '', autostart: bool = True, run: str = '',
             settings_changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """
    Run the job and return its summary.

    :param resume: continue the run in the folder
    :param launch: start the nodes; False if a launch file has started them
    :param run: token of the nodes that a launch file has started; '': make a new one
    :param settings_changes: fields of `RunSettings` to replace
    :raises RunError: the folder or the graph is in use, or the run cannot start
    :raises ConductorError: a node did not become active, died, stayed stopped or belongs to
        another run; or the recording holds fewer episodes than requested
    """
    check_parameters(folder, namespace)
    with claimed_graph(namespace or folder.options.namespace):
        return _owning(folder, view, interrupts, resume=resume, launch=launch,
                       namespace=namespace, autostart=autostart, run=run,
                       settings_changes=settings_changes or {})


def _owning(folder: RunFolder, view: LiveView, interrupts: Interrupts, *, resume: bool,
            launch: bool, namespace: str, autostart: bool, run: str,
            settings_changes: dict[str, Any]) -> dict[str, Any]:
    """Lock the folder and run the job; the graph is already claimed. See `finetune`."""
    lock = folder.claim(resume)
    run = run or new_run_token(folder.options.out)
    try:
        refuse_others(folder, interrupts, namespace or folder.options.namespace, run)
        start = prepare(folder, view, resume)
        # From here on the folder holds a run, which --resume can continue after any failure.
        if start is not None:
            folder.place_bundle(start)
        if not folder.options.sim:
            keep_record(folder.robot, folder.path)
        if not resume:
            folder.begin()
    except BaseException:
        lock.abandon()
        raise
    try:
        return _finetune(folder, view, interrupts, lock, resume=resume, launch=launch,
                         namespace=namespace, autostart=autostart, run=run,
                         settings_changes=settings_changes)
    finally:
        lock.release()


def _finetune(folder: RunFolder, view: LiveView, interrupts: Interrupts, lock: FolderLock, *,
              resume: bool, launch: bool, namespace: str, autostart: bool, run: str,
              settings_changes: dict[str, Any]) -> dict[str, Any]:
    """Run the job in a locked folder; see `finetune`."""
    began = time.monotonic()
    # Logs of rclpy go into the run folder: the home directory may not be writable.
    (folder.path / 'log').mkdir(exist_ok=True)
    os.environ.setdefault('ROS_LOG_DIR', str((folder.path / 'log').resolve()))
    # With a shared learner, the fleet and not this run evaluates the policy.
    in_simulation = (folder.options.sim or folder.options.evaluate_in_sim) \
        and not folder.options.shared_learner
    before = evaluate_policy(folder, folder.initial_bundle, view, 'before') \
        if in_simulation else {}
    _prepare_state(folder, view, before)
    settings = replace(continue_run(RunSettings(namespace=namespace), folder), run=run,
                       **settings_changes)
    graph = describe(settings)
    from_newest_bundle(graph, folder)
    processes = Processes(settings, graph) if launch else None
    if processes:
        # Print the domain: it may have been chosen here, and other terminals need it.
        view.say(f'starting the nodes with ROS_DOMAIN_ID={os.environ.get("ROS_DOMAIN_ID", "0")}')
    pushed_before = load_bundle(folder.newest_bundle()).manifest.version
    starting = time.monotonic()
    lock.note(domain=os.environ.get('ROS_DOMAIN_ID', '0'), namespace=settings.namespace)
    with interrupts.deferred():
        with page_of(settings) as where:
            if where:
                view.say(where)
            reason, pushed, failure = _run(
                folder, view, interrupts, processes, [node.name for node in graph], settings,
                autostart, resume)
    trained = time.monotonic() - starting
    try:
        lock.check()
    except FolderError as error:
        raise RunError(str(error)) from None
    # Nodes of a launch file: their learner completes the recording. A shared learner keeps its
    # own recording, so that this run completes one from its spool.
    if (processes or folder.options.shared_learner) \
            and (folder.path / 'spool' / 'steps.f64').exists():
        behind, lines = complete_recording(folder.path / 'spool', folder.recording)
        for line in lines:
            view.say(line)
        if behind:
            view.say(f'{behind} steps of the spool are in {folder.recording.name} now'
                     if folder.options.shared_learner else
                     f'{behind} steps that the learner had not taken yet were added to '
                     f'{folder.recording.name}')
    episodes = folder.episodes()
    schema, rows = folder.recorded()
    missing = folder.options.episodes - (
        len(np.unique(schema.get(rows, 'episode'))) if schema else 0)
    if reason == 'budget done' and missing > 0:
        reason, failure = 'failed', ConductorError(
            f'{missing} of {folder.options.episodes} episodes are not in {folder.recording}, '
            'although the policy server reported all episodes done; continue with --resume')
    after = None
    if not in_simulation:
        before, after = measured_on_robot(
            folder, load_bundle(folder.initial_bundle).manifest.version)
    elif reason == 'budget done' and folder.options.evaluation_episodes:
        after = evaluate_policy(folder, folder.newest_bundle(), view, 'after')
    summary = folder.summary(
        before, after, episodes, bundles_pushed=max(pushed - pushed_before, 0),
        lost_ticks=int(schema.get(rows, 'lost_ticks').max()) if schema else 0, ended=reason,
        failure='' if failure is None else str(failure),
        measured_on='simulation' if in_simulation else 'robot',
        episodes_before=len(before.get('episodes', ())),
        episodes_after=len(after['episodes']) if after else 0,
        train_seconds=trained, wall_seconds=time.monotonic() - began)
    paths_after = paths_of(after)
    if after is None and schema is not None:
        paths_after = paths_from_steps(schema, rows, folder.task)[-20:]
    write_report(folder.path, summary, episodes, paths_of(before), paths_after, folder.task)
    if failure is not None:
        raise failure
    return summary


def refuse_others(folder: RunFolder, interrupts: Interrupts, namespace: str, run: str) -> None:
    """Raise ConductorError when another run has nodes of the same names; changes nothing."""
    with interrupts.deferred():
        names = [node.name for node in describe(RunSettings(
            sim=folder.options.sim, robot=folder.files['robot'], task=folder.files['task']))]
        conductor = Conductor(names, task=folder.task, view=LiveView(LiveState(), plain=True),
                              interrupts=interrupts, namespace=namespace, run=run)
        try:
            conductor.refuse_others()
        finally:
            conductor.close()


def _run(folder: RunFolder, view: LiveView, interrupts: Interrupts, processes: Processes | None,
         names: Sequence[str], settings: RunSettings, autostart: bool, resume: bool
         ) -> tuple[str, int, ConductorError | None]:
    """Run the nodes; return why the run ended, the newest bundle version, and the failure."""
    reason, failure = 'interrupted', None
    conductor = Conductor(names, task=folder.task, view=view, interrupts=interrupts,
                          processes=processes, namespace=settings.namespace,
                          autostart=autostart, run=settings.run,
                          stop_timeout=STOP_TIMEOUT if folder.options.sim else 0.0)
    try:
        # Check again: other nodes may have started during pretraining and evaluation.
        conductor.refuse_others()
        if processes:
            processes.start()
        with view:
            try:
                conductor.bring_up()
                if resume:  # all nodes are active: store the options of this start
                    folder.begin()
                reason = conductor.watch()
            except Interrupted:
                view.state.message = 'ending, as asked for; once more: at once'
            except ConductorError as error:
                reason, failure = 'failed', error
            try:
                conductor.take_down()
            except Interrupted:
                pass
            view.state.phase = reason
    finally:
        killed = processes.stop() if processes else []
        pushed = conductor.observer.pushed
        conductor.close()
    for name in killed:
        view.say(f'{name} did not end by itself and was killed')
    return reason, pushed, failure


def hold(folder: RunFolder, names: Sequence[str], view: LiveView, interrupts: Interrupts, *,
         namespace: str = '', autostart: bool = True, run: str = '') -> None:
    """
    Activate nodes that a launch file has started and keep them active until interrupted.

    :raises ConductorError: a node did not become active, left that state or is another run's
    :raises RunError: another process of this machine has a run in the namespace
    """
    with claimed_graph(namespace), interrupts.deferred():
        conductor = Conductor(names, task=folder.task, view=view, interrupts=interrupts,
                              namespace=namespace, autostart=autostart, run=run)
        try:
            conductor.refuse_others()
            conductor.bring_up()
            view.say(f'active: {", ".join(names)}')
            conductor.hold()
        except Interrupted:
            try:
                conductor.take_down()
            except Interrupted:
                return
        finally:
            conductor.close()
