"""Evaluation: metrics with intervals, thresholds, calibration, comparison, Grad-CAM, the report."""
