"""
Standard streams that always exist, accept any text, and never make a command fail by their encoding.

prepare() runs before other imports, so this module imports little.
"""

import json
import os
import sys
from typing import Any, TextIO

WRITE_FAILED = os.EX_IOERR  # 74: the exit status of a command whose output could not be written


def prepare() -> None:
    """
    Open the standard streams that are missing, and make all of them accept any text.

    Call this before anything is opened. Otherwise a socket or a database could get the number
    of a missing descriptor, and log lines would be written into it.
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
        # Characters that the encoding cannot express become `?`.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr] # they are what Python made of the descriptors


def say(words: str, *, err: bool = False) -> None:
    """
    Write *words* and a line break to standard output, or with *err* to standard error.

    A closed pipe is not an error: the command continues and exits with its usual status. Exits
    with WRITE_FAILED if the output cannot be written for another reason, such as a full disk.
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
    """Write *document* as JSON in ASCII, so that it is the same in every encoding."""
    say(json.dumps(document, indent=2))


def _stream(number: int, mode: str) -> TextIO:
    made: TextIO = open(number, mode, encoding="utf-8", closefd=False)  # type: ignore[assignment] # noqa: SIM115
    return made


def _discard(stream: TextIO) -> None:
    """Redirect *stream* to /dev/null: flushing its buffer would fail again when Python exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
