"""Runs the command as `python -m skilldb.cli`, which also works where the checkout was moved after installing."""

from skilldb.cli import main

if __name__ == "__main__":
    main()
