"""The command line, as `python -m betabloom`."""

from betabloom.cli.main import main

if __name__ == "__main__":
    main()
