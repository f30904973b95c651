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

"""Policy runtime for the control loop: ONNX Runtime on one thread, checked before use."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
import onnxruntime

from spaars_ros.data.inference import session_options
from spaars_ros.data.schema import Mode
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.gate import AdvantageGate
from spaars_ros.policy.graph import check_graph
from spaars_ros.policy.graph import GraphError
from spaars_ros.robot.config import Robot
from spaars_ros.robot.contract import contract_of
from spaars_ros.robot.contract import policy_differences
from spaars_ros.tasks.spec import differing
from spaars_ros.tasks.spec import TaskSpec

Array = NDArray[np.float64]

GOLDEN_TOLERANCE = 1e-3
OUTPUTS = ('latent', 'latent_action', 'raw_action', 'explored_latent', 'explored_action',
           'q_latent', 'q_raw')
"""Outputs of the policy graph, in this order."""
FLOOR_OUTPUTS = ('anchor_latent', 'anchor_action', 'explored_anchor_latent',
                 'explored_anchor_action', 'q_anchor')
"""Additional outputs where the pretrained policy is the floor."""

OBSERVATION_CLIP = 8.0
"""Standard deviations at which a normalised observation is clipped, as in training."""


ARENA = 256 * 2**20
"""bytes that all sessions of the process together may use."""


@dataclass(frozen=True)
class Decision:
    """Decision of the policy in one state; actions (a,) are normalised to [-1, 1]."""

    action: Array
    latent: NDArray[np.float32]
    latent_action: NDArray[np.float32]
    raw_action: NDArray[np.float32]
    mode: Mode
    gate: float
    margin: float


@cache
def _bounded_arena() -> None:
    """Make the sessions of this process share one bounded arena: a small graph can grow."""
    info = onnxruntime.OrtMemoryInfo('Cpu', onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0,
                                     onnxruntime.OrtMemType.DEFAULT)
    # Extended by the requested size (1), not to the next power of two.
    onnxruntime.create_and_register_allocator(info, onnxruntime.OrtArenaCfg(
        {'max_mem': ARENA, 'arena_extend_strategy': 1}))


def _session(name: str, graph: bytes) -> onnxruntime.InferenceSession:
    try:
        check_graph(graph)
    except GraphError as error:
        raise BundleError('bad_graph', f'{name}: {error}') from None
    _bounded_arena()
    options = session_options()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry('session.use_env_allocators', '1')
    try:
        # The fallback would only repeat the same attempt, and print a message.
        return onnxruntime.InferenceSession(graph, options, providers=['CPUExecutionProvider'],
                                            enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - the C++ side raises several unrelated kinds
        raise BundleError('bad_graph', f'{name}: {error}'.splitlines()[0]) from None


class PolicyRuntime:
    """Run a bundle's graphs; one instance per bundle, not shared between threads."""

    def __init__(self, bundle: Bundle) -> None:
        """
        Build the sessions.

        :raises BundleError: a graph is not valid ONNX, or not plain feed-forward arithmetic
        """
        self.manifest = bundle.manifest
        self.data = b''
        """Bytes of the bundle file, where the creator of the runtime sets them."""
        m = bundle.manifest
        self._mean = np.asarray(m.observation_mean)
        self._std = np.asarray(m.observation_std)
        self._session = _session('policy', bundle.graphs['policy'])
        self._gate = AdvantageGate(m.margin, m.kappa, np.asarray(m.multipliers, dtype=np.float64))
        self._outputs = (*OUTPUTS, *FLOOR_OUTPUTS) if m.floor else OUTPUTS
        self._trust = np.array([m.trust], dtype=np.float32)
        self._still = np.zeros((1, m.latent_dim), dtype=np.float32)
        self._fresh = np.ones((1, 1), dtype=np.float32), np.zeros((1, 1), dtype=np.float32)

    def normalise(self, observation: Array) -> NDArray[np.float32]:
        """Return observations (..., n) normalised for the graphs, as float32."""
        scaled = (observation - self._mean) / self._std
        # Every tick runs this on cold caches, where np.clip takes three times as long.
        return np.minimum(np.maximum(scaled, -OBSERVATION_CLIP), OBSERVATION_CLIP).astype(
            np.float32)

    def run(self, observation: NDArray[np.float32], noise: NDArray[np.float32],
            skill: NDArray[np.float32] | None = None,
            fresh: NDArray[np.float32] | None = None) -> dict[str, NDArray[np.float32]]:
        """
        Return `OUTPUTS` for normalised observations (B, n) and latent noise (B, k).

        With a floor, `FLOOR_OUTPUTS`, too.

        :param skill: (B, k) in effect, for a bundle with skills
        :param fresh: (B, 1), 1 where a new skill begins instead, for a bundle with skills
        """
        inputs = {'observation': observation, 'noise': noise, 'trust': self._trust}
        if skill is not None and fresh is not None:
            inputs.update(skill=skill, fresh=fresh)
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs)))

    def decide(self, observation: Array, noise: Array | None = None,
               skill: NDArray[np.float32] | None = None, *, careful: bool = False) -> Decision:
        """
        Return what to do in one state.

        :param observation: (n,) physical units
        :param noise: (k + a,) standard normal exploration noise, latent part first; None for the
            policy's mode. The gate always compares modes. With skills the latent part draws the
            skill that begins, and the gate compares the raw action with the mean action of the
            skill in effect.
        :param skill: (k,) in effect, None where a new one begins; without skills every tick begins
            one
        :param careful: let only the pretrained policy act, where there is a floor, else the latent
            one; no noise
        """
        m = self.manifest
        shift = self._still
        noise = None if careful else noise
        if noise is not None:
            shift = (m.exploration.latent * noise[None, :m.latent_dim]).astype(np.float32)
        held = () if m.skill_length == 1 else (self._still, self._fresh[0]) if skill is None \
            else (skill[None], self._fresh[1])
        out = self.run(self.normalise(observation)[None], shift, *held)
        gate = self._gate.advantage(out['q_raw'][0], out['q_anchor' if m.floor else 'q_latent'][0])
        mode, name = self._chosen(out, gate, careful)
        raw = out['raw_action'][0]
        if mode is Mode.RAW:
            # With skills this is the skill in effect, which continues below the raw actions.
            action, latent = raw, out['latent'][0]
            if noise is not None:
                action = np.clip(raw + m.exploration.raw * noise[m.latent_dim:], -1.0, 1.0)
        else:
            action, latent = out[f'{name}action'][0], out[f'{name}latent'][0]
        return Decision(action=action.astype(np.float64), latent=latent,
                        latent_action=out['latent_action'][0], raw_action=raw, mode=mode,
                        gate=gate, margin=m.margin)

    def _chosen(self, out: dict[str, NDArray[np.float32]], gate: float,
                careful: bool) -> tuple[Mode, str]:
        """Return the mode, and the prefix of its outputs' names where it is latent."""
        m = self.manifest
        if m.mode == 'raw-only' and not careful:
            return Mode.RAW, ''
        raw_may = m.mode == 'gated' and m.gate_open and not careful
        if not m.floor:
            raw = raw_may and self._gate.opens(gate)
            return (Mode.RAW if raw else Mode.LATENT), 'explored_'
        if careful:
            return Mode.LATENT, 'explored_anchor_'
        bounds = [self._gate.advantage(out['q_latent'][0], out['q_anchor'][0]), gate]
        place = self._gate.best(bounds[:1 + raw_may], (m.floor_margin, m.margin))
        return (Mode.LATENT, 'explored_anchor_') if place == 0 else \
            (Mode.LATENT, 'explored_') if place == 1 else (Mode.RAW, '')


def check_bundle(bundle: Bundle, robot: Robot, *, task: str, observation_dim: int,
                 latent_dim: int | None = None, observation_names: Sequence[str] = (),
                 spec: TaskSpec | None = None) -> PolicyRuntime:
    """
    Return a runtime for a bundle that fits this robot and reproduces its golden outputs.

    :param bundle: the bundle to check
    :param robot: the robot file
    :param task: name of the task
    :param observation_dim: n
    :param latent_dim: k that the bundle has to have; None: any
    :param observation_names: of the observation's values; ignored where there is a spec
    :param spec: of the task; None: actions are joint velocities, and terms are not compared
    :raises BundleError: wrong_robot, wrong_joints, wrong_scale, wrong_contract, wrong_task,
        wrong_terms, wrong_shape, not_finite, bad_graph or golden_mismatch
    """
    m = bundle.manifest
    d = len(robot.joints) if spec is None else spec.action_dim
    if m.robot != robot.name:
        raise BundleError('wrong_robot', f'made for {m.robot!r}, this is {robot.name!r}')
    if m.task != task:
        raise BundleError('wrong_task', f'made for {m.task!r}, this is {task!r}')
    if m.joints != robot.joints:
        raise BundleError('wrong_joints', f'made for {m.joints}, the robot file has '
                                          f'{robot.joints}')
    if spec is not None and m.observation_terms and m.task == task:
        differs = differing(spec, m.observation_terms, m.action, m.encoders)
        if differs:
            raise BundleError('wrong_terms', '; '.join(differs))
    if m.action_dim != d:
        raise BundleError('wrong_shape', f'action_dim {m.action_dim}, robot and task have {d}')
    if abs(m.action_scale - robot.control.action_scale) > 1e-9:
        raise BundleError('wrong_scale', f'action_scale {m.action_scale}, the robot file has '
                                         f'{robot.control.action_scale}')
    observation_names = observation_names if spec is None else spec.observation_names
    if m.contract is not None:
        differ = policy_differences(m.contract, contract_of(robot, observation_names))
        if differ:
            raise BundleError('wrong_contract', f'made for another robot file: {differ}: restore '
                                                'that, or pretrain for this one')
    for name, expected in (('observation_mean', observation_dim),
                           ('observation_std', observation_dim)):
        if len(getattr(m, name)) != expected or m.observation_dim != expected:
            raise BundleError('wrong_shape', f'{name} has {len(getattr(m, name))} entries, '
                                             f'the task observes {expected}')
    if latent_dim is not None and m.latent_dim != latent_dim:
        raise BundleError('wrong_shape', f'latent_dim {m.latent_dim}, running {latent_dim}')
    if min(m.observation_std) <= 0:
        raise BundleError('not_finite', f'observation_std has {min(m.observation_std)}')
    runtime = PolicyRuntime(bundle)
    _check_golden_outputs(runtime, bundle, robot)
    return runtime


def _check_golden_outputs(runtime: PolicyRuntime, bundle: Bundle, robot: Robot) -> None:
    m = bundle.manifest
    golden = bundle.golden_outputs
    expected_shapes = {'observation': (m.observation_dim,), 'latent': (m.latent_dim,),
                       'latent_action': (m.action_dim,), 'raw_action': (m.action_dim,)}
    if m.floor:
        expected_shapes.update(anchor_latent=(m.latent_dim,), anchor_action=(m.action_dim,))
    if m.skill_length > 1:
        expected_shapes.update(skill=(m.latent_dim,), fresh=(1,))
    for name, shape in expected_shapes.items():
        if name not in golden or golden[name].ndim != 2 or len(golden[name]) == 0 \
                or golden[name].shape[1:] != shape:
            found = golden[name].shape if name in golden else 'nothing'
            raise BundleError('wrong_shape', f'golden output {name}: {found}, expected '
                                             f'(m, {shape[0]})')
    o = runtime.normalise(golden['observation'].astype(np.float64))
    skills = []
    if m.skill_length > 1:
        skills = [golden[name].astype(np.float32) for name in ('skill', 'fresh')]
        if set(skills[1].flat) != {0.0, 1.0}:
            raise BundleError('wrong_shape', 'golden output fresh: has to have both 0 and 1, '
                                             'a skill that is held and one that begins')
    try:
        got = runtime.run(o, np.zeros((len(o), m.latent_dim), np.float32), *skills)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises several unrelated kinds
        raise BundleError('wrong_shape', f'{error}'.splitlines()[0]) from None
    if got['q_latent'].ndim != 3 or got['q_latent'].shape[2] != 1 + len(robot.constraints) \
            or len(m.multipliers) != len(robot.constraints):
        raise BundleError('wrong_shape', f'critic {got["q_latent"].shape} with '
                                         f'{len(m.multipliers)} multipliers for '
                                         f'{len(robot.constraints)} constraints')
    # Without noise the explored outputs, which move the arm, equal the others.
    repeated = {'explored_latent': 'latent', 'explored_action': 'latent_action',
                'explored_anchor_latent': 'anchor_latent',
                'explored_anchor_action': 'anchor_action'}
    for name, values in got.items():
        if not np.isfinite(values).all():
            raise BundleError('not_finite', f'golden output {name}')
        want = golden.get(repeated.get(name, name))
        if want is None or want.shape != values.shape:
            raise BundleError('wrong_shape', f'golden output {name}: '
                              f'{None if want is None else want.shape}, computed {values.shape}')
        off = (np.abs(values - want) / (1.0 + np.abs(want))).reshape(len(want), -1).max(1)
        if not off.max() < GOLDEN_TOLERANCE:
            raise BundleError('golden_mismatch', f'{name} differs by {off.max():.3g} at golden '
                                                 f'output {int(off.argmax())}')
