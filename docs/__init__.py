"""The documentation: pages, and beside them what prints some of them from the code."""
