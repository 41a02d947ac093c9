"""The loops: intake, work, relay, and the operator's hand on them. Knows ports only."""

from conductor_loop.conductor.daemon import Conductor, Parts, Policies
from conductor_loop.conductor.steering import Steering

__all__ = ["Conductor", "Parts", "Policies", "Steering"]
