# make test | make train | make rooms-model | make help
PYTHON ?= python3
CONFIG ?= diff2in1_rooms.py
ARGS ?=
WORKERS ?= logical
# what `make train` does without: a build of mmcv's operators
ready = $(or $(OPS),ready)
PY := .venv/bin/python

.PHONY: help set-up lint test train rooms-model clean

help:
	@echo 'make set-up   environment in .venv (mmcv is compiled once; its wheel is kept in ~/.cache)'
	@echo 'make lint     set-up, then ruff and mypy'
	@echo 'make test     set-up, lint, then the tests       (ARGS="tests/test_utils/test_requirements.py -k ops"; ARGS=--gpu on a GPU)'
	@echo 'make train    set-up, without compiling mmcv, then the main job    (CONFIG=$(CONFIG), ARGS="--resume")'
	@echo 'make rooms-model  trains the diffusion model of Rooms that the package ships again (hours; its last stage wants a GPU)'
	@echo 'make clean    removes builds and caches of this checkout, not .venv'
	@echo 'Variables: PYTHON=python3.11  STACK=default|oldest|newest|onedl  TORCH=torch==2.11.0 or TORCH=system'
	@echo '           OPS=auto|cpu|cuda|ready|none  MMCV_INDEX=page of prebuilt wheels  MAX_JOBS=2'

set-up:
	@$(PYTHON) tools/set_up.py

# processes rather than threads: small models gain nothing from threads
lint: set-up
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(PY) -m mypy

test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile $(ARGS)

# what the options are is told without a set-up: the script needs no library for it
ifneq ($(filter -h --help,$(ARGS)),)
train:
	@PYTHONPATH=$(CURDIR) $(PYTHON) tools/train.py --help
else
train:
	@OPS=$(ready) $(PYTHON) tools/set_up.py
	$(PY) tools/train.py configs/$(CONFIG) $(ARGS)
endif

# The diffusion model of the package, again. Its first two stages are made for two processes on CPUs (two
# hours of two cores with bfloat16 units, more without); the last takes minutes on a GPU, else 5 to 14 hours.
# To begin anew, remove work_dirs/diffusion_rooms, work_dirs/diffusion_rooms_decoder and ..._gpu.
rooms-model: set-up
	for config in diffusion_rooms diffusion_rooms_decoder; do \
		CUDA_VISIBLE_DEVICES= $(PY) -m torch.distributed.run --nproc_per_node=2 tools/train_diffusion.py \
			configs/$$config.py --amp --launcher pytorch --resume || exit 1; \
	done
	$(PY) tools/train_diffusion.py configs/diffusion_rooms_gpu.py --amp --resume
	$(PY) -m diff2in1_mm.pretraining.embed \
		work_dirs/diffusion_rooms_gpu work_dirs/diffusion_rooms_decoder work_dirs/diffusion_rooms

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
