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

"""The champion: what is deployed is the version with the best record, and nothing is lost."""

import json

import numpy as np
import pytest
from test_trainer import trainer_of

from spaars_ros.data.schema import Mode
from spaars_ros.learning.core.champion import Champion
from spaars_ros.learning.core.champion import LEAST
from spaars_ros.learning.core.champion import MOST
from spaars_ros.learning.core.champion import Verdict
from spaars_ros.learning.online.contenders import Contenders
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

NONE = np.zeros(0)


def play(champion, qualities, episodes=MOST * 4, seed=0):
    """Let versions act in turn, each earning what it is worth; return the last verdict."""
    rng = np.random.default_rng(seed)
    for _ in range(episodes):
        verdict = champion.take(champion.acts, qualities[champion.acts] + rng.normal(), (), NONE)
        if verdict is not Verdict.OPEN:
            return verdict
    return Verdict.OPEN


def with_record(quality=0.0):
    champion = Champion(0.5)
    play(champion, {0: quality}, episodes=6)
    return champion


def test_a_challenger_that_earns_more_is_the_champion():
    champion = with_record()
    number = champion.challenge()
    assert play(champion, {0: 0.0, number: 3.0}) is Verdict.PROMOTED
    assert champion.champion == champion.acts == number and champion.episodes(number) >= LEAST


def test_a_challenger_that_earns_less_is_taken_back():
    champion = with_record()
    number = champion.challenge()
    assert play(champion, {0: 0.0, number: -3.0}) is Verdict.TAKEN_BACK
    assert champion.champion == champion.acts == 0 and champion.episodes(number) == 0


def test_one_that_is_as_good_does_not_replace_it():
    """Equal returns to the last digit: the champion stays, though nothing speaks against it."""
    champion = Champion(0.5)
    for _ in range(LEAST):
        champion.take(0, -150.0, (), NONE)
    champion.challenge()
    verdicts = [champion.take(champion.acts, -150.0, (), NONE) for _ in range(MOST * 3)]
    assert Verdict.TAKEN_BACK in verdicts and Verdict.PROMOTED not in verdicts


def test_a_champion_without_a_record_is_not_challenged():
    champion = Champion(0.5)
    champion.take(0, 1.0, (), NONE)
    assert not champion.ready
    play(champion, {0: 0.0}, episodes=LEAST)
    assert champion.ready


@pytest.mark.parametrize('share', [0.25, 0.5])
def test_a_challenger_acts_in_no_more_than_its_share_and_a_block(share):
    champion = Champion(share)
    play(champion, {0: 0.0}, episodes=6)
    number, acted = champion.challenge(), []
    for step in range(12):
        acted.append(champion.acts == number)
        if champion.take(champion.acts, float(step % 3), (), NONE) is not Verdict.OPEN:
            break
        assert sum(acted) <= share * len(acted) + 2
    assert any(acted) and not all(acted)


def test_what_costs_counts_by_the_multiplier_of_now():
    """The challenger earns more and costs more: what lambda is decides."""
    for multiplier, verdict in ((0.0, Verdict.PROMOTED), (2.0, Verdict.TAKEN_BACK)):
        champion, rng = Champion(0.5), np.random.default_rng(0)
        for _ in range(6):
            champion.take(0, rng.normal(), (1.0,), np.zeros(1))
        number, found = champion.challenge(), Verdict.OPEN
        while found is Verdict.OPEN:
            mine = champion.acts == number
            found = champion.take(champion.acts, 4.0 * mine + rng.normal(),
                                  (1.0 + 8.0 * mine,), np.array([multiplier]))
        assert found is verdict


def test_an_episode_of_a_version_that_is_gone_says_nothing():
    champion = with_record()
    number = champion.challenge()
    play(champion, {0: 0.0, number: -3.0})
    before = champion.state()
    assert champion.take(number, 1000.0, (), NONE) is Verdict.OPEN
    assert champion.state() == before


def test_a_contest_goes_on_where_it_was():
    one = with_record()
    one.challenge()
    one.take(one.acts, 1.0, (), NONE)
    other = Champion(0.5)
    other.restore(one.state())
    assert other.state() == one.state()
    qualities = {0: 0.0, 1: 1.0}
    assert play(one, qualities) is play(other, qualities) and one.state() == other.state()


def test_a_learner_that_gets_worse_does_not_take_what_is_deployed_with_it():
    """Versions worse and worse: the mean of what is deployed stays near the first one's."""
    rng, ends = np.random.default_rng(0), []
    for _ in range(20):
        champion, qualities = Champion(0.5), {0: 0.0}
        for episode in range(100):
            if champion.ready:
                qualities[champion.challenge()] = -0.03 * episode
            champion.take(champion.acts, qualities[champion.acts] + rng.normal(), (), NONE)
        ends.append(qualities[champion.champion])
    assert np.mean(ends) > -0.5  # the learner ends at -3


def test_champion_and_control_episodes_are_not_asked_for_both():
    with pytest.raises(ConfigError, match='champion 0.5 and trials 0.2'):
        load_training('spaars', champion=0.5, trials=0.2)


# In the trainer

CONTEST = {'champion': 0.5, 'trials': 0.0, 'push_every': 40}


def spoiled(trainer):
    """Have every update ruin the policies, as a learner that has gone wrong does."""
    algorithm = trainer.algorithm
    update = algorithm.update_online

    def ruin(batch, online):
        losses = update(batch, online)
        for policy in (algorithm.agent.latent_policy, algorithm.agent.raw_policy):
            for parameter in policy.parameters():
                parameter.data.fill_(3.0)
        return losses
    algorithm.update_online = ruin
    return trainer


def test_what_is_evaluated_does_not_fall_with_a_learner_that_goes_wrong(tmp_path):
    kept = spoiled(trainer_of(tmp_path / 'a', **CONTEST)).run()
    lost = spoiled(trainer_of(tmp_path / 'b', **{**CONTEST, 'champion': 0.0})).run()
    first = kept['curve'][0]['return_mean']
    assert [row['return_mean'] for row in kept['curve'] if row['steps']] \
        == pytest.approx([first] * (len(kept['curve']) - 1))
    assert lost['curve'][-1]['return_mean'] < first - 5.0


def test_training_episodes_say_which_version_acted(tmp_path):
    trainer_of(tmp_path, **CONTEST).run()
    versions = [json.loads(line)['version']
                for line in (tmp_path / 'episodes.jsonl').read_text().splitlines()]
    assert versions[0] == 0 and len(set(versions)) > 1


def test_an_interrupted_contest_ends_as_one_that_was_not(tmp_path):
    whole = trainer_of(tmp_path / 'whole', **CONTEST).run()
    trainer_of(tmp_path / 'parts', steps=300, **CONTEST).run()
    parts = trainer_of(tmp_path / 'parts', **CONTEST).run()
    assert [row['return_mean'] for row in parts['curve']][-1] \
        == [row['return_mean'] for row in whole['curve']][-1]
    assert (tmp_path / 'parts/episodes.jsonl').read_text() \
        == (tmp_path / 'whole/episodes.jsonl').read_text()


# On the robot: bundles in place of weights

SMALL = {'width': 16, 'heads': 2, 'batch': 32, 'warmup_steps': 60, 'critic_steps': 0, 'utd': 0.1,
         'champion': 0.5, 'push_every': 30, 'weight_average': 0.0}


@pytest.fixture(scope='module')
def arm():
    robot = load_robot()
    settings = load_task('reach').model_copy(update={'horizon': 30})
    return robot, ReachTask(robot, settings), collect(robot, settings, episodes=2, seed=0)


def tuner_of(arm, **changes):
    robot, task, data = arm
    training = load_training('spaars', **{**SMALL, **changes})
    bundle = untrained_bundle(robot, task, training)
    return bundle, FineTuner(bundle, robot=robot, task=task, training=training, seed=0,
                             demonstrations=data)


def run(arm, bundle, tuner, episodes, sequence=0):
    """Do what arm and learner do; return records."""
    robot, task, _ = arm
    rollouts = Rollouts(PolicyRuntime(bundle), robot, task, seed=0, explore=True)
    kept, fields, rng = [], tuner.schema.fields, np.random.default_rng(0)
    for _ in range(episodes):
        rows = rollouts.episode()
        rows[:, fields['sequence']] = sequence + np.arange(len(rows))[:, None]
        sequence += len(rows)
        if tuner.acting.contenders is not None:  # what was learned earns less, whoever says so
            worse = tuner.acting.contenders.champion.acts > 0
            rows[:, fields['reward_given']] = 1.0
            rows[:, fields['reward']] = rng.normal() - 9.0 * worse
        kept.append(rows)
        for row in rows:
            tuner.add(row)
        while tuner.updates_owed:
            tuner.update()
        while tuner.bundle_due:
            rollouts.loop.swap(PolicyRuntime(tuner.export()))
    return kept


def versions_of(tuner, kept):
    return [int(tuner.schema.get(rows[0], 'bundle_version')) for rows in kept]


def test_the_learner_pushes_the_champion_again_after_a_challenger_that_is_worse(arm):
    bundle, tuner = tuner_of(arm)
    kept = run(arm, bundle, tuner, 24)
    versions = versions_of(tuner, kept)
    assert versions == sorted(versions) and len(set(versions)) > 3
    champion = tuner.acting.contenders.champion
    assert champion.champion == 0 and champion.state()['newest'] > 1
    deployed = tuner.deployed()
    assert deployed.graphs == bundle.graphs
    assert deployed.manifest.version > versions[-1]


def test_a_checkpoint_acts_as_the_champion_and_goes_on_with_the_contest(arm, tmp_path):
    bundle, tuner = tuner_of(arm)
    run(arm, bundle, tuner, 7)
    tuner.save(tmp_path / 'checkpoint.spaars')
    saved = load_bundle(tmp_path / 'checkpoint.spaars')
    assert saved.graphs == bundle.graphs
    _, other = tuner_of(arm)
    other.restore(saved)
    mine, old = other.acting.contenders.champion, tuner.acting.contenders.champion
    assert mine.episodes(0) == old.episodes(0) >= 3 and mine.challenger == -1
    assert other.deployed().graphs == bundle.graphs


def test_without_a_champion_what_was_learned_last_is_pushed(arm):
    bundle, tuner = tuner_of(arm, champion=0.0)
    run(arm, bundle, tuner, 5)
    assert tuner.acting.contenders is None and tuner.deployed().graphs != bundle.graphs


def test_an_episode_of_a_person_or_of_two_versions_counts_for_nobody(arm):
    bundle, tuner = tuner_of(arm)
    rows = Rollouts(PolicyRuntime(bundle), *arm[:2], seed=0, explore=True).episode()
    spent = np.zeros((len(rows) - 1, 1))

    def counted(rows):
        contenders = Contenders(bundle, tuner.schema, 0.5)
        contenders.take(rows, spent[:, 0], spent, np.zeros(1))
        return contenders.champion.episodes(0)
    by_person, by_two, late = rows.copy(), rows.copy(), rows.copy()
    by_person[5:9, tuner.schema.fields['mode']] = Mode.HUMAN
    by_two[:15, tuner.schema.fields['bundle_version']] = 7
    late[:4, tuner.schema.fields['bundle_version']] = 7
    assert [counted(each) for each in (rows, by_person, by_two, late)] == [1, 0, 0, 1]
