"""Benchmarks of GAC: tasks, data sets and the commands that make the tables."""
