"""Audio-text models of sentence-transformers, which loads and runs them."""

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
from transformers.utils import logging as reports

from clapstack._numerics.checks import first_few
from clapstack._optional import import_optional
from clapstack.audio import window_starts
from clapstack.encoders._base import checked_waveform
from clapstack.encoders._finding import find_sentence_transformer
from clapstack.encoders._mel import fill_window
from clapstack.encoders._reading import check_number, first_line
from clapstack.encoders.clap._base import ClapEncoder
from clapstack.encoders.clap._sentence_folder import copy_checked
from clapstack.exceptions import CheckpointError

# Of an extractor that takes clips of any length, as that of wav2vec 2.0 does.
_USUAL_SECONDS = 30
_NO_LIMIT = 1_000_000
# Shorter clips, of which some front ends make nothing, get zeros appended.
_SHORTEST_SECONDS = 0.1
_TRIAL_SECONDS = 1
_MISSING = re.compile(r"^(\S+)\s*\|\s*MISSING", re.MULTILINE)
_COLORS = re.compile(r"\x1b\[[\d;]*m")
# What processors and models raise on an input that they cannot take.
_SENSELESS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class SentenceTransformerEncoder(ClapEncoder):
    """A model of sentence-transformers that embeds audio and text in one space.

    The library prepares inputs and runs the model. A clip longer than what its front
    end takes would be cropped there, at random by some: here its windows are embedded,
    as with every encoder. Each input goes through the model alone, on a GPU too, since
    nothing is known of how a model treats padding.

    A fused CLAP model gets every clip as a short one, as its authors do; the front end
    of transformers marks one random clip of a batch as long.
    """

    _at_once_on_gpu: ClassVar[int] = 1

    def __init__(self, *, sentence_transformers: str, **parts: Any):
        super().__init__(**parts, tokenizer=parts["model"].tokenizer, log_mel=None)
        # The front end is theirs, and changes with them.
        self._version += f"-st{sentence_transformers}-tf{transformers.__version__}"

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        library = _library()
        folder = find_sentence_transformer(checkpoint, revision)
        with tempfile.TemporaryDirectory() as copy:
            digests = copy_checked(folder, Path(copy))
            with _quiet_and_strict(folder):
                model = library.SentenceTransformer(
                    copy,
                    device="cpu",
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs={"dtype": torch.float32},
                ).eval()
        missing = [kind for kind in ("audio", "text") if not model.supports(kind)]
        if missing:
            msg = (
                f"{folder} embeds {', '.join(map(str, model.modalities))}, and no "
                f"{' or '.join(missing)}; a model that embeds both is needed."
            )
            raise CheckpointError(msg)
        settings = {
            **_front_end(model, folder),
            "files": digests,
            "max_tokens": min(model.max_seq_length or _NO_LIMIT, _NO_LIMIT),
        }
        return partial(
            cls,
            model=model,
            projection_dim=_width(model, settings["sample_rate"], folder),
            settings=settings,
            source=str(folder),
            sentence_transformers=library.__version__,
        )

    def check_pairs(self) -> None:
        """Refuse a model that does not embed a clip and a text together."""
        if not self._model.supports(("audio", "text")):
            msg = (
                f"{self.source} embeds {', '.join(map(str, self._model.modalities))}, "
                f"and no audio together with text. Leave joint at 'separate'."
            )
            raise CheckpointError(msg)
        self.encode_pairs([_noise(self.sample_rate)], ["a sound"])

    def encode_pairs(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        texts: Sequence[str],
        *,
        crop: str = "windows",
    ) -> NDArray[np.float32]:
        """Embed clips and texts together.

        Parameters
        ----------
        waveforms : sequence of ndarray of shape (n_samples,), float32
            As for `encode_audio`.
        texts : sequence of str
            One for each.
        crop : {"windows", "center", "start"}, default="windows"
            As for `encode_audio`; every window is embedded with the text.

        Returns
        -------
        embeddings : ndarray of shape (n_waveforms, projection_dim), float32
            Rows of unit norm.
        """
        pieces = self._audio_pieces(waveforms, crop, texts)
        return self._averaged(pieces, len(texts), 1).astype(np.float32)

    def _audio_pieces(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        crop: str,
        texts: Sequence[str] | None = None,
    ) -> Iterator[tuple[int, Any, bool]]:
        """Yield windows as the library prepares them: here, not in several threads."""
        shortest = int(_SHORTEST_SECONDS * self.sample_rate)
        for row, waveform in enumerate(waveforms):
            waveform = checked_waveform(waveform, row)
            text = {} if texts is None else {"text": texts[row]}
            for start in window_starts(len(waveform), self.window, crop):
                piece = waveform[start : start + self.window]
                if len(piece) < shortest:
                    piece = fill_window(piece, shortest, "pad")
                clip = _clip(piece, self.sample_rate)
                yield row, self._prepared({"audio": clip, **text}), False

    def _tokens(self, texts: Sequence[str]) -> list[Any]:
        for text in texts:
            if not isinstance(text, str):
                msg = f"Texts must be strings; got {type(text).__name__}: {text!r}."
                raise TypeError(msg)
        prepared = [self._prepared({"text": text}) for text in texts]
        lengths = [len(ids) for ids in self._words(texts)]
        self._warn_of_cut(
            texts, [row for row, n in enumerate(lengths) if n > self.max_tokens]
        )
        return prepared

    def _words(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer(list(texts), verbose=False)["input_ids"] if texts else []

    def _text_batches(self, tokens: Sequence[Any], batch_size: int) -> list[list[int]]:
        return [[row] for row in range(len(tokens))]

    def _embed_pieces(
        self, batch: Sequence[tuple[int, Any, bool]]
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        ((row, features, _),) = batch
        return (row,), self._embed_text([features])

    def _embed_text(self, tokens: list[Any]) -> torch.Tensor:
        (features,) = tokens
        with self._named("an input"):
            return _embedded(self._model, features, self.device, self._dtype)

    def _prepared(self, item: dict[str, Any]) -> Any:
        with self._named(repr(item.get("text", "a clip"))):
            return _prepared(self._model, item)

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Say which input the library cannot take."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except _SENSELESS as error:
            msg = (
                f"{self.source} cannot embed {what}: {type(error).__name__}: "
                f"{first_line(error)}. Leave it out, or take another checkpoint."
            )
            raise ValueError(msg) from error


def _library() -> Any:
    """Import sentence-transformers, of a version that embeds audio."""
    needs = {
        "extra": "sentence-transformers",
        "caller": "SentenceTransformerPairFeatures",
    }
    library = import_optional("sentence_transformers", **needs)
    version = library.__version__
    if tuple(map(int, version.split(".")[:2])) < (6, 2):
        msg = (
            f"SentenceTransformerPairFeatures needs sentence-transformers 6.2 or later; "
            f'{version} is installed. pip install -U "clapstack[sentence-transformers]"'
        )
        raise ImportError(msg)
    return library


def _clip(waveform: NDArray[np.float32], sample_rate: int) -> dict[str, Any]:
    return {"array": waveform, "sampling_rate": sample_rate}


def _noise(sample_rate: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).standard_normal(_TRIAL_SECONDS * sample_rate)
    return 0.1 * noise.astype(np.float32)


def _prepared(model: Any, item: dict[str, Any]) -> Any:
    """Return what a model takes of one input, as `SentenceTransformer.encode` does.

    A text comes as {"text": …}: alone, one such as "rain.wav" would be taken for a file
    to read, and an address for one to fetch.
    """
    prompt = model.prompts.get(model.default_prompt_name)
    features = model.preprocess([item], prompt=prompt)
    if "is_longer" in features:
        features["is_longer"] = torch.zeros_like(torch.as_tensor(features["is_longer"]))
    return features


def _embedded(
    model: Any,
    features: Any,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return the embedding of one prepared input, of shape (1, projection_dim)."""
    moved = {
        name: value.to(device, dtype if value.is_floating_point() else None)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in features.items()
    }
    with torch.inference_mode():
        return model(moved)["sentence_embedding"]


def _front_end(model: Any, folder: Path) -> dict[str, int]:
    """Return the rate of a model's audio, and how many samples it takes at most."""
    processors = [getattr(m, "processor", None) for m in model.modules()]
    extractors = [getattr(p, "feature_extractor", p) for p in processors]
    rates = [e for e in extractors if getattr(e, "sampling_rate", None)]
    if not rates:
        msg = f"{folder} says of no front end at what rate it takes audio."
        raise CheckpointError(msg)
    extractor = rates[0]
    rate = extractor.sampling_rate
    check_number(rate, 1000, 768_000, f"sampling_rate of {folder}")
    default = inspect.signature(extractor.__call__).parameters.get("max_length")
    limits = [
        getattr(extractor, "nb_max_samples", None),  # of CLAP
        getattr(extractor, "n_samples", None),  # of Whisper
        default and default.default,  # of Gemma
        *(
            m.processing_kwargs.get("audio", {}).get("max_length")
            for m in model.modules()
            if hasattr(m, "processing_kwargs")
        ),
    ]
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    window = min(known, default=_USUAL_SECONDS * rate)
    return {"sample_rate": rate, "window": window}


def _width(model: Any, sample_rate: int, folder: Path) -> int:
    """Return the length of an embedding; refuse towers that differ, and chance."""
    clip = {"audio": _clip(_noise(sample_rate), sample_rate)}
    first, second, text = (
        _embedded(model, _prepared(model, item))
        for item in (clip, clip, {"text": "a sound"})
    )
    if first.shape != text.shape:
        msg = (
            f"{folder} embeds audio in {first.shape[-1]} and text in {text.shape[-1]} "
            f"dimensions; a model with one space for both is needed."
        )
        raise CheckpointError(msg)
    if not torch.equal(first, second):
        msg = (
            f"{folder} embeds one clip twice and gets two embeddings: its front end or "
            f"its model draws at random, such as the 'dither' of an extractor. Set "
            f"that to zero in a copy of the folder."
        )
        raise CheckpointError(msg)
    return int(text.shape[-1])


@contextmanager
def _quiet_and_strict(folder: Path) -> Iterator[None]:
    """Load without progress bars; refuse weights that the library would draw.

    It draws at random what a file lacks, and reports that as a warning.
    """
    report = _Report(logging.WARNING)
    logger = logging.getLogger("transformers.modeling_utils")
    verbosity, shown = reports.get_verbosity(), reports.is_progress_bar_enabled()
    logger.addHandler(report)
    logger.propagate = False
    reports.set_verbosity_warning()  # of which no warning would come otherwise
    reports.disable_progress_bar()
    try:
        yield
    finally:
        logger.removeHandler(report)
        logger.propagate = True
        reports.set_verbosity(verbosity)
        if shown:
            reports.enable_progress_bar()
    if report.missing:
        msg = (
            f"{folder} does not match its model. Tensors missing: "
            f"{first_few(report.missing)}. Fetch it again from its publisher."
        )
        raise CheckpointError(msg)


class _Report(logging.Handler):
    """Names of the tensors that transformers reports as missing."""

    def __init__(self, level: int):
        super().__init__(level)
        self.missing: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Read one record."""
        self.missing += _MISSING.findall(_COLORS.sub("", record.getMessage()))
