"""Pretrained models: diffusers folders, hub ids, single files, the embedded one."""
