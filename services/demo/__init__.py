"""The main job before your eyes: python -m services.demo."""
