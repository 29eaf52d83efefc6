"""Public docstrings are complete, and their examples run."""

import dataclasses
import doctest
import importlib
import inspect
from pathlib import Path

import pytest
from numpydoc.validate import validate

import clapstack

PUBLIC = [
    "clapstack",
    "clapstack.agreement",
    "clapstack.datasets",
    "clapstack.distributed",
    "clapstack.encoders",
    "clapstack.exceptions",
    "clapstack.features",
    "clapstack.inspection",
    "clapstack.integrations.torch",
    "clapstack.integrations.versa",
    "clapstack.metrics",
    "clapstack.scoring",
    "clapstack.sharing",
    "clapstack.stacking",
    "clapstack.store",
    "clapstack.streaming",
    "clapstack.systems",
]
# What is asked of a docstring, by numpydoc's codes: a summary that ends in a period,
# parameters documented one by one, in order, with types and descriptions, and returns.
CHECKED = {"GL08", "SS01", "SS03", "PR01", "PR02", "PR03", "PR04", "PR07", "RT01"}


def is_record(thing):
    """Tell named tuples and dataclasses, which document attributes instead."""
    return hasattr(thing, "_fields") or dataclasses.is_dataclass(thing)


def public_objects():
    names = set()
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                home = f"{thing.__module__}.{name}"
                if not is_record(thing):
                    names.add(home)
                if inspect.isclass(thing):
                    own = [k for k in vars(thing) if not k.startswith("_")]
                    methods = [k for k in own if inspect.isfunction(vars(thing)[k])]
                    names.update(f"{home}.{method}" for method in methods)
    return sorted(names)


def test_docstrings_are_complete():
    names = public_objects()
    assert len(names) > 50
    errors = [
        (name, *error)
        for name in names
        for error in validate(name)["errors"]
        if error[0] in CHECKED
    ]
    assert not errors


ROOT = Path(clapstack.__file__).parents[1]
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(ROOT.glob("clapstack/**/*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path))
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(name), optionflags=options)
    assert results.attempted
    assert not results.failed
