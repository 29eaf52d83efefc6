import pickle
import re
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from clapstack import list_systems, make_clap_stack, make_system
from clapstack.datasets import load_xacle_ranking
from clapstack.systems import (
    FAMILIES,
    bundled_checkpoints,
    describe_system,
    hub_downloads,
)

# A parameter to search, by what follows a system's features.
SEARCHED = {
    "ridge": {"ridge__alpha": [3.0]},
    "stack": {"stack__boosting": [False]},
    "ensemble": {"ensemble__cv": [2]},
    "mlp": {"mlp__regressor__mlpregressor__alpha": [0.1]},
    "svr": {"svrs__first__regressor__svr__C": [1.0]},
}


@pytest.fixture
def make(checkpoints, cache):
    """Make a system on a checkpoint of every family that it has in print."""
    return partial(make_system, checkpoints=checkpoints, cache=cache, device="cpu")


def families_of(pipeline):
    return [name for name, _ in pipeline["features"].transformer_list]


def test_every_row_of_the_papers_tables_has_a_name_and_so_has_what_beats_them():
    assert list_systems() == [
        "laion-unfused",
        "laion-fused",
        "laion-larger-general",
        "msclap",
        "beats",
        "clap-rank-ensemble",
        "2-clap-stack",
        "3-clap-stack",
        "msclap+wavlm",
        "msclap+audiomae",
        "msclap+eat",
        "msclap+whisper+ctc",
        "xacle-2026-baseline",
        "xacle-2027-baseline",
        "rank-2-like",
        "best-3-clap-stack",
    ]


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("msclap", {"n_components": 16}),
        ("msclap", {"cv": 5}),
        ("clap-rank-ensemble", {"final_target": "rank"}),
        ("xacle-2027-baseline", {"cv": [([0], [1])], "final_target": "score"}),
    ],
)
def test_settings_that_would_change_nothing_are_refused(name, keywords):
    message = f"The system {name!r} does not use {', '.join(keywords)}. Leave it"
    with pytest.raises(ValueError, match=re.escape(message)):
        make_system(name, **keywords)


def test_settings_that_are_of_use_are_taken():
    make_system("clap-rank-ensemble", cv=5)
    make_system("rank-2-like", cv=5)
    make_system("msclap", n_components=32, cv=3, n_jobs=2, random_state=1)


@pytest.mark.parametrize("name", list_systems())
def test_every_system_builds_on_published_checkpoints_without_loading_them(name):
    record = describe_system(name)
    pipeline = make_system(name)
    assert families_of(pipeline) == [*record.families, *record.optional]
    for family, transformer in pipeline["features"].transformer_list:
        assert transformer.checkpoint == FAMILIES[family].published
    assert len(pickle.dumps(clone(pipeline))) < 20_000


@pytest.mark.parametrize("name", list_systems())
def test_every_record_has_figures_files_and_choices(name):
    record = describe_system(name)
    text = " ".join(str(record).split())
    assert all(
        family.published in text and family.files in text for family in record.needs
    )
    assert record.notes
    assert record.published or record.rows == "not published"
    for figures in record.published.values():
        assert all(0 < value < 1 for value in figures[:3])
        assert f"SRCC {figures.srcc:.4f}" in text


def test_published_test_figures_are_those_of_the_ranking():
    ranking = load_xacle_ranking()
    printed = set(
        zip(*(ranking[m] for m in ("srcc", "lcc", "ktau", "mse")), strict=True)
    )
    for name in list_systems():
        test = describe_system(name).published.get("test")
        assert test is None or tuple(test) in printed


@pytest.mark.parametrize("name", list_systems())
def test_system_fits_predicts_pickles_and_clones(name, make, challenge):
    train, test = challenge
    pipeline = make(name)
    record = describe_system(name)
    assert families_of(pipeline) == [*record.families, *record.optional]
    scores = pipeline.fit(train.X, train.y).predict(test.X)
    assert scores.shape == (16,)
    assert len(set(scores)) > 1
    assert abs(scores.mean() - train.y.mean()) < 4  # on the scale of the ratings
    again = pickle.loads(pickle.dumps(pipeline))
    assert_array_equal(again.predict(test.X), scores)
    assert_array_equal(clone(pipeline).fit(train.X, train.y).predict(test.X), scores)


@pytest.mark.parametrize("name", list_systems())
def test_prediction_does_not_depend_on_its_neighbours(name, make, challenge):
    train, test = challenge
    pipeline = make(name).fit(train.X, train.y)
    alone = [pipeline.predict(test.X.iloc[[row]])[0] for row in range(3)]
    assert alone == pytest.approx(pipeline.predict(test.X)[:3], rel=1e-6)


@pytest.mark.parametrize("name", list_systems())
def test_system_survives_a_grid_search(name, make, challenge):
    train, test = challenge
    record = describe_system(name)
    grid = [SEARCHED[record.regressor]]
    grid += [{f"features__{family}": ["drop"]} for family in record.optional[:1]]
    search = GridSearchCV(make(name), grid, cv=2, error_score="raise")
    scores = search.fit(train.X, train.y).predict(test.X)
    assert len(search.cv_results_["params"]) == len(grid)
    assert np.isfinite(scores).all()


def test_mapping_takes_precedence_over_published_checkpoints():
    mapping = {"msclap": "bundled:msclap", "beats": None}
    pipeline = make_system("2-clap-stack", checkpoints=mapping)
    checkpoints = [t.checkpoint for _, t in pipeline["features"].transformer_list]
    assert checkpoints == ["laion/clap-htsat-unfused", "bundled:msclap"]


def test_bundled_checkpoints_take_others_beside_them():
    mapping = bundled_checkpoints({"msclap": "mine.pth"})
    pipeline = make_system("2-clap-stack", checkpoints=mapping)
    checkpoints = [t.checkpoint for _, t in pipeline["features"].transformer_list]
    assert checkpoints == ["bundled:laion-unfused", "mine.pth"]


def test_stack_by_name_is_make_clap_stack():
    by_name = make_system("2-clap-stack", checkpoints="bundled", n_components=8)
    by_hand = make_clap_stack(
        "bundled", families=["laion_unfused", "msclap"], n_components=8
    )
    assert repr(by_name) == repr(by_hand)


def test_system_that_needs_what_is_not_bundled_is_refused():
    with pytest.raises(ValueError, match=r"needs \['wavlm'\], for which"):
        make_system("msclap+wavlm", checkpoints="bundled")


def test_beats_that_are_not_there_are_refused_not_dropped():
    with pytest.raises(ValueError, match=r"needs \['beats'\], for which"):
        make_system("msclap", checkpoints="bundled", beats=True)


def test_beats_where_a_system_has_none_are_refused():
    with pytest.raises(ValueError, match="does not apply to the system 'rank-2-like'"):
        make_system("rank-2-like", checkpoints="bundled", beats=True)


def test_unknown_beats_are_refused():
    with pytest.raises(ValueError, match="beats must be True, False or 'auto'"):
        make_system("msclap", beats="yes")


def test_unknown_family_is_named():
    with pytest.raises(ValueError, match=r"unknown families \['clap'\]"):
        make_system("msclap", checkpoints={"clap": "x"})


def test_unknown_checkpoints_are_refused():
    with pytest.raises(ValueError, match="'published', 'bundled' or a mapping"):
        make_system("msclap", checkpoints="best")


def test_unknown_system_is_refused_with_the_names():
    with pytest.raises(ValueError, match="no system '4-clap-stack'; there are"):
        make_system("4-clap-stack")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_downloads_have_the_tokenizer_of_another_repository(family):
    downloads = hub_downloads(family.published)
    others = [t for t in ("roberta-base", "gpt2") if f"the {t} tok" in family.files]
    if downloads:
        assert downloads[0].split()[0] == "/".join(family.published.split("/")[:2])
        assert len(downloads) == 1 + len(others)
        assert all(each in downloads[1] for each in others)
        assert not family.published.endswith(".pt") or ".pt" in downloads[0]


@pytest.mark.parametrize(
    ("checkpoint", "downloads"),
    [("owner/name", ["owner/name"]), ("/a/b", []), ("MGA-CLAP/model.pt", [])],
)
def test_only_the_hub_is_downloaded_from(checkpoint, downloads):
    assert hub_downloads(checkpoint) == downloads
