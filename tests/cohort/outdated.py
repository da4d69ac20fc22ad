"""Loaded by a worker of the tests: it has another version than the command."""

from ctdenoise.cohort import worker

worker.__version__ = "0.0.0"
