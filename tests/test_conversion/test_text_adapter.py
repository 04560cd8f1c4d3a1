import pytest
import torch

from diff2in1_mm.conversion.text_adapter import fold_text_adapter

from ..golden_values import Golden


def test_it_equals_the_vpd_code(golden):
    values = Golden(golden, 'vpd_text_adapter')
    folded = fold_text_adapter(values.input('texts'), values.input('gamma'), values.state())
    # The reference repeats it over the batch. No error is listed: 1e-5 relative.
    repeated = folded.expand(2, -1, -1)
    assert values.error('out', repeated) <= 1e-5 * float(folded.abs().max())


def test_parts_that_do_not_fit_are_named():
    adapter = {
        f'fc.{i}.{kind}': torch.zeros((8, 8) if kind == 'weight' else 8) for i in (0, 2) for kind in ('weight', 'bias')
    }
    with pytest.raises(ValueError, match=r'do not fit class embeddings \(3, 6\)'):
        fold_text_adapter(torch.zeros(3, 6), torch.zeros(8), adapter)
    del adapter['fc.2.bias']
    with pytest.raises(ValueError, match="lacks 'fc.2.bias'"):
        fold_text_adapter(torch.zeros(3, 8), torch.zeros(8), adapter)
