"""The service manager systemd: telling it how we are, and getting us into it."""
