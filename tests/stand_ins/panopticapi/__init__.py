"""The few functions of COCO's ``panopticapi`` that MMDetection calls, for tests only.

The package is not on PyPI (MMDetection asks for it from GitHub), so a machine without it could not
test panoptic data sets. Formulas: Kirillov et al., "Panoptic Segmentation", CVPR 2019, section 4.
"""
