"""Making data: partial-noise generation, labelling, the store."""
