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

"""Installs spaars_ros with pip, and with colcon as an ament_python package."""

from glob import glob
import os
import re

from setuptools import find_packages
from setuptools import setup

NAME = 'spaars_ros'
SHARE = os.path.join('share', NAME)
HERE = os.path.dirname(os.path.abspath(__file__))


def requirements() -> list[str]:
    """Return the direct Python dependencies: the first section of constraints.txt, unpinned."""
    with open(os.path.join(HERE, 'constraints.txt')) as file:
        section = file.read().split('# --- direct')[1].split('# ---')[0]
    names = re.findall(r'^([A-Za-z0-9_.-]+)==', section, re.MULTILINE)
    return list(dict.fromkeys(names))


setup(
    name=NAME,
    version='0.2.0',
    packages=find_packages(include=[NAME, NAME + '.*']),
    package_data={NAME: ['py.typed', 'learning/core/*.h', 'sim/models/*.xml',
                         'vision/encoders/*.onnx', 'data/demonstrations/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + NAME]),
        (SHARE, ['package.xml']),
        (os.path.join(SHARE, 'launch'), sorted(glob('launch/*.launch.py'))),
        *[(os.path.join(SHARE, folder), sorted(glob(folder + '/*.yaml')))
          for folder in ('config/robot', 'config/task', 'config/training')],
        (os.path.join(SHARE, 'config/security'), ['config/security/policy.xml']),
        (os.path.join(SHARE, 'config/dds'), ['config/dds/lossy_link.xml']),
        (os.path.join(SHARE, 'config/foxglove'), ['config/foxglove/spaars.json']),
    ],
    python_requires='>=3.10,<3.14',
    install_requires=['setuptools', *requirements()],
    extras_require={'kitchen': ['gymnasium-robotics>=1.4,<2'], 'cluster': ['ray>=2.40,<3'],
                    'lerobot': ['pyarrow>=15'],
                    'page': ['viser>=1.1.1,<2', 'trimesh>=4']},
    zip_safe=False,
    maintainer='The spaars_ros authors',
    maintainer_email='maintainers@spaars-ros.invalid',
    description='Lets a robot arm fine-tune its own policy safely on the robot.',
    license='Apache-2.0',
    entry_points={
        'spaars_ros.tasks': ['reach = spaars_ros.tasks.reach:ReachTask',
                             'insert = spaars_ros.tasks.insert:InsertTask',
                             'pick = spaars_ros.tasks.pick:PickTask',
                             'stages = spaars_ros.tasks.stages:StagesTask',
                             'pick_camera = spaars_ros.tasks.pick_camera:PickCameraTask',
                             'insert_camera = spaars_ros.tasks.insert_camera:InsertCameraTask'],
        'console_scripts': [
            'spaars = spaars_ros.cli:main',
            'policy_server = spaars_ros.nodes.start:policy_server',
            'cost_monitor = spaars_ros.nodes.start:cost_monitor',
            'learner = spaars_ros.nodes.start:learner',
            'sim = spaars_ros.nodes.start:sim',
            'encoder = spaars_ros.nodes.start:encoder',
            'conductor = spaars_ros.run.start_conductor:main',
        ],
    },
)
