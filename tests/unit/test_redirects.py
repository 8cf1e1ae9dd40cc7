"""A redirect is explained: where it points to, without its path, and what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.delivery.classification import explain_redirect

URL = "https://hooks.example/services/T000/CANARY?token=CANARY"
NEXT = "set url of this destination to the final URL"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://new.example/CANARY?a=CANARY", "it points to new.example"),
        ("https://NEW.example:8443/CANARY", "it points to new.example"),
        ("https://CANARY:CANARY@new.example/", "it points to new.example"),
        ("//new.example/CANARY", "it points to new.example"),
        ("https://[2001:db8::1]/CANARY", "it points to 2001:db8::1"),
        ("http://hooks.example/services/CANARY", "it points to http on the same host"),
        ("https://hooks.example/login/CANARY", "it points to another path on the same host"),
        ("https:///CANARY", "it points to another path on the same host"),
        ("/login?next=CANARY", "it points to another path on the same host"),
        ("login/CANARY", "it points to another path on the same host"),
        ("?CANARY", "it points to another path on the same host"),
        ("https://b\u00fccher.example/CANARY", "it points to another host"),
        ("https://CANARY words/CANARY", "it points to another host"),
        ("https://[CANARY/CANARY", "it points to something that is not a URL"),
        ("mailto:CANARY@new.example", "it points to something that is not a web address"),
        ("", "it has no Location header"),
        (None, "it has no Location header"),
    ],
)
def test_a_redirect_names_the_host_and_what_to_do(status, location, where):
    assert explain_redirect(status, location, url=URL) == f"redirects are not followed; {where}: {NEXT}"


@pytest.mark.parametrize("status", [101, 200, 201, 300, 304, 305, 400, 502])
def test_other_statuses_are_not_explained_as_redirects(status):
    assert explain_redirect(status, "https://new.example/", url=URL) is None


@given(st.text(), st.sampled_from(["", "/", "//", "https://", "http:"]))
def test_every_location_has_an_explanation(location, before):
    assert (explain_redirect(302, before + location, url=URL) or "").endswith(NEXT)
