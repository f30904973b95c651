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

"""The floor: candidates compete, the pretrained action acts until beaten; one rule, three ways."""

import numpy as np
import onnxruntime
import pytest
import torch

from spaars_ros.learning.core.floor import best_of
from spaars_ros.learning.core.floor import bootstrap_masks
from spaars_ros.learning.core.floor import lower_bounds
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.policy_graph import PolicyGraph
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.registry import make_algorithm
from spaars_ros.policy.gate import AdvantageGate
from spaars_ros.training_file import load_training

N, D, ROWS, HEADS = 5, 3, 64, 4
FLOOR = {'floor': True, 'prior': 2.0, 'independent_targets': True, 'bootstrap': 0.8,
         'latent_candidates': 8, 'latent_dim': 2, 'width': 16, 'heads': HEADS, 'kappa': 0.5,
         'critic_steps': 0, 'batch': 16}


def make(**changes):
    torch.manual_seed(0)
    algorithm = make_algorithm(
        'spaars', load_training('spaars', **{**FLOOR, **changes}), observation=N, action=D,
        constraints=1, normaliser=Normaliser(np.zeros(N), np.ones(N)), seed=0)
    algorithm.set_multipliers(np.array([0.4]))
    algorithm.agent.gated, algorithm.agent.trust = True, 0.5
    return algorithm


def batch_of(seed=0, rows=16):
    rng = np.random.default_rng(seed)
    shapes = {'observation': (N,), 'action': (D,), 'reward': (), 'cost': (1,), 'next': (N,)}
    drawn = {name: torch.from_numpy(rng.standard_normal((rows, *shape)).astype(np.float32))
             for name, shape in shapes.items()}
    return Batch({**drawn, 'action': drawn['action'].tanh(), 'discount': torch.full((rows,), 0.9)})


@pytest.mark.parametrize('margins', [(0.0, 0.0, 0.0), (0.0, 0.05, 0.2), (0.0, 9.0, 9.0)])
def test_numpy_torch_and_onnx_choose_the_same(margins):
    values = np.random.default_rng(0).normal(size=(ROWS, 3, HEADS, 2)).astype(np.float32)
    gate = AdvantageGate(0.0, 0.5, np.array([0.4]))
    by_numpy = [gate.best([gate.advantage(each[1], each[0]), gate.advantage(each[2], each[0])],
                          margins[1:]) for each in values]
    weights = torch.tensor([1.0, -0.4]) / 1.4
    of_torch = (torch.from_numpy(values) @ weights).permute(2, 1, 0)
    by_torch = best_of(lower_bounds(of_torch, 0.5), torch.tensor(margins))
    graph = PolicyGraph()
    shape = graph.constant(np.array([-1, 3, HEADS], np.int64))
    weighed = graph.node('Reshape', graph.lagrangian('values', torch.tensor([0.4])), shape)
    places = graph.node('Add', graph.constant(np.arange(3, dtype=np.float32)[None, :, None]),
                        graph.node('Mul', 'zero', graph.number(0.0)))
    chosen = graph.best_of(places, graph.lower_bounds(weighed, 0.5), np.array(margins, np.float32))
    graph.rename({chosen: 'place'})
    session = onnxruntime.InferenceSession(graph.finish(
        {'values': ['batch', 3, HEADS, 2], 'zero': ['batch', 3, 1]}, {'place': ['batch', 1]}))
    by_graph, = session.run(None, {'values': values, 'zero': np.zeros((ROWS, 3, 1), np.float32)})
    assert by_numpy == by_torch.tolist() == by_graph[:, 0].astype(int).tolist()
    assert (set(by_numpy) == {0}) == (margins[1] > 1.0)


@pytest.mark.parametrize('changes', [
    {}, {'self_imitation': True}, {'self_imitation': True, 'raw_candidate': 'imitation'}])
def test_what_training_takes_is_what_the_exported_policy_takes(changes):
    """`Spaars.choose`, its target's rule over all heads, and the graph of `spaars train`."""
    from spaars_ros.learning.gym.export_trained import export_trained
    from spaars_ros.learning.gym.rollout import ActionScaler
    algorithm = make(**changes)
    agent = algorithm.agent
    with torch.no_grad():  # far enough apart that all three act somewhere
        for layer in (agent.anchor.net.layers[-1], agent.raw_policy.net.layers[-1],
                      agent.latent_policy.net.layers[-1]):
            layer.weight.mul_(20.0)
    agent.bc_error.fill_(0.0)
    observations = np.random.default_rng(0).normal(size=(ROWS, N)).astype(np.float32)
    o = torch.from_numpy(observations)
    by_target = agent.executed(agent.critic, o, agent.every_head, agent.limits(), gated=True)
    _, bounds, _ = agent.compete(agent.critic, o, agent.every_head, agent.limits(), gated=True)
    assert len(set(best_of(bounds, torch.zeros(3)).tolist())) > 1
    chosen = [algorithm.choose(each, np.random.default_rng(0), False).action
              for each in observations]
    one = np.ones(D, np.float32)
    boxes = ActionScaler(N, D, np.zeros(D), np.ones(D), -one, one)
    session = onnxruntime.InferenceSession(export_trained(algorithm, boxes))
    by_graph, = session.run(None, {'observation': observations})
    np.testing.assert_allclose(chosen, by_target, atol=1e-5)
    np.testing.assert_allclose(by_graph, by_target, atol=1e-5)


def test_the_pretrained_action_acts_where_nothing_beats_it():
    algorithm = make(min_margin=1e6)
    agent = algorithm.agent
    o = batch_of()['observation']
    with torch.no_grad():
        expected = agent.decoder(o, agent.anchor(o))
    for row, action in zip(o.numpy(), expected.numpy()):
        got = algorithm.choose(row, np.random.default_rng(0), False).action
        np.testing.assert_allclose(got, action, atol=1e-6)


def test_no_update_online_moves_the_pretrained_policy():
    algorithm = make()
    algorithm.begin_online()
    before = [p.clone() for p in [*algorithm.agent.anchor.parameters(),
                                  *algorithm.agent.decoder.parameters()]]
    for number in range(5):
        algorithm.update_online(batch_of(number), batch_of(number))
    after = [*algorithm.agent.anchor.parameters(), *algorithm.agent.decoder.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after))


def test_heads_with_priors_and_targets_of_their_own_disagree_where_data_is_thin():
    """Fault of 0.1.0: heads that follow one target agree wherever they are asked."""
    spreads = {}
    for name, changes in (('own', {}), ('shared', {
            'prior': 0.0, 'independent_targets': False, 'bootstrap': 1.0})):
        algorithm = make(mode='latent-only', floor=False, learning_rate=3e-3, **changes)
        algorithm.begin_online()
        agent, batch = algorithm.agent, batch_of(rows=256)
        batch['reward'] = batch['observation'][:, 0]
        batch['action'] *= 0.1  # nothing is known of larger ones
        for _ in range(400):
            agent.update_critic(batch)
        o = batch['observation']
        with torch.no_grad():
            at = [agent._lagrangian(agent.critic(o, action)) for action in (
                batch['action'], batch['action'].flip(0), torch.ones(256, D))]
        spreads[name] = [float((each - at[0]).std(0).mean()) for each in at[1:]]
    assert spreads['own'][1] > 2.0 * spreads['own'][0]
    assert spreads['own'][1] > 2.0 * spreads['shared'][1]


def test_a_transition_trains_the_same_heads_every_time():
    batch = batch_of(rows=2000)
    masks = bootstrap_masks(batch['observation'], batch['action'], 10, 0.8)
    assert masks.shape == (2000, 10) and set(masks.unique().tolist()) == {0.0, 1.0}
    assert float(masks.mean()) == pytest.approx(0.8, abs=0.01)
    correlation = np.corrcoef(masks.numpy().T) - np.eye(10)
    assert np.abs(correlation).max() < 0.1
    turned = bootstrap_masks(batch['observation'].flip(0), batch['action'].flip(0), 10, 0.8)
    assert torch.equal(masks, turned.flip(0))


def test_a_critic_of_before_is_read_and_its_priors_say_nothing():
    old, new = EnsembleCritic(N, D, 2, 16, 3), EnsembleCritic(N, D, 2, 16, 3, prior=3.0)
    new.load_state_dict(old.state_dict())
    o, a = batch_of()['observation'], batch_of()['action']
    torch.testing.assert_close(new(o, a), old(o, a))


def test_the_optimisers_keep_their_moments_when_learning_goes_online():
    algorithm = make()
    algorithm.agent.update_critic(batch_of())
    adam = algorithm.agent.optimisers['critic']
    means = adam.means.clone()
    algorithm.begin_online()
    assert algorithm.agent.optimisers['critic'] is adam and means.any()
    assert torch.equal(adam.means, means)
    assert adam.rate == algorithm.training.learning_rate


def test_the_margin_never_locks_the_gate():
    """Fault of 0.1.0: trust sqrt(d) below eps_BC left L_Q eps_BC out of reach of every action."""
    agent = make().agent
    agent.lipschitz.fill_(2.0)
    agent.bc_error.fill_(5.0)
    agent.gated, agent.trust = False, 0.1
    assert agent.margin == pytest.approx(2.0 * 0.1 * np.sqrt(D) / 2.0)
    agent.gated, agent.promised = True, 0.9  # raw actions were overrated by so much
    assert agent.margin == pytest.approx(0.9)
    agent.promised = -0.9
    assert agent.margin == pytest.approx(2.0 * 0.1 * np.sqrt(D) / 2.0)


def test_after_the_hand_over_the_margin_follows_what_raw_misses_its_ball_by():
    """Fault of 0.1.0: eps_BC stood still from the hand-over on, and the gate with it."""
    algorithm = make(learning_rate=3e-3, raw_bc=0.0, actor_kappa=0.0)
    algorithm.begin_online()
    agent = algorithm.agent
    agent.lipschitz.fill_(2.0)
    agent.bc_error.fill_(5.0)
    locked = agent.margin
    agent.trust = 2.0  # raw is inside, wherever it is
    for number in range(600):
        agent.update_policies(batch_of(number))
    assert float(agent.bc_error) < 0.05
    agent.trust = 0.5
    assert agent.margin < 0.1 * locked


@pytest.mark.parametrize('floor, handed', [(True, True), (False, False)])
def test_raw_is_calibrated_where_the_ball_takes_its_error_away(floor, handed):
    """Fault: |raw - decoded| stays above any bound where the best of N latents is not smooth."""
    algorithm = make(floor=floor, latent_candidates=8 * floor, bc_bound=0.01, trust_start=0.2,
                     min_latent_steps=10, max_latent_steps=10)
    agent = algorithm.agent
    agent.gated, agent.trust = False, 0.2
    agent.bc_error.fill_(0.9 * 0.2 * np.sqrt(D))
    algorithm.curriculum.end_episode(np.zeros((3, N), np.float32), np.zeros(3), 20)
    assert agent.gated == handed
    agent.gated = False
    agent.bc_error.fill_(1.1 * 0.2 * np.sqrt(D))
    algorithm.curriculum.end_episode(np.zeros((3, N), np.float32), np.zeros(3), 30)
    assert not agent.gated


@pytest.mark.parametrize('changes', [{'self_imitation': False}, {'mode': 'raw-only'},
                                     {'floor': False}, {'latent_candidates': 0}])
def test_raw_cannot_imitate_where_nothing_is_found_to_clone(changes):
    with pytest.raises(ValueError, match="raw_candidate 'imitation': clones what self_imitation"):
        make(**{'self_imitation': True, 'raw_candidate': 'imitation', **changes})


def test_what_holds_the_policies_fades():
    algorithm = make(hold_start=10.0, hold_steps=100, utd=1.0)
    algorithm.begin_online()
    algorithm.update_online(batch_of(), batch_of())
    assert algorithm.agent.hold == pytest.approx(10.0)
    algorithm.updates = 1000
    algorithm.update_online(batch_of(), batch_of())
    assert algorithm.agent.hold == pytest.approx(1.0, abs=1e-3)


def test_the_bundle_of_a_robot_takes_the_same_and_falls_back_when_told(tmp_path):
    from spaars_ros.learning.online.checkpoint import make_bundle
    from spaars_ros.learning.registry import make_deployable
    from spaars_ros.policy.runtime import check_bundle
    from spaars_ros.robot.config import load_robot
    from spaars_ros.tasks.registry import load_task
    from spaars_ros.tasks.registry import make_task
    torch.manual_seed(0)
    robot = load_robot()
    task = make_task(robot, load_task())
    n = task.observation_dim
    algorithm = make_deployable(load_training('spaars', **FLOOR), task,
                                Normaliser(np.zeros(n), np.ones(n)), 0)
    agent = algorithm.agent
    with torch.no_grad():
        for layer in (agent.anchor.net.layers[-1], agent.raw_policy.net.layers[-1]):
            layer.weight.mul_(20.0)
    agent.gated, agent.trust = True, 0.5
    agent.bc_error.fill_(0.0)
    observations = np.random.default_rng(0).normal(size=(ROWS, n)).astype(np.float32)
    bundle = make_bundle(algorithm, robot, task, observations, version=1, parent=0, phase='gated')
    runtime = check_bundle(bundle, robot, task=task.name, observation_dim=n, spec=task.spec)
    modes = []
    for each in observations:
        decision = runtime.decide(each.astype(np.float64))
        chosen = algorithm.choose(each, np.random.default_rng(0), False)
        np.testing.assert_allclose(decision.action, chosen.action, atol=1e-5)
        modes.append(decision.mode)
        careful = runtime.decide(each.astype(np.float64), np.ones(99), careful=True)
        with torch.no_grad():
            x = torch.from_numpy(each)[None]
            np.testing.assert_allclose(careful.action, agent.decoder(x, agent.anchor(x))[0],
                                       atol=1e-5)
    assert len(set(modes)) == 2
