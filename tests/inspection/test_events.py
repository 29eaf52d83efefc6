"""Explanations of pairs by their events, on simulated scenes with bundled encoders."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack import (
    EventFeatures,
    LaionClapPairFeatures,
    MsClapPairFeatures,
    PrecomputedPairFeatures,
)
from clapstack.datasets import render_simulated_scene, simulate_scene
from clapstack.exceptions import BadPairsError
from clapstack.inspection import (
    EventExplanation,
    HeardClause,
    SpectrogramDisplay,
    explain_events,
    has_event_encoders,
)

CHECKPOINTS = ["bundled:laion-unfused", "bundled:msclap"]


@pytest.fixture(scope="module", autouse=True)
def _store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAPSTACK_CACHE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="module")
def clip():
    """Return five seconds of a sheep, then five of a siren."""
    rng = np.random.default_rng(0)
    parts = []
    for name in ("sheep", "siren"):
        scene = simulate_scene(rng, duration=5.0, names=[name])
        parts.append(render_simulated_scene(scene, rng, duration=5.0))
    return np.concatenate(parts), 16_000


@pytest.fixture(scope="module")
def model(clip):
    """Return a fitted model with features of whole pairs alone."""
    union = FeatureUnion([("msclap", MsClapPairFeatures("bundled:msclap"))])
    pipe = Pipeline([("features", union), ("ridge", Ridge())])
    X = pd.DataFrame({"audio": [clip] * 2, "text": ["a sheep", "wind"]}, dtype=object)
    return pipe.fit(X, [8.0, 2.0])


def test_right_prompt_is_heard_in_its_order(clip):
    found = explain_events(clip, "a sheep, then a siren", CHECKPOINTS)
    assert found.missing == ()
    assert found.order_holds is True
    sheep, siren = found.clauses
    assert sheep.start < 2 < sheep.end < 7
    assert siren.start > 3
    assert siren.end == found.duration == 10


def test_order_that_does_not_hold(clip):
    found = explain_events(clip, "a siren followed by a sheep", CHECKPOINTS)
    assert found.order_holds is False
    assert "The sounds are not in the order of the text." in str(found)


def test_missing_sound_is_named(clip):
    found = explain_events(clip, "a sheep and a church bell", CHECKPOINTS)
    assert found.missing == ("a church bell",)
    assert found.order_holds is None
    heard, absent = found.clauses
    assert heard.is_heard
    assert not absent.is_heard
    assert absent.score < 0.95 < heard.score
    lines = str(found).splitlines()
    assert lines[1].startswith("  a sheep        ")
    assert lines[2].endswith("not heard")


def test_sound_that_the_prompt_does_not_name(clip):
    found = explain_events(clip, "a sheep", CHECKPOINTS)
    assert any(start < 8 < end for start, end in found.unexplained)
    assert not any(end < 4 for _, end in found.unexplained)
    assert "Not named by the text: " in str(found)


def test_threshold_decides_what_is_heard(clip):
    assert explain_events(clip, "a sheep", CHECKPOINTS, threshold=99.0).missing
    assert not explain_events(clip, "wind", CHECKPOINTS, threshold=-99.0).missing


@pytest.mark.parametrize("threshold", [np.nan, "1", None, [1.0]])
def test_a_threshold_that_is_no_number_is_refused(clip, threshold):
    with pytest.raises(ValueError, match="threshold must be a number; got "):
        explain_events(clip, "a sheep", CHECKPOINTS, threshold=threshold)


def test_clip_shorter_than_a_window(clip):
    samples, rate = clip
    short = (samples[rate : 2 * rate], rate)
    found = explain_events(short, "a sheep, then wind", CHECKPOINTS)
    assert found.duration == pytest.approx(1.0)
    assert found.order_holds is None
    assert "order" not in str(found)


def test_order_of_a_clause_and_itself_is_undecided(clip):
    found = explain_events(clip, "a sheep, then a sheep", CHECKPOINTS)
    assert len(found.clauses) == 2
    assert found.order_holds is None


def test_encoders_are_features_or_those_of_a_model(clip, model):
    text = "a sheep and a church bell"
    named = explain_events(clip, text, "bundled:msclap")
    features = EventFeatures("bundled:msclap")
    assert explain_events(clip, text, features) == named
    assert not hasattr(features, "encoders_")
    assert explain_events(clip, text, model) == named
    assert has_event_encoders(model)


def test_windows_of_given_features_are_taken(clip):
    features = EventFeatures(LaionClapPairFeatures("bundled:laion-unfused"), hop=2.0)
    found = explain_events(clip, "a sheep", features)
    assert {start % 1 for start, _ in found.unexplained} <= {0.0}


def test_model_without_encoders_is_refused(clip):
    features = PrecomputedPairFeatures({"a": [1.0, 0.0]}, {"b": [1.0, 0.5]})
    X = pd.DataFrame({"audio": ["a"], "text": ["b"]})
    keyed = Pipeline([("features", features), ("ridge", Ridge())]).fit(X, [1.0])
    assert not has_event_encoders(keyed)
    with pytest.raises(ValueError, match="Pipeline has no encoder of both clips"):
        explain_events(clip, "a sheep", keyed)


def test_bad_pair_is_named():
    with pytest.raises(BadPairsError, match=r"nowhere\.wav"):
        explain_events("nowhere.wav", "a sheep", "bundled:msclap")


def test_picture_shows_when_clauses_are_heard(clip, pyplot):
    events = EventExplanation(
        text="a sheep, then wind & <b>rain$^$",
        duration=10.0,
        clauses=(
            HeardClause("a sheep", 2.0, 0.0, 4.5),
            HeardClause("wind & <b>rain$^$", 1.5, 6.0, 10.0),
            HeardClause("a bell", 0.1, None, None),
        ),
        unexplained=((5.0, 6.0),),
        order_holds=False,
    )
    display = SpectrogramDisplay.from_audio(clip, text=events.text, events=events)
    bars = [tuple(line.get_xdata()) for line in display.ax_.lines]
    assert bars == [(0.0, 4.5), (6.0, 10.0)]
    labels = [text.get_text() for text in display.ax_.texts]
    assert labels == ["a sheep", "wind & <b>rain$^$"]
    title = display.ax_.get_title(loc="left")
    assert "Not heard: a bell" in title
    assert "The sounds are in another order" in title
    assert "Heard from 6.0 to 10.0 s: wind" in display.describe()
    assert display.to_svg() == display.to_svg()


def test_picture_of_a_model_shows_its_events(clip, model, pyplot):
    X = pd.DataFrame({"audio": [clip], "text": ["a sheep"]}, dtype=object)
    display = SpectrogramDisplay.from_estimator(model, X, events=True)
    assert display.events == explain_events(clip, "a sheep", model)
