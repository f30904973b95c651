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
"""Each algorithm of the robot: pretrained, fine-tuned in process, exported, resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import OF_ALGORITHM
from small_run import TRAINING
import torch
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.data.dataset import Dataset
from spaars_ros.learning.algorithms.supe.chunks import whole_skills
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.learning.online.finetuner import FineTuner
from spaars_ros.learning.online.pretrain import pretrain
from spaars_ros.learning.registry import deployable
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import ConfigError
from spaars_ros.robot.config import load_robot
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.run_config import training_of
from spaars_ros.sim.evaluate import Rollouts
from spaars_ros.sim.operator import collect
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training
from spaars_ros.training_file import ROBOT_ALGORITHMS as NAMES
from spaars_ros.training_file import Training

ROBOT = load_robot()
SETTINGS = load_task('reach').model_copy(update={'horizon': 40})
TASK = ReachTask(ROBOT, SETTINGS)
KINDS = {'spaars': ('spaars', {}), 'spaars-supe': ('spaars-supe', {}),
         'spar-mlp': ('spar', {'spar_projection': 'mlp'}),
         'spar-proj': ('spar', {'spar_projection': 'proj'})}


def training_for(kind: str, **more: Any) -> Training:
    name, own = KINDS[kind]
    return load_training(name, **{**TRAINING, **OF_ALGORITHM[name], **own, **more})


@pytest.fixture(scope='module')
def dataset() -> Dataset:
    return collect(ROBOT, SETTINGS, episodes=4, seed=0)


@pytest.fixture(scope='module')
def bundles(dataset: Dataset) -> dict[str, Bundle]:
    return {kind: pretrain(ROBOT, TASK, training_for(kind), dataset, seed=0) for kind in KINDS}


def tuner_of(bundle: Bundle, kind: str, dataset: Dataset) -> FineTuner:
    return FineTuner(bundle, robot=ROBOT, task=TASK, training=training_for(kind),
                     demonstrations=dataset, seed=0)


def checked(bundle: Bundle) -> PolicyRuntime:
    return check_bundle(Bundle.from_bytes(bundle.to_bytes()), ROBOT, task='reach',
                        observation_dim=TASK.observation_dim)


def learn(tuner: FineTuner, bundle: Bundle, episodes: int) -> np.ndarray:
    """Run episodes with learning between them; return all step records."""
    rollouts = Rollouts(checked(bundle), ROBOT, TASK, seed=0, explore=True)
    records = []
    for _ in range(episodes):
        records.append(rollouts.episode())
        for row in records[-1]:
            tuner.add(row)
        while tuner.updates_owed:
            tuner.update()
        if tuner.bundle_due:
            rollouts.loop.swap(checked(tuner.export()))
    return np.concatenate(records)


def test_the_names_that_the_commands_know_are_those_that_the_learner_has() -> None:
    assert set(NAMES) == set(deployable())


@pytest.mark.parametrize('kind', KINDS)
def test_trainer_and_learner_drive_the_same_object(
        kind: str, bundles: dict[str, Bundle], dataset: Dataset, tmp_path: Path) -> None:
    """What one of them had learned the other has, tensor by tensor, and its state too."""
    training = training_for(kind)
    trainer = Trainer('SpaarsReach-v0', dataset, training=training, seed=0, out=tmp_path, steps=0)
    tuner = tuner_of(bundles[kind], kind, dataset)
    assert type(trainer.algorithm) is type(tuner.algorithm)
    tuner.algorithm.load_arrays(trainer.algorithm.arrays())
    tuner.algorithm.load_state(trainer.algorithm.state())
    for name, value in trainer.algorithm.arrays().items():
        np.testing.assert_array_equal(tuner.algorithm.arrays()[name], value, name)
    assert tuner.algorithm.state() == trainer.algorithm.state()


@pytest.mark.parametrize('kind', KINDS)
def test_every_export_reproduces_its_golden_outputs_and_a_checkpoint_goes_on_from_itself(
        kind: str, bundles: dict[str, Bundle], dataset: Dataset, tmp_path: Path) -> None:
    """Golden outputs are torch's answers: a graph that computes something else is refused."""
    tuner = tuner_of(bundles[kind], kind, dataset)
    before = {name: value.copy() for name, value in tuner.agent.arrays().items()}
    rows = learn(tuner, bundles[kind], 4)
    assert tuner.version >= 2 and tuner.updates > 40
    assert any(not np.array_equal(before[name], value)
               for name, value in tuner.agent.arrays().items() if name in before)
    tuner.save(tmp_path / 'a.spaars')
    again = tuner_of(bundles[kind], kind, dataset)
    again.restore(load_bundle(tmp_path / 'a.spaars'))
    for row in rows:
        again.add(row)
    assert again.progress() == tuner.progress()
    for name, value in tuner.agent.arrays().items():
        np.testing.assert_array_equal(again.agent.arrays()[name], value, name)
    one, two = tuner.algorithm.state(), again.algorithm.state()
    assert one == two
    # The generators of skills and candidates go on, too: the same batch, the same networks.
    batch = tuner._offline.sample(16, np.random.default_rng(0))
    for each in (tuner, again):
        torch.manual_seed(0)
        each.algorithm.update_online(batch, batch)
    for name, value in tuner.agent.arrays().items():
        np.testing.assert_array_equal(again.agent.arrays()[name], value, name)


def test_frozen_parts_stay_as_pretrained(bundles: dict[str, Bundle], dataset: Dataset) -> None:
    """A skill has to mean the same under the next bundle; SPAR's residual, about one base."""
    supe = tuner_of(bundles['spaars-supe'], 'spaars-supe', dataset)
    learn(supe, bundles['spaars-supe'], 3)
    assert supe.updates and supe.export().manifest.decoder == \
        bundles['spaars-supe'].manifest.decoder
    spar = tuner_of(bundles['spar-proj'], 'spar-proj', dataset)
    base = [p.clone() for p in spar.agent.base.parameters()]
    learn(spar, bundles['spar-proj'], 3)
    assert all(torch.equal(a, b) for a, b in zip(base, spar.agent.base.parameters()))


def test_the_mode_of_a_bundle_is_that_of_its_residual_policy(bundles: dict[str, Bundle]) -> None:
    modes = {kind: bundles[kind].manifest.mode for kind in KINDS}
    assert modes == {'spaars': 'gated', 'spaars-supe': 'gated', 'spar-mlp': 'raw-only',
                     'spar-proj': 'latent-only'}


def test_executed_skills_are_stored_as_macro_transitions(
        bundles: dict[str, Bundle], dataset: Dataset) -> None:
    tuner = tuner_of(bundles['spaars-supe'], 'spaars-supe', dataset)
    rows = learn(tuner, bundles['spaars-supe'], 2)
    stored = tuner.algorithm.memory.online.arrays()
    assert len(stored['action']) == 2 * 40 // 4
    get = tuner.schema.get
    begins = rows[(get(rows, 'skill_step') == 0) & (get(rows, 'mode') != 2)]
    np.testing.assert_allclose(np.arctanh(stored['action']), get(begins, 'latent'), atol=1e-3)
    # The same costs as the single steps', summed over the four of a skill.
    single = tuner._online.arrays()['cost'].reshape(len(stored['cost']), 4, -1)
    powers = tuner.training.gamma ** np.arange(4)
    np.testing.assert_allclose(stored['cost'], np.tensordot(single, powers, (1, 0)), rtol=1e-5,
                               atol=1e-7)
    # One tensor, or an operator's limit would reach only the gate.
    tuner.multipliers = np.array([0.75])
    assert tuner.algorithm.skills.multipliers.tolist() == [0.75]


def test_a_skill_cut_short_is_no_macro_transition() -> None:
    steps = np.array([0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0, 1])
    assert whole_skills(steps, 4) == [slice(0, 4), slice(6, 12)]
    assert whole_skills(np.array([0, 1, 2]), 4) == [slice(0, 3)]
    assert whole_skills(np.array([0, 0, 1, 2, 3]), 4) == [slice(1, 5)]
    # What no server of this version sends has to do no harm either.
    assert whole_skills(np.array([0, 2, 1, 3, 0, 1]), 4) == [slice(4, 6)]
    assert whole_skills(np.array([0, 1, 2, 3, 4, 0]), 4) == [slice(5, 6)]
    assert whole_skills(np.array([2, 2, 2]), 4) == []


def test_demonstrations_shorter_than_a_skill_are_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match='skill_length 41.* 40'):
        pretrain(ROBOT, TASK, training_for('spaars-supe', skill_length=41), dataset, seed=0)


def test_a_bundle_of_another_algorithm_is_not_fine_tuned(
        bundles: dict[str, Bundle], dataset: Dataset) -> None:
    with pytest.raises(BundleError, match="wrong_algorithm: a bundle of 'spar'.*'spaars'"):
        tuner_of(bundles['spar-mlp'], 'spaars', dataset)


def test_an_algorithm_that_the_robot_has_not_is_refused_with_those_it_has(tmp_path: Path) -> None:
    for command in (['finetune'], ['pretrain']):
        result = CliRunner().invoke(
            app, [*command, '--out', str(tmp_path / 'x'), '--algorithm', 'iql'])
        assert result.exit_code == 1
        assert "error: algorithm 'iql': the robot runs spaars, spaars-supe, spar; " \
            in result.output
    with pytest.raises(ConfigError, match='spaars, spaars-supe, spar'):
        RunFolder(RunConfig(out='', training='locomotion', overrides={'algorithm': 'cpq'}))


def test_an_algorithm_brings_its_training_file_unless_one_is_named() -> None:
    assert training_of('', 'spar', 'reach') == 'spar'
    assert training_of('', None, 'reach') == 'spaars'
    assert training_of('', None, 'pick') == 'pick'
    assert training_of('my.yaml', 'spar', 'reach') == 'my.yaml'
    for name in NAMES:
        assert RunFolder(RunConfig(out='', training=training_of('', name, 'reach'))
                         ).training.algorithm == name
