"""Conductor Loop: every intent file handed over ends in exactly one final state."""

__version__ = "0.1.0"
