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

"""Preparation of a run before its nodes start: reconcile records, pretrain, evaluate."""

import json
from pathlib import Path
import tempfile
from typing import Any

import numpy as np

from spaars_ros.data.files import set_aside
from spaars_ros.data.files import write_whole
from spaars_ros.data.reconcile import reconcile
from spaars_ros.data.reconcile import ReconcileError
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.robot.resources import expanded
from spaars_ros.robot.resources import read_file
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.liveview import LiveView
from spaars_ros.run.metrics import mean_of
from spaars_ros.run.progress import pretraining_shown
from spaars_ros.sim.evaluate import evaluate


def prepare(folder: RunFolder, view: LiveView, resume: bool) -> Path | None:
    """
    Check everything that a run needs before it starts; return the bundle to begin with.

    For a resumed run, spool and recording are reconciled to the newest state of both before a
    node is configured, because the policy server continues its numbering from the spool.

    :return: path of the bundle, None for a resumed run that has one
    :raises RunError, BundleError, DatasetError: a file is missing or cannot be used
    """
    options = folder.options
    for path, what in ((options.params_file, '--params-file'), (options.signing_key,
                       '--signing-key'), (options.public_key, '--public-key')):
        if path and not Path(path).is_file():
            raise RunError(f'{what} {path}: no such file')
    if resume:
        try:
            lines = reconcile(folder.path)
        except ReconcileError as error:
            raise RunError(str(error)) from None
        for line in lines:
            view.say(line)
    if resume and folder.initial_bundle.exists():
        folder.newest_bundle()  # collects skipped files, which the learner would only log
        folder.acting_bundle()
        for line in folder.said:
            view.say(line)
        return None
    if options.bundle:
        given = expanded(options.bundle)
        bundle = load_bundle(given)
        try:
            folder.check_bundle(bundle)
        except BundleError as error:
            raise BundleError(error.reason, f'{options.bundle}: {error.detail}') from None
        folder.demonstrations()  # fail now, not when the learner loads them in the running graph
        return given
    return pretrain_policy(folder, view)


def pretrain_policy(folder: RunFolder, view: LiveView) -> Path:
    """Return the bundle pretrained with the run's settings; train it if it is not cached."""
    path = folder.cached_bundle()
    if path.exists():
        try:
            folder.check_bundle(load_bundle(path))
        except BundleError as error:
            view.say(f'{error}: kept as {set_aside(path).name}, pretraining anew')
        else:
            view.say(f'pretrained bundle: {path}')
            return path
    dataset = folder.demonstrations()
    _refuse_unwritable(path.parent)
    from spaars_ros.learning.online.pretrain import pretrain
    view.say(f'pretraining from {len(dataset.observations)} transitions')
    with pretraining_shown(view.console, view.plain) as progress:
        bundle = pretrain(folder.robot, folder.task, folder.training, dataset,
                          seed=folder.options.seed, progress=progress)
    save_bundle(bundle, path)
    view.say(f'pretrained bundle: {path}')
    return path


def _refuse_unwritable(cache: Path) -> None:
    """Raise ValueError if no file can be made in the cache, before minutes of pretraining."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        raise ValueError(f'cache {cache}: {error.strerror}; the pretrained bundle is kept there: '
                         'name another folder with --cache') from None


def evaluate_policy(folder: RunFolder, bundle: Path, view: LiveView, when: str) -> dict[str, Any]:
    """
    Evaluate a bundle; store the result in the run folder as evaluation_<when>.json.

    :param when: before or after; a stored result of before is used again
    """
    keep = folder.path / f'evaluation_{when}.json'
    if when == 'before' and keep.exists():
        kept = _evaluation(keep)
        if kept is not None:
            return kept
        view.say(f'{keep}: not an evaluation: kept as {set_aside(keep).name}, evaluating again')
    count = folder.options.evaluation_episodes
    view.say(f'evaluating the policy {when} fine-tuning on {count} fixed episodes')
    result = evaluate(load_bundle(bundle), folder.robot, folder.task, episodes=count)
    metrics = ''.join(f', {spec.label} {spec.text(mean_of(spec, result))}'
                      for spec in folder.task.spec.metrics)
    view.say(f'{when}: success {result["success"]:.0%}{metrics}, cost {result["cost_mean"]:.2f}')
    write_whole(keep, json.dumps(
        result, default=lambda value: np.asarray(value).tolist()).encode())
    return result


def _evaluation(path: Path) -> dict[str, Any] | None:
    """Return an evaluation stored by `evaluate_policy`, None when it is not a valid one."""
    try:
        kept = json.loads(read_file(path))
        for name in ('success', 'return_mean', 'cost_mean'):
            float(kept[name])
        paths_of(kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return dict(kept)


def paths_of(result: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the tip paths of an evaluation as arrays, for the report."""
    paths = (result or {}).get('paths', [])
    return [{name: np.asarray(value) for name, value in path.items()} for path in paths]
