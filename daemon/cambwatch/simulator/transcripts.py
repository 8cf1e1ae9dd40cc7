"""What is said in every simulated recording."""

from cambwatch.core.model import Json

_LINES = (
    (0.0, 2.4, "Welcome to the show.", "Speaker 1"),
    (2.4, 5.0, "Nothing of this was ever recorded.", "Speaker 2"),
)


def lines() -> list[dict[str, Json]]:
    """The lines as objects: start and end in seconds, text, speaker."""
    return [{"start": start, "end": end, "text": text, "speaker": speaker} for start, end, text, speaker in _LINES]


def text(format_type: str) -> str:
    """The lines as `txt`, `srt` or `vtt`."""
    match format_type:
        case "srt":
            cues = [
                f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{words}\n"
                for number, (start, end, words, _) in enumerate(_LINES, 1)
            ]
            return "\n".join(cues)
        case "vtt":
            cues = [f"{_clock(start, '.')} --> {_clock(end, '.')}\n{words}\n" for start, end, words, _ in _LINES]
            return "WEBVTT\n\n" + "\n".join(cues)
    return "\n".join(words for _, _, words, _ in _LINES) + "\n"


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"
