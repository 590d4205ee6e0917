"""What should the labels be?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports("annotate")
