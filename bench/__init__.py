"""How fast and how small: the real command in real folders, beside the targets. No test."""
