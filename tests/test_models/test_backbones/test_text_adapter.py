import torch

from diff2in1_mm.conversion.text_adapter import fold_text_adapter
from diff2in1_mm.models.backbones.text_adapter import TextAdapter

from ...golden_values import Golden


def test_it_equals_the_vpd_code(golden):
    values = Golden(golden, 'vpd_text_adapter')
    texts = values.input('texts')
    adapter = TextAdapter(texts.shape[1])
    adapter.load_state_dict({**values.state(), 'gamma': values.input('gamma')})
    adapted = adapter(texts)
    # The reference repeats it over the batch. No error is listed: 1e-5 relative.
    assert values.error('out', adapted.expand(2, -1, -1)) <= 1e-5 * float(adapted.detach().abs().max())
    assert torch.equal(adapted, fold_text_adapter(texts, adapter.gamma, dict(adapter.named_parameters())))


def test_it_starts_near_the_embeddings_with_the_weight_of_vpd():
    adapter = TextAdapter(6)
    assert torch.equal(adapter.gamma, torch.full((6,), 1e-4))
    texts = torch.randn(3, 6)
    torch.testing.assert_close(adapter(texts), texts, atol=1e-3, rtol=0)
