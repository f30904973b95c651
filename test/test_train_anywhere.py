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
"""`spaars train` in environments that are not ours: what they may do, and what is refused."""

import json

import gymnasium
import numpy as np
import pytest
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.transitions import load_transitions
from spaars_ros.learning.gym import rollout
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.training_file import load_training

SMALL = {'algorithm': 'sac', 'width': 16, 'heads': 2, 'batch': 16, 'warmup_steps': 20, 'n_step': 1}


class Walk(gymnasium.Env):
    """A walk on a plane; what it does besides is asked for by name."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-0.3, 0.7, (2,), np.float32)

    def __init__(self, *, asserts=False, task=None, info=None, limit=10):
        self.asserts, self.info, self.limit = asserts, info or {}, limit
        if task is not None:
            self.task = task

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.place = 0, self.np_random.uniform(-1.0, 1.0, 2)
        return self.place, {}

    def step(self, action):
        if self.asserts:
            assert self.action_space.contains(action), repr(action)
        self.place += action  # into the array that was returned before
        self.count += 1
        return self.place, -float(np.abs(self.place).sum()), False, self.count == self.limit, \
            dict(self.info)


def trainer_of(out, *, steps=60, cost_limit=None, changes=None, **options):
    training = load_training('locomotion', **{**SMALL, **(changes or {})})
    return Trainer('Walk', None, training=training, seed=0, out=out, steps=steps,
                   evaluate_every=1000, evaluation_episodes=1,
                   make_env=lambda: Walk(**options), cost_limit=cost_limit)


# What an environment may do


def test_an_environment_that_writes_into_its_observation_is_learned_from_right(tmp_path):
    """Otherwise all transitions of a segment would lead from its last state to its last state."""
    trainer = trainer_of(tmp_path, steps=20)
    trainer.run()
    columns = trainer._online.arrays()
    place, after, action = (columns[name][:20] for name in ('observation', 'next', 'action'))
    np.testing.assert_allclose(after - place, 0.2 + 0.5 * action, atol=1e-5)
    assert trainer.normaliser.std.min() > 0.1


def test_actions_are_of_the_type_and_within_the_bounds_that_an_environment_asserts(tmp_path):
    assert trainer_of(tmp_path, asserts=True).run()['steps'] == 60


@pytest.mark.parametrize('end', [-1.0, 1.0])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_an_action_on_its_bound_is_on_the_boxs(end, dtype):
    rng, env = np.random.default_rng(0), Walk()
    for _ in range(100):  # of which rounding puts some beyond
        low = rng.normal(size=2)
        env.action_space = gymnasium.spaces.Box(
            low.astype(dtype), (low + rng.uniform(0.01, 3.0, 2)).astype(dtype), dtype=dtype)
        boxes = rollout.ActionScaler.of('Walk', env)
        assert env.action_space.contains(boxes.physical(np.full(2, end)))


def test_a_task_of_another_kind_is_not_taken_for_the_arms(tmp_path):
    assert trainer_of(tmp_path, task='push').run()['steps'] == 60


def test_an_executed_action_of_an_unknown_kind_is_not_learned_from(tmp_path):
    trainer = trainer_of(tmp_path, steps=20, info={'executed': np.array([77.0, 77.0])})
    trainer.run()
    assert np.abs(trainer._online.arrays()['action'][:20]).max() <= 1.0


# What is refused, or said


def test_an_episode_without_an_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(rollout, 'ENDLESS', 500)
    with pytest.raises(ValueError, match='not ended after 500 steps: give .* a time limit'):
        trainer_of(tmp_path, limit=0).run()


def test_integer_actions_are_refused(tmp_path):
    class Whole(Walk):
        action_space = gymnasium.spaces.Box(0, 3, (2,), np.int64)
    with pytest.raises(ValueError, match='Whole: actions are int64'):
        rollout.ActionScaler.of('Whole', Whole())


@pytest.mark.parametrize('algorithm', ['bc', 'iql', 'rlpd', 'sac', 'plas', 'td3-bc'])
def test_a_cost_limit_that_nothing_would_hold_is_refused(tmp_path, algorithm):
    with pytest.raises(ValueError, match=f'cost limit 5: {algorithm} holds none'):
        trainer_of(tmp_path, cost_limit=5.0, changes={'algorithm': algorithm})


@pytest.mark.parametrize('info', [{}, {'cost': 0.0}, {'costs': [0.0]}])
def test_a_limit_on_costs_that_are_never_reported_is_said(tmp_path, recwarn, info):
    trainer_of(tmp_path, cost_limit=5.0, info=info,
               changes={'algorithm': 'sac-lagrangian'}).run()
    said = [str(each.message) for each in recwarn if 'reported no cost' in str(each.message)]
    assert len(said) == (not info)


@pytest.mark.parametrize(('before', 'now'), [(None, 5.0), (5.0, None), (5.0, 7.0)])
def test_another_cost_limit_does_not_go_on_with_a_run(tmp_path, before, now):
    changes, info = {'algorithm': 'sac-lagrangian'}, {'cost': 1.0}
    trainer_of(tmp_path, cost_limit=before, changes=changes, info=info).run()
    lines = (tmp_path / 'episodes.jsonl').read_text()
    with pytest.raises(ValueError, match='another run: cost limits .*, now '):
        trainer_of(tmp_path, cost_limit=now, changes=changes, info=info).run()
    assert (tmp_path / 'episodes.jsonl').read_text() == lines


@pytest.mark.parametrize('content', [
    b'', b'no archive', 'cut', 'foreign', 'array'])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / 'checkpoint.npz'
    if content == 'cut':
        trainer_of(tmp_path).run()
        path.write_bytes(path.read_bytes()[:1000])
    elif content == 'foreign':
        np.savez(path, weights=np.zeros(3))
    elif content == 'array':
        with open(path, 'wb') as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match='checkpoint.npz: no checkpoint of a training') as said:
        trainer_of(tmp_path).run()
    assert 'pickle' not in str(said.value)


def test_a_folder_that_cannot_be_written_to_is_named_before_anything_is_learned(tmp_path):
    (tmp_path / 'curve.jsonl').mkdir()  # which stops root, too
    trainer = trainer_of(tmp_path)
    with pytest.raises(OSError, match='curve.jsonl'):
        trainer.run()
    assert trainer.updates == trainer.steps == 0


@pytest.mark.parametrize(('arguments', 'said'), [
    (['--env', 'Hoper-v5'], "environment Hoper-v5: Environment `Hoper` doesn't exist. Did you"),
    (['--env', 'Hopper-v5', '--algorithm', 'sac', '--set', 'utd=[1'], '--set utd=[1: '),
    (['--env', 'Hopper-v5', '--algorithm', 'sac-pid', '--data', 'none.npz'],
     '--data none.npz: sac-pid learns from scratch'),
    (['--env', 'Hopper-v5', '--algorithm', 'iql', '--cost-limit', '3', '--data', 'none.npz'],
     'none.npz')])
def test_train_says_in_one_line_what_is_wrong(tmp_path, arguments, said):
    done = CliRunner().invoke(app, ['train', '--out', str(tmp_path / 'out'), *arguments])
    assert done.exit_code == 1
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_an_environment_that_there_is_not_costs_its_own_row_alone(tmp_path):
    done = CliRunner().invoke(app, [
        'bench', 'learning', '--tasks', 'Hoper-v5,Pendulum-v1', '--methods', 'sac', '--seeds', '0',
        '--steps', '200', '--evaluate-every', '200', '--set', 'width=16', '--out', str(tmp_path)])
    assert done.exit_code == 1
    assert 'environment Hoper-v5' in done.output
    assert len([path for path in tmp_path.glob('*.json') if 'Pendulum' in path.name]) == 1


def test_a_set_of_another_environment_is_said(tmp_path):
    walker, cheetah = (gymnasium.make(name) for name in ('Walker2d-v5', 'HalfCheetah-v5'))
    rng = np.random.default_rng(0)
    places = rng.normal(size=(21, 17)).astype(np.float32)
    fields = {'observations': places[:-1], 'next_observations': places[1:],
              'actions': rng.uniform(-1, 1, (20, 6)).astype(np.float32),
              'rewards': np.zeros(20, np.float32), 'terminations': np.zeros(20, bool),
              'attributes': np.array(json.dumps({'env': 'Walker2d-v4'}))}
    np.savez(tmp_path / 'set.npz', **fields)
    said = load_transitions(tmp_path / 'set.npz', walker).warnings
    assert not [line for line in said if 'recorded in' in line]
    with pytest.warns(UserWarning, match='recorded in Walker2d-v4, and this is HalfCheetah-v5'):
        load_transitions(tmp_path / 'set.npz', cheetah)
