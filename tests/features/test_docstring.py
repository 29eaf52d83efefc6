"""Docstring blocks shared by several transformers."""

import inspect
import re
import subprocess
import sys

import pytest

from clapstack import features
from clapstack.features._docstring import documented

CLASSES = [
    thing
    for thing in map(features.__dict__.get, features.__all__)
    if hasattr(thing, "fit")
]


def test_no_docstring_is_left_with_the_name_of_a_block():
    for kind in CLASSES:
        for thing in (kind, kind.fit, kind.transform, kind.get_feature_names_out):
            assert not re.search(r"^\s*\{[\w, ]+\}$", inspect.getdoc(thing), re.M)


def test_blocks_are_indented_as_their_line_and_keep_braces_of_their_own():
    @documented(longest="a day", rows="rows")
    def crop():
        """Summary.

        {crop, verbose}
        """

    lines = inspect.getdoc(crop).splitlines()
    assert lines[2] == 'crop : {"windows", "center", "start"}, default="windows"'
    assert lines[3:5] == [
        "    How a clip longer than a day is encoded.",
        '    ``"windows"`` averages the rows of',
    ]
    assert lines[-1] == "    Whether to show progress bars."


def test_a_block_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="colour"):

        @documented()
        def paint():
            """Paint.

            {colour}
            """


@pytest.mark.slow
def test_the_package_is_imported_without_docstrings():
    code = "import clapstack; print(clapstack.WhisperFeatures.__doc__)"
    command = [sys.executable, "-OO", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "None\n"
