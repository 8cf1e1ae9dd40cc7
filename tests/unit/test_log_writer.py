"""The log thread writes every line that it can, in order, and never blocks the process."""

import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cambwatch.adapters.logs import LineWriter

KB = 1 << 10


class Pipe:
    """A pipe with a LineWriter at one end; *reports* are the numbers that it was told were dropped."""

    def __init__(self, **more) -> None:
        self.reading, self.writing = os.pipe()
        self.reports: list[int] = []
        self.stream = os.fdopen(self.writing, "w")
        self.lines = LineWriter(self.stream, report=self._report, **more)

    def _report(self, lost):
        self.reports.append(lost)
        self.lines.write(f"{lost} dropped\n")

    def read_to_the_end(self):
        """All that comes until the writer has finished and closed its end."""
        came = bytearray()

        def read():
            while some := os.read(self.reading, 64 * KB):
                came.extend(some)

        reader = threading.Thread(target=read)
        reader.start()
        assert self.lines.finish(10)
        self.stream.close()
        reader.join()
        return came.decode().splitlines()

    def close(self):
        os.close(self.reading)
        self.stream.close()


@pytest.fixture
def pipe():
    made = Pipe(most_bytes=256 * KB)
    yield made
    made.close()


def numbered(count, size=100):
    return [f"{number:06}{'.' * (size - 7)}" for number in range(count)]


def test_lines_arrive_in_their_order_and_whole(pipe):
    wanted = numbered(1000)
    for line in wanted:
        assert pipe.lines.write(f"{line}\n") == 100
    assert pipe.read_to_the_end() == wanted
    assert (pipe.lines.dropped, pipe.reports) == (0, [])


def test_lines_of_several_threads_arrive_whole_and_each_in_its_order(pipe):
    def write(letter):
        for number in range(100):
            pipe.lines.write(f"{letter}{number}\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    came = pipe.read_to_the_end()
    for letter in "abc":
        assert [line for line in came if line[0] == letter] == [f"{letter}{number}" for number in range(100)]


def test_a_blocked_reader_blocks_no_writer_and_gets_the_number_of_dropped_lines(pipe):
    """The oldest lines are kept. One line in place of the dropped ones has their number."""
    wanted = numbered(10_000)
    for line in wanted:  # about a megabyte
        pipe.lines.write(f"{line}\n")
    missing = pipe.lines.dropped
    assert 0 < missing < 10_000
    came = pipe.read_to_the_end()
    assert came == [*wanted[: 10_000 - missing], f"{missing} dropped"]
    assert pipe.reports == [missing]


def test_lines_after_a_gap_follow_the_report_of_dropped_lines(pipe, until_written):
    for line in numbered(10_000):
        pipe.lines.write(f"{line}\n")
    missing = pipe.lines.dropped
    came = until_written(pipe.reading, b" dropped\n")
    pipe.lines.write("later\n")
    assert pipe.read_to_the_end() == ["later"]
    assert came.decode().endswith(f"\n{missing} dropped\n")
    assert pipe.lines.dropped == missing


def test_a_line_larger_than_the_limit_is_dropped_alone(pipe):
    pipe.lines.write("x" * 300 * KB + "\n")
    pipe.lines.write("small\n")
    assert pipe.read_to_the_end() == ["small", "1 dropped"]


def test_a_closed_pipe_blocks_no_writer(tmp_path, until_written):
    """A later reader gets the number of dropped lines."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    reports = []
    with path.open("w") as stream:
        lines = LineWriter(stream, report=reports.append)
        lines.write("heard\n")
        assert until_written(reading, b"heard\n") == b"heard\n"
        os.close(reading)
        lines.write("missed\n")
        while not lines.dropped:
            threading.Event().wait(0.005)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        lines.write("heard again\n")
        assert until_written(reading, b"again\n") == b"heard again\n"
        assert lines.finish(10)
        assert (reports, lines.dropped) == ([1], 1)
    os.close(reading)


def test_a_full_disk_blocks_no_writer():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("w") as stream:
        lines = LineWriter(stream, report=lambda _: None)
        for line in numbered(100):
            lines.write(f"{line}\n")
        assert lines.finish(10)
        assert lines.dropped == 100


def test_a_line_after_a_partial_one_starts_on_a_new_line(tmp_path):
    """A limit on the file size looks like a full disk to the process, and can be lifted again."""
    path = tmp_path / "log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    reports = []
    with path.open("w") as stream:
        lines = LineWriter(stream, report=reports.append)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12, before[1]))
        try:
            lines.write("12345678\nabcdefgh\n")
            while not lines.dropped:
                threading.Event().wait(0.005)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        lines.write("whole\n")
        assert lines.finish(10)
    assert path.read_text() == "12345678\nabc\nwhole\n"
    assert (reports, lines.dropped) == ([1], 1)


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(pipe):
    os.set_blocking(pipe.writing, False)
    wanted = numbered(2000)  # more than the pipe holds
    for line in wanted:
        pipe.lines.write(f"{line}\n")
    assert pipe.read_to_the_end() == wanted


def test_the_end_does_not_wait_for_a_reader_that_does_not_read(pipe):
    for line in numbered(2000):
        pipe.lines.write(f"{line}\n")
    assert not pipe.lines.finish(0.05)
    assert len(pipe.read_to_the_end()) == 2000


@pytest.mark.parametrize("text", ["ü 映 🎬", "of no encoding: \udcff"])
def test_json_is_utf_8_whatever_is_in_it(pipe, text):
    """Also in the C locale: only a terminal's encoding counts."""
    pipe.lines.write(json.dumps({"name": text}, ensure_ascii=False) + "\n")
    (line,) = pipe.read_to_the_end()
    assert json.loads(line) == {"name": text}


ENDS = {
    "an exception": "raise ValueError('the end')",
    "an exit": "sys.exit('the end')",
    "a log line": "logging.getLogger().warning('the end')",
    "an exception of a thread": "threading.Thread(target=lambda: 1 / 0, name='the end').start()",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_last_lines_are_written_at_exit(end):
    """However the process exits."""
    script = f"""
import atexit, logging, sys, threading
from cambwatch.adapters import logs
from cambwatch.adapters.logs import LineWriter
lines = LineWriter(sys.stderr, report=logs.report_dropped)
atexit.register(lines.finish)
sys.stderr = lines
logs.configure(level="info", format="json", secrets=[])
for number in range(500):
    logs.log.info("a.happened", number=number)
{end}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    came = done.stderr.splitlines()
    assert [json.loads(line)["number"] for line in came[:500]] == list(range(500))
    assert "the end" in "".join(came[500:])


@pytest.fixture
def until_written():
    """Reads from a descriptor until what came ends with some bytes."""

    def read(handle, ending):
        came = b""
        while not came.endswith(ending):
            try:
                came += os.read(handle, 64 * KB)
            except BlockingIOError:
                threading.Event().wait(0.005)
        return came

    return read
