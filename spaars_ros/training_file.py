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

"""Training file: the algorithm and its constants, read from YAML, with a check of each field."""

from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import Field
from pydantic import model_validator

from spaars_ros.robot.files import find_file
from spaars_ros.robot.files import make_model
from spaars_ros.robot.files import Strict
from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import read_yaml
from spaars_ros.training_sections import flat

ROBOT_ALGORITHMS = ('spaars', 'spaars-supe', 'spar')
"""Algorithms that the nodes on a robot run; `spaars train` runs all algorithms."""
SCRATCH = ('sac', 'sac-lagrangian', 'sac-pid')
"""Algorithms that learn without offline data."""


Size = Annotated[int, Field(le=100_000)]
Steps = Annotated[int, Field(le=1_000_000_000)]
Real = Annotated[float, Field(le=1_000_000)]


class Training(Strict):
    """A training file: the algorithm and every constant that it uses."""

    algorithm: Literal['spaars', 'bc', 'iql', 'rlpd', 'sac', 'plas', 'marvel', 'cpq',
                       'sac-lagrangian', 'sac-pid', 'supe', 'spaars-supe', 'spar',
                       'td3-bc'] = Field(
        'spaars', description='what is learned; the robot runs spaars, spaars-supe and spar, '
        'the others are for `spaars train`')
    mode: Literal['gated', 'latent-only', 'raw-only', 'hard-switch'] = Field(
        'gated', description='gated: SPAARS; the others are its ablations (hard-switch: raw '
        'everywhere after the hand-over)')
    demonstrations: str = Field(
        'package://spaars_ros/data/demonstrations/panda_reach.h5',
        description='HDF5 data set, or package://<python package>/<path>; left out: that of the '
        'task file')

    width: Size = Field(128, ge=8, description='units of every hidden layer')
    heads: Size = Field(4, ge=2, description='critic heads')
    latent_dim: Size = Field(4, ge=1, description='k; the variance argument wants k <= d; left '
                             'out: 4, or d where that is less')
    latent_bound: Real = Field(2.0, gt=0, description='|z| <= bound')
    batch: Size = Field(128, ge=2, description='transitions an update, half of them offline')
    learning_rate: Real = Field(3e-4, gt=0, description='Adam, online')
    offline_learning_rate: Real = Field(1e-3, gt=0, description='Adam, offline')
    gamma: float = Field(0.97, ge=0, lt=1, description='discount a tick')
    n_step: Size = Field(3, ge=1, description='steps of the return before it bootstraps')
    tau: float = Field(0.005, gt=0, le=1, description='Polyak rate of the target critic')
    reward_scale: Real = Field(0.2, gt=0, description='on rewards and costs alike')

    shaping: Real = Field(20.0, ge=0, description='weight of the potential of the task '
                           'in potential-based shaping; 0 for none')

    relabel: float = Field(0.5, ge=0, le=1, description='share of transitions with hindsight '
                           'goals, from value pre-alignment on; not for CVAE, IQL and BC')

    cvae_steps: Steps = Field(6000, ge=0, description='offline updates of the CVAE')
    kl_weight: Real = Field(0.05, ge=0, description='on the mean KL, against the mean squared '
                             'error in units of the action variance')
    iql_steps: Steps = Field(5000, ge=0, description='offline updates of IQL, AWR and BC')
    expectile: float = Field(0.7, gt=0.5, lt=1, description='IQL')
    temperature: Real = Field(3.0, ge=0, description='AWR inverse temperature')
    align_steps: Steps = Field(3000, ge=0, description='value pre-alignment, offline but for '
                             '`align_share`: the critic evaluates the pretrained policy')

    utd: Real = Field(2.0, ge=0, description='updates per environment step')
    weight_average: float = Field(0.0, ge=0, lt=1, description='what acts on the robot, and '
                                  'what `spaars train` evaluates, is the mean of the weights over '
                                  '1 / (1 - this) updates, more or less; 0: the newest')
    warmup_steps: Steps = Field(500, ge=0, description='environment steps without updates')
    critic_steps: Steps = Field(500, ge=0, description='environment steps after warm-up in which '
                              'only the critic learns')
    min_latent_steps: Steps = Field(1500, ge=0, description='environment steps before hand-over')
    max_latent_steps: Steps = Field(3000, ge=0, description='hand-over at the latest, once the BC '
                                  'bound holds')
    plateau_window: Steps = Field(250, ge=1, description='environment steps a window')
    plateau_tolerance: Real = Field(0.05, gt=0, description='relative change of novelty')
    plateau_windows: Steps = Field(2, ge=1, description='calm windows running')
    plateau: bool = Field(True, description='hand over at the plateau of novelty; false: after '
                          'max_latent_steps')
    bc_bound: Real = Field(0.15, gt=0, description='|raw - decoded| that hand-over needs')
    concurrent_bc: bool = Field(True, description='raw imitates the decoder in the latent phase; '
                                'false: it stays as cloned from the data, and hand-over does not '
                                'ask for bc_bound')
    prior: Real = Field(0.0, ge=0, description='weight of a frozen random network in every critic '
                        'head: where data is thin the heads disagree; 0: none')
    independent_targets: bool = Field(False, description='every head follows its own target; '
                                      'false: all follow the least of two')
    bootstrap: float = Field(1.0, gt=0, le=1, description='share of the heads that a transition '
                             'trains, the same ones every time')
    floor: bool = Field(False, description='spaars: the frozen pretrained action competes in '
                        'every state, and acts until another is better by the lower bound')
    latent_candidates: int = Field(0, ge=0, le=256, description='spaars: the latent action is the '
                                   'best of so many about the pretrained one by the lower '
                                   'bound; 0: of a policy that climbs the critic')
    self_imitation: bool = Field(False, description='spaars, with latent_candidates: the latent '
                                 'policy clones demonstrations that earned more than these do in '
                                 'the mean, in place of AWR, and online own episodes that earn '
                                 'as much; the candidates but the first lie about it')
    latent_spread: Real = Field(0.5, ge=0, description='std of these candidates')
    hold_start: Real = Field(1.0, ge=0, description='factor on `anchor` and `raw_bc` when online '
                             'learning begins ...')
    hold_steps: Steps = Field(5000, ge=1, description='... which comes near 1 with this time '
                              'constant, in environment steps')
    gate_watch: Literal['promise', 'error'] = Field(
        'promise', description='what shuts the gate; promise: raw actions bring less than the '
        'critic said, in the mean; error: the TD error after them is large, on either side')
    gate_tolerance: Real = Field(1.0, gt=0, description='from where on it does, in root mean '
                                  'squares of the TD error after latent actions')
    kappa: Real = Field(0.5, ge=0, description='gate: standard deviations below the mean')
    explore_kappa: float | None = Field(
        None, ge=-1_000_000, le=1_000_000, description='`spaars train`: kappa of the gate while '
        'exploring; negative is optimistic, so that raw actions are tried where the heads '
        'disagree; null: as kappa. The robot always takes kappa')
    trials: float = Field(0.0, ge=0, le=0.9, description='`spaars train`: share of the steps '
                          'after the hand-over in control episodes, with the gate shut; the gate '
                          'is used, with explore_kappa, while episodes with it return more. 0: '
                          'always used, as on the robot')
    champion: float = Field(0.0, ge=0, lt=1, description='the version with the best record of '
                            'training episodes acts and is deployed until another beats it; this '
                            'is the share of the episodes in which one is tried; 0: what was '
                            'learned last acts')
    actor_kappa: Real = Field(1.0, ge=0, description='policies climb this many standard '
                               'deviations of the heads below their mean')
    min_margin: Real = Field(0.0, ge=0, description='gate: least advantage of raw')
    trust_start: Real = Field(0.1, gt=0, description='raw within +- this of the decoder ...')
    trust_end: Real = Field(0.5, gt=0, description='... growing to this')
    trust_steps: Steps = Field(4000, ge=1, description='environment steps of the growth')
    trust_backoff: float = Field(1.0, gt=0, le=1, description='factor on the trust box after an '
                                 'episode that shut the gate; 1 leaves it to grow')
    explore_latent: Real = Field(0.3, ge=0, description='std of the latent noise')
    explore_raw: Real = Field(0.1, ge=0, description='std of the raw noise')
    explore_raw_end: Real = Field(0.04, ge=0, description='std of the raw noise once the trust '
                                   'box has grown')
    explore_correlation: float = Field(0.8, ge=0, lt=1, description='of the noise from tick to '
                                       'tick; white noise hardly moves an arm')
    policy_delay: Steps = Field(1, ge=1, description='critic updates a policy update')
    anchor: Real = Field(0.1, ge=0, description='weight that keeps the latent policy near the '
                          'pretrained one')
    raw_bc: Real = Field(0.1, ge=0, description='weight that keeps raw near the decoder online')

    raw_candidate: Literal['policy', 'residual', 'imitation'] = Field(
        'policy', description='spaars: how the raw policy improves after the hand-over; policy: '
        "it climbs Q; residual: SPAR's self-imitation of residuals about the decoder's action; "
        'imitation, with self_imitation: always, it clones what is cloned, without the decoder')

    spar_projection: Literal['auto', 'mlp', 'proj'] = Field(
        'auto', description="spar: residual policy; mlp: of actions; proj: of latents, through "
        "the residual decoder; auto: as the data's residuals have one mode or several")
    spar_base_steps: Steps = Field(2000, ge=1, description='spar: offline updates of the base '
                                 'policy, before `cvae_steps` of the residual CVAE; what is left '
                                 'of `iql_steps` and `align_steps` goes to self-imitation')
    spar_candidates: Size = Field(16, ge=1, description='spar, and raw_candidate residual: '
                                  'latents tried a state')
    spar_sigma: Real = Field(0.5, gt=0, description='spar: their std about the present one')
    spar_centre: float = Field(0.5, ge=0, le=1, description='spar: their mean, in present '
                               "latents; 0: they stay those of the data, 1: they climb to the "
                               "latent's bound where values say so")
    spar_scale: float = Field(1.0, gt=0, le=2, description='spar: |residual| <= this (mlp)')
    spar_temperature: Real = Field(1.0, gt=0, description="spar: of the candidates' softmax, in "
                                    "standard deviations of a state's values")
    spar_fit: Real = Field(0.05, ge=0, description='spar: weight that holds the residual to the '
                            "decoder's at z = 0 (mlp), or the latent to 0 (proj)")
    spar_conservative: Real = Field(0.0, ge=0, description='spar: weight that pushes the values '
                                     "of the decoder's actions below those of the data's; 0: "
                                     'values learn from nothing but the data')

    start: str = Field('', description='marvel: .npz of offline tensors to start from, instead of '
                       'the offline phase')
    cost_limit: Real = Field(20.0, ge=0, description='cpq, marvel: cost per episode, of which '
                              "thresholds are made; left out: the run's limit")
    episode_steps: Steps = Field(200, ge=1, description='cpq: steps per episode, for its '
                                 'thresholds')
    clone_weight: Real = Field(1.0, ge=0, description='cpq: weight that holds the policy to the '
                                'safe actions of the data, as in TD3+BC; 0: as published')
    cost_weight: Real = Field(1.0, gt=0, description='sac-lagrangian and its kin: factor on '
                               'costs, beside reward_scale')
    entropy: Real = Field(0.001, ge=0, description='sac-lagrangian and its kin: weight of the '
                           'entropy; 0: tuned so that the entropy is -d')
    actor_rate: Real = Field(1.0, gt=0, description='sac-lagrangian and its kin: learning rate '
                              "of the policy, as a multiple of the critic's")
    offline_share: float = Field(0.0, ge=0, lt=1, description='marvel: share of the offline data '
                                 'in a batch online; 0: as published')
    correction_weight: Real = Field(0.0, ge=0, description="spaars, spaars-supe: weight of "
                                    "cloning those of a person's steps that the critic puts "
                                    "above the policy's own action; nothing where nobody takes "
                                    'over; 0: off')
    demonstration_weight: Real = Field(0.0, ge=0, description='marvel: weight of cloning online '
                                        "those of the data's actions that the critics put above "
                                        "the policy's own; wants an offline_share; 0: as "
                                        'published')
    align_share: float = Field(0.0, ge=0, lt=1, description="marvel: share of the warm-up's own "
                               'transitions in the batches of the alignment, which then comes '
                               'right after the warm-up; 0 aligns on the offline data alone, '
                               'before it')
    align_push: bool = Field(False, description="marvel: keep CPQ's push on the costs of foreign "
                             'actions in the alignment')
    align_entropy_reward: float | None = Field(
        None, ge=0, le=1_000_000, description='marvel: weight of the entropy in the reward '
        "critic's alignment; null: `entropy`, as online, so that nothing changes between them")
    align_entropy_cost: Real = Field(0.0, ge=0, description='marvel: the same of the cost '
                                      "critic's; not negative: it makes uncertain actions dear")
    setpoint: float = Field(0.7, gt=0, le=1, description='sac-lagrangian and its kin: share of '
                            'the cost limit at which the multiplier holds the cost')
    violation_rate: float = Field(0.0, ge=0, le=0.5, description='sac-lagrangian and its kin: '
                                  'share of the episodes that may be above the limit, held '
                                  'instead of the mean cost; 0: that is held at setpoint')
    multiplier: Literal['adaptive', 'plain', 'integral'] = Field(
        'adaptive', description='marvel: the PID that sets it; plain: fixed gains; integral: only '
        'I, as dual ascent')

    skill_length: int = Field(4, ge=1, le=1000, description='supe, spaars-supe: H, environment '
                              'steps that a skill is held')
    skill_dim: Size = Field(8, ge=1, description='supe, spaars-supe: values of a skill; the '
                           'variance argument wants at most H d')
    skill_width: Size = Field(128, ge=8, description='supe, spaars-supe: units of every hidden '
                             'layer of the skills and of the high level; published: 256')
    skill_layers: Size = Field(1, ge=1, description='supe, spaars-supe: layers of the GRU that '
                              'encodes chunks; published: 2')
    skill_kl: Real = Field(0.1, ge=0, description='supe, spaars-supe: on the KL of a chunk, '
                            'against the negative log-likelihood averaged over its H steps')
    skill_steps: Steps = Field(6000, ge=0, description='supe, spaars-supe: offline updates of '
                               'OPAL')
    skill_iql_steps: Steps = Field(5000, ge=0, description='spaars-supe: offline updates of the '
                                 'high level by IQL, and of shared critic and raw policy')
    skill_expectile: float = Field(0.9, gt=0.5, lt=1, description='spaars-supe: of that IQL')
    skill_awr: Real = Field(1.0, ge=0, description='spaars-supe: its inverse temperature, on '
                             'advantages in units of their spread')
    skill_heads: Size = Field(10, ge=2, description='supe, spaars-supe: heads of the high-level '
                             'critic')
    skill_subset: Size = Field(2, ge=1, description='supe, spaars-supe: random heads whose least '
                              'makes its target; published: 1 (AntMaze), 2 (Kitchen)')
    skill_discount: Literal['published', 'macro'] = Field(
        'published', description='supe, spaars-supe: what multiplies the value after a skill: '
        'gamma, as published, or gamma^H')
    skill_relabel: Literal['pred', 'min', 'none'] = Field(
        'pred', description='supe, spaars-supe: rewards of the offline chunks online: learned '
        'from the online ones, the least of the data set, or as they are in it')
    rnd_weight: Real = Field(8.0, ge=0, description='supe, spaars-supe: novelty bonus of state '
                              "and skill, in the task's reward")
    skill_temperature: Real = Field(1.0, gt=0, description='supe, spaars-supe: weight of the '
                                     "entropy at the start, in the task's reward")
    skill_actor_delay: Steps = Field(2, ge=1, description='supe, spaars-supe: critic updates a '
                                   'high-level policy update; published: 20 of 80 a skill')
    skill_sample: bool = Field(True, description='supe, spaars-supe: `spaars train` samples the '
                               'action of a skill while exploring, as published; false: its mean. '
                               'Evaluations and the robot take the mean')

    compile: Literal['auto', 'off', 'on'] = Field(
        'auto', description='updates online compiled by a process beside the learner (needs g++) '
        'and kept in ~/.cache/spaars_ros/compiled; auto: in runs of many updates; off: the same '
        'numbers, bit for bit, on every run')
    push_every: Steps = Field(100, ge=1, description='environment steps between bundles')
    checkpoint_every: Steps = Field(2500, ge=1, description='environment steps')

    @model_validator(mode='after')
    def _has_one_judge(self) -> 'Training':
        if self.champion and self.trials:
            raise ValueError(f'champion {self.champion:g} and trials {self.trials:g}: both try '
                             'what was learned; set one of them to 0')
        return self

    @model_validator(mode='after')
    def _has_what_raw_clones(self) -> 'Training':
        finds = self.self_imitation and self.floor and self.latent_candidates \
            and self.mode in ('gated', 'latent-only')
        if self.raw_candidate == 'imitation' and self.algorithm.startswith('spaars') \
                and not (finds and self.algorithm == 'spaars'):
            raise ValueError("raw_candidate 'imitation': clones what self_imitation finds, which "
                             'algorithm spaars has in modes gated and latent-only with floor and '
                             'latent_candidates; set these, or raw_candidate to policy')
        return self

    @model_validator(mode='after')
    def _has_what_it_copies(self) -> 'Training':
        if self.algorithm == 'marvel' and self.demonstration_weight and not self.offline_share:
            raise ValueError(f'demonstration_weight {self.demonstration_weight:g}: offline_share '
                             'is 0, no batch has demonstrations')
        return self


def check_robot_runs(training: Training) -> None:
    """Raise ConfigError, with a list of valid algorithms, if a robot cannot run this one."""
    if training.algorithm not in ROBOT_ALGORITHMS:
        raise ConfigError(f'algorithm {training.algorithm!r}: the robot runs '
                          f'{", ".join(ROBOT_ALGORITHMS)}; `spaars train` runs the others')


def for_task(training: Training, action: int, demonstrations: str = '') -> Training:
    """
    Return the settings with defaults adapted to a task, for fields that the file leaves out.

    :param action: width of the task's actions, upper bound of `latent_dim`
    :param demonstrations: the task's data set; '' keeps the default
    """
    given, own = training.model_fields_set, dict[str, Any]()
    if 'latent_dim' not in given and training.latent_dim > action:
        own['latent_dim'] = action
    if 'demonstrations' not in given and demonstrations:
        own['demonstrations'] = demonstrations
    return training.model_copy(update=own) if own else training


def load_training(name: str = 'spaars', **overrides: Any) -> Training:
    """
    Read a training file by path, or by name from `config/training/`.

    Settings of one family of algorithms may be in its section (`training_sections.SECTIONS`).

    :param overrides: values that replace those of the file; None keeps the file's
    :raises ConfigError: no such file, malformed, or an invalid setting
    """
    document = flat(read_yaml(find_file(str(name), 'training')), Training.model_fields)
    given = {key: value for key, value in overrides.items() if value is not None}
    return make_model(Training, document, given)
