"""The judge protocol: anything that answers yes, no, unknown, or a class with a probability."""
