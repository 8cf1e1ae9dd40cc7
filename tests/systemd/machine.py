"""
What the promises are tried with: commands and their output, the intake, a receiver, secrets to look for.

Python's own library alone, because it runs where nothing is installed yet.
"""

import http.client
import http.server
import json
import os
import subprocess
import time
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0  # a busy machine is no failure
ADDRESS = ("127.0.0.1", 8787)
KEY = "CANARY-camb-key-0001"
SLACK = "https://hooks.slack.com/services/T0/B0/CANARY-slack-0002"
SIGNING = "whsec_Q0FOQVJZLXNpZ25pbmctMDAwMy1zaXh0ZWVu"
PATH = "/hook/CANARY-path-0004"
SECRETS = (KEY, SLACK.rpartition("/")[2], SIGNING, PATH)

CONFIG = Path("/etc/cambwatch/config.yaml")
CREDENTIALS = Path("/etc/cambwatch/credentials")
STATE = Path("/var/lib/private/cambwatch")
CAMB = "http://127.0.0.1:8788"
SETTINGS = f"""
camb: {{base_url: "{CAMB}/apis"}}
polling: {{interval: 1s, not_found_grace: 1h}}
destinations:
  hook:
    type: webhook
    url_file: ${{CREDENTIALS_DIRECTORY}}/destinations_hook
    secret_file: ${{CREDENTIALS_DIRECTORY}}/destinations_hook_secret
    allow_private: true
"""


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes every webhook, and writes down which tasks it heard of."""

    url = ""
    heard: list = []  # noqa: RUF012 - of the only one that there is

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append((self.path, self.headers["webhook-signature"], json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def run(*command, status=0, **environ):
    """What *command* prints; raises where it does not end with *status* (None: however it ends)."""
    done = subprocess.run(
        command, env={**os.environ, **environ}, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if status is not None and done.returncode != status:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}, not {status}:\n{done.stdout}")
    return done.stdout


def install(*words, status=0, **environ):
    return run(str(CLONE / "systemd/install.sh"), *words, status=status, **environ)


def shown(name, unit="cambwatch.service"):
    """The property *name* of a unit."""
    return run("systemctl", "show", unit, "--value", "--property", name).strip()


def until(holds, what):
    """Wait until *holds*; raises with *what* did not come to be."""
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > until_s:
            raise AssertionError(f"after {PATIENCE_S:.0f} s: not {what}\n{log()[-5000:]}")
        time.sleep(0.05)


def log():
    """What the service has written so far."""
    run("journalctl", "--sync")
    return run("journalctl", "--unit", "cambwatch.service", "--no-pager", "--output", "cat")


def ask(method, path, document=None, *, address=ADDRESS):
    """Status and document of the answer; OSError where nobody answers."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        body = None if document is None else json.dumps(document)
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
    finally:
        connection.close()


def register(task_id):
    return ask("POST", "/v1/tasks", {"kind": "dub", "task_id": task_id})[0]


def known():
    """The ids of all tasks."""
    found, cursor = set(), ""
    while True:
        _, page = ask("GET", f"/v1/tasks?limit=1000{cursor}")
        found |= {task["task_id"] for task in page["items"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def script(task_id, **more):
    """Have the pretend Camb know a task."""
    document = {"kind": "dub", "task_id": task_id, **more}
    status, _ = ask("POST", "/simulator/tasks", document, address=("127.0.0.1", 8788))
    assert status in {200, 201}, status


def releases_there():
    return sorted(path.name for path in Path("/opt/cambwatch/releases").iterdir())


def secret(path, text):
    """Put *text* into a file that only root can read."""
    path.write_text(text + "\n")
    path.chmod(0o600)
