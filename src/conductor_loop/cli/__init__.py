"""One file per command; what they do stands further down."""
