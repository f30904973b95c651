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
Serve one task of bullet-safety-gym over stdin and stdout, one line of JSON per message.

Runs in a separate environment (bullet-safety-gym, pybullet, gymnasium 0.28.1) and imports nothing
from spaars_ros. Requests: {"reset": seed} and {"step": [action]}; the end of stdin ends the
process. Answers: {"observation": [...]}, after a step with reward, cost, terminated and truncated;
{"error": text} if the environment raised an error. The first line sent describes the spaces.
"""

import argparse
import json
import os
import sys
from typing import Any
from typing import cast
import warnings

warnings.filterwarnings('ignore')
# PyBullet writes to stdout from C: send answers to a copy of stdout, the rest to stderr.
ANSWERS = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)

import bullet_safety_gym  # noqa: E402, F401
import gymnasium  # noqa: E402
import numpy as np  # noqa: E402


def answer(content: dict[str, object]) -> None:
    """Send one line of JSON."""
    ANSWERS.write(json.dumps(content) + '\n')
    ANSWERS.flush()


def reply(env: 'gymnasium.Env[Any, Any]', request: dict[str, Any]) -> dict[str, object]:
    """Handle a request and return the answer."""
    if 'reset' in request:
        # The tasks use NumPy's global generator.
        np.random.seed(request['reset'])
        observation, _ = env.reset()
        return {'observation': np.asarray(observation, float).tolist()}
    action = np.asarray(request['step'], dtype=np.float64)
    observation, reward, terminated, truncated, info = env.step(action)
    return {'observation': np.asarray(observation, float).tolist(), 'reward': float(reward),
            'cost': float(info.get('cost', 0.0)), 'terminated': bool(terminated),
            'truncated': bool(truncated)}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('task', help='id, such as SafetyBallCircle-v0')
    parser.add_argument('steps', type=int, help='time limit of an episode')
    args = parser.parse_args()
    env = gymnasium.make(args.task, max_episode_steps=args.steps, disable_env_checker=True)
    observations = cast(gymnasium.spaces.Box, env.observation_space)
    actions = cast(gymnasium.spaces.Box, env.action_space)
    answer({'observation': observations.shape[0],
            'low': actions.low.tolist(), 'high': actions.high.tolist()})
    for line in sys.stdin:
        try:
            answer(reply(env, json.loads(line)))
        except (AssertionError, ValueError, KeyError, TypeError) as error:
            answer({'error': f'{type(error).__name__}: {error}'})


if __name__ == '__main__':
    main()
