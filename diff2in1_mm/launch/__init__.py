"""How a run is started: commands, configs, processes."""
