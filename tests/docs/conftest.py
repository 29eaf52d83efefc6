import os

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from clapstack import load_model, make_clap_stack, save_model
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.systems import bundled_checkpoints
from tests.checkpoints import make_beats_content, save_beats

BEATS = "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Return a folder with the files named in the documents, simulated or tiny."""
    folder = tmp_path_factory.mktemp("documents")
    data = folder / "data" / "XACLE_dataset"
    data.parent.mkdir()
    make_simulated_xacle(data, n_train=36, n_validation=12, n_test=12)
    (folder / "XACLE_dataset").symlink_to(data)
    rng = np.random.default_rng(0)
    for name in ("rain.wav", "dog.wav", "scene.wav"):
        sf.write(folder / name, 0.1 * rng.normal(size=8000), 8000)

    (folder / "generated").mkdir()
    (folder / "kaldi").mkdir()
    for name, text in {"dog": "a dog barks", "rain": "rain"}.items():
        (folder / "generated" / f"{name}.wav").symlink_to(folder / f"{name}.wav")
        (folder / "generated" / f"{name}.txt").write_text(text)
    (folder / "prompts.json").write_text('{"dog": "a dog barks", "rain": "rain"}')
    (folder / "kaldi" / "wav.scp").write_text("a dog.wav\n")  # of the current folder
    (folder / "kaldi" / "text").write_text("a a dog barks\n")

    (folder / "models").mkdir()
    written = save_beats(make_beats_content(), folder / "models")
    os.replace(written, folder / "models" / BEATS)
    (folder / "models" / "BEATs.pt").symlink_to(BEATS)

    train, validation = (load_xacle(data, split) for split in ("train", "validation"))
    pipe = make_clap_stack("bundled", cache=folder / "store")
    pipe.set_params(stack__boosting=False).fit(train.X, train.y)  # for time
    save_model(pipe, folder / "model.clapstack")
    held_out = dict.fromkeys(("more_rated", "clips", "new"), validation)
    for name, split in {"rated": train, **held_out}.items():
        ratings = {"score": split.y, "relevance": split.y, "order": split.y[::-1]}
        split.X.assign(**ratings).to_csv(folder / f"{name}.csv", index=False)
    clips = pd.read_csv(folder / "clips.csv")
    both = pd.concat(clips.assign(system=name) for name in ("v1", "v2"))
    both.to_csv(folder / "takes.csv", index=False)
    for name, gain in (("v1", 0), ("v2", 0.4)):
        scored = validation.X.assign(score=5 + gain + rng.normal(size=12))
        scored.to_csv(folder / f"{name}.csv", index=False)
    table = {"wav_file_name": validation.ids, "pred_score": pipe.predict(validation.X)}
    pd.DataFrame(table).to_csv(folder / "predictions.csv", index=False)

    for name in ("laion_unfused", "laion_fused", "msclap"):
        for side in ("audio", "text"):
            rows = rng.normal(size=(90, 4))
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            np.save(folder / f"{name}_{side}.npy", rows.astype(np.float32))
    np.save(folder / "beats.npy", rng.normal(size=(90, 5)).astype(np.float32))
    np.save(folder / "ratings.npy", rng.uniform(0, 10, 90))
    return folder


@pytest.fixture
def names(prepared):
    """Return the names that documents use without defining them."""
    train, test = (load_xacle(prepared / "data", split) for split in ("train", "test"))
    pipe = load_model(prepared / "model.clapstack")
    return {
        "BUNDLED": bundled_checkpoints(),
        "X": train.X,
        "X_test": test.X,
        "pipe": pipe,
        "prompts": train.X["text"],
        "test": test,
        "train": train,
        "y": train.y,
        "y_other": test.y[::-1],
        "y_score": test.y + 1,
        "y_test": test.y,
    }


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    """Return a fresh folder with links to the prepared files."""
    for path in prepared.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAPSTACK_CACHE", str(prepared / "store"))
    return tmp_path
