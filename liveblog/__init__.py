"""A real-time live-blog server: editors publish, every open page follows within a moment."""

__version__ = "0.1.0"
