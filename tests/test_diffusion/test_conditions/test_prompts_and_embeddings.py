import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import save_file

import diff2in1_mm  # noqa: F401
from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.conditions.class_names import ClassNames
from diff2in1_mm.diffusion.conditions.precomputed import PrecomputedEmbeddings
from diff2in1_mm.diffusion.conditions.prompts import Captions, ComposedCaption, OwnCaption, Prompt
from diff2in1_mm.diffusion.conditions.source import Source
from diff2in1_mm.utils.errors import UserError

from ...hostile_files import Code
from ...small_models import assert_same, write_json

SOURCES = [Source('data/train/a.jpg', ('road', 'car', 'sign_symbol')), Source('data/train/b.png')]


def test_conditions_are_built_from_configs(diffusion):
    condition = MODELS.build(dict(type='Prompt'))
    assert condition.embed(diffusion.text).sequence.shape == (1, 24, 16)
    assert not condition.per_image


def test_composed_captions_name_the_classes():
    condition = ComposedCaption('street', names=dict(car='cars', sign_symbol=''))
    assert [condition.text(source) for source in SOURCES] == [
        'a photo of a street with road and cars',
        'a photo of a street',
    ]
    many = Source(classes=tuple('abcdef'))
    assert ComposedCaption('indoor room', max_classes=3).text(many) == ('a photo of an indoor room with a, b and c')


def test_captions_come_from_files_and_folders(tmp_path, diffusion):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / 'a.txt').write_text('a car\n')
    (tmp_path / 'folder' / 'b.txt').write_text('a tree', encoding='utf-8-sig')  # as editors of Windows write
    lines = '{"image": "a.jpg", "caption": "a car"}\n{"image": "train/b.png", "caption": "a tree"}\n'
    (tmp_path / 'lines.jsonl').write_text(lines, encoding='utf-8-sig')
    object_ = write_json(tmp_path / 'all.json', {'train/a.jpg': 'a car', 'b': 'a tree'})
    expected = diffusion.text.sequences(['a car', 'a tree'])
    for path in (tmp_path / 'folder', tmp_path / 'lines.jsonl', object_):
        condition = Captions(str(path))
        assert condition.per_image
        assert torch.equal(condition.embed(diffusion.text, SOURCES).sequence, expected)
    with pytest.raises(ValueError, match="no caption for 'c' .c.jpg.: add one, or set `default`"):
        condition.embed(diffusion.text, [Source('c.jpg')])
    assert Captions(object_, default='a photo').text(Source('c.jpg')) == 'a photo'


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for name in ('cat', 'dog'):
        (tmp_path / 'texts' / name).mkdir(parents=True)
        (tmp_path / 'texts' / name / '1.txt').write_text(f'a {name}')
    (tmp_path / 'texts' / '2.5.txt').write_text('any')
    names = {'cat/1.png': 'a cat', 'dog/1': 'a dog', '2.5': 'any'}
    for path in (tmp_path / 'texts', write_json(tmp_path / 'all.json', names)):
        condition = Captions(str(path))
        assert [condition.text(Source(f'data/{name}')) for name in ('cat/1.png', 'dog/1.png', 'dog/2.5.png')] == [
            'a cat',
            'a dog',
            'any',
        ]
        with pytest.raises(ValueError, match=r"has no caption for '1' \(data/bird/1.png\)"):
            condition.text(Source('data/bird/1.png'))
        with pytest.raises(ValueError, match="says different things of '1.png'"):
            condition.text(Source('1.png'))
    array = torch.randn(7, 16)
    save_file({'cat/1': array, 'dog/1.png': array + 1}, tmp_path / 'many.safetensors')
    many = PrecomputedEmbeddings(str(tmp_path / 'many.safetensors'))
    assert torch.equal(
        many.embed(sources=[Source('x/dog/1.png'), Source('x/cat/1.png')]).sequence, torch.stack([array + 1, array])
    )
    with pytest.raises(ValueError, match="has no embedding for '1' .*bird"):
        many.embed(sources=[Source('x/bird/1.png')])


@pytest.mark.parametrize('content', ['{', '[1]', '{}', '{"a": 1}'])
def test_malformed_caption_files_are_named(tmp_path, content):
    (tmp_path / 'captions.json').write_text(content)
    with pytest.raises(ValueError, match='captions.json'):
        Captions(str(tmp_path / 'captions.json'))
    with pytest.raises(ValueError, match='do not exist'):
        Captions(str(tmp_path / 'missing.json'))


def test_class_names_are_one_averaged_token_each(diffusion):
    pytest.importorskip('mmseg', reason='the templates come with MMSegmentation')
    diffusion.text._load = load = _with_room(diffusion.text._load)
    condition = ClassNames(['car', 'traffic sign'])
    assert len(condition.templates) == 80
    tokens = condition.embed(diffusion.text).sequence
    assert tokens.shape == (1, 2, 16)
    assert not diffusion.text.in_memory
    # As the encoder gives it for prompts that are padded to its full length.
    tokenizer, encoder = load()
    ids = tokenizer(
        [template.format('traffic sign') for template in condition.templates],
        padding='max_length',
        max_length=77,
        return_tensors='pt',
    ).input_ids
    ends = (ids == tokenizer.eos_token_id).int().argmax(1)
    with torch.no_grad():
        expected = encoder(ids)[0][torch.arange(80), ends].mean(0)
    assert_same(tokens[0, 1], expected)


def test_class_names_are_encoded_once(diffusion):
    pytest.importorskip('mmseg', reason='the templates come with MMSegmentation')
    loads, load = [], _with_room(diffusion.text._load)
    diffusion.text._load = lambda: loads.append(1) or load()
    tokens = ClassNames(['car', 'sky']).embed(diffusion.text).sequence
    assert torch.equal(ClassNames(['sky']).embed(diffusion.text).sequence[0, 0], tokens[0, 1])
    assert len(loads) == 1


def _with_room(load):
    """Templates are longer than the tiny text encoder takes: a longer one of the same kind."""
    from transformers import CLIPTextModel

    def longer():
        tokenizer, encoder = load()
        encoder.config.max_position_embeddings = 77
        torch.manual_seed(0)
        return tokenizer, CLIPTextModel(encoder.config).eval()

    return longer


def test_class_names_come_from_a_data_set():
    pytest.importorskip('mmseg', reason='the data set is of MMSegmentation')
    assert len(ClassNames(dataset='ADE20KDataset').classes) == 150
    with pytest.raises(ValueError, match="'NoDataset' is unknown or has no classes"):
        ClassNames(dataset='NoDataset')
    with pytest.raises(ValueError, match='either `classes` or `dataset`'):
        ClassNames()


def test_precomputed_embeddings_need_no_text_encoder(tmp_path):
    array = torch.randn(7, 16)
    np.save(tmp_path / 'one.npy', array[None].numpy())
    save_file({'a': array, 'b': array + 1}, tmp_path / 'many.safetensors')
    one = PrecomputedEmbeddings(str(tmp_path / 'one.npy'))
    assert not one.per_image and torch.equal(one.embed(sources=SOURCES).sequence[1], array)
    many = PrecomputedEmbeddings(str(tmp_path / 'many.safetensors'))
    assert many.per_image and torch.equal(many.embed(sources=SOURCES).sequence[1], array + 1)
    with pytest.raises(ValueError, match="has no embedding for 'c'"):
        many.embed(sources=[Source('c.jpg')])


def test_unusable_embeddings_are_named(tmp_path):
    torch.save(torch.zeros(2, 3), tmp_path / 'pickle.pth')
    with pytest.raises(ValueError, match='where .safetensors or .npy is expected'):
        PrecomputedEmbeddings(str(tmp_path / 'pickle.pth'))
    np.save(tmp_path / 'code.npy', np.array([[Code(tmp_path)]]))
    with pytest.raises(UserError, match='code.npy is no readable array of numbers .*save it'):
        PrecomputedEmbeddings(str(tmp_path / 'code.npy'))
    assert not (tmp_path / 'was_run').exists()
    for kind in ('npy', 'safetensors'):
        (tmp_path / f'damaged.{kind}').write_bytes(b'damaged file')
        with pytest.raises(UserError, match=f'damaged.{kind} is no readable array of numbers'):
            PrecomputedEmbeddings(str(tmp_path / f'damaged.{kind}'))
    np.save(tmp_path / 'flat.npy', np.zeros(5))
    with pytest.raises(ValueError, match=r'arrays of one shape \(tokens, channels\)'):
        PrecomputedEmbeddings(str(tmp_path / 'flat.npy'))
    with pytest.raises(ValueError, match='do not exist'):
        PrecomputedEmbeddings(str(tmp_path / 'missing.npy'))


def test_a_fixed_prompt(diffusion):
    assert torch.equal(
        Prompt('a car').embed(diffusion.text, SOURCES).sequence[1], diffusion.text.sequences(['a car'])[0]
    )


def test_a_condition_is_moved_expanded_and_joined_in_all_its_fields():
    one = Condition(
        torch.randn(1, 5, 8), torch.randn(1, 3), torch.ones(1, 5, dtype=torch.bool), dict(ids=torch.tensor([[1, 2]]))
    )
    half = one.to(torch.device('cpu'), torch.bfloat16)
    assert half.sequence.dtype == half.pooled.dtype == torch.bfloat16
    assert half.mask.dtype == torch.bool and half.extras['ids'].dtype == torch.int64
    assert len(one) == 1 and len(one.expand(3)) == 3
    both = Condition.cat([one, one.expand(2)])
    assert [tuple(t.shape) for t in (both.sequence, both.pooled, both.mask, both.extras['ids'])] == [
        (3, 5, 8),
        (3, 3),
        (3, 5),
        (3, 2),
    ]
    with pytest.raises(RuntimeError):
        both.expand(2)
    with pytest.raises(ValueError, match='must have the same fields'):
        Condition.cat([one, Condition(one.sequence)])


def test_rows_of_other_lengths_are_joined_with_a_mask_and_parted_again():
    long, short, masked = torch.randn(1, 5, 8), torch.randn(1, 2, 8), torch.randn(1, 4, 8)
    rows = [Condition(long), Condition(short), Condition(masked, mask=torch.tensor([[1, 1, 1, 0]]))]
    joined = Condition.cat(rows)
    assert joined.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert not joined.sequence[1, 2:].any() and Condition.cat(rows[:1] * 2).mask is None
    for row, expected in zip(joined.rows(), (long, short, masked[:, :3])):
        assert torch.equal(row.sequence, expected) and row.mask is None


def test_own_caption():
    source = Source('a/b.png', caption='a room with a red ball')
    assert OwnCaption().text(source) == 'a room with a red ball'
    with pytest.raises(ValueError, match="no `caption` for 'b'"):
        OwnCaption().text(Source('a/b.png'))
