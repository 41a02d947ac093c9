"""The daemon killed at every step, given every error, and starved of room: nothing is lost."""
