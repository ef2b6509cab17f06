"""The version that every output names."""

__version__ = "0.1.0"
