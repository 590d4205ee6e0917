"""Learners for partial supervision."""
