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
Time updates of IQL of d3rlpy, in rounds.

Runs in a separate environment and imports nothing from spaars_ros. Prints one JSON line when it is
ready, then for each line {"updates": N} on stdin one line with updates, seconds, cpu_seconds.
"""

import argparse
import json
import sys
import time
from typing import Any

import d3rlpy
import numpy as np
import torch


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ('observation', 'action', 'width', 'batch', 'heads', 'transitions'):
        parser.add_argument(f'--{name}', type=int, required=True)
    args = parser.parse_args()
    # d3rlpy logs to stdout, which is reserved for answers.
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(line: dict[str, Any]) -> None:
        answers.write(json.dumps(line) + '\n')
        answers.flush()

    torch.set_num_threads(1)
    d3rlpy.seed(0)
    rng = np.random.default_rng(0)
    ends = np.zeros(args.transitions, np.float32)
    ends[999::1000] = 1.0
    ends[-1] = 1.0
    data = d3rlpy.dataset.MDPDataset(
        rng.standard_normal((args.transitions, args.observation)).astype(np.float32),
        rng.uniform(-1, 1, (args.transitions, args.action)).astype(np.float32),
        rng.standard_normal((args.transitions, 1)).astype(np.float32), ends)
    encoder = d3rlpy.models.encoders.VectorEncoderFactory([args.width, args.width])
    algorithm = d3rlpy.algos.IQLConfig(
        batch_size=args.batch, n_critics=args.heads, actor_encoder_factory=encoder,
        critic_encoder_factory=encoder, value_encoder_factory=encoder).create(device='cpu:0')
    algorithm.build_with_dataset(data)
    say({'peer': 'd3rlpy', 'version': d3rlpy.__version__, 'algorithm': 'IQL',
         'torch': torch.__version__, 'threads': torch.get_num_threads()})
    for line in sys.stdin:
        updates = int(json.loads(line)['updates'])
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(updates):
            algorithm.update(data.sample_transition_batch(args.batch))
        say({'updates': updates, 'seconds': time.perf_counter() - began,
             'cpu_seconds': time.process_time() - cpu})


if __name__ == '__main__':
    main()
