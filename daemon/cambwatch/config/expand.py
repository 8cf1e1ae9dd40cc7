"""`${VAR}` and `${VAR:-default}` in one value; `$${` is a literal `${`."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?P<default>[^}]*))?\}|\$\{")


def has_reference(text: str) -> bool:
    """Whether replacing would change *text* or fail."""
    return "${" in text


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, list[str | None]]:
    """
    *text* with its variables replaced, and the names of those that are not set; None for a `${` that begins none.

    As in a shell, the default stands in for a variable that is unset or empty. What a
    variable holds is not looked at again, so it can neither name a further variable
    nor become YAML.
    """
    missing: list[str | None] = []

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if match.group() == "$${":
            return "${"
        if name and match["fallback"] is not None:
            return environ.get(name) or match["default"]
        if name in environ:
            return environ[name]
        missing.append(name)
        return ""

    return _REFERENCE.sub(replace, text), missing


def why_not(name: str | None, environ: Mapping[str, str]) -> str:
    """What to say of an entry in the second list of expand()."""
    if name is None:
        return "${ begins a variable, ${NAME} or ${NAME:-default}; write $${ for these two characters"
    close = get_close_matches(name, environ, n=1, cutoff=0.8)
    hint = f"did you mean {close[0]}?" if close else f"${{{name}:-default}} gives a default"
    return f"the environment variable {name} is not set ({hint})"
