"""The version of this release; pyproject.toml reads it."""

__version__ = "0.1.0"
