"""
How long pretend tasks take.

Camb publishes no durations; these are guesses from the limits that its clients set.
"""

import math
from collections.abc import Mapping
from random import Random
from types import MappingProxyType

SIGMA = 0.5
"""Of the lognormal distribution: two thirds of all tasks take between 0.6 and 1.6 medians."""

MEDIANS_S: Mapping[str, float] = MappingProxyType(
    {
        "dub": 180,
        "dub-alt-format": 20,
        "discord-dub": 180,
        "twitter-dub": 180,
        "tts": 8,
        "discord-tts": 8,
        "translated-tts": 12,
        "translation": 6,
        "transcription": 60,
        "subtitles": 75,
        "text-to-sound": 25,
        "text-to-voice": 40,
        "audio-separation": 50,
        "story": 240,
        "story-setup": 30,
        "translated-story": 180,
        "project-setup": 45,
    }
)
"""Median duration in seconds of each kind."""


def draw_s(kind: str, *, dice: Random) -> float:
    """A duration in seconds of a task of *kind*."""
    return dice.lognormvariate(math.log(MEDIANS_S[kind]), SIGMA)
