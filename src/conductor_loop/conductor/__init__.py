"""The loops: intake, work, relay, and the operator's hand on them. Knows ports only."""
