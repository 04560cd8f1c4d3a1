"""The version of the package; also read by ``setup.py``, so nothing is imported here."""

__version__ = '0.1.0'
