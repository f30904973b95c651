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

"""Online phases of SPAARS (warm-up, latent, gated), and the monitor that closes the gate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.spaars.gated_agent import GatedAgent
from spaars_ros.learning.algorithms.spaars.trials import GateTrials
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.device import array_of
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.rnd import Plateau
from spaars_ros.training_file import Training

WATCHED = 512
"""Number of newest transitions of each mode whose TD errors are compared."""
WITHIN = 5000
"""Number of newest transitions of the replay in which they are searched."""
LEAST = 64
"""Minimum number of transitions of each mode for the comparison."""


class Curriculum:
    """
    Phase switch and trust box: when raw actions are allowed, and how far from the decoder's.

    The switch to the gated phase needs at least `min_latent_steps` environment steps and the
    novelty's plateau (`rnd.Plateau`), or `max_latent_steps`. With `concurrent_bc` it also needs a
    calibration error eps_BC of at most `bc_bound` or, with a floor, at most the greater of
    `bc_bound` and the reach of the trust box (definition 1 of the paper, reconstructed;
    docs/concepts/spaars.md). Then the trust box grows while the gate is open.

    The gate closes again while the critic overestimates raw actions. The mean of Q(s, a) - y over
    the newest raw transitions must not exceed that over the newest latent ones by more than
    `gate_tolerance` times the root mean square of the latter, all with the present critic. With
    `gate_watch` 'error' the root mean square of Q - y over the raw transitions must not exceed
    the same bound instead (docs/concepts/spaars.md). Each episode that ends with a closed gate
    multiplies the growth of the trust box by `trust_backoff`.

    With `trials`, episodes with and without the gate are compared by their returns
    (`GateTrials`). The gate is used while it pays, in the form that was tried, with
    `explore_kappa`.
    """

    def __init__(self, agent: GatedAgent, training: Training) -> None:
        self.agent = agent
        self.training = training
        self.plateau = Plateau(training.plateau_window, training.plateau_tolerance,
                               training.plateau_windows)
        self.gated_at = -1
        """Environment steps at the phase switch; -1 before it."""
        self.grown = 0.0
        """Growth of the trust box, 0 (`trust_start`) to 1 (`trust_end`)."""
        self._grown_at = -1
        self.novelty = 0.0
        self.raw_share = 0.0
        """Share of raw actions in the last episode, 0 to 1."""
        self.td_raw = self.td_latent = float('nan')
        self.promised = float('nan')
        """Mean of Q - y over raw transitions minus that over latent ones."""
        self.tries = True
        """Whether exploring episodes may be trials; False: the deployed policy explores."""
        self.shut = 0
        """Number of episodes that ended with a closed gate."""
        self.trials = GateTrials(training.trials, agent.floored) \
            if training.trials and training.mode == 'gated' else None

    @property
    def control(self) -> bool:
        """Return whether the present training episode is a control episode (`GateTrials`)."""
        return self.trials is not None and self.trials.control

    @control.setter
    def control(self, value: bool) -> None:
        if self.trials is not None:
            self.trials.control = value

    def phase(self, steps: int) -> int:
        """Return the index in `PHASES` after `steps` environment steps."""
        if self.agent.gated:
            return 2
        return 0 if steps < self.training.warmup_steps else 1

    def takes_raw(self, observation: Tensor, raw: Tensor, latent_action: Tensor,
                  explore: bool) -> bool:
        """
        Return whether the gate takes the raw action in one state.

        :param observation: (1, n) normalised
        :param raw: (1, d) action of the raw policy
        :param latent_action: (1, d) decoded action
        """
        everywhere = self.everywhere(explore)
        if everywhere is not None:
            return everywhere
        inside = self.agent.trusted(raw, latent_action)
        kappa = self.kappa(explore)
        return bool(self.agent.advantage(observation, inside, latent_action, kappa)
                    > self.agent.margin)

    def everywhere(self, explore: bool) -> bool | None:
        """Return whether raw is taken in every state or in none; None: the critic decides."""
        t, agent = self.training, self.agent
        if t.mode == 'raw-only':
            return True
        if self.trials is not None and (self.trials.control if explore
                                        else not self.trials.gate_pays):
            return False
        # An optimistic gate exists to try raw actions, so an overestimate does not close it.
        if not (agent.gated if self._tries(explore) else agent.gate_open):
            return False
        return True if t.mode == 'hard-switch' else None

    def keeps_to_floor(self, explore: bool) -> bool:
        """Return whether only the pretrained policy acts, in configurations with a floor."""
        if self.trials is None:
            return False
        return self.trials.control if explore and self.tries else not self.trials.gate_pays

    def kappa(self, explore: bool) -> float:
        """Return kappa, the weight of the standard deviation in the gate's lower bound."""
        t = self.training
        if t.explore_kappa is not None and self._tries(explore):
            return t.explore_kappa
        return t.kappa

    def _tries(self, explore: bool) -> bool:
        return self.training.explore_kappa is not None and (explore or self.trials is not None)

    def take_episode(self, episode: Episode) -> None:
        """Add a training episode's weighted return to the trials; call before `end_episode`."""
        if self.trials is not None and (self.agent.gated or self.agent.floored):
            self.trials.take(self.agent.weighed_return(episode.rewards, episode.costs),
                             len(episode.rewards))

    def end_episode(self, reached: NDArray[np.float32], modes: NDArray[Any], steps: int,
                    replay: Replay | None = None) -> None:
        """
        Process a finished episode: novelty, phase switch, trust box, gate.

        :param reached: (T, n) normalised observations after each step
        :param modes: (T,) `Mode` of each action
        :param steps: environment steps so far
        :param replay: replay that holds its transitions; None leaves the gate unchanged
        """
        self.raw_share = float((modes == Mode.RAW).mean())
        with torch.no_grad():
            novelty = array_of(self.agent.rnd.novelty(self.agent.tensor(reached)))
        for value in novelty:
            self.plateau.add(float(value))
        self.novelty = float(novelty.mean())
        self._hand_over(steps)
        if replay is not None and self.agent.gated and self.training.mode == 'gated':
            self._watch(replay)

    def _hand_over(self, steps: int) -> None:
        t, agent = self.training, self.agent
        if t.mode in ('gated', 'hard-switch') and not agent.gated:
            calm = t.plateau and steps >= t.min_latent_steps and self.plateau.reached
            # With a floor an error up to the reach suffices: execution clips to the trust box.
            bound = max(t.bc_bound, agent.reach) if agent.floored else t.bc_bound
            calibrated = not t.concurrent_bc or float(agent.bc_error) <= bound
            if (calm or steps >= t.max_latent_steps) and calibrated:
                agent.gated = True
                self.gated_at = steps
        if agent.gated:
            # Steps counted by learned episodes may stay equal, or decrease a little.
            self._grow(max(0, steps - self._grown_at) if self._grown_at >= 0 else 0)
            self._grown_at = max(self._grown_at, steps)

    def _grow(self, steps: int) -> None:
        """Grow the trust box for `steps` more steps; a closed gate keeps its size."""
        t, agent = self.training, self.agent
        if not agent.closed:
            self.grown = min(1.0, self.grown + steps / t.trust_steps)
        agent.trust = t.trust_start + self.grown * (t.trust_end - t.trust_start)
        agent.explore_raw = t.explore_raw + self.grown * (t.explore_raw_end - t.explore_raw)

    def _watch(self, replay: Replay) -> None:
        sizes, means = [], []
        for mode in (Mode.RAW, Mode.LATENT):
            places = replay.latest(mode, WATCHED, WITHIN)
            if len(places) < LEAST and mode == Mode.LATENT:
                # Raw actions dominate now; older latent ones are from before the phase switch.
                places = replay.latest(mode, WATCHED, replay.size)
            if len(places) < LEAST:
                self.agent.closed = False
                return
            # n-step returns of the executed actions; without relabelling no draw is made.
            batch = replay.gather(places, np.random.default_rng(0)).to(self.agent.device)
            error = self.agent.td_error(batch)
            sizes.append(float(error.square().mean().sqrt()))
            means.append(float(error.mean()))
        self.td_raw, self.td_latent = sizes
        self.promised = self.agent.promised = means[0] - means[1]
        # The size of the error alone would keep an arm's gate closed forever: raw actions have
        # larger errors where the values are steep, and with latent actions alone the errors of
        # latent actions keep decreasing.
        excess = self.promised if self.training.gate_watch == 'promise' else self.td_raw
        self.agent.closed = not excess <= self.training.gate_tolerance * self.td_latent
        if self.agent.closed:
            self.shut += 1
            # The critic is not valid so far from the decoder's actions.
            self.grown *= self.training.trust_backoff
            self._grow(0)

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return values to log of the phases and the gate."""
        agent = self.agent
        return {'phase': self.phase(steps), 'novelty': self.novelty, 'raw_share': self.raw_share,
                'bc_error': float(agent.bc_error), 'lipschitz': float(agent.lipschitz),
                'margin': agent.margin, 'trust': agent.trust, 'gated_at': self.gated_at,
                'td_raw': self.td_raw, 'td_latent': self.td_latent,
                'promised': self.promised, 'gate_shut': self.shut,
                **({} if self.trials is None else {
                    'gate_pays': float(self.trials.gate_pays),
                    'return_gated': float(np.mean(self.trials.with_gate or [np.nan])),
                    'return_latent': float(np.mean(self.trials.without or [np.nan]))})}

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`."""
        agent = self.agent
        return {'gated_at': self.gated_at, 'gated': agent.gated, 'closed': agent.closed,
                'trust': agent.trust, 'explore_raw': agent.explore_raw,
                'plateau': self.plateau.state(), 'novelty': self.novelty,
                'raw_share': self.raw_share, 'shut': self.shut, 'grown': self.grown,
                'grown_at': self._grown_at, 'watched': [
                    value if np.isfinite(value) else None
                    for value in (self.td_raw, self.td_latent, self.promised)],
                'trials': None if self.trials is None else self.trials.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        agent = self.agent
        self.gated_at, agent.gated = int(state['gated_at']), bool(state['gated'])
        agent.closed, self.shut = bool(state['closed']), int(state['shut'])
        agent.trust, agent.explore_raw = float(state['trust']), float(state['explore_raw'])
        self.grown, self._grown_at = float(state['grown']), int(state['grown_at'])
        self.plateau.restore(state['plateau'])
        self.novelty = float(state['novelty'])
        self.raw_share = float(state['raw_share'])
        # Older checkpoints lack these values; the next episode measures them again.
        self.td_raw, self.td_latent, self.promised = (
            float('nan') if value is None else float(value)
            for value in state.get('watched', [None] * 3))
        agent.promised = self.promised
        if self.trials is not None:
            self.trials.restore(state['trials'])
