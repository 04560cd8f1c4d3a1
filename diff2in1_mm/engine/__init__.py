"""The self-improving hook and the parameter set theta_C that it keeps."""
