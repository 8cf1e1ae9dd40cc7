"""Camb's official client understands how the pretend Camb fails, refuses and asks to wait."""

import pytest
from camb.core.api_error import ApiError
from camb.core.http_client import _parse_retry_after
from camb.errors import UnprocessableEntityError
from official import client, official_client  # noqa: F401

from cambwatch.simulator import Faults


@pytest.mark.parametrize("status", ["ERROR", "TIMEOUT", "PAYMENT_REQUIRED", "PROCESSING"])
async def test_every_status_word_is_understood(witness, status):
    """The SDK's statuses are an open set; reason and message come through in both their forms."""
    witness.simulator.add_task("dub", "a", status=status, exception_reason="SOURCE_TOO_LONG", message="too long")
    witness.simulator.add_task("dub", "b", status=status, exception_reason="NEVER_SEEN", message={"message": "x"})
    first, second = [await witness.sdk.dub.get_dubbing_status(task_id) for task_id in "ab"]
    assert (first.status, first.run_id) == (status, None)
    assert (first.exception_reason, first.message) == ("SOURCE_TOO_LONG", "too long")
    assert (second.exception_reason, second.message) == ("NEVER_SEEN", {"message": "x"})


async def test_a_wrong_key_and_unknown_things_are_errors(witness):
    """401 for the key, 404 for task and run, 422 where an id is no number or a field is missing."""
    stranger = client(witness.base_url, witness.http, key="wrong")
    with pytest.raises(ApiError) as refused:
        await stranger.dub.get_dubbing_status("t")
    assert (refused.value.status_code, refused.value.body) == (401, {"error": "Invalid API key", "status": 401})
    with pytest.raises(ApiError) as unknown:
        await witness.sdk.dub.get_dubbing_status("t")
    assert (unknown.value.status_code, unknown.value.body) == (404, {"detail": "Task not found"})
    with pytest.raises(ApiError) as no_run:
        await witness.sdk.dub.get_dubbed_run_info(7)
    assert no_run.value.status_code == 404
    with pytest.raises(UnprocessableEntityError) as no_number:
        await witness.sdk.text_to_speech.get_tts_run_info("3b54f84a-0000-4000-8000-000000000000")
    assert no_number.value.body.detail[0].loc == ["path", "run_id"]
    with pytest.raises(UnprocessableEntityError) as incomplete:
        await witness.sdk.text_to_audio.create_text_to_audio(prompt=None)
    assert incomplete.value.body.detail[0].loc == ["body", "prompt"]


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_the_sdk_understands_our_retry_after(witness, form):
    """What the SDK's own reader makes of the header is what was set."""
    witness.simulator.faults = Faults(rate_limited=1, retry_after_form=form, retry_after_seconds=300)
    answer = await witness.http.get(f"{witness.base_url}/tts/t", headers={"x-api-key": "k"})
    assert answer.status_code == 429
    assert 240 < _parse_retry_after(answer.headers) <= 301
