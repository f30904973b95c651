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

"""Run every algorithm on the CPU and on the second device; write what differs, as JSON."""

import json
from pathlib import Path
import sys
import tempfile
import traceback

import numpy as np
from second_device import DEVICE
from second_device import register
from second_device import second_device
from small_run import TRAINING
from test_trainer import data_of
from test_trainer import Point
import torch

from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.learning.online.pretrain import pretrain
from spaars_ros.learning.registry import ALGORITHMS
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.robot.config import load_robot
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training
from spaars_ros.training_file import SCRATCH

SMALL = {**TRAINING, 'latent_dim': 2, 'cvae_steps': 6, 'iql_steps': 6, 'align_steps': 3,
         'warmup_steps': 20, 'critic_steps': 4, 'min_latent_steps': 20, 'max_latent_steps': 20,
         'bc_bound': 10.0, 'push_every': 20, 'skill_length': 4, 'skill_dim': 4, 'skill_width': 16,
         'skill_steps': 6, 'skill_iql_steps': 6, 'skill_heads': 3, 'spar_base_steps': 3,
         'spar_candidates': 4, 'compile': 'off'}
FLOOR = {'floor': True, 'prior': 1.0, 'independent_targets': True, 'bootstrap': 0.8,
         'latent_candidates': 4, 'self_imitation': True, 'raw_candidate': 'imitation'}
OWN = {'marvel': {'align_share': 0.5, 'align_push': True, 'offline_share': 0.5,
                  'demonstration_weight': 0.5},
       'sac-lagrangian': {'entropy': 0.0}}
RUNS = {name: (name, OWN.get(name, {})) for name in ALGORITHMS
        if name not in ('rlpd', 'sac-pid')} | {  # those compute what sac and sac-lagrangian do
    'floor': ('spaars', FLOOR), 'residual': ('spaars', {'raw_candidate': 'residual'}),
    'proj': ('spar', {'spar_projection': 'proj', 'spar_conservative': 0.1})}
CONTINUED = ('marvel', 'spaars-supe', 'floor')
ON_ROBOT = {'robot': 'spaars', 'robot-supe': 'spaars-supe'}


def training_for(name, device, **changes):
    return load_training('spaars', **{**SMALL, 'algorithm': name, 'device': device, **changes})


def assert_alike(expected, got):
    assert expected.keys() == got.keys()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-2, atol=1e-3, err_msg=name)


def trainer_of(run, device, out, steps):
    name, changes = RUNS[run]
    limited = name in ('cpq', 'marvel', 'sac-lagrangian', 'sac-pid', 'supe')
    data = data_of(5)
    if limited:
        data.costs = (data.actions[:, :1] > 0).astype(np.float32)
    return Trainer('Point', None if name in SCRATCH else data, steps=steps, seed=0, out=out,
                   training=training_for(name, device, **changes), make_env=Point,
                   evaluate_every=1000, evaluation_episodes=1,
                   cost_limit=5.0 if limited else None)


def train(run, out):
    """Train on both devices to the same numbers; `CONTINUED` then continue on the other one."""
    here = trainer_of(run, 'cpu', out / 'cpu', 40)
    here.run()
    with second_device():
        there = trainer_of(run, 'cuda', out / 'cuda', 40)
        there.run()
        assert {each.device for each in there.algorithm.agent.state_dict().values()} == {DEVICE}
        assert_alike(here.algorithm.arrays(), there.algorithm.arrays())
        if run not in CONTINUED:
            return
        on = trainer_of(run, 'cuda', out / 'cpu', 60)
        on.run()
    back = trainer_of(run, 'cpu', out / 'cuda', 60)
    back.run()
    assert on.steps == back.steps
    assert_alike(on.algorithm.arrays(), back.algorithm.arrays())


def fine_tune(name, out):
    """Fine-tune on the second device; its bundles pass their check, its checkpoint continues."""
    robot, settings = load_robot(), load_task('reach').model_copy(update={'horizon': 40})
    task, data = ReachTask(robot, settings), collect(robot, settings, episodes=4, seed=0)
    start = pretrain(robot, task, training_for(name, 'cpu'), data, seed=0)

    def tuner_of(device):
        training = training_for(name, device, compile='auto')
        return FineTuner(start, robot=robot, task=task, training=training, demonstrations=data,
                         seed=0)

    def checked(bundle):
        return check_bundle(Bundle.from_bytes(bundle.to_bytes()), robot, task='reach',
                            observation_dim=task.observation_dim)

    with second_device():
        there = tuner_of('cuda')
        rollouts = Rollouts(checked(start), robot, task, seed=0, explore=True)
        rows = np.concatenate([rollouts.episode() for _ in range(3)])
        for row in rows:
            there.add(row)
        for _ in range(4):
            there.update()
        assert 'CPU' in there.compiler.status
        checked(there.export())
        there.save(out / 'there.spaars')
        on_device = {each.device for each in there.agent.state_dict().values()}
        assert on_device == {DEVICE}, on_device
    here = tuner_of('cpu')
    here.restore(load_bundle(out / 'there.spaars'))
    for row in rows:
        here.add(row)
    assert_alike(there.agent.arrays(), here.agent.arrays())
    noise = torch.get_rng_state()
    here.update()
    torch.set_rng_state(noise)
    with second_device():
        there.update()
        assert_alike(there.agent.arrays(), here.agent.arrays())


def main(names):
    register()
    errors = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or [*RUNS, *ON_ROBOT]:
            out = Path(folder) / name
            out.mkdir()
            try:
                fine_tune(ON_ROBOT[name], out) if name in ON_ROBOT else train(name, out)
                errors[name] = ''
            except Exception:
                errors[name] = traceback.format_exc()
    sys.stdout.write(json.dumps(errors) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
