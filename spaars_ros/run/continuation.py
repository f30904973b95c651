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

"""Settings that a resumed run takes from its folder."""

from collections.abc import Sequence
from dataclasses import replace

from spaars_ros.run.bringup import NodeDescription
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.run_config import Asked
from spaars_ros.run.run_config import OF_NODES
from spaars_ros.run.run_config import OF_RUN
from spaars_ros.run.run_config import OPTIONS

GIVEN_WINS = ('params_file', 'namespace')
"""Settings that a resumed run takes from its folder unless a new value is given."""


def continue_run(settings: RunSettings, folder: RunFolder) -> RunSettings:
    """
    Return settings completed from the run folder: its options and its progress.

    Simulated time continues 1 s after the newest record, start poses after the last episode.

    :raises RecorderError: the recording cannot be read
    """
    schema, rows = folder.recorded()
    newest = float(schema.get(rows, 'stamp').max()) if schema else 0.0
    kept = {name: folder.files.get(name, getattr(folder.options, name)) for name in OF_NODES}
    kept.update({name: getattr(settings, name) or kept[name]
                 for name in (*GIVEN_WINS, 'command_interface')})
    return replace(
        settings, out=str(folder.path.resolve()), start_stamp=newest + 1.0,
        first_reset=int(schema.get(rows, 'episode').max()) + 1 if schema else 0,
        **kept)


def launched_again(asked: Asked) -> RunFolder:
    """
    Return the run that launch arguments with resume:=true continue.

    :raises RunError: there is no such run, or an argument contradicts it; an argument at its
        default never does, because launch cannot distinguish it from one that was not given
    """
    out = asked.values['out']
    if not out:
        raise RunError('resume:=true needs out:=, the folder of the run')
    folder = RunFolder.resume(out, episodes=asked.anew().get('episodes'))
    for name in OF_RUN:
        kept = getattr(folder.options, name)
        if name not in asked.said or OPTIONS[name].anew or (
                name == 'command_interface' and not kept):
            continue
        if asked.values[name] != kept:
            raise RunError(f'resume:=true takes {name} from the run, where it is {kept!r}: leave '
                           f'{name}:={asked.values[name]} out')
    return folder


def from_newest_bundle(graph: Sequence[NodeDescription], folder: RunFolder) -> None:
    """Set the policy server's bundle to the one that acted last, not the initial bundle."""
    for node in graph:
        if node.name == 'policy_server':
            node.parameters['bundle'] = str(folder.acting_bundle().resolve())
