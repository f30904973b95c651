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

"""The policy room: bundle, runtime, gate, control loop; one test a failure."""

from dataclasses import replace
import time

import numpy as np
import pytest

from spaars_ros.control.control import ControlLoop
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.nodes.policy_server.intake import BundleIntake
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.policy.gate import AdvantageGate
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import load_robot
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training


@pytest.fixture(scope='module')
def robot():
    return load_robot('panda')


@pytest.fixture(scope='module')
def task(robot):
    return ReachTask(robot, load_task('reach'))


@pytest.fixture(scope='module')
def bundle(robot, task):
    return untrained_bundle(robot, task, load_training('spaars', width=16), seed=3)


def changed(bundle, **values):
    """Return the bundle with other manifest entries."""
    return Bundle(bundle.manifest.model_copy(update=values), bundle.graphs, bundle.golden_outputs)


def refused(bundle, robot, task, **limits):
    with pytest.raises(BundleError) as caught:
        check_bundle(bundle, robot, task='reach', observation_dim=task.observation_dim, **limits)
    return caught.value


def test_a_bundle_survives_the_file(bundle, tmp_path):
    save_bundle(bundle, tmp_path / 'a.spaars')
    again = load_bundle(tmp_path / 'a.spaars')
    assert again.manifest == bundle.manifest
    assert again.graphs == bundle.graphs
    assert again.extras == bundle.extras
    for name, values in bundle.golden_outputs.items():
        np.testing.assert_array_equal(again.golden_outputs[name], values)


def test_any_flipped_byte_is_a_wrong_digest(bundle):
    data = bytearray(bundle.to_bytes())
    for place in np.random.default_rng(0).integers(8, len(data), 50):
        data[place] ^= 0x40
        with pytest.raises(BundleError, match='wrong_digest'):
            Bundle.from_bytes(bytes(data))
        data[place] ^= 0x40
    Bundle.from_bytes(bytes(data))


def test_every_truncation_is_refused(bundle):
    data = bundle.to_bytes()
    for length in [0, 1, 8, 15, 16, 47, 48, 1000, len(data) - 33, len(data) - 1]:
        with pytest.raises(BundleError):
            Bundle.from_bytes(data[:length])


def test_a_pickle_is_not_a_bundle():
    import pickle
    with pytest.raises(BundleError, match='not_a_bundle'):
        Bundle.from_bytes(pickle.dumps({'manifest': 1}))


def test_other_joints_are_refused(bundle, robot, task):
    joints = [*robot.joints[:-1], 'elbow']
    error = refused(changed(bundle, joints=joints), robot, task)
    assert error.reason == 'wrong_joints'
    assert 'elbow' in error.detail


def test_another_robot_is_refused(bundle, robot, task):
    assert refused(changed(bundle, robot='ur5'), robot, task).reason == 'wrong_robot'


def test_another_action_scale_is_refused(bundle, robot, task):
    assert refused(changed(bundle, action_scale=0.5), robot, task).reason == 'wrong_scale'


def test_a_latent_of_another_size_is_refused_while_running(bundle, robot, task):
    error = refused(bundle, robot, task, latent_dim=bundle.manifest.latent_dim + 1)
    assert error.reason == 'wrong_shape'


def test_graphs_of_another_shape_are_refused(bundle, robot, task):
    wider = untrained_bundle(robot, task, load_training('spaars', width=16, latent_dim=6))
    mixed = Bundle(bundle.manifest, {**bundle.graphs, 'policy': wider.graphs['policy']},
                   bundle.golden_outputs)
    assert refused(mixed, robot, task).reason == 'wrong_shape'


def test_a_graph_that_is_not_onnx_is_refused(bundle, robot, task):
    broken = Bundle(bundle.manifest, {**bundle.graphs, 'policy': b'nonsense'},
                    bundle.golden_outputs)
    assert refused(broken, robot, task).reason == 'bad_graph'


def test_graphs_that_differ_from_their_golden_outputs_are_refused(bundle, robot, task):
    other = untrained_bundle(robot, task, load_training('spaars', width=16), seed=4)
    mixed = Bundle(bundle.manifest, {**bundle.graphs, 'policy': other.graphs['policy']},
                   bundle.golden_outputs)
    assert refused(mixed, robot, task).reason == 'golden_mismatch'


@pytest.mark.parametrize('name', ['explored_latent', 'explored_action'])
def test_a_graph_that_explores_elsewhere_is_refused(bundle, robot, task, name, monkeypatch):
    """The explored action is the one that moves the arm."""
    run = PolicyRuntime.run

    def shifted(self, observation, noise):
        out = run(self, observation, noise)
        return {**out, name: out[name] + np.float32(0.1)}

    monkeypatch.setattr(PolicyRuntime, 'run', shifted)
    error = refused(bundle, robot, task)
    assert error.reason == 'golden_mismatch'
    assert name in error.detail


def test_a_bundle_whose_check_fails_does_not_end_the_intake(bundle):
    def check(offered):
        if offered.manifest.version == 1:
            raise RuntimeError('a fault nobody thought of')
        return PolicyRuntime(offered)

    def wait_for(true):
        end = time.monotonic() + 10.0
        while not true() and time.monotonic() < end:
            time.sleep(0.01)
        assert true()

    intake = BundleIntake(check, period=10.0, version=0)
    try:
        intake.offer(changed(bundle, version=1).to_bytes())
        wait_for(lambda: intake.refused == 1)
        assert 'RuntimeError: a fault nobody thought of' in intake.last_refusal
        intake.offer(changed(bundle, version=2).to_bytes())
        wait_for(lambda: intake.accepted == 1)
    finally:
        intake.close()


def test_weights_that_are_not_finite_are_refused(robot, task):
    import torch

    from spaars_ros.learning.core.replay import Normaliser
    from spaars_ros.learning.online.checkpoint import make_bundle
    from spaars_ros.learning.registry import make_deployable
    n = task.observation_dim
    spaars = make_deployable(load_training('spaars', width=16), task,
                             Normaliser(np.zeros(n), np.ones(n)), seed=0)
    with torch.no_grad():
        spaars.agent.raw_policy.net.layers[-1].bias[2] = float('nan')
    broken = make_bundle(spaars, robot, task, np.zeros((2, n)), version=1, parent=0,
                         phase='latent')
    error = refused(broken, robot, task)
    assert error.reason == 'not_finite'
    assert 'raw_action' in error.detail


def test_the_gate_lower_bound_is_taken_head_by_head():
    common = np.array([[5.0, 0.0], [-5.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    better = common + np.array([0.3, 0.0], dtype=np.float32)
    gate = AdvantageGate(margin=0.2, kappa=1.0, multipliers=np.zeros(1))
    # The heads disagree wildly on Q and agree on the difference: the gate opens.
    assert gate.advantage(better, common) == pytest.approx(0.3, abs=1e-5)
    assert gate.opens(gate.advantage(better, common))
    assert not gate.opens(0.2)


@pytest.mark.filterwarnings('ignore:invalid value')
def test_the_gate_stays_closed_when_a_head_is_not_finite():
    gate = AdvantageGate(margin=0.0, kappa=1.0, multipliers=np.zeros(1))
    broken = np.array([[np.inf, 0.0], [1.0, 0.0]], dtype=np.float32)
    assert not gate.opens(gate.advantage(broken, np.zeros((2, 2), np.float32)))


def test_a_multiplier_turns_the_gate_against_costly_raw_actions():
    raw = np.array([[1.0, 2.0]] * 3, dtype=np.float32)
    latent = np.array([[0.5, 0.0]] * 3, dtype=np.float32)
    free = AdvantageGate(0.0, 1.0, np.zeros(1))
    held = AdvantageGate(0.0, 1.0, np.ones(1))
    assert free.opens(free.advantage(raw, latent))
    assert not held.opens(held.advantage(raw, latent))
    # (Q_r - lambda Q_c) / (1 + lambda): -0.5 against 0.25
    assert held.advantage(raw, latent) == pytest.approx(-0.75)


def test_raw_stays_inside_the_trust_box_of_the_decoder(bundle):
    runtime = PolicyRuntime(changed(bundle, trust=0.01, gate_open=True))
    rng = np.random.default_rng(0)
    for _ in range(50):
        decision = runtime.decide(rng.normal(size=bundle.manifest.observation_dim))
        assert np.abs(decision.raw_action - decision.latent_action).max() <= 0.01 + 1e-6


def test_a_closed_gate_never_takes_raw(bundle):
    runtime = PolicyRuntime(changed(bundle, gate_open=False, margin=0.0, kappa=0.0))
    opened = PolicyRuntime(changed(bundle, gate_open=True, margin=0.0, kappa=0.0, trust=2.0))
    rng = np.random.default_rng(1)
    states = rng.normal(size=(200, bundle.manifest.observation_dim))
    assert {runtime.decide(o).mode for o in states} == {Mode.LATENT}
    assert {opened.decide(o).mode for o in states} == {Mode.LATENT, Mode.RAW}


def loop_on_arm(robot, task, bundle, **changes):
    arm = Arm(robot)
    loop = ControlLoop(robot=robot, task=task, safety_filter=SafetyFilter(robot),
                       runtime=PolicyRuntime(bundle), seed=5, **changes)
    loop.begin(arm.state())
    return arm, loop


def test_a_nan_in_an_observation_stops_with_a_code(robot, task, bundle):
    arm, loop = loop_on_arm(robot, task, bundle)
    loop.tick(arm.state())
    position = arm.state().position
    position[3] = np.nan
    tick = loop.tick(replace(arm.state(), position=position))
    assert tick.stop is not None and tick.stop.code.startswith('NO')
    assert tick.ended
    assert np.isfinite(tick.command).all() and np.isfinite(tick.record).all()
    assert loop.records.schema.get(tick.record, 'flag') == Flag.ABORTED


@pytest.mark.parametrize(('name', 'stops'), [
    ('action', True), ('raw_action', False), ('latent', False), ('gate', False)])
def test_a_decision_that_is_not_finite_leaves_a_record_that_can_be_read(robot, task, bundle, name,
                                                                       stops):
    """Learner and monitor refuse one that is not, and would wait for it for good."""
    arm, loop = loop_on_arm(robot, task, bundle)
    decide = loop.runtime.decide

    def decides(*args):
        decision = decide(*args)
        return replace(decision, **{name: getattr(decision, name) * np.nan})
    loop.runtime.decide = decides
    tick = loop.tick(arm.state())
    assert (tick.stop is not None) == stops
    assert np.isfinite(tick.command).all() and np.isfinite(tick.record).all()


def test_an_episode_has_horizon_actions_and_a_closing_record(robot, task, bundle):
    arm, loop = loop_on_arm(robot, task, bundle)
    records = []
    while True:
        tick = loop.tick(arm.state())
        records.append(tick.record)
        if tick.ended:
            break
        arm.step(tick.command)
    get = loop.records.schema.get
    assert len(records) == task.horizon + 1
    assert [get(r, 'sequence') for r in records] == list(range(task.horizon + 1))
    assert all(get(r, 'flag') == Flag.RUNNING for r in records[:-1])
    assert get(records[-1], 'flag') == Flag.TRUNCATED


def test_the_same_seed_gives_the_same_episode(robot, task, bundle):
    def commands():
        arm, loop = loop_on_arm(robot, task, bundle)
        taken = []
        for _ in range(20):
            tick = loop.tick(arm.state())
            arm.step(tick.command)
            taken.append(tick.command)
        return np.array(taken)
    np.testing.assert_array_equal(commands(), commands())


def test_a_swap_changes_the_decision_and_nothing_else(robot, task, bundle):
    arm, loop = loop_on_arm(robot, task, bundle, explore=False)
    loop.tick(arm.state())
    loop.swap(PolicyRuntime(changed(bundle, version=7)))
    record = loop.tick(arm.state()).record
    assert loop.records.schema.get(record, 'bundle_version') == 7
    assert loop.records.schema.get(record, 'index') == 1
    assert loop.records.schema.get(record, 'episode') == 0
