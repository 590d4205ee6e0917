"""What model can these labels support?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports("learn")
