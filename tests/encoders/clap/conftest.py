from __future__ import annotations

import pytest

from tests.checkpoints import make_laion_file


@pytest.fixture(scope="session")
def laion_files(tmp_path_factory, laion_official):
    """Training checkpoints, in folders with a tokenizer."""
    return {
        fused: make_laion_file(tmp_path_factory.mktemp("laion") / "best.pt", official)
        for fused, official in laion_official.items()
    }
