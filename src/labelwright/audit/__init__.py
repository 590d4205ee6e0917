"""What is wrong with my data?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports("audit", LabelErrors="labelwright.audit.label_errors", find_label_errors="labelwright.audit.label_errors")
