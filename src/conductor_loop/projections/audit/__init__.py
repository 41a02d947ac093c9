"""The audit log on disk: `ports.Projection`, and the first of all."""
