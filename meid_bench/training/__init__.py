"""Benchmark, features and method become a run: request, fit, checkpoint, many runs, tables."""
