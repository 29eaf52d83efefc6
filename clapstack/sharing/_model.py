"""Saving, loading and describing fitted models without running foreign code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_regressor
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from clapstack._output import replaced
from clapstack.exceptions import ModelFileError
from clapstack.sharing._archive import (
    Archive,
    damaged,
    open_archive,
    read_array,
    write_archive,
)
from clapstack.sharing._card import (
    card_texts,
    check_fields,
    checkpoint_table,
    facts_of,
    steps_of,
    versions,
    write_card,
)
from clapstack.sharing._names import CLASSES, ENCODERS, class_name
from clapstack.sharing._state import Decoded, Encoder, decode
from clapstack.sharing._trust import (
    Trust,
    is_elsewhere,
    lacking,
    retired,
    strangers,
)

_N_CHECKED = 5
# Other processors round differently (by 1e-12), and one row in a thousand may fall on
# the other side of a tree's threshold; hence a median. A wrong state differs far more.
_TOLERANCE = 1e-6


def save_model(
    model: Any,
    path: str | os.PathLike[str],
    *,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Save a fitted model to a file that others can load without trusting it.

    The file is a zip archive of JSON, ``.npy`` arrays and a model card, which
    ``unzip -p model.clapstack README.md`` shows. It contains neither code nor network
    weights; the weights of the encoders are identified by fingerprints. Read more in
    the :ref:`User Guide <sharing>`.

    Parameters
    ----------
    model : estimator
        A fitted pipeline or estimator. For a search, pass its ``best_estimator_``.
    path : str or path-like
        File to write, usually with the suffix ``.clapstack``. An existing file is
        replaced after the new one has been read back.
    card : mapping, default=None
        Fields for the model card, in addition to the facts that the model provides. Any
        of ``description``, ``data``, ``limits``, ``licence``, ``authors`` and ``date``
        (texts), and ``metrics`` (a mapping or Series of numbers, such as the result of
        :func:`clapstack.metrics.score_report`).

    Returns
    -------
    path : Path
        The file.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If the model contains something other than data, such as a function; the message
        names its place.
    ValueError
        If `card` has an unknown field.

    See Also
    --------
    load_model : Load the file.

    Notes
    -----
    The file contains no texts and no clips. The exception are embeddings passed to
    `PrecomputedPairFeatures` in memory rather than as files: they are saved with their
    keys, and a warning is issued.

    Folders of this machine are not saved: a ``cache`` folder becomes ``"auto"``, and
    the ``memory`` folder of a pipeline becomes None. The same model always gives the
    same bytes.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from clapstack import ClapStackingRegressor, load_model, save_model
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> stack = ClapStackingRegressor(boosting=False).fit(X, X.sum(axis=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_model(stack, f"{folder}/stack.clapstack")
    ...     again = load_model(path)
    >>> np.array_equal(again.predict(X), stack.predict(X))
    True
    """
    check_is_fitted(model)
    _warn_of_embeddings(model)
    path = Path(path)
    fields = check_fields(card)
    encoder = Encoder()
    root = encoder.encode(model, type(model).__name__)
    state = {"root": root, "objects": encoder.objects}
    trusted = _to_be_trusted(encoder.objects)
    facts = {"versions": versions(), **facts_of(model)}
    manifest = {
        **facts,
        "card": fields,
        "needs_trust": trusted,
        "scores": _scores(_rebuilt(encoder, root, trusted)),
    }
    text = write_card(fields, facts, trusted)
    with replaced(path) as new:
        write_archive(new, manifest, state, text, encoder.arrays)
        load_model(new, trusted=trusted)  # an unreadable file is not kept
    return path


def _warn_of_embeddings(model: Any) -> None:
    """Warn if embeddings and their keys, such as texts, will be part of the file."""
    held = [
        name
        for name, value in model.get_params(deep=True).items()
        if name.rpartition("__")[2] in ("audio_embeddings", "text_embeddings")
        and not isinstance(value, (str, os.PathLike))
    ]
    if held:
        msg = (
            f"the model file will contain the embeddings and keys (paths, texts) of "
            f"{', '.join(held)}, which everyone with the file can read. Pass the "
            "embeddings as files to leave them out."
        )
        warnings.warn(msg, stacklevel=3)


def load_model(
    path: str | os.PathLike[str], *, trusted: Iterable[str | type] = ()
) -> Any:
    """Load a model saved by `save_model`, without running foreign code.

    Parameters
    ----------
    path : str or path-like
        The file.
    trusted : iterable of str or type, default=()
        Types of other packages that the file may contain, or their full names. Their
        code is imported, and their ``__setstate__`` runs if they define one. The
        estimators of clapstack, and those of scikit-learn that the
        :ref:`User Guide <sharing>` lists, are always trusted. For a type that the file
        calls ``__main__.Name``, because it was defined in a script or notebook, pass
        the type itself; it is recognised by ``Name``.

    Returns
    -------
    model : estimator
        The fitted model, with the same predictions as when it was saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UntrustedTypesError
        If the file contains types that are not trusted. The message names them; none of
        them has been imported.
    ModelFileError
        If the file is damaged or altered, or has a newer format; if it would take more
        memory than 8 times its size plus 256 MB; if it needs a class or setting that
        clapstack no longer has, or a file on another machine; or if the model predicts
        differently here, in which case the message names the versions.

    Warns
    -----
    InconsistentVersionWarning
        If another version wrote the file and there are no recorded scores to compare.

    See Also
    --------
    save_model : Save a model.

    Notes
    -----
    Types named in the file are looked up among the trusted ones, created without
    calling them, and given their attributes. No pickle and no other file is read:
    encoders load their weights when the model predicts. `save_model` records the scores
    of five made-up rows of features, and `load_model` compares them. Checksums detect
    damage, but are not a signature: they do not show who wrote the file.
    """
    trust = Trust(trusted)
    with open_archive(path) as archive:
        objects, root = archive.objects()
        names = {entry["class"] for entry in objects}
        error = (
            strangers(path, names, trust)
            or lacking(path, names, trust)
            or retired(path, objects)
        )
        if error is not None:
            raise error
        manifest = archive.manifest
        try:
            decoded = decode(objects, root, archive.array, trust, archive.most)
            _check_encoders(decoded, archive)
        except Exception as error:
            if isinstance(error, ModelFileError) or _same_versions(manifest):
                raise
            msg = _elsewhere(path, manifest, f"cannot be rebuilt here ({error})")
            raise ModelFileError(msg) from error
        _check_scores(decoded, manifest, path)
    return decoded.model


def describe_model(
    model: Any, path: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Describe a fitted model, and the file that it was loaded from.

    Parameters
    ----------
    model : estimator
        A fitted model.
    path : str or path-like, default=None
        The model file, which also has the card.

    Returns
    -------
    facts : dict
        The description, with the keys

        - ``card``, a dict of texts (``description``, ``data``, ``limits``,
          ``licence``, ``authors``, ``date``);
        - ``metrics``, the numbers on the card;
        - ``encoders``, a list of dicts (``name``, ``class``, ``checkpoint``,
          ``revision``, ``crop``, ``fingerprint``);
        - ``columns``, ``families``, ``first_level`` and ``axes``, lists of names;
          ``axes`` is empty if there is only one axis;
        - ``n_pairs``, the number of training pairs, or None;
        - ``versions``, for each package a tuple of the version that wrote the file, or
          None, and the version installed here.

    Raises
    ------
    ModelFileError
        If the file is damaged or altered.

    See Also
    --------
    clapstack.save_model : Save a model with a card.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack import ClapStackingRegressor
    >>> from clapstack.sharing import describe_model
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> stack = ClapStackingRegressor(boosting=False).fit(X, X.sum(axis=1))
    >>> describe_model(stack)["n_pairs"]
    60
    """
    said: Mapping[str, Any] = facts_of(model)
    if path is not None:
        with open_archive(path) as archive:
            said = archive.manifest
    card, wrote = said.get("card", {}), said.get("versions", {})
    lists = ("columns", "families", "first_level", "axes")
    none: dict[str, Any] = {name: [] for name in lists}
    facts = none | {key: said[key] for key in (*none, "encoders") if key in said}
    return {
        **facts,
        "card": card_texts(card, said),
        "metrics": card.get("metrics", {}),
        "n_pairs": said.get("n_pairs"),
        "versions": {name: (wrote.get(name), own) for name, own in versions().items()},
    }


def _to_be_trusted(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names that a reader of these objects has to trust."""
    names = {entry["class"] for entry in objects} - set(CLASSES)
    places = {is_elsewhere(e["class"], e.get("state") or {}) for e in objects}
    return sorted(names | {place for place in places if place is not None})


def _rebuilt(encoder: Encoder, root: Any, trusted: Iterable[str]) -> Decoded:
    arrays = [read_array(data) for data in encoder.arrays]
    return decode(
        encoder.objects, root, arrays.__getitem__, Trust(trusted), sys.maxsize
    )


def _check_encoders(decoded: Decoded, archive: Archive) -> None:
    """Refuse a file whose card or manifest hides an encoder of its model."""
    shown = [step for _, step in steps_of(decoded.model)]
    names = {id(part): class_name(type(part)) for part in decoded.instances}
    is_ours = set(names.values()) <= set(CLASSES)  # a type of the user's may wrap one
    for part in decoded.instances:
        if names[id(part)] not in ENCODERS:
            continue
        if is_ours and not any(part is step for step in shown):
            archive.refuse(f"it contains a hidden {type(part).__name__}")
        if hasattr(part, "checkpoint") and not hasattr(part, "fingerprint_"):
            archive.refuse(f"its {type(part).__name__} has no fingerprint")
    facts = facts_of(decoded.model)
    listed = archive.manifest["encoders"]
    if facts["encoders"] != listed:
        archive.refuse("its manifest does not list the encoders of the model")
    table = checkpoint_table(facts).encode(errors="backslashreplace").decode()
    if table not in archive.card:
        archive.refuse("its card does not list the checkpoints of the model")


def _last_step(model: Any) -> Any:
    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


def _scores(decoded: Decoded) -> list[float] | None:
    """Score made-up rows with the last step; None if it is not a numeric regressor.

    A last step with an encoder is skipped, because it would read or download weights.
    """
    last = _last_step(decoded.model)
    width = getattr(last, "n_features_in_", None)
    if width is None or not is_regressor(last) or get_tags(last).input_tags.string:
        return None
    if decoded.has_encoder(last):
        return None
    # RandomState gives the same numbers in every version of NumPy.
    X = np.random.RandomState(0).standard_normal((_N_CHECKED, width))
    columns = getattr(last, "feature_names_in_", None)
    table = X if columns is None else pd.DataFrame(X, columns=columns)
    return [float(score) for score in np.ravel(last.predict(table))]


def _check_scores(
    decoded: Decoded, manifest: Mapping[str, Any], path: str | os.PathLike[str]
) -> None:
    """Compare scores with the recorded ones; without them, warn of other versions."""
    recorded = manifest["scores"]
    try:
        scores = _scores(decoded)
    except Exception as error:
        msg = _elsewhere(path, manifest, f"cannot predict here ({error!s:.500})")
        raise ModelFileError(msg) from error
    if (scores is None) != (recorded is None):
        raise damaged(
            path, "recorded scores are missing, or present without a regressor"
        )
    if scores is None or recorded is None:
        if not _same_versions(manifest):
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(decoded.model).__name__,
                    current_sklearn_version=versions()["scikit-learn"],
                    original_sklearn_version=str(manifest["versions"]["scikit-learn"]),
                ),
                stacklevel=3,
            )
        return
    if len(scores) != len(recorded):
        raise damaged(path, "it scores more rows than it was given")
    off = float(np.median(np.abs(np.subtract(scores, recorded))))
    scale = float(np.median(np.abs(recorded)))
    if not off <= _TOLERANCE * max(scale, 1e-300):
        change = f"predicts differently here (by {off:.3g} on scores of {scale:.3g})"
        raise ModelFileError(_elsewhere(path, manifest, change))


def _same_versions(manifest: Mapping[str, Any]) -> bool:
    here = versions()
    there = manifest["versions"]
    return all(there.get(name) == here[name] for name in ("clapstack", "scikit-learn"))


def _elsewhere(
    path: str | os.PathLike[str], manifest: Mapping[str, Any], trouble: str
) -> str:
    """Return the message for a file that fails with the versions installed here."""
    here = versions()
    wrote = ", ".join(f"{name} {manifest['versions'].get(name)}" for name in here)
    have = ", ".join(f"{name} {version}" for name, version in here.items())
    return (
        f"{os.fspath(path)!r} was written by {wrote}, and the model {trouble}. Install "
        f"those versions, or fit the model again with these: {have}."
    )
