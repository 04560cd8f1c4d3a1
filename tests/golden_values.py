"""Reading golden values: outputs of the reference implementations on weights made from names."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Golden:
    """One golden file.

    Args:
        folder (Path): Where the golden values are.
        name (str): For example 'sn_module'.
    """

    def __init__(self, folder: Path, name: str) -> None:
        spec = importlib.util.spec_from_file_location('fill', folder / 'fill.py')
        self._fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._fill)
        self.spec = json.loads((folder / f'{name}.json').read_text())
        self.values = np.load(folder / f'{name}.npz')
        self.prefix = self.spec['prefix']

    def state(self) -> dict[str, Tensor]:
        """The reference's state dict."""
        return {
            key: torch.from_numpy(np.asarray(self._fill.fill(self.prefix + key, shape)))
            for key, shape in self.spec['state'].items()
        }

    def input(self, name: str) -> Tensor:
        """An input by its name without the prefix."""
        entry = next(i for i in self.spec['inputs'] if i['name'] == self.prefix + name)
        return torch.from_numpy(self._fill.fill(entry['name'], entry['shape'], entry['kind']))

    def error(self, name: str, actual: Tensor) -> float:
        """Largest difference to the recorded elements of an output."""
        full = self.prefix + name
        # a scalar is recorded as one element
        assert tuple(actual.shape or (1,)) == tuple(self.values[f'{full}.shape']), full
        flat = actual.detach().double().flatten().numpy()
        places = self._fill.positions(full, flat.size)
        return float(np.abs(flat[places] - self.values[f'{full}.values']).max())

    def rounding(self, name: str) -> float:
        """How far the reference's own float32 run is from its float64 run."""
        return self.spec['float32_error'][name]['max_abs']
