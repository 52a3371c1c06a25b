"""What a picture, a mouth and a movement are measured by."""
