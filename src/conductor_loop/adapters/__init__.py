"""What each outside thing looks like up close, one a module."""
