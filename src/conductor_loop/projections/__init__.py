"""Views of the journal: repeat-safe, never written to by anybody else."""
