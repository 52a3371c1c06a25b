import struct
from pathlib import Path

import numpy as np
import pytest

from speech2lip.errors import SettingsError
from speech2lip.synthesis.recogniser import find_recogniser, read_recogniser

PHONES, STREAMS, GAUSSIANS, SIZE = 2, 3, 4, 13


def _gaussians(path: Path, values: np.ndarray) -> None:
    head = b"s3\nversion 1.0\nchksum0 yes\n      endhdr\n"
    shape = struct.pack("<4i", 0x11223344, PHONES, STREAMS, GAUSSIANS) + struct.pack("<3i", *[SIZE] * STREAMS)
    path.write_bytes(head + shape + struct.pack("<i", values.size) + values.astype("<f4").tobytes())


def _made(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write a small acoustic model, with two states more than those of the phones alone."""
    random = np.random.default_rng(0)
    means = random.normal(size=(PHONES, STREAMS, GAUSSIANS, SIZE))
    variances = random.uniform(0.5, 2.0, size=means.shape)
    kept = random.integers(0, 80, size=(STREAMS, GAUSSIANS, 3 * PHONES + 2))
    _gaussians(folder / "means", means)
    _gaussians(folder / "variances", variances)
    text = b"what this is\0"
    (folder / "sendump").write_bytes(
        struct.pack("<i", len(text))
        + text
        + struct.pack("<3i", 0, *kept.shape[1:])
        + kept.astype(np.uint8).tobytes()
    )
    return means, variances, kept


def test_what_was_written_is_read(tmp_path: Path) -> None:
    means, variances, kept = _made(tmp_path)
    found = read_recogniser(tmp_path)
    assert np.allclose(found.means, means)
    assert np.allclose(found.variances, variances)
    assert found.weights.shape == (PHONES, STREAMS, GAUSSIANS, 3)
    # The last state of the second phone is the sixth column.
    assert found.weights[1, 2, 3, 2] == pytest.approx(1.0001 ** (-1024.0 * kept[2, 3, 5]), rel=1e-4)


@pytest.mark.parametrize("name", ["means", "variances", "sendump"])
def test_a_broken_model_is_one_line(tmp_path: Path, name: str) -> None:
    _made(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SettingsError, match="acoustic model") as told:
        read_recogniser(tmp_path)
    assert "\n" not in str(told.value)
    path.unlink()
    with pytest.raises(SettingsError, match=name):
        read_recogniser(tmp_path)


def test_the_recogniser_that_is_installed_can_be_read() -> None:
    pytest.importorskip("pocketsphinx")
    found = read_recogniser(find_recogniser())
    assert found.means.shape == found.variances.shape == (42, 3, 128, 13)
    assert found.weights.sum(2).min() > 0.9
    assert found.weights.sum(2).max() < 1.02
