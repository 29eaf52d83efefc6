"""Probes of scorers by edits of captions and clips."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import Pipeline

from clapstack import PrecomputedPairFeatures, Scorer
from clapstack.audio import read_audio
from clapstack.exceptions import BadPairsError
from clapstack.scoring import EDITS, probe
from clapstack.stacking import StandardizedRidge

RATE = 16_000
TEXTS = [
    "a dog barks, then rain falls",
    "A bell rings",
    "thunder and rain",
    "a dog barks before a bell rings, then rain falls",
]


class Measures(RegressorMixin, BaseEstimator):
    """A model of pairs that measures the clip or the caption."""

    def __init__(self, what="level"):
        self.what = what

    def predict(self, X):
        """Return the level in dB, the length in ms, the words, or the first one's."""
        clips = [read_audio(clip, RATE) for clip in X["audio"]]
        measured = {
            "level": lambda clip, text: 20 * np.log10(np.std(clip)),
            "length": lambda clip, text: 1000 * len(clip) / RATE,
            "words": lambda clip, text: len(text.split()),
            "rain first": lambda clip, text: text.startswith("rain"),
            "shouting": lambda clip, text: text.isupper(),
        }[self.what]
        pairs = zip(clips, X["text"], strict=True)
        return np.array([float(measured(*pair)) for pair in pairs])


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.normal(size=1600), RATE) for _ in TEXTS]
    return pd.DataFrame({"audio": clips, "text": TEXTS})


def change(probed, edit):
    return probed.set_index("edit").loc[edit, "change"]


def test_the_response_to_a_known_edit_is_measured(table):
    level = probe(Measures("level"), table)
    assert level["edit"].tolist() == list(EDITS)
    assert change(level, "level") == pytest.approx(-20, abs=1e-4)
    assert change(level, "noise") == pytest.approx(10 * np.log10(1.1), abs=0.05)
    assert (level.loc[level["kind"] != "clip", "change"] == 0).all()
    length = probe(Measures("length"), table, ["truncation", "noise"])
    assert length["change"].tolist() == [-50, 0]
    assert length["falls"].tolist() == [1, 0]
    shouting = probe(Measures("shouting"), table)
    assert change(shouting, "case") == 1
    assert shouting["change"].abs().sum() == 1


def test_edits_of_the_meaning_are_compared_with_the_reworded_caption(table):
    first = probe(Measures("rain first"), table, ["swap"])
    assert first.loc[0, ["n_pairs", "change"]].tolist() == [2, 1]
    words = probe(Measures("words"), table).set_index("edit")
    # "thunder and rain" becomes "thunder"; a rewording alone changes one caption.
    assert words.loc["drop", "n_pairs"] == 3
    assert words.loc["drop", "falls"] == 1
    assert words.loc["swap", "change"] == 0
    assert words.loc["reword", ["n_pairs", "change"]].tolist() == [2, 0]
    assert words.loc["whitespace", ["change", "falls"]].tolist() == [0, 0]


def test_draws_for_a_row_depend_only_on_the_seed(table):
    whole = probe(Measures("words"), table)
    few = probe(Measures("words"), table, ["replace", "drop"], chunk_size=1)
    same = whole.set_index("edit").loc[["replace", "drop"]].reset_index()
    pd.testing.assert_frame_equal(few, same)
    seeds = {
        tuple(probe(Measures("words"), table, ["replace"], random_state=seed)["change"])
        for seed in range(5)
    }
    assert len(seeds) > 1


def test_clauses_of_the_same_clip_are_not_added(table):
    clip = table["audio"][0]
    same = pd.DataFrame({"audio": [clip, clip], "text": ["a dog barks", "a bell"]})
    assert probe(Measures("words"), same, ["add"]).loc[0, "n_pairs"] == 0
    other = same.assign(audio=table["audio"][:2])
    added = probe(Measures("words"), other, ["add"]).loc[0]
    assert (added["n_pairs"], added["change"]) == (2, 3.5)  # "and a bell", and 4


def test_copies_of_pairs_do_not_narrow_intervals(table):
    edits = ["case", "level"]
    once = probe(Measures("level"), table, edits)
    often = probe(Measures("level"), pd.concat([table] * 4), edits)
    ends = ["falls_low", "falls_high", "low", "high"]
    pd.testing.assert_frame_equal(once[ends], often[ends])
    assert once["falls_high"].iloc[0] == pytest.approx(0.49, abs=0.01)  # 0 of 4
    assert often["n_pairs"].tolist() == [16, 16]


def test_a_pair_alone_has_no_interval_of_its_mean(table):
    line = probe(Measures("level"), table[:1], ["level"]).loc[0]
    assert line["change"] == pytest.approx(-20, abs=1e-4)
    assert np.isnan(line[["low", "high", "change_sd"]].astype(float)).all()


def test_changes_of_encoders_are_measured_and_rounding_is_no_fall(table):
    scorer = Scorer.unsupervised("bundled:msclap")
    probed = probe(scorer, table).set_index("edit")
    assert probed.loc["replace", "change"] != 0
    assert probed.loc["noise", "n_pairs"] == 4
    cosines = scorer.score(table["audio"].tolist(), TEXTS)
    spoken = scorer.score(table["audio"].tolist(), [text.upper() for text in TEXTS])
    assert probed.loc["case", "change"] == pytest.approx(np.mean(spoken - cosines))
    in_sd = probed.loc["case", "change"] / cosines.std()
    assert probed.loc["case", "change_sd"] == pytest.approx(in_sd, rel=1e-4)


def test_an_edit_that_leaves_nothing_to_score_does_not_apply(table):
    late = np.concatenate([np.zeros(1600), table["audio"][0][0]])
    table = table.copy()
    table.at[0, "audio"] = (late, RATE)
    scorer = Scorer.unsupervised("bundled:msclap")
    probed = probe(scorer, table, ["truncation", "level"])
    assert probed["n_pairs"].tolist() == [3, 4]


def test_each_axis_is_probed(table):
    class Axes(Measures):
        axes_ = ("level", "words")

        def predict(self, X):
            each = [Measures(axis).predict(X) for axis in self.axes_]
            return np.column_stack(each)

    probed = probe(Axes(), table, ["level", "whitespace"])
    assert probed["axis"].tolist() == ["level", "level", "words", "words"]
    np.testing.assert_allclose(probed["change"], [-20, 0, 0, 0], atol=1e-4)


def test_bad_rows_are_all_named(table):
    bad = table.copy()
    bad.loc[1, "text"] = " "
    bad.at[3, "audio"] = "no_such.wav"
    scorer = Scorer.unsupervised("bundled:msclap")
    with pytest.raises(BadPairsError, match="2 of 4 pairs") as caught:
        probe(scorer, bad, chunk_size=2)
    assert [row.position for row in caught.value.rows] == [1, 3]
    with pytest.raises(BadPairsError, match="1 of 4 pairs"):
        probe(Measures("words"), bad.assign(audio=table["audio"]), chunk_size=3)


@pytest.mark.parametrize("edits", [["swop"], [], ["add", "add"], "swap"])
def test_unknown_edits_are_refused(table, edits):
    with pytest.raises(ValueError, match=r"edits must be distinct names from \('swap'"):
        probe(Measures(), table, edits)


def test_a_model_of_embeddings_by_key_is_refused(table):
    embeddings = pd.DataFrame(np.eye(4), index=list("abcd"))
    pairs = pd.DataFrame({"audio": list("abcd"), "text": list("dcba")})
    features = PrecomputedPairFeatures(embeddings, embeddings)
    model = Pipeline([("features", features), ("ridge", StandardizedRidge())])
    model.fit(pairs, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="looks up embeddings by key"):
        probe(model, pairs)


def test_a_folder_takes_its_texts_from_prompts(table, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    for number, (samples, rate) in enumerate(table["audio"]):
        soundfile.write(made / f"{number}.wav", samples, rate, subtype="DOUBLE")
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({str(i): text for i, text in enumerate(TEXTS)}))
    found = probe(Measures("words"), made, ["swap", "drop"], prompts=prompts)
    expected = probe(Measures("words"), table, ["swap", "drop"])
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"random_state": None},
            "random_state must be an integer of at least 0; got None",
        ),
        (
            {"random_state": 1.5},
            "random_state must be an integer of at least 0; got 1.5",
        ),
        ({"chunk_size": 0}, "chunk_size must be an integer of at least 1; got 0"),
    ],
)
def test_a_wrong_number_is_named(table, settings, message):
    with pytest.raises(ValueError, match=message):
        probe(Measures("words"), table, ["swap"], **settings)
