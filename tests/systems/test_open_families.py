"""Families of one's own, and the list of published checkpoints."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import clapstack.features
from clapstack import (
    BeatsFeatures,
    PairFeatures,
    PrecomputedPairFeatures,
    make_clap_stack,
)
from clapstack.encoders import kind_of
from clapstack.exceptions import CheckpointError
from clapstack.features import features_for
from clapstack.systems import (
    FAMILIES,
    has_seen_ratings,
    list_checkpoints,
    make_union,
)
from tests.checkpoints import make_laion_file, make_laion_official


class Lengths:
    """Compares how long a clip is with how long its text is."""

    sample_rate = 8_000
    identity = "lengths-1"

    def encode_audio(self, waveforms):
        return np.array([[len(w) / 8_000, 1.0] for w in waveforms])

    def encode_text(self, texts):
        return np.array([[len(text) / 10, 1.0] for text in texts])


def test_every_checkpoint_finds_its_transformer(checkpoints):
    for name, place in checkpoints.items():
        if place is not None:
            made = features_for(place, device="cpu")
            assert type(made).__name__ == FAMILIES[name].transformer, name
            assert (made.checkpoint, made.device) == (place, "cpu")


def test_files_of_the_authors_find_their_transformer(tmp_path):
    path = make_laion_file(tmp_path / "any.pt", make_laion_official(False))
    assert kind_of(path) == "laion"
    bundled = Path(clapstack.__file__).parent / "bundled" / "msclap"
    file = shutil.copy(bundled / "CLAP_weights_2023.pth", tmp_path / "mine.bin")
    assert kind_of(file) == "msclap"


def test_a_checkpoint_of_an_unknown_kind_leads_to_the_guide(tmp_path):
    torch.save({"some.weight": torch.zeros(2)}, tmp_path / "x.pt")
    (tmp_path / "config.json").write_text('{"model_type": "dasheng-of-mine"}')
    for place in (tmp_path / "x.pt", tmp_path):
        with pytest.raises(
            CheckpointError, match=r"not a known kind .* 'Adding an encoder' of"
        ):
            features_for(place)


def test_places_without_a_checkpoint_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere' is not a file, not a folder"):
        kind_of(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: .* of weights\.$"):
        kind_of(tmp_path)
    (tmp_path / "model.pt").touch()
    with pytest.raises(CheckpointError, match=r"of weights, such as .*model\.pt\.$"):
        kind_of(tmp_path)


def test_a_stack_of_families_of_ones_own(challenge, cache, tiny_checkpoints):
    train, test = challenge
    families = {
        "mine": PairFeatures(Lengths(), cache=cache),
        "fused": "bundled:laion-fused",
        "msclap": None,
        "sounds": tiny_checkpoints["beats"],
    }
    made = {"families": families, "cache": cache, "device": "cpu"}
    pipeline = make_clap_stack("bundled", **made)
    names = [name for name, _ in pipeline["features"].transformer_list]
    assert names == list(families)
    scores = pipeline.fit(train.X, train.y).predict(test.X)
    assert np.isfinite(scores).all()
    assert repr(clone(pipeline)) == repr(make_clap_stack("bundled", **made))


def test_published_checkpoints_are_known_without_their_files():
    union = make_union(
        "published", {"a": "microsoft/msclap", "b": "laion/larger_clap_music"}
    )
    kinds = [type(made).__name__ for _, made in union.transformer_list]
    assert kinds == ["MsClapPairFeatures", "LaionClapPairFeatures"]


def test_blocks_are_set_on_a_copy():
    mine = PairFeatures(Lengths())
    union = make_union("bundled", {"mine": mine}, ["cosine"])
    assert union.transformer_list[0][1].blocks == ("cosine",) != mine.blocks


def test_every_family_goes_into_a_stack_by_its_name():
    union = make_clap_stack(families=["human_clap_wsce_mae", "m2d_clap_20ms"])[
        "features"
    ]
    assert [made.checkpoint for _, made in union.transformer_list] == [
        "sarulab-speech/human-clap-wsce-mae",
        "m2d_clap_vit_base-80x1001p80x2p16kpBpTI-2025/checkpoint-30.pth",
    ]


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (["laion"], r"unknown families \['laion'\]; there are .* Map any other name"),
        ({"mine": None}, r"unknown families \['mine'\]"),
        ({}, r"unknown families \[\]; there are"),
        ({"a__b": "bundled:msclap"}, r"got 'a__b'.*must not contain '__'"),
        (
            {"cross": "bundled:msclap"},
            r"got 'cross': .* contain '__' or be one of 'cross', ",
        ),
        ({"kernel": "bundled:msclap"}, r"got 'kernel': .* be one of .*'kernel', "),
        ({"n_jobs": "bundled:msclap"}, r"got 'n_jobs': .* be one of .*'n_jobs', "),
        ({"mine": PairFeatures}, r"such as PairFeatures\(your_encoder\); got 'mine'"),
        ("msclap", r"must be a list of names; got 'msclap'\. Pass \['msclap'\]"),
        ({"mine": 3}, r"such as PairFeatures\(your_encoder\); got 'mine': 3"),
        ({"mine": Lengths()}, r"such as PairFeatures\(your_encoder\); got 'mine'"),
    ],
)
def test_families_that_are_none_are_refused(families, message):
    with pytest.raises(ValueError, match=message):
        make_clap_stack(families=families)


def test_weights_of_ones_own_for_the_logits_that_join_are_taken():
    families = {"msclap": None, "beats": BeatsFeatures("mine.pt")}
    union = make_clap_stack("bundled", families=families, beats=True)["features"]
    places = [made.checkpoint for _, made in union.transformer_list]
    assert places == ["bundled:msclap", "mine.pt"]


def test_a_file_of_a_folder_leads_to_the_folder(checkpoints):
    folder = Path(checkpoints["laion_larger_general"])
    with pytest.raises(CheckpointError, match=r"not a known kind .* Pass its folder, "):
        kind_of(folder / "model.safetensors")


def test_a_folder_for_a_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .* is a folder\)"):
        FAMILIES["mga_clap"].make(tmp_path).fit([["a.wav", "a dog"]])


def test_embeddings_that_exist_are_a_family():
    made = PrecomputedPairFeatures({"a": np.ones(2)}, {"b": np.ones(2)})
    assert make_union("bundled", {"mine": made}).transformer_list == [("mine", made)]


def test_the_list_has_what_is_known_of_every_checkpoint():
    table = list_checkpoints()
    assert list(table.columns[:3]) == ["name", "transformer", "checkpoint"]
    assert table["name"].is_unique
    assert table["checkpoint"].is_unique
    for name in table["transformer"].dropna():
        assert hasattr(clapstack.features, name)
    assert set(table.dropna(subset="transformer")["name"]) == set(FAMILIES)
    assert table["sample_rate"].between(16_000, 48_000).all()
    assert table.loc[table["seen_ratings"], "name"].str.contains("human|mos").all()
    assert table["seen_ratings"].sum() == 8


def test_the_list_says_what_is_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert not list_checkpoints()["present"].any()
    (tmp_path / FAMILIES["beats"].published).write_bytes(b"")
    commit = "0" * 40
    for repository, file in (
        ("microsoft--msclap", "CLAP_weights_2023.pth"),
        ("laion--clap-htsat-fused", "model.safetensors"),
        ("lukewys--laion_clap", "630k-audioset-best.pt"),
        ("laion--clap-htsat-unfused", "config.json"),
    ):
        folder = tmp_path / "hub" / f"models--{repository}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / file).write_bytes(b"")
    here = list_checkpoints().query("present")["name"]
    assert set(here) == {"beats", "msclap", "laion_fused", "laion_630k"}


@pytest.mark.parametrize(
    ("checkpoint", "seen"),
    [
        ("sarulab-speech/human-clap-mse", True),
        ("/data/Human-CLAP-wsce-mae/model.safetensors", True),
        ("hub/models--sarulab-speech--human-clap-mae/snapshots/0", True),
        ("laion/clap-htsat-unfused", False),
        ("human-clap-mse-of-another-kind", False),
        ("", False),
    ],
)
def test_checkpoints_that_have_seen_ratings_are_known_by_name(checkpoint, seen):
    assert has_seen_ratings(checkpoint) == seen
