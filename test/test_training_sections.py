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

"""Sections of a training file: the same settings as in a flat one of before."""

from pathlib import Path

import pytest
import yaml

from spaars_ros.robot.strict_yaml import ConfigError
from spaars_ros.robot.strict_yaml import read_yaml
from spaars_ros.run.folder import RunFolder
from spaars_ros.run.run_config import RunConfig
from spaars_ros.training_file import load_training
from spaars_ros.training_file import Training
from spaars_ros.training_sections import flat
from spaars_ros.training_sections import section_of
from spaars_ros.training_sections import sectioned
from spaars_ros.training_sections import SECTIONS

SHIPPED = sorted((Path(__file__).resolve().parent.parent / 'config' / 'training').glob('*.yaml'))


def test_every_setting_of_a_section_is_one_and_in_no_other():
    """A setting that was renamed would be refused in every file that has it in its section."""
    names = [name for section in SECTIONS.values() for name in section]
    assert set(names) <= set(Training.model_fields) and len(names) == len(set(names))
    assert not set(SECTIONS) & set(Training.model_fields)


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_a_file_with_sections_means_what_its_flat_one_does(path, tmp_path):
    content = flat(read_yaml(path), Training.model_fields).content
    one, other = tmp_path / 'flat.yaml', tmp_path / 'sections.yaml'
    one.write_text(yaml.safe_dump(content))
    other.write_text(yaml.safe_dump(sectioned(content)))
    shipped = load_training(str(path))
    for file in (one, other):
        loaded = load_training(str(file))
        assert loaded.model_dump_json() == shipped.model_dump_json()
        assert loaded.model_fields_set == shipped.model_fields_set  # what `for_task` may choose


def test_what_is_given_wins_over_a_section(tmp_path):
    path = tmp_path / 'spar.yaml'
    path.write_text('algorithm: spar\nspar: {spar_sigma: 0.3}\n')
    assert load_training(str(path)).spar_sigma == 0.3
    assert load_training(str(path), spar_sigma=0.4).spar_sigma == 0.4


@pytest.mark.parametrize(('text', 'message'), [
    ('spar: {skill_dim: 3}', "t.yaml:1: 'skill_dim' in section 'spar': it belongs in section "
                             "'supe'"),
    ('utd: 1\nspar:\n  width: 8', "t.yaml:3: 'width' in section 'spar': it stands in the file "
                                  'itself'),
    ('spar: {spar_sigam: 0.3}', "no such setting; did you mean 'spar_sigma'"),
    ('spar: 3', "t.yaml:1: section 'spar': expected settings"),
    ('spar:', "section 'spar': expected settings"),
    ('spar_sigma: 1.0\nspar: {spar_sigma: 0.3}', "'spar_sigma' is there twice, in section "
                                                 "'spar' and outside"),
    ('spar:\n\n  spar_sigma: wide', 't.yaml:3: .*spar_sigma'),
    ('spars: {spar_sigma: 0.3}', 'spars')])
def test_what_is_wrong_in_a_section_is_named_with_its_line(text, message, tmp_path):
    path = tmp_path / 't.yaml'
    path.write_text(text + '\n')
    with pytest.raises(ConfigError, match=message):
        load_training(str(path))


def test_a_run_writes_its_training_file_in_sections(tmp_path):
    folder = RunFolder(RunConfig(out=str(tmp_path), training='spar'))
    folder.begin()
    written = yaml.safe_load((tmp_path / 'training.yaml').read_text())
    assert written['spar']['spar_base_steps'] == 2000 and not section_of('utd')
    assert load_training(str(tmp_path / 'training.yaml')) == folder.training
