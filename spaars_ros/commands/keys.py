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


"""`spaars keys`: keys that sign policy bundles, and signing by hand."""

from pathlib import Path
from typing import Annotated

import typer

from spaars_ros.commands.common import errors_as_one_line
from spaars_ros.commands.run_options import ControllerTopic
from spaars_ros.commands.run_options import JointStates
from spaars_ros.commands.run_options import Robot
from spaars_ros.commands.run_options import run_option
from spaars_ros.commands.run_options import Task
from spaars_ros.run.ros_names import checked_namespace
from spaars_ros.run.run_config import robot_of
from spaars_ros.run.run_config import TASK

app = typer.Typer(no_args_is_help=True, help='Generate keys; sign and verify policy bundles.')

GENERATE_EXAMPLES = """\b
Examples:
  spaars keys generate ~/robot_keys
"""
SIGN_EXAMPLES = """\b
Examples:
  spaars keys sign pretrained.spaars --key ~/robot_keys/signing_key.pem
"""
POLICY_EXAMPLES = """\b
Examples:
  spaars keys policy policy.xml --task insert
  ros2 security create_permission ~/keys /spaars_ros/policy_server policy.xml
"""
VERIFY_EXAMPLES = """\b
Examples:
  spaars keys verify runs/a/checkpoints/step_015000.spaars --key ~/robot_keys/public_key.pem
"""


@app.command('generate', epilog=GENERATE_EXAMPLES)
def generate_command(
    directory: Annotated[Path, typer.Argument(help='Folder for both files; created if missing.')],
) -> None:
    """Write a new Ed25519 key pair: signing_key.pem (mode 0600) and public_key.pem."""
    with errors_as_one_line():
        from spaars_ros.policy.signing import generate
        private, public = generate(directory)
        typer.echo(f'{private}: for the learner, keep it secret\n'
                   f'{public}: for the policy server')


@app.command('sign', epilog=SIGN_EXAMPLES)
def sign_command(
    bundle: Annotated[Path, typer.Argument(help='Bundle file; it is replaced.')],
    key: Annotated[Path, typer.Option(help='Private key.')],
) -> None:
    """Sign a policy bundle, in place."""
    with errors_as_one_line():
        from spaars_ros.policy.bundle import load_bundle
        from spaars_ros.policy.bundle import save_bundle
        from spaars_ros.policy.signing import Signer
        save_bundle(load_bundle(bundle), bundle, Signer(key))
        typer.echo(f'{bundle}: signed')


@app.command('policy', epilog=POLICY_EXAMPLES)
def policy_command(
    out: Annotated[Path, typer.Argument(help='File to write, in the format of sros2.')],
    task: Task = TASK,
    robot: Robot = '',
    namespace: Annotated[str, run_option('namespace', 'Namespace of the nodes.')] = '',
    joint_states: JointStates = '', command: ControllerTopic = '',
) -> None:
    """Write the SROS2 policy of a run: permissions of each node, including the task's topics."""
    with errors_as_one_line():
        from spaars_ros.robot.config import load_robot
        from spaars_ros.run.access_policy import policy_of
        from spaars_ros.tasks.registry import load_task
        from spaars_ros.tasks.registry import make_task
        settings = load_task(task)
        made = make_task(load_robot(robot_of(robot, task)), settings)
        out.write_text(policy_of(made, namespace=checked_namespace(namespace), renamed={
            'joint_states': joint_states, 'command': command}))
        typer.echo(f'{out}: what each node may do in a run of {made.name}')


@app.command('verify', epilog=VERIFY_EXAMPLES)
def verify_command(
    bundle: Annotated[Path, typer.Argument(help='Bundle file.')],
    key: Annotated[Path, typer.Option(help='Public key.')],
) -> None:
    """Verify the signature of a policy bundle; exit code 1 if it is not of this key."""
    with errors_as_one_line():
        from spaars_ros.policy.bundle import load_bundle
        from spaars_ros.policy.signing import Verifier
        manifest = load_bundle(bundle, Verifier(key)).manifest
        typer.echo(f'{bundle}: version {manifest.version} for {manifest.robot}, signed')
