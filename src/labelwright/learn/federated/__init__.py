"""Learners for federated supervision."""
