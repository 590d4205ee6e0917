"""Which examples are worth keeping, or labelling next?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports("select")
