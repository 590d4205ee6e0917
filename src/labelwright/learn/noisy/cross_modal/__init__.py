"""Cross-modal prototypes (CAPro): noisy labels cleaned with the help of texts beside the inputs; see :mod:`.method`."""
