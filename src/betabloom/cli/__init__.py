"""The command line: it asks, calls the library, and shows."""
