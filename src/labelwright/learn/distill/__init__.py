"""Learners for distill supervision."""
