"""What can I prove?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports("certify")
