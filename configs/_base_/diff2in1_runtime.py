# What every Diff-2-in-1 config shares: MMSegmentation's run time, and checkpoints that a killed run
# can resume from.
_base_ = ['mmseg::_base_/default_runtime.py']

custom_imports = dict(imports=['diff2in1_mm'], allow_failed_imports=False)
# Data order and noise derive from the seed; a resumed run needs a fixed one.
randomness = dict(seed=0)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=4000, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
