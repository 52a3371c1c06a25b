"""Which frame of which base video is spoken over, with which head pose."""
