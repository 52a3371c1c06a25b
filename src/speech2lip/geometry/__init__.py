"""Cameras and mappings: nothing here knows of faces."""
