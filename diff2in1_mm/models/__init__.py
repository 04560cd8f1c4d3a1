"""What a config builds: backbones, necks, heads and losses."""
