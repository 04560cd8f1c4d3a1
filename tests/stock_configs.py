"""OpenMMLab's own model configs, made small enough to train in a second."""


def smaller(value, numbers, kept=(), key=''):
    """A config with every whole number replaced by ``numbers``, booleans and ``kept`` keys aside."""
    if isinstance(value, dict):
        return {k: smaller(v, numbers, kept, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(smaller(v, numbers, kept, key) for v in value)
    if key == 'num_groups':
        return 8  # of at least 32 channels: one value per group cannot be normalised
    if key in kept or isinstance(value, bool) or not isinstance(value, int):
        return value
    return numbers.get(value, value)


def set_all(value, key, new):
    """Sets ``key`` wherever a config has it."""
    if isinstance(value, (list, tuple)):
        for member in value:
            set_all(member, key, new)
    elif isinstance(value, dict):
        for k, v in value.items():
            if k == key:
                value[k] = new
            else:
                set_all(v, key, new)
