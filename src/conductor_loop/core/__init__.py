"""The pure core: what is decided, never how it is done. No clock, disk, process, logger or loop."""
