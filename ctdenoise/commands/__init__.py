"""The commands of the command line, a module each: its options, and what it does."""

from ctdenoise.commands import cohort, evaluate, features, models, run, serve, simulate, train

COMMANDS = (run, cohort, serve, train, simulate, evaluate, features, models)
"""In the order in which they are listed; each has ``add_to`` for its options."""

__all__ = ["COMMANDS"]
