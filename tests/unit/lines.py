"""What a line of text is, by Unicode's own properties and not by our table."""

from unicodedata import category

REORDERING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def is_line(words: str) -> bool:
    """Whether *words* are one line that can go into a log, a database and a message, and reorder nothing."""
    return (
        words.strip() != ""
        and words == " ".join(words.split())
        and not REORDERING & set(words)
        and not any(category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in words)
        and not any(is_noncharacter(character) for character in words)
    )


def is_noncharacter(character: str) -> bool:
    return ord(character) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(character) <= 0xFDEF
