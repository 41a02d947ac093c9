"""The process that exports traces: it reads the journal and sends spans. Not for the daemon."""
