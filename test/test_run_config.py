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

"""What a run can be told is declared once; command line, launch, conductor and resume have it."""

from dataclasses import asdict
from dataclasses import fields
from dataclasses import replace
import json
from pathlib import Path
import subprocess
import sys
from typing import get_args

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from spaars_ros.cli import app
from spaars_ros.robot.config import Control
from spaars_ros.run.bringup import RunSettings
from spaars_ros.run.folder import RunError
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.option_words import ConductorCall
from spaars_ros.run.option_words import launch_default
from spaars_ros.run.option_words import read_launch
from spaars_ros.run.option_words import words_of
from spaars_ros.run.options import COMMANDS
from spaars_ros.run.options import CONDUCTOR
from spaars_ros.run.options import KEPT
from spaars_ros.run.options import LAUNCHES
from spaars_ros.run.options import option
from spaars_ros.run.options import PLACES
from spaars_ros.run.ros_names import INTERFACES
from spaars_ros.run.run_config import kept_config
from spaars_ros.run.run_config import NodeOptions
from spaars_ros.run.run_config import OF_RUN
from spaars_ros.run.run_config import OPTIONS
from spaars_ros.run.run_config import options_in
from spaars_ros.run.run_config import RunConfig
from spaars_ros.run.run_config import StartOptions

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = {str: 'x', int: 7, float: 0.3, bool: True}


def names_in(place):
    return {each.name for each in options_in(place)}


def other_than(given):
    """Return a value that an option may have and that is not its default."""
    if given.choices:
        return given.choices[-1]
    if given.kind is bool:
        return not given.default
    return {'beside': 1} if given.kind is dict else EXAMPLES[given.kind]


def everything():
    """Return a configuration and a start in which nothing is at its default."""
    def all_of(declaration):
        return declaration(**{each.name: other_than(OPTIONS[each.name])
                              for each in fields(declaration)})
    return all_of(RunConfig), all_of(StartOptions)


# One declaration, and everything that says an option has just those

def test_an_option_that_one_place_lacks_says_why():
    """There was no command interface on the command line, and no signing key in launch."""
    for each in OPTIONS.values():
        assert set(each.absent) | {place for place in PLACES if each.name in names_in(place)} \
            == set(PLACES)
        assert all(len(reason) > 8 for reason in each.absent.values()), each.name
        assert set(each.absent) < set(PLACES), f'{each.name} can be said nowhere'


def test_a_place_that_does_not_exist_is_refused():
    """Misspelt, an option would be everywhere."""
    with pytest.raises(ValueError, match=r"no such places: \['fintune'\]"):
        option('', 'text', absent={'of recordings only': 'fintune'})
    with pytest.raises(ValueError, match='fintune: expected one of finetune'):
        options_in('fintune')


@pytest.mark.parametrize('place', COMMANDS)
def test_the_command_line_has_the_declared_options_with_their_defaults_and_ranges(place):
    found = {each.name: each for each in get_command(app).commands[place].params}
    assert set(found) == names_in(place)
    for declared in options_in(place):
        shown = found[declared.name]
        assert shown.help == declared.sentence
        if declared.kind is not dict:
            assert shown.default == declared.default, declared.name
        for bound, step in ((declared.low, -1), (declared.high, 1)):
            if bound is not None:
                said = CliRunner().invoke(app, [place, f'--{declared.dashed}={bound + step}'])
                assert said.exit_code == 2 and f'--{declared.dashed}' in said.output, said.output


@pytest.mark.parametrize('place', LAUNCHES)
def test_the_launch_file_has_the_declared_arguments(place):
    launch = pytest.importorskip('launch', reason="ROS 2's launch is not installed")
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    from importlib.util import module_from_spec
    from importlib.util import spec_from_file_location
    spec = spec_from_file_location('launched', ROOT / 'launch' / f'{place}.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    found = {each.name: launch.utilities.perform_substitutions(context, each.default_value)
             for each in module.generate_launch_description().get_launch_arguments()
             if each.default_value is not None}
    assert found == {each.name: launch_default(each, place) for each in options_in(place)}


def test_what_launch_says_the_conductor_reads():
    """Every option, and none at its default."""
    config, start = everything()
    call = ConductorCall.of('record', ['sim', 'policy_server'], 'a token, of a start', config,
                            start)
    read = ConductorCall.read(call.words)
    assert read == call
    assert read.asked.said == names_in(CONDUCTOR)
    silent = ConductorCall.read(['hold'])
    assert silent.asked.said == frozenset()
    assert silent.asked.config() == RunConfig()
    assert silent.asked.start == StartOptions()


def test_the_conductor_takes_a_default_that_was_said_for_one():
    """A run of 300 episodes that is told 150 anew has 150, though 150 is the default."""
    call = ConductorCall.of('finetune', [], '', RunConfig(), StartOptions(resume=True))
    assert ConductorCall.read(call.words).asked.anew() == {'episodes': 150}


def test_the_conductor_names_a_wrong_value(capsys):
    with pytest.raises(SystemExit):
        ConductorCall.read(['finetune', '--seed=-1'])
    assert 'argument --seed: -1: expected a whole number from 0 to' in capsys.readouterr().err


def test_a_command_line_made_of_values_says_them(tmp_path):
    """A robot of a fleet is started so; its command interface was lost on the way."""
    config, start = everything()
    values = {**vars(config), **vars(start), 'overrides': {}}
    words = words_of('finetune', values)
    assert '--command-interface=x' in words and '--no-sim' in words and '--plain' in words
    assert '--real-time-factor=0.3' in words and '--shared-learner' in words
    assert words_of('finetune', {**vars(RunConfig()), 'robot': '', 'training': ''}) == []
    said = CliRunner().invoke(app, ['finetune', *words_of('finetune', {
        **values, 'out': str(tmp_path), 'resume': True, 'episodes': 9})])
    assert said.output.startswith('error: --resume takes --robot, --task, '), said.output


def test_config_json_has_the_declared_options_and_gives_them_back(tmp_path):
    config = replace(everything()[0], robot='panda', task='reach', training='smoke',
                     overrides={'batch': 16}, out=str(tmp_path), demonstrations='', sim=True)
    folder = RunFolder(config)
    folder.begin()
    kept = json.loads((tmp_path / 'config.json').read_text())['options']
    assert set(kept) == names_in(KEPT) == set(OF_RUN)
    assert RunFolder.resume(str(tmp_path)).options == folder.options


def test_a_config_json_of_another_version_is_named(tmp_path):
    folder = RunFolder(RunConfig(out=str(tmp_path), training='smoke'))
    folder.begin()
    file = tmp_path / 'config.json'
    whole = json.loads(file.read_text())
    for change, message in (({'warp': 9}, 'options: warp: no option of this version'),
                            ({'episodes': 'many'}, "episodes is 'many': expected a whole number"),
                            ({'seed': -4}, 'seed is -4: expected a whole number from 0 to'),
                            ({'real_time_factor': float('nan')}, 'expected a number from 0 on')):
        file.write_text(json.dumps({**whole, 'options': {**whole['options'], **change}}))
        with pytest.raises(RunError, match=message):
            RunFolder.resume(str(tmp_path))


def test_a_config_json_of_before_an_option_has_its_default():
    assert kept_config({'out': 'runs/a', 'real_time_factor': 0}, 'x') == RunConfig(out='runs/a')


def test_what_nodes_are_told_is_what_a_resumed_run_takes_from_its_folder():
    assert {each.name for each in fields(NodeOptions)} <= {
        each.name for each in fields(RunSettings)} & names_in(KEPT)
    config, _ = everything()
    settings = RunSettings.of(config, explore=False)
    assert {name: getattr(settings, name) for name in asdict(NodeOptions())} == {
        name: getattr(config, name) for name in asdict(NodeOptions())}


# What launch files say

@pytest.mark.parametrize(('place', 'text', 'message'), [
    ('finetune.launch', {'seed': 'x'}, 'launch argument seed:=x: expected a whole number'),
    ('finetune.launch', {'episodes': '-3'}, 'episodes:=-3: expected a whole number from 0 on'),
    ('record.launch', {'real_time_factor': '50'}, 'expected a number from 0.01 to 10'),
    ('deploy.launch', {'sim': 'maybe'}, 'sim:=maybe: expected true or false'),
    ('sim.launch', {'log_level': 'loud'}, 'log_level:=loud: expected one of debug, info'),
    ('finetune.launch', {'evaluation_episodes': '0'}, 'expected a whole number from 1 on')])
def test_a_wrong_launch_argument_is_named_with_what_was_expected(place, text, message):
    with pytest.raises(ValueError, match=message):
        read_launch(place, text)


def test_a_launched_run_takes_robot_and_training_of_its_task():
    """As the command line does: launched with task:=pick it had the arm without a gripper."""
    config = read_launch('finetune.launch', {'task': 'pick'}).config()
    assert (config.robot, config.training) == ('panda_gripper', 'pick')
    assert read_launch('finetune.launch', {}).config() == RunConfig()
    assert read_launch('sim.launch', {'task': 'pick'}).config().robot == 'panda_gripper'


def test_the_names_of_launch_arguments_files_are_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = read_launch('fleet.launch', {'bundle': 'start.spaars', 'params_file': 'p.yaml',
                                          'task': 'reach', 'training': 'mine.yaml'}).values
    assert (values['bundle'], values['params_file'], values['task'], values['training']) == (
        str(tmp_path / 'start.spaars'), str(tmp_path / 'p.yaml'), 'reach',
        str(tmp_path / 'mine.yaml'))


def test_an_option_of_a_recording_that_its_resume_would_ignore_is_refused(tmp_path):
    """It was ignored: --task insert went on with the task that was there."""
    said = CliRunner().invoke(app, ['record', '--resume', '--out', str(tmp_path), '--task',
                                    'insert'])
    assert said.output.startswith('error: --resume takes --task from the run')


@pytest.mark.parametrize('command', ['finetune', 'record', 'check'])
@pytest.mark.parametrize(('option', 'value'), [
    ('--joint-states', 'a b'), ('--joint-states', '1st'), ('--command', '///x'),
    ('--command', 'velocity/'), ('--command', 'ärm'), ('--command-interface', 'velocity'),
    ('--namespace', 'a/b/../c')])
def test_a_name_that_ros_cannot_have_is_refused_before_anything_starts(tmp_path, command, option,
                                                                       value):
    said = CliRunner().invoke(app, [command, '--out', str(tmp_path / 'run'), option, value])
    assert said.exit_code == 1 and said.output.startswith(f'error: {option} {value}: expected')
    assert not (tmp_path / 'run').exists()


def test_the_interfaces_are_those_of_a_robot_file():
    assert get_args(Control.model_fields['command_interface'].annotation) == INTERFACES


def test_the_command_line_reads_no_file_to_say_its_options():
    code = ('import sys; import spaars_ros.cli; '
            'print([name for name in ("torch", "mujoco", "pydantic", "rclpy") '
            'if name in sys.modules])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=120, cwd=ROOT)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr
