"""Windows of ``mode='slide'`` in batches."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

__all__ = ['BatchedWindowsHook']


@HOOKS.register_module()
class BatchedWindowsHook(Hook):
    """Validates and tests stock segmentors on a ``DiffusionBackbone`` by several windows in a pass.

    Our own tools give it to every config that needs it; for MMSegmentation's ``tools/train.py`` and ``tools/test.py`` a
    config names it in ``custom_hooks``. See :func:`diff2in1_mm.models.segmentors.windows.batch_windows`.
    """

    def before_val(self, runner) -> None:
        """Of the runner's model, which some runners build after all hooks."""
        _batch_windows(runner)

    def before_test(self, runner) -> None:
        """As :meth:`before_val`."""
        _batch_windows(runner)


def _batch_windows(runner) -> None:
    from ..models.segmentors.windows import batch_windows  # of MMSegmentation, which a detector does without

    batch_windows(runner.model)
