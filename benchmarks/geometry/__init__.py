"""Head poses and depth against the presenter, whose truth is known, and against real footage."""
