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
"""Registry of the algorithms by name."""

from typing import Any
from typing import cast

from spaars_ros.learning.algorithms.baselines.bc import BehaviourCloning
from spaars_ros.learning.algorithms.baselines.iql import IQL
from spaars_ros.learning.algorithms.baselines.plas import PLAS
from spaars_ros.learning.algorithms.baselines.sac import RLPD
from spaars_ros.learning.algorithms.baselines.sac import SAC
from spaars_ros.learning.algorithms.baselines.td3_bc import TD3BC
from spaars_ros.learning.algorithms.constrained.cpq import CPQ
from spaars_ros.learning.algorithms.constrained.marvel import Marvel
from spaars_ros.learning.algorithms.constrained.sac_lagrangian import SACLagrangian
from spaars_ros.learning.algorithms.constrained.sac_lagrangian import SACPID
from spaars_ros.learning.algorithms.spaars.spaars import Spaars
from spaars_ros.learning.algorithms.spar.spar import Spar
from spaars_ros.learning.algorithms.supe.spaars_supe import SpaarsSupe
from spaars_ros.learning.algorithms.supe.supe import Supe
from spaars_ros.learning.core.algorithm import Algorithm
from spaars_ros.learning.core.deployable import Deployable
from spaars_ros.learning.core.device import find_device
from spaars_ros.learning.core.replay import Normaliser
from spaars_ros.tasks.base import Task
from spaars_ros.training_file import check_robot_runs
from spaars_ros.training_file import Training

ALGORITHMS: dict[str, type[Any]] = {
    'spaars': Spaars, 'bc': BehaviourCloning, 'iql': IQL, 'rlpd': RLPD, 'sac': SAC, 'plas': PLAS,
    'marvel': Marvel, 'cpq': CPQ, 'sac-lagrangian': SACLagrangian, 'sac-pid': SACPID,
    'spar': Spar, 'td3-bc': TD3BC, 'supe': Supe, 'spaars-supe': SpaarsSupe}


def make_algorithm(name: str, training: Training, *, observation: int, action: int,
                   constraints: int, normaliser: Normaliser, seed: int) -> Algorithm:
    """
    Return the named algorithm, on the device of its training file.

    Its networks are initialised from torch's global generator.

    :param observation: n, width of an observation
    :param action: d, width of an action
    :param constraints: C, number of constraints
    :raises ValueError: unknown name
    :raises ConfigError: device of the training file that this computer does not have
    """
    if name not in ALGORITHMS:
        raise ValueError(f'algorithm {name!r}: none of {sorted(ALGORITHMS)}')
    made: Algorithm = ALGORITHMS[name](training, observation=observation, action=action,
                                       constraints=constraints, normaliser=normaliser, seed=seed)
    made.agent.move(find_device(training.device))
    return made


def deployable() -> list[str]:
    """Return the names of the algorithms that implement `Deployable`, which a robot can run."""
    return [name for name, made in ALGORITHMS.items() if Deployable in made.__mro__]


def make_deployable(training: Training, task: Task, normaliser: Normaliser, seed: int
                    ) -> Deployable:
    """
    Return the algorithm of a training file, for a robot's task.

    :raises ConfigError: the algorithm runs in `spaars train` only; the message lists the others
    """
    check_robot_runs(training)
    made = make_algorithm(
        training.algorithm, training, observation=task.observation_dim,
        action=task.spec.action_dim, constraints=len(task.constraint_names),
        normaliser=normaliser, seed=seed)
    return cast(Deployable, made)
