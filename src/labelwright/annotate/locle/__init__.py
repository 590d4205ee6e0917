"""Locle: node labels for a graph nobody has labelled, from a budget of answers by a judge."""
