"""Jobs about a daemon: its vitals and their HTTP process, proofs, reports, bundles, rescue."""
