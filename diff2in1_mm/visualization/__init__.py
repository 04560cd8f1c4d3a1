"""Pictures of labels that MMSegmentation and MMDetection do not draw."""
