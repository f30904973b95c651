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
"""SPAARS-SUPE: SUPE's skills, a warm start by IQL, and the gate in every single step."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.spaars.curriculum import Curriculum
from spaars_ros.learning.algorithms.spaars.deployment import GatedDeployment
from spaars_ros.learning.algorithms.supe.export import decoder_digest
from spaars_ros.learning.algorithms.supe.export import export_skills
from spaars_ros.learning.algorithms.supe.export import golden_outputs
from spaars_ros.learning.algorithms.supe.skill_agent import SkillAgent
from spaars_ros.learning.algorithms.supe.skill_learner import SkillLearner
from spaars_ros.learning.algorithms.supe.supe import Supe
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.trainable import TrainableModule
from spaars_ros.training_file import Training


class SpaarsSupe(Supe, GatedDeployment):
    """
    SPAARS with OPAL's skills (docs/concepts/spaars.md, SPAARS-SUPE, reconstructed).

    Offline: `skill_steps` of OPAL. Then `skill_iql_steps` of high-level IQL on the encoded
    chunks, together with IQL of the shared critic and cloning of the raw policy on single
    transitions. Then `align_steps` in which the shared critic evaluates the policy.

    Online: the high level continues as in SUPE, from the policy and critic of IQL; raw policy,
    gate and phases are those of SPAARS. In every step the gate compares the raw action with the
    mean action of the skill in effect. The skill's step count continues in either case, and a
    skill with raw actions is stored as the encoding of its chunk. Mode `latent-only` is the
    ablation without the gate. Both levels use the same lambda.

    On a robot the policy server determines the skills in effect. A skill is drawn from its policy
    (noise of standard deviation 1, independent of `explore_latent`) and decoded to its mean
    action, also when exploring: the published noise on every action would be filtered out, or
    shake the arm. With `explore_correlation` rho, draws of successive skills have the correlation
    rho^H.
    """

    offline_share = 0.5

    agent: SkillAgent

    def __init__(self, training: Training, *, observation: int, action: int, constraints: int,
                 normaliser: Normaliser, seed: int) -> None:
        """
        Initialise the networks from torch's global generator; sizes as for `Supe`.

        :raises ValueError: mode raw-only, which has no skills
        """
        if training.mode == 'raw-only':
            raise ValueError('mode raw-only: spaars-supe without its skills is algorithm spaars')
        super().__init__(training, observation=observation, action=action,
                         constraints=constraints, normaliser=normaliser, seed=seed)
        self.curriculum = Curriculum(self.agent, training)
        self.offline_steps = sum(self.stages().values())
        self._noise = np.zeros(action)

    def _make(self, observation: int, action: int, constraints: int,
              seed: int) -> tuple[TrainableModule, SkillLearner]:
        agent = SkillAgent(self.training, observation, action, constraints)
        agent.seed(seed)
        return agent, agent.skills

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure the variance of actions (N, d), which scales errors of the raw policy."""
        self.agent.action_variance.copy_(
            torch.from_numpy(actions.var(0).astype(np.float32)).clamp(min=1e-4))

    # Offline

    def stages(self) -> dict[str, int]:
        """Return the stages opal, iql and align, with the number of updates of each."""
        t = self.training
        return {'opal': t.skill_steps, 'iql': t.skill_iql_steps, 'align': t.align_steps}

    def aligns(self, step: int) -> bool:
        """Return whether offline update `step` is an update of value pre-alignment."""
        return step >= self.training.skill_steps + self.training.skill_iql_steps

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the stage of `step`; return the losses."""
        t, agent = self.training, self.agent
        if step < t.skill_steps:
            return super().update_offline(batch, step)
        if step == t.skill_steps:
            self._freeze_skills()
        if self.aligns(step):
            return {'critic': agent.update_critic(batch)}
        losses, _ = agent.update_values(batch)
        losses['raw_policy'] = agent.update_clone(batch)
        losses.update(self.skills.update_iql(self.memory.draw_offline(t.batch)))
        if step == t.skill_steps + t.skill_iql_steps - 1:
            agent.freeze_anchors()
        return losses

    # Online

    @property
    def _tries_prior(self) -> bool:
        """Return False: the pretrained policy explores better than the prior."""
        return False

    def episode_state(self) -> tuple[Any, ...]:
        """Return the state of the skills, and that of the gate."""
        return Supe.episode_state(self), GatedDeployment.episode_state(self)

    def set_episode_state(self, state: tuple[Any, ...]) -> None:
        """Continue the episode of a state from `episode_state`."""
        Supe.set_episode_state(self, state[0])
        GatedDeployment.set_episode_state(self, state[1])

    def _act(self, o: Tensor, skill: Tensor, rng: np.random.Generator,
             explore: bool) -> tuple[Tensor, Mode]:
        t, agent = self.training, self.agent
        if explore:
            kept = t.explore_correlation
            self._noise = kept * self._noise + math.sqrt(1.0 - kept ** 2) \
                * rng.standard_normal(self._noise.shape)
        mean, raw = self.skills.decoder.mean(o, skill), agent.raw_policy(o)
        if not self.curriculum.takes_raw(o, raw, mean, explore):
            return self._decoded(mean, rng, explore), Mode.LATENT
        action = agent.trusted(raw, mean)
        if explore:
            noise = agent.tensor(self._noise.astype(np.float32))
            action = (action + agent.explore_raw * noise).clamp(-1.0, 1.0)
        return action, Mode.RAW

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update of both levels; for the first `critic_steps` steps of critics only."""
        t, agent = self.training, self.agent
        losses = {'critic': agent.update_critic(batch)}
        climb = self.updates >= t.utd * t.critic_steps
        if climb and self.updates % t.policy_delay == 0:
            losses.update(agent.update_raw(batch))
        if self.updates % 10 == 0:
            agent.measure_lipschitz(batch)
            agent.update_rnd(online['observation'])
        self.updates += 1
        high = self.update_skills(climb=climb, anchor=t.anchor)
        # The trainer checks this loss for non-finite values.
        losses['critic'] += high.get('skill_critic', 0.0)
        return {**losses, **high}

    def take_episode(self, episode: Episode) -> None:
        """Store the episode's skills, and pass the episode to the gate trials."""
        super().take_episode(episode)
        self.curriculum.take_episode(episode)

    def end_episode(self, observations: Array, modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """Process a finished episode; see `Curriculum.end_episode`."""
        super().end_episode(observations, modes, steps, replay)
        self._noise[:] = 0.0
        self.curriculum.end_episode(self.normaliser(observations[1:]), modes, steps, replay)

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return values to log of the skills, the phases and the gate."""
        return {**super().diagnostics(steps), **self.curriculum.diagnostics(steps)}

    # On a robot

    @property
    def latent_dim(self) -> int:
        """Return k, the width of a skill."""
        return self.training.skill_dim

    def ready(self) -> None:
        """Encode the chunks before the first update, so that the robot does not wait for it."""
        self.memory.forget_skills()
        self.memory.encoded()

    def manifest(self) -> dict[str, Any]:
        """Return skill length, digest of the decoder, and the present gate."""
        return {'latent_bound': self.agent.skill_bound,
                'skill_length': self.training.skill_length,
                'decoder': decoder_digest(self.agent), **self.gate(explore_latent=1.0)}

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policies."""
        return export_skills(self.agent)

    def golden_outputs(self, observations: NDArray[np.float32]
                       ) -> dict[str, NDArray[np.float32]]:
        """Return the golden outputs for observations (m, n) in physical units."""
        return golden_outputs(self.agent, self.normaliser, observations)

    # State

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""
        return {**super().state(), **self.curriculum.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        super().load_state(state)
        self.curriculum.restore(state)

    def _heads(self) -> Any:
        return self.agent
