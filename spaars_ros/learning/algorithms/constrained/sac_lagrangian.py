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

"""Soft actor-critic with a Lagrangian: a baseline from scratch, and Marvel's online phase."""

import copy
from dataclasses import replace
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch import Tensor

from spaars_ros.constraints.lagrangian import PIDGains
from spaars_ros.learning.algorithms.baselines.single_policy import SinglePolicy
from spaars_ros.learning.algorithms.constrained.alignment import policy_action
from spaars_ros.learning.algorithms.constrained.alignment import soft_targets
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.multipliers import checked_multipliers
from spaars_ros.learning.core.multipliers import lagrangian
from spaars_ros.learning.core.networks import EnsembleCritic
from spaars_ros.learning.core.networks import polyak
from spaars_ros.learning.core.networks import SquashedGaussian
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import FIELDS
from spaars_ros.learning.core.trainable import parameters_of
from spaars_ros.training_file import Training

INTEGRAL = PIDGains(kp=0.0, kd=0.0, rate=0.0)
"""Dual ascent: lambda integrates the excess over the limit."""
PLAIN = PIDGains(rate=0.0)
ADAPTIVE = PIDGains()


def gains_of(pid: PIDGains, training: Training) -> PIDGains:
    """Return a controller's gains with setpoint and violation rate of the training file."""
    return replace(pid, setpoint=training.setpoint, violation_rate=training.violation_rate)


class SACLagrangian(SinglePolicy):
    """
    SAC that minimises (-Q_r + lambda Q_c) / (1 + lambda), lambda from measured episode costs.

    The division keeps a large lambda from making the policy's steps too large
    (docs/concepts/marvel.md). The trainer runs the controller with `gains` and sets lambda: a
    multiplier driven by Q_c would follow the critic's error. Each head shares its hidden layers
    between reward and cost values. Time limits bootstrap, by the replay's discounts.
    """

    PID = INTEGRAL

    def __init__(self, training: Training, **sizes: Any) -> None:
        """See `SinglePolicy`."""
        super().__init__(training, **sizes)
        n, d, constraints = self.sizes
        t = training
        self.policy = SquashedGaussian(n, d, t.width)
        self.critic = EnsembleCritic(n, d, 1 + constraints, t.width, t.heads)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_entropy = nn.Parameter(torch.tensor(math.log(t.entropy) if t.entropy else -2.0))
        self.target_entropy = -float(d)
        self.gains = gains_of(self.PID, t)
        """Gains of the controller that the trainer runs."""
        self.multipliers = torch.zeros(constraints)
        self.explores_uniformly = True
        self.set_learning_rate(t.learning_rate)
        # The process that compiles reads no file of tensors.
        self.set_recipe(t.model_copy(update={'start': ''}), observation=n, action=d,
                        constraints=constraints, normaliser=None, seed=0)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of each optimiser, by its name."""
        return {'policy': parameters_of(self.policy), 'critic': parameters_of(self.critic),
                'entropy': [self.log_entropy]}

    def set_learning_rate(self, rate: float) -> None:
        """Create new optimisers; the policy's has `actor_rate` times this learning rate."""
        super().set_learning_rate(rate)
        self.optimisers['policy'].rate.fill_(rate * self.training_file.actor_rate)

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Raise NotImplementedError: there is no offline phase."""
        raise NotImplementedError('SAC-Lagrangian and SAC-PID learn from scratch')

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update of the critic and, from `critic_steps` on, of the policy."""
        t = self.training_file
        climb = self.updates >= t.utd * t.critic_steps and self.updates % t.policy_delay == 0
        noise = [torch.randn(batch['action'].shape) for _ in range(1 + climb)]
        losses = self.run('learn', *(batch[name] for name in FIELDS), self.two_heads(), *noise,
                          climb=climb, own=len(online['action']))
        self.updates += 1
        return dict(zip(('critic', 'policy'), map(float, losses)))

    def learn(self, *drawn: Tensor, climb: bool, own: int) -> tuple[Tensor, ...]:
        """
        Do the update on tensors, so that it can be compiled.

        The critic fits reward and cost values to the present policy (`soft_targets`). The policy
        maximises the Lagrangian. Without a weight of the entropy in the training file it is tuned.

        :param drawn: `FIELDS`, (2,) heads of the target, and one or two (B, d), standard normal;
            the second is for the policy
        :param climb: whether the policy is trained, too
        :param own: number of own transitions, before those of the data
        :return: the critic's loss per head and, with `climb`, the policy's loss
        """
        batch, heads, noise = Batch(zip(FIELDS, drawn)), drawn[6], drawn[7:]
        batch = self.from_floor(batch)
        o, a, entropy = batch['observation'], batch['action'], self.log_entropy.detach().exp()
        y = self.targets(batch, heads, noise[0], entropy_reward=entropy)
        critic, _ = self.minimise('critic', lambda: (
            (self.critic(o, a) - y).square().mean((1, 2)).sum(), ()))
        polyak(self.target, self.critic, self.training_file.tau)
        critic = critic / self.critic.heads
        if not climb:
            return (critic,)

        def loss() -> tuple[Tensor, Tensor]:
            action, log_prob = self.policy.sample(o, noise[1])
            objective = self.lagrangian(self.critic(o, action))
            found = (entropy * log_prob - objective).mean()
            return found + self.imitation(batch, action, objective, own), log_prob.detach()

        policy, log_prob = self.minimise('policy', loss)
        if not self.training_file.entropy:
            gap = -log_prob.mean() - self.target_entropy
            self.minimise('entropy', lambda: (self.log_entropy * gap, ()))
        return critic, policy

    def from_floor(self, batch: Batch) -> Batch:
        """Return the batch as the critic learns from it; unchanged here."""
        return batch

    @torch.no_grad()
    def targets(self, batch: Batch, heads: Tensor, noise: Tensor, *,
                entropy_reward: Tensor | float, entropy_cost: float = 0.0) -> Tensor:
        """Return `soft_targets` (B, 1 + C) of the present policy; noise (B, d) of its action."""
        action, log_prob = self.policy.sample(batch['next'], noise)
        pair = self.target(batch['next'], action)[heads]
        return soft_targets(batch, pair, log_prob, entropy_reward=entropy_reward,
                            entropy_cost=entropy_cost,
                            cost_weight=self.training_file.cost_weight)

    def imitation(self, batch: Batch, action: Tensor, objective: Tensor, own: int
                  ) -> Tensor | float:
        """Return an additional policy loss: 0 here, since there is no data to imitate."""
        return 0.0

    def lagrangian(self, values: Tensor) -> Tensor:
        """
        Return (Q_r - lambda . Q_c) / (1 + sum lambda), (B).

        :param values: (heads, B, 1 + C); Q_r is the minimum over heads, Q_c the mean
        """
        merged = torch.cat([values[..., :1].min(0).values, values[..., 1:].mean(0)], -1)
        return lagrangian(merged, self.multipliers)

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the mode or, when exploring, a sample; from scratch it is uniform at first."""
        if explore and self.updates == 0 and self.explores_uniformly:
            return ActionSample(rng.uniform(-1.0, 1.0, self.sizes[1]))
        o = self.tensor(self.normaliser(observation))[None]
        return policy_action(self.policy, o, rng, explore)

    def set_multipliers(self, multipliers: Array) -> None:
        """Set the multipliers (C,); raise ValueError for wrong shape, negative or non-finite."""
        own = self.multipliers
        own.copy_(torch.from_numpy(checked_multipliers(multipliers, own.numel())))

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return lambda of the first constraint and the entropy weight."""
        first = float(self.multipliers[0]) if self.multipliers.numel() else 0.0
        return {'multiplier': first, 'entropy_weight': math.exp(float(self.log_entropy.detach()))}

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""
        return {**super().state(), 'multipliers': self.multipliers.tolist()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        super().load_state(state)
        self.set_multipliers(np.asarray(state['multipliers']))


class SACPID(SACLagrangian):
    """SAC-Lagrangian with a fixed-gain PID for the multiplier (Stooke et al. 2020)."""

    PID = PLAIN
