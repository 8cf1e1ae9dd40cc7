"""Schemathesis, as a witness: whatever /openapi.json allows or forbids, the intake answers as it says there."""

import asyncio
import os
import re
import sys

from events import hook, settings

TOKEN = "the-token-of-schemathesis"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance"),
    *("use_after_free", "ensure_resource_availability", "ignored_auth"),
)
# Without positive_data_acceptance: which names are in the configuration, no description can tell.
QUICK = '[parameters]\nwait = "10ms"\n'  # nobody waits a minute for a task that does not end


async def test_no_answer_is_undocumented_and_none_is_a_bug(process, camb, receivers, tmp_path):
    """About a thousand requests, always the same ones: examples, edges, dice, and one after another."""
    made = await process(settings(http={"token": TOKEN}, destinations={"pipeline": hook(receivers)}))
    for kind in ("dub", "tts"):
        wish = {
            "kind": kind,
            "task_id": camb.add(kind, after_seconds=0),
            "group": "season-1",
            "labels": {"show": "pilot"},
        }
        assert (await made.api.post(wish)).status == 201
    await receivers.until(lambda: len(receivers.requests) >= 2)

    config = tmp_path / "schemathesis.toml"
    config.write_text(QUICK)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color"),
        *(
            "run",
            made.url + "/openapi.json",
            "--header",
            f"Authorization: Bearer {TOKEN}",
            "--checks",
            ",".join(CHECKS),
        ),
        *("--max-examples", "15", "--generation-deterministic"),
        *("--no-shrink", "--request-timeout", "10", "--suppress-health-check", "all", "--warnings", "off"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await child.communicate())[0].decode()
    assert child.returncode == 0, said
    paths = (await made.api.get("/openapi.json")).document["paths"]
    operations = sum(len(item) for item in paths.values()) - 1  # it leaves out where it found the description
    assert f"Tested: {operations}\n" in said
    count = re.search(r"(\d+) generated", said)
    assert int(count[1]) > 20 * operations, said

    assert (await made.api.get("/readyz")).status == 200
    assert await made.stop() == 0
    assert not [line for line in made.logged() if line["level"] == "error"]
