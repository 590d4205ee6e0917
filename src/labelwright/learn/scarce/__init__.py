"""Learners for scarce supervision."""
