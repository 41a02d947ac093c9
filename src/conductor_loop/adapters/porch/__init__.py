"""The porch command: one child process per attempt, through a small spawner."""
