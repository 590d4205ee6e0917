"""How do I take data back out of a model?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports("forget")
