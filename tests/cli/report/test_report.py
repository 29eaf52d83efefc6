"""The report of a fitted model, as a page and as a command."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

from clapstack import load_model, make_clap_stack, save_model
from clapstack.cli import app
from clapstack.cli.report import Data, ModelFile, make_report, read_data, read_model
from clapstack.metrics import score_report
from clapstack.scoring.tables import PairTable
from clapstack.sharing import describe_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"br", "img", "meta"}


class Page(HTMLParser):
    """A page taken apart; elements that are closed wrongly are an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.headings = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)

    def all(self, name):
        return [attributes for one, attributes in self.tags if one == name]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture(scope="module", autouse=True)
def _own_cache(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAPSTACK_CACHE", cache)
        yield


@pytest.fixture(scope="module")
def out(model_file, rated, tmp_path_factory):
    """Return the page that the command wrote of a model and rated pairs."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    how = ("--resamples", 50, "--pairs", 2, "--device", "cpu", "--xacle-test")
    done = report(model_file, "--data", rated, "--out", path, *how)
    assert done.exit_code == 0, done.output
    return path


@pytest.fixture(scope="module")
def page(out):
    return Page(out.read_text(encoding="utf-8"))


def test_all_sections_are_there_and_linked(page):
    assert page.headings == [
        "Metrics",
        "New pairs",
        "Held-out training pairs",
        "Worst predictions",
        "Model card",
        "Fingerprints and versions",
    ]
    ids = [a["id"] for a in page.all("section")]
    assert [a["href"] for a in page.all("a")] == [f"#{name}" for name in ids]


def test_page_fetches_nothing(page):
    addresses = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert addresses
    inside = ("#", "data:image/", "data:audio/")
    assert all(address.startswith(inside) for address in addresses)
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in page.tags}


def test_style_names_no_address(out):
    style = re.search(r"<style>(.*?)</style>", out.read_text(), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_are_vectors_with_words_for_those_who_cannot_see_them(page):
    images = page.all("img")
    # Three and a place in the ranking; three and two of families; two pairs.
    assert len(images) == 4 + 5 + 2 * 2
    for image in images:
        assert len(image["alt"]) > 20
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)
    assert len({image["alt"] for image in images}) == len(images)


def test_pairs_have_players(page):
    clips = page.all("audio")
    assert len(clips) == 2
    for clip in clips:
        assert "controls" in clip
        assert len(clip["aria-label"]) > 5
        kind, data = clip["src"].split(",", 1)
        assert kind == "data:audio/flac;base64"
        assert base64.b64decode(data).startswith(b"fLaC")


def test_page_says_its_language_and_size(page):
    assert page.all("html") == [{"lang": "en"}]
    policy, viewport = page.all("meta")[1:]
    assert policy["content"].startswith("default-src 'none'")
    assert "width=device-width" in viewport["content"]


def test_headings_and_tables_are_marked_up(page):
    names = [name for name, _ in page.tags]
    assert names.count("h1") == names.count("main") == 1
    assert names.count("caption") == names.count("table") == 3
    assert all("scope" in cell for cell in page.all("th"))


def test_foreign_text_is_shown_and_not_run(page):
    assert "<script>alert($1)</script>" in page.text
    assert "For <b>tests</b> & nothing else." in page.text
    assert "Report of a&b.clapstack" in page.text


def test_metrics_are_those_of_the_model(page, model_file, rated):
    model = load_model(model_file)
    data = read_data(PairTable(rated))
    new = score_report(data.y, model.predict(data.pairs), n_resamples=50)
    own = score_report(model[-1].y_train_, model[-1].oof_scores_)
    for report_ in (new, own):
        for name in ("srcc", "lcc", "ktau", "mse"):
            assert f"{report_[name]:.4f}" in page.text
    assert f"[{new['srcc_low']:.3f}, {new['srcc_high']:.3f}]" in page.text
    assert "From the model card – 0.1234 – – –" in page.text


def test_pairs_farthest_off_are_shown_first(page, model_file, rated):
    data = read_data(PairTable(rated))
    error = np.abs(load_model(model_file).predict(data.pairs) - data.y)
    worst = np.argsort(-error, kind="stable")[:2]
    assert re.findall(r"Row (\d+) ", page.text) == [str(number) for number in worst]


def test_fingerprints_are_those_of_the_files(page, model_file, rated):
    for path in (model_file, rated):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in page.text
    for _, step in load_model(model_file)["features"].transformer_list:
        assert step.fingerprint_ in page.text


def test_card_has_what_the_model_knows_of_itself(page):
    assert "small bundled test checkpoints, which know only" in page.text
    assert "48 pairs." in page.text
    assert "Licence MIT" in page.text
    assert "Authors Not given." in page.text


def test_same_model_and_data_give_the_same_page(out, model_file, rated):
    again = make_report(
        read_model(model_file, trust=False),
        read_data(PairTable(rated)),
        n_resamples=50,
        n_pairs=2,
        is_xacle_test=True,
    )
    assert again == out.read_text(encoding="utf-8")


def test_content_has_one_fingerprint_wherever_it_lies(rated, tmp_path):
    from clapstack.cli.report._sources import content_sha256

    data = read_data(PairTable(rated))
    clip = data.pairs["audio"][0]
    moved = data.pairs.assign(audio=[shutil.copy(clip, tmp_path / "moved.wav")] * 16)
    there = data.pairs.assign(audio=[clip] * 16)
    first, second, third = (
        content_sha256(data._replace(pairs=pairs))
        for pairs in (there, moved, moved.assign(text="other"))
    )
    assert first == second != third


def test_report_without_data_shows_what_was_held_out(model_file):
    page = Page(make_report(read_model(model_file, trust=False), n_resamples=0))
    assert page.headings[:2] == ["Metrics", "Held-out training pairs"]
    assert "Worst predictions" not in page.headings
    assert len(page.all("img")) == 5
    assert "[" not in page.text.split("Held-out training pairs")[1]


def test_features_model_needs_no_audio(model):
    file = ModelFile("stack", "0" * 64, model, describe_model(model))
    page = Page(make_report(file, n_resamples=0))
    assert "The model contains no encoder; its input is features." in page.text
    assert "80 pairs." in page.text


def test_model_without_a_stack_says_that_it_cannot_be_judged(features):
    ridge = Ridge().fit(*features)
    file = ModelFile("ridge", "0" * 64, ridge, describe_model(ridge))
    page = Page(make_report(file))
    assert "There are no metrics" in page.text
    assert page.all("img") == []


def test_pairs_of_the_fit_are_refused(model_file, challenge, tmp_path):
    train, _ = challenge
    train.X.assign(score=train.y)[::-1].to_csv(tmp_path / "train.csv", index=False)
    done = report(model_file, "--data", tmp_path / "train.csv")
    assert done.exit_code == 1
    assert "has the training ratings of the model" in done.output


def test_place_in_the_ranking_takes_data(model_file):
    done = report(model_file, "--xacle-test")
    assert done.exit_code == 2
    assert "--xacle-test: it needs --data" in done.output


def test_file_of_joblib_takes_trust(model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    out = tmp_path / "report.html"
    refused = report(tmp_path / "model.joblib", "--out", out)
    assert refused.exit_code == 3
    assert "is not a model file of clapstack" in refused.output
    assert not out.exists()
    trusted = report(tmp_path / "model.joblib", "--trust", "--resamples", 0, "-o", out)
    assert trusted.exit_code == 0
    assert "Held-out training pairs" in Page(out.read_text()).headings


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("audio,text\na.wav,x\n", "has no score column"),
        ("audio,text,score\n", "has no rows. Add at least one"),
        (
            "audio,text,score\na,x,1\nb,y,five\nc,z,\n",
            r"row 1 \('five'\), row 2 \(''\)",
        ),
    ],
)
def test_bad_table_is_refused(table, message, tmp_path):
    (tmp_path / "rated.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        read_data(PairTable(tmp_path / "rated.csv"))


def test_clips_lie_beside_the_table_or_in_a_folder(tmp_path):
    (tmp_path / "rated.csv").write_text("audio,text,score\na.wav,x,1\n/b.wav,NA,2\n")
    beside = read_data(PairTable(tmp_path / "rated.csv")).pairs
    assert list(beside["audio"]) == [str(tmp_path / "a.wav"), "/b.wav"]
    assert list(beside["text"]) == ["x", "NA"]
    elsewhere = read_data(
        PairTable(tmp_path / "rated.csv", audio_folder=tmp_path / "clips")
    ).pairs
    assert elsewhere["audio"][0] == str(tmp_path / "clips" / "a.wav")


class Silent(BaseEstimator):
    """A model of pairs that scores, and cannot say why."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.arange(len(X), dtype=float)

    def explain(self, X):
        msg = "the final level is <not> linear."
        raise ValueError(msg)


@pytest.fixture
def clips(tmp_path):
    """Return three pairs of one clip with texts of their own."""
    sf.write(tmp_path / "a.wav", np.sin(np.arange(16_000) / 9), 16_000)
    columns = {"audio": [str(tmp_path / "a.wav")] * 3, "text": ["1", "2", "3"]}
    return pd.DataFrame(columns, dtype=object)


def test_the_reason_why_a_score_is_not_explained_is_shown(clips):
    data = Data("table", clips, np.array([1.0, 5.0, 2.0]), "0" * 64)
    silent = Silent().fit(clips)
    file = ModelFile("silent", "0" * 64, silent, describe_model(silent))
    page = Page(make_report(file, data, n_pairs=1, n_resamples=0))
    assert (
        "not split into contributions of the families: the final level is <not> linear."
        in page.text
    )


HOSTILE = """<b>"'&</b></style><script>alert(1)</script>{{ 7 * 7 }}{% raise %}"""


def test_everything_from_outside_is_text(clips):
    silent = Silent().fit(clips)
    facts = describe_model(silent)
    facts["card"] = dict.fromkeys(facts["card"], HOSTILE)
    names = ("name", "class", "checkpoint", "revision", "crop", "fingerprint")
    facts["encoders"] = [dict.fromkeys(names, HOSTILE)]
    facts |= {key: [HOSTILE] for key in ("columns", "families", "first_level")}
    facts["versions"] = {HOSTILE: (HOSTILE, HOSTILE)}
    file = ModelFile(HOSTILE, HOSTILE, silent, facts)
    data = Data(HOSTILE, clips.assign(text=HOSTILE), np.array([1.0, 5, 2]), HOSTILE)
    page = Page(make_report(file, data, n_resamples=0, n_pairs=1, is_xacle_test=True))
    tags = [name for name, _ in page.tags]
    assert "script" not in tags
    assert tags.count("style") == 1
    # 22 of the model; of the table five times its name, its digest and a text.
    assert page.text.count(HOSTILE) == 22 + 5 + 2
    (ranking,) = [a["alt"] for a in page.all("img") if "systems ranked" in a["alt"]]
    assert ranking.startswith(f"{HOSTILE} has SRCC")


def browse(address, *options):
    """Open a page in a browser without a screen; return its document and its log."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", *options, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_browser_opens_the_page_without_complaint(out, tmp_path):
    document, complaints = browse(out.as_uri())
    assert "Fingerprints and versions" in document
    assert complaints == []
    # That complaints would be seen, and that every picture has its size.
    script = (
        "<script>addEventListener('load', () => {"
        "const sizes = [...document.images].map(i => i.naturalWidth);"
        "document.title = sizes.join(' '); console.error('seen')})</script>"
    )
    page = re.sub(r"<meta http-equiv[^>]*>", "", out.read_text())
    watched = tmp_path / "watched.html"
    watched.write_text(page.replace("</body>", f"{script}</body>"))
    document, complaints = browse(watched.as_uri())
    widths = re.search("<title>([0-9 ]+)</title>", document)[1].split()
    assert len(widths) == 13
    assert all(int(width) > 200 for width in widths)
    assert len(complaints) == 1


@pytest.fixture(scope="module")
def scores(model_file, rated, tmp_path_factory):
    """Return pairs with scores of two systems, a row without, and a clip that is none.

    The fourth clip has 12 s.
    """
    folder = tmp_path_factory.mktemp("scores")
    pairs = pd.read_csv(rated)[["audio", "text"]]
    pairs["audio"] = [str(rated.parent / name) for name in pairs["audio"]]
    pairs = pairs.assign(score=np.linspace(0, 10, len(pairs)))
    pairs["system"] = [HOSTILE if i % 2 else "v1" for i in range(len(pairs))]
    sf.write(folder / "long.wav", np.sin(np.arange(96_000) / 9), 8_000)
    (folder / "none.wav").write_text("no clip")
    pairs.loc[len(pairs)] = ["long.wav", "a tone", 11.5, "v1"]
    pairs.loc[len(pairs)] = ["none.wav", "a tone", -1.0, "v1"]
    pairs.loc[len(pairs)] = ["gone.wav", "a tone", np.nan, "v1"]
    pairs.to_csv(folder / "scores.csv", index=False)
    return folder / "scores.csv"


def test_scores_without_ratings_make_a_page(scores, tmp_path):
    done = report(scores, "--out", tmp_path / "p.html", "--pairs", 2)
    assert done.exit_code == 0, done.output
    assert re.search(r"p\.html: \d\.\d MB", done.output)
    assert "1 of 19 rows have no score" in done.output
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert page.headings == [
        "Scores",
        "Systems",
        "Best pairs",
        "Worst pairs",
        "Fingerprints and versions",
    ]
    table = pd.read_csv(scores)
    assert f"Mean score {table['score'].mean():.3f}" in page.text
    assert "Rows without a score 1" in page.text
    assert page.text.index("Row 0 ") > page.text.index(f"Row {len(table) - 3} ")
    assert "script" not in {name for name, _ in page.tags}
    assert len(page.all("audio")) == 3
    assert "No audio: " in page.text
    assert "none.wav: cannot be decoded as audio" in page.text


def test_scores_made_without_ratings_have_no_mean(scores, tmp_path):
    table = tmp_path / "cosines.csv"
    pd.read_csv(scores).assign(msclap_cosine=0.5).to_csv(table, index=False)
    done = report(table, "--out", tmp_path / "p.html", "--pairs", 0)
    assert done.exit_code == 0, done.output
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert "they have no scale" in page.text
    assert "Mean score " not in page.text.split("Systems")[0]
    assert "predicted by a model" not in page.text


def test_systems_are_those_of_a_column(scores, tmp_path):
    done = report(scores, "--out", tmp_path / "p.html", "--by", "text", "--pairs", 0)
    assert done.exit_code == 0, done.output
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert "Mean score by text" in page.text
    assert page.all("audio") == []
    done = report(scores, "--out", tmp_path / "p.html", "--by", "model")
    assert (done.exit_code, done.output.count("\n")) == (3, 1)
    assert "no column 'model'" in done.output


def test_pairs_without_ratings_are_scored_for_the_page(model_file, rated, tmp_path):
    pairs = pd.read_csv(rated)[["audio", "text"]][:4].to_numpy()
    prompts = {Path(clip).stem: text for clip, text in pairs}
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    given = ("--data", rated.parent, "--prompts", tmp_path / "p.json")
    done = report(model_file, *given, "--out", tmp_path / "p.html", "--quiet")
    assert done.exit_code == 0, done.output
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    X = [[str(rated.parent / clip), text] for clip, text in pairs]
    mean = load_model(model_file).predict(X).mean()
    assert f"Mean score {mean:.3f}" in page.text
    assert hashlib.sha256(model_file.read_bytes()).hexdigest() in page.text


def test_a_page_of_scores_counts_pairs_unlike_those_of_the_fit(
    challenge, cache, rated, tmp_path
):
    train, _ = challenge
    model = make_clap_stack("bundled", cache=cache, preset="best")
    save_model(model.fit(train.X, train.y), tmp_path / "m.clapstack")
    pd.read_csv(rated)[["audio", "text"]].to_csv(rated.parent / "u.csv", index=False)
    given = ("--data", rated.parent / "u.csv", "--out", tmp_path / "p.html")
    done = report(tmp_path / "m.clapstack", *given, "--quiet")
    assert done.exit_code == 0, done.output
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    X = pd.read_csv(rated)[["audio", "text"]]
    X["audio"] = [str(rated.parent / clip) for clip in X["audio"]]
    unlike = ~model[-1].in_domain(model[:-1].transform(X))
    assert f"Pairs unlike the training pairs {unlike.sum()}" in page.text


def test_options_that_would_do_nothing_are_refused(model_file, rated, scores, tmp_path):
    for arguments, option in (
        ((scores, "--xacle-test"), "--xacle-test"),
        ((model_file, "--data", rated, "--by", "text"), "--by"),
        ((model_file, "--prompts", rated), "--prompts"),
    ):
        done = report(*arguments, "--out", tmp_path / "p.html")
        assert done.exit_code == 2
        assert option in done.output


def test_a_table_without_any_score_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("audio,text,score\na.wav,rain,\n")
    done = report(tmp_path / "s.csv", "--out", tmp_path / "p.html")
    assert done.exit_code == 1
    assert "has no row with a score" in done.output


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_players_play(scores, tmp_path):
    done = report(scores, "--out", tmp_path / "p.html", "--pairs", 2)
    assert done.exit_code == 0, done.output
    # With the policy of the page, but for the script that asks how long they are.
    script = (
        "<script>addEventListener('load', () => Promise.all("
        "[...document.querySelectorAll('audio')].map(player => new Promise(know => {"
        "if (player.readyState) know(player.duration);"
        "player.onloadedmetadata = () => know(player.duration);"
        "player.onerror = () => know('error')"
        "}))).then(lengths => { document.title = lengths.join(' ') }))</script>"
    )
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    text = text.replace("default-src 'none'", "script-src 'unsafe-inline'")
    watched = tmp_path / "watched.html"
    watched.write_text(text.replace("</body>", f"{script}</body>"))
    document, complaints = browse(watched.as_uri(), "--virtual-time-budget=20000")
    lengths = re.search("<title>([0-9. ]+)</title>", document)[1].split()
    table = pd.read_csv(scores)
    first, last = (sf.info(table["audio"][row]) for row in (len(table) - 4, 0))
    expected = [10, first.duration, last.duration]
    assert [float(length) for length in lengths] == pytest.approx(expected, abs=1e-3)
    assert complaints == []
