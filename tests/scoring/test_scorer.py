import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack import (
    ClapStackingRegressor,
    CrossAgreement,
    LaionClapPairFeatures,
    MsClapPairFeatures,
    Scorer,
    load_model,
    make_clap_stack,
)
from clapstack.exceptions import BadPairsError, TableError
from clapstack.scoring import score_table

RATE = 16_000
TEXTS = ["a dog barks", "rain on a roof", "a bell"]


@pytest.fixture(scope="module")
def scorer(model_file):
    return Scorer(model_file)


@pytest.fixture(scope="module")
def noise():
    walks = np.random.default_rng(2).normal(size=(3, 2, 4000)).cumsum(axis=2)
    return (0.5 * walks / abs(walks).max()).astype(np.float32)


@pytest.fixture(scope="module")
def expected(model_file, noise):
    X = pd.DataFrame({"audio": [(c.T, RATE) for c in noise], "text": TEXTS})
    return load_model(model_file).predict(X)


def test_every_form_of_a_batch_has_the_score_of_predict(scorer, noise, expected):
    forms = [
        noise,
        noise.transpose(0, 2, 1),
        torch.tensor(noise),
        torch.tensor(noise, requires_grad=True),
        list(noise),
        [torch.tensor(clip) for clip in noise],
        [(clip.T, RATE) for clip in noise],
        [{"array": clip.T, "sampling_rate": RATE} for clip in noise],
    ]
    for audio in forms:
        scores = scorer.score(audio, TEXTS, sampling_rate=RATE)
        np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_a_batch_of_mono_clips_is_read_row_by_row(scorer, noise):
    mono = noise.mean(axis=1)
    batch = scorer.score(mono, TEXTS, sampling_rate=RATE)
    alone = [
        scorer.score(clip, text, sampling_rate=RATE)[0]
        for clip, text in zip(mono, TEXTS, strict=True)
    ]
    np.testing.assert_allclose(batch, alone, atol=1e-6)
    half = torch.tensor(mono).bfloat16()
    assert scorer.score(half, TEXTS, sampling_rate=RATE).shape == (3,)


def test_paths_in_any_container_are_scored(scorer, clips):
    paths = [str(clips / f"{n}.wav") for n in range(3)]
    scores = scorer.score(paths, TEXTS)
    for audio in (
        np.array(paths),
        pd.Series(paths),
        (clips / f"{n}.wav" for n in range(3)),
    ):
        np.testing.assert_allclose(scorer.score(audio, TEXTS), scores, atol=1e-6)
    samples, rate = sf.read(paths[0])
    same = scorer.score([samples, samples], TEXTS[:2], sampling_rate=[rate, rate])
    assert same[0] == pytest.approx(scores[0], abs=1e-4)


def test_rows_of_datasets_are_scored(scorer, clips):
    datasets = pytest.importorskip("datasets")
    paths = [str(clips / f"{n}.wav") for n in range(3)]
    rows = datasets.Dataset.from_dict({"audio": paths, "text": TEXTS})
    table = scorer.score_table(rows)
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    scores = scorer.score(rows["audio"], rows["text"])
    np.testing.assert_allclose(scores, scorer.score(paths, TEXTS), atol=1e-6)
    np.testing.assert_allclose(table["score"], scores, atol=1e-6)


def test_one_text_or_one_clip_applies_to_all(scorer, noise, expected):
    one_text = scorer.score(list(noise), TEXTS[0], sampling_rate=RATE)
    assert one_text.shape == (3,)
    one_clip = scorer.score(noise[0].mean(axis=0), TEXTS, sampling_rate=RATE)
    assert one_clip[0] == pytest.approx(one_text[0], abs=1e-4)
    assert one_text[0] == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.parametrize(
    ("audio", "text", "settings", "error", "message"),
    [
        (np.ones((2, 9)), ["a"], {"sampling_rate": RATE}, ValueError, "2 clips and"),
        (
            np.ones((2, 9)),
            ["a", "b"],
            {},
            ValueError,
            "Pass it in Hz, such as sampling_rate=",
        ),
        (
            np.ones((2, 9)),
            "a",
            {"sampling_rate": RATE},
            ValueError,
            "with one text is ambiguous",
        ),
        (np.ones(9), "a", {"sampling_rate": [1, 2]}, ValueError, "2 rates for 1 clips"),
        (np.ones(9), None, {"sampling_rate": RATE}, TypeError, "got NoneType"),
        (7, "a", {}, TypeError, "got int"),
        ("no_such.wav", "a", {"errors": "skip"}, ValueError, "errors must be 'raise'"),
    ],
)
def test_what_cannot_be_read_is_named(scorer, audio, text, settings, error, message):
    with pytest.raises(error, match=message):
        scorer.score(audio, text, **settings)


def test_bad_pairs_are_named_or_nan(scorer, noise, clips):
    audio = [noise[0], str(clips / "no_such.wav"), np.zeros(4000, np.float32)]
    with pytest.raises(BadPairsError, match="2 of 3 pairs cannot be used") as caught:
        scorer.score(audio, TEXTS, sampling_rate=RATE)
    assert [row.position for row in caught.value.rows] == [1, 2]
    scores = scorer.score(audio, TEXTS, sampling_rate=RATE, errors="nan")
    assert np.isnan(scores).tolist() == [False, True, True]
    nothing = scorer.score(audio[1], "rain", errors="nan")
    assert nothing.shape == (1,)
    assert np.isnan(nothing).all()


def test_nothing_is_stored_unless_asked(model_file, noise, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "store"))
    model = load_model(model_file)
    scores = Scorer(model).score(noise, TEXTS, sampling_rate=RATE)
    assert not list(tmp_path.iterdir())
    stored = Scorer(model, cache=tmp_path / "other")
    np.testing.assert_array_equal(
        stored.score(noise, TEXTS, sampling_rate=RATE), scores
    )
    assert (tmp_path / "other").exists()


def test_a_model_stays_as_it_is(model_file, noise):
    model = load_model(model_file)
    before = model.get_params()["features__msclap__cache"]
    scorer = Scorer(model, batch_size=3, device="cpu")
    scorer.score(noise, TEXTS, sampling_rate=RATE)
    assert model.get_params()["features__msclap__cache"] == before
    assert model.get_params()["features__msclap__batch_size"] == 32
    own = scorer.model.get_params()
    assert own["features__msclap__batch_size"] == 3
    assert own["features__msclap__cache"] is None
    assert hasattr(scorer.model[-1], "feature_names_in_")


def test_intervals_are_those_of_the_last_step(model_file, scorer, noise):
    X = pd.DataFrame({"audio": [(c.T, RATE) for c in noise], "text": TEXTS})
    model = load_model(model_file)
    expected = model[-1].predict_interval(model[:-1].transform(X), coverage=0.8)
    found = scorer.predict_interval(noise, TEXTS, sampling_rate=RATE, coverage=0.8)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    ridge = Pipeline([("features", model[0]), ("ridge", Ridge())]).fit(X, [1, 2, 3])
    with pytest.raises(ValueError, match="Ridge has no prediction intervals"):
        Scorer(ridge).predict_interval(noise, TEXTS, sampling_rate=RATE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coverage": "0.9"}, "coverage must be a number between 0 and 1; got '0.9'"),
        ({"coverage": 90}, "coverage must be a number between 0 and 1; got 90"),
        ({"chunk_size": 0}, "chunk_size must be an integer of at least 1; got 0"),
        ({"chunk_size": 2.5}, "chunk_size must be an integer of at least 1; got 2"),
    ],
)
def test_settings_of_tables_are_checked_before_any_work(
    scorer, clips, tmp_path, settings, message
):
    table = pd.DataFrame({"audio": [str(clips / "0.wav")], "text": ["rain"]})
    with pytest.raises(ValueError, match=message):
        scorer.score_table(table, **settings)
    with pytest.raises(ValueError, match=message):
        score_table(scorer, table, tmp_path / "out.csv", **settings)
    assert not list(tmp_path.glob("out.csv*"))


def test_a_coverage_that_is_no_share_is_refused(scorer, noise):
    with pytest.raises(ValueError, match="coverage must be a number between 0 and 1"):
        scorer.predict_interval(noise, ["rain"] * len(noise), coverage="0.9")


def test_several_axes_and_agreement_give_columns(clips, pairs, recwarn):
    X = pd.DataFrame(pairs)[["audio", "text"]]
    X["audio"] = [str(clips / name) for name in X["audio"]]
    score = np.array([pair["score"] for pair in pairs])
    y = pd.DataFrame({"relevance": score, "order": 10 - score})
    blocks = ("product", "cosine")
    model = Pipeline(
        [
            (
                "features",
                FeatureUnion(
                    [
                        ("ms", MsClapPairFeatures("bundled:msclap", blocks=blocks)),
                        (
                            "la",
                            LaionClapPairFeatures("bundled:laion-fused", blocks=blocks),
                        ),
                    ]
                ),
            ),
            ("agreement", CrossAgreement(n_components=2)),
            ("stack", ClapStackingRegressor(boosting=False)),
        ]
    ).set_output(transform="pandas")
    model.fit(X, y)
    scorer = Scorer(model)
    recwarn.clear()
    found = scorer.score(X["audio"], X["text"])
    assert not recwarn.list
    assert scorer.axes == ["relevance", "order"]
    np.testing.assert_array_equal(found, model.predict(X))
    table = scorer.score_table(X)
    assert list(table)[2:5] == ["relevance", "relevance_low", "relevance_high"]


def test_a_table_in_memory_keeps_its_columns_and_index(scorer, clips):
    table = pd.DataFrame(
        {
            "prompt": ["rain", "a bell", " "],
            "file": [str(clips / "0.wav"), "no_such.wav", str(clips / "1.wav")],
            "seed": [7, 8, 9],
        },
        index=["x", "y", "y"],
    )
    result = scorer.score_table(table, audio_column="file", text_column="prompt")
    assert list(result) == ["file", "prompt", "seed", "score", "low", "high", "error"]
    assert list(result.index) == ["x", "y", "y"]
    assert result["seed"].dtype == int
    assert result["score"].notna().tolist() == [True, False, False]
    assert result["error"].iloc[0] is None
    assert "no such file" in result["error"].iloc[1]
    assert "empty or blank" in result["error"].iloc[2]
    with pytest.raises(ValueError, match="the column 'score' of the table cannot be"):
        scorer.score_table(table.assign(audio="a", text="b", score=1))
    with pytest.raises(TableError, match=r"\['audio', 'text'\] are missing"):
        scorer.score_table(table)


def test_a_table_in_a_file_is_scored_as_in_memory(scorer, write_csv, pairs, clips):
    result = scorer.score_table(write_csv(pairs[:5]), keep=["id"], chunk_size=2)
    assert list(result)[:4] == ["row", "audio", "text", "id"]
    paths = [str(clips / pair["audio"]) for pair in pairs[:5]]
    scores = scorer.score(paths, [pair["text"] for pair in pairs[:5]])
    np.testing.assert_allclose(result["score"], scores, atol=1e-6)


def test_a_table_is_scored_into_a_file_and_resumed(
    scorer, write_csv, pairs, tmp_path, monkeypatch
):
    table = write_csv(pairs)
    done = score_table(scorer, table, tmp_path / "whole.csv")
    assert (done.n_rows, done.n_failed, done.n_resumed) == (24, 0, 0)
    whole = pd.read_csv(tmp_path / "whole.csv")
    mean = done.means["score"]
    assert mean.mean == pytest.approx(whole["score"].mean())
    assert mean.low < mean.mean < mean.high
    assert (mean.n_pairs, mean.n_texts) == (24, 4)

    from clapstack.scoring.tables import ModelScorer

    ask = ModelScorer.values

    def fail(self, some):
        if 10 in some.index:
            raise MemoryError
        return ask(self, some)

    with monkeypatch.context() as patch:
        patch.setattr(ModelScorer, "values", fail)
        with pytest.raises(MemoryError):
            score_table(scorer, table, tmp_path / "out.csv", chunk_size=5)
    done = score_table(scorer, table, tmp_path / "out.csv", chunk_size=5)
    assert done.n_resumed == 10
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), whole)


def test_a_table_of_arrays_goes_into_a_file_too(scorer, noise, tmp_path):
    table = pd.DataFrame({"audio": [(c.T, RATE) for c in noise], "text": TEXTS})
    score_table(scorer, table, tmp_path / "out.jsonl")
    rows = pd.read_json(tmp_path / "out.jsonl", lines=True)
    assert rows["audio"][0] == "float32 array of shape (4000, 2) at 16000 Hz"
    scores = scorer.score(noise, TEXTS, sampling_rate=RATE)
    np.testing.assert_allclose(rows["score"], scores, atol=1e-6)


def test_without_ratings_the_score_is_the_mean_cosine(noise):
    scorer = Scorer.unsupervised("bundled")
    together = scorer.score(noise, TEXTS, sampling_rate=RATE)
    single = [
        Scorer.unsupervised(name).score(noise, TEXTS, sampling_rate=RATE)
        for name in ("bundled:laion-unfused", "bundled:laion-fused", "bundled:msclap")
    ]
    np.testing.assert_allclose(together, np.mean(single, axis=0), atol=1e-6)
    alone = scorer.score(noise[:1], TEXTS[:1], sampling_rate=RATE)
    assert alone.shape == (1,)
    assert alone[0] == pytest.approx(together[0], abs=1e-6)


def test_what_does_not_predict_is_refused():
    with pytest.raises(TypeError, match="MsClapPairFeatures, which has no predict"):
        Scorer(MsClapPairFeatures("bundled:msclap"))


def test_progress_bars_name_the_encoder(noise, capsys):
    scorer = Scorer.unsupervised("bundled:laion-unfused", verbose=True)
    scorer.score(noise, TEXTS, sampling_rate=RATE)
    assert "laion-unfused, encoding clips" in capsys.readouterr().err


def test_a_model_file_is_recognised_and_a_model_in_memory_in_its_process(
    model_file, tmp_path
):
    model = load_model(model_file)
    assert Scorer(model).identity() == Scorer(model).identity()
    copy = tmp_path / "copy.clapstack"
    copy.write_bytes(model_file.read_bytes())
    assert Scorer(copy).identity() == Scorer(model_file).identity()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_kernel_model_says_which_pairs_are_like_those_of_its_fit(
    suffix, challenge, tmp_path
):
    train, test = challenge
    families = ["laion_unfused", "msclap"]
    model = make_clap_stack("bundled", preset="best", families=families)
    model.fit(train.X, train.y)
    table = test.X.iloc[:3].reset_index(drop=True)
    table.loc[1, "audio"] = str(tmp_path / "missing.wav")
    expected = [True, None, True]
    found = Scorer(model).score_table(table)["in_domain"]
    assert str(found.dtype) == "boolean"
    assert [None if pd.isna(flag) else bool(flag) for flag in found] == expected
    out = tmp_path / f"scores.{suffix}"
    score_table(model, table, out)
    read = {
        "csv": pd.read_csv,
        "jsonl": lambda path: pd.read_json(path, lines=True),
        "parquet": pd.read_parquet,
    }
    flags = read[suffix](out)["in_domain"]
    assert [None if pd.isna(flag) else bool(flag) for flag in flags] == expected


def test_a_table_in_memory_takes_no_folder_and_no_prompts(scorer, clips, tmp_path):
    table = pd.DataFrame({"audio": ["0.wav"], "text": ["rain"]})
    for place in ({"audio_folder": clips}, {"prompts": "prompts.json"}):
        with pytest.raises(ValueError, match=r"table is a DataFrame\. Put texts and"):
            scorer.score_table(table, **place)
        with pytest.raises(ValueError, match=r"table is a DataFrame\. Put texts and"):
            score_table(scorer, table, tmp_path / "out.csv", **place)
    with pytest.raises(TypeError, match=r"got dict\. Pass pandas.DataFrame\(table\)"):
        scorer.score_table({"audio": ["0.wav"], "text": ["rain"]})


def test_one_kept_column_needs_no_list(scorer, clips):
    rows = {"audio": [str(clips / "0.wav")], "text": ["rain"], "id": [7], "mos": [3]}
    found = scorer.score_table(pd.DataFrame(rows), keep="id")
    assert list(found)[:4] == ["audio", "text", "id", "score"]


def test_a_rate_may_be_a_tensor(scorer, noise):
    (wanted,) = scorer.score([noise[0]], "rain", sampling_rate=16_000)
    rate = torch.tensor(16_000)
    assert scorer.score([noise[0]], "rain", sampling_rate=rate) == wanted
