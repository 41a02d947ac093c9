"""Which controls of public catalogues this program can give evidence for, and how that is told."""
