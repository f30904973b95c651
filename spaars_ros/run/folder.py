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

"""The folder of a run: what it is made of, what it starts from, what it leaves behind."""

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path
import shutil
import stat
from typing import Any

import numpy as np
import yaml

from spaars_ros.checkpoint_files import ACTING
from spaars_ros.checkpoint_files import checkpoints_in
from spaars_ros.data.dataset import load_dataset
from spaars_ros.data.recording import read_messages
from spaars_ros.data.recording import read_steps
from spaars_ros.data.recording import RecorderError
from spaars_ros.data.schema import Flag
from spaars_ros.data.spool import read_spool
from spaars_ros.data.spool import Spool
from spaars_ros.data.spool import SpoolError
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.policy.signing import Signer
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.resources import resolve
from spaars_ros.run.kept_files import anchored
from spaars_ros.run.kept_files import files_to_go_on_with
from spaars_ros.run.kept_files import keep
from spaars_ros.run.kept_files import KeptFileError
from spaars_ros.run.kept_files import KINDS
from spaars_ros.run.kept_files import model_digest
from spaars_ros.run.metrics import metrics_summary
from spaars_ros.run.sources import source_digest
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task
from spaars_ros.tasks.scoring import episodes_from_steps
from spaars_ros.training_file import check_robot_runs
from spaars_ros.training_file import load_training

OTHERS_WRITE = 0o022
"""Permissions that files of a run never have."""


class RunError(ValueError):
    """A run cannot start or continue; the message says why and what to do."""


@dataclass(frozen=True)
class RunOptions:
    """What the operator asked for; kept as config.json so that a run can be resumed."""

    out: str
    robot: str = 'panda'
    task: str = 'reach'
    training: str = 'spaars'
    overrides: dict[str, Any] = field(default_factory=dict)
    """Training constants that win over the training file."""
    bundle: str = ''
    demonstrations: str = ''
    seed: int = 0
    episodes: int = 150
    sim: bool = True
    real_time_factor: float = 0.0
    evaluation_episodes: int = 50
    cache: str = 'runs/pretrained'
    joint_states: str = ''
    """Topics of the robot where they are not joint_states and command."""
    command: str = ''
    command_interface: str = ''
    """What the robot's controller takes; '' for the robot file's."""
    params_file: str = ''
    """ROS 2 parameter file, absolute: limits, keys and stops that a resumed run must not lose."""
    namespace: str = ''
    signing_key: str = ''
    """Ed25519 key files: the learner signs with one, the policy server verifies with the other."""
    public_key: str = ''


class RunFolder:
    """One run's files, and the objects that its options name."""

    def __init__(self, options: RunOptions, files: dict[str, str] | None = None) -> None:
        """
        Read robot, task and training; raises ConfigError.

        :param files: of `kept_files`, which a run that goes on reads instead
        """
        self.options = replace(options, robot=anchored(options.robot),
                               task=anchored(options.task), training=anchored(options.training))
        self.path = Path(options.out)
        self.files = {**{kind: getattr(self.options, kind) for kind in KINDS},
                      'params_file': options.params_file, **(files or {})}
        """Kind -> the file that is used, for the nodes too."""
        self.robot = load_robot(self.files['robot'])
        self.settings = load_task(self.files['task'])
        self.task = make_task(self.robot, self.settings)
        self.training = load_training(self.files['training'], **options.overrides)
        check_robot_runs(self.training)

    @classmethod
    def resume(cls, out: str, **changes: Any) -> 'RunFolder':
        """Return the run that is in a folder; raises RunError when there is none."""
        try:
            config = json.loads((Path(out) / 'config.json').read_text())
            kept = dict(config['options'])
        except OSError:
            raise RunError(f'{out}: no run to resume (no config.json)') from None
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f'{out}/config.json: not a run: {error!r}') from None
        given = {name: value for name, value in changes.items() if value is not None}
        options = RunOptions(**{**kept, **given, 'out': out})
        try:
            files = files_to_go_on_with(Path(out), config, given.get('params_file', ''))
        except KeptFileError as error:
            raise RunError(str(error)) from None
        return cls(options, files)

    @property
    def recording(self) -> Path:
        """Return the file with every transition."""
        return self.path / 'transitions.mcap'

    def claim(self, resume: bool) -> None:
        """
        Make the folder and write what the nodes read; raises RunError, OSError.

        What this process and those that it starts write from here on is writable by its user
        only: who can change a policy bundle moves the arm.
        """
        os.umask(os.umask(OTHERS_WRITE) | OTHERS_WRITE)
        if not resume and (self.path / 'config.json').exists():
            raise RunError(f'{self.path} holds a run already: --resume continues it, another '
                           '--out starts a new one')
        self._make()
        settings = {**self.training.model_dump(mode='json')}
        if self.options.demonstrations:
            settings['demonstrations'] = str(Path(self.options.demonstrations).resolve())
        (self.path / 'training.yaml').write_text(yaml.safe_dump(settings, sort_keys=False))
        kept = json.dumps({'options': asdict(self.options), 'training': settings,
                           'robot': self.robot.model_dump(mode='json'),
                           'model_digest': model_digest(self.robot),
                           'task': self.settings.model_dump(mode='json')}, indent=2)
        part = self.path / '.config.json'
        part.write_text(kept + '\n')
        os.replace(part, self.path / 'config.json')
        self.files = {**self.files, **keep(self.path, self.robot, self.settings,
                                           self.files['params_file'])}

    def _make(self) -> None:
        """Make the folder, readable by user and group; raises RunError, OSError."""
        if not self.path.exists():
            self.path.mkdir(parents=True)
            self.path.chmod(self.path.stat().st_mode & 0o750)
        elif self.path.stat().st_mode & stat.S_IWOTH:
            raise RunError(f'{self.path} is writable by everybody, and whoever changes the policy '
                           'in it moves the arm: chmod o-w, or choose another --out')

    # The bundle to start from

    @property
    def initial_bundle(self) -> Path:
        """Return the bundle that the run began with."""
        return self.path / 'initial.spaars'

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return checkpoints_in(self.path / 'checkpoints')

    def newest_bundle(self) -> Path:
        """Return the newest checkpoint, or the bundle that the run began with."""
        return (self.checkpoints() or [self.initial_bundle])[-1]

    def acting_bundle(self) -> Path:
        """
        Return the bundle that acted last.

        The newest checkpoint was perhaps never on trial, and may descend from one that was taken
        back; the server tries what the learner goes on to push.
        """
        acting = self.path / ACTING
        return acting if acting.exists() else self.newest_bundle()

    def place_bundle(self, source: Path) -> None:
        """
        Copy the bundle to start from into the folder, checked, and signed where there is a key.

        :raises BundleError, KeyFileError: the bundle or the key cannot be used
        """
        bundle = load_bundle(source)
        part = self.path / '.initial.spaars'
        if self.options.signing_key:
            save_bundle(bundle, part, Signer(Path(self.options.signing_key)))
        else:
            shutil.copyfile(source, part)
        os.replace(part, self.initial_bundle)

    def cached_bundle(self) -> Path:
        """Return where the bundle pretrained with these settings by this code is, or will be."""
        digest = hashlib.sha256()
        offline = self.training.model_dump_json(exclude={'mode', 'demonstrations'})
        # The critic is aligned with the policy that will act: raw or latent.
        acts = 'raw' if self.training.mode == 'raw-only' else 'latent'
        for part in (self.robot.model_dump_json(exclude={'source'}),
                     self.settings.model_dump_json(), offline, acts, str(self.options.seed),
                     source_digest()):
            digest.update(part.encode() + b'\0')
        path = resolve(self.options.demonstrations or self.training.demonstrations)
        digest.update(path.read_bytes() if path.exists() else b'')
        return Path(self.options.cache) / f'{digest.hexdigest()[:24]}.spaars'

    def demonstrations(self) -> Any:
        """Return the data set; raises DatasetError."""
        path = resolve(self.options.demonstrations or self.training.demonstrations)
        return load_dataset(path, self.robot, self.task)

    # What was recorded

    def recorded(self) -> tuple[Any, Any]:
        """Return schema and step records (m, width) of the run so far; (None, None) of none."""
        if not self.recording.exists():
            return None, None
        try:
            return read_steps(self.recording)
        except RecorderError:
            return None, None  # nothing whole in it: the run stopped before its first chunk

    def complete_spool(self) -> int:
        """
        Append the recorded steps that the policy server's spool lacks; return how many.

        A step is published before it is on disk, so a server that was killed may have lost what
        the learner holds. It numbers on from its spool: two steps would get one number.
        :raises RunError: the spool cannot be continued, or a step between is lost on both sides
        """
        schema, rows = self.recorded()
        directory = self.path / 'spool'
        if schema is None or not directory.exists():
            return 0  # the server runs on another machine
        try:
            count = len(read_spool(directory)[1]) if (directory / 'layout.json').exists() else 0
            sequences = schema.get(rows, 'sequence')
            lost = rows[sequences >= count]
            if not len(lost):
                return 0
            if (schema.get(lost, 'sequence') != count + np.arange(len(lost))).any():
                raise RunError(f'{self.path}: the spool ends before step {count}, and the '
                               'recording does not go on from there')
            spool = Spool(directory, schema)
        except SpoolError as error:
            raise RunError(f'cannot complete the spool: {error}') from None
        try:
            for row in lost:
                spool.append(row)
        finally:
            done = spool.close()
        if not done:
            raise RunError(f'cannot complete the spool: {spool.error}')
        return len(lost)

    def episodes(self) -> list[dict[str, Any]]:
        """Return one scored dict per episode of the recording."""
        schema, rows = self.recorded()
        if schema is None:
            return []
        return episodes_from_steps(schema, rows, self.task, self._multipliers(schema, rows))

    def _multipliers(self, schema: Any, rows: Any) -> dict[int, float]:
        """Return the first constraint's lambda in force at the end of each episode."""
        from spaars_ros.data import cdr
        times, values = [], []
        for _, channel, message in read_messages(self.recording):
            if channel.topic.endswith('cost_monitor/multiplier'):
                fields, data = cdr.decode_array(message.data)
                place = 0
                for name, width in fields:
                    if name == 'multiplier' and width:
                        times.append(message.publish_time * 1e-9)
                        values.append(float(data[place]))
                    place += width
        if not times:
            return {}
        ends = rows[schema.get(rows, 'flag') > 0]
        # The monitor answers an episode's last step, so the next stamp is the one to look at.
        found = np.searchsorted(np.asarray(times), schema.get(ends, 'stamp'), side='right') - 1
        return {int(episode): values[index] if index >= 0 else 0.0
                for episode, index in zip(schema.get(ends, 'episode'), found)}

    def summary(self, before: dict[str, Any], after: dict[str, Any] | None,
                episodes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Return what summary.json holds; what was not measured is None."""
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
            'online_steps': self._server_transitions(recorded), 'episodes': len(episodes),
            'transitions_recorded': recorded, **more}

    def _server_transitions(self, otherwise: int) -> int:
        """Return how many transitions the policy server made, by its own spool."""
        schema, _ = self.recorded()
        spool = self.path / 'spool' / 'steps.f64'
        if schema is None or not spool.exists():
            return otherwise  # the server runs on another machine
        schema, rows = read_spool(spool.parent)
        same = np.diff(schema.get(rows, 'episode')) == 0
        # An abort closes an episode with the state that it has: no transition leads there.
        moved = (np.diff(schema.get(rows, 'stamp')) != 0) \
            | (schema.get(rows, 'flag')[1:] != Flag.ABORTED)
        return int(np.count_nonzero(same & moved))
