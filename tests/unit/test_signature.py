"""Signatures as Standard Webhooks has them."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Official

from cambwatch.core.formats.webhook import check_secret_format, sign
from cambwatch.core.redaction import Secret

# The vector that the specification's libraries share.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DELIVERY_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP_S = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

keys = st.binary(min_size=24, max_size=64)


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def test_published_vector_both_ways() -> None:
    """Ours and the official library's signature are the published one."""
    ours = sign([Secret(SECRET)], delivery_id=DELIVERY_ID, timestamp_s=TIMESTAMP_S, body=BODY)
    theirs = Official(SECRET).sign(DELIVERY_ID, datetime.fromtimestamp(TIMESTAMP_S, UTC), BODY.decode())
    assert ours == theirs == SIGNATURE


@given(st.lists(keys, min_size=1, max_size=3), st.binary(max_size=200), st.integers(0, 2**40))
def test_one_signature_for_each_secret_in_order(secret_keys: list[bytes], body: bytes, timestamp_s: int) -> None:
    """Over `id.timestamp.body`, the body being any bytes."""
    signed = b"msg_1." + str(timestamp_s).encode() + b"." + body
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in secret_keys]
    secrets = [Secret(secret_of(key)) for key in secret_keys]
    signature = sign(secrets, delivery_id="msg_1", timestamp_s=timestamp_s, body=body)
    assert signature == " ".join(f"v1,{digest}" for digest in expected)


@given(keys)
def test_secret_of_the_right_size_passes_with_and_without_padding(key: bytes) -> None:
    """The official libraries take both, and more of it than needed; all sign alike, whatever the version of Python."""
    padded = secret_of(key)
    bare = padded.rstrip("=")
    for text in (padded, bare, padded + "="):
        check_secret_format(text)
        assert sign([Secret(text)], delivery_id="m", timestamp_s=1, body=b"") == sign(
            [Secret(padded)], delivery_id="m", timestamp_s=1, body=b""
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "starts with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "starts with whsec_"),
        ("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "starts with whsec_"),
        ("whsec_", "holds 0"),
        (secret_of(b"x" * 23), "holds 23"),
        (secret_of(b"x" * 65), "holds 65"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", "base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_", "base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwA", "base64"),
        ("whsec_pässwörd" + "a" * 40, "base64"),
    ],
)
def test_bad_secret_is_refused_without_being_told(text: str, words: str) -> None:
    """The error says what is wrong and holds nothing of the secret."""
    with pytest.raises(ValueError, match=words) as caught:
        check_secret_format(text)
    for error in (caught.value, caught.value.__cause__):
        assert len(text) < 7 or text[6:] not in str(error)
