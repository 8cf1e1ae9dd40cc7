r"""
The forms in which others may repeat a secret: which parts of it, and which encodings of each character.

Parts of a URL, because a receiver may show the request target, and a library its normalized URL:

| part                          | example for `https://h/a/../hooks/T0%2FX9?sig=S3cr3t%3D` |
|-------------------------------|----------------------------------------------------------|
| the whole, also with IDNA     | as it stands there                                       |
| target                        | `/a/../hooks/T0/X9?sig=S3cr3t=`                          |
| path, also normalised         | `/a/../hooks/T0/X9`, `/hooks/T0/X9`                      |
| last segment of the path      | `T0/X9`                                                  |
| query, and each value of it   | `sig=S3cr3t=`, `S3cr3t=`                                 |

A segment or a value is not redacted by itself if it looks like an ordinary word, a number, a version or a date.
Otherwise ordinary text would be redacted. The value of a query parameter such as `token` or `sig` is always redacted.

Encodings of a character, also mixed. `decoded` decodes them, `encodings_pattern` matches them:

| encoding                      | `/`                      | `"`             |
|-------------------------------|--------------------------|-----------------|
| itself                        | `/`                      | `"`             |
| percent-encoded, also twice   | `%2F` `%2f` `%252F`      | `%22`           |
| in JSON, also in JSON in JSON | `\/` `\u002f` `\\/`      | `\"` `\u0022`   |
| in a literal of JavaScript    | `\x2f` `\\x2F`           | `\x22`          |
| in HTML                       | `&#47;` `&#x2f;` `&sol;` | `&#34;` `&quot;`|
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import unescape
from html.entities import html5
from urllib.parse import urlsplit

_ESCAPE_SIGNS = frozenset("%\\&")  # each encoding starts with one of them
_MOST_LAYERS = 5  # nested encodings
_ESCAPE = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})+)"
    r"|\\(?P<json>(?:u[0-9A-Fa-f]{4}(?:\\u[0-9A-Fa-f]{4})*)|[\"/\\])"
    r"|(?P<html>&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});)"
)
_JSON_CODE = re.compile(r"\\?u([0-9A-Fa-f]{4})")

# Ordinary text and not a secret: words, numbers, versions and dates.
_PLAIN = re.compile(r"(?:[A-Z]?[a-z]{1,12}|v?[0-9]{1,4})(?:[/._ :-]+(?:[A-Z]?[a-z]{1,12}|v?[0-9]{1,4}))*/?")
_SENSITIVE_NAME = re.compile(r"sig|secret|token|key|pass|pwd|auth|code|cred|hash", re.IGNORECASE)


def exposed_parts(secret: str) -> Iterator[str]:
    """*secret*, and if it is a URL the parts that others may show; may repeat a part or yield an empty one."""
    yield secret
    if "://" not in secret:
        return
    try:
        url = urlsplit(secret)
    except ValueError:
        return
    yield _with_idna(secret, url.netloc)
    yield f"{url.path}?{url.query}"
    yield url.path
    yield posixpath.normpath(url.path).replace("//", "/") if url.path else ""
    yield url.query
    last = url.path.rstrip("/").rpartition("/")[2]
    if not _PLAIN.fullmatch(decoded(last)):
        yield last
    for pair in re.split("[&;]", url.query):
        name, _, value = pair.partition("=")
        if not _PLAIN.fullmatch(decoded(value)) or _SENSITIVE_NAME.search(name):
            yield value


def _with_idna(url: str, netloc: str) -> str:
    try:
        return url.replace(netloc, netloc.encode("idna").decode(), 1) if netloc and not netloc.isascii() else ""
    except UnicodeError:
        return ""


def decoded(text: str) -> str:
    """*text* with all nested encodings of the table decoded, and `+` as a space."""
    for _ in range(_MOST_LAYERS):
        if _ESCAPE_SIGNS.isdisjoint(text):
            break
        found = _ESCAPE.sub(_decode, text)
        if found == text:
            break
        text = found
    return text.replace("+", " ")


def _decode(found: re.Match[str]) -> str:
    if written := found["percent"] or found["bytes"]:
        return bytes.fromhex(written.replace("%", "").replace("\\x", "")).decode("utf-8", "surrogateescape")
    if found["html"]:
        return unescape(found["html"])
    code = found["json"]
    if not code.startswith("u"):
        return code
    units = b"".join(int(unit, 16).to_bytes(2, "big") for unit in _JSON_CODE.findall(code))
    return units.decode("utf-16-be", "surrogatepass")


@lru_cache(maxsize=1024)
def encodings_pattern(text: str) -> str:
    """A regular expression for the decoded *text* in every encoding of the table."""
    return "".join(map(_encodings_pattern, text))


def _encodings_pattern(character: str) -> str:
    code = ord(character)
    ways = {re.escape(character)}
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        byte = bytes([code - 0xDC00])
        ways |= {_percent(byte), _literal(byte), "\ufffd", re.escape(chr(code - 0xDC00))}
    elif not 0xD800 <= code <= 0xDFFF:
        ways |= {_percent(character.encode()), _literal(character.encode())}
        ways |= {rf"&#0*{code};", rf"&#[xX]0*{_hex(f'{code:x}')};"}
        ways |= {f"&{name}" for name in _names()[character]}
        units = character.encode("utf-16-be")
        ways.add("".join(rf"\\+u{_hex(units[at : at + 2].hex())}" for at in range(0, len(units), 2)))
    if character == " ":
        ways |= {r"\+", _percent(b"+")}
    if character in '"/':
        ways.add(rf"\\+{character}")
    if character == "\\":
        ways.add(r"\\+")
    return f"(?:{'|'.join(sorted(ways, key=len, reverse=True))})"


def _percent(raw: bytes) -> str:
    return "".join(f"%(?:25)*{_hex(f'{byte:02x}')}" for byte in raw)


def _literal(raw: bytes) -> str:
    return "".join(rf"\\+x{_hex(f'{byte:02x}')}" for byte in raw)


def _hex(digits: str) -> str:
    """*digits* in both cases."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


@lru_cache(maxsize=1)
def _names() -> Mapping[str, list[str]]:
    """The names that HTML has for a character."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, character in html5.items():
        if name.endswith(";"):
            found[character].append(name)
    return found
