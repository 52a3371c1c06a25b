import numpy as np
import pytest

from speech2lip.config import PrepareSettings
from speech2lip.decomposition import head_pose as fitting
from speech2lip.decomposition.head_pose import _nearest, fit_poses
from tests.evaluation.made_footage import made_take


def test_unseen_frames_take_the_nearest_seen_one() -> None:
    seen = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1, 0], bool)
    assert _nearest(seen).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert _nearest(np.array([0, 1, 0], bool)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("fps", "sigma"), [("25", 0.7), ("50", 1.4), ("60", 1.68), ("30000/1001", 0.83916)])
def test_head_poses_are_smoothed_over_the_same_time_at_any_rate(
    fps: str, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, used = made_take("a", frames=6), list[float]()

    def smooth(poses: object, _: object, *, sigma_frames: float) -> object:
        used.append(sigma_frames)
        return poses

    monkeypatch.setattr(fitting, "smooth_head_poses", smooth)
    track = {
        "landmarks": take.landmarks,
        "seen": np.ones(6, bool),
        "width": take.width,
        "height": take.height,
        "fps": fps,
    }
    fit_poses({"a": track}, PrepareSettings())
    assert used == [pytest.approx(sigma, rel=1e-4)]
    assert fps != "25" or used == [0.7]
