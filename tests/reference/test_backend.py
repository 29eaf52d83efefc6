"""Choosing the authors' packages, whether they are installed or not."""

from __future__ import annotations

import sys

import pytest

from clapstack.encoders import load_encoder
from clapstack.encoders.clap._reference import import_part

CHECKPOINTS = [
    ("laion", "bundled:laion-unfused", "laion_clap"),
    ("msclap", "bundled:msclap", "msclap"),
]


@pytest.mark.parametrize(("kind", "checkpoint", "backend"), CHECKPOINTS)
def test_a_missing_package_is_named_with_the_extra(
    kind, checkpoint, backend, monkeypatch
):
    monkeypatch.setitem(sys.modules, backend, None)
    message = rf"backend='{backend}' needs {backend}\. .*clapstack\[reference\]"
    with pytest.raises(ImportError, match=message):
        load_encoder(kind, checkpoint, backend=backend)


def test_a_package_that_does_not_load_is_named_with_its_fault(tmp_path, monkeypatch):
    (tmp_path / "broken" / "part").mkdir(parents=True)
    (tmp_path / "broken" / "__init__.py").write_text("raise SystemExit")
    fault = "operator torchvision::nms does not exist"
    (tmp_path / "broken" / "part" / "model.py").write_text(
        f"raise RuntimeError('{fault}')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    message = (
        rf"backend='broken' needs .* cannot be imported: {fault}\. .*\[reference\]"
    )
    with pytest.raises(ImportError, match=message):
        import_part("broken", "part.model")


def test_a_part_is_imported_without_what_stands_above_it(tmp_path, monkeypatch):
    (tmp_path / "eager" / "part").mkdir(parents=True)
    for folder in ("eager", "eager/part"):
        (tmp_path / folder / "__init__.py").write_text("raise SystemExit")
    (tmp_path / "eager" / "part" / "one.py").write_text("from .two import name")
    (tmp_path / "eager" / "part" / "two.py").write_text("name = 'two'")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_part("eager", "part.one").name == "two"
    assert "eager" not in sys.modules


@pytest.mark.parametrize(("kind", "checkpoint", "backend"), CHECKPOINTS)
def test_a_backend_runs_in_float32(kind, checkpoint, backend):
    with pytest.raises(ValueError, match=r"requires dtype='float32'; got 'bfloat16'"):
        load_encoder(kind, checkpoint, backend=backend, dtype="bfloat16")


def test_the_backend_of_another_kind_is_refused():
    message = r"backend must be one of \['clapstack', 'laion_clap'\]; got 'msclap'"
    with pytest.raises(ValueError, match=message):
        load_encoder("laion", "bundled:laion-unfused", backend="msclap")
