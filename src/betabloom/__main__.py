"""The command line, as `betabloom` and as `python -m betabloom`."""

import sys


def main() -> None:
    """Load the command line and run it; a Ctrl-C while it is being loaded is one sentence as well."""
    try:
        from betabloom.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("betabloom: stopped.\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
