"""
The service as an administrator has it: installed by install.sh under a real systemd, which is booted for it.

promises.py runs once, in there, for all of these tests. Where that cannot be, they
are skipped, and say why.
"""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from machine import CLONE
from promises import PROMISES

RUN_S = 540

pytestmark = pytest.mark.timeout(RUN_S + 60)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What each promise came to: its seconds, or what went wrong."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to boot a systemd of its own")
    python = _python()
    found = subprocess.run(
        [
            *(str(CLONE / "tests/systemd/with-systemd.sh"), "env", f"PYTHON={python}", "PIP_CONFIG_FILE=/dev/null"),
            *("PIP_NO_INDEX=1", f"PIP_FIND_LINKS=/clone/{_wheels(python).relative_to(CLONE)}"),
            *(python, "/clone/tests/systemd/promises.py"),
        ],
        env={**os.environ, "BOOT_S": str(RUN_S)},
        text=True,
        check=False,
        capture_output=True,
    )
    if found.returncode == 125:
        pytest.skip(found.stderr.strip())
    lines = re.findall(r"(?m)^(ok|failed) (\w+)((?:.*\n(?:    .*\n|\n)*)?)", found.stdout)
    came = {name: (how, rest) for how, name, rest in lines}
    assert came, found.stdout + found.stderr
    return came


def _python():
    """One that a service may use: outside of the folders of users, and with all that a venv needs."""
    for python in ("/usr/bin/python3", "/usr/local/bin/python3"):
        probe = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
        if (
            Path(python).exists()
            and subprocess.run([python, "-c", probe], check=False, capture_output=True).returncode == 0
        ):
            return python
    pytest.skip("there is no /usr/bin/python3 of 3.11 or newer with venv (Debian: apt-get install python3-venv)")


def _wheels(python):
    """A folder with all that is installed, because in there is no network; made once for each set of pins."""
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout.strip()
    pins = CLONE / "requirements" / "extras.txt"
    folder = CLONE / ".venv/wheels" / f"{version}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
                *("--require-hashes", "--only-binary=:all:", f"--python-version={version}"),
                *("--requirement", str(pins), "--dest", str(folder)),
            ],
            check=True,
        )
        (folder / "complete").touch()
    return folder


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_installed_service_keeps_its_promises(kept, promise):
    """Each as promises.py has it."""
    how, rest = kept.get(promise.__name__, ("not reached", str(kept)))
    assert how == "ok", rest
