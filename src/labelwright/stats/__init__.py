"""Statistics shared by the verbs: intervals, neighbours, clustering, trees, matching, calibration."""
