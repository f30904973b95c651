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

"""Run folder: configuration, initial bundle, checkpoints, recording and summary of a run."""

from dataclasses import asdict
from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path
import time
from typing import Any

import numpy as np
import yaml

from spaars_ros.checkpoint_files import ACTING
from spaars_ros.checkpoint_files import checkpoints_in
from spaars_ros.data.demonstrations import digest_of
from spaars_ros.data.demonstrations import load_demonstrations
from spaars_ros.data.files import write_whole
from spaars_ros.data.folder_lock import FolderError
from spaars_ros.data.folder_lock import FolderLock
from spaars_ros.data.reconcile import RECORDING
from spaars_ros.data.reconcile import SPOOL
from spaars_ros.data.recording import NoStepError
from spaars_ros.data.recording import read_steps
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import bundle_bytes
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.newest import newest_whole
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.signing import Signer
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import expanded
from spaars_ros.robot.resources import read_file
from spaars_ros.robot.resources import resolve
from spaars_ros.run.kept_files import anchor_path
from spaars_ros.run.kept_files import anchored_data
from spaars_ros.run.kept_files import files_to_go_on_with
from spaars_ros.run.kept_files import keep
from spaars_ros.run.kept_files import KeptFileError
from spaars_ros.run.kept_files import KINDS
from spaars_ros.run.metrics import metrics_summary
from spaars_ros.run.model_files import digest_of_model
from spaars_ros.run.recorded import final_multipliers
from spaars_ros.run.recorded import lessons_of
from spaars_ros.run.recorded import server_transitions
from spaars_ros.run.run_config import kept_config
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.sources import source_digest
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.scoring import episodes_from_steps
from spaars_ros.training_file import check_robot_runs
from spaars_ros.training_file import for_task
from spaars_ros.training_file import load_training
from spaars_ros.training_sections import sectioned

CONFIG = 'config.json'
OTHERS_WRITE = 0o022
"""Write permission of group and others, which the files of a run never have."""


class RunError(ValueError):
    """Run cannot start or continue; the message says why and what to do."""


class RunFolder:
    """Files of one run, and the robot, task and training objects that its options name."""

    def __init__(self, options: RunConfig, files: dict[str, str] | None = None) -> None:
        """
        Load robot, task and training; raises ConfigError.

        :param files: kind -> file to read instead of the one in the options, such as the copies in
            the folder of a resumed run (`kept_files`)
        """
        self.options = replace(options, robot=anchor_path(options.robot),
                               task=anchor_path(options.task),
                               training=anchor_path(options.training))
        self.path = expanded(options.out)
        self.files = {**{kind: getattr(self.options, kind) for kind in KINDS},
                      'params_file': options.params_file, **(files or {})}
        """Kind -> file in use, also by the nodes."""
        self.robot = load_robot(self.files['robot'])
        self.settings = load_task(self.files['task'])
        self.task = make_task(self.robot, self.settings)
        self.training = for_task(load_training(self.files['training'], **options.overrides),
                                 self.task.action_dim, self.settings.demonstrations)
        check_robot_runs(self.training)
        self.said: list[str] = []
        """Lines for the operator about files of the folder that were skipped."""

    @classmethod
    def resume(cls, out: str, **changes: Any) -> 'RunFolder':
        """
        Return the run that a folder holds.

        :param changes: options that replace those of the run; None leaves an option unchanged
        :raises RunError: the folder holds no run, or a file has changed since the run began
        :raises ConfigError: a file cannot be loaded
        """
        try:
            out = str(expanded(out))
            config = json.loads(read_file(Path(out) / 'config.json'))
            kept = dict(config['options'])
        except OSError:
            raise RunError(f'{out}: no run to resume (no config.json)') from None
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f'{out}/config.json: not a run: {error!r}') from None
        given = {name: value for name, value in changes.items() if value is not None}
        try:
            options = replace(kept_config(kept, f'{out}/config.json'), **given, out=out)
        except ValueError as error:
            raise RunError(str(error)) from None
        try:
            files = files_to_go_on_with(Path(out), config, given.get('params_file', ''))
        except KeptFileError as error:
            raise RunError(str(error)) from None
        return cls(options, files)

    @property
    def recording(self) -> Path:
        """Return the path of the recording, which holds every step."""
        return self.path / RECORDING

    def claim(self, resume: bool) -> FolderLock:
        """
        Lock the folder for this process before anything in it is read or written.

        Only the lock is written; `begin` writes the rest after all checks have passed. Files that
        this process and its children write from here on are writable by this user only, because
        whoever can change a policy bundle controls the arm.

        :param resume: whether the folder must hold a run already; False: it must not
        :raises RunError: another process holds the folder, or it does not suit `resume`
        :raises OSError: the folder cannot be created
        """
        os.umask(os.umask(OTHERS_WRITE) | OTHERS_WRITE)
        if not self.options.out:
            return self._claim_new()
        try:
            lock = FolderLock(self.path, (CONFIG,), resume=resume)
        except FolderError as error:
            raise RunError(str(error)) from None
        if lock.holds_run and not resume:
            lock.release()
            raise RunError(f'{self.path} holds a run already: --resume continues it, another '
                           '--out starts a new one')
        return lock

    def _claim_new(self) -> FolderLock:
        """Lock a new folder named after the current time; two runs never get the same one."""
        moment = time.strftime('runs/%Y%m%d-%H%M%S')
        for number in range(1, 100):
            path = Path(moment if number == 1 else f'{moment}-{number}')
            if path.exists():
                continue
            try:
                lock = FolderLock(path, (CONFIG,), resume=False)
            except FolderError:
                if path.exists():  # another run has created it in the meantime
                    continue
                raise
            self.path, self.options = path, replace(self.options, out=str(path))
            return lock
        raise RunError(f'{moment} and 98 folders after it are there: give one with --out')

    def begin(self) -> None:
        """Write the files that the nodes read and the configuration that a resume needs."""
        write_whole(self.path / 'training.yaml',
                    yaml.safe_dump(sectioned(self._nodes_training()), sort_keys=False).encode())
        kept = json.dumps({'options': asdict(self.options), 'training': self._nodes_training(),
                           'robot': self.robot.model_dump(mode='json'),
                           'model_digest': digest_of_model(self.robot.model_path),
                           'encoders': self.task.spec.encoders,
                           'task': self.settings.model_dump(mode='json')}, indent=2)
        # Copies first: a folder with config.json counts as a run, and a resume reads the copies.
        self.files = {**self.files, **keep(self.path, self.robot, self.settings,
                                           self.files['params_file'])}
        write_whole(self.path / CONFIG, kept.encode() + b'\n')

    def _nodes_training(self) -> dict[str, Any]:
        settings = {**self.training.model_dump(mode='json')}
        if self.options.demonstrations:
            settings['demonstrations'] = anchored_data(self.options.demonstrations)
        return settings

    # The bundle to start from

    @property
    def initial_bundle(self) -> Path:
        """Return the path of the bundle that the run began with."""
        return self.path / 'initial.spaars'

    def checkpoints(self) -> list[Path]:
        """Return the paths of the checkpoints, oldest first."""
        return checkpoints_in(self.path / 'checkpoints')

    def newest_bundle(self) -> Path:
        """Return the newest valid checkpoint, else the initial bundle; raises RunError."""
        return self._newest([self.initial_bundle, *self.checkpoints()])

    def acting_bundle(self) -> Path:
        """
        Return the bundle that acted last, if none is kept the newest valid one; raises RunError.

        The newest checkpoint may never have been tried, and may descend from one that was rolled
        back. The server tries the bundles that the learner pushes from now on.
        """
        acting = self.path / ACTING
        found = [acting] if acting.exists() else []
        return self._newest([self.initial_bundle, *self.checkpoints(), *found])

    def _newest(self, paths: list[Path]) -> Path:
        """Return the last valid bundle; add skipped ones to `said`. Raises RunError for none."""
        found = newest_whole(paths, self.check_bundle)
        self.said += [line for line in found.skipped if line not in self.said]
        if found.path is None:
            raise RunError(f'{self.path}: no whole bundle of this run in it: '
                           + '; '.join(found.skipped))
        return found.path

    def check_bundle(self, bundle: Bundle) -> None:
        """Raise BundleError for a bundle that fits another run or misses its golden outputs."""
        found, wanted = bundle.manifest.algorithm, self.training.algorithm
        if found != wanted:
            raise BundleError('wrong_algorithm', f'{found!r}, the training file says {wanted!r}')
        check_bundle(bundle, self.robot, task=self.task.name,
                     observation_dim=self.task.observation_dim, spec=self.task.spec)

    def place_bundle(self, source: Path) -> None:
        """
        Copy the bundle to start from, checked before, into the folder; sign it if there is a key.

        :raises BundleError, KeyFileError: the bundle or the key cannot be used
        """
        data = bundle_bytes(source)
        if self.options.signing_key:
            data = load_bundle(source).to_bytes(Signer(Path(self.options.signing_key)))
        write_whole(self.initial_bundle, data)

    def cached_bundle(self) -> Path:
        """Return the cache path of the bundle pretrained with these settings and this code."""
        digest = hashlib.sha256()
        offline = self.training.model_dump_json(exclude={'mode', 'demonstrations'})
        # Pretraining aligns the critic with the policy that will act: raw or latent.
        acts = 'raw' if self.training.mode == 'raw-only' else 'latent'
        for part in (self.robot.model_dump_json(exclude={'source'}),
                     self.settings.model_dump_json(), offline, acts, str(self.options.seed),
                     source_digest()):
            digest.update(part.encode() + b'\0')
        path = resolve(self.options.demonstrations or self.training.demonstrations)
        digest.update(digest_of(path))
        return expanded(self.options.cache) / f'{digest.hexdigest()[:24]}.spaars'

    def demonstrations(self) -> Any:
        """Return the demonstrations of the run; raises DatasetError."""
        path = resolve(self.options.demonstrations or self.training.demonstrations)
        return load_demonstrations(path, self.robot, self.task)

    # What was recorded

    def recorded(self) -> tuple[Any, Any]:
        """Return schema and step records (m, width) of the run, (None, None) for none."""
        if not self.recording.exists():
            return None, None
        try:
            return read_steps(self.recording)
        except NoStepError:
            return None, None  # the run stopped before its first chunk was complete

    def episodes(self) -> list[dict[str, Any]]:
        """Return one scored dict per episode of the recording."""
        schema, rows = self.recorded()
        if schema is None:
            return []
        episodes = episodes_from_steps(schema, rows, self.task,
                                       final_multipliers(self.recording, schema, rows))
        lessons = lessons_of(self.recording)
        return [{**each, 'out_of_reach': lessons.get(each['episode'])} for each in episodes]

    def summary(self, before: dict[str, Any], after: dict[str, Any] | None,
                episodes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """
        Return the content of summary.json; values that were not measured are None.

        :param before: evaluation before the run, {} when there was none
        :param after: evaluation after the run
        :param episodes: scored episodes, from `episodes`
        :param more: further keys
        """
        fifth = episodes[-max(len(episodes) // 5, 1):]
        recorded = sum(int(episode['steps']) for episode in episodes)
        limits = self.task.constraint_limits
        return {
            'algorithm': self.training.algorithm, 'mode': self.training.mode,
            'seed': self.options.seed, 'robot': self.robot.name, 'task': self.task.name,
            'success_before': before.get('success'),
            'success_after': after['success'] if after else None,
            **metrics_summary(self.task.spec.metrics, before, after),
            'return_before': before.get('return_mean'),
            'return_after': after['return_mean'] if after else None,
            'cost_before': before.get('cost_mean'),
            'cost_after': after['cost_mean'] if after else None,
            'cost_last_fifth': float(np.mean([episode['cost'] for episode in fifth]))
            if fifth else None,
            'cost_limit': float(limits[0]) if len(limits) else None,
            'episodes_within_limit': float(np.mean([each['cost'] <= each['limit']
                                                    for each in episodes]))
            if episodes and len(limits) else None,
            'episodes_held': sum(each.get('budget') == 'held' for each in episodes),
            'online_steps': server_transitions(self.path / SPOOL, recorded),
            'episodes': len(episodes), 'transitions_recorded': recorded, **more}
