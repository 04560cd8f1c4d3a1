# What every Diff-2-in-1 detector on a CPU or one GPU shares: MMDetection's run time, iterations,
# and checkpoints that a killed run can resume from.
_base_ = ['mmdet::_base_/default_runtime.py']

custom_imports = dict(imports=['diff2in1_mm'], allow_failed_imports=False)
# Data order and noise derive from the seed; a resumed run needs a fixed one.
randomness = dict(seed=0)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    checkpoint=dict(
        _delete_=True, type='AtomicCheckpointHook', by_epoch=False, interval=200,
        max_keep_ckpts=2))
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
