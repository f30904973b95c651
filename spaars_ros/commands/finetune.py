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

"""`spaars finetune`: the main job."""

from dataclasses import replace
from pathlib import Path

import typer

from spaars_ros.commands.common import check_json
from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.common import overrides_of
from spaars_ros.commands.common import write_json
from spaars_ros.commands.run_options import make_arm_ready
from spaars_ros.commands.run_options import refuse_with_resume
from spaars_ros.commands.run_options import takes_options_of
from spaars_ros.run.run_config import Asked
from spaars_ros.run.run_config import RunConfig

EXAMPLES = """\b
Examples:
  spaars finetune
  spaars finetune --out runs/a --seed 1 --episodes 150
  spaars finetune --resume --out runs/a --episodes 300
  spaars finetune --algorithm spaars-supe --out runs/skills
  spaars finetune --mode latent-only --set utd=1 --json result.json
  spaars finetune --signing-key keys/signing_key.pem --public-key keys/public_key.pem
  spaars finetune --robots 4 --episodes 40
  spaars finetune --no-sim --robot my_arm.yaml --task my_task.yaml --demonstrations mine.h5
"""

def check_fleet(options: RunConfig, robots: int, resume: bool) -> None:
    """Raise ValueError when the options of a fleet are incomplete or contradict each other."""
    if options.shared_learner and not options.bundle:
        raise ValueError('--shared-learner needs --bundle, the one that the fleet began with')
    if options.shared_learner and not options.namespace:
        raise ValueError('--shared-learner needs --namespace, which the learner knows it by')
    if robots > 1 and (options.namespace or options.shared_learner or not options.sim or resume):
        raise ValueError(f'--robots {robots}: simulated arms of a new run, each with a namespace '
                         'of its own; robots of another kind are started one by one '
                         '(docs/howto/fleet.md)')


@takes_options_of('finetune')
def command(asked: Asked, context: typer.Context) -> None:
    """Fine-tune a policy over ROS 2: pretrain, evaluate, run, evaluate, report."""
    with errors_as_one_line():
        from spaars_ros.interrupts import Interrupts
        from spaars_ros.run import job  # first: rclpy restarts the interpreter once
        from spaars_ros.run.domain import stay_on_this_machine
        from spaars_ros.run.folder import RunError
        from spaars_ros.run.folder import RunFolder
        from spaars_ros.run.liveview import LiveState
        from spaars_ros.run.liveview import LiveView
        from spaars_ros.run.measured import closing_lines
        from spaars_ros.run.page.start import is_wanted
        start, out = asked.start, asked.values['out']
        if start.resume and not out:
            raise RunError('--resume needs --out, the folder of the run')
        if start.resume:
            refuse_with_resume(asked, context)
        with_page = is_wanted(start.page)
        json = Path(start.json) if start.json else None
        check_json(json)
        with Interrupts() as interrupts:
            folder = RunFolder.resume(out, **asked.anew()) if start.resume \
                else RunFolder(config_of(asked))
            check_fleet(folder.options, start.robots, start.resume)
            if folder.options.sim:
                stay_on_this_machine()
            else:
                make_arm_ready(folder, start.yes)
            view = LiveView(LiveState(), plain=not start.show or start.robots > 1)
            if start.robots > 1:
                from spaars_ros.run.fleet import finetune_fleet
                summary = finetune_fleet(folder, start.robots, view, interrupts,
                                         log_level=start.log_level)
                write_json(json, summary)
                return
            summary = job.finetune(folder, view, interrupts, resume=start.resume,
                                   settings_changes={'log_level': start.log_level,
                                                     'page': with_page})
            write_json(json, summary)
            for line in closing_lines(folder, summary):
                view.say(line)


def config_of(asked: Asked) -> RunConfig:
    """Return the configuration of a new run; raises ValueError, ConfigError."""
    start = asked.start
    overrides = overrides_of(asked.values['overrides'] or [])
    overrides.update({name: value for name, value in
                      (('algorithm', start.algorithm), ('mode', start.mode)) if value})
    return replace(asked.config(start.algorithm), overrides=overrides)
