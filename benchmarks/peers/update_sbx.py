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

"""
Time updates of SAC of SBX (JAX), in rounds.

Runs in a separate environment and imports nothing from spaars_ros. Prints one JSON line when it is
ready, then for each line {"updates": N} on stdin one line with updates, seconds, cpu_seconds. XLA
takes a second core unless the process is pinned to one.
"""

import argparse
from importlib.metadata import version
import json
import sys
import time
from typing import Any

import gymnasium
import jax
import numpy as np
from sbx import SAC
from stable_baselines3.common.logger import configure


class Spaces(gymnasium.Env):  # type: ignore[type-arg]
    """Environment with spaces only, which is never stepped."""

    def __init__(self, observation: int, action: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action,), np.float32)


def say(line: dict[str, Any]) -> None:
    """Write one JSON line."""
    sys.stdout.write(json.dumps(line) + '\n')
    sys.stdout.flush()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ('observation', 'action', 'width', 'batch', 'heads', 'transitions'):
        parser.add_argument(f'--{name}', type=int, required=True)
    args = parser.parse_args()
    model = SAC('MlpPolicy', Spaces(args.observation, args.action), batch_size=args.batch,
                buffer_size=args.transitions, seed=0, device='cpu', learning_starts=0,
                policy_kwargs={'net_arch': [args.width, args.width], 'n_critics': args.heads})
    model.set_logger(configure(None, []))
    rng = np.random.default_rng(0)
    memory = model.replay_buffer
    memory.observations[:] = rng.standard_normal(memory.observations.shape)
    memory.next_observations[:] = rng.standard_normal(memory.observations.shape)
    memory.actions[:] = rng.uniform(-1, 1, memory.actions.shape)
    memory.rewards[:] = rng.standard_normal(memory.rewards.shape)
    memory.full = True
    say({'peer': 'sbx', 'version': version('sbx-rl'), 'algorithm': 'SAC',
         'jax': jax.__version__})
    compiled: set[int] = set()
    for line in sys.stdin:
        updates = int(json.loads(line)['updates'])
        if updates not in compiled:  # a new number of steps compiles a new graph
            model.train(args.batch, updates)
            compiled.add(updates)
        began, cpu = time.perf_counter(), time.process_time()
        model.train(args.batch, updates)
        jax.block_until_ready(model.policy.qf_state.params)
        say({'updates': updates, 'seconds': time.perf_counter() - began,
             'cpu_seconds': time.process_time() - cpu})


if __name__ == '__main__':
    main()
