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
"""Skills in the policy server: held, recorded, kept through a swap, ended by a reset."""

from dataclasses import replace

import numpy as np
import pytest
from small_run import OF_ALGORITHM
from small_run import TRAINING

from spaars_ros.control.bundle_manager import BundleManager
from spaars_ros.control.control import ControlLoop
from spaars_ros.data.schema import Mode
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

ROBOT = load_robot()
TASK = ReachTask(ROBOT, load_task())
H = 4
K = OF_ALGORITHM['spaars-supe']['skill_dim']


def untrained(algorithm: str = 'spaars-supe', seed: int = 3, **more: object) -> Bundle:
    training = load_training(algorithm, **{**TRAINING, **OF_ALGORITHM[algorithm], **more})
    return untrained_bundle(ROBOT, TASK, training, seed=seed)


@pytest.fixture(scope='module')
def bundle() -> Bundle:
    return untrained()


def changed(bundle: Bundle, **values: object) -> Bundle:
    """Return the bundle with other manifest entries."""
    return Bundle(bundle.manifest.model_copy(update=values), bundle.graphs, bundle.golden_outputs)


class Run:
    """A control loop on the arm."""

    def __init__(self, bundle: Bundle) -> None:
        self.arm = Arm(ROBOT)
        self.loop = ControlLoop(robot=ROBOT, task=TASK, safety_filter=SafetyFilter(ROBOT),
                                runtime=PolicyRuntime(bundle), seed=5)
        self.loop.begin(self.arm.state())

    def ticks(self, count: int) -> dict[str, np.ndarray]:
        """Tick; return the fields of the records."""
        rows = []
        for _ in range(count):
            tick = self.loop.tick(self.arm.state())
            self.arm.step(tick.command)
            rows.append(tick.record)
        return {name: self.loop.records.schema.get(np.stack(rows), name)
                for name in ('skill_step', 'latent', 'mode', 'bundle_version')}


def test_a_skill_is_held_for_its_length_and_recorded(bundle: Bundle) -> None:
    steps = Run(bundle).ticks(10)
    assert steps['skill_step'].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    for begin in (0, 4, 8):
        held = steps['latent'][begin:begin + H]
        assert (held == held[0]).all()
    assert len(np.unique(steps['latent'], axis=0)) == 3


def test_without_skills_every_step_is_step_zero() -> None:
    steps = Run(untrained('spaars')).ticks(6)
    assert not steps['skill_step'].any()
    assert len(np.unique(steps['latent'], axis=0)) == 6


def test_a_skill_goes_on_under_the_bundle_that_takes_over_in_its_middle(bundle: Bundle) -> None:
    run = Run(bundle)
    before = run.ticks(2)
    run.loop.swap(PolicyRuntime(changed(bundle, version=7)))
    after = run.ticks(3)
    assert after['bundle_version'].tolist() == [7, 7, 7]
    assert after['skill_step'].tolist() == [2, 3, 0]
    np.testing.assert_array_equal(after['latent'][0], before['latent'][0])


@pytest.mark.parametrize('other', [
    {'decoder': 'another'}, {'decoder': ''}, {'algorithm': 'another'}, {'skill_length': 8}],
    ids=str)
def test_a_bundle_in_which_the_skill_means_something_else_begins_a_new_one(
        bundle: Bundle, other: dict[str, object]) -> None:
    """No digest is no promise that the decoder is the same."""
    start = changed(bundle, decoder='') if other == {'decoder': ''} else bundle
    run = Run(start)
    before = run.ticks(2)
    run.loop.swap(PolicyRuntime(changed(start, version=7, **other)))
    after = run.ticks(2)
    assert after['skill_step'].tolist() == [0, 1]
    assert not np.isclose(after['latent'][0], before['latent'][0]).any()


def test_another_decoder_has_another_digest(bundle: Bundle) -> None:
    assert untrained(seed=4).manifest.decoder != bundle.manifest.decoder
    assert untrained(seed=3).manifest.decoder == bundle.manifest.decoder


@pytest.mark.parametrize('end', ['reset', 'abort', 'stop'])
def test_a_skill_ends_with_its_episode(bundle: Bundle, end: str) -> None:
    run = Run(bundle)
    run.ticks(2)
    state = run.arm.state()
    if end == 'abort':
        run.loop.abort(state)  # a latched stop, a shutdown, a deactivation
    elif end == 'stop':
        position = state.position.copy()
        position[3] = np.nan
        assert run.loop.tick(replace(state, position=position)).stop is not None
    if end != 'reset':
        assert run.loop.skill.held is None
    run.loop.begin(run.arm.state())
    assert run.ticks(2)['skill_step'].tolist() == [0, 1]


def test_the_clock_of_a_skill_goes_on_below_raw_actions() -> None:
    run = Run(changed(untrained(seed=8), gate_open=True, margin=0.0, kappa=0.0, trust=2.0))
    steps = run.ticks(40)
    assert {Mode.RAW, Mode.LATENT} == set(steps['mode'])
    assert steps['skill_step'].tolist() == [0, 1, 2, 3] * 10
    for begin in range(0, 40, H):
        held = steps['latent'][begin:begin + H]
        assert (held == held[0]).all()
    # Both within one skill: the rest of it is gated step by step.
    assert any(len(set(steps['mode'][begin:begin + H])) == 2 for begin in range(0, 40, H))


def test_a_skill_is_a_draw_of_its_policy_and_its_actions_the_decoders(bundle: Bundle) -> None:
    import torch

    from spaars_ros.learning.algorithms.supe.skill_agent import SkillAgent
    from spaars_ros.learning.online.checkpoint import unpack
    agent = SkillAgent(load_training('spaars-supe', **{**TRAINING, **OF_ALGORITHM['spaars-supe']}),
                       TASK.observation_dim, 7, len(TASK.constraint_names))
    unpack(bundle, agent, optimisers=False)
    rng = np.random.default_rng(0)
    runtime = PolicyRuntime(bundle)
    o, noise = rng.normal(size=TASK.observation_dim), rng.normal(size=K + 7)
    begun = runtime.decide(o, noise)
    later = runtime.decide(o, noise, begun.latent)
    with torch.no_grad():
        x = torch.from_numpy(o.astype(np.float32))[None]
        drawn = agent.skills.skill(x, torch.from_numpy(noise[None, :K].astype(np.float32)))
        action = agent.skill_decoder.mean(x, drawn)
    np.testing.assert_allclose(begun.latent, drawn[0], atol=1e-5)
    np.testing.assert_allclose(begun.action, action[0], atol=1e-5)
    np.testing.assert_array_equal(later.latent, begun.latent)
    np.testing.assert_array_equal(later.action, begun.action)


# Golden outputs


def refusal(bundle: Bundle) -> BundleError:
    with pytest.raises(BundleError) as caught:
        check_bundle(bundle, ROBOT, task='reach', observation_dim=TASK.observation_dim)
    return caught.value


def with_golden_outputs(bundle: Bundle, **values: np.ndarray) -> Bundle:
    return Bundle(bundle.manifest, bundle.graphs, {**bundle.golden_outputs, **values})


def test_golden_outputs_look_at_a_new_skill_and_at_one_that_is_held(bundle: Bundle) -> None:
    check_bundle(bundle, ROBOT, task='reach', observation_dim=TASK.observation_dim)
    for row in (0, 1):
        latent = bundle.golden_outputs['latent'].copy()
        latent[row] += 0.5
        error = refusal(with_golden_outputs(bundle, latent=latent))
        assert error.reason == 'golden_mismatch' and f'at golden output {row}' in error.detail
    fresh = np.ones_like(bundle.golden_outputs['fresh'])
    assert 'fresh' in refusal(with_golden_outputs(bundle, fresh=fresh)).detail


def test_a_bundle_whose_graph_takes_no_skill_is_refused(bundle: Bundle) -> None:
    flat = untrained('spaars', latent_dim=K)
    claims = Bundle(bundle.manifest, flat.graphs, bundle.golden_outputs)
    assert refusal(claims).reason == 'wrong_shape'
    without = dict(bundle.golden_outputs)
    del without['skill']
    assert 'skill' in refusal(Bundle(bundle.manifest, bundle.graphs, without)).detail


# The trial in shadow


def trial(bundle: Bundle, candidate: Bundle) -> tuple[Run, BundleManager, list[str]]:
    """Run 10 ticks and a trial of as many, begun in the middle of a skill."""
    run, refusals, waiting = Run(bundle), [], []
    bundle_manager = BundleManager(run.loop, take=lambda: waiting.pop() if waiting else None,
                            refuse=refusals.append, ticks=10, bound=1e-4)
    run.ticks(2)
    run.loop.decided = None
    waiting.append(PolicyRuntime(candidate))
    for _ in range(10):
        bundle_manager.before_tick()
        run.ticks(1)
        bundle_manager.after_tick()
    return run, bundle_manager, refusals


def test_a_trial_compares_decisions_within_the_servers_skill(bundle: Bundle) -> None:
    """Exploring, and begun in mid-skill: with skills of its own the candidate would differ."""
    run, bundle_manager, refusals = trial(bundle, changed(bundle, version=1))
    assert not refusals and bundle_manager.promoted == 1
    assert run.ticks(1)['skill_step'].tolist() == [0]  # after 12 ticks: the clock went on


def test_a_trial_refuses_skills_that_are_decoded_otherwise(bundle: Bundle) -> None:
    other = untrained(seed=4)
    _, bundle_manager, refusals = trial(bundle, changed(other, version=1))
    assert bundle_manager.promoted == 0
    assert refusals and 'shadow_diverged' in refusals[0]
