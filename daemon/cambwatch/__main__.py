"""`python -m cambwatch` is `cambwatch`."""

from cambwatch.cli import main

if __name__ == "__main__":
    main()
