"""install.sh asks whoever sits at a terminal for the API key; its own function, on a terminal of its own."""

import os
import pty
import subprocess
import time

import pytest
from machine import CLONE

PATIENCE_S = 20
QUESTION = b"Camb API key (it is not shown): "
KEY = r"CANARY-typed \0005 key"


def asking(folder):
    """The script, as far as it settles secrets in *folder*."""
    functions = (CLONE / "systemd/install.sh").read_text().rpartition('main "$@"')[0]
    return ["bash", "-c", f"{functions}\nsettings={folder} secrets={folder}/credentials\nsettle_secrets '' ''"]


def typed(folder, line):
    """Exit status, and all that the terminal showed, when *line* is typed as the answer; None: nobody is asked."""
    child, terminal = pty.fork()
    if child == 0:
        command = asking(folder)
        os.execvp(command[0], command)  # noqa: S606 - the script wants this very terminal
    shown, until_s, answered = b"", time.monotonic() + PATIENCE_S, line is None
    try:
        while time.monotonic() < until_s:
            try:
                some = os.read(terminal, 1024)
            except OSError:  # how Linux says that the other side has closed it
                break
            if not some:
                break
            shown += some
            if not answered and shown.endswith(QUESTION):
                os.write(terminal, line.encode() + b"\n")
                answered = True
    finally:
        os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert answered, shown
    return os.waitstatus_to_exitcode(status), shown


def stored(folder):
    return folder / "credentials/camb/api_key"


def test_a_key_is_asked_for_kept_private_and_not_shown(tmp_path):
    """Letter by letter, but for blanks at its ends; in a file, and folders, for root alone."""
    status, shown = typed(tmp_path, f"  {KEY} ")
    assert (status, stored(tmp_path).read_text()) == (0, KEY + "\n")
    assert b"CANARY" not in shown
    assert stored(tmp_path).stat().st_mode & 0o777 == 0o600
    for folder in (tmp_path / "credentials", *(tmp_path / "credentials").glob("*")):
        assert folder.stat().st_mode & 0o777 == 0o700, folder
    assert [path.name for path in stored(tmp_path).parent.iterdir()] == ["api_key"]


def test_a_key_that_is_there_is_not_asked_for(tmp_path):
    stored(tmp_path).parent.mkdir(parents=True)
    stored(tmp_path).write_text("before\n")
    assert typed(tmp_path, None) == (0, b"")
    assert stored(tmp_path).read_text() == "before\n"


@pytest.mark.parametrize("line", ["", "   "], ids=["nothing", "blanks"])
def test_an_empty_answer_is_no_key(tmp_path, line):
    status, shown = typed(tmp_path, line)
    assert status == 1
    assert b"that was empty" in shown
    assert not stored(tmp_path).exists()


def test_without_a_terminal_it_does_not_wait_for_an_answer(tmp_path):
    """It says what to give instead."""
    done = subprocess.run(
        asking(tmp_path),
        input="not asked for\n",
        text=True,
        check=False,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert "--api-key-file" in done.stderr
    assert not stored(tmp_path).exists()
