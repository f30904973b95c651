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

"""One control tick from observation to command, free of ROS."""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaars_ros.control.actuation import Actuation
from spaars_ros.control.budget import EpisodeBudget
from spaars_ros.control.given import Given
from spaars_ros.control.guiding import Guiding
from spaars_ros.control.person import Person
from spaars_ros.control.records import StepRecords
from spaars_ros.control.skill_state import SkillState
from spaars_ros.control.takeover import Takeover
from spaars_ros.data.schema import Budget
from spaars_ros.data.schema import Flag
from spaars_ros.data.schema import Mode
from spaars_ros.data.schema import Outcome
from spaars_ros.data.schema import RobotState
from spaars_ros.data.schema import StepSchema
from spaars_ros.policy.runtime import Decision
from spaars_ros.policy.runtime import PolicyRuntime
from spaars_ros.robot.config import Robot
from spaars_ros.robot.kinematics import Kinematics
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.stop import Stop
from spaars_ros.tasks.base import NOTHING
from spaars_ros.tasks.base import Sample
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.base import World
from spaars_ros.tasks.protocols import goal_of

Array = NDArray[np.float64]

Decided = tuple[Array, Decision, NDArray[np.float32] | None, Array | None]
"""Observation, decision, the skill in effect (None: the decision began one), the noise."""


@dataclass
class Tick:
    """Result of one tick."""

    command: Array
    """(d,) rad/s, passed by the filter."""
    ended: bool
    stop: Stop | None
    make_record: Callable[[], Array] | None
    """None: this tick has no record."""
    channels: Array
    """(c,) values of the task's channels."""
    earlier: Array | None = None
    """A record before this tick's; hand guiding makes its records one tick late."""

    @cached_property
    def record(self) -> Array | None:
        """
        Return the step record, if there is one; it closes the episode when `ended`.

        It is made at the first access, so that the command is sent first.
        """
        return None if self.make_record is None else self.make_record()


class ControlLoop:
    """
    Observation, policy, gate, person, safety filter and step record of every tick.

    Goals and noise depend only on seed, episode and index, so a run can be repeated.

    :param robot: the robot file
    :param task: the task, with its observation, costs and outcome
    :param safety_filter: the filter that every command passes
    :param runtime: runtime of the first bundle
    :param seed: seed of goals and noise
    :param explore: whether to add exploration noise
    :param first_episode: number of the first episode
    :param first_sequence: number of the first record
    :param person: person who may take over; None: nobody
    :param drive: who acts where no person does, see `Takeover`
    :param horizon: ticks after which an episode ends; 0: the task's
    :param rest: s without motion that end an episode of hand guiding; 0 for never
    :param budget: reaction when an episode has spent its cost limit: off, warn or hold
    """

    def __init__(self, *, robot: Robot, task: Task, safety_filter: SafetyFilter,
                 runtime: PolicyRuntime, seed: int, explore: bool = True,
                 first_episode: int = 0, first_sequence: int = 0,
                 person: Person | None = None, drive: str = 'policy', horizon: int = 0,
                 rest: float = 0.0, budget: str = 'off') -> None:
        self.robot = robot
        self.task = task
        self.filter = safety_filter
        self.runtime = runtime
        self.seed = seed
        self.explore = explore
        self.episode = first_episode - 1
        self.index = 0
        self.kinematics = Kinematics(robot)
        self.horizon = horizon or task.horizon
        self.budget = EpisodeBudget(task, robot.constraints, self.horizon, budget)
        self.goal: Array | None = None
        self.verdict: Outcome | None = None
        """Outcome that a person gives to the running episode, which then ends with the next
        tick."""
        self.sources: Mapping[str, Sample] = NOTHING
        """Newest sample of each of the task's sources, set by the reader of the sources."""
        self.read_sources: Callable[[int], Mapping[str, Sample]] | None = None
        """Returns the samples for the stamp of a state, ns; None: `sources` is set from
        outside."""
        self.given = Given(task)
        self.decided: Decided | None = None
        """The newest tick that made a decision; the reader clears it."""
        m = runtime.manifest
        schema = StepSchema(observation=m.observation_dim, latent=m.latent_dim,
                            action=m.action_dim, joints=len(robot.joints),
                            sources=len(task.sources))
        self.records = StepRecords(schema, task.sources, self.given, self.budget,
                                   first_sequence)
        self._nothing = np.zeros(m.observation_dim)
        self._latent, self._wide = (m.latent_dim,), (task.spec.action_dim,)
        self.actuation = Actuation(robot, task.spec, safety_filter, self.kinematics)
        self._rng = np.random.default_rng(seed)
        self._noise = np.zeros(m.latent_dim + m.action_dim)
        self.skill = SkillState(m)
        self.takeover = None if person is None else Takeover(
            robot, task.spec, person, self.actuation, self.kinematics, drive)
        self.guiding = Guiding(robot, self.takeover, rest) \
            if self.takeover is not None and drive == 'guide' else None
        self._led: tuple[RobotState, Array] | None = None
        """State and observation whose action is known from the next state (hand guiding)."""

    def swap(self, runtime: PolicyRuntime) -> None:
        """Decide with another bundle from the next tick on; see `SkillState.swap`."""
        self.runtime = runtime
        self.skill.swap(runtime.manifest)

    def begin(self, state: RobotState) -> None:
        """Start the next episode from the measured state."""
        self.episode += 1
        self.index = 0
        self.verdict = None
        self.given.restart()
        self.goal = goal_of(self.task, np.random.default_rng([self.seed, self.episode, 0]))
        self._rng = np.random.default_rng([self.seed, self.episode, 1])
        self.budget.begin()
        self.filter.keep_margin(False)
        self.filter.reset(state)
        self.actuation.channels.reset()
        if self.takeover is not None:
            self.takeover.begin()
        if self.guiding is not None:
            self.guiding.begin(state)
        self._led = None
        self.skill.restart()

    def tick(self, state: RobotState, age: float = 0.0) -> Tick:
        """
        Decide for a state; a stop is returned in the tick, with a braking command.

        :param state: newest measured state
        :param age: s since the state was measured, for the filter
        """
        if self.read_sources is not None:
            self.sources = self.read_sources(state.stamp_ns)
        try:
            observation, outcome = self._observe(state)
            outcome = self.given.outcome(outcome, self.sources)
        except Exception as error:  # noqa: BLE001 - the task is somebody else's code
            said = str(error).partition('\n')[0]
            stop = Stop('TASK', self.index, 0.0,
                        f'the task cannot observe: {type(error).__name__}: {said}')
            return self._close(state, self._nothing, Flag.ABORTED, stop)
        if not np.isfinite(observation).all():
            bad = int(np.argmin(np.isfinite(observation)))
            stop = Stop('NOT_FINITE', float(observation[bad]), 0.0,
                        f'observation {bad} is {observation[bad]}')
            return self._close(state, np.nan_to_num(observation), Flag.ABORTED, stop)
        if self.verdict is not None:  # a person's label overrides the task
            return self._close(state, observation, Flag.PERSON, None, self.verdict)
        if outcome or self.index >= self.horizon:
            return self._close(state, observation,
                               Flag.TERMINATED if outcome else Flag.TRUNCATED, None, outcome)
        if self.guiding is not None:
            if self.guiding.rested:
                return self._close(state, observation, Flag.PERSON, None)
            return self._led_here(state, observation)
        careful = self.budget.reached(observation, state.effort) is Budget.HELD
        self.filter.keep_margin(careful)
        if careful and self.budget.ends:
            # The task did not end: what would have followed is unknown, so learners bootstrap.
            return self._close(state, observation, Flag.TRUNCATED, None, Outcome.FAILURE)
        m = self.runtime.manifest
        fresh = self._rng.standard_normal(m.latent_dim + m.action_dim)
        kept = m.exploration.correlation if self.index else 0.0
        self._noise = kept * self._noise + math.sqrt(1.0 - kept ** 2) * fresh
        noise, held = self._noise if self.explore else None, self.skill.held
        try:
            decision = self._decide(observation, noise, held)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises several unrelated kinds
            said = str(error).partition('\n')[0]
            return self._close(state, observation, Flag.ABORTED, Stop(
                'INFERENCE', m.version, 0.0, f'bundle version {m.version} cannot decide here: '
                f'{type(error).__name__}: {said}'))
        if not careful:  # a decision of a held episode is not comparable with a candidate's
            self.decided = observation, decision, held, noise
        return self._act(state, observation, decision, age)

    def _led_here(self, state: RobotState, observation: Array) -> Tick:
        """Make the record of the previous state, whose action the hand's motion now shows."""
        made = self._finish_led(state)
        self._led = state, observation
        self.filter.reset(state)
        return Tick(self.filter.last, False, None, made, self.actuation.channels.values)

    def _finish_led(self, state: RobotState) -> Callable[[], Array] | None:
        if self._led is None or self.guiding is None or self.takeover is None:
            return None
        before, observation = self._led
        action, mode = self.guiding.action(before, state)
        self.takeover.person.channels.clear()
        if self.actuation.channels:
            self.actuation.channels.take(action[self.takeover.width:])
        made = self._recorded(before, observation, flag=Flag.RUNNING, mode=mode,
                              asked_action=action, action=action)
        self.index += 1
        return made

    def _act(self, state: RobotState, observation: Array, decision: Decision,
             age: float) -> Tick:
        """Execute the policy's decision, or a person's command instead; return the tick."""
        action, mode, ramped = decision.action, decision.mode, False
        if self.takeover is not None:
            stop = self.takeover.person.stop()
            if stop is not None:
                return self._close(state, observation, Flag.ABORTED, stop)
            chosen = self.takeover.choose(action, mode, state)
            action, mode, ramped = chosen.action, chosen.mode, chosen.ramped
        if mode is Mode.HUMAN or mode is Mode.NONE:
            self.skill.restart()  # after a person the earlier skill is no longer in effect
            skill_step = 0
        else:
            skill_step = self.skill.took(decision.latent)
        slow = self.budget.standing is Budget.HELD and mode is not Mode.HUMAN
        acted = self.actuation.apply(action, state, age, ramped=ramped, slow=slow)
        if self.takeover is not None:
            self.takeover.took(acted.action, acted.share)
        filtered = acted.filtered
        self.budget.took(acted.action, filtered.intervention, mode)
        record = self._recorded(
            state, observation, flag=Flag.RUNNING if filtered.stop is None else Flag.ABORTED,
            mode=mode, gate=decision.gate, margin=decision.margin,
            intervention=filtered.intervention, latent=decision.latent, skill_step=skill_step,
            latent_action=decision.latent_action, raw_action=decision.raw_action,
            asked_action=action, action=acted.action, budget=None)
        self.index += 1
        if filtered.stop is not None:
            self.skill.restart()
        return Tick(filtered.command, filtered.stop is not None, filtered.stop, record,
                    acted.channels)

    def _decide(self, observation: Array, noise: Array | None,
                held: NDArray[np.float32] | None) -> Decision:
        """Return the policy's decision; raise what its network raises, or a ValueError."""
        if self.budget.standing is Budget.HELD:
            decision = self.runtime.decide(observation, noise, held, careful=True)
        else:
            decision = self.runtime.decide(observation, noise, held)
        for name in ('action', 'latent_action', 'raw_action'):
            if getattr(decision, name).shape != self._wide:
                raise ValueError(f'{name} has shape {getattr(decision, name).shape}')
        if decision.latent.shape != self._latent:
            raise ValueError(f'latent has shape {decision.latent.shape}')
        return decision

    def _observe(self, state: RobotState) -> tuple[Array, Outcome]:
        """
        Return observation (n,) and outcome of a state; raise what the task raises.

        :raises LookupError: a source has no sample
        :raises ValueError: the observation has another shape than its spec
        """
        for name in self.task.sources:
            if name not in self.sources:
                raise LookupError(f'source {name!r} has no sample')
        world = World(state, self.kinematics, self.sources)
        observation = self.task.observe(world, self.goal)
        if observation.shape != self._nothing.shape:
            raise ValueError(f'an observation of shape {observation.shape}, its spec says '
                             f'{self._nothing.shape}')
        return observation, self.task.outcome(observation, world)

    def abort(self, state: RobotState) -> Array:
        """Return a record that closes the running episode at once."""
        self.skill.restart()
        self.verdict = None
        if self._led is not None:  # the action after it is unknown
            (state, observation), self._led = self._led, None
            return self._recorded(state, observation, flag=Flag.ABORTED, mode=Mode.NONE)()
        try:
            observation = np.nan_to_num(self._observe(state)[0])
        except Exception:  # noqa: BLE001 - the record that closes the episode has to be made
            observation = self._nothing
        return self._recorded(state, observation, flag=Flag.ABORTED, mode=Mode.NONE)()

    def _close(self, state: RobotState, observation: Array, flag: Flag,
               stop: Stop | None, outcome: Outcome = Outcome.UNLABELLED) -> Tick:
        self.skill.restart()
        self.verdict = None
        earlier, self._led = self._finish_led(state), None
        record = self._recorded(state, observation, flag=flag, mode=Mode.NONE, outcome=outcome)
        channels = self.actuation.channels
        return Tick(self.filter.brake().command, True, stop, record,
                    channels.values if stop is None else channels.stop(),
                    None if earlier is None else earlier())

    def _recorded(self, state: RobotState, observation: Array,
                  **values: Any) -> Callable[[], Array]:
        """Return a function that makes a record of this tick; see `StepRecords.next`."""
        return self.records.next(state, observation, self.sources, episode=self.episode,
                                 index=self.index,
                                 bundle_version=self.runtime.manifest.version, **values)
