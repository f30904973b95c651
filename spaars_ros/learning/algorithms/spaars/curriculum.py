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

"""The online phases of SPAARS: warm-up, latent, gated; and the watch over the gate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from spaars_ros.data.schema import Mode
from spaars_ros.learning.algorithms.spaars.gated_agent import GatedAgent
from spaars_ros.learning.algorithms.spaars.trials import GateTrials
from spaars_ros.learning.core.algorithm import Episode
from spaars_ros.learning.core.replay import Replay
from spaars_ros.learning.core.rnd import Plateau
from spaars_ros.training_file import Training

WATCHED = 512
"""Newest transitions of each mode on which the TD errors are compared ..."""
WITHIN = 5000
"""... among so many of the newest ones."""
LEAST = 64
"""Transitions of each mode without which nothing is said."""


class Curriculum:
    """
    Say when raw actions are allowed, and how far they may be from the decoder's.

    Hand-over: at least `min_latent_steps` environment steps, and the novelty's plateau
    (`rnd.Plateau`) or `max_latent_steps`, and the calibration error eps_BC at most `bc_bound` or,
    with a floor, the reach of the trust box: spaars.md, definition 1 (reconstructed). From there
    the trust box grows, while the gate is open.

    The gate shuts again while the critic promises too much of raw actions (`gate_watch`): while
    the mean of Q(s, a) - y over the newest raw transitions is above that over the newest latent
    ones by more than `gate_tolerance` times the latter's root mean square, all with the critic as
    it is now; or, where the watch is for errors, while their root mean square is (spaars.md).
    Each such episode takes `trust_backoff` of the ball's growth.

    With `trials`, episodes with and without the gate are compared by their returns (`GateTrials`):
    the gate is used while it pays, and then it is the one that was tried, with `explore_kappa`.
    """

    def __init__(self, agent: GatedAgent, training: Training) -> None:
        self.agent = agent
        self.training = training
        self.plateau = Plateau(training.plateau_window, training.plateau_tolerance,
                               training.plateau_windows)
        self.gated_at = -1
        """Environment steps at the hand-over."""
        self.grown = 0.0
        """Share of its growth that the trust box has done."""
        self._grown_at = -1
        self.novelty = 0.0
        self.raw_share = 0.0
        """Of the last episode's actions."""
        self.td_raw = self.td_latent = float('nan')
        self.promised = float('nan')
        """Mean of Q - y after raw actions, less that after latent ones."""
        self.tries = True
        """Whether what explores may be on trial; False: it is what is deployed, with noise."""
        self.shut = 0
        """Episodes that ended with a shut gate."""
        self.trials = GateTrials(training.trials, agent.floored) \
            if training.trials and training.mode == 'gated' else None

    def phase(self, steps: int) -> int:
        """Return the index in `PHASES` after `steps` environment steps."""
        if self.agent.gated:
            return 2
        return 0 if steps < self.training.warmup_steps else 1

    def takes_raw(self, observation: Tensor, raw: Tensor, latent_action: Tensor,
                  explore: bool) -> bool:
        """
        Return whether the raw action is taken in one state.

        :param observation: (1, n) normalised
        :param raw: (1, d) the raw policy's action
        :param latent_action: (1, d) the decoder's
        """
        everywhere = self.everywhere(explore)
        if everywhere is not None:
            return everywhere
        inside = self.agent.trusted(raw, latent_action)
        kappa = self.kappa(explore)
        return bool(self.agent.advantage(observation, inside, latent_action, kappa)
                    > self.agent.margin)

    def everywhere(self, explore: bool) -> bool | None:
        """Return whether raw is taken in every state or in none; None: the critic says."""
        t, agent = self.training, self.agent
        if t.mode == 'raw-only':
            return True
        if self.trials is not None and (self.trials.control if explore
                                        else not self.trials.gate_pays):
            return False
        # An optimistic gate is there to try raw actions, so being wrong does not shut it.
        if not (agent.gated if self._tries(explore) else agent.gate_open):
            return False
        return True if t.mode == 'hard-switch' else None

    def keeps_to_floor(self, explore: bool) -> bool:
        """Return whether the pretrained policy alone acts, where there is a floor."""
        if self.trials is None:
            return False
        return self.trials.control if explore and self.tries else not self.trials.gate_pays

    def kappa(self, explore: bool) -> float:
        """Return how many standard deviations below the mean the gate's bound is."""
        t = self.training
        if t.explore_kappa is not None and self._tries(explore):
            return t.explore_kappa
        return t.kappa

    def _tries(self, explore: bool) -> bool:
        return self.training.explore_kappa is not None and (explore or self.trials is not None)

    def take_episode(self, episode: Episode) -> None:
        """Take what a training episode earned, less what its costs weigh; before its end."""
        if self.trials is not None and (self.agent.gated or self.agent.floored):
            self.trials.take(self.agent.weighed_return(episode.rewards, episode.costs),
                             len(episode.rewards))

    def end_episode(self, reached: NDArray[np.float32], modes: NDArray[Any], steps: int,
                    replay: Replay | None = None) -> None:
        """
        Take a finished episode.

        :param reached: (T, n) normalised observations after each step
        :param modes: (T,) of `Mode`
        :param steps: environment steps so far
        :param replay: where its transitions are; None leaves the gate as it is
        """
        self.raw_share = float((modes == Mode.RAW).mean())
        with torch.no_grad():
            novelty = self.agent.rnd.novelty(torch.from_numpy(reached)).numpy()
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
            # Of the action that acts, the ball takes away what is further than it reaches.
            bound = max(t.bc_bound, agent.reach) if agent.floored else t.bc_bound
            calibrated = not t.concurrent_bc or float(agent.bc_error) <= bound
            if (calm or steps >= t.max_latent_steps) and calibrated:
                agent.gated = True
                self.gated_at = steps
        if agent.gated:
            # Steps that are counted by what was learned may stand still, or go back a little.
            self._grow(max(0, steps - self._grown_at) if self._grown_at >= 0 else 0)
            self._grown_at = max(self._grown_at, steps)

    def _grow(self, steps: int) -> None:
        """Let the trust box grow with `steps` more steps; a shut gate does not."""
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
                # Raw actions have taken over; there were others before the hand-over.
                places = replay.latest(mode, WATCHED, replay.size)
            if len(places) < LEAST:
                self.agent.closed = False
                return
            # n-step returns of the very actions that were taken; the generator is not used.
            batch = replay.gather(places, np.random.default_rng(0))
            error = self.agent.td_error(batch)
            sizes.append(float(error.square().mean().sqrt()))
            means.append(float(error.mean()))
        self.td_raw, self.td_latent = sizes
        self.promised = self.agent.promised = means[0] - means[1]
        # The size of the error alone would keep an arm's gate shut for good: where the task gets
        # steep raw actions have the larger one, and latent ones alone make theirs ever smaller.
        excess = self.promised if self.training.gate_watch == 'promise' else self.td_raw
        self.agent.closed = not excess <= self.training.gate_tolerance * self.td_latent
        if self.agent.closed:
            self.shut += 1
            # What was learned about raw actions does not hold so far from the decoder's.
            self.grown *= self.training.trust_backoff
            self._grow(0)

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Return what is logged of the phases and the gate."""
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
        """Return what `restore` takes."""
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
        # A checkpoint from before has none; the next episode measures them anew.
        self.td_raw, self.td_latent, self.promised = (
            float('nan') if value is None else float(value)
            for value in state.get('watched', [None] * 3))
        agent.promised = self.promised
        if self.trials is not None:
            self.trials.restore(state['trials'])
