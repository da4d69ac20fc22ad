"""Thousands of series on many workers, by Dask.distributed; one table of what became of each.

A worker gets one series at a time and does with it what ``ctdenoise run`` does. What is said of a
series, in tables, reports, lines and logs, names UIDs and never a path: folders and files may be
named after patients.
"""
