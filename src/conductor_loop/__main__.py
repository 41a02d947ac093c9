"""`python -m conductor_loop` is the command `conductor-loop`."""

from conductor_loop.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
