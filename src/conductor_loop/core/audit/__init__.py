"""The audit log, pure: what a record says, how records are chained, and what they prove."""
