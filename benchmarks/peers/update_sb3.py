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
Time updates of SAC of stable-baselines3, in rounds.

Runs in a separate environment and imports nothing from spaars_ros. Prints one JSON line when it is
ready, then for each line {"updates": N} on stdin one line with updates, seconds, cpu_seconds.
"""

import argparse
import json
import sys
import time
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
from stable_baselines3 import SAC
from stable_baselines3.common.logger import configure
import torch


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
    torch.set_num_threads(1)
    model = SAC('MlpPolicy', Spaces(args.observation, args.action), batch_size=args.batch,
                buffer_size=args.transitions, seed=0, device='cpu',
                policy_kwargs={'net_arch': [args.width, args.width], 'n_critics': args.heads})
    model.set_logger(configure(None, []))
    rng = np.random.default_rng(0)
    memory = model.replay_buffer
    assert memory is not None
    memory.observations[:] = rng.standard_normal(memory.observations.shape)
    memory.next_observations[:] = rng.standard_normal(memory.observations.shape)
    memory.actions[:] = rng.uniform(-1, 1, memory.actions.shape)
    memory.rewards[:] = rng.standard_normal(memory.rewards.shape)
    memory.full = True
    say({'peer': 'stable-baselines3', 'version': stable_baselines3.__version__,
         'algorithm': 'SAC', 'torch': torch.__version__, 'threads': torch.get_num_threads()})
    for line in sys.stdin:
        updates = int(json.loads(line)['updates'])
        began, cpu = time.perf_counter(), time.process_time()
        model.train(gradient_steps=updates, batch_size=args.batch)
        say({'updates': updates, 'seconds': time.perf_counter() - began,
             'cpu_seconds': time.process_time() - cpu})


if __name__ == '__main__':
    main()
