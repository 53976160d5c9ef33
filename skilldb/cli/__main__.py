"""Runs the command as `python -m skilldb.cli`, which also works in a checkout that was moved after installing."""

from skilldb.cli import main

if __name__ == "__main__":
    main()
