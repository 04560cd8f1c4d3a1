"""Kinds of labels, one file for each: its files, its labels from theta_C and from source images, how it is drawn."""

# Each registers itself.
from . import depth, index_maps, instances, normals, panoptic, segmentation  # noqa: F401
from .base import Label, Labeller, Task
from .joint import JointLabeller
from .registry import TASKS, build_task, labeller_for, register_task

__all__ = ['TASKS', 'JointLabeller', 'Label', 'Labeller', 'Task', 'build_task', 'labeller_for', 'register_task']
