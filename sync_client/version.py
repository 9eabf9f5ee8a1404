"""The version of this package; CHANGELOG.md says what each one changed."""

__version__ = "1.2.0"
