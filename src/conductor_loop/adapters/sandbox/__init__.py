"""Confinement by the kernel: what a process and its children may touch, and for how much."""
