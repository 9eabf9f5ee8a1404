"""The version of this package; CHANGELOG.md lists the changes."""

__version__ = "1.2.0"
