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
"""Skills: chunks, OPAL, SUPE and the gate within a skill, on a small environment."""

import numpy as np
import pytest
from scipy.stats import norm
from test_trainer import data_of
from test_trainer import Point
from test_trainer import without_times
import torch

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.supe.chunks import BOUND
from spaars_ros.learning.algorithms.supe.chunks import Chunks
from spaars_ros.learning.algorithms.supe.chunks import macro_transitions
from spaars_ros.learning.algorithms.supe.chunks import squash
from spaars_ros.learning.algorithms.supe.opal import opal_loss
from spaars_ros.learning.algorithms.supe.skill_learner import SkillLearner
from spaars_ros.learning.algorithms.supe.spaars_supe import SpaarsSupe
from spaars_ros.learning.algorithms.supe.supe import Supe
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.gym.rollout import ActionScaler
from spaars_ros.learning.gym.rollout import Rollout
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.sim.environment_step import step_environment
from spaars_ros.training_file import load_training

SMALL = {
    'width': 16, 'heads': 2, 'batch': 32, 'skill_length': 4, 'skill_dim': 2, 'skill_width': 16,
    'skill_steps': 120, 'skill_iql_steps': 120, 'skill_heads': 3, 'align_steps': 20,
    'warmup_steps': 40, 'critic_steps': 10, 'min_latent_steps': 50, 'max_latent_steps': 60,
    'bc_bound': 10.0, 'trust_start': 0.5, 'trust_steps': 100, 'gamma': 0.5, 'n_step': 1,
    'trials': 0.0, 'reward_scale': 1.0, 'offline_learning_rate': 3e-3, 'learning_rate': 3e-3,
    'checkpoint_every': 60, 'weight_average': 0.9}
PLAIN = Normaliser(np.zeros(2), np.ones(2))


def training_of(algorithm='spaars-supe', **changes):
    return load_training('locomotion', **{**SMALL, 'algorithm': algorithm, **changes})


def trainer_of(out, algorithm='spaars-supe', *, steps=200, seed=0, **changes):
    return Trainer('Point', data_of(), training=training_of(algorithm, **changes), seed=seed,
                   out=out, steps=steps, evaluate_every=100, evaluation_episodes=2,
                   make_env=Point)


def data_with(lengths, terminated=()):
    """Return a replay whose observation is (episode, step); the reward is the row's number."""
    replay = Replay(sum(lengths), None, PLAIN, action=1, constraints=0, gamma=0.5, n_step=1,
                    scale=2.0, observation=2)
    row = 0
    for episode, length in enumerate(lengths):
        observations = np.stack([np.full(length + 1, episode), np.arange(length + 1)], 1)
        replay.add_episode(observations, np.arange(length)[:, None] / 10.0,
                           episode in terminated, rewards=np.arange(row, row + length))
        row += length
    return replay


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return a finished run of spaars-supe."""
    torch.manual_seed(0)
    trainer = trainer_of(tmp_path_factory.mktemp('whole'))
    trainer.summary_of_run = trainer.run()
    return trainer


# Chunks

def test_no_chunk_reaches_over_an_episodes_end():
    chunks = Chunks(data_with([1, 4, 3, 6, 1]), 4, discount=0.5)
    assert chunks.starts.tolist() == [1, 8, 9, 10]
    observations, _ = chunks.windows(np.arange(4))
    assert (observations[:, :, 0] == observations[:, :1, 0]).all()
    assert (observations[:, 1:, 1] - observations[:, :-1, 1] == 1.0).all()


def test_data_without_any_whole_chunk_are_refused_by_their_longest_episode():
    with pytest.raises(ValueError, match='skill_length 4.* longest of its episodes has 3'):
        Chunks(data_with([1, 3, 2]), 4, discount=0.5)


def test_a_chunks_reward_is_discounted_and_ends_with_a_true_end_only():
    chunks = Chunks(data_with([2, 3], terminated=[0]), 2, discount=0.9)
    batch = chunks.batch(np.arange(3), np.zeros((3, 1), np.float32))
    assert batch['reward'].tolist() == [2 * 0.5, 2 * (2 + 0.5 * 3), 2 * (3 + 0.5 * 4)]
    assert batch['discount'].tolist() == pytest.approx([0.0, 0.9, 0.9])
    assert batch['next'].tolist() == [[0.0, 2.0], [1.0, 2.0], [1.0, 3.0]]


def test_a_chunks_costs_are_summed_as_its_reward_is():
    replay = Replay(3, None, PLAIN, action=1, constraints=2, gamma=0.5, n_step=1, scale=2.0,
                    observation=2)
    replay.add_episode(np.zeros((4, 2)), np.zeros((3, 1)), False, rewards=np.zeros(3),
                       costs=np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]))
    batch = Chunks(replay, 2, discount=0.9).batch(np.arange(2), np.zeros((2, 1), np.float32))
    assert batch['cost'].tolist() == [[2 * (1 + 0.5 * 3), 0.0], [2 * 3.0, 2 * 0.5 * 5]]


# OPAL

def test_the_likelihood_is_averaged_over_a_chunks_steps_and_summed_over_the_action():
    torch.manual_seed(0)
    skills = SkillLearner(training_of(), 2, 2)
    o, a = torch.randn(5, 4, 2), torch.rand(5, 4, 2)
    torch.manual_seed(1)
    likelihood, kl = opal_loss(skills.encoder, skills.prior, skills.decoder, o, a, 0.1)
    torch.manual_seed(1)
    with torch.no_grad():
        mean, log_std = skills.encoder(o, a)
        z = mean + log_std.exp() * torch.randn_like(mean)
        prior_mean, prior_log_std = (x.numpy() for x in skills.prior(o[:, 0]))
        total = sum(norm.logpdf(a[:, i], skills.decoder.mean(o[:, i], z), skills.decoder.std)
                    .sum(-1).mean() for i in range(4))
    assert likelihood.item() == pytest.approx(-total / 4, rel=1e-5)
    # KL of two Gaussians, value by value.
    m, s = mean.numpy() - prior_mean, np.exp(log_std.numpy() - prior_log_std)
    expected = 0.5 * (s ** 2 + m ** 2 / np.exp(2 * prior_log_std) - 1) - np.log(s)
    assert kl.item() == pytest.approx(0.1 * expected.sum(-1).mean(), rel=1e-4)


def test_a_skill_tells_what_its_chunk_does():
    """Chunks go one of two ways for no reason in their states: only a skill can say which."""
    torch.manual_seed(0)
    skills = SkillLearner(training_of(), 2, 2)
    o, a = torch.randn(64, 4, 2), torch.randn(64, 1, 1).sign().expand(-1, 4, 2) * 0.5
    first = skills.update_opal(o, a)
    for _ in range(250):
        last = skills.update_opal(o, a)
    assert last['likelihood'] < first['likelihood'] - 1.0
    with torch.no_grad():
        z = skills.encoder(o, a)[0][:, None].expand(-1, 4, -1)
        own = (skills.decoder.mean(o, z) - a).square().mean()
        other = (skills.decoder.mean(o, z.roll(1, 0)) - a).square().mean()
    assert own < 0.3 * other


def test_more_values_of_a_skill_than_of_its_actions_are_refused():
    with pytest.raises(ValueError, match='skill_dim 9: has to be at most the 8'):
        SkillLearner(training_of(skill_dim=9), 2, 2)


# The high level

@pytest.mark.parametrize(('kind', 'factor'), [('published', 0.5), ('macro', 0.5 ** 4)])
def test_the_value_after_a_skill_has_the_discount_that_is_asked_for(kind, factor):
    skills = SkillLearner(training_of(skill_discount=kind), 2, 2)
    assert skills.discount == factor
    algorithm = supe_of(skill_discount=kind)
    play(algorithm, 8)
    assert algorithm.memory.draw_online(4)['discount'].tolist() == pytest.approx([factor] * 4)
    assert algorithm.memory.draw_offline(4)['discount'].tolist() == pytest.approx([factor] * 4)


def supe_of(cls=Supe, name='supe', **changes):
    torch.manual_seed(0)
    algorithm = cls(training_of(name, **changes), observation=2, action=2, constraints=0,
                    normaliser=PLAIN, seed=0)
    replay = Replay(60, None, PLAIN, action=2, constraints=0, gamma=0.5, n_step=1, observation=2)
    rng = np.random.default_rng(0)
    for _ in range(3):
        replay.add_episode(rng.uniform(-1, 1, (21, 2)), rng.uniform(-1, 1, (20, 2)), False,
                           rewards=rng.uniform(1, 2, 20))
    algorithm.take_offline(replay)
    return algorithm


def play(algorithm, steps, terminated=False, costs=None):
    """Have an episode of random states; returns the skills and their steps."""
    rng = np.random.default_rng(0)
    seen = rng.uniform(-1.0, 1.0, (steps + 1, 2))
    algorithm.begin_episode()
    choices = [algorithm.choose(o, rng, True) for o in seen[:-1]]
    taken = list(algorithm._taken)
    algorithm.take_episode(Episode(
        seen, np.asarray([c.action for c in choices]), -np.arange(1.0, steps + 1),
        np.zeros((steps, 0)) if costs is None else costs,
        np.asarray([c.mode for c in choices]), terminated))
    return np.asarray([z for z, _ in taken]), [step for _, step in taken]


def test_a_skill_is_held_for_its_length_and_begun_anew_with_an_episode():
    algorithm = supe_of()
    skills, steps = play(algorithm, 6)
    assert steps == [0, 1, 2, 3, 0, 1]
    assert (skills[:4] == skills[0]).all() and (skills[4:] == skills[4]).all()
    assert (skills[0] != skills[4]).all()
    # The second skill was not over: it must not reach into the next episode, nor an evaluation.
    algorithm.begin_episode()
    algorithm.choose(np.zeros(2), np.random.default_rng(0), False)
    assert algorithm._step == 1
    assert (algorithm._skill == algorithm.skills.skill(torch.zeros(1, 2))).all()


def test_an_episode_that_ends_within_a_skill_is_stored_to_its_end():
    algorithm = supe_of()
    skills, _ = play(algorithm, 6, terminated=True)
    stored = algorithm.memory.online.arrays()
    assert stored['action'] == pytest.approx(squash(skills[[0, 4]]))
    assert stored['reward'] == pytest.approx([-(1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 4),
                                              -(5 + 0.5 * 6)])
    assert stored['terminated'].tolist() == [False, True]


def test_relabelling_changes_the_offline_rewards_alone():
    online = Batch({'observation': torch.randn(3, 2), 'action': torch.randn(3, 2),
                    'reward': torch.ones(3), 'cost': torch.zeros(3, 0),
                    'next': torch.randn(3, 2), 'discount': torch.full((3,), 0.5)})
    offline = Batch({**online, 'reward': torch.full((3,), 7.0)})
    found = {}
    for kind in ('none', 'min', 'pred'):
        torch.manual_seed(0)
        skills = SkillLearner(training_of(skill_relabel=kind, rnd_weight=0.0), 2, 2)
        for _ in range(300):
            skills.update_models(online)
        batch = skills.optimistic(online, offline, -9.0)
        assert batch['reward'][:3].tolist() == [1.0] * 3
        assert batch['discount'][:3].tolist() == [0.5] * 3
        found[kind] = batch['reward'][3:]
    assert found['none'].tolist() == [7.0] * 3
    assert found['min'].tolist() == [-9.0] * 3
    assert found['pred'].tolist() == pytest.approx([1.0] * 3, abs=0.1)


@pytest.mark.parametrize(('price', 'least', 'most'), [(0.0, 0.3, 1.0), (5.0, -1.0, -0.3)])
def test_the_high_level_leaves_a_skill_that_pays_when_its_cost_is_weighed(price, least, most):
    """Skills of u_0 > 0 pay 1 and cost 1; the others have neither."""
    torch.manual_seed(0)
    multipliers = torch.zeros(1)
    skills = SkillLearner(training_of(skill_relabel='none', rnd_weight=0.0, gamma=0.5,
                                      learning_rate=3e-3), 2, 2, multipliers)
    skills.set_learning_rate(3e-3)
    multipliers.fill_(price)
    for _ in range(400):
        u = torch.rand(64, skills.training_file.skill_dim) * 2 - 1
        pays = (u[:, 0] > 0).float()
        batch = Batch({'observation': torch.zeros(64, 2), 'action': u, 'reward': pays,
                       'cost': pays[:, None], 'next': torch.zeros(64, 2),
                       'discount': torch.zeros(64)})
        skills.update_sac(batch, batch, 0.0, climb=True)
    with torch.no_grad():
        chosen = float(torch.tanh(skills.policy(torch.zeros(1, 2))[0])[0, 0])
    assert least < chosen < most


def test_an_executed_skill_is_stored_with_its_costs_and_lambda_comes_back():
    algorithm = Supe(training_of('supe'), observation=2, action=2, constraints=1,
                     normaliser=PLAIN, seed=0)
    replay = Replay(20, None, PLAIN, action=2, constraints=1, gamma=0.5, n_step=1, observation=2)
    replay.add_episode(np.zeros((21, 2)), np.zeros((20, 2)), False, rewards=np.zeros(20),
                       costs=np.zeros((20, 1)))
    algorithm.take_offline(replay)
    play(algorithm, 6, costs=np.arange(6.0)[:, None])
    assert algorithm.memory.online.arrays()['cost'].tolist() == [
        [1 * 0.5 + 2 * 0.25 + 3 * 0.125], [4 + 5 * 0.5]]
    algorithm.set_multipliers(np.array([0.25]))
    other = Supe(training_of('supe'), observation=2, action=2, constraints=1, normaliser=PLAIN,
                 seed=1)
    other.load_state(algorithm.state())
    assert other.skills.multipliers.tolist() == [0.25]
    with pytest.raises(ValueError, match='multipliers'):
        algorithm.set_multipliers(np.array([-1.0]))


def test_both_levels_of_spaars_supe_have_one_lambda():
    algorithm = SpaarsSupe(training_of(), observation=2, action=2, constraints=1,
                           normaliser=PLAIN, seed=0)
    algorithm.set_multipliers(np.array([0.5]))
    assert algorithm.agent.multipliers.tolist() == [0.5] == algorithm.skills.multipliers.tolist()


def test_the_novelty_bonus_falls_with_visits_and_is_in_scaled_reward():
    algorithm = supe_of(reward_scale=0.5, rnd_weight=4.0)
    play(algorithm, 20)
    algorithm.updates = 1  # the warm-up is over
    batch = algorithm.memory.draw_online(16)
    before = algorithm.skills.bonus(batch)
    novelty = algorithm.skills.rnd.novelty(torch.cat([batch['observation'], batch['action']], -1))
    assert torch.allclose(before, 2.0 * novelty)
    for _ in range(20):
        play(algorithm, 20)
    assert algorithm.skills.bonus(batch).mean() < 0.7 * before.mean()


def test_exploration_begins_with_the_prior_and_goes_on_with_the_policy():
    algorithm, o = supe_of(), torch.zeros(1, 2)
    with torch.no_grad():
        algorithm.skills.prior.net.layers[-1].bias += 3.0
    early = np.mean([play(algorithm, 1)[0] for _ in range(8)])
    algorithm.updates = 1
    assert early > np.mean([play(algorithm, 1)[0] for _ in range(8)]) + 1.0
    algorithm.skills.policy.net.layers[-1].bias.data += 100.0
    assert (algorithm.skills.skill(o) == np.float32(BOUND)).all()


# The gate within a skill

def test_where_raw_wins_within_a_skill_the_rest_is_gated_by_step_and_encoded_again(trained):
    algorithm = trained.algorithm
    boxes = ActionScaler.of('Point', trained.env)
    rng = np.random.default_rng(0)
    mixed = 0
    for seed in range(6):
        episode = Rollout(trained.env.reset(seed=seed)[0].copy(), trained._online)
        algorithm.begin_episode()
        while not episode.done:
            choice = algorithm.choose(episode.observations[-1], rng, True)
            episode.add(choice, step_environment(trained.env, boxes.physical(choice.action)))
        skills = np.asarray([skill for skill, _ in algorithm._taken])
        steps = np.asarray([step for _, step in algorithm._taken])
        modes = np.asarray(episode.modes)
        assert steps.tolist() == list(range(4)) * 5  # the skill's clock goes on below raw actions
        algorithm.take_episode(Episode(
            np.asarray(episode.observations), np.asarray(episode.actions),
            np.asarray(episode.rewards), np.asarray(episode.costs), modes, False))
        stored = algorithm.memory.online.arrays()['action'][-5:]
        for number in range(5):
            part = slice(4 * number, 4 * number + 4)
            raw = modes[part] == Mode.RAW
            mixed += 0 < raw.sum() < 4
            wanted = skills[4 * number]
            if raw.any():
                o = algorithm.normaliser(np.asarray(episode.observations, np.float32)[part])
                a = np.asarray(episode.actions, np.float32)[part]
                with torch.no_grad():
                    wanted = algorithm.skills.encoder(
                        torch.from_numpy(o)[None], torch.from_numpy(a)[None])[0][0].numpy()
                assert np.abs(squash(wanted) - squash(skills[4 * number])).max() > 1e-3
            assert stored[number] == pytest.approx(squash(wanted), abs=1e-5)
    assert mixed > 0


def test_a_raw_chunk_that_the_episodes_end_cuts_is_filled_with_its_last_step():
    got = []

    def encode(observations, actions):
        got.append((observations, actions))
        return np.full((len(actions), 1), 5.0, np.float32)
    macros = macro_transitions(
        np.arange(7.0)[:, None], np.arange(6.0)[:, None], np.ones(6), np.arange(6.0)[:, None],
        np.zeros((6, 1)), np.array([0, 1, 2, 3, 0, 1]),
        np.array([Mode.LATENT] * 5 + [Mode.RAW]), True, length=4, gamma=0.5, encode=encode)
    assert got[0][0][0, :, 0].tolist() == [4, 5, 5, 5] == got[0][1][0, :, 0].tolist()
    assert macros.skills.tolist() == [[0.0], [5.0]]
    assert macros.costs.tolist() == [[1 * 0.5 + 2 * 0.25 + 3 * 0.125], [4 + 5 * 0.5]]
    assert macros.lengths.tolist() == [4, 2] and macros.encoded.tolist() == [False, True]


@pytest.mark.parametrize('steps', [[0, 1, 3, 0], [0, 1, 0, 1], [0, 1, 2, 2]])
def test_records_with_a_gap_in_a_skill_are_refused(steps):
    with pytest.raises(ValueError, match=r'skill_step \[0, 1'):
        macro_transitions(np.zeros((5, 1)), np.zeros((4, 1)), np.zeros(4), np.zeros((4, 0)),
                          np.zeros((4, 1)), np.array(steps), np.zeros(4), False, length=3,
                          gamma=0.5, encode=lambda o, a: np.zeros((len(a), 1), np.float32))


def test_steps_before_the_first_begun_skill_are_left_out():
    macros = macro_transitions(
        np.arange(6.0)[:, None], np.zeros((5, 1)), np.ones(5), np.zeros((5, 0)),
        np.zeros((5, 1)), np.array([2, 0, 1, 2, 0]), np.zeros(5), False, length=3, gamma=1.0,
        encode=lambda o, a: np.zeros((len(a), 1), np.float32))
    assert macros.observations[:, 0].tolist() == [1.0, 4.0, 5.0]
    assert macros.rewards.tolist() == [3.0, 1.0]


def test_spaars_supe_without_its_skills_is_refused():
    with pytest.raises(ValueError, match='mode raw-only'):
        supe_of(SpaarsSupe, 'spaars-supe', mode='raw-only')


# Runs

def test_the_high_level_goes_on_from_the_policy_that_iql_left(trained):
    algorithm = supe_of(SpaarsSupe, 'spaars-supe')
    fresh = [p.clone() for p in algorithm.skills.policy.parameters()]
    batch = algorithm.memory.draw_offline(8)
    for step in (120, 239):
        algorithm.update_offline(Batch({
            **batch, 'action': torch.rand(8, 2), 'cost': torch.zeros(8, 0)}), step)
    left = [p.clone() for p in algorithm.skills.policy.parameters()]
    algorithm.begin_online()
    assert all(torch.equal(a, b) for a, b in zip(left, algorithm.skills.policy.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(left, algorithm.skills.anchor.parameters()))
    assert not torch.equal(left[0], fresh[0])


def test_the_gate_lifts_the_return(trained):
    curve = trained.summary_of_run['curve']
    assert curve[-1]['raw_share_evaluated'] > 0.0
    assert curve[-1]['return_mean'] > curve[0]['return_mean']


def test_a_control_episode_of_skills_has_no_raw_action(trained):
    algorithm = supe_of(SpaarsSupe, 'spaars-supe', trials=0.5, explore_kappa=-1e6)
    algorithm.agent.gated = True
    state, rng = np.full(2, 0.3), np.random.default_rng(0)
    for control in (True, False):
        algorithm.curriculum.trials.control = control
        chosen = algorithm.choose(state, rng, True).mode
        assert chosen == (Mode.LATENT if control else Mode.RAW)


@pytest.mark.parametrize(('algorithm', 'when'), [
    ('spaars-supe', 'offline 260/260'), ('spaars-supe', '100 steps'), ('supe', '100 steps')])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, trained, algorithm, when):
    whole = trained.summary_of_run
    if algorithm == 'supe':
        whole = trainer_of(tmp_path / 'whole', algorithm).run()

    def interrupt(line):
        if line.startswith(when):
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path / 'cut', algorithm).run(say=interrupt)
    rest = trainer_of(tmp_path / 'cut', algorithm).run()
    assert without_times(rest['curve']) == without_times(whole['curve'])
    assert whole['curve'][-1]['skills'] == 50


def test_the_ablation_without_the_gate_never_takes_raw(tmp_path):
    trainer = trainer_of(tmp_path, steps=80, skill_iql_steps=10, mode='latent-only')
    assert trainer.run()['curve'][-1]['raw_share_evaluated'] == 0.0
