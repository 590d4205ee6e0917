"""Learners for noisy supervision."""
