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

"""Time of the safety filter per tick: with its solver, two others, and without a filter."""

from collections.abc import Callable
import gc
from importlib import import_module
import os
from time import perf_counter
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.adversary import crowded
from spaars_ros.data.schema import Array
from spaars_ros.data.schema import RobotState
from spaars_ros.robot.config import load_robot
from spaars_ros.robot.config import Robot
from spaars_ros.safety.filter import SafetyFilter
from spaars_ros.safety.intervention import BARRIERS
from spaars_ros.safety.intervention import Intervention
from spaars_ros.safety.qp import NearestVelocity
from spaars_ros.safety.qp import Objective

EPISODE = 60
"""Ticks per episode."""

OSQP_TOLERANCE = 1e-6
"""The default, 1e-3, leaves errors of centimetres per second."""

Problem = tuple[Array, Array, Array, Array, Array]
"""Desired velocity, lower and upper bound (d,) rad/s; rows (m, d), lower bounds (m,)."""


def _peer(name: str) -> Any:
    """Return the module of a solver that only this benchmark needs; raises RuntimeError."""
    try:
        return import_module(name)
    except ImportError:
        raise RuntimeError(f'{name} is not installed: constraints.txt has its version') from None


class Solver(Protocol):
    """Interface of a solver of the filter."""

    def solve(self, asked: Array, low: Array, high: Array, rows: Array, least: Array,
              objective: Objective | None = None) -> Array | None:
        """Return the nearest feasible velocity (d,) rad/s; None if there is none."""


class Keeping:
    """Solver that stores the problems and delegates to another solver."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self.problems: list[Problem] = []

    def solve(self, asked: Array, low: Array, high: Array, rows: Array, least: Array,
              objective: Objective | None = None) -> Array | None:
        """Store the problem and return the answer of the solver; `objective` must be None."""
        assert objective is None
        self.problems.append((asked.copy(), low, high, rows, least))
        return self._solver.solve(asked, low, high, rows, least)


class Piqp:
    """Solver of the same quadratic program by PIQP, a proximal interior-point method."""

    def __init__(self) -> None:
        self._piqp = _peer('piqp')

    def solve(self, asked: Array, low: Array, high: Array, rows: Array, least: Array,
              objective: Objective | None = None) -> Array | None:
        """Return the nearest feasible velocity (d,) rad/s; None if not solved."""
        solver = self._piqp.DenseSolver()
        solver.setup(np.eye(len(asked)), -asked, G=np.asfortranarray(rows), h_l=least,
                     h_u=np.full(len(least), np.inf), x_l=low, x_u=high)
        if solver.solve() != self._piqp.PIQP_SOLVED:
            return None
        return np.minimum(np.maximum(np.asarray(solver.result.x), low), high)


class Osqp:
    """Solver of the same quadratic program by OSQP, an operator-splitting method."""

    def __init__(self) -> None:
        self._osqp = _peer('osqp')

    def solve(self, asked: Array, low: Array, high: Array, rows: Array, least: Array,
              objective: Objective | None = None) -> Array | None:
        """Return the nearest feasible velocity (d,) rad/s; None if not solved."""
        solver = self._osqp.OSQP()
        d = len(asked)
        solver.setup(sparse.identity(d, format='csc'), -asked,
                     sparse.csc_matrix(np.concatenate((np.eye(d), rows))),
                     np.concatenate((low, least)),
                     np.concatenate((high, np.full(len(least), np.inf))), verbose=False,
                     eps_abs=OSQP_TOLERANCE, eps_rel=OSQP_TOLERANCE, max_iter=20_000)
        result = solver.solve(raise_error=False)
        if result.info.status != 'solved':
            return None
        return np.minimum(np.maximum(np.asarray(result.x), low), high)


SOLVERS: dict[str, Callable[[int], Solver]] = {
    'daqp': NearestVelocity, 'piqp': lambda joints: Piqp(), 'osqp': lambda joints: Osqp()}


def workload(robot: Robot, ticks: int, seed: int) -> list[tuple[bool, Array, RobotState]]:
    """
    Return (first tick of an episode, command (d,) rad/s, state) per tick of an ideal arm.

    Half of the episodes have commands like a policy: first-order noise at the action scale of the
    robot file, starting near home. The other half has commands up to 1.9 times the velocity
    limits, each held for 10 ticks, starting at a random free position.
    """
    rng = np.random.default_rng(seed)
    made = SafetyFilter(robot, repeated=1e9)
    assert made.cartesian is not None
    low, high = np.asarray(robot.limits.position).T
    zero, work = np.zeros(len(low)), []
    position = velocity = noise = zero
    for tick in range(ticks):
        start, pushes = tick % EPISODE == 0, tick // EPISODE % 2 == 1
        if start:
            velocity = noise = zero
            position = np.asarray(robot.home) + rng.uniform(-0.05, 0.05, len(low))
            if pushes:
                position = rng.uniform(low + 0.01, high - 0.01)
                while min(made.cartesian.least(position).values()) < robot.clearance:
                    position = rng.uniform(low + 0.01, high - 0.01)
        if pushes:
            if tick % 10 == 0:
                noise = rng.uniform(-1.9, 1.9, len(low))
            asked = noise * made.velocity
        else:
            noise = 0.9 * noise + 0.44 * rng.normal(size=len(low))
            asked = np.clip(noise, -1.0, 1.0) * robot.control.action_scale * made.velocity
        state = RobotState(tick, position, velocity, zero)
        if start:
            made.reset(state)
        work.append((start, asked, state))
        velocity = made.apply(asked, state).command
        position = position + robot.period * velocity
    return work


def timed(robot: Robot, work: list[tuple[bool, Array, RobotState]],
           solver: Solver | None) -> \
        tuple[Array, NDArray[np.int64]]:
    """Return times (n,) s and intervention bits (n,) of the filter; solver None: its own."""
    made = SafetyFilter(robot, repeated=1e9)
    if solver is not None:
        made.solver = solver
    times, bits = np.zeros(len(work)), np.zeros(len(work), dtype=np.int64)
    gc.disable()
    try:
        for index, (start, asked, state) in enumerate(work):
            if start:
                made.reset(state)
            begin = perf_counter()
            result = made.apply(asked, state)
            times[index] = perf_counter() - begin
            bits[index] = result.intervention
    finally:
        gc.enable()
    return times, bits


def _none(work: list[tuple[bool, Array, RobotState]]) -> Array:
    """Return the times (n,) s of a filter that passes every command."""
    times = np.zeros(len(work))
    for index, (_, asked, _) in enumerate(work):
        begin = perf_counter()
        np.asarray(asked, dtype=np.float64).copy()
        times[index] = perf_counter() - begin
    return times


def _times(prefix: str, seconds: Array) -> dict[str, float]:
    return {f'{prefix}p50_ms': float(1e3 * np.percentile(seconds, 50)),
            f'{prefix}p99_ms': float(1e3 * np.percentile(seconds, 99)),
            f'{prefix}max_ms': float(1e3 * seconds.max())}


def _programmes(problems: list[Problem], joints: int) -> dict[str, float]:
    """Return the times of each solver for the programs alone, and differences from daqp."""
    result: dict[str, float] = {}
    reference: list[Array | None] = []
    for name, make in SOLVERS.items():
        solver, times, answers = make(joints), [], []
        for problem in problems:
            begin = perf_counter()
            answers.append(solver.solve(*problem))
            times.append(perf_counter() - begin)
        reference = reference or answers
        result.update(_times(f'{name}_qp_', np.asarray(times)))
        both = [(one, other) for one, other in zip(answers, reference)
                if one is not None and other is not None]
        result[f'{name}_qp_largest_difference'] = max(
            (float(np.abs(one - other).max()) for one, other in both), default=0.0)
        result[f'{name}_qp_solved'] = sum(answer is not None for answer in answers)
    return result


def run(*, ticks: int = 6000, robot: str = 'panda', seed: int = 0) -> dict[str, Any]:
    """
    Time the filter over one random workload; return the result that `--json` writes, in ms.

    The robot is `crowded`: with a workspace and two keep-out zones. Keys: `p50_ms`, `p99_ms`,
    `max_ms` (filter with its solver); prefix `piqp_`, `osqp_` (with another solver), `none_` (no
    filter), `policy_` and `push_` (filter in the ticks with commands like a policy, and in those
    with large commands); `*_qp_*` (the quadratic programs alone; `largest_difference` in rad/s
    from the answer of daqp).
    """
    arm = crowded(load_robot(robot))
    work = workload(arm, ticks, seed)
    keeping = Keeping(NearestVelocity(len(arm.joints)))
    _, bits = timed(arm, work, keeping)
    times, _ = timed(arm, work, None)
    pushes = np.arange(len(work)) // EPISODE % 2 == 1
    result: dict[str, Any] = {**_times('', times), **_times('none_', _none(work)),
                              **_times('policy_', times[~pushes]),
                              **_times('push_', times[pushes])}
    for name in ('piqp', 'osqp'):
        other, _ = timed(arm, work, SOLVERS[name](len(arm.joints)))
        result.update(_times(f'{name}_', other))
    result.update(_programmes(keeping.problems, len(arm.joints)))
    near = bits & (BARRIERS | int(Intervention.TIP_SPEED)) != 0
    return {**result, 'ticks': len(work), 'touched_share': float((bits != 0).mean()),
            'near_boundary_share': float(near.mean()),
            'qp_share': len(keeping.problems) / len(work),
            'brake_share': float((bits & int(Intervention.BRAKE) != 0).mean()),
            'load': f'{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end'}
