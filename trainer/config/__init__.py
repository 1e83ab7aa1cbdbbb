"""The config of a run: its sections, their checks across fields, files and overrides."""
