"""The loops: intake, work, relay."""
