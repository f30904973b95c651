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
"""The policy file that `spaars train` leaves acts as the trainer evaluated."""

import json

import gymnasium
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.gym.export_trained import export_trained
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import EVALUATION_SEED
from spaars_ros.learning.registry import ALGORITHMS
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.sim.collect import OnnxPolicy
from spaars_ros.training_file import load_training

SKILLS = {'supe', 'spaars-supe'}
STATES = 300


class Wide(gymnasium.Env):
    """Only its spaces are of use: observations in the tens, lopsided actions."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(np.array([-1.0, 0.0]), np.array([3.0, 0.5]), (2,),
                                        np.float64)


def made(name, **changes):
    """Return an algorithm whose policies differ from state to state, and states."""
    torch.manual_seed(0)
    training = load_training('locomotion', algorithm=name, width=16, heads=3, **changes)
    observations = np.random.default_rng(0).normal([0.0, 20.0, -5.0], [1.0, 9.0, 0.1],
                                                   (STATES, 3))
    algorithm = make_algorithm(name, training, observation=3, action=2, constraints=1,
                               normaliser=Normaliser.of(observations), seed=0)
    with torch.no_grad():
        for parameter in algorithm.agent.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return algorithm, observations


def compare(tmp_path, algorithm, observations):
    """Return the share of raw actions, where the graph's are the algorithm's."""
    env, rng = Wide(), np.random.default_rng(1)
    boxes = ActionScaler.of('Wide', env)
    path = tmp_path / 'policy.onnx'
    path.write_bytes(export_trained(algorithm, boxes))
    policy = OnnxPolicy(path, env)
    choices = [algorithm.choose(o, rng, False) for o in observations]
    expected = boxes.physical(np.asarray([choice.action for choice in choices]))
    found = np.asarray([policy(o, np.zeros(2, np.float32)) for o in observations])
    assert expected.std(0).min() > 0.01  # it is not the same action everywhere
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return np.mean([choice.mode == Mode.RAW for choice in choices])


@pytest.mark.parametrize('name', sorted(set(ALGORITHMS) - SKILLS))
def test_the_policy_file_acts_as_the_algorithm(tmp_path, name):
    compare(tmp_path, *made(name))


@pytest.mark.parametrize('changes, least, most', [
    ({'trials': 0.0, 'kappa': 0.0}, 0.2, 0.8), ({'trials': 0.2}, 0.2, 0.8),
    ({'mode': 'latent-only'}, 0.0, 0.0), ({'mode': 'raw-only'}, 1.0, 1.0),
    ({'mode': 'hard-switch'}, 1.0, 1.0)])
def test_the_gate_is_in_the_policy_file(tmp_path, changes, least, most):
    algorithm, observations = made('spaars', **changes)
    agent, curriculum = algorithm.agent, algorithm.curriculum
    agent.gated, agent.trust = changes.get('mode') != 'latent-only', 0.3
    agent.multipliers.fill_(0.5)
    if curriculum.trials is not None:
        curriculum.trials.gate_pays = True
    o = torch.from_numpy(algorithm.normaliser(observations))
    with torch.no_grad():
        latent = agent.decoder(o, agent.latent_policy(o))
        inside = agent.trusted(agent.raw_policy(o), latent)
        advantage = agent.advantage(o, inside, latent, curriculum.kappa(False))
    agent.bc_error.fill_(0.1)  # well within the trust box, or that bounds the margin
    # The margin, where that is above zero: in the widest gap about the middle, since a state that
    # lies on the margin is taken either way, by how a processor rounds.
    middle = advantage.sort().values[120:180]
    widest = middle.diff().argmax()
    agent.lipschitz.copy_(10.0 * middle[widest:widest + 2].mean())
    if curriculum.trials is not None:
        assert agent.margin > 0.0
    share = compare(tmp_path, algorithm, observations)
    assert least <= share <= most


def test_a_gate_that_does_not_pay_is_not_in_the_policy_file(tmp_path):
    algorithm, observations = made('spaars', trials=0.2)
    algorithm.agent.gated = True
    assert compare(tmp_path, algorithm, observations) == 0.0


@pytest.mark.parametrize('projection', ['mlp', 'proj'])
def test_a_residual_policy_file_is_of_the_policy_that_was_chosen(tmp_path, projection):
    compare(tmp_path, *made('spar', spar_projection=projection))


@pytest.mark.parametrize('name', sorted(SKILLS))
def test_skills_are_refused_for_what_a_graph_cannot_hold(name):
    algorithm, _ = made(name, skill_dim=2, skill_length=2)
    with pytest.raises(ValueError, match='no memory'):
        export_trained(algorithm, ActionScaler.of('Wide', Wide()))


def test_train_leaves_a_policy_file_that_returns_what_was_evaluated(tmp_path):
    runner = CliRunner()
    changes = ['width=16', 'batch=32', 'iql_steps=0', 'warmup_steps=300', 'trials=0',
               'checkpoint_every=300']
    result = runner.invoke(app, [
        'train', '--env', 'InvertedPendulum-v5', '--algorithm', 'sac', '--steps', '600',
        '--evaluation-episodes', '2', '--out', str(tmp_path),
        *[text for change in changes for text in ('--set', change)]])
    assert result.exit_code == 0, result.output
    assert 'policy.onnx' in result.output
    score = json.loads((tmp_path / 'summary.json').read_text())['return_final']
    env = gymnasium.make('InvertedPendulum-v5')
    policy, total = OnnxPolicy(tmp_path / 'policy.onnx', env), 0.0
    for number in range(2):
        observation, _ = env.reset(seed=EVALUATION_SEED + number)
        done = False
        while not done:
            observation, reward, terminated, truncated, _ = env.step(
                policy(observation, np.zeros(1, np.float32)))
            total, done = total + float(reward), terminated or truncated
    env.close()
    assert total / 2 == pytest.approx(score, abs=1.0)  # a step, for what float32 rounds
    result = runner.invoke(app, [
        'collect', '--env', 'InvertedPendulum-v5', '--policy', str(tmp_path / 'policy.onnx'),
        '--transitions', '50', str(tmp_path / 'more.npz')])
    assert result.exit_code == 0, result.output
    assert (tmp_path / 'more.npz').exists()
