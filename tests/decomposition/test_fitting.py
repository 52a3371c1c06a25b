import numpy as np

from speech2lip.decomposition.fitting import _nearest


def test_unseen_frames_take_the_nearest_seen_one() -> None:
    seen = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1, 0], bool)
    assert _nearest(seen).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert _nearest(np.array([0, 1, 0], bool)).tolist() == [0, 0, 0]
