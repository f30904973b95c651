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
"""SPAARS: offline stages, then the online phases of the curriculum."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.spaars.curriculum import Curriculum
from spaars_ros.learning.algorithms.spaars.deployment import GatedDeployment
from spaars_ros.learning.algorithms.spaars.export import export_policy
from spaars_ros.learning.algorithms.spaars.export import golden_outputs
from spaars_ros.learning.algorithms.spaars.spaars_networks import margins_of
from spaars_ros.learning.algorithms.spaars.spaars_networks import SpaarsAgent
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.floor import best_of
from spaars_ros.learning.core.good_episodes import GoodEpisodes
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.training_file import Training


class Spaars(GatedDeployment):
    """
    SPAARS (CVAE) and its ablations, by `mode`, `concurrent_bc`, `plateau` and `latent_dim`.

    Offline: `cvae_steps` of the CVAE, `iql_steps` of IQL with both policies, `align_steps` of
    value pre-alignment. Online: the phases of `Curriculum`. Trainer and learner node use the same
    agent. docs/concepts/spaars.md.
    """

    offline_share = 0.5
    learns_online = True

    agent: SpaarsAgent

    def __init__(self, training: Training, *, observation: int, action: int, constraints: int,
                 normaliser: Normaliser, seed: int) -> None:
        """
        Initialise the networks from torch's global generator.

        :param observation: n, width of an observation
        :param action: d, width of an action
        :param constraints: C, number of constraints
        :param seed: seed of draws outside of torch
        """
        if training.mode != 'raw-only' and training.latent_dim > action:
            raise ValueError(f'latent_dim {training.latent_dim}: has to be at most the {action} '
                             'dimensions of the action, or the variance argument fails')
        self.training = training
        self.normaliser = normaliser
        self.agent = SpaarsAgent(training, observation, action, constraints)
        self.agent.seed(seed)
        self.curriculum = Curriculum(self.agent, training)
        self.offline_steps = sum(self.stages().values())
        self.updates = 0
        self._noise = np.zeros(training.latent_dim + action)
        self.good: GoodEpisodes | None = None
        """Episodes to clone; None unless `self_imitation` and a floor are in use."""
        self._choices = np.random.default_rng([seed, 11])
        self.chosen = [0, 0, 0]
        """Counts of pretrained, latent and raw actions, with a floor."""

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Measure the variance of actions (N, d), which scales errors of actions."""
        self.agent.action_variance.copy_(
            torch.from_numpy(actions.var(0).astype(np.float32)).clamp(min=1e-4))

    def take_offline(self, data: Replay) -> None:
        """Select the demonstrations to clone, with `self_imitation` and a floor."""
        if not (self.training.self_imitation and self.agent.floored):
            return
        shown = data.episodes()
        self.good = GoodEpisodes(
            self.normaliser,
            np.array([self.agent.weighed_return(each['reward'], each['cost']) for each in shown]),
            [(self.normaliser(each['observation']), each['action']) for each in shown])

    # Offline

    def stages(self) -> dict[str, int]:
        """Return the stages cvae, iql and align, with the number of updates of each."""
        t = self.training
        return {'cvae': t.cvae_steps, 'iql': t.iql_steps, 'align': t.align_steps}

    def stage(self, step: int) -> str:
        """Return the name of the stage of offline update `step`: cvae, iql or align."""
        t = self.training
        if step < t.cvae_steps:
            return 'cvae'
        return 'iql' if step < t.cvae_steps + t.iql_steps else 'align'

    def aligns(self, step: int) -> bool:
        """Return whether offline update `step` is an update of value pre-alignment."""
        return self.stage(step) == 'align'

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the stage of `step`; return the losses."""
        t, agent = self.training, self.agent
        if step == t.cvae_steps:
            self._freeze_decoder()
        stage = self.stage(step)
        if stage == 'cvae':
            return {'cvae': agent.update_cvae(batch)}
        if stage == 'iql':
            losses = agent.update_iql(batch, self._good_batch())
            if step == t.cvae_steps + t.iql_steps - 1:
                agent.freeze_anchors()
            return losses
        # Value pre-alignment: so far the critic is IQL's, of a better policy than the one that
        # will act. Following its gradient at once makes a naive start forget what it learned.
        return {'critic': agent.update_critic(batch)}

    def _good_batch(self) -> tuple[Tensor, Tensor] | None:
        """Return observations (B, n) and actions (B, d) to clone; None without `good`."""
        if self.good is None:
            return None
        return self.good.sample(self.training.batch, self._choices)

    def begin_online(self) -> None:
        """Freeze the decoder and set the online learning rate."""
        self._freeze_decoder()
        self.agent.change_learning_rate(self.training.learning_rate)

    def _freeze_decoder(self) -> None:
        self.agent.encoder.requires_grad_(False)
        self.agent.decoder.requires_grad_(False)

    # Online

    def begin_episode(self) -> None:
        """Reset the exploration noise to zero."""
        self._noise[:] = 0.0

    def take_episode(self, episode: Episode) -> None:
        """Pass the episode to the gate trials and to the episodes to clone."""
        self.curriculum.take_episode(episode)
        self.store_episode(episode)

    def store_episode(self, episode: Episode) -> None:
        """Add the episode to the episodes to clone if its return is above the bar."""
        if self.good is not None:
            self.good.take(self.agent.weighed_return(episode.rewards, episode.costs),
                           episode.observations[:-1], episode.actions)

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """
        Return the action that the gate selects, by the rule of `policy/runtime.py`.

        With `explore_kappa` or `trials` the choice can differ from the robot's (`Curriculum`).
        """
        t, agent = self.training, self.agent
        fresh = rng.standard_normal(self._noise.shape) if explore else 0.0 * self._noise
        kept = t.explore_correlation if explore else 0.0
        self._noise = kept * self._noise + math.sqrt(1.0 - kept ** 2) * fresh
        noise = agent.tensor(self._noise.astype(np.float32))
        k = t.latent_dim
        with torch.no_grad():
            o = agent.tensor(self.normaliser(observation))[None]
            if agent.floored:
                return self._choose_above_floor(o, noise, explore)
            raw, latent = agent.raw_policy(o), agent.latent_policy(o)
            decoded = agent.decoder(o, latent)
            if self.curriculum.takes_raw(o, raw, decoded, explore):
                action = agent.trusted(raw, decoded)
                if explore:
                    action = (action + agent.explore_raw * noise[k:]).clamp(-1.0, 1.0)
                return ActionSample.of(action, Mode.RAW)
            if explore:
                moved = (latent + t.explore_latent * noise[:k]).clamp(-t.latent_bound,
                                                                      t.latent_bound)
                decoded = agent.decoder(o, moved)
            return ActionSample.of(decoded, Mode.LATENT)

    def _choose_above_floor(self, o: Tensor, noise: Tensor, explore: bool) -> ActionSample:
        """Return the best of pretrained, latent and raw action, with noise when exploring."""
        t, agent, k = self.training, self.agent, self.training.latent_dim
        limits, place = agent.limits(), 0
        latent = agent.anchor(o)
        if not self.curriculum.keeps_to_floor(explore):
            candidates, bounds, best = agent.compete(
                agent.critic, o, agent.every_head, limits, gated=agent.gate_open)
            place = int(best_of(bounds, margins_of(limits)))
            latent = latent if place == 0 else best
        self.chosen[place] += 1
        if place == 2:
            action = candidates[2]
            if explore:
                action = (action + agent.explore_raw * noise[k:]).clamp(-1.0, 1.0)
            return ActionSample.of(action, Mode.RAW)
        if explore:
            latent = (latent + t.explore_latent * noise[:k]).clamp(-t.latent_bound,
                                                                   t.latent_bound)
        action = agent.decoder(o, latent)
        return ActionSample.of(action, Mode.LATENT)

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update; for the first `critic_steps` environment steps of the critic only."""
        t, agent = self.training, self.agent
        faded = math.exp(-self.updates / (max(t.utd, 1e-6) * t.hold_steps))
        agent.hold = 1.0 + (t.hold_start - 1.0) * faded
        losses = {'critic': agent.update_critic(batch)}
        if self.updates >= t.utd * t.critic_steps and self.updates % t.policy_delay == 0 \
                and (agent.climbs_latent or agent.raw_learns):
            losses.update(agent.update_policies(batch))
        good = self._good_batch()
        if good is not None:
            agent.imitate(*good)
        if self.updates % 10 == 0:
            agent.measure_lipschitz(batch)
            agent.update_rnd(online['observation'])
        self.updates += 1
        return losses

    def end_episode(self, observations: Array, modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """Process a finished episode; see `Curriculum.end_episode`."""
        self.curriculum.end_episode(self.normaliser(observations[1:]), modes, steps, replay)

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return values to log of the phases and the gate."""
        found = self.curriculum.diagnostics(steps)
        total = sum(self.chosen)
        if total:
            found.update({f'share_{name}': count / total for name, count in
                          zip(('pretrained', 'latent', 'raw'), self.chosen)})
            self.chosen = [0, 0, 0]
        return found

    # On a robot

    def out_of_reach(self, observations: NDArray[np.float32],
                     actions: NDArray[np.float32]) -> float:
        """Return the mean distance of actions (T, d) from their reconstruction by the CVAE."""
        with torch.no_grad():
            o, a = self.agent.tensor(observations), self.agent.tensor(actions)
            return float((self.agent.reconstruct(o, a) - a).norm(dim=-1).mean())

    def manifest(self) -> dict[str, Any]:
        """Return the present gate, trust box and exploration noise."""
        t = self.training
        return {'latent_bound': t.latent_bound, **self.gate(explore_latent=t.explore_latent)}

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policies."""
        return export_policy(self.agent)

    def golden_outputs(self, observations: NDArray[np.float32]
                       ) -> dict[str, NDArray[np.float32]]:
        """Return the golden outputs for observations (m, n) in physical units."""
        return golden_outputs(self.agent, self.normaliser, observations)

    # State

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the optimisers included, by name."""
        return {**self.agent.arrays(), **({} if self.good is None else self.good.arrays())}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `arrays()`."""
        self.agent.load_arrays(arrays)
        if self.good is not None:
            self.good.load_arrays(arrays)

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""
        return {'updates': self.updates, 'multipliers': self.agent.multipliers.tolist(),
                'noise': self._noise.tolist(), 'heads': self.agent.rng_state(),
                'choices': dict(self._choices.bit_generator.state),
                **self.curriculum.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        self.updates = int(state['updates'])
        self.set_multipliers(np.asarray(state['multipliers']))
        if 'heads' in state:  # absent in checkpoints of the learner node of version 0.1.0
            self._noise = np.asarray(state['noise'])
            self.agent.set_rng_state(state['heads'])
        if 'choices' in state:
            self._choices.bit_generator.state = state['choices']
        self.curriculum.restore(state)
