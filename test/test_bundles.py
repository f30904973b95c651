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


"""Bundles on the way to the arm: trial in shadow, rollback, signatures; one test a failure."""

from collections.abc import Callable
from functools import partial
import itertools
import os
from pathlib import Path
from typing import Any

from domains import DOMAINS
import numpy as np
import onnx
from onnx import helper
from onnx import numpy_helper
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from server_rig import newer
from server_rig import OK
from server_rig import Rig
from small_run import prepare
from small_run import until
from std_msgs.msg import Float64MultiArray
from std_msgs.msg import UInt8MultiArray
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.commissioning.stress_hostile import raises_beyond
from spaars_ros.control.bundle_manager import BundleManager
from spaars_ros.control.bundle_manager import RollbackRefused
from spaars_ros.control.control import ControlLoop
from spaars_ros.control.shadow import Shadow
from spaars_ros.data.files import write_whole
from spaars_ros.learning.online.pretrain import untrained_bundle
from spaars_ros.nodes.learner.node import LearnerNode
from spaars_ros.nodes.policy_server.atomic_file_writer import AtomicFileWriter
from spaars_ros.nodes.policy_server.persistent_state import PersistentState
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.bundle import load_bundle
from spaars_ros.policy.bundle import save_bundle
from spaars_ros.policy.rehearsal import rehearse
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import OBSERVATION_CLIP
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.policy.signing import generate
from spaars_ros.policy.signing import KeyFileError
from spaars_ros.policy.signing import Signer
from spaars_ros.policy.signing import Verifier
from spaars_ros.robot.config import load_robot
from spaars_ros.ros.codecs import decode_bytes
from spaars_ros.ros.codecs import encode_bytes
from spaars_ros.ros.diagnostics import values_of
from spaars_ros.ros.qos import QOS
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.sim.arm import Arm
from spaars_ros.tasks.base import World
from spaars_ros.tasks.reach import ReachTask
from spaars_ros.tasks.registry import load_task
from spaars_ros.training_file import load_training

pytestmark = pytest.mark.timeout(120)
pytest_plugins = ['server_rig']

PERIOD = 0.05
ROBOT = load_robot()
TASK = ReachTask(ROBOT, load_task())
OBSERVATION = TASK.observation_dim


@pytest.fixture(scope='module')
def bundle() -> Bundle:
    return untrained_bundle(ROBOT, TASK, load_training('spaars', width=16), seed=3)


@pytest.fixture(scope='module')
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return generate(tmp_path_factory.mktemp('keys'))


def with_version(bundle: Bundle, version: int) -> Bundle:
    return Bundle(bundle.manifest.model_copy(update={'version': version}), bundle.graphs,
                  bundle.golden_outputs)


def tampered(bundle: Bundle, output: str, term: list[tuple[str, Any]],
             **changes: Any) -> Bundle:
    """
    Return the bundle with a term added to an output; its golden outputs are computed again.

    :param term: operators applied to the first normalised observation one after the other, each
        with the constant that it takes, or None
    """
    model = onnx.ModelProto.FromString(bundle.graphs['policy'])
    graph, plain = model.graph, f'{output}_plain'
    for node in graph.node:
        node.input[:] = [plain if name == output else name for name in node.input]
        node.output[:] = [plain if name == output else name for name in node.output]
    numbers = itertools.count()

    def constant(values: Any) -> str:
        name = f'{output}_term{next(numbers)}'
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    x = f'{output}_first'
    graph.node.append(helper.make_node(
        'Slice', ['observation', constant([0]), constant([1]), constant([1])], [x]))
    for kind, value in term:
        inputs = [x] if value is None else [x, constant(np.float32(value))]
        x = f'{output}_node{next(numbers)}'
        graph.node.append(helper.make_node(kind, inputs, [x]))
    graph.node.append(helper.make_node('Add', [plain, x], [output]))
    changed = Bundle(bundle.manifest.model_copy(update=changes),
                     {'policy': model.SerializeToString()}, dict(bundle.golden_outputs))
    runtime = PolicyRuntime(changed)
    o = runtime.normalise(changed.golden_outputs['observation'].astype(np.float64))
    computed = runtime.run(o, np.zeros((len(o), changed.manifest.latent_dim), np.float32))
    for name in changed.golden_outputs.keys() & computed.keys():
        changed.golden_outputs[name] = computed[name]
    return changed


def shadow_refusal(bundle: Bundle, candidate: Bundle, first: float, **limits: Any) -> str:
    """Return why a trial on observations with this first value refuses a candidate."""
    running = PolicyRuntime(bundle)
    settings = {'ticks': 5, 'bound': 1.0, 'period': PERIOD, **limits}
    shadow = Shadow(PolicyRuntime(candidate), **settings)
    observation = np.zeros(OBSERVATION)
    observation[0] = first
    with pytest.raises(BundleError) as caught:
        for _ in range(settings['ticks']):
            assert not shadow.observe(observation, running.decide(observation))
    return caught.value.reason


# The trial

def test_a_bundle_that_is_not_finite_in_some_states_fails_its_trial(bundle: Bundle) -> None:
    """Its golden outputs are fine: it is only far out, where nobody looked, that it breaks."""
    broken = tampered(bundle, 'raw_action', [('Add', 7.0), ('Sqrt', None), ('Mul', 0.0)])
    assert shadow_refusal(bundle, broken, -7.5) == 'shadow_not_finite'


def test_a_bundle_that_leaves_the_action_bounds_fails_its_trial(bundle: Bundle) -> None:
    wild = tampered(bundle, 'explored_action', [('Sub', 5.0), ('Relu', None)])
    assert shadow_refusal(bundle, wild, 7.5) == 'shadow_out_of_bounds'


def test_a_raw_action_outside_its_trust_box_fails_its_trial(bundle: Bundle) -> None:
    wild = tampered(bundle, 'raw_action', [('Sub', 7.0), ('Relu', None)], trust=0.1)
    assert shadow_refusal(bundle, wild, 7.5) == 'shadow_out_of_bounds'


def test_a_bundle_that_wants_something_else_fails_its_trial(bundle: Bundle) -> None:
    other = tampered(bundle, 'explored_action', [('Sub', 7.0), ('Relu', None)])
    assert shadow_refusal(bundle, other, 7.5, bound=0.3) == 'shadow_diverged'


def test_a_bundle_that_decides_slowly_fails_its_trial(bundle: Bundle) -> None:
    assert shadow_refusal(bundle, bundle, 0.0, period=1e-7) == 'shadow_slow'


def test_a_bundle_that_cannot_decide_fails_its_trial(bundle: Bundle) -> None:
    broken = Bundle(bundle.manifest.model_copy(update={'latent_dim': 9}), bundle.graphs,
                    bundle.golden_outputs)
    assert shadow_refusal(bundle, broken, 0.0) == 'shadow_failed'


def test_one_tick_of_ten_may_differ(bundle: Bundle) -> None:
    other = PolicyRuntime(tampered(bundle, 'explored_action', [('Sub', 7.0), ('Relu', None)]))
    running, far, near = PolicyRuntime(bundle), np.zeros(OBSERVATION), np.zeros(OBSERVATION)
    far[0] = 7.5
    for odd, passes in ((2, True), (3, False)):
        shadow = Shadow(other, ticks=20, bound=0.3, period=PERIOD)
        observations = [far] * odd + [near] * (20 - odd)
        if passes:
            assert [shadow.observe(o, running.decide(o)) for o in observations] \
                == [False] * 19 + [True]
        else:
            with pytest.raises(BundleError, match='shadow_diverged'):
                [shadow.observe(o, running.decide(o)) for o in observations]


# The succession, on the simulated arm

class Run:
    """A control loop on the arm with its succession."""

    def __init__(self, bundle: Bundle, *, ticks: int = 5, bound: float = 1.0, hold: int = 0
                 ) -> None:
        self.arm = Arm(ROBOT)
        self.loop = ControlLoop(robot=ROBOT, task=TASK, safety_filter=SafetyFilter(ROBOT),
                                runtime=PolicyRuntime(bundle), seed=5)
        self.loop.begin(self.arm.state())
        self.waiting: list[PolicyRuntime] = []
        self.refusals: list[str] = []
        self.bundle_manager = BundleManager(
            self.loop, take=lambda: self.waiting.pop() if self.waiting else None,
            refuse=self.refusals.append, ticks=ticks, bound=bound, hold=hold)

    def push(self, bundle: Bundle) -> None:
        self.waiting[:] = [PolicyRuntime(bundle)]

    def ticks(self, count: int) -> list[int]:
        """Tick and return the versions that decided."""
        versions = []
        for _ in range(count):
            self.bundle_manager.before_tick()
            tick = self.loop.tick(self.arm.state())
            self.arm.step(tick.command)
            self.bundle_manager.after_tick()
            versions.append(int(self.loop.records.schema.get(tick.record, 'bundle_version')))
        return versions


def test_a_bundle_moves_the_arm_only_after_its_trial(bundle: Bundle) -> None:
    run = Run(bundle)
    run.push(with_version(bundle, 1))
    assert run.ticks(8) == [0] * 5 + [1] * 3
    assert run.bundle_manager.promoted == 1 and not run.refusals


def test_no_trial_at_all_when_its_length_is_zero(bundle: Bundle) -> None:
    run = Run(bundle, ticks=0)
    run.push(with_version(bundle, 1))
    assert run.ticks(2) == [1, 1]


def test_a_trial_does_not_change_what_the_arm_does(bundle: Bundle) -> None:
    alone, beside = Run(bundle), Run(bundle, ticks=30)
    beside.push(untrained_bundle(ROBOT, TASK, load_training('spaars', width=16), seed=9))
    alone.ticks(20), beside.ticks(20)
    assert beside.bundle_manager.shadow_version == 0
    np.testing.assert_array_equal(alone.arm.state().position, beside.arm.state().position)


def test_a_bundle_refused_in_its_trial_is_named_and_the_next_one_is_tried(bundle: Bundle) -> None:
    run = Run(bundle, bound=0.3)
    run.push(tampered(bundle, 'explored_action', [('Mul', 0.0), ('Add', 0.6)], version=1))
    assert set(run.ticks(6)) == {0}
    assert len(run.refusals) == 1
    assert run.refusals[0].startswith('version 1: shadow_diverged: 0.6')
    run.push(with_version(bundle, 2))
    assert run.ticks(7)[-1] == 2


def test_bundles_that_arrive_during_a_trial_do_not_keep_it_from_ending(bundle: Bundle) -> None:
    """A learner that pushes faster than trials end would otherwise never be heard."""
    run = Run(bundle)
    versions = []
    for version in range(1, 30):
        run.push(with_version(bundle, version))
        versions += run.ticks(2)
    changes = sorted(set(versions))
    assert len(changes) >= 10 and versions[-1] >= 25
    assert versions == sorted(versions)


def test_a_rollback_goes_back_to_the_parent_once(bundle: Bundle) -> None:
    run = Run(bundle)
    with pytest.raises(RollbackRefused, match='version 0 has no parent'):
        run.bundle_manager.rollback()
    run.push(with_version(bundle, 1))
    assert run.ticks(6)[-1] == 1
    assert run.bundle_manager.parent_version == 0
    assert run.bundle_manager.rollback() == 1
    assert set(run.ticks(3)) == {0}
    assert run.bundle_manager.rolled_back_from == 1
    with pytest.raises(RollbackRefused, match='no parent'):
        run.bundle_manager.rollback()


def test_a_rollback_begins_the_trial_of_the_next_bundle_again(bundle: Bundle) -> None:
    """What it was compared with so far is the bundle that turned out to be bad."""
    run = Run(bundle)
    run.push(with_version(bundle, 1))
    run.ticks(6)
    run.push(with_version(bundle, 2))
    run.ticks(3)
    run.bundle_manager.rollback()
    assert run.ticks(6) == [0] * 5 + [2]


def test_after_a_rollback_nothing_is_tried_for_a_while(bundle: Bundle) -> None:
    """The next version descends from the bad one: it would be on the arm an episode later."""
    run = Run(bundle, hold=10)
    run.push(with_version(bundle, 1))
    run.ticks(6)
    run.push(with_version(bundle, 2))
    run.ticks(2)
    assert run.bundle_manager.rollback() == 1
    assert run.refusals == ['version 2: held_back: version 1 was taken back']
    run.push(with_version(bundle, 3))
    # 10 ticks of hold, 5 of the trial.
    assert run.ticks(17) == [0] * 15 + [3] * 2


def test_rollbacks_one_after_another_hold_longer_and_a_version_that_lasts_ends_that(
        bundle: Bundle) -> None:
    run = Run(bundle, ticks=0, hold=4)
    held = []
    for version, lasts in ((1, 2), (2, 2), (3, 2), (4, 40), (5, 2)):
        run.push(with_version(bundle, version))
        while run.loop.runtime.manifest.version != version:
            run.ticks(1)
        run.ticks(lasts)
        assert run.bundle_manager.rollback() == version
        held.append(run.bundle_manager.held)
    assert held == [4, 8, 16, 4, 8]  # the fourth version lasted


# Signatures

def test_a_signed_bundle_is_taken_and_still_read_without_a_key(
        bundle: Bundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / 'a.spaars', Signer(keys[0]))
    assert load_bundle(tmp_path / 'a.spaars', Verifier(keys[1])).manifest == bundle.manifest
    plain = load_bundle(tmp_path / 'a.spaars')
    assert plain.manifest == bundle.manifest and plain.extras == bundle.extras


def test_an_unsigned_bundle_is_refused_where_there_is_a_key(
        bundle: Bundle, keys: tuple[Path, Path]) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.from_bytes(bundle.to_bytes(), Verifier(keys[1]))
    assert caught.value.reason == 'unsigned'


def test_a_bundle_signed_by_another_key_is_refused(
        bundle: Bundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other, _ = generate(tmp_path)
    with pytest.raises(BundleError) as caught:
        Bundle.from_bytes(bundle.to_bytes(Signer(other)), Verifier(keys[1]))
    assert caught.value.reason == 'bad_signature'


def test_a_signature_moved_to_another_bundle_is_refused(
        bundle: Bundle, keys: tuple[Path, Path]) -> None:
    import hashlib
    signed = bundle.to_bytes(Signer(keys[0]))
    other = with_version(bundle, 7).to_bytes(Signer(keys[0]))
    body = other[:-96] + signed[-96:-32]
    with pytest.raises(BundleError) as caught:
        Bundle.from_bytes(body + hashlib.sha256(body).digest(), Verifier(keys[1]))
    assert caught.value.reason == 'bad_signature'


def test_keys_are_private_and_are_not_overwritten(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        private, public = generate(tmp_path / 'new')
    finally:
        os.umask(mask)
    assert private.stat().st_mode & 0o777 == 0o600
    assert public.stat().st_mode & 0o022 == 0
    content = private.read_bytes()
    with pytest.raises(KeyFileError, match='exists'):
        generate(tmp_path / 'new')
    assert private.read_bytes() == content


def test_a_private_key_that_others_can_read_is_refused(
        keys: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / 'key.pem'
    copy.write_bytes(keys[0].read_bytes())
    copy.chmod(0o640)
    with pytest.raises(KeyFileError, match='mode 0640.*chmod 600'):
        Signer(copy)


@pytest.mark.parametrize('content', [b'', b'not a key', b'-----BEGIN PRIVATE KEY-----\nAA\n'])
def test_a_file_that_is_no_key_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'key.pem'
    path.write_bytes(content)
    path.chmod(0o600)
    for kind in (Signer, Verifier):
        with pytest.raises(KeyFileError, match='key.pem'):
            kind(path)
    with pytest.raises(KeyFileError, match='nowhere'):
        Verifier(tmp_path / 'nowhere')


def test_a_key_of_another_kind_is_named(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
    path = tmp_path / 'key.pem'
    path.write_bytes(generate_private_key(SECP256R1()).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(KeyFileError, match='expected an Ed25519 key'):
        Verifier(path)


def test_keys_sign_and_verify_on_the_command_line(bundle: Bundle, tmp_path: Path) -> None:
    def spaars(*arguments: str) -> Any:
        return CliRunner().invoke(app, ['keys', *arguments])

    file, private, public = (str(tmp_path / name) for name in (
        'a.spaars', 'k/signing_key.pem', 'k/public_key.pem'))
    save_bundle(bundle, Path(file))
    assert spaars('generate', str(tmp_path / 'k')).exit_code == 0
    unsigned = spaars('verify', file, '--key', public)
    assert unsigned.exit_code == 1 and 'unsigned' in unsigned.output
    assert spaars('sign', file, '--key', private).exit_code == 0
    assert spaars('verify', file, '--key', public).exit_code == 0
    assert spaars('generate', str(tmp_path / 'k')).exit_code == 1


# Over ROS

@pytest.fixture
def start(start: Callable[..., Rig]) -> Callable[..., Rig]:
    """Start a server whose trials are short."""
    return partial(start, shadow_ticks=5, rollback_hold=0)


def diagnosed(rig: Rig, name: str) -> str:
    return values_of(rig.diagnostics[-1])[name] if rig.diagnostics else ''


def running(rig: Rig) -> int:
    return int(rig.steps[-1]['bundle_version'][0])


def test_a_pushed_bundle_that_diverges_never_moves_the_arm(
        start: Callable[..., Rig], bundle: Bundle) -> None:
    rig = start(shadow_bound=0.3)
    wild = tampered(bundle, 'explored_action', [('Mul', 0.0), ('Add', 0.6)], version=1,
                    trust=2.0)
    # What is explored has to agree with what is not, or the golden outputs give it away.
    wild = tampered(wild, 'latent_action', [('Mul', 0.0), ('Add', 0.6)])
    rig.policy.publish(encode_bytes(wild.to_bytes()))
    rig.spin_until(lambda: 'version 1: shadow_diverged' in diagnosed(rig, 'refusal'))
    rig.policy.publish(encode_bytes(newer(bundle, 2)))
    rig.spin_until(lambda: running(rig) == 2)
    assert 1 not in {int(step['bundle_version'][0]) for step in rig.steps}


def test_a_rolled_back_version_is_named_and_not_taken_again(
        start: Callable[..., Rig], bundle: Bundle) -> None:
    rig = start()
    refused = rig.call('policy_server/rollback')
    assert not refused.success and 'no parent' in refused.message
    rig.policy.publish(encode_bytes(newer(bundle, 1)))
    rig.spin_until(lambda: running(rig) == 1)
    answer = rig.call('policy_server/rollback')
    assert answer.success and 'version 1' in answer.message
    rig.spin_until(lambda: running(rig) == 0)
    assert rig.statuses[-1]['bundle_version'] == '0'
    assert rig.statuses[-1]['rolled_back_from'] == '1'
    acting = Path(rig.server.values()['run_dir']) / 'acting.spaars'
    rig.spin_until(lambda: load_bundle(acting).manifest.version == 0)
    assert acting.stat().st_mode & 0o077 == 0
    rig.spin_until(lambda: diagnosed(rig, 'rolled_back_from') == '1')
    assert 'rolled back from version 1 to 0' in rig.diagnostics[-1].message
    count = len(rig.steps)
    rig.policy.publish(encode_bytes(newer(bundle, 1)))
    rig.spin_until(lambda: len(rig.steps) > count + 15)
    assert running(rig) == 0
    rig.policy.publish(encode_bytes(newer(bundle, 2)))
    rig.spin_until(lambda: running(rig) == 2)
    assert rig.code == ''
    rig.spin_until(lambda: load_bundle(acting).manifest.version == 2)


def test_a_restarted_server_does_not_take_back_what_was_taken_back(
        start: Callable[..., Rig], bundle: Bundle) -> None:
    """The learner's latched topic offers a new server the very version that was called back."""
    rig = start()
    rig.policy.publish(encode_bytes(newer(bundle, 1)))
    rig.spin_until(lambda: running(rig) == 1)
    assert rig.call('policy_server/rollback').success
    for transition in ('deactivate', 'cleanup', 'configure', 'activate'):
        assert getattr(rig.server, f'trigger_{transition}')() == OK
    rig.policy.publish(encode_bytes(newer(bundle, 1)))
    rig.spin_until(lambda: 'taken_back: version 1: 1 was taken back' in diagnosed(rig, 'refusal'))
    rig.policy.publish(encode_bytes(newer(bundle, 2)))
    rig.spin_until(lambda: running(rig) == 2)


def test_what_a_restart_needs_is_written_later_where_the_disk_was_full(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that is not there stands for the disk; another file's success hides nothing."""
    folder = tmp_path / 'run'
    keeper = AtomicFileWriter(folder)
    keeper.put('a.json', b'first')
    until(lambda: 'a.json' in keeper.error, 5.0)
    folder.mkdir()
    keeper.put('b.json', b'second')
    until(lambda: not keeper.error and (folder / 'b.json').exists(), 5.0)
    assert (folder / 'a.json').read_bytes() == b'first'

    def full(path: Path, data: bytes, mode: int) -> None:
        if path.name == 'a.json':
            raise OSError(28, 'No space left on device')
        write_whole(path, data, mode)
    monkeypatch.setattr('spaars_ros.nodes.policy_server.atomic_file_writer.write_whole', full)
    keeper.put('a.json', b'third')
    keeper.put('b.json', b'fourth')
    until(lambda: (folder / 'b.json').read_bytes() == b'fourth', 5.0)
    assert 'a.json' in keeper.error and (folder / 'a.json').read_bytes() == b'first'
    keeper.close()


@pytest.mark.parametrize('content', [
    '', '{}', '[1]', '{"taken_back": 1}', '{"taken_back": "1", "bounds": {"max_episode_cost": 0}}',
    '{"taken_back": true, "bounds": {"max_episode_cost": 0}}', '[' * 100_000,
    '{"taken_back": 1, "bounds": {"max_episode_cost": NaN}}', '{"taken_back": 1, "bounds": 3}'])
def test_a_damaged_memory_of_the_server_is_named(content: str, tmp_path: Path) -> None:
    values = {'max_episode_cost': 0.0}
    assert PersistentState(tmp_path, values, put=lambda *file: None).taken_back == -1
    (tmp_path / 'policy_server.json').write_text(content)
    with pytest.raises(ValueError, match='policy_server.json'):
        PersistentState(tmp_path, values, put=lambda *file: None)


def test_a_rollback_is_refused_while_inactive(start: Callable[..., Rig]) -> None:
    rig = start(active=False)
    assert rig.server.trigger_configure() == OK
    answer = rig.call('policy_server/rollback')
    assert not answer.success and answer.message == 'the policy server is not active'


def test_a_server_with_a_key_does_not_start_with_an_unsigned_bundle(
        start: Callable[..., Rig], keys: tuple[Path, Path],
        capfd: pytest.CaptureFixture[str]) -> None:
    rig = start(active=False, public_key=str(keys[1]))
    assert rig.server.trigger_configure() != OK
    assert 'unsigned' in capfd.readouterr().err
    assert not rig.commands


def test_a_server_with_a_key_takes_only_what_that_key_signed(
        start: Callable[..., Rig], bundle: Bundle, keys: tuple[Path, Path],
        tmp_path: Path) -> None:
    signer = Signer(keys[0])
    save_bundle(bundle, tmp_path / 'signed.spaars', signer)
    rig = start(public_key=str(keys[1]), bundle=str(tmp_path / 'signed.spaars'))
    other, _ = generate(tmp_path / 'other')
    for version, key, reason in ((1, None, 'unsigned'), (2, Signer(other), 'bad_signature')):
        rig.policy.publish(encode_bytes(with_version(bundle, version).to_bytes(key)))
        rig.spin_until(lambda r=reason: r in diagnosed(rig, 'refusal'))  # type: ignore[misc]
        assert running(rig) == 0
    rig.policy.publish(encode_bytes(with_version(bundle, 3).to_bytes(signer)))
    rig.spin_until(lambda: running(rig) == 3)


def test_rubbish_on_its_topics_costs_the_server_no_tick(
        start: Callable[..., Rig], bundle: Bundle) -> None:
    rig = start()
    first = len(rig.steps)
    rng = np.random.default_rng(0)
    data = bundle.to_bytes()
    rubbish = [b'', rng.bytes(100), data[:1000], data[:8] + rng.bytes(5000)]
    for content in rubbish:
        rig.policy.publish(UInt8MultiArray(data=content))
        rig.fetch.publish(Float64MultiArray(data=[float('nan'), float('inf')]))
        rig.fetch.publish(Float64MultiArray(data=[-1.0, 1e300]))
        rig.fetch.publish(Float64MultiArray())
        rig.spin_for(0.2)
    rig.spin_until(lambda: int(diagnosed(rig, 'bundles_refused') or 0) >= 3)
    assert rig.code == ''
    steps = [int(step['index'][0]) for step in rig.steps[first:]]
    assert len(steps) > 10 and set(np.diff(steps)) <= {1, 1 - TASK.horizon}


def test_the_learner_signs_what_it_publishes_and_keeps(
        keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(tmp_path / 'small')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(domain_id=next(DOMAINS))
    heard: list[UInt8MultiArray] = []
    try:
        learner = LearnerNode(
            bundle=str(folder / 'initial.spaars'), task=str(folder / 'task.yaml'),
            training=str(folder / 'training.yaml'), run_dir=str(tmp_path / 'run'),
            demonstrations=str(folder / 'demonstrations.h5'), signing_key=str(keys[0]))
        ear = Node('ear')
        ear.create_subscription(UInt8MultiArray, 'learner/policy', heard.append,
                                QOS['learner/policy'])
        executor = SingleThreadedExecutor()
        executor.add_node(ear)
        assert learner.trigger_configure() == OK
        assert learner.trigger_activate() == OK
        learner._push()

        def bundle_heard() -> bool:
            executor.spin_once(timeout_sec=0.1)
            return bool(heard)

        until(bundle_heard, 20.0, 'no bundle')
        assert learner.trigger_deactivate() == OK
        assert learner.trigger_cleanup() == OK
        executor.shutdown()
        ear.destroy_node()
        learner.destroy_node()
    finally:
        rclpy.shutdown()
    verifier = Verifier(keys[1])
    assert Bundle.from_bytes(decode_bytes(heard[0]), verifier).manifest.version == 1
    kept = list((tmp_path / 'run' / 'checkpoints').glob('*.spaars'))
    assert kept and load_bundle(kept[0], verifier).extras


# --- a network that cannot keep pace, or decides in several states only

def slow_network(bundle: Bundle) -> Bundle:
    """Return the bundle with products of large matrices behind an output, which they add 0 to."""
    model = onnx.ModelProto.FromString(bundle.graphs['policy'])
    graph, output = model.graph, 'latent_action'
    for node in graph.node:
        node.input[:] = ['quick' if name == output else name for name in node.input]
        node.output[:] = ['quick' if name == output else name for name in node.output]
    wide = np.random.default_rng(0).normal(size=(1000, 1000)).astype(np.float32)
    for name, values in (('into', np.zeros((OBSERVATION, 1000), np.float32)), ('wide', wide),
                         ('out', np.zeros((1000, bundle.manifest.action_dim), np.float32))):
        graph.initializer.append(numpy_helper.from_array(values, name))
    graph.node.append(helper.make_node('MatMul', ['observation', 'into'], ['slow0']))
    for place in range(200):
        graph.node.append(helper.make_node('MatMul', [f'slow{place}', 'wide'],
                                           [f'slow{place + 1}']))
    graph.node.append(helper.make_node('MatMul', ['slow200', 'out'], ['nothing']))
    graph.node.append(helper.make_node('Add', ['quick', 'nothing'], [output]))
    return Bundle(bundle.manifest, {'policy': model.SerializeToString()}, bundle.golden_outputs)


def for_several_states(bundle: Bundle) -> Bundle:
    """Return the bundle with a graph that takes as many states as there are golden outputs."""
    model = onnx.ModelProto.FromString(bundle.graphs['policy'])
    for given in model.graph.input:
        if given.name != 'trust':
            given.type.tensor_type.shape.dim[0].dim_value = len(
                bundle.golden_outputs['observation'])
    return Bundle(bundle.manifest, {'policy': model.SerializeToString()}, bundle.golden_outputs)


@pytest.mark.parametrize(('make', 'limit', 'reason'), [
    (lambda bundle: bundle, 10.0, ''), (slow_network, 1e-3, 'too_slow'),
    (for_several_states, 10.0, 'cannot_decide')], ids=['fine', 'slow', 'several'])
def test_a_bundle_is_rehearsed_in_one_state_before_it_acts(
        bundle: Bundle, make: Callable[[Bundle], Bundle], limit: float, reason: str) -> None:
    made = make(bundle)
    runtime = check_bundle(made, ROBOT, task=TASK.name, observation_dim=OBSERVATION)
    if not reason:
        rehearse(runtime, made, limit)
        return
    with pytest.raises(BundleError) as caught:
        rehearse(runtime, made, limit)
    assert caught.value.reason == reason


def test_a_server_does_not_start_with_a_bundle_that_decides_no_single_state(
        bundle: Bundle, start: Callable[..., Rig], tmp_path: Path) -> None:
    save_bundle(for_several_states(bundle), tmp_path / 'several.spaars')
    rig = start(active=False, bundle=str(tmp_path / 'several.spaars'))
    assert rig.server.trigger_configure() != OK


# --- a network that fails on what the robot measures

def test_a_network_that_raises_is_a_stop_and_its_version_is_taken_back(bundle: Bundle) -> None:
    run = Run(bundle, ticks=0)
    first = float(run.loop.runtime.normalise(
        run.loop.task.observe(World(run.arm.state(), run.loop.kinematics), run.loop.goal))[0])
    taken: list[int] = []
    run.bundle_manager._takes_back = taken.append
    run.push(raises_beyond(bundle, first - 0.1, 1))
    run.bundle_manager.before_tick()
    tick = run.loop.tick(run.arm.state())
    assert tick.ended and tick.stop is not None and tick.stop.code == 'INFERENCE'
    assert 'version 1' in tick.stop.text and '\n' not in tick.stop.text
    assert np.isfinite(tick.command).all() and np.isfinite(tick.record).all()
    run.bundle_manager.fail()
    assert taken == [1] and run.loop.runtime.manifest.version == 0


def test_a_first_bundle_that_fails_makes_place_for_the_one_before_it(bundle: Bundle) -> None:
    run = Run(with_version(bundle, 3))
    acted: list[int] = []
    run.bundle_manager = BundleManager(
        run.loop, take=lambda: None, refuse=run.refusals.append, ticks=5, bound=1.0,
        acts=lambda runtime, parent: acted.append(runtime.manifest.version),
        spare=PolicyRuntime(with_version(bundle, 2)))
    run.bundle_manager.fail()
    assert acted == [2] and run.loop.runtime.manifest.version == 2


def test_a_running_server_survives_a_network_that_raises_and_so_does_the_next_start(
        start: Callable[..., Rig], bundle: Bundle) -> None:
    """Golden outputs and trial passed: it fails only where the arm gets later."""
    rig = start(shadow_ticks=2, rollback_hold=0, spike=0.0, velocity_mismatch=0.0, frozen=0)
    observations = bundle.golden_outputs['observation'].astype(np.float64)
    shown = PolicyRuntime(bundle).normalise(observations)
    beyond = float(shown[:, 0].max()) + 0.2
    m = bundle.manifest
    turned_to = m.observation_mean[0] + m.observation_std[0] * (beyond + 0.1)
    assert beyond < OBSERVATION_CLIP and abs(turned_to) < ROBOT.limits.position[0][1]
    rig.policy.publish(encode_bytes(raises_beyond(bundle, beyond, 1).to_bytes()))
    rig.spin_until(lambda: running(rig) == 1)
    folder = Path(rig.server.values()['run_dir'])
    rig.spin_until((folder / 'acting.spaars').exists)
    rig.mutate = lambda msg: turned(msg, turned_to)
    rig.spin_until(lambda: rig.code == 'INFERENCE')
    rig.spin_until(lambda: load_bundle(folder / 'acting.spaars').manifest.version == 0)
    assert rig.statuses[-1]['rolled_back_from'] == '1'
    rig.spin_until(lambda: rig.standing)
    rig.mutate = lambda msg: msg
    rig.spin_for(1.0)
    assert rig.call('policy_server/reset').success


def turned(msg: Any, first: float) -> Any:
    msg.position[0] = first
    return msg


def test_a_version_far_ahead_is_refused_and_later_ones_are_still_taken(
        start: Callable[..., Rig], bundle: Bundle) -> None:
    """Or nothing of the learner's would be newer, for good."""
    rig = start()
    rig.policy.publish(encode_bytes(newer(bundle, 2**53)))
    rig.spin_until(lambda: 'version_jump' in diagnosed(rig, 'refusal'))
    rig.policy.publish(encode_bytes(newer(bundle, 3)))
    rig.spin_until(lambda: running(rig) == 3)
    assert rig.code == ''
