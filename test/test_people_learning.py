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

"""What is learned from a person's steps and labels, and what is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spaars_ros.constraints.costs import EpisodeCosts
from spaars_ros.data.dataset_steps import dataset_from_rows
from spaars_ros.data.labels import apply_labels
from spaars_ros.data.labels import LabelError
from spaars_ros.data.labels import read_labels
from spaars_ros.data.labels import TOPIC
from spaars_ros.data.labels import write_labels
from spaars_ros.data.recorder import TransitionRecorder
from spaars_ros.data.recording import read_steps
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.seams import learnable_parts
from spaars_ros.learning.algorithms.spaars.spaars_networks import SpaarsAgent
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.nodes.learner.member import Member
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import Constraint
from spaars_ros.robot.config import load_robot
from spaars_ros.run.recorded import lessons_of
from spaars_ros.run.report import write_report
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.scoring import episodes_from_steps
from spaars_ros.training_file import load_training

ROBOT = load_robot()
SETTINGS = load_task('reach').model_copy(update={'horizon': 30})
TASK = ReachTask(ROBOT, SETTINGS)
SMALL = {'width': 16, 'heads': 2, 'batch': 32, 'warmup_steps': 10, 'critic_steps': 5,
         'correction_weight': 1.0}


def tuner_and_rows(algorithm: str = 'spaars') -> tuple[FineTuner, StepSchema, Any]:
    """Return a fine-tuner, and an episode of its policy in which a person acted in the middle."""
    training = load_training(algorithm, **SMALL)
    bundle = untrained_bundle(ROBOT, TASK, training)
    tuner = FineTuner(bundle, robot=ROBOT, task=TASK, training=training, seed=0,
                      demonstrations=collect(ROBOT, SETTINGS, episodes=2, seed=0))
    rows = Rollouts(PolicyRuntime(bundle), ROBOT, TASK, seed=0, explore=True).episode()
    rows[10:20, tuner.schema.fields['mode']] = Mode.HUMAN
    rows[10:20, tuner.schema.fields['skill_step']] = 0
    rows[:, tuner.schema.fields['sequence']] = np.arange(len(rows))[:, None]
    return tuner, tuner.schema, rows


def feed(tuner: FineTuner, rows: Any) -> None:
    for row in rows:
        tuner.add(row)


def with_modes(*modes: int, flag: Flag = Flag.TRUNCATED, outcome: int = 0) -> tuple[Any, Any]:
    schema = StepSchema(observation=1, latent=1, action=1)
    last = len(modes)
    return schema, np.stack([schema.row(
        sequence=k, index=k, stamp=k * 0.1, observation=k, action=0.1 * k,
        mode=modes[k] if k < last else Mode.NONE, flag=flag if k == last else 0,
        outcome=outcome if k == last else 0) for k in range(last + 1)])


def test_an_episode_is_cut_where_a_person_takes_over_and_gives_back() -> None:
    schema, rows = with_modes(0, 1, 3, 3, 0, 2, 2, 3)
    assert learnable_parts(schema, rows) == [
        slice(0, 2), slice(2, 4), slice(4, 5), slice(7, 8)]


def test_a_persons_steps_are_in_the_online_replay_and_in_the_demonstrations() -> None:
    tuner, schema, rows = tuner_and_rows()
    before = tuner._offline.size
    feed(tuner, rows)
    assert tuner._online.size == len(rows) - 1
    assert tuner._offline.size == before + 10 and tuner.taught == 10
    added = tuner._offline.arrays()['action'][-10:]
    assert added == pytest.approx(schema.get(rows, 'action')[10:20], abs=1e-6)
    assert tuner.out_of_reach > 0.0 and tuner.progress()['out_of_reach'] == tuner.out_of_reach
    # No return goes on beyond a seam.
    after = tuner._online.arrays()['after']
    assert after[:20].tolist() == [*range(9, -1, -1), *range(9, -1, -1)]


@pytest.mark.parametrize('algorithm', ['spaars', 'spaars-supe', 'spar'])
def test_every_algorithm_learns_from_an_episode_with_a_person_in_it(algorithm: str) -> None:
    tuner, _, rows = tuner_and_rows(algorithm)
    feed(tuner, rows)
    assert tuner.updates_owed > 0
    assert np.isfinite(tuner.update()['critic'])


def test_a_discarded_episode_is_taken_out_of_both_replays() -> None:
    tuner, schema, rows = tuner_and_rows()
    before = tuner._offline.size
    feed(tuner, rows)
    again = rows.copy()
    again[:, schema.fields['episode']] = 1
    again[:, schema.fields['sequence']] += len(rows)
    feed(tuner, again)
    assert tuner.judge(0, Outcome.DISCARDED)
    assert tuner._online.size == len(rows) - 1 and tuner._offline.size == before + 10
    kept = tuner._online.arrays()['observation']
    assert kept == pytest.approx(schema.get(again, 'observation')[:-1].astype(np.float32))
    assert not tuner.judge(0, Outcome.DISCARDED), 'it is gone already'


def test_a_label_after_the_end_says_that_nothing_follows() -> None:
    tuner, _, rows = tuner_and_rows()
    feed(tuner, rows)
    assert not tuner._online.arrays()['terminated'].any()
    assert tuner.judge(0, Outcome.SUCCESS)
    assert np.flatnonzero(tuner._online.arrays()['terminated']).tolist() == [len(rows) - 2]


def test_a_label_that_comes_before_the_last_step_waits_for_it() -> None:
    tuner, _, rows = tuner_and_rows()
    feed(tuner, rows[:-1])
    assert not tuner.judge(0, Outcome.DISCARDED)
    feed(tuner, rows[-1:])
    assert tuner._online.size == 0


def test_takeovers_cost_what_a_constraint_says() -> None:
    constraint = Constraint(name='help', terms=['takeover'], limit=3)
    robot = ROBOT.model_copy(update={'constraints': [constraint]})
    task = ReachTask(robot, SETTINGS)
    costs = EpisodeCosts(task, robot.constraints)
    modes = [0, 0, 3, 3, 3, 0, 0]
    found = [costs.add(sequence=k, episode=0, index=k, flag=0, mode=mode, effort=np.zeros(7),
                       observation=np.zeros(TASK.observation_dim))
             for k, mode in enumerate(modes)]
    assert [each.step.tolist() for each in found] == [[0], [0], [0], [1], [1], [1], [0]]
    assert found[-1].total.tolist() == [3]


def test_takeovers_are_counted_for_the_report() -> None:
    _, schema, rows = tuner_and_rows()
    rows[25:27, schema.fields['mode']] = Mode.HUMAN
    scored = episodes_from_steps(schema, rows, TASK)[0]
    assert scored['takeovers'] == 2
    assert scored['human_share'] == pytest.approx(12 / (len(rows) - 1))


def test_pauses_and_discarded_episodes_are_no_demonstrations() -> None:
    schema, rows = with_modes(3, 3, 2, 2, 3, 3, 2, 2, flag=Flag.PERSON, outcome=Outcome.SUCCESS)
    other = rows.copy()
    other[:, schema.fields['episode']] = 1
    other[:, schema.fields['sequence']] += len(rows)
    other[-1, schema.fields['outcome']] = Outcome.DISCARDED
    data = dataset_from_rows(schema, np.concatenate([rows, other]))
    assert data.observations[:, 0].tolist() == [0, 1, 4, 5]
    assert data.episode.tolist() == [0, 0, 1, 1]
    # It was judged in a pause: nothing follows the last thing that the person did.
    assert data.terminations.tolist() == [False, False, False, True]
    assert data.truncations.tolist() == [False, True, False, False]


def test_what_a_person_only_broke_off_bootstraps() -> None:
    schema, rows = with_modes(3, 3, flag=Flag.PERSON)
    assert not dataset_from_rows(schema, rows).terminations.any()


def test_a_recorded_label_is_in_the_steps_that_are_read(tmp_path: Path) -> None:
    schema, rows = with_modes(0, 0, 0)
    recorder = TransitionRecorder(tmp_path / 'a.mcap', schema)
    for row in rows:
        recorder.write_step(row)
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE):
        recorder.write(TOPIC, {'episode': 0, 'outcome': outcome}, 10**9)
    recorder.write(TOPIC, {'episode': 7, 'outcome': 1}, 10**9)
    recorder.close()
    _, read = read_steps(tmp_path / 'a.mcap')
    assert schema.get(read, 'outcome').tolist() == [0, 0, 0, Outcome.FAILURE]


def test_labels_survive_in_the_run_folder(tmp_path: Path) -> None:
    assert read_labels(tmp_path) == {}
    write_labels(tmp_path, {3: Outcome.DISCARDED, 1: Outcome.SUCCESS})
    assert read_labels(tmp_path) == {1: Outcome.SUCCESS, 3: Outcome.DISCARDED}


@pytest.mark.parametrize('text', ['[]', '{"1": "well done"}', '{"-1": "success"}', '{', '{"1": 5}',
                                  '[' * 5000])
def test_a_file_of_labels_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / 'labels.json').write_text(text)
    with pytest.raises(LabelError, match='labels.json'):
        read_labels(tmp_path)


def test_a_running_episode_has_no_outcome() -> None:
    schema, rows = with_modes(0, 0)
    assert not schema.get(apply_labels(schema, rows[:-1], {0: Outcome.SUCCESS}), 'outcome').any()


# Cloning a person


def agent_of(**changes: Any) -> SpaarsAgent:
    torch.manual_seed(0)
    made = SpaarsAgent(load_training('spaars', **{
        'width': 16, 'heads': 3, 'correction_weight': 1.0, **changes}), 4, 2, 1)
    made.multipliers[:] = 0.3
    return made


def test_only_what_the_critic_puts_above_the_policys_own_action_is_cloned() -> None:
    agent = agent_of()
    o, shown = torch.randn(64, 4), torch.rand(64, 2) * 2 - 1
    own = (torch.rand(64, 2) * 2 - 1).requires_grad_()
    agent.clone(o, own, shown).backward()
    with torch.no_grad():
        def value(action: Any) -> Any:
            heads = agent.critic(o, action)
            return ((heads[..., 0] - 0.3 * heads[..., 1]) / 1.3).mean(0)
        better = value(shown) > value(own)
    assert 5 < better.sum() < 59
    pulled = own.grad.abs().sum(-1) > 0
    assert pulled.tolist() == better.tolist()
    towards = ((shown - own) * -own.grad).sum(-1)
    assert (towards[better] > 0).all()


def test_raw_clones_what_it_can_do_within_its_trust_box() -> None:
    agent = agent_of()
    agent.trust = 0.1
    agent.gated = True
    o, shown = torch.randn(32, 4), torch.ones(32, 2)
    near = agent.near(o)
    with torch.no_grad():
        inside = agent.trusted(shown, near)
    with torch.enable_grad():
        loss = agent._clone_raw((o, shown), agent.limits(), free=False)
        wanted = agent.clone(o, agent.raw_policy(o), inside)
    assert loss.item() == pytest.approx(wanted.item())
    assert float((inside - near).abs().max()) <= 0.1 + 1e-6


@pytest.mark.parametrize('gated', [False, True])
def test_a_persons_steps_move_the_policies_towards_them(gated: bool) -> None:
    """Cloned in every update; without the weight nothing but the values moves them."""
    moved = {}
    for weight in (0.0, 50.0):
        agent = agent_of(correction_weight=weight, anchor=0.0, raw_bc=0.0)
        agent.gated, agent.trust = gated, 2.0
        o, shown = torch.randn(64, 4), torch.rand(64, 2) * 2 - 1
        batch = Batch({'observation': torch.randn(64, 4)})
        if weight:
            agent.corrections = (o, shown)
        for _ in range(150):
            agent.update_policies(batch)
        with torch.no_grad():
            for name, action, target in (
                    ('latent', agent.latent_action(o), agent.reconstruct(o, shown)),
                    ('raw', agent.raw_policy(o), shown)):
                moved[name, weight] = float((action - target).norm(dim=-1).mean())
    assert moved['latent', 50.0] < moved['latent', 0.0]
    if gated:
        assert moved['raw', 50.0] < moved['raw', 0.0]


def test_updates_are_given_a_persons_steps_once_there_are_any() -> None:
    tuner, _, rows = tuner_and_rows()
    plain = rows.copy()
    plain[:, tuner.schema.fields['mode']] = Mode.LATENT
    feed(tuner, plain)
    tuner.update()
    agent = tuner.agent
    assert isinstance(agent, SpaarsAgent) and not agent.corrections
    again = rows.copy()
    again[:, tuner.schema.fields['episode']] = 1
    again[:, tuner.schema.fields['sequence']] += len(rows)
    feed(tuner, again)
    while tuner.updates_owed:
        tuner.update()
    o, shown = agent.corrections
    taught = tuner._offline.arrays()['action'][-10:]
    assert len(shown) == tuner.training.batch // 4
    assert all(any(np.allclose(one, other) for other in taught) for one in shown.numpy())
    assert o.shape[1] == TASK.observation_dim
    assert 'fit_policies-corrected=True-gated=False' in agent.called


def test_what_the_decoder_cannot_make_is_recorded_by_episode_and_drawn(tmp_path: Path) -> None:
    tuner, schema, rows = tuner_and_rows()
    feed(tuner, rows)
    assert [lesson[:3] for lesson in tuner.lessons] == [('', 0, 10)]
    member = Member('', tmp_path, schema)
    for row in rows:
        member.recorder.write_step(row)
    member.store_lesson(*tuner.lessons[0][1:])
    member.store_lesson(0, 10, tuner.out_of_reach + 0.2)
    member.store_lesson(3, 4, float('nan'))
    member.recorder.close()
    found = lessons_of(tmp_path / 'transitions.mcap')
    assert found == {0: pytest.approx(tuner.out_of_reach + 0.1)}
    _, read = read_steps(tmp_path / 'transitions.mcap')
    assert len(read) == len(rows)
    episodes = episodes_from_steps(schema, rows, TASK)
    with_them = [{**each, 'out_of_reach': found.get(each['episode'])} for each in episodes]
    write_report(tmp_path / 'with', {}, with_them, [], [], TASK)
    write_report(tmp_path / 'without', {}, episodes, [], [], TASK)
    assert (tmp_path / 'with' / 'plots' / 'out_of_reach.png').exists()
    assert not (tmp_path / 'without' / 'plots' / 'out_of_reach.png').exists()
