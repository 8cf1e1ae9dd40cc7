"""
What the installed service promises, tried under a real systemd; runs there as root, with Python's own library alone.

Prints a line for each promise, `ok NAME SECONDS` or `failed NAME` with what went
wrong; the promises are kept in their order, and each builds on those before it.
With names as arguments only those, after the first, which installs.
"""

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from machine import (
    CLONE,
    CONFIG,
    CREDENTIALS,
    KEY,
    PATH,
    SECRETS,
    SETTINGS,
    SIGNING,
    SLACK,
    STATE,
    Receiver,
    ask,
    install,
    known,
    log,
    register,
    releases_there,
    run,
    script,
    secret,
    shown,
    until,
)


def one_command_makes_a_service_out_of_a_clone():
    """Which runs and is enabled; the key is kept, and a configuration made that tells Slack."""
    secret(Path("/root/key"), KEY)
    secret(Path("/root/slack"), SLACK)
    said = install("--api-key-file", "/root/key", "--slack-url-file", "/root/slack")
    assert "runs, and starts with the machine" in said, said
    assert shown("ActiveState") == "active"
    for unit in ("cambwatch.service", "cambwatch.socket"):
        assert run("systemctl", "is-enabled", unit).strip() == "enabled"
    assert ask("GET", "/healthz")[0] == 200
    assert [one["name"] for one in ask("GET", "/v1/destinations")[1]["items"]] == ["team-slack"]


def units_are_clean_and_score_1_1():
    """As systemd-analyze sees them; its threshold counts tenths, and fails what is above."""
    units = [f"/etc/systemd/system/cambwatch.{kind}" for kind in ("service", "socket")]
    assert run("systemd-analyze", "verify", *units) == ""
    run("systemd-analyze", "security", "--offline=yes", "--threshold=11", "--no-pager", units[0])


def it_says_that_it_is_ready_and_what_it_does():
    assert shown("Type") == "notify"
    until(lambda: shown("StatusText").startswith("watching 0, deliveries waiting 0, oldest"), "a status with counts")
    assert shown("WatchdogUSec") == "30s"
    assert shown("TimeoutStopUSec") == "20s"


def it_is_a_user_without_rights():
    """One that systemd makes up, without capabilities, with a filter on system calls."""
    status = Path(f"/proc/{shown('MainPID')}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert 61184 <= int(fields["Uid"].split()[0]) <= 65519, fields["Uid"]
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    with Path("/etc/passwd").open() as users:
        assert not [line for line in users if line.startswith("cambwatch:")]


def secrets_and_state_are_for_nobody_else():
    modes = {
        path: path.stat().st_mode & 0o777 for path in [STATE, CREDENTIALS, *STATE.rglob("*"), *CREDENTIALS.rglob("*")]
    }
    assert STATE / "cambwatch.db" in modes
    assert modes[CREDENTIALS / "camb/api_key"] == 0o600
    for path, mode in modes.items():
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"
    environ = Path(f"/proc/{shown('MainPID')}/environ").read_bytes().decode()
    assert not [one for one in SECRETS if one in environ]


def further_secrets_need_no_change_of_the_unit():
    """A file in the folder of credentials and a restart."""
    secret(CREDENTIALS / "destinations/hook", Receiver.url + PATH)
    secret(CREDENTIALS / "destinations/hook_secret", SIGNING)
    CONFIG.write_text(SETTINGS)
    assert "ok, 1 account, 1 destination" in run("cambwatch", "check")
    run("systemctl", "restart", "cambwatch")
    assert "warning" not in run("cambwatch", "check")


def a_task_that_is_registered_over_http_is_told_of():
    """Camb sees the key out of the credential, the receiver a signature."""
    script("told", status="SUCCESS", after_seconds=0)
    assert register("told") == 201
    until(lambda: Receiver.heard, "a notification")
    path, signature, document = Receiver.heard[0]
    assert path == PATH
    assert signature.startswith("v1,")
    assert (document["type"], document["data"]["task_id"]) == ("camb.task.success", "told")


def the_command_works_for_root_and_says_what_others_lack():
    """What is asked of the daemon works for everybody; the secrets are root's."""
    assert "told" in run("cambwatch", "tasks")
    assert "told" in run("runuser", "-u", "nobody", "--", "cambwatch", "tasks")
    run("cambwatch", "check")
    assert "CREDENTIALS_DIRECTORY" in run("runuser", "-u", "nobody", "--", "cambwatch", "check", status=78)
    assert not list(Path("/tmp").glob("tmp.*")), "links to secrets were left behind"  # noqa: S108


def the_journal_holds_json_lines():
    own = [json.loads(line) for line in log().splitlines()]
    events = {one["event"] for one in own}
    assert {"service.started", "service.stopped", "task.registered", "delivery.attempted"} <= events
    assert {"timestamp", "level", "event"} <= set.intersection(*(set(one) for one in own))


def nobody_is_refused_while_it_restarts():
    """And nothing that was registered meanwhile is lost."""
    answers, done = {}, threading.Event()

    def call(caller):
        number = 0
        while not done.is_set():
            number += 1
            task_id = f"restart-{caller}-{number}"
            try:
                answers[task_id] = register(task_id)
            except OSError as error:
                answers[task_id] = repr(error)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for one in callers:
        one.start()
    for _ in range(3):
        before = len(answers)
        until(lambda before=before: len(answers) > before + 20, "registrations")
        run("systemctl", "restart", "cambwatch")
    done.set()
    for one in callers:
        one.join()
    assert set(answers.values()) == {201}, {answer for answer in answers.values() if answer != 201}
    assert set(answers) <= known()


def a_reload_takes_a_good_file_and_refuses_a_bad_one():
    """Without a restart; of the bad one the journal has the reason."""
    pid, restarts = shown("MainPID"), shown("NRestarts")
    CONFIG.write_text(SETTINGS + f"  more: {{type: webhook, url: '{Receiver.url}/more', allow_private: true}}\n")
    run("systemctl", "reload", "cambwatch")
    until(lambda: "config.reloaded" in log(), "a reload")
    assert [one["name"] for one in ask("GET", "/v1/destinations")[1]["items"]] == ["hook", "more"]
    script("reloaded", status="ERROR")
    assert register("reloaded") == 201
    until(lambda: "/more" in {path for path, _, _ in Receiver.heard}, "word at the new destination")
    CONFIG.write_text(SETTINGS + "rooutes: []\n")
    run("systemctl", "reload", "cambwatch")
    until(lambda: "unknown key (did you mean routes?)" in log(), "the reason")
    assert [one["name"] for one in ask("GET", "/v1/destinations")[1]["items"]] == ["hook", "more"]
    CONFIG.write_text(SETTINGS)
    run("systemctl", "reload", "cambwatch")
    until(lambda: [one["name"] for one in ask("GET", "/v1/destinations")[1]["items"]] == ["hook"], "the first file")
    assert (shown("MainPID"), shown("NRestarts"), shown("ActiveState")) == (pid, restarts, "active")


def fed_s():
    """How long the daemon that runs has fed the watchdog."""
    return (int(shown("WatchdogTimestampMonotonic")) - int(shown("ActiveEnterTimestampMonotonic"))) / 1_000_000


def the_watchdog_starts_a_blocked_daemon_anew():
    """Blocked is one that is stopped, so that its event loop does not turn; what it watched it watches again."""
    drop_in = Path("/run/systemd/system/cambwatch.service.d/hurry.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=3\nRestartSec=100ms\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "cambwatch")
    pid, watching = shown("MainPID"), len(known())
    os.kill(int(pid), signal.SIGSTOP)
    until(lambda: shown("NRestarts") == "1" and shown("ActiveState") == "active", "a restart")
    assert shown("MainPID") != pid
    assert "Failed with result 'watchdog'" in run("journalctl", "--unit", "cambwatch.service", "--no-pager")
    until(lambda: "(most recent call first)" in log(), "a word on what each thread was at")
    assert len(known()) == watching
    until(lambda: shown("StatusText").startswith("watching "), "a status")
    until(lambda: fed_s() > 2 * 3, "fed for twice the time in which it would be ended otherwise")
    assert shown("NRestarts") == "1"
    shutil.rmtree(drop_in.parent)
    run("systemctl", "daemon-reload")


def a_backup_is_restored_as_the_readme_says():
    """Word by word: what was registered before the copy is there again, what came after is not, and work goes on."""
    copy = Path("/root/copy.db")
    assert register("before-the-copy") == 201
    before = known()
    assert " MB, as " in run("cambwatch", "backup", str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    assert register("after-the-copy") == 201
    for twice in (False, True):  # over the old files, and on a disk that has lost them
        if twice:
            run("systemctl", "stop", "cambwatch.socket", "cambwatch")
            for path in STATE.glob("cambwatch.db*"):
                path.unlink()
        run("bash", "-euc", restoring(copy))
        until(lambda: shown("ActiveState") == "active", "a start")
        assert known() == before
        owner = STATE.stat()
        for path in STATE.glob("cambwatch.db*"):
            found = path.stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (owner.st_uid, owner.st_gid, 0o600), path
        assert ask("GET", "/readyz")[0] == 200
        assert register(f"after-restoring-{twice}") == 201
    assert shown("NRestarts") == "0"


def restoring(copy):
    """The commands of the README, for that *copy*."""
    readme = (CLONE / "README.md").read_text()
    return readme.partition("*Restore*")[2].partition("```sh\n")[2].partition("```")[0].replace("FILE", str(copy))


def it_stops_within_its_time():
    """In good order, and with the socket nobody starts it again."""
    begun_s = time.monotonic()
    run("systemctl", "stop", "cambwatch.socket", "cambwatch.service")
    assert time.monotonic() - begun_s < 20
    assert (shown("ActiveState"), shown("Result"), shown("ExecMainStatus")) == ("inactive", "success", "0")
    run("systemctl", "start", "cambwatch")  # brings its socket with it
    assert shown("ActiveState", "cambwatch.socket") == "active"


def a_wrong_configuration_is_not_tried_again():
    """Exit status 78 ends it; callers who knock do not make it a loop, and a right one with a restart is enough."""
    CONFIG.write_text("pollling: {}\n")
    run("systemctl", "restart", "cambwatch", status=1)
    assert (shown("SubState"), shown("ExecMainStatus")) == ("failed", "78")
    assert "did you mean polling?" in log()
    try:
        ask("GET", "/healthz")
    except OSError:
        pass
    else:
        raise AssertionError("somebody answered")
    until(lambda: shown("SubState", "cambwatch.socket") == "failed", "an end of the knocking")
    assert log().count("did you mean polling?") <= 10
    CONFIG.write_text(SETTINGS)
    run("systemctl", "restart", "cambwatch")
    assert register("afterwards") == 201


def an_upgrade_that_does_not_take_the_configuration_changes_nothing():
    pid, releases = shown("MainPID"), releases_there()
    CONFIG.write_text("pollling: {}\n")
    said = install(status=1, PIP_NO_COMPILE="1")
    assert "did you mean polling?" in said
    assert "nothing was started or changed over" in said
    CONFIG.write_text(SETTINGS)
    assert shown("MainPID") == pid
    assert releases_there() == releases


def installing_again_upgrades():
    """Configuration, key and tasks stay; the old version goes. Extras that were once asked for come along."""
    before, releases = known(), releases_there()
    install("--extras", PIP_NO_COMPILE="1")
    install(PIP_NO_COMPILE="1")
    assert any(Path("/opt/cambwatch/current/lib").glob("python*/site-packages/asyncpg"))
    assert CONFIG.read_text() == SETTINGS
    assert (CREDENTIALS / "camb/api_key").read_text() == KEY + "\n"
    assert known() == before
    after = releases_there()
    assert len(after) == 1
    assert after != releases
    assert after[0] in Path(f"/proc/{shown('MainPID')}/cmdline").read_text()


def mistakes_of_whoever_installs_get_a_clear_word():
    for words, expected in (
        (("--api-key-file", "/nowhere"), "/nowhere, which should hold the API key, cannot be read"),
        (("--api-key-file", "/dev/null"), "/dev/null is empty"),
        (("--prefix", "/home/me/cambwatch"), "the service cannot see that folder"),
        (("--prefix", "relative"), "name an absolute path"),
        (("--prefix", "/opt/../etc"), "name an absolute path"),
        (("--api-key-file",), "--api-key-file needs a value"),
        (("--what",), "what is --what?"),
    ):
        assert expected in install(*words, status=1), words
    assert "cannot" in install("--api-key-file", "/nowhere", status=1)
    assert "there is no /nowhere/python" in install(status=1, PYTHON="/nowhere/python")
    said = run("runuser", "-u", "nobody", "--", str(CLONE / "systemd/install.sh"), status=1)
    assert "needs root" in said


def no_secret_is_in_the_journal():
    """Neither ours nor systemd's lines have one, of all that happened."""
    journal = run("journalctl", "--no-pager", "--output", "export", "--all")
    assert "cambwatch" in journal
    assert not [one for one in SECRETS if one in journal]


def uninstalling_leaves_what_is_the_administrator_s():
    said = install("--uninstall")
    assert "Left are /etc/cambwatch" in said
    assert not Path("/opt/cambwatch").exists()
    assert shutil.which("cambwatch") is None
    assert run("systemctl", "cat", "cambwatch.service", "cambwatch.socket", status=1)
    assert CONFIG.exists()
    assert (CREDENTIALS / "camb/api_key").exists()
    assert (STATE / "cambwatch.db").exists()
    install("--uninstall")  # a second time is no mistake


PROMISES = (
    one_command_makes_a_service_out_of_a_clone,
    units_are_clean_and_score_1_1,
    it_says_that_it_is_ready_and_what_it_does,
    it_is_a_user_without_rights,
    secrets_and_state_are_for_nobody_else,
    further_secrets_need_no_change_of_the_unit,
    a_task_that_is_registered_over_http_is_told_of,
    the_command_works_for_root_and_says_what_others_lack,
    the_journal_holds_json_lines,
    nobody_is_refused_while_it_restarts,
    a_reload_takes_a_good_file_and_refuses_a_bad_one,
    the_watchdog_starts_a_blocked_daemon_anew,
    it_stops_within_its_time,
    a_backup_is_restored_as_the_readme_says,
    a_wrong_configuration_is_not_tried_again,
    an_upgrade_that_does_not_take_the_configuration_changes_nothing,
    installing_again_upgrades,
    mistakes_of_whoever_installs_get_a_clear_word,
    no_secret_is_in_the_journal,
    uninstalling_leaves_what_is_the_administrator_s,
)


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main():
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Receiver.url = f"http://127.0.0.1:{receiver.server_port}"
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    failed = 0
    camb = None
    for promise in PROMISES:
        if sys.argv[1:] and promise is not PROMISES[0] and promise.__name__ not in sys.argv[1:]:
            continue
        begun_s = time.monotonic()
        try:
            promise()
        except Exception:  # noqa: BLE001 - told to whoever reads the output; the next may hold all the same
            failed += 1
            say(f"failed {promise.__name__}\n{re.sub('(?m)^', '    ', traceback.format_exc())}")
        else:
            say(f"ok {promise.__name__} {time.monotonic() - begun_s:.1f}")
        if camb is None and Path("/opt/cambwatch/current/bin/cambwatch").exists():
            shutil.copytree("/opt/cambwatch/current/", "/opt/pretend", symlinks=True)
            camb = subprocess.Popen(
                ["/opt/pretend/bin/python", "-m", "cambwatch", "simulate", "--key", KEY],
                stdout=subprocess.DEVNULL,
            )
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
