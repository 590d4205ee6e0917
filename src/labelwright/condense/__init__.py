"""What small set can stand in for it?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports("condense")
