"""A pretend Camb over HTTP, for the demo, for tests, and for users who want no bill."""

from cambwatch.simulator.script import AnswerReply, FaultReply, Shape, TaskScript
from cambwatch.simulator.server import Simulator, serve
from cambwatch.simulator.settings import Faults, RetryAfterForm, Settings, SimulatedFault, StorySetup, UnknownTask

__all__ = [
    "AnswerReply",
    "FaultReply",
    "Faults",
    "RetryAfterForm",
    "Settings",
    "Shape",
    "SimulatedFault",
    "Simulator",
    "StorySetup",
    "TaskScript",
    "UnknownTask",
    "serve",
]
