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


"""Components of a policy server, loaded from its parameters; without topics."""

from collections.abc import Callable
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from spaars_ros.checkpoint_files import ACTING
from spaars_ros.checkpoint_files import BEFORE_ACTING
from spaars_ros.control.bundle_manager import BundleManager
from spaars_ros.control.control import ControlLoop
from spaars_ros.data.derived_velocity import DerivedVelocity
from spaars_ros.data.schema import StepSchema
from spaars_ros.data.spool import Spool
from spaars_ros.nodes.policy_server.atomic_file_writer import AtomicFileWriter
from spaars_ros.nodes.policy_server.intake import BundleIntake
from spaars_ros.nodes.policy_server.people import person_of
from spaars_ros.nodes.policy_server.persistent_state import PersistentState
from spaars_ros.policy.bundle import Bundle
from spaars_ros.policy.bundle import bundle_bytes
from spaars_ros.policy.bundle import BundleError
from spaars_ros.policy.rehearsal import rehearse
from spaars_ros.policy.runtime import check_bundle
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.policy.signing import Verifier
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.ros.joint_states import JointStateReader
from spaars_ros.ros.lifecycle import Refused
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.registry import load_task
from spaars_ros.tasks.registry import make_task


class Parts:
    """
    Robot, task, policy, control loop, spool and bundle manager of one configuration.

    :param p: parameters of the policy server
    :param logger: logger of the node
    :param opened: list to which objects to close are appended, also if a later part fails
    :param alone: called before anything is opened; raises Refused if another server runs
    :raises ValueError: a file or a parameter is invalid; the message names it
    :raises Refused: the bundle cannot be used
    :raises OSError: a file cannot be read or created
    """

    def __init__(self, p: Mapping[str, Any], logger: RcutilsLogger, opened: list[Any],
                 alone: Callable[[], None]) -> None:
        self._run_dir = Path(p['run_dir'])
        self._logger = logger
        robot = self.robot = load_robot(p['robot'])
        task = self.task = make_task(robot, load_task(p['task']))
        check = partial(check_bundle, robot=robot, task=task.name,
                        observation_dim=task.observation_dim, spec=task.spec)
        verifier = Verifier(Path(p['public_key'])) if p['public_key'] else None
        runtime = _first(p['bundle'], check, verifier, robot.period)
        alone()
        self.spool = Spool(self._run_dir / 'spool', _schema(robot, task, runtime))
        opened.append(self.spool)
        self.loop = self._control_loop(p, runtime)
        self.file_writer = AtomicFileWriter(self._run_dir)
        opened.append(self.file_writer)
        self.memory = self._remembered(p, runtime)
        self.intake = BundleIntake(
            partial(check, latent_dim=runtime.manifest.latent_dim), period=robot.period,
            version=runtime.manifest.version, verifier=verifier,
            taken_back=self.memory.taken_back)
        opened.append(self.intake)
        self.bundle_manager = BundleManager(
            self.loop, take=self.intake.take, refuse=self.intake.refuse,
            ticks=p['shadow_ticks'], bound=p['shadow_bound'], hold=p['rollback_hold'],
            acts=self._keep_acting, takes_back=self.memory.take_back,
            spare=self._before(runtime, check, verifier))
        # Only a torque cost requires the measured effort.
        self.reader = JointStateReader(
            robot.joints, effort=any('torque' in each.terms for each in robot.constraints),
            derived=DerivedVelocity(robot.period) if robot.velocity == 'derived' else None)

    def _control_loop(self, p: Mapping[str, Any], runtime: PolicyRuntime) -> ControlLoop:
        """Return the control loop; episode and sequence numbers continue those in the spool."""
        last, schema = self.spool.last_row(), self.spool.schema
        person, drive = person_of(p, len(self.robot.joints))
        loop = ControlLoop(
            robot=self.robot, task=self.task, runtime=runtime, seed=p['seed'],
            explore=p['explore'],
            safety_filter=SafetyFilter(self.robot, gross=p['gross_violation'],
                                       repeated=p['repeated_violation']),
            first_episode=0 if last is None else int(schema.get(last, 'episode')) + 1,
            first_sequence=self.spool.count, horizon=p['horizon'], person=person, drive=drive,
            budget=p['budget'],
            rest=p['guide_rest'])
        if last is not None:
            # The counter covers the complete run, and a summary takes its maximum.
            loop.records.lost_ticks = int(schema.get(last, 'lost_ticks'))
        return loop

    def _remembered(self, p: Mapping[str, Any], runtime: PolicyRuntime) -> PersistentState:
        memory = PersistentState(self._run_dir, p, put=self.file_writer.put)
        version = runtime.manifest.version
        if version == memory.taken_back:
            self._logger.warning(f'version {version}, which begins, was taken back before')
        for line in memory.missed():
            self._logger.warning(f'{line}: what was set while running is not kept')
        return memory

    def _keep_acting(self, runtime: PolicyRuntime, parent: PolicyRuntime | None) -> None:
        if parent is not None:  # first: a kill between the two leaves a bundle that acted
            self.file_writer.put(BEFORE_ACTING, parent.data)
        self.file_writer.put(ACTING, runtime.data)

    def _before(self, acting: PolicyRuntime, check: Callable[[Bundle], PolicyRuntime],
                verifier: Verifier | None) -> PolicyRuntime | None:
        """Return the policy that acted before the first bundle, if it is in the run folder."""
        path = self._run_dir / BEFORE_ACTING
        if not path.exists():
            return None
        try:
            before = _read(path, check, verifier, self.robot.period)
        except BundleError as error:
            self._logger.warning(f'{path} is no bundle to go back to: {error}')
            return None
        return before if before.manifest.version < acting.manifest.version else None


def _first(path: str, check: Callable[[Bundle], PolicyRuntime], verifier: Verifier | None,
           period: float) -> PolicyRuntime:
    if not path:
        raise Refused('parameter bundle is empty: name a policy bundle file')
    try:
        return _read(Path(path), check, verifier, period)
    except BundleError as error:
        raise Refused(f'bundle {path}: {error}') from None


def _read(path: Path, check: Callable[[Bundle], PolicyRuntime], verifier: Verifier | None,
          period: float) -> PolicyRuntime:
    # Read once, so that the bytes kept as acting are those that were checked.
    data = bundle_bytes(path)
    bundle = Bundle.from_bytes(data, verifier)
    runtime = check(bundle)
    # While a decision takes longer than a period, the command before it would stand.
    rehearse(runtime, bundle, period)
    runtime.data = data
    return runtime


def _schema(robot: Robot, task: Task, runtime: PolicyRuntime) -> StepSchema:
    return StepSchema(observation=task.observation_dim, latent=runtime.manifest.latent_dim,
                      action=task.spec.action_dim, joints=len(robot.joints),
                      sources=len(task.sources))
