"""What `check` doubts, as people and scripts see it."""

import asyncio

from processes import command

CONFIG = """
camb: {api_key: '"abc123"', base_url: https://api.camb.ai}
destinations: {team: {type: slack, url: https://discord.com/api/webhooks/1/a1}}
"""
DOUBTS = [
    ":2:17: camb.api_key: starts or ends with a quote: remove it",
    ":2:39: camb.base_url: is not the base URL of Camb's API: did you mean https://client.camb.ai/apis?",
    ":3:41: destinations.team.url: is a Discord URL: did you mean type: discord?",
]


async def test_check_warns_and_succeeds_where_something_is_only_doubtful(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    plain, as_json = await asyncio.gather(
        command("check", "-c", str(path), cwd=tmp_path), command("check", "-c", str(path), "--json", cwd=tmp_path)
    )
    assert plain.status == as_json.status == 0
    assert plain.err.splitlines() == [f"warning: {path}{doubt}" for doubt in DOUBTS]
    assert plain.out.startswith(f"{path}: ok, ")
    assert as_json.document == {"ok": True, "path": str(path), "warnings": [f"{path}{doubt}" for doubt in DOUBTS]}
