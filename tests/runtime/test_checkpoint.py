"""A step counts only when every byte is what was written; what was not written whole is swept
away.
"""

from __future__ import annotations

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from socialrec_jax.errors import DamagedFile, DiskError
from socialrec_jax.runtime import parallel
from socialrec_jax.runtime.checkpoint import Checkpoints


def state_of(step: int):
    return parallel.replicate(
        {"params": {"w": np.full((300, 8), step, np.float32)}, "step": np.int32(step)}
    )


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "stage")
    for step in (1, 2, 3, 4):
        checkpoints.save(step, state_of(step), {"best_step": 1}, keep={1})
    return checkpoints


def flip_a_bit(folder, name="state"):
    file = max(
        (f for f in (folder / name).rglob("*") if f.is_file()), key=lambda f: f.stat().st_size
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)


def test_the_newest_two_and_the_best_are_kept(saved):
    assert saved.steps() == [1, 3, 4]
    assert saved.best_step() == 1
    assert float(saved.restore_parts(1, "params")["params"]["w"][0, 0]) == 1


def test_restore_gives_the_newest_with_its_progress(saved):
    state, progress = saved.restore(state_of(0))
    assert int(state["step"]) == 4
    assert progress == {"best_step": 1}
    np.testing.assert_array_equal(state["params"]["w"], np.full((300, 8), 4))


def test_a_flipped_bit_is_found_and_the_step_before_is_used(saved, caplog):
    flip_a_bit(saved.folder / "4")
    state, _ = saved.restore(state_of(0))
    assert int(state["step"]) == 3
    assert "damaged" in caplog.text


def test_nothing_whole_is_an_error_not_a_fresh_start(saved):
    for step in saved.steps():
        flip_a_bit(saved.folder / str(step))
    with pytest.raises(DiskError, match="no whole checkpoint"):
        saved.restore(state_of(0))
    with pytest.raises(DiskError, match="damaged"):
        saved.restore_parts(1, "params")


def test_a_missing_file_damages_a_step(saved):
    shutil.rmtree(saved.folder / "4" / "state" / "d")
    assert saved.damaged_file(4) is not None


def test_a_step_without_manifest_is_swept_at_the_next_save(saved):
    (saved.folder / "4" / "MANIFEST.json").unlink()
    (saved.folder / "9.orbax-checkpoint-tmp").mkdir()
    assert saved.steps() == [1, 3]
    saved.save(4, state_of(44), {}, keep=set())
    assert sorted(path.name for path in saved.folder.iterdir()) == ["3", "4"]
    assert int(saved.restore(state_of(0))[0]["step"]) == 44


def test_without_room_nothing_is_lost(saved, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(DiskError, match="MB free"):
        saved.save(5, state_of(5), {}, keep=set())
    assert saved.steps() == [1, 3, 4]


def test_a_fresh_folder_has_nothing(tmp_path):
    empty = Checkpoints(tmp_path / "none")
    assert empty.steps() == []
    assert empty.restore(state_of(0)) is None
    assert empty.best_step() is None


def test_a_state_is_saved_as_it_was_although_the_next_step_reuses_its_memory(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    step = parallel.scan_steps(lambda s, _, b: (s + parallel.sum_over_devices(b), b))
    state = parallel.replicate(jnp.ones((1000,)))
    checkpoints.save(1, {"x": state}, {}, keep=set())
    step(state, np.ones((parallel.num_local_devices(), 3, 1000), np.float32))
    np.testing.assert_array_equal(
        checkpoints.restore({"x": parallel.replicate(jnp.zeros(1000))})[0]["x"], np.ones(1000)
    )


def test_a_damaged_step_is_written_again(saved):
    flip_a_bit(saved.folder / "4")
    with pytest.raises(DamagedFile, match="is damaged"):
        saved.newest_progress()
    saved.save(4, state_of(44), {"best_step": 4}, keep={4})
    assert saved.steps() == [3, 4]
    assert int(saved.restore(state_of(0))[0]["step"]) == 44
    assert saved.best_step() == 4


def test_damaged_later_steps_go_when_an_earlier_one_is_saved(saved):
    flip_a_bit(saved.folder / "4")
    saved._delete(3)
    saved.save(3, state_of(3), {"best_step": 3}, keep={3})
    assert saved.steps() == [1, 3]
