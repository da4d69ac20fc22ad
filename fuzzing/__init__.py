"""Damaged files by the hundred thousand, for the reader of series."""
