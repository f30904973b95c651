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

"""Offline phase of Marvel, once per task and seed: CPQ, value alignment and rank check."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.constraint_tasks import ConstraintTask
from spaars_ros.data.dataset import Dataset
from spaars_ros.data.transitions import Transitions
from spaars_ros.learning.algorithms.constrained.alignment import Array
from spaars_ros.learning.algorithms.constrained.alignment import attainable
from spaars_ros.learning.algorithms.constrained.alignment import discounted_windows
from spaars_ros.learning.algorithms.constrained.alignment import policy_action
from spaars_ros.learning.algorithms.constrained.alignment import rank
from spaars_ros.learning.algorithms.constrained.alignment import Sample
from spaars_ros.learning.algorithms.constrained.marvel import Marvel
from spaars_ros.learning.gym.trainer import Trainer
from spaars_ros.sim.environments import costs_of
from spaars_ros.sim.environments import executed_action

Data = Transitions | Dataset


def offline_start(task: ConstraintTask, data: Data, seed: int, folder: Path,
                  settings: dict[str, Any], *, rollouts: int, evaluation_episodes: int
                  ) -> dict[str, Any]:
    """
    Train CPQ, align its values and return the measurements; `folder` keeps every stage.

    `start.npz` in `folder` has the CPQ networks, from which Marvel and its ablations start online
    learning. They repeat the alignment; the same seed gives the same alignment. The result is the
    summary of the CPQ run with the key `alignment`: Spearman's correlation of Q with Monte-Carlo
    returns of the offline policy, before and after the alignment, and `cost_attainable`, the
    correlation of a perfect cost critic. It is below 1 if the share of `costly` samples is small:
    the others are tied at 0 and cannot be ranked.

    :param rollouts: number of rollouts for the Monte-Carlo returns
    """
    done = folder / 'offline.json'
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text())
        return found
    folder.mkdir(parents=True, exist_ok=True)

    def trainer_of(name: str, steps: int, **changes: Any) -> Trainer:
        training = task.training(name, **{**task.warm, **settings, **changes})
        return Trainer(task.name, data, training=training, seed=seed,
                       out=folder / name, steps=steps, make_env=task.make_env,
                       evaluation_episodes=evaluation_episodes, cost_limit=task.limit)

    cpq = trainer_of('cpq', 0)
    summary = cpq.run()
    np.savez(folder / 'start.npz', **cpq.algorithm.arrays())  # type: ignore[arg-type]
    cpq.close()
    training = task.training('marvel', **{**task.warm, **settings})
    # An episode may last longer than the warm-up, and the policy must not learn in it.
    aligned = trainer_of('marvel', max(1, training.warmup_steps) if training.align_share else 0,
                         start=str(folder / 'start.npz'), utd=0.0)
    marvel = aligned.algorithm
    assert isinstance(marvel, Marvel)
    sample = sample_returns(task, marvel, data, rollouts, seed)
    before = rank(marvel.critic, marvel.normaliser, sample)
    alignment = aligned.run()
    after = rank(marvel.critic, marvel.normaliser, sample)
    aligned.close()
    costs = sample.returns[:, 1]
    result = {**summary, 'updates': cpq.algorithm.offline_steps,
              'align_updates': marvel.aligned, 'align_seconds': alignment['offline_seconds'],
              'alignment': {'before': before.to_json(), 'after': after.to_json(),
                            'cost_attainable': attainable(costs),
                            'samples': len(costs), 'costly': float((costs > 0.0).mean())}}
    partial = folder / 'offline.part'
    partial.write_text(json.dumps(result))
    os.replace(partial, done)
    return result


def sample_returns(task: ConstraintTask, marvel: Marvel, data: Data, rollouts: int, seed: int
                   ) -> Sample:
    """
    Return Monte-Carlo returns of Marvel's present policy, from states of the data.

    Each rollout repeats the actions of an episode of the data, up to a random step in its first
    third. Every (s, a) from the last repeated action counts, since the policy acts after it. All
    returns are discounted sums over half an episode. Rewards are shaped as for the critic.
    """
    t = marvel.training_file
    env, rng = task.make_env(), np.random.default_rng([seed, 13])
    ends = np.flatnonzero(np.diff(data.episode, append=-1)) + 1
    starts = np.concatenate([[0], ends[:-1]])
    states: list[Array] = []
    done_actions: list[Array] = []
    returns: list[Array] = []
    for rollout in range(rollouts):
        which = int(rng.integers(len(starts)))
        led = int(rng.integers(1, task.steps // 3))
        lead = np.asarray(data.actions[starts[which]:ends[which]][:led], np.float64)
        observations, actions, values = _roll(task, env, marvel, lead, rng,
                                              seed * 1009 + rollout)
        last = len(lead) - 1
        windows = discounted_windows(values[last:], t.gamma, task.steps // 2)
        states.append(observations[last:last + len(windows)])
        done_actions.append(actions[last:last + len(windows)])
        returns.append(windows)
    env.close()
    return Sample(np.concatenate(states), np.concatenate(done_actions), np.concatenate(returns))


def _roll(task: ConstraintTask, env: Any, marvel: Marvel, lead: Array, rng: np.random.Generator,
          seed: int) -> tuple[Array, Array, Array]:
    """Return observations (T + 1, n), actions (T, d), rewards and costs (T, 1 + C)."""
    t, arm = marvel.training_file, getattr(env, 'task', None)
    observation, _ = env.reset(seed=seed)
    observations: list[Array] = [observation]
    actions: list[Array] = []
    values: list[Array] = []
    done = False
    while not done:
        if len(actions) < len(lead):
            action = lead[len(actions)]
        else:
            seen = marvel.tensor(marvel.normaliser(observation))[None]
            action = policy_action(marvel.policy, seen, rng, explore=True).action
        following, reward, terminated, truncated, info = env.step(action)
        if arm is not None:
            reward += t.shaping * (t.gamma * float(arm.potential(following))
                                   - float(arm.potential(observation)))
        observations.append(following)
        actions.append(executed_action(env, action, info))
        values.append(np.concatenate([[reward], costs_of(info)]))
        observation, done = following, terminated or truncated
    return np.asarray(observations), np.asarray(actions), np.asarray(values)
