"""
The standard streams: always there, in whatever encoding, and never the reason why a command fails.

Prepared before anything else is imported, so this module imports little.
"""

import json
import os
import sys
from typing import Any, TextIO

WRITE_FAILED = os.EX_IOERR  # 74: the exit status of a command whose output could not be written


def prepare() -> None:
    """
    Give this process the standard streams that it lacks, and have all of them write any text.

    To be called before anything is opened: a socket or a database would otherwise take
    the number of a missing descriptor, and log lines would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is the missing one, because those below it are there.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or _stream(0, "r")
    sys.stdout = sys.stdout or _stream(1, "w")
    sys.stderr = sys.stderr or _stream(2, "w")
    for stream in (sys.stdout, sys.stderr):
        # What the encoding of a terminal does not have is written as `?`.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr] # they are what Python made of the descriptors


def say(words: str, *, err: bool = False) -> None:
    """
    Write *words* and a line break to the standard output, or with *err* to the standard error.

    A reader that has gone is not an error: the command goes on, and exits as it would
    have. Exits with WRITE_FAILED where the output cannot be written for another reason,
    such as a full disk.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        stream.write(f"{words}\n")
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
    except OSError as error:
        _discard(stream)
        if not err:
            say(f"cannot write to standard output: {error.strerror or error}", err=True)
            raise SystemExit(WRITE_FAILED) from None


def say_json(document: Any) -> None:
    """Write *document* as JSON, in ASCII alone, so that it is the same in every encoding."""
    say(json.dumps(document, indent=2))


def _stream(number: int, mode: str) -> TextIO:
    made: TextIO = open(number, mode, encoding="utf-8", closefd=False)  # type: ignore[assignment] # noqa: SIM115
    return made


def _discard(stream: TextIO) -> None:
    """Lead *stream* to nowhere: what its buffer still holds would otherwise fail again when Python exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
