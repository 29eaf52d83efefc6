"""Stand-ins for encoders, built from notes next to the store."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

import clapstack
from clapstack import LaionClapPairFeatures, MsClapPairFeatures
from clapstack.encoders import clear_encoders
from clapstack.exceptions import FingerprintMismatchError
from tests.checkpoints import edit_json, edit_tensors

BUNDLED = Path(clapstack.__file__).parent / "bundled" / "laion-unfused"
MSCLAP = BUNDLED.parent / "msclap"
MERGES = json.loads((BUNDLED / "tokenizer.json").read_text())["model"]["merges"]


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Pretend that files were written an hour ago."""
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)


@pytest.fixture
def pairs():
    noise = np.random.default_rng(0).normal(size=(2, 48000)).astype(np.float32) / 10
    clips = [(clip, 48000) for clip in noise]
    return pd.DataFrame({"audio": clips, "text": ["rain", "a dog barks"]})


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(BUNDLED, tmp_path / "checkpoint")


@pytest.fixture
def loads(caplog):
    """Return a function that counts the encoders loaded since its last call."""
    caplog.set_level(logging.INFO, logger="clapstack")
    clear_encoders()

    def loads():
        count = sum("Loaded" in record.message for record in caplog.records)
        caplog.clear()
        clear_encoders()
        return count

    return loads


def test_what_is_stored_needs_no_weights(checkpoint, pairs, tmp_path, loads):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store")
    first = features.fit_transform(pairs)
    assert loads() == 1
    again = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    assert_array_equal(again.transform(pairs[::-1]), first[::-1])
    assert again.fingerprint_ == features.fingerprint_
    assert loads() == 0


def test_what_is_not_stored_is_encoded(checkpoint, pairs, tmp_path, loads):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    features.transform(pairs[:1])
    loads()
    expected = LaionClapPairFeatures(checkpoint, cache=None).fit_transform(pairs)
    loads()
    assert_array_equal(features.transform(pairs), expected)
    assert loads() == 1


def test_nothing_is_noted_without_a_store(checkpoint, pairs, loads):
    for _ in range(2):
        LaionClapPairFeatures(checkpoint, cache=None).fit(pairs)
        assert loads() == 1


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_was_written_again_is_read_again(
    checkpoint, pairs, tmp_path, loads, name
):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    loads()
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content)
    features.transform(pairs)
    assert loads() == 1


def test_a_file_that_appears_is_seen(checkpoint, pairs, tmp_path, loads):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    loads()
    (checkpoint / "added_tokens.json").write_text("{}")
    features.transform(pairs)
    assert loads() == 1


def test_a_file_that_may_still_change_is_not_relied_on(
    checkpoint, pairs, tmp_path, loads, monkeypatch
):
    monkeypatch.undo()  # the copy was made just now
    for _ in range(2):
        LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
        assert loads() == 1


def test_other_rounding_is_another_encoder(checkpoint, pairs, tmp_path, loads):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    loads()
    torch.set_float32_matmul_precision("high")
    try:
        features.transform(pairs)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert loads() == 1


def test_a_wrong_note_is_an_error_once(checkpoint, pairs, tmp_path, loads):
    store = tmp_path / "store"
    LaionClapPairFeatures(checkpoint, cache=store).fit(pairs)
    loads()
    (place,) = (store / "encoders").iterdir()
    note = json.loads(place.read_text())
    facts = note["facts"]
    place.write_text(json.dumps(note).replace(facts["fingerprint"], "0" * 64))
    features = LaionClapPairFeatures(checkpoint, cache=store).fit(pairs)
    with pytest.raises(FingerprintMismatchError, match="a newer version was published"):
        features.transform(pairs)
    assert features.fit(pairs).transform(pairs).shape[0] == len(pairs)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"files": 3}',
        '{"files": {}}',
        '{"files": {}, "facts": {}}',
        '{"files": {}, "facts": []}',
        "[" * 200_000,
    ],
)
def test_a_damaged_note_is_written_again(checkpoint, pairs, tmp_path, loads, content):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    (place,) = (tmp_path / "store" / "encoders").iterdir()
    note = place.read_text()
    place.write_text(content)
    loads()
    features.fit(pairs)
    assert loads() == 1
    assert place.read_text() == note


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projection_dim", 10**9),
        ("projection_dim", -3),
        ("projection_dim", "64"),
        ("sample_rate", True),
        ("window", [1]),
        ("identity", "../../elsewhere"),
        ("fingerprint", 7),
        ("source", {}),
        ("blocks", 3),
        ("encode_text", 3),
        ("text_identity", "elsewhere"),
        ("text_identity", None),
        ("has_dense_windows", "yes"),
    ],
)
def test_a_note_of_what_no_encoder_has_is_written_again(
    checkpoint, pairs, tmp_path, loads, name, value
):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    (place,) = (tmp_path / "store" / "encoders").iterdir()
    note = place.read_text()
    content = json.loads(note)
    content["facts"][name] = value
    place.write_text(json.dumps(content))
    loads()
    features.fit(pairs)
    assert loads() == 1
    assert place.read_text() == note


@pytest.mark.parametrize("name", ["text_identity", "has_dense_windows", "window"])
def test_a_note_that_lacks_a_fact_is_written_again(
    checkpoint, pairs, tmp_path, loads, name
):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    (place,) = (tmp_path / "store" / "encoders").iterdir()
    note = place.read_text()
    content = json.loads(note)
    del content["facts"][name]
    place.write_text(json.dumps(content))
    loads()
    features.fit(pairs)
    assert loads() == 1
    assert place.read_text() == note


def test_what_is_no_note_is_not_read(checkpoint, pairs, tmp_path, loads):
    features = LaionClapPairFeatures(checkpoint, cache=tmp_path / "store").fit(pairs)
    (place,) = (tmp_path / "store" / "encoders").iterdir()
    os.truncate(place, 1 << 40)
    loads()
    features.fit(pairs)
    assert loads() == 1
    place.unlink()
    os.mkfifo(place)  # whose reader waits for a writer
    features.fit(pairs)
    assert loads() == 1
    place.unlink()
    place.symlink_to(tmp_path / "diary")
    (tmp_path / "diary").write_text("Dear diary")
    features.fit(pairs)
    assert loads() == 1
    assert (tmp_path / "diary").read_text() == "Dear diary"


@pytest.mark.slow
def test_two_installations_share_no_note(tmp_path):
    package = Path(clapstack.__file__).parent
    script = (
        "import sys\n"
        "import pandas as pd\n"
        "from clapstack import LaionClapPairFeatures\n"
        "X = pd.DataFrame({'audio': ['a'], 'text': ['a']})\n"
        "print(LaionClapPairFeatures(cache=sys.argv[1]).set_params(\n"
        "    checkpoint='bundled:laion-unfused').fit(X).fingerprint_)\n"
    )
    found = []
    for name in ("one", "other"):
        shutil.copytree(
            package,
            tmp_path / name / "clapstack",
            ignore=shutil.ignore_patterns("sounds", "msclap", "laion-fused"),
        )
    edit_tensors(
        tmp_path / "other" / "clapstack" / "bundled" / "laion-unfused",
        lambda tensors: tensors["audio_projection.linear1.weight"].add_(1),
    )
    time.sleep(2.1)  # until files count as settled, in processes of their own
    for name in ("one", "other"):
        env = {**os.environ, "PYTHONPATH": str(tmp_path / name)}
        run = [sys.executable, "-c", script, str(tmp_path / "store")]
        found.append(subprocess.check_output(run, env=env, cwd=tmp_path, text=True))
    assert found[0] != found[1]


def test_texts_are_encoded_again_under_another_tokenizer(checkpoint, pairs, tmp_path):
    features = LaionClapPairFeatures(
        checkpoint, blocks=("audio", "text"), cache=tmp_path / "store"
    )
    before = features.fit_transform(pairs)
    cut_merges(checkpoint / "tokenizer.json")
    clear_encoders()
    fingerprint = features.fingerprint_
    after = features.fit_transform(pairs)
    assert features.fingerprint_ == fingerprint
    expected = features.set_params(cache=None).fit_transform(pairs)
    assert_array_equal(after, expected)
    assert abs(after - before).max() > 1e-3


def cut_merges(path):
    edit_json(path, lambda content: content["model"].update(merges=MERGES[:5]))


class TestTokenizerOfTheHub:
    """A file of weights without a tokenizer uses the one in the hub's cache."""

    @pytest.fixture
    def weights(self, tmp_path, monkeypatch):
        (tmp_path / "alone" / "tokenizer").mkdir(parents=True)
        self.publish(tmp_path / "hub", "0")
        monkeypatch.setattr(
            "huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub")
        )
        return shutil.copy(MSCLAP / "CLAP_weights_2023.pth", tmp_path / "alone")

    def publish(self, hub, commit, **swapped):
        folder = hub / "models--openai-community--gpt2"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(commit * 40)
        self.copy(folder / "snapshots" / (commit * 40), **swapped)

    def copy(self, folder, **swapped):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(MSCLAP / "tokenizer_config.json", folder)
        tokenizer = json.loads((MSCLAP / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary.update({new: vocabulary[old] for old, new in swapped.items()})
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    def fingerprint(self, weights, pairs, store):
        clear_encoders()
        return MsClapPairFeatures(weights, cache=store).fit(pairs).fingerprint_

    def test_a_moved_tokenizer_is_seen(self, weights, pairs, tmp_path):
        before = self.fingerprint(weights, pairs, tmp_path / "store")
        self.publish(tmp_path / "hub", "1", a="b", b="a")
        assert self.fingerprint(weights, pairs, tmp_path / "store") != before

    def test_a_tokenizer_added_next_to_the_weights_is_seen(
        self, weights, pairs, tmp_path
    ):
        before = self.fingerprint(weights, pairs, tmp_path / "store")
        self.copy(tmp_path / "alone" / "tokenizer", a="b", b="a")
        assert self.fingerprint(weights, pairs, tmp_path / "store") != before

    def test_a_tokenizer_that_appears_just_now_is_seen(self, weights, pairs, tmp_path):
        hub = tmp_path / "hub"
        new = hub / "models--openai-community--gpt2"
        new.rename(hub / "models--gpt2")  # its id of before
        before = self.fingerprint(weights, pairs, tmp_path / "store")
        self.publish(hub, "1", a="b", b="a")
        for place in (new / "refs", new / "refs" / "main"):
            os.utime(place, ns=(time.time_ns(),) * 2)
        assert self.fingerprint(weights, pairs, tmp_path / "store") != before

    def test_a_tokenizer_of_another_cache_is_another(
        self, weights, pairs, tmp_path, monkeypatch
    ):
        before = self.fingerprint(weights, pairs, tmp_path / "store")
        self.publish(tmp_path / "other", "1", a="b", b="a")
        # As in a process where HF_HOME was set after its client had read it.
        monkeypatch.setattr(
            "huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other")
        )
        assert self.fingerprint(weights, pairs, tmp_path / "store") != before


@pytest.mark.slow
def test_a_stored_table_loads_no_torch(tmp_path):
    script = (
        "import sys\n"
        "import pandas as pd\n"
        "from clapstack import EventFeatures, make_clap_stack\n"
        "from clapstack.datasets import load_bundled_sounds\n"
        "sounds = load_bundled_sounds()[:4]\n"
        "X = pd.DataFrame({'audio': sounds['path'], 'text': sounds['words']})\n"
        "pipe = make_clap_stack('bundled', cache=sys.argv[1])[0].fit(X)\n"
        "pipe.transform(X)\n"
        "EventFeatures(pipe, hop=2.0).fit(X).transform(X)\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    run = [sys.executable, "-c", script, str(tmp_path)]
    said = [
        subprocess.run(run, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said == ["True True\n", "False False\n"]
