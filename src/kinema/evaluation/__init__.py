"""Judging motion: the evaluator that sees joints and text, and the metrics."""
