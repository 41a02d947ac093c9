"""The handoff folder: what is in it, when it is complete, how it becomes ours."""
