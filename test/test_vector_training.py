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

"""Training in several environments at once, each in a process of its own."""

from contextlib import nullcontext
from functools import partial
import json
import multiprocessing
import re

import numpy as np
import pytest
from test_trainer import data_of
from test_trainer import FEW
from test_trainer import SMALL
import torch
from typer.testing import CliRunner
from vector_envs import Dying
from vector_envs import Failing
from vector_envs import Uneven

from benchmarks.envs import calculated
from spaars_ros.cli import app
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.gym.parallel_rollouts import ParallelRollouts
from spaars_ros.learning.gym.progress import Progress
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import Rollout
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.sim.environment_step import step_environment
from spaars_ros.sim.environments import make_environment
from spaars_ros.sim.environments import REACH
from spaars_ros.sim.parallel_environments import EnvironmentFailure
from spaars_ros.sim.parallel_environments import ParallelEnvironments
from spaars_ros.training_file import load_training

SKILLS = {'skill_length': 4, 'skill_dim': 2, 'spar_base_steps': 20}


class Newest:
    """Versions without a champion."""

    number, weights = -1, None

    def exchange(self):
        return nullcontext(lambda kept: None)


@pytest.fixture(scope='module')
def two():
    """Two environments in processes that the tests of this file share."""
    made = ParallelEnvironments(Uneven, 2)
    yield made
    made.stop()


def algorithm_of(name):
    torch.manual_seed(0)
    training = load_training('locomotion', algorithm=name, **{**SMALL, **SKILLS})
    algorithm = make_algorithm(name, training, observation=2, action=2, constraints=1,
                               normaliser=Normaliser(np.zeros(2), np.ones(2)), seed=0)
    algorithm.begin_online()
    return algorithm


def replay_of():
    return Replay(10_000, None, Normaliser(np.zeros(2), np.ones(2)), action=2, constraints=1,
                  gamma=0.9, n_step=3, observation=2)


def alone(algorithm, number, seed):
    """Return the replay's columns of one episode, done by itself in this process."""
    env, replay = Uneven(), replay_of()
    boxes, rng = ActionScaler.of('Uneven', env), np.random.default_rng([seed, number, 1])
    start = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    rollout = Rollout(env.reset(seed=start)[0].copy(), replay)
    if hasattr(algorithm, 'begin_episode'):
        algorithm.begin_episode()
    while not rollout.done:
        choice = algorithm.choose(rollout.observations[-1], rng, True)
        rollout.add(choice, step_environment(env, boxes.physical(choice.action)))
    algorithm.end_episode(np.asarray(rollout.observations), np.asarray(rollout.modes), 0, replay)
    return rollout, replay.arrays()


@pytest.mark.parametrize('name', ['sac', 'spaars', 'spar', 'supe', 'spaars-supe'])
def test_two_environments_store_exactly_what_each_would_alone(two, name):
    algorithm, replay, progress = algorithm_of(name), replay_of(), Progress()
    boxes = ActionScaler.of('Uneven', Uneven())
    rollouts = ParallelRollouts(two, boxes, algorithm, Newest(), replay, progress, seed=3)
    ended = []
    while len(ended) < 6:
        progress.steps += rollouts.advance()
        now = rollouts.take_ended()
        for each in now:
            rollouts.enter(each)
            modes = np.asarray(each.rollout.modes)
            algorithm.end_episode(np.asarray(each.rollout.observations), modes, 0, replay)
        ended += now
    stored = replay.arrays()
    assert progress.steps == replay.size == sum(len(each.rollout.actions) for each in ended)
    assert len({len(each.rollout.actions) for each in ended}) > 2  # they end at various times
    start, again = 0, algorithm_of(name)
    single = {len(found[1]['action']): found for found in
              (alone(again, number, 3) for number in range(progress.begun))}
    for each in ended:
        rollout, columns = single[len(each.rollout.actions)]
        part = slice(start, start + len(each.rollout.actions))
        for column, values in columns.items():
            assert np.array_equal(stored[column][part], values), column
        assert np.array_equal(rollout.costs, each.rollout.costs)
        assert rollout.success == pytest.approx(each.rollout.success, nan_ok=True)
        assert rollout.reported_costs == each.rollout.reported_costs
        start = part.stop
    assert len({float(each) for each in stored['cost'][:, 0]}) > 10  # no cost was rounded


def test_the_arms_filtered_actions_and_costs_come_through():
    # Not a function of this file: the processes would import torch to find it.
    made = ParallelEnvironments(partial(make_environment, REACH), 2)
    env = make_environment(REACH)
    try:
        first = made.reset({0: 5, 1: 6})
        actions = [np.random.default_rng(step).uniform(-1.0, 1.0, (2, 7)) for step in range(4)]
        steps = [made.step(list(both)) for both in actions]
    finally:
        made.stop()
    for index, seed in enumerate((5, 6)):
        assert np.array_equal(env.reset(seed=seed)[0], first[index])
        for both, found in zip(actions, steps):
            wanted = step_environment(env, both[index])
            for name, value in vars(wanted).items():
                assert np.array_equal(value, getattr(found[index], name), equal_nan=True), name
            assert wanted.executed is not None and len(wanted.costs)


@pytest.mark.parametrize(('make', 'said'), [
    (Failing, 'environment 0 of 2: ArithmeticError: the solver diverged'),
    (Dying, r'the process of environment 0 of 2 ended \(exit code -9\)')])
def test_an_environment_that_fails_or_dies_is_named_and_leaves_no_process(make, said, capfd):
    others = set(multiprocessing.active_children())
    made = ParallelEnvironments(make, 2)
    made.reset({0: 1, 1: 2})
    with pytest.raises(EnvironmentFailure, match=said):
        for _ in range(9):
            made.step([np.zeros(2), np.zeros(2)])
    assert set(multiprocessing.active_children()) <= others
    assert 'Traceback' not in capfd.readouterr().err


def test_what_other_episodes_store_in_between_is_no_part_of_this_one():
    """Or a return would go on in the episode of another environment."""
    replay = replay_of()
    env = Uneven()
    boxes, algorithm = ActionScaler.of('Uneven', env), algorithm_of('sac')
    first, second = (Rollout(env.reset(seed=seed)[0].copy(), replay, segment=5)
                     for seed in (0, 1))
    rng = np.random.default_rng(0)

    def go(rollout, steps):
        for _ in range(steps):
            choice = algorithm.choose(rollout.observations[-1], rng, True)
            env.count = 0  # no end
            rollout.add(choice, step_environment(env, boxes.physical(choice.action)))
    go(first, 5)
    go(second, 5)
    go(first, 10)  # two segments, one after the other: they are joined
    columns = replay.arrays()
    assert columns['before'].tolist() == [*range(5), *range(5), *range(10)]
    assert columns['after'].tolist() == [*range(5)[::-1], *range(5)[::-1], *range(10)[::-1]]


def trainer_of(out, *, steps=120, envs=2, data=False, **changes):
    training = load_training('locomotion', **{
        **SMALL, 'algorithm': 'sac', 'warmup_steps': 60, 'checkpoint_every': 40, 'batch': 8,
        'compile': 'off', **changes})
    return Trainer('Uneven', data_of() if data else None, training=training, seed=0, out=out,
                   steps=steps, evaluate_every=60, evaluation_episodes=1, make_env=Uneven,
                   envs=envs)


def lines_of(out):
    return [json.loads(line) for line in (out / 'episodes.jsonl').read_text().splitlines()]


def test_a_resumed_training_counts_every_stored_transition_once_with_any_number(tmp_path):
    def interrupt(line):
        if re.match('[1-9][0-9]* steps', line):
            raise KeyboardInterrupt
    others = set(multiprocessing.active_children())
    first = trainer_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run(say=interrupt)
    assert set(multiprocessing.active_children()) <= others
    before = lines_of(tmp_path)
    second = trainer_of(tmp_path, envs=3)
    summary = second.run()
    lines = lines_of(tmp_path)
    assert second.steps == second._online.size == summary['steps'] >= 120
    assert [each['episode'] for each in lines] == list(range(1, len(lines) + 1))
    kept = [each for each in before if each in lines]
    assert kept == lines[:len(kept)] and len(lines) > len(kept) > 0
    assert sum(each['length'] for each in lines) <= second.steps
    assert second.progress.begun > second.progress.episodes == len(lines)
    assert second.updates == int(second.training.utd * (second.steps - 60))


def test_a_champion_acts_in_several_environments_and_the_newest_weights_learn(tmp_path):
    trainer = trainer_of(
        tmp_path, data=True, steps=360, algorithm='spaars', floor=True, latent_candidates=4,
        prior=1.0, independent_targets=True, champion=0.5, trials=0.0, **{
            **FEW, 'critic_steps': 1, 'push_every': 1, 'utd': 0.2})
    trainer.run()
    lines = lines_of(tmp_path)
    trainer.close()
    versions = [each['version'] for each in lines]
    assert versions[:2] == [0, 0] and max(versions) > 0


def test_the_algorithm_learns_of_each_episode_whether_it_was_a_control():
    training = load_training('locomotion', **{**SMALL, 'trials': 0.5})
    algorithm = make_algorithm('spaars', training, observation=2, action=2, constraints=0,
                               normaliser=Normaliser(np.zeros(2), np.ones(2)), seed=0)
    trials = algorithm.curriculum.trials
    one = algorithm.episode_state()
    trials.control = True
    other = algorithm.episode_state()
    algorithm.set_episode_state(one)
    trials.take(5.0, 100)
    algorithm.set_episode_state(other)
    trials.take(3.0, 100)
    assert (trials.with_gate, trials.without) == ([5.0], [3.0])


def test_the_calculation_for_more_cores_has_the_policy_as_its_serial_part():
    unit = {'step_s': 1e-2, 'policy_s': 0.0, 'transfer_s': 0.0}
    assert calculated(unit, 16) == pytest.approx(1600.0)
    assert calculated({**unit, 'policy_s': 1e-2}, 16) == pytest.approx(16 / 0.17)
    assert calculated({**unit, 'policy_s': 1e-2}, 10 ** 6) == pytest.approx(100.0, rel=1e-3)


def test_less_than_one_environment_is_refused(tmp_path):
    with pytest.raises(ValueError, match='envs 0: has to be at least 1'):
        trainer_of(tmp_path, envs=0)
    result = CliRunner().invoke(app, ['train', '--env', REACH, '--envs', '0'])
    assert result.exit_code == 2 and '--envs' in result.output + result.stderr
