"""The command line, as `python -m betabloom`."""

from betabloom.cli import main

if __name__ == "__main__":
    main()
