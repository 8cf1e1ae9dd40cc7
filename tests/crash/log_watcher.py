"""
A small process that kills another one in the midst of what that writes to a folder.

It reads `PID FILE NTH LINGER_S` from standard input: at the NTH change of FILE from then
on, and LINGER_S after it, PID gets SIGKILL, and `killed` is written to standard output.
Any other line calls that off and is answered with `off`. It is a process of its own because
a kill has to follow within some microseconds, and an event loop is busy for longer.
"""

import contextlib
import ctypes
import os
import select
import signal
import struct
import sys
import time

IN_MODIFY = 0x2
_HEAD = struct.Struct("iIII")  # inotify(7): watch, mask, cookie, length of the name


def watch(folder: str) -> int:
    """A handle that can be read when something in *folder* was written to. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if handle < 0 or libc.inotify_add_watch(handle, os.fsencode(folder), IN_MODIFY) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), folder)
    return handle


def changed(events: bytes) -> list[str]:
    """The names of the files in what the handle gave; the kernel may have put several changes of one together."""
    names, at = [], 0
    while at < len(events):
        *_, length = _HEAD.unpack_from(events, at)
        at += _HEAD.size
        names.append(events[at : at + length].rstrip(b"\0").decode())
        at += length
    return names


def strike(handle: int, pid: int, name: str, *, nth: int, linger_s: float) -> bool:
    """
    Kill *pid* at the *nth* change of *name*; False when told on standard input to stop waiting for it.

    It spins: to be woken takes longer than SQLite does to write a small commit.
    """
    while not select.select([0], [], [], 0)[0]:
        for _ in range(500):
            try:
                names = changed(os.read(handle, 65536))
            except BlockingIOError:
                continue
            nth -= names.count(name)
            if nth <= 0:
                if linger_s:
                    time.sleep(linger_s)
                os.kill(pid, signal.SIGKILL)
                return True
    return False


def main() -> None:
    """Until standard input ends."""
    handle = watch(sys.argv[1])
    _say("watching")
    while line := os.read(0, 4096).decode().split():
        if len(line) != 4:
            _say("off")
            continue
        with contextlib.suppress(BlockingIOError):
            os.read(handle, 1 << 20)  # what was written before
        pid, name, nth, linger_s = int(line[0]), line[1], int(line[2]), float(line[3])
        if strike(handle, pid, name, nth=nth, linger_s=linger_s):
            _say("killed")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
