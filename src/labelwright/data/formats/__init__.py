"""One module for each family of files. The door is :func:`labelwright.data.load`."""
