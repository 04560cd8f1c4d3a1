"""Noise by class: what is kept, what is changed, and which label counts."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from diff2in1_mm.creation.class_levels import ClassLevels, Restoration, level_painter
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.diffusion.schedules import noise_ratio_of_sd
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore
from diff2in1_mm.tasks.segmentation import source_map

from ..small_models import assert_same
from ..stores import read_one

SETTINGS = dict(seed=0, steps=3, batch_size=2)


def pictures(count=2, height=40, width=48):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1


def halves(count=2, height=40, width=48, left=0, right=300):
    levels = torch.full((count, height, width), left, dtype=torch.int32)
    levels[..., width // 2 :] = right
    return levels


@pytest.fixture
def generate(diffusion):
    condition = diffusion.text.embed(['a street'])

    def made(T, images, levels=None, **options):
        generator = PartialNoiseGenerator(T=T, **options)
        start = generator.strengths[0]
        seeds = range(len(images))
        return generator.generate(diffusion, images, condition, seeds, start, levels=levels).images

    return made


class TestGenerate:
    @pytest.mark.parametrize('solver', ['ddim', 'dpmsolver++'])
    def test_the_highest_level_everywhere_is_one_level(self, generate, solver):
        plain = generate(300, pictures(), steps=4, solver=solver)
        same = generate(dict(default=300), pictures(), halves(left=300), steps=4, solver=solver)
        assert torch.equal(plain, same)

    @pytest.mark.parametrize('solver', ['ddim', 'dpmsolver++'])
    def test_level_0_keeps_pixels_and_the_rest_changes(self, generate, solver):
        made = generate(dict(default=300, person=0), pictures(), halves(), steps=4, solver=solver)
        assert torch.equal(made[..., :24], pictures()[..., :24])
        assert (made[..., 24:] - pictures()[..., 24:]).abs().mean() > 0.05

    def test_a_lower_level_changes_less(self, generate):
        """Of the two halves of one picture the one of level 20 stays nearer to the autoencoder's own picture."""
        nothing = generate(dict(default=1), pictures(), steps=1)
        made = generate(dict(default=900), pictures(), halves(left=20, right=900), steps=20)
        change = (made - nothing).abs().mean((0, 1, 2))
        assert change[:16].mean() < 0.5 * change[-16:].mean()

    def test_levels_of_stable_diffusion(self, generate, diffusion):
        level = diffusion.level_at(noise_ratio_of_sd(50))
        as_sd = generate(dict(default=300, a=50), pictures(), halves(left=50), steps=6, T_of='sd')
        start = diffusion.level_at(noise_ratio_of_sd(300))
        own = generate(dict(default=start, a=level), pictures(), halves(left=level, right=start), steps=6)
        assert_same(as_sd, own)


def test_a_cell_is_free_from_its_own_level_on(diffusion):
    """By the rule of the docstring, cell by cell."""
    clean, noise, latents = (torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    stride = diffusion.latent_stride
    levels = torch.full((1, 4 * stride, 4 * stride), 500)
    levels[0, 0, 0] = 100  # one pixel of the first cell
    levels[0, -stride:] = 0
    restore = Restoration(diffusion, clean, noise, levels)
    above = restore(latents, 300, 200)
    noised = diffusion.add_noise(clean, noise, 200)
    assert torch.equal(above[..., 0, 0], noised[..., 0, 0]) and torch.equal(above[..., 3, :], noised[..., 3, :])
    assert torch.equal(above[..., 0, 1:], latents[..., 0, 1:]) and torch.equal(above[..., 1:3, :], latents[..., 1:3, :])
    at_it = restore(latents, 100, 0)  # a step from its own level
    assert torch.equal(at_it[..., 0, 0], latents[..., 0, 0]) and torch.equal(at_it[..., 3, :], clean[..., 3, :])


class TestClassLevels:
    def test_table_and_margin(self):
        levels = ClassLevels(dict(default=600, b=0), margin=2)
        table = levels.table(['a', 'b', 'c'])
        assert table.tolist() == [600, 0, 600] and levels.start == 600
        labels = np.zeros((9, 9), int)
        labels[4, 4] = 1
        labeller = SimpleNamespace(source_levels=lambda entry, size, table, default: table[labels])
        painted = levels.paint(labeller, table, {}, (9, 9))
        assert (painted[2:7, 2:7] == 0).all() and (painted == 0).sum() == 25

    @pytest.mark.parametrize(
        ('options', 'words'),
        [
            (dict(T=dict(person=0)), "no 'default'"),
            (dict(T=dict(default=300, person=-1)), 'whole numbers'),
            (dict(T=dict(default=300, person=1.5)), 'whole numbers'),
            (dict(T=dict(default=300, person=1000)), 'T = 1000 is out of range'),
            (dict(T=dict(default=0, person=0)), 'T = 0 is out of range'),
            (dict(T=dict(default=300), T_margin=-1), 'pixels'),
            (dict(T=300, T_margin=2), 'leave it out'),
        ],
    )
    def test_bad_levels(self, options, words):
        with pytest.raises(ValueError, match=words):
            PartialNoiseGenerator(**options)

    def test_bad_settings(self, model, dataset):
        init_default_scope('mmseg')
        with pytest.raises(ValueError, match='needs levels by class'):
            CreationSettings(T=300, label_from='by_class')
        with pytest.raises(ValueError, match="'rod', which is no class.*did you mean 'road'"):
            check_creation(model, dict(T=dict(default=300, rod=0)), dataset)
        labels = SimpleNamespace(labeller=SimpleNamespace(labellers=dict(depth=object()), task='depth'))
        with pytest.raises(ValueError, match='depth labels do not say where'):
            level_painter(PartialNoiseGenerator(T=dict(default=300)), labels, dataset)

        class Plain(PartialNoiseGenerator):
            def generate(self, diffusion, images, condition, seeds, T, taps=()):
                return super().generate(diffusion, images, condition, seeds, T, taps)

        with pytest.raises(ValueError, match='Plain.generate takes no `levels`: give one level'):
            level_painter(Plain(T=dict(default=300)), labels, dataset)


class TestCreate:
    @pytest.fixture(autouse=True)
    def scope(self):
        init_default_scope('mmseg')

    def test_source_labels_where_the_level_is_low(self, tmp_path, model, dataset):
        T = dict(default=300, road=0)
        fresh, mixed = tmp_path / 'fresh', tmp_path / 'mixed'
        create(model, dataset, fresh, T=T, **SETTINGS)
        create(model, dataset, mixed, T=T, label_from='by_class', **SETTINGS)
        fresh, mixed = SyntheticStore(fresh), SyntheticStore(mixed)
        assert mixed.settings['T'] == T and len(mixed) == len(dataset)
        road = dataset.metainfo['classes'].index('road')
        seen = 0
        for a, b in zip(fresh.records(), mixed.records()):
            entry = dataset.get_data_info(b.source)
            image, label = read_one(mixed, b)
            source = source_map(entry, image.shape[:2]).annotation
            kept = source == road
            seen += kept.sum()
            assert (label[kept] == road).all()
            assert np.array_equal(label[~kept], read_one(fresh, a)[1][~kept])
        assert seen

    def test_another_table_is_another_store(self, tmp_path, model, dataset):
        create(model, dataset, tmp_path / 's', T=dict(default=300, road=0), limit=1, **SETTINGS)
        with pytest.raises(StoreMismatch, match='T'):
            create(model, dataset, tmp_path / 's', T=dict(default=300, road=1), limit=1, **SETTINGS)
