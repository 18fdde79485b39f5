"""The main job before your eyes: python -m dev.demo."""
