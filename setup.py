"""Packaging of diff2in1_mm.

The folders ``configs``, ``tools`` and ``demo`` lie beside the package in a checkout. A built wheel
carries them as ``diff2in1_mm/.mim/``, where OpenMMLab's packages keep theirs; an editable install
reads them from the checkout (``diff2in1_mm.utils.resources`` knows both).
"""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'demo')
NOT_SHIPPED = ('__pycache__', '*.py[co]', 'set_up.py', 'build_mmcv.py')

# OpenMMLab's libraries are not here, since two distributions bring each of their import names: the stock one, and
# the fork that is alive (`onedl-...`). pip would write one over the files of the other. The extras name them.
# mmcv is in none: a plain `pip install mmcv` compiles it without its operators. `make set-up` builds it with them,
# and `import diff2in1_mm` says how to.
REQUIRED = [
    'torch>=2.1',
    'diffusers>=0.31',
    'transformers>=4.46',
    'accelerate>=0.31',  # diffusers loads weights without a second copy in memory
    'safetensors>=0.4.1',
    'filelock',  # processes that write into one store
    'numpy>=1.26',  # np.dtypes, which reading of checkpoints names
    'Pillow',
    'tqdm',
    'packaging',
]
# MMEngine and mmcv ask for opencv-python>=3. OpenCV 5 takes 128 channels at most, so that MMDetection's mask
# transforms fail beyond 128 instances, and its nearest-neighbour rotation gives other labels than OpenCV 4.
OPENCV = 'opencv-python<5'
STOCK = [
    'mmengine>=0.10,<0.11',
    OPENCV,
    'setuptools<80',  # MMEngine imports pkg_resources, which later versions lack; its fork does not
]
EXTRAS = {
    'stock': STOCK,
    # MMSegmentation imports ftfy and regex without saying so; Rooms writes COCO files
    'seg': [*STOCK, 'mmsegmentation>=1.2.0,<1.3', 'ftfy', 'regex', 'pycocotools'],
    'det': [*STOCK, 'mmdet>=3.2.0,<3.4'],
    'onedl': [
        'onedl-mmengine>=0.10.8,<0.11',
        'onedl-mmsegmentation>=1.3.0,<1.5',
        'onedl-mmdetection>=3.4.0,<3.6',
        OPENCV,
        'pycocotools',
    ],
    'lora': ['peft>=0.13'],  # backbone.train=dict(type='lora'); diffusers reads LoRA weights by it
    'demo': ['matplotlib'],
    'eval': ['torchmetrics>=1.4'],  # FID and KID of tools/evaluate_synthetic.py
    # by which the tests read exports again, and look at the page of tools/browse.py (then: playwright install chromium)
    'formats': ['supervision', 'datasets', 'webdataset', 'label-studio-sdk'],
    'browser': ['playwright'],
    'dev': [
        'pytest>=8',
        'pytest-xdist>=3',
        'hypothesis>=6',
        'psutil',
        'wheel',
        'build',
        'twine',
        'ruff>=0.17,<0.18',
        'mypy>=2.4,<2.5',
    ],
}


class BuildWithFolders(build_py):
    """Puts the folders beside the package into it, in the build only."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'diff2in1_mm' / '.mim'
        shutil.rmtree(target, ignore_errors=True)  # an older build may have left more
        for folder in SHIPPED:
            if (ROOT / folder).is_dir():
                shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns(*NOT_SHIPPED))


def version() -> str:
    scope = {}
    exec((ROOT / 'diff2in1_mm' / 'version.py').read_text(), scope)
    return scope['__version__']


def commands() -> list[str]:
    scope = runpy.run_path(str(ROOT / 'diff2in1_commands.py'))
    names = [name.removeprefix('diff2in1-') for name in scope['SCRIPTS']]
    return [f'diff2in1-{name} = diff2in1_commands:{name.replace("-", "_")}' for name in names]


def long_description() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


setup(
    name='diff2in1_mm',
    version=version(),
    description='Diff-2-in-1 for OpenMMLab: one diffusion model for dense perception and for making its training data',
    long_description=long_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='diffusion models, dense perception, semantic segmentation, synthetic data',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.10',
    py_modules=['diff2in1_commands'],
    packages=find_packages(include=['diff2in1_mm', 'diff2in1_mm.*']),
    # the small diffusion model of Rooms, and the page of diff2in1-browse
    package_data={'diff2in1_mm': ['assets/**/*', 'browse/page/*']},
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={'console_scripts': commands()},
    cmdclass={'build_py': BuildWithFolders},
    zip_safe=False,
)
