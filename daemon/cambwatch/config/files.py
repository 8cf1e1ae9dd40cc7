"""The file itself: where it is looked for, and its bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cambwatch.config.errors import ConfigError, ConfigMistake, Place
from cambwatch.config.yaml_reader import MOST_BYTES

PLACES = (Path("config.yaml"), Path("/etc/cambwatch/config.yaml"))
"""Where a configuration is looked for when nobody says where it is."""

BEGIN = "copy config.example.yaml to config.yaml and change what you need"


def find(path: str | None, environ: Mapping[str, str], *, places: Sequence[Path] = PLACES) -> Path:
    """
    The file to load: *path* (--config), else $CAMBWATCH_CONFIG, else the first of *places* that is there.

    Raises ConfigError where there is none.
    """
    for named, by in ((path, "--config"), (environ.get("CAMBWATCH_CONFIG"), "$CAMBWATCH_CONFIG")):
        if named:
            if absent(Path(named)):
                raise failed(named, f"there is no such file (named by {by}); {BEGIN}")
            return Path(named)
    for place in places:
        if not absent(place):
            return place
    looked = " nor ".join(map(str, places))
    raise failed(str(places[0]), f"no configuration: neither {looked} is there, and --config names none; {BEGIN}")


def read_bytes(path: Path) -> bytes:
    """The beginning of the file, one byte more than a configuration may have; raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise failed(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError:  # a null character in the name
        raise failed(str(path), "this is not the name of a file") from None


def absent(path: Path) -> bool:
    """Whether nothing is there; False where that cannot be told."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # opening it will say what is the matter
        return False
    return False


def failed(file: str, message: str, place: Place | None = None) -> ConfigError:
    """The error of a file in which nothing could be looked at."""
    return ConfigError([ConfigMistake(file, place, "", message)])
