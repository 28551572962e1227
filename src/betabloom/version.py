"""The version, in a file that imports nothing: the package, its files and the build read it."""

__version__ = "0.1.0"
