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

"""SROS2 access policy of a run: config/security/policy.xml extended with the task's topics."""

from collections.abc import Mapping
from xml.etree import ElementTree

from spaars_ros.robot.files import share_directory
from spaars_ros.tasks.base import Task
from spaars_ros.tasks.sources import sources_of

POLICY = 'config/security/policy.xml'


def policy_of(task: Task, *, namespace: str = '', renamed: Mapping[str, str] | None = None) -> str:
    """
    Return the SROS2 policy of a run of the task as XML text: what each node may access.

    :param namespace: namespace of the nodes
    :param renamed: topic -> name of this topic on the robot, '' for an unchanged name
    :raises ConfigError: a source of the task is not declared
    """
    root = ElementTree.fromstring((share_directory() / POLICY).read_text())
    profiles = {profile.get('node'): profile for profile in root.iter('profile')}
    declared = sources_of(task)
    sources = [source.on for source in declared]
    images = [source.images for source in declared if source.camera is not None]
    features = [source.on for source in declared if source.camera is not None]
    drawn = [source.on if source.camera is None else source.images for source in declared]
    channels = [channel.topic or channel.name for channel in task.spec.channels]
    for node, how, topics in (('policy_server', 'subscribe', sources),
                              ('policy_server', 'publish', channels),
                              ('sim', 'publish', drawn), ('sim', 'subscribe', channels),
                              ('encoder', 'subscribe', images),
                              ('encoder', 'publish', features)):
        rule = next(each for each in profiles[node].findall('topics') if each.get(how))
        known = {topic.text for topic in rule}
        for name in topics:
            if name not in known:
                ElementTree.SubElement(rule, 'topic').text = name
    for profile in profiles.values():
        profile.set('ns', f'/{namespace}')
        for topic in profile.iter('topic'):
            topic.text = (renamed or {}).get(topic.text or '') or topic.text
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(
        root, encoding='unicode') + '\n'
