"""Backups: the journal, and on demand its keys, encrypted to recipients with age."""
