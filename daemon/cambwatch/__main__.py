"""`cambwatch`, also as `python -m cambwatch`."""

import gc

from cambwatch.adapters import terminal


def main() -> None:
    """The console script."""
    terminal.prepare()
    gc.disable()  # among what is imported there is none, and to look for it again and again takes time
    from cambwatch.cli.daemon import app  # noqa: PLC0415

    gc.enable()
    app()


if __name__ == "__main__":
    main()
