"""Frames carried to new head poses."""
