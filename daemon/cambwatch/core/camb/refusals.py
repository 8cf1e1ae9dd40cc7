"""
Whether Camb itself refused a request, or something between Camb and cambwatch.

A proxy, gateway, firewall or CDN answers 401, 403, 404, 410 or 422 during every redeploy.
Such an answer proves nothing about a task or a key. So a refusal counts only in the forms
that Camb's API uses:

    form                                   source
    {"detail": "..."}                      FastAPI's HTTPException; camb-sdk 1.6.6, errors/
    {"detail": [{"loc", "msg", "type"}]}   FastAPI's validation errors (422); the same
    {"error": "...", "status": 401}        docs.camb.ai, getting-started/authentication

Everything else is foreign: HTML, XML, text, an empty body, `{"message": ...}` (Kong, AWS),
problem details (RFC 9457), Spring's `{"timestamp", "status", "error", "path"}`, a `detail` of
exactly "Not Found", which a web framework answers for a missing route, and an `error` that is
only the reason phrase of the HTTP status, as Rails and Express answer.
"""

from dataclasses import dataclass

from cambwatch.core.lenient_json import loads
from cambwatch.core.model import Json

LONGEST_REFUSAL = 1 << 20  # bytes; a longer body does not count as a refusal
REFUSALS = frozenset({401, 403, 404, 410, 422})
"""The HTTP statuses that refuse a key, a task or its task_id."""

_MISSING_ROUTE = "Not Found"
_REASON_PHRASES = frozenset({"", "not found", "gone", "unprocessable entity", "unprocessable content"})
_OTHERS_KEYS = frozenset({"type", "title", "instance", "timestamp", "path"})  # RFC 9457 and Spring


@dataclass(frozen=True, slots=True)
class CambRefusal:
    """
    Camb's own refusal.

    *words* is Camb's explanation, unchanged: a text, or any JSON value. *about_path* is False
    if a validation error (422) is only about a header, the query or the body, and not about
    the task_id in the path.
    """

    words: Json
    about_path: bool = True


def camb_refusal(http_status: int, body: bytes) -> CambRefusal | None:
    """
    Camb's refusal in *http_status* and *body*; None if the answer is not in Camb's form.

    *http_status* is one of REFUSALS, or any other error status. Total over every body.
    """
    match _document(body):
        case dict() as document if document.keys() & _OTHERS_KEYS:
            return None
        case {"detail": str(words)} if words.strip() in {"", _MISSING_ROUTE}:
            return None
        case {"error": str(words), "status": _} if words.strip().lower() in _REASON_PHRASES:
            return None
        case {"detail": list(mistakes)}:
            return _validation(mistakes)
        case {"detail": str() | dict() as words} if words:
            return CambRefusal(words)
        case {"error": str() | dict() as words, "status": int(status)} if words and status == http_status:
            return CambRefusal(words)
    return None


def _document(body: bytes) -> Json:
    try:
        return loads(body) if len(body) <= LONGEST_REFUSAL else None
    except ValueError:
        return None


def _validation(mistakes: list[Json]) -> CambRefusal | None:
    """The refusal that FastAPI's list of validation errors, *mistakes*, stands for."""
    if not mistakes or not all(isinstance(mistake, dict) and "msg" in mistake for mistake in mistakes):
        return None
    places = [mistake["loc"][0] for mistake in mistakes if isinstance(mistake.get("loc"), list) and mistake["loc"]]
    return CambRefusal(mistakes[0]["msg"], about_path=not places or "path" in places)
