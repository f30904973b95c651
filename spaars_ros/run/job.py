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

"""The main job: pretrain, evaluate, fine-tune over ROS 2, evaluate again, report."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
import json
import os
from pathlib import Path
import socket
import time
from typing import Any

import numpy as np

from spaars_ros.interrupts import Interrupted
from spaars_ros.interrupts import Interrupts
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.strict_yaml import read_value
from spaars_ros.run.bringup import describe
from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import Processes
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.completion import complete_recording
from spaars_ros.run.conductor import Conductor
from spaars_ros.run.conductor import ConductorError
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.liveview import duration
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.params_file import check_params_file
from spaars_ros.run.progress import pretraining_shown
from spaars_ros.run.report import write_report
from spaars_ros.sim.evaluate import evaluate
from spaars_ros.tasks.scoring import paths_from_steps

STOP_TIMEOUT = 60.0
"""s that a latched stop of the simulated arm may last; on a robot the operator has no limit."""
FIRST_PORT = 7410
PORTS_A_DOMAIN = 250
KEPT = ('robot', 'task', 'sim', 'real_time_factor', 'seed', 'episodes', 'joint_states', 'command',
        'command_interface', 'params_file', 'namespace', 'signing_key', 'public_key')
"""Settings of the nodes that a resumed run takes from its folder ..."""
GIVEN_WINS = ('params_file', 'namespace')
"""... unless another one is given."""


def free_domain() -> int:
    """Return a ROS domain that nobody on this machine uses, by its discovery port."""
    first = os.getpid() % 100
    for step in range(100):
        domain = 1 + (first + step) % 100
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', FIRST_PORT + PORTS_A_DOMAIN * domain))
            except OSError:
                continue
            return domain
    return 1 + first


def stay_on_this_machine() -> None:
    """Choose discovery range and domain for this process and its children, unless set."""
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    if os.environ.get('ROS_DISTRO') == 'humble':  # it does not know the other
        os.environ.setdefault('ROS_LOCALHOST_ONLY', '1')
    if not os.environ.get('ROS_DOMAIN_ID'):
        os.environ['ROS_DOMAIN_ID'] = str(free_domain())


def pretrained(folder: RunFolder, view: LiveView) -> Path:
    """Return the bundle pretrained with the run's settings; made when it is not in the cache."""
    path = folder.cached_bundle()
    if path.exists():
        view.say(f'pretrained bundle: {path}')
        return path
    dataset = folder.demonstrations()
    from spaars_ros.learning.online.pretrain import pretrain
    view.say(f'pretraining from {len(dataset.observations)} transitions')
    with pretraining_shown(view.console, view.plain) as progress:
        bundle = pretrain(folder.robot, folder.task, folder.training, dataset,
                          seed=folder.options.seed, progress=progress)
    save_bundle(bundle, path)
    view.say(f'pretrained bundle: {path}')
    return path


def evaluated(folder: RunFolder, bundle: Path, view: LiveView, when: str) -> dict[str, Any]:
    """Return the evaluation of a bundle, kept in the run folder as evaluation_<when>.json."""
    keep = folder.path / f'evaluation_{when}.json'
    if when == 'before' and keep.exists():
        kept: dict[str, Any] = json.loads(keep.read_text())
        return kept
    count = folder.options.evaluation_episodes
    view.say(f'evaluating the policy {when} fine-tuning on {count} fixed episodes')
    result = evaluate(load_bundle(bundle), folder.robot, folder.task, episodes=count)
    view.say(f'{when}: success {result["success"]:.0%}, tip error '
             f'{1e3 * result["tip_error_mean"]:.1f} mm, cost {result["cost_mean"]:.2f}')
    keep.write_text(json.dumps(result, default=lambda value: np.asarray(value).tolist()))
    return result


def _paths(result: dict[str, Any] | None) -> list[dict[str, Any]]:
    paths = (result or {}).get('paths', [])
    return [{name: np.asarray(value) for name, value in path.items()} for path in paths]


def continued(settings: RunSettings, folder: RunFolder) -> RunSettings:
    """Return settings with what the run's folder says: its options, and where it has got to."""
    schema, rows = folder.recorded()
    newest = float(schema.get(rows, 'stamp').max()) if schema else 0.0
    kept = {name: getattr(folder.options, name) for name in KEPT}
    kept.update({name: getattr(settings, name) or kept[name]
                 for name in (*GIVEN_WINS, 'command_interface')})
    return replace(
        settings, out=str(folder.path.resolve()), start_stamp=newest + 1.0,
        first_reset=int(schema.get(rows, 'episode').max()) + 1 if schema else 0,
        **kept)


def launched_again(values: Mapping[str, str], defaults: Mapping[str, str]) -> RunFolder:
    """
    Return the run that launch arguments with resume:=true continue.

    :raises RunError: no such run, or an argument that contradicts it; one at its default does
        not, because launch cannot tell it from one that was not given
    """
    if not values['out']:
        raise RunError('resume:=true needs out:=, the folder of the run')
    episodes = values.get('episodes', '')
    folder = RunFolder.resume(values['out'], episodes=int(episodes) if episodes else None)
    for name in (*KEPT, 'training', 'bundle', 'demonstrations'):
        text = values.get(name, '')
        kept = getattr(folder.options, name)
        if name in GIVEN_WINS or (name == 'command_interface' and not kept):
            continue
        if text and text != defaults[name] and read_value(text, f'{name}:={text}') != kept:
            raise RunError(f'resume:=true takes {name} from the run, where it is {kept!r}: leave '
                           f'{name}:={text} out')
    return folder


def from_newest_bundle(graph: Sequence[NodeDescription], folder: RunFolder) -> None:
    """Have a resumed run move with what moved it last, not with what it began with."""
    for node in graph:
        if node.name == 'policy_server':
            node.parameters['bundle'] = str(folder.acting_bundle().resolve())


def _prepare_state(folder: RunFolder, view: LiveView, before: dict[str, Any]) -> None:
    """Fill the live view, after earlier episodes."""
    options, state = folder.options, view.state
    state.title = 'finetune'
    training = folder.training
    runs = training.mode if training.algorithm == 'spaars' else training.algorithm
    state.subtitle = f'{folder.robot.name}, {folder.settings.name}, {runs}, seed {options.seed}'
    state.episodes_total, state.horizon = options.episodes, folder.task.horizon
    limits = folder.task.constraint_limits
    state.limit = float(limits[0]) if len(limits) else float('inf')
    state.success_before = before.get('success')
    state.episodes = folder.episodes()
    state.step = state.first_step = sum(int(each['steps']) for each in state.episodes)


def check_parameters(folder: RunFolder, namespace: str = '') -> None:
    """Raise ConfigError when the nodes would ignore, or refuse, a part of the parameter file."""
    if folder.options.params_file:
        check_params_file(folder.options.params_file, namespace or folder.options.namespace,
                          folder.task.constraint_names)


def finetune(folder: RunFolder, view: LiveView, interrupts: Interrupts, *, resume: bool,
             launch: bool = True, namespace: str = '', autostart: bool = True,
             settings_changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """
    Run the job and return its summary.

    :param launch: start the nodes; False where a launch file has
    :raises ConductorError: a node did not come up, died, or stayed stopped
    """
    began = time.monotonic()
    check_parameters(folder, namespace)
    folder.claim(resume)
    # Before any node is configured: the policy server numbers on from its spool.
    completed = folder.complete_spool() if resume else 0
    if completed:
        view.say(f'{completed} steps were recorded but not in the spool: added')
    if not resume or not folder.initial_bundle.exists():
        folder.place_bundle(Path(folder.options.bundle) if folder.options.bundle
                            else pretrained(folder, view))
    before = evaluated(folder, folder.initial_bundle, view, 'before')
    _prepare_state(folder, view, before)
    settings = replace(continued(RunSettings(namespace=namespace), folder),
                       **(settings_changes or {}))
    graph = describe(settings)
    from_newest_bundle(graph, folder)
    processes = Processes(settings, graph) if launch else None
    if processes:
        # Of the job's own choice where nobody gave one: no other terminal could find the nodes.
        view.say(f'starting the nodes with ROS_DOMAIN_ID={os.environ.get("ROS_DOMAIN_ID", "0")}')
    pushed_before = load_bundle(folder.newest_bundle()).manifest.version
    starting = time.monotonic()
    with interrupts.deferred():
        reason, pushed, failure = _run(folder, view, interrupts, processes,
                                       [node.name for node in graph], settings.namespace,
                                       autostart)
    trained = time.monotonic() - starting
    if processes and (folder.path / 'spool' / 'steps.f64').exists():
        behind = complete_recording(folder.path / 'spool', folder.recording)
        if behind:
            view.say(f'{behind} steps that the learner had not taken yet were added to '
                     f'{folder.recording.name}')
    after = None
    if reason == 'budget done' and folder.options.evaluation_episodes:
        after = evaluated(folder, folder.newest_bundle(), view, 'after')
    episodes = folder.episodes()
    schema, rows = folder.recorded()
    summary = folder.summary(
        before, after, episodes, bundles_pushed=max(pushed - pushed_before, 0),
        lost_ticks=int(schema.get(rows, 'lost_ticks').max()) if schema else 0, ended=reason,
        train_seconds=trained, wall_seconds=time.monotonic() - began)
    paths_after = _paths(after)
    if after is None and schema is not None:
        paths_after = paths_from_steps(schema, rows, folder.task)[-20:]
    write_report(folder.path, summary, episodes, _paths(before), paths_after, folder.robot,
                 folder.task)
    if failure is not None:
        raise failure
    return summary


def _run(folder: RunFolder, view: LiveView, interrupts: Interrupts, processes: Processes | None,
         names: Sequence[str], namespace: str, autostart: bool
         ) -> tuple[str, int, ConductorError | None]:
    """Bring the nodes up, watch, take them down; return why it ended and the last version."""
    reason, failure = 'interrupted', None
    conductor = Conductor(names, task=folder.task, view=view, interrupts=interrupts,
                          processes=processes, namespace=namespace, autostart=autostart,
                          stop_timeout=STOP_TIMEOUT if folder.options.sim else 0.0)
    try:
        if processes:
            processes.start()
        with view:
            try:
                conductor.bring_up()
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
         namespace: str = '', autostart: bool = True) -> None:
    """Activate nodes that a launch file has started and keep them active until the end."""
    with interrupts.deferred():
        conductor = Conductor(names, task=folder.task, view=view, interrupts=interrupts,
                              namespace=namespace, autostart=autostart)
        try:
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


def closing_lines(folder: RunFolder, summary: dict[str, Any]) -> list[str]:
    """Return what the operator reads when the run is over."""
    def change(key: str, form: str, scale: float = 1.0) -> str:
        return ' -> '.join('not measured' if summary[f'{key}_{when}'] is None
                           else format(scale * summary[f'{key}_{when}'], form)
                           for when in ('before', 'after'))
    cost = summary['cost_last_fifth']
    return [
        f'ended: {summary["ended"]}, {summary["episodes"]} episodes, '
        f'{summary["online_steps"]} steps in {duration(summary["wall_seconds"])}',
        f'success   {change("success", ".0%")}',
        f'tip error {change("tip_error", ".1f", 1e3)} mm',
        f'cost      {"-" if cost is None else format(cost, ".2f")} per episode in the last fifth, '
        f'limit {summary["cost_limit"]}',
        f'report    {folder.path / "report.html"}']
