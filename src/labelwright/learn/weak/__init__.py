"""Learners for weak supervision."""
