"""Consortia with known harm: a shape, a task and a scenario give the records of every site and the truth about them."""

from cohortium.sim.harm.scenarios import SCENARIOS, Case, cases
from cohortium.sim.harm.shapes import PD83, Shape, SiteShape, parse_shape, read_shape
from cohortium.sim.harm.tasks import Task, gaussian_task, image_task, table_task
from cohortium.sim.harm.world import World, make_world

__all__ = [
    "PD83",
    "SCENARIOS",
    "Case",
    "Shape",
    "SiteShape",
    "Task",
    "World",
    "cases",
    "gaussian_task",
    "image_task",
    "make_world",
    "parse_shape",
    "read_shape",
    "table_task",
]
