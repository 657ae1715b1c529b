"""Measures base, probe, tuned model and baseline on the same rows, with intervals and paired tests."""
