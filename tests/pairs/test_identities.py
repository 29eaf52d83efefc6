"""Identities of clips, texts and groups."""

import os
import shutil

import numpy as np
import pytest
import soundfile as sf

from clapstack.exceptions import AudioError
from clapstack.pairs import clip_identity, group_identity, text_identity


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, np.linspace(-0.5, 0.5, 800), 8_000)
    return path


def test_a_clip_is_identified_by_its_content(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.wav").symlink_to(clip)
    shutil.copy(clip, tmp_path / "copy.wav")
    names = ["a.wav", "./a.wav", "../" + tmp_path.name + "/a.wav", clip, str(clip)]
    assert len({clip_identity(name) for name in [*names, "link.wav", "copy.wav"]}) == 1
    sf.write(tmp_path / "b.wav", np.linspace(-0.5, 0.4, 800), 8_000)
    assert clip_identity("b.wav") != clip_identity("a.wav")


def test_an_unreadable_clip_is_identified_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert clip_identity("./no.wav") == os.path.join(os.path.realpath("."), "no.wav")
    assert clip_identity("a\0.wav").endswith("a\0.wav")
    with pytest.raises(AudioError):
        clip_identity(None)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("a dog", "a dog "),
        ("a dog", " a  dog"),
        ("a dog", "a\tdog\n"),
        ("a dog", "a\u00a0dog"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_texts_that_listeners_cannot_distinguish_are_one(text, other):
    assert text_identity(text) == text_identity(other)


@pytest.mark.parametrize("other", ["A dog", "a dog.", "adog", "a dög"])
def test_other_texts_are_others(other):
    assert text_identity("a dog") != text_identity(other)


@pytest.mark.parametrize(
    "cells", [[1, 1.0, "1"], ["a", "a "], ["None"], [True, "True"]]
)
def test_groups_of_one_name_are_one(cells):
    assert len({group_identity(cell) for cell in cells}) == 1
    assert None not in {group_identity(cell) for cell in cells}


@pytest.mark.parametrize("cell", ["", " \t", None, float("nan"), b"a", ["a"], {}])
def test_a_cell_that_names_nothing_is_no_group(cell):
    assert group_identity(cell) is None


def test_names_of_groups_keep_their_zeros():
    assert group_identity("007") != group_identity("7")
