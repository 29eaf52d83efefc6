"""Audio-text models loaded and run by sentence-transformers."""

from __future__ import annotations

import inspect
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import ASTFeatureExtractor, ClapModel
from transformers.utils import logging as reports

from clapstack._numerics.checks import first_few
from clapstack._optional import import_optional
from clapstack.encoders._base import checked_waveform
from clapstack.encoders._finding import find_sentence_transformer, refuse_dropout
from clapstack.encoders._mel import fill_window
from clapstack.encoders._reading import check_number, first_line, reason_of
from clapstack.encoders.clap._base import ClapEncoder
from clapstack.encoders.clap._projections import warn_if_untrained
from clapstack.encoders.clap._sentence_folder import copy_checked
from clapstack.exceptions import CheckpointError

# Window for extractors that accept clips of any length, such as wav2vec 2.0's.
_USUAL_SECONDS = 30
# Zeros are appended to shorter clips, for which some front ends return nothing.
_SHORTEST_SECONDS = 0.025
_NO_LIMIT = 1_000_000
_WRONG = re.compile(r"^(\S+)\s*\|\s*(MISSING|MISMATCH)", re.MULTILINE)
_FAULTS = {"MISSING": "missing", "MISMATCH": "of wrong shape"}
_COLORS = re.compile(r"\x1b\[[\d;]*m")


class SentenceTransformerEncoder(ClapEncoder):
    """A model of sentence-transformers that embeds audio and text in one space.

    The library prepares inputs and runs the model. Its front ends would crop a long
    clip, some of them at random; here windows are embedded, as with every encoder. Each
    input is encoded alone, even on a GPU, since the model's treatment of padding is
    unknown.

    A fused CLAP model receives every clip as a short one, as in its authors' code; the
    front end of transformers marks one random clip of a batch as long.
    """

    _at_once_on_gpu: ClassVar[int] = 1

    def __init__(self, *, sentence_transformers: str, **parts: Any):
        super().__init__(**parts, tokenizer=parts["model"].tokenizer, log_mel=None)
        # The front end belongs to these libraries and changes with their versions.
        self._version += f"-st{sentence_transformers}-tf{transformers.__version__}"

    @property
    def text_identity(self) -> str:
        """`identity`: the fingerprint covers all files of the tokenizer."""
        return self.identity

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        library = _library()
        folder = find_sentence_transformer(checkpoint, revision)
        with tempfile.TemporaryDirectory() as copy, _quiet_and_strict(folder, copy):
            digests = copy_checked(folder, Path(copy))
            model = library.SentenceTransformer(
                copy,
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": torch.float32},
            ).eval()
        if not (model.supports("audio") and model.supports("text")):
            embedded = ", ".join(map(str, model.modalities)) or "nothing"
            msg = (
                f"{folder} embeds {embedded}; use a model that embeds both audio and "
                f"text."
            )
            raise CheckpointError(msg)
        refuse_dropout(model.tokenizer, folder)
        if model.truncate_dim is not None:
            place = f"truncate_dim in {folder / 'config_sentence_transformers.json'}"
            check_number(model.truncate_dim, 1, _NO_LIMIT, place)
        for part in model.modules():
            if isinstance(part, ClapModel):
                heads = {"audio": part.audio_projection, "text": part.text_projection}
                warn_if_untrained(heads, folder, part)
        limit = min(model.max_seq_length or _NO_LIMIT, _NO_LIMIT)
        prompt = model.tokenizer(_prompt(model), add_special_tokens=False)["input_ids"]
        settings: dict[str, Any] = {
            **_front_end(model, folder),
            "files": digests,
            # The library prepends the prompt to each text.
            "max_tokens": limit - len(prompt),
            "suffix": "",
        }
        return partial(
            cls,
            model=model,
            projection_dim=_width(model, settings["sample_rate"], folder),
            settings=settings,
            source=str(folder),
            sentence_transformers=library.__version__,
        )

    def encode_pairs(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        texts: Sequence[str],
        *,
        crop: str = "windows",
    ) -> NDArray[np.float32]:
        """Embed each clip together with its text.

        `waveforms` and `crop` are as for `encode_audio`; every window of a clip is
        embedded with the text. Returns rows of unit norm, of shape (n_waveforms,
        projection_dim), float32.
        """
        if not self._model.supports(("audio", "text")):
            msg = (
                f"{self.source} does not embed audio and text together. Use "
                f"joint='separate'."
            )
            raise CheckpointError(msg)
        pieces = (
            (row, *piece)
            for row, (waveform, text) in enumerate(zip(waveforms, texts, strict=True))
            for piece in self._pieces(checked_waveform(waveform, row), crop, text=text)
        )
        return self._averaged(pieces, len(texts), 1).astype(np.float32)

    def _pieces(
        self, waveform: NDArray[np.float32], crop: str, **more: str
    ) -> Iterator[tuple[Any, bool]]:
        """Yield windows prepared by the library, in this thread only."""
        shortest = int(_SHORTEST_SECONDS * self.sample_rate)
        if len(waveform) < shortest:
            waveform = fill_window(waveform, shortest, "pad")
        for piece, _ in super()._pieces(waveform, crop):
            yield self._of_item({**_clip(piece, self.sample_rate), **more}), False

    def _tokens(self, texts: Sequence[str]) -> list[Any]:
        super()._tokens(texts)  # rejects non-strings and warns about truncation
        return [self._of_item({"text": text}) for text in texts]

    def _of_item(self, item: dict[str, Any]) -> Any:
        try:
            return _prepared(self._model, item)
        # For example, a text with the placeholder of a clip.
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            msg = (
                f"{self.source} cannot embed {item.get('text', 'a clip')!r}: "
                f"{type(error).__name__}: {first_line(error)}."
            )
            raise ValueError(msg) from error

    def _text_batches(self, tokens: Sequence[Any], batch_size: int) -> list[list[int]]:
        return [[row] for row in range(len(tokens))]

    def _embed_pieces(
        self, batch: Sequence[tuple[int, Any, bool]]
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        ((row, features, _),) = batch
        return (row,), self._embed_text([features])

    def _embed_text(self, tokens: list[Any]) -> torch.Tensor:
        (features,) = tokens
        moved = {
            name: value.to(
                self.device, self._dtype if value.is_floating_point() else None
            )
            if isinstance(value, torch.Tensor)
            else value
            for name, value in features.items()
        }
        return _embedded(self._model, moved)


def _library() -> Any:
    """Import sentence-transformers in a version that embeds audio."""
    extra, caller = "sentence-transformers", "SentenceTransformerPairFeatures"
    library = import_optional("sentence_transformers", extra=extra, caller=caller)
    version = library.__version__
    if tuple(map(int, version.split(".")[:2])) < (6, 2):
        msg = (
            f"{caller} needs {extra} 6.2 or later; {version} is installed. Update it "
            f'with: pip install -U "clapstack[{extra}]"'
        )
        raise ImportError(msg)
    return library


def _clip(waveform: NDArray[np.float32], sample_rate: int) -> dict[str, Any]:
    return {"audio": {"array": waveform, "sampling_rate": sample_rate}}


def _prepared(model: Any, item: dict[str, Any]) -> Any:
    """Return one input prepared as in `SentenceTransformer.encode`.

    A text comes as {"text": …}: a plain one such as "rain.wav" would be read as a file,
    and an address downloaded.
    """
    features = model.preprocess([item], prompt=_prompt(model))
    if "is_longer" in features:
        features["is_longer"] = torch.zeros_like(torch.as_tensor(features["is_longer"]))
    return features


def _prompt(model: Any) -> str:
    """Return the prompt that the library prepends to a text, or the empty string."""
    return model.prompts.get(model.default_prompt_name) or ""


def _embedded(model: Any, features: Any) -> torch.Tensor:
    """Run a model as in `SentenceTransformer.encode`, including `truncate_dim`."""
    return model(features)["sentence_embedding"][:, : model.truncate_dim]


def _front_end(model: Any, folder: Path) -> dict[str, int]:
    """Return the sample rate of a model's audio and its maximum number of samples."""
    parts = [part for part in model.modules() if hasattr(part, "processing_kwargs")]
    found = [getattr(p.processor, "feature_extractor", p.processor) for p in parts]
    extractor = next((e for e in found if hasattr(e, "sampling_rate")), None)
    rate: Any = getattr(extractor, "sampling_rate", None)
    check_number(rate, 1000, 768_000, f"sampling_rate of the front end in {folder}")
    limit = inspect.signature(type(extractor).__call__).parameters.get("max_length")
    limits = [
        getattr(extractor, "nb_max_samples", None),  # of CLAP
        getattr(extractor, "n_samples", None),  # of Whisper
        limit and limit.default,  # of Gemma
        *(part.processing_kwargs.get("audio", {}).get("max_length") for part in parts),
    ]
    if isinstance(extractor, ASTFeatureExtractor):
        limits.append(extractor.max_length * rate // 100)  # of frames, 100 a second
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    window = min(known, default=_USUAL_SECONDS * rate)
    noise = _noise(window)
    ending = _noise(min(rate // 10, window // 2))
    clips = [noise, noise, np.append(noise[: -len(ending)], ending)]
    first, again, other = (_prepared(model, _clip(clip, rate)) for clip in clips)
    _refuse_chance(_equal(first, again), folder)
    if _equal(first, other):
        msg = (
            f"{folder} ignores the end of a clip of {window / rate:g} s, but does not "
            f"specify its maximum length. Set max_length (samples) for 'audio' in the "
            f"processing_kwargs of its sentence_bert_config.json."
        )
        raise CheckpointError(msg)
    return {"sample_rate": rate, "window": window}


def _width(model: Any, sample_rate: int, folder: Path) -> int:
    """Return the length of an embedding; reject unequal towers and random results."""
    clip = _clip(_noise(sample_rate), sample_rate)
    with torch.inference_mode():
        first, again, text = (
            _embedded(model, dict(_prepared(model, item)))
            for item in (clip, clip, {"text": "a sound"})
        )
    if first.shape != text.shape:
        msg = (
            f"{folder} embeds audio in {first.shape[-1]} and text in {text.shape[-1]} "
            f"dimensions; use a model with one space for both."
        )
        raise CheckpointError(msg)
    # NaN from damaged weights is rejected with the first embedding.
    _refuse_chance(torch.equal(first.nan_to_num(), again.nan_to_num()), folder)
    return int(text.shape[-1])


def _noise(n_samples: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).standard_normal(n_samples)
    return 0.1 * noise.astype(np.float32)


def _equal(first: Any, other: Any) -> bool:
    """Return whether two prepared inputs are the same."""
    tensors = [name for name, value in first.items() if torch.is_tensor(value)]
    return all(torch.equal(first[name], other[name]) for name in tensors)


def _refuse_chance(equal: bool, folder: Path) -> None:
    if not equal:
        msg = (
            f"{folder} returns different embeddings for the same clip: its front end "
            f"or its model is random, for example through an extractor's 'dither'. Set "
            f"that to zero in a copy of the folder."
        )
        raise CheckpointError(msg)


class _Report(logging.Handler):
    """Collects the tensors that transformers reports as missing or misshapen."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        for name, fault in _WRONG.findall(_COLORS.sub("", record.getMessage())):
            self.tensors.setdefault(_FAULTS[fault], []).append(name)


@contextmanager
def _quiet_and_strict(folder: Path, copy: str) -> Iterator[None]:
    """Load without progress bars; reject missing weights.

    The library initialises missing weights at random and only warns.
    """
    report, fault = _Report(), None
    logger = logging.getLogger("transformers.modeling_utils")
    verbosity, shown = reports.get_verbosity(), reports.is_progress_bar_enabled()
    logger.addHandler(report)
    logger.propagate = False
    reports.set_verbosity_warning()  # a higher level would suppress the report
    reports.disable_progress_bar()
    try:
        yield
    except (CheckpointError, ImportError, MemoryError):
        raise
    # Damaged files raise errors of any of four libraries.
    except Exception as error:
        fault = error
    finally:
        logger.removeHandler(report)
        logger.propagate = True
        reports.set_verbosity(verbosity)
        if shown:
            reports.enable_progress_bar()
    if report.tensors:
        faults = [f"{what}: {first_few(t)}" for what, t in report.tensors.items()]
        msg = (
            f"{folder} does not match its model. Tensors {'; '.join(faults)}. Download "
            f"it again from its publisher."
        )
        raise CheckpointError(msg) from fault
    if fault is not None:
        reason = reason_of(fault).replace(copy, str(folder))
        msg = f"{folder} cannot be loaded by sentence-transformers: {reason}."
        raise CheckpointError(msg) from fault
