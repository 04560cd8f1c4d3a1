"""Metrics that MMSegmentation and MMDetection lack."""
