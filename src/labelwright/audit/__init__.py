"""What is wrong with my data?"""

from labelwright._lazy import exports

__getattr__, __all__ = exports(
    "audit",
    FlaggedErrors="labelwright.audit._confident_stream",
    LabelErrors="labelwright.audit.label_errors",
    MultiLabelErrors="labelwright.audit._confident_multi",
    find_label_errors="labelwright.audit.label_errors",
    find_multilabel_errors="labelwright.audit._confident_multi",
    label_errors_streaming="labelwright.audit._confident_stream",
)
