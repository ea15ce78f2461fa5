"""A file is the old one or the whole new one, and nothing else stays beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from socialrec_jax.files import replacing, write_atomically


def test_what_a_killed_process_left_goes_and_what_is_written_now_stays(tmp_path):
    file = tmp_path / "out[1].parquet"
    (tmp_path / ".out[1].parquet.killed.parquet").touch()
    with replacing(file) as first:
        assert [path.name for path in tmp_path.iterdir()] == [first.name]
        with replacing(file) as second:
            second.write_text("second")
            assert first.exists(), "its process lives"
        first.write_text("first")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "first"


def write_half(file: Path) -> None:
    with replacing(file) as temporary:
        temporary.write_text("half")
        raise ValueError("no")


def test_an_error_leaves_the_former_file(tmp_path):
    write_atomically(tmp_path / "file", "former")
    with pytest.raises(ValueError, match="no"):
        write_half(tmp_path / "file")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["former"]
