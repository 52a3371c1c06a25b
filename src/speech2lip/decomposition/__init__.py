"""VIDEO -> FOOTAGE: hold the head still, so that what moves is the lips."""
