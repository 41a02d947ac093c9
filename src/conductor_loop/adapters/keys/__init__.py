"""The signing keys: made, kept, rotated, given out; Ed25519 by `cryptography`."""
