"""The authors' own model classes give the embeddings that ours give."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack import LaionClapPairFeatures, MsClapPairFeatures
from clapstack.audio import read_audio
from clapstack.datasets import load_bundled_sounds
from clapstack.encoders import load_encoder
from clapstack.encoders.clap import _msclap_2022

pytestmark = pytest.mark.reference

ATOL = 1e-5  # of a number of a unit embedding
# Inputs must differ by much more, or likeness would prove nothing.
FAR = 100 * ATOL
TEXTS = ["a dog barks", "rain falls on a tin roof while thunder rolls!", "birds sing"]
PACKAGES = {"laion": "laion_clap", "msclap": "msclap"}
CASES = {
    "laion unfused": ("laion", "tiny", False),
    "laion fused": ("laion", "tiny", True),
    "laion unfused, base": ("laion", "base", False),
    "msclap": ("msclap", "2023", None),
    "msclap of 2022": ("msclap", "2022", None),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, needs):
    """Return the kind and the file of a checkpoint of a published size."""
    kind, size, fused = CASES[request.param]
    needs(PACKAGES[kind])
    if kind == "msclap":
        file = {"2023": "msclap_file", "2022": "msclap_2022_file"}[size]
        return kind, request.getfixturevalue(file)
    return kind, request.getfixturevalue("laion_file")(size, fused=fused)


@pytest.fixture(scope="module")
def both(case, needs):
    kind, path = case
    return load_both(kind, path, needs)


def load_both(kind, checkpoint, needs):
    """Return the encoder with our classes and the one with the authors'."""
    package = PACKAGES[kind]
    needs(package)
    return [
        load_encoder(kind, checkpoint, device="cpu", backend=backend)
        for backend in ("clapstack", package)
    ]


def test_clips_are_embedded_alike(both, sweep):
    ours, theirs = both
    seconds = ours.window / ours.sample_rate
    clips = [sweep(s, ours.sample_rate) for s in (seconds / 3, 1.5 * seconds)]
    embeddings = theirs.encode_audio(clips)
    assert np.ptp(embeddings, axis=0).max() > FAR
    assert_allclose(embeddings, ours.encode_audio(clips), rtol=0, atol=ATOL)


def test_texts_are_embedded_alike(both):
    ours, theirs = both
    texts = [*TEXTS, "rain falls on a tin roof " * 20]
    embeddings = theirs.encode_text(texts)
    assert np.ptp(embeddings, axis=0).max() > FAR
    assert_allclose(embeddings, ours.encode_text(texts), rtol=0, atol=ATOL)


def test_the_models_are_the_packages(both, case):
    _, theirs = both
    tower = (
        theirs._model.audio_branch
        if case[0] == "laion"
        else theirs._model.audio_encoder.base
    )
    for module in (theirs._model, getattr(tower, "htsat", tower)):
        assert f"/{PACKAGES[case[0]]}/" in inspect.getfile(type(module))


def test_the_models_hold_the_tensors_of_the_file(both, case):
    _, theirs = both
    (official,) = torch.load(case[1], weights_only=True).values()
    held = theirs._model.state_dict()
    unused = re.compile(rf"logit_scale(_[at])?|{_msclap_2022.UNUSED.pattern}")
    names = [name for name in official if not unused.match(name)]
    assert len(names) > 50
    for name in names:
        assert_array_equal(held[name], official[name])


def test_the_fingerprint_is_the_same_and_the_identity_is_not(both):
    ours, theirs = both
    assert ours.fingerprint == theirs.fingerprint
    assert ours.identity != theirs.identity


@pytest.mark.parametrize(
    ("kind", "checkpoint"),
    [
        ("laion", "bundled:laion-unfused"),
        ("laion", "bundled:laion-fused"),
        ("msclap", "bundled:msclap"),
    ],
)
def test_trained_weights_hear_sounds_and_read_texts_alike(kind, checkpoint, needs):
    ours, theirs = load_both(kind, checkpoint, needs)
    sounds = load_bundled_sounds().drop_duplicates("class").iloc[::12]
    clips = [read_audio(path, ours.sample_rate) for path in sounds["path"]]
    clips.append(np.concatenate(clips))
    assert len(clips[-1]) > ours.window
    assert_allclose(
        theirs.encode_audio(clips), ours.encode_audio(clips), rtol=0, atol=ATOL
    )
    assert_allclose(
        theirs.encode_text(TEXTS), ours.encode_text(TEXTS), rtol=0, atol=ATOL
    )


def test_texts_may_be_padded_as_the_authors_do(needs):
    _, theirs = load_both("laion", "bundled:laion-unfused", needs)
    tokens = theirs._tokenizer(TEXTS, padding="max_length", max_length=77)
    padded = {k: torch.tensor(tokens[k]) for k in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        official = theirs._model.get_text_embedding(padded)
    assert_allclose(theirs.encode_text(TEXTS), official, rtol=0, atol=ATOL)


def test_loading_leaves_the_process_as_it_is(needs):
    needs("laion_clap")
    needs("msclap")
    code = """
import sys, warnings, torch
from clapstack.encoders import load_encoder
from clapstack.encoders.clap import _msclap_2022
state = torch.get_rng_state()
load_encoder("laion", "bundled:laion-fused", device="cpu", backend="laion_clap")
load_encoder("msclap", "bundled:msclap", device="cpu", backend="msclap")
assert ("ignore", None, Warning, None, 0) not in warnings.filters
assert torch.equal(torch.get_rng_state(), state)
assert not {"laion_clap", "clap_module", "msclap", "torchaudio"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-W", "default", "-c", code], check=True)


@pytest.mark.parametrize(
    ("features", "checkpoint", "backend"),
    [
        (LaionClapPairFeatures, "bundled:laion-unfused", "laion_clap"),
        (MsClapPairFeatures, "bundled:msclap", "msclap"),
    ],
)
def test_a_transformer_takes_the_backend(features, checkpoint, backend, needs, sweep):
    needs(backend)
    pairs = pd.DataFrame({"audio": [(sweep(2, 16_000), 16_000)], "text": TEXTS[:1]})
    estimator = features(checkpoint, device="cpu", cache=None)
    columns = estimator.fit_transform(pairs)
    estimator.set_params(backend=backend)
    assert_allclose(estimator.transform(pairs), columns, rtol=0, atol=ATOL)
