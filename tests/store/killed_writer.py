"""
A process to be killed: for each line of its input, a database, it starts a child that writes into it without end.

The child says its process number and then every write that the store has
acknowledged; the parent says `.` when the child is dead. A child costs a fork,
not a start of Python.
"""

import asyncio
import os
import sys
from pathlib import Path

from store_samples import conclude, watch

from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.tasks import TaskStore

WRITERS = 8


def say(line: str) -> None:
    """One system call, and nothing held back in a buffer."""
    os.write(1, f"{line}\n".encode())


async def write_forever(path: Path) -> None:
    """Register and conclude tasks whose names nobody else uses."""
    async with SqliteDatabase(path) as database:
        tasks = TaskStore(database)

        async def write(writer: int) -> None:
            number = 0
            while True:
                number += 1
                name = f"{os.getpid()}-{writer}-{number}"
                (task,) = await watch(tasks, name)
                say(f"registered {name}")
                await conclude(tasks, task, notify=(name,))
                say(f"concluded {name}")

        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(write(writer))


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        say(str(os.getpid()))
        asyncio.run(write_forever(Path(line.strip())))
    os.waitpid(child, 0)
    say(".")
