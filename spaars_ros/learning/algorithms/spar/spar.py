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
"""SPAR: base policy, residual CVAE, values and self-imitation."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.spar.export import export_spar
from spaars_ros.learning.algorithms.spar.export import golden_outputs
from spaars_ros.learning.algorithms.spar.geometry import Geometry
from spaars_ros.learning.algorithms.spar.geometry import residual_geometry
from spaars_ros.learning.algorithms.spar.spar_agent import SparAgent
from spaars_ros.learning.core.algorithm import ActionSample
from spaars_ros.learning.core.algorithm import Array
from spaars_ros.learning.core.deployable import Deployable
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.replay import Batch
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.learning.core.replay import Replay
from spaars_ros.policy.bundle import Exploration
from spaars_ros.training_file import Training

SEEN = 4096
"""Number of pairs for the diagnostic of the residuals' geometry."""

UNBOUNDED = 2.0
"""Trust box that contains every action: SPAR has no gate between two policies."""


class Spar(Deployable):
    """
    SPAR (Zhao, Pan, Liang, Lin 2026; docs/concepts/spar.md, mostly reconstructed).

    Offline, with as many updates as SPAARS and IQL: `spar_base_steps` of the base, `cvae_steps`
    of the residual CVAE, then self-imitation. IQL's values, which are independent of these, learn
    throughout. Between CVAE and self-imitation the geometry of the residuals selects SPAR-MLP or
    SPAR-PROJ, unless `spar_projection` sets it. Online, values and self-imitation continue on
    mixed batches; base and residual CVAE stay frozen.
    """

    offline_share = 0.5
    learns_online = True

    agent: SparAgent

    def __init__(self, training: Training, *, observation: int, action: int, constraints: int,
                 normaliser: Normaliser, seed: int) -> None:
        """
        Initialise the networks from torch's global generator.

        :param observation: n, width of an observation
        :param action: d, width of an action
        :param constraints: C, number of constraints
        :param seed: seed of draws outside of torch
        """
        t = training
        self.offline_steps = t.cvae_steps + t.iql_steps + t.align_steps
        self.imitates_from = t.spar_base_steps + t.cvae_steps
        """Index of the offline update at which self-imitation begins."""
        if self.imitates_from >= self.offline_steps:
            raise ValueError(f'spar_base_steps {t.spar_base_steps}: has to be less than '
                             f'iql_steps + align_steps, {t.iql_steps + t.align_steps}')
        self.training = t
        self.normaliser = normaliser
        self.agent = SparAgent(t, observation, action, constraints)
        self.agent.seed(seed)
        self.geometry: Geometry | None = None
        self.raw_share = 0.0
        """Share of raw actions in the last episode, 0 to 1."""
        self.updates = 0
        self._seed = seed
        self._seen = np.zeros((0, observation + action), np.float32)
        self._noise = np.zeros(t.latent_dim)

    def set_action_variance(self, actions: NDArray[np.float32]) -> None:
        """Ignore the data set's actions (N, d): the variance of residuals scales the errors."""

    # Offline

    def stages(self) -> dict[str, int]:
        """Return the stages base, residual and imitation, with the number of updates of each."""
        begins = self.training.spar_base_steps
        return {'base': begins, 'residual': self.imitates_from - begins,
                'imitation': self.offline_steps - self.imitates_from}

    def stage(self, step: int) -> str:
        """Return the name of the stage of offline update `step`: base, residual or imitation."""
        if step < self.training.spar_base_steps:
            return 'base'
        return 'residual' if step < self.imitates_from else 'imitation'

    def update_offline(self, batch: Batch, step: int) -> dict[str, float]:
        """Do one update of the stage of `step`, and one of the values; return the losses."""
        stage = self.stage(step)
        losses = self.agent.update_values(batch, conservative=stage == 'imitation')
        if stage == 'base':
            losses['base'] = self.agent.update_base(batch)
        elif stage == 'residual':
            losses['vae'] = self.agent.update_residual(batch)
        else:
            losses.update(self._imitate(batch, step))
        if step < self.imitates_from and (self.imitates_from - step) * len(batch['action']) < SEEN:
            self._see(batch)
        if step == self.imitates_from - 1:
            self._choose_projection()
        return losses

    def _see(self, batch: Batch) -> None:
        """Keep pairs (s, a) for the diagnostic at the end of this stage."""
        rows = array_of(torch.cat([batch['observation'], batch['action']], -1))
        self._seen = np.concatenate([self._seen, rows])

    def _choose_projection(self) -> None:
        """Freeze base and residual CVAE, and select the policy by the residuals' geometry."""
        self._freeze()
        n = self.agent.base.inputs
        with torch.no_grad():
            base = array_of(self.agent.base(self.agent.tensor(self._seen[:, :n])))
        self.geometry = residual_geometry(self._seen[:, :n], self._seen[:, n:] - base, self._seed)
        self._seen = self._seen[:0]
        if self.training.spar_projection == 'auto':
            self.agent.projection = self.geometry.projection

    def begin_online(self) -> None:
        """Freeze base and residual CVAE, and set the online learning rate."""
        self._freeze()
        self.agent.set_learning_rate(self.training.learning_rate)

    def _freeze(self) -> None:
        self.agent.base.requires_grad_(False)
        self.agent.vae.requires_grad_(False)

    # Online

    def choose(self, observation: Array, rng: np.random.Generator, explore: bool) -> ActionSample:
        """Return the policy's action; exploration perturbs its latent, and so follows the data."""
        t, agent = self.training, self.agent
        mode = Mode.LATENT if agent.projects else Mode.RAW
        with torch.no_grad():
            o = agent.tensor(self.normaliser(observation))[None]
            action = agent.action(o)
            if explore:
                kept = t.explore_correlation
                fresh = rng.standard_normal(self._noise.shape)
                self._noise = kept * self._noise + math.sqrt(1.0 - kept ** 2) * fresh
                latent = agent.current_latent(o, mode == Mode.LATENT)
                moved = latent + agent.tensor((t.explore_latent * self._noise).astype(np.float32))
                moved = agent.decoded(o, moved.clamp(-t.latent_bound, t.latent_bound))
                # For SPAR-PROJ this equals `moved`: its action is its decoded latent.
                action = (action + moved - agent.decoded(o, latent)).clamp(-1.0, 1.0)
        return ActionSample.of(action, mode)

    def update_online(self, batch: Batch, online: Batch) -> dict[str, float]:
        """Do one update of the values and, every `policy_delay` updates, of the residual."""
        losses = self.agent.update_values(batch, conservative=True)
        losses.update(self._imitate(batch, self.updates))
        self.updates += 1
        return losses

    def _imitate(self, batch: Batch, step: int) -> dict[str, float]:
        return self.agent.imitate(batch) if step % self.training.policy_delay == 0 else {}

    def episode_state(self) -> Array:
        """Return the exploration noise (k,); see `EpisodeState`."""
        return self._noise.copy()

    def set_episode_state(self, state: Array) -> None:
        """Continue the episode of a state from `episode_state`."""
        self._noise = state

    def end_episode(self, observations: Array, modes: NDArray[Any], steps: int,
                    replay: Replay) -> None:
        """Reset the exploration noise, and record the share of raw actions."""
        self._noise[:] = 0.0
        self.raw_share = float((modes == Mode.RAW).mean())

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return which residual policy acts (1: PROJ), and the share of fragmented clusters."""
        fragmented = self.geometry.fragmented if self.geometry is not None else float('nan')
        return {'projection': float(self.agent.projects), 'fragmented': fragmented}

    # On a robot

    def progress(self) -> dict[str, float]:
        """Return the share of raw actions; there is no phase switch and no gate."""
        return {'bc_error': -1.0, 'novelty': 0.0, 'margin': 0.0, 'gate_share': self.raw_share}

    def manifest(self) -> dict[str, Any]:
        """
        Return the manifest's mode, by the residual policy, and exploration noise.

        SPAR-PROJ acts by its latent (`latent-only`) and explores in it. SPAR-MLP acts by its
        residual (`raw-only`); on the robot its exploration noise is `explore_raw` on the action,
        whereas `choose` perturbs along the decoder.
        """
        t = self.training
        return {'latent_bound': t.latent_bound, 'kappa': t.kappa, 'trust': UNBOUNDED,
                'mode': 'latent-only' if self.agent.projection == 'proj' else 'raw-only',
                'exploration': Exploration(latent=t.explore_latent, raw=t.explore_raw,
                                           correlation=t.explore_correlation)}

    def graph(self) -> bytes:
        """Return the ONNX graph of the present policy."""
        return export_spar(self.agent)

    def golden_outputs(self, observations: NDArray[np.float32]
                       ) -> dict[str, NDArray[np.float32]]:
        """Return the golden outputs for observations (m, n) in physical units."""
        return golden_outputs(self.agent, self.normaliser, observations)

    # State

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every tensor, those of the optimisers included, and the diagnostic's pairs."""
        return {**self.agent.arrays(), 'seen': self._seen}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `arrays()`."""
        self._seen = np.array(arrays['seen'])
        self.agent.load_arrays({name: array for name, array in arrays.items() if name != 'seen'})

    def state(self) -> dict[str, Any]:
        """Return the state outside of tensors, as values for JSON."""
        return {'updates': self.updates, 'multipliers': self.agent.multipliers.tolist(),
                'noise': self._noise.tolist(), 'candidates': self.agent.rng_state(),
                'raw_share': self.raw_share,
                'components': list(self.geometry.components) if self.geometry else None}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`."""
        self.updates = int(state['updates'])
        self.set_multipliers(np.asarray(state['multipliers']))
        self._noise = np.asarray(state['noise'])
        self.agent.set_rng_state(state['candidates'])
        self.raw_share = float(state.get('raw_share', 0.0))
        found = state['components']
        self.geometry = None if found is None else Geometry(tuple(found))
