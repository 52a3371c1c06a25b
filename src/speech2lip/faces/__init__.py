"""Faces in pictures: where they are, and their landmarks."""
