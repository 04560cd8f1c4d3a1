"""All of ``tools/browse.py``: a page that shows a store's samples, and takes down what a person says of them."""
