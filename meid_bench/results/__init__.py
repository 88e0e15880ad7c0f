"""Scores become a record, and records a board: metrics, comparison, published numbers, report."""
