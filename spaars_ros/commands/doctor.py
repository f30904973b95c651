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

"""`spaars doctor`: check of the installation."""

import typer

from spaars_ros.commands.common import errors_as_one_line

EXAMPLES = """\b
Examples:
  spaars doctor
"""


def command() -> None:
    """Check every import and file that a run needs; exit code 1 if one is missing."""
    with errors_as_one_line():
        from spaars_ros.run.installation import findings
        bad = 0
        for finding in findings():
            bad += not finding.ok
            typer.echo(f'{"ok     " if finding.ok else "MISSING"} {finding.what}: {finding.text}')
        if bad:
            typer.echo(f'error: {bad} of what is needed {"is" if bad == 1 else "are"} missing',
                       err=True)
            raise typer.Exit(1)
        typer.echo('all that is needed is there')
