"""One module for each kind of inputs: how it becomes a standardised tensor. The door is :mod:`labelwright.data.featurise`."""
