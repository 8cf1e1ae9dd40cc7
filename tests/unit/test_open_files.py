"""Polls and deliveries come first among the files that the process may open; clients get what is left."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.adapters.open_files import (
    FEWEST_CONNECTIONS,
    MAX_OPEN_FILES,
    MOST_CONNECTIONS,
    RESERVE,
    connection_limit,
)

numbers = st.integers(0, 100_000)


@pytest.mark.parametrize(
    ("open_files", "polls", "posts", "connections"),
    [
        (65_536, 64, 40, 4096),
        (16_384, 64, 40, 4096),  # the systemd unit
        (16_384, 10_000, 4_000, 2320),
        (4096, 64, 4, 3964),
        (1024, 64, 4, 892),
        (1024, 640, 40, 280),
        (256, 64, 4, 124),
        (256, 64, 128, 16),
        (64, 64, 4, 16),
        (0, 0, 0, 16),
    ],
)
def test_clients_get_what_polls_and_deliveries_leave(open_files, polls, posts, connections):
    assert connection_limit(open_files, polls=polls, posts=posts) == connections


@given(numbers, numbers, numbers)
def test_the_limit_leaves_the_reserve_or_is_the_fewest(open_files, polls, posts):
    found = connection_limit(open_files, polls=polls, posts=posts)
    assert FEWEST_CONNECTIONS <= found <= MOST_CONNECTIONS
    assert found == FEWEST_CONNECTIONS or found + polls + posts + RESERVE <= open_files


SHOW = "from cambwatch.adapters.open_files import *; import resource; print(raise_limit(), *resource.getrlimit(7))"


@pytest.mark.parametrize(("soft", "hard"), [(256, 256), (256, 1024), (1024, 4096)])
def test_the_soft_limit_is_raised_to_the_hard_one(soft, hard):
    import resource

    done = subprocess.run(
        ["sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$0" -c "$1"', sys.executable,
         SHOW.replace("7", str(resource.RLIMIT_NOFILE))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    raised = min(hard, MAX_OPEN_FILES)
    assert done.stdout.split() == [str(raised), str(raised), str(hard)]
