"""Backups: the journal, the audit log, and on demand the keys, encrypted to recipients with age."""
