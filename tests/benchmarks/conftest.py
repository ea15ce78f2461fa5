"""What tests of the peers share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def torch():
    """PyTorch, imported late: every test process collects these files, and few need it."""
    return pytest.importorskip("torch")
