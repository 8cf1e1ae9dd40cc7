"""A pretend Camb over HTTP, for the demo, for tests, and for users who want no bill."""

from cambwatch.simulator.script import AnswerReply, MishapReply, Shape, TaskScript
from cambwatch.simulator.server import Simulator, serve
from cambwatch.simulator.settings import Faults, Mishap, RetryAfterForm, Settings, StorySetup, UnknownTask

__all__ = [
    "AnswerReply",
    "Faults",
    "Mishap",
    "MishapReply",
    "RetryAfterForm",
    "Settings",
    "Shape",
    "Simulator",
    "StorySetup",
    "TaskScript",
    "UnknownTask",
    "serve",
]
