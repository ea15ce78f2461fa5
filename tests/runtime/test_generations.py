"""What says which generation serves is either what was written, or named as damaged."""

from __future__ import annotations

import json

import pytest

from socialrec_jax.errors import DamagedFile
from socialrec_jax.runtime.generations import Generations, current_generation, number_of
from socialrec_jax.runtime.run import RunDirectory
from tests import damage

BYTES = (damage.cut, damage.emptied, damage.one_byte, damage.header, damage.objects)


@pytest.fixture
def generations(tmp_path):
    """A run of two finished generations, of which the second serves."""
    generations = Generations(RunDirectory(tmp_path))
    for number in (1, 2):
        assert generations.open_next(f"key {number}") == number
        generations.finish(number, {"parent": number - 1, "learnt": number})
        generations.promote(number)
    return generations


def test_records_are_what_was_written(generations):
    assert generations.current == 2
    assert generations.record(2) == {"parent": 1, "learnt": 2}
    assert generations.roll_back() == 1
    assert generations.current == 1


@pytest.mark.parametrize("kind", [*BYTES, damage.removed])
@pytest.mark.parametrize("name", ["generation.json", "generations/2/update.json"])
def test_a_damaged_record_is_named(generations, name, kind):
    file = generations.run.path / name
    before = file.read_bytes()
    kind(file, file)
    # The last byte is the end of the last line.
    said = damage.named_by(generations.roll_back)
    if said is None:
        assert json.loads(file.read_bytes()) == json.loads(before)
    else:
        assert f"{file} is damaged" in said
        assert "write" in said


def test_another_number_is_not_believed(generations):
    file = generations.run.path / "generation.json"
    file.write_text(file.read_text().replace('"current": 2', '"current": 1'))
    with pytest.raises(DamagedFile, match="not what was written"):
        generations.roll_back()
    # By hand, without a checksum: what the advice says.
    file.write_text('{"current": 1}')
    assert generations.current == 1


def test_the_generation_that_serves_is_never_made_anew(generations):
    (generations.folder / "2" / "update.json").unlink()
    assert generations.open_next("another key") == 3
    assert (generations.folder / "2" / "key").read_text() == "key 2"


def test_before_the_first_append_is_finished_the_run_itself_serves(tmp_path):
    generations = Generations(RunDirectory(tmp_path))
    assert generations.current == 0
    generations.open_next("key")
    # A kill between the two last steps of an append.
    generations.finish(1, {"parent": 0})
    assert generations.current == 0


def test_a_folder_says_which_generation_it_is(generations, tmp_path):
    assert number_of(current_generation(tmp_path)) == 2
    generations.promote(0)
    assert number_of(current_generation(tmp_path)) == 0
    assert number_of(current_generation(tmp_path / "generations" / "1")) == 1
