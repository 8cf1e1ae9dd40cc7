"""`cambwatch`, also as `python -m cambwatch`."""

import gc


def main() -> None:
    """The console script."""
    gc.disable()  # to look for garbage among what is imported, where there is none, takes a sixth of that time
    from cambwatch.cli import app  # noqa: PLC0415

    gc.enable()
    app()


if __name__ == "__main__":
    main()
