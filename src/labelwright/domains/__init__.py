"""Domain adapters: one folder a field; methods live under their verb."""
