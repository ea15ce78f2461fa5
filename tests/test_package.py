"""What `pip install` gives: dependencies, console scripts, and an import that takes no time."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from socialrec_jax import programs
from tests import workers

PROJECT = tomllib.loads((workers.ROOT / "pyproject.toml").read_text())


def requirements_in(file: str) -> list[str]:
    """The requirements that a file lists itself, without comments."""
    lines = (workers.ROOT / file).read_text().splitlines()
    stripped = [line.split("#")[0].strip() for line in lines]
    return [line for line in stripped if line and not line.startswith("-r")]


def test_requirements_files_equal_the_package():
    project = PROJECT["project"]
    assert requirements_in("requirements.txt") == project["dependencies"]
    extras = project["optional-dependencies"]
    assert requirements_in("requirements-dev.txt") == extras["dev"]
    assert requirements_in("requirements-spark.txt") == extras["spark"]


def test_importing_the_package_takes_no_time_and_no_jax():
    code = (
        "import sys, time; start = time.process_time(); import socialrec_jax;"
        "print(time.process_time() - start, sorted({'jax', 'duckdb', 'numpy'} & set(sys.modules)))"
    )
    # Not forked like other processes of the tests: those have imported everything before.
    seconds, modules = workers.fresh_python("-c", code).output.split(" ", 1)
    assert float(seconds) < 0.3
    assert modules.strip() == "[]"


@pytest.mark.parametrize(("script", "target"), sorted(PROJECT["project"]["scripts"].items()))
def test_console_scripts_answer(script, target, monkeypatch, capsys):
    module, function = target.split(":")
    assert module == programs.__name__
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with contextlib.suppress(SystemExit):
        getattr(programs, function)()
    assert "--" in capsys.readouterr().out


def test_programs_that_a_wheel_carries_exist():
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    carried = wheel["sources"] | wheel["force-include"]
    for source, target in carried.items():
        assert (workers.ROOT / source).exists()
        assert Path(target).parent == Path("socialrec_jax/_programs")


def test_the_image_is_built_of_what_a_wheel_needs():
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = {*wheel["only-include"], *wheel["force-include"], *project["license-files"]}
    needed |= {project["readme"], "pyproject.toml", "requirements.txt"}
    lines = (workers.ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in lines if line.startswith("!")} == needed


@pytest.mark.parametrize("file", ["Dockerfile", "jobset.yaml", "service.yaml"])
def test_deployments_start_console_scripts(file):
    text = (workers.ROOT / "deploy" / file).read_text()
    started = re.findall(r"""(?:CMD|command:) \[ *"?(socialrec-[a-z]+)""", text)
    assert started
    assert set(started) <= PROJECT["project"]["scripts"].keys()
