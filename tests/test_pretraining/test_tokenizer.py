"""The tokenizer of a new diffusion model: CLIP's, with its vocabulary cut to the captions."""

import pytest
from transformers import CLIPTokenizer

from diff2in1_mm.diffusion.conditions.clip_texts import clip_tokenizer
from diff2in1_mm.pretraining.tokenizer import check_lengths, cut_tokenizer

CAPTIONS = ['a photo of a street with cars and trees', 'two pedestrians, 3 bicyclists']


def ids(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)['input_ids'])


def test_cut_vocabulary_splits_captions_as_clip_does(tmp_path):
    cut, full = cut_tokenizer(CAPTIONS, 20), clip_tokenizer()
    for caption in CAPTIONS:
        assert ids(cut, caption) == ids(full, caption)
        assert len(ids(cut, caption)) < 16  # words, not letters
    assert len(cut) < 600 and cut.model_max_length == 20
    cut.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    texts = [*CAPTIONS, '', 'Zebra crossing — 東京 \U0001f600']
    assert loaded(texts)['input_ids'] == cut(texts)['input_ids']
    assert len(loaded) == len(cut) and loaded.model_max_length == 20
    assert loaded('')['input_ids'] == [loaded.bos_token_id, loaded.eos_token_id]


def test_any_text_can_be_encoded():
    cut = cut_tokenizer([])
    assert len(cut) == 514
    for text in ('zebra crossing', '東京 \U0001f600', 'naïve café 5'):
        assert cut.unk_token_id not in cut(text)['input_ids'][1:-1]
        assert cut.decode(cut(text)['input_ids'], skip_special_tokens=True) == text


def test_captions_too_long_are_named():
    cut = cut_tokenizer(CAPTIONS, 8)
    check_lengths(cut, ['a photo'], 8)
    with pytest.raises(ValueError, match="1 of 2 captions .* the 8 tokens .*'a photo of a str"):
        check_lengths(cut, ['a photo', CAPTIONS[0], CAPTIONS[0]], 8)
