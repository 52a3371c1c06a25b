"""Heads carried to new poses, against the presenter."""
