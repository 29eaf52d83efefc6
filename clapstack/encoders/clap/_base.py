"""Base class of CLAP encoders: windows, batches of texts, unit norm."""

from __future__ import annotations

import hashlib
import json
import reprlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack._compat import batched
from clapstack._numerics.collapse import warn_if_collapsed
from clapstack.audio import window_starts
from clapstack.encoders._base import FrozenEncoder, checked_waveform, fingerprint_of
from clapstack.encoders._mel import (
    FRONT_END_VERSION,
    LogMel,
    fill_window,
    tile_frames,
)
from clapstack.encoders._parallel import side_by_side
from clapstack.exceptions import CheckpointError

# Texts are padded to a multiple of this many tokens, so that texts of similar length
# share a pass.
_TOKENS_STEP = 4
# Tokens of one forward pass on a CPU. Products of fewer than 16 rows use kernels that
# round differently, and 24 rows take no longer. Products of more than 512 rows may use
# yet other kernels and are not faster.
_FEWEST_TOKENS, _MOST_TOKENS = 24, 512
# Number of copies of a short clip in a window, by padding, see `fill_window`.
_COPIES: dict[str, Callable[[int, int], int]] = {
    "repeat": lambda window, size: -(-window // size),
    "repeatpad": lambda window, size: window // size,
    "pad": lambda window, size: 1,
}
# Texts whose tokens show settings of a tokenizer that its backend does not contain.
_TRIAL_TEXTS = ["A dog barks,  twice!", "storms over Zürich in 2024", "犬 \u2603"]


class ClapEncoder(FrozenEncoder):
    """A frozen CLAP model that maps waveforms and texts to unit-norm arrays.

    Created by :func:`load_encoder`. The same input always has the same embedding:
    cropping is not random, and results do not depend on the batch size, the order or
    other inputs in the same call. On a CPU this holds to the last bit for clips,
    because every window is processed by kernels of the same shape, with one thread (see
    :mod:`clapstack.encoders._parallel`). For texts it holds if kernels round all rows
    of a product alike, as MKL's for AVX-512 do. Elsewhere, and on a GPU, it holds to
    about 1e-7, the rounding of float32.

    A subclass whose `_embed_audio` processes windows separately on a CPU may set
    `_at_once_on_cpu`. One without a `log_mel` implements `_audio_pieces` and
    `_embed_pieces`.

    Parameters
    ----------
    model : Module
        Loaded weights in float32, the audio tower as `audio_model`.
    tokenizer : PreTrainedTokenizer
        Its end token is kept when a text is truncated to `max_tokens`.
    log_mel : LogMel or None
        The front end; None for a model that has its own or that accepts samples.
    projection_dim : int
        Length of an embedding.
    settings : mapping of plain values
        Everything else that embeddings depend on; part of the fingerprint. At least
        "sample_rate" (Hz), "window" (samples), "padding" (see :func:`fill_window`),
        "max_tokens" and "suffix" (appended to every text).
    source : str
        Origin of the weights, for error messages.
    device : str
        A torch device.
    dtype : {"float32", "bfloat16"}
        Precision of the two towers; the front end always uses float64.

    Attributes
    ----------
    sample_rate : int
        Required sample rate of waveforms, in hertz.
    window : int
        Length of the model's input, in samples.
    projection_dim : int
        Length of an embedding.
    fingerprint : str
        SHA-256 of weights, vocabulary and front-end settings, in hex. Equal on every
        machine, and for a file in half precision and its copy in single precision.
    collapsed : set of str
        The towers, "audio" and "text", that a warning has reported as collapsed.
    """

    # Enough to keep a GPU busy while the next ones are prepared.
    _at_once_on_gpu: ClassVar[int] = 64
    _inputs: ClassVar[str] = "windows"
    #: Whether `encode_windows` supports the method "dense".
    has_dense_windows: ClassVar[bool] = False

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        tokenizer: Any,
        log_mel: LogMel | None,
        projection_dim: int,
        settings: Mapping[str, Any],
        source: str,
        device: str,
        dtype: str,
    ):
        super().__init__(
            model=model,
            settings=settings,
            fingerprint=fingerprint_of(model, settings, tokenizer),
            source=source,
            device=device,
            dtype=dtype,
        )
        self.projection_dim = projection_dim
        self.max_tokens: int = settings["max_tokens"]
        self.collapsed: set[str] = set()
        self._version = f"{self.fingerprint}-{dtype}-f{FRONT_END_VERSION}"
        self._tokenizer = tokenizer
        self._pad_id: int = tokenizer.pad_token_id
        self._warned_of_cut = False
        self._log_mel: Any = log_mel and log_mel.to(self._front_end_device)

    def encode_audio(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        *,
        crop: str = "windows",
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Embed waveforms.

        Parameters
        ----------
        waveforms : sequence of ndarray of shape (n_samples,), float32
            Mono, at `sample_rate`, usually within [-1, 1].
        crop : {"windows", "center", "start"}, default="windows"
            How to embed a clip longer than the window: embed windows that cover it,
            average their unit embeddings and renormalise (a fused LAION model processes
            the whole clip in one pass instead); or embed a single window.
        batch_size : int, default=32
            Maximum number of windows per pass. On a CPU it is one to four, with as many
            parallel passes as PyTorch has threads; on a GPU at most 64, while the next
            ones are prepared. If a GPU runs out of memory, the number is halved from
            then on, with a warning.

        Returns
        -------
        embeddings : ndarray of shape (n_waveforms, projection_dim), float32
            Rows of unit norm.

        Raises
        ------
        AudioError
            If a waveform is not a non-empty 1-D array of finite numbers.
        CheckpointError
            If the norm of an embedding is zero or not finite.

        Warns
        -----
        CollapsedTowerWarning
            Once, if eight or more distinct inputs have nearly the same embedding.
        """
        pieces = self._audio_pieces(waveforms, crop)
        units = self._averaged(pieces, len(waveforms), batch_size)
        self._warn_if_collapsed("audio", units, waveforms)
        return units.astype(np.float32)

    @property
    def text_identity(self) -> str:
        """Everything that an embedding of a text depends on besides the text.

        `identity` and the whole tokenizer, of which `fingerprint` covers only the
        vocabulary.
        """
        return f"{self.identity}-{self._tokenizer_digest}"

    @cached_property
    def _tokenizer_digest(self) -> str:
        return _digest_of(self._tokenizer)

    @property
    def cuts_windows(self) -> bool:
        """Whether `encode_windows` is available: it requires clapstack's front end."""
        return self._log_mel is not None

    def encode_windows(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        starts: Sequence[Sequence[float]],
        length: float,
        *,
        method: str = "tiled",
    ) -> list[NDArray[np.float32]]:
        """Embed short windows of waveforms.

        Parameters
        ----------
        waveforms : sequence of ndarray of shape (n_samples,), float32
            As for `encode_audio`.
        starts : sequence of sequence of float
            Start times of each waveform's windows, in seconds.
        length : float
            Length of a window in seconds; at most the length of the model's input.
        method : {"tiled", "dense"}, default="tiled"
            "tiled" cuts the frames of a window from the spectrogram of the whole clip
            and repeats them, like the samples of a short clip. The cosine with the
            embedding of the window as a separate clip is .998 in the median and .90 at
            least (500 simulated scenes). "dense" computes the tower's last states for
            the whole clip and projects their mean within the window: as fast as
            `encode_audio`, but states also depend on the surroundings of the window.

        Returns
        -------
        embeddings : list of ndarray of shape (n_windows, projection_dim), float32
            Rows of unit norm. A waveform no longer than `length` has one row, that of
            `encode_audio`.

        Raises
        ------
        AudioError
            If a waveform is not a non-empty 1-D array of finite numbers.
        CheckpointError
            If the norm of an embedding is zero or not finite.
        ValueError
            If `length` exceeds the model's input, or its tower has no states in order
            of time.
        """
        size = round(length * self.sample_rate)
        if not 0 < size <= self.window:
            msg = (
                f"Windows of {length} s do not fit the input of {self.source}, which "
                f"is {self.window / self.sample_rate:g} s long. Pass a length up to "
                "that."
            )
            raise ValueError(msg)
        if method == "dense" and not self.has_dense_windows:
            msg = (
                f"The audio tower of {self.source} has no states in order of time, "
                "which dense windows require. Use 'tiled'."
            )
            raise ValueError(msg)
        embed = {"tiled": self._embed_tiled, "dense": self._embed_dense}[method]

        def embed_one(job: tuple[NDArray[np.float32], Sequence[float]]) -> torch.Tensor:
            waveform, begins = job
            if len(waveform) <= size:
                return self._embed_pieces([(0, self._prepared(waveform), False)])[1]
            return embed(self._prepared(waveform), begins, size)

        jobs = [
            (checked_waveform(waveform, row), begins)
            for row, (waveform, begins) in enumerate(
                zip(waveforms, starts, strict=True)
            )
        ]
        with convolutions_like_products():
            embedded = self._passes(embed_one, jobs)
            return [
                self._unit(_to_numpy(of_clip), "waveform", [row] * len(of_clip)).astype(
                    np.float32
                )
                for row, of_clip in enumerate(embedded)
            ]

    def encode_text(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Embed texts.

        Equal texts are embedded once; texts of similar length share a batch.

        Parameters
        ----------
        texts : sequence of str
            A text of more than `max_tokens` tokens is truncated; its end token is kept.
        batch_size : int, default=32
            Maximum number of texts per pass. On a CPU, a pass has at most 512 tokens.

        Returns
        -------
        embeddings : ndarray of shape (n_texts, projection_dim), float32
            Rows of unit norm.

        Raises
        ------
        TypeError
            If a text is not a string.
        CheckpointError
            If an embedding comes out with a norm that is zero or not finite.

        Warns
        -----
        CollapsedTowerWarning
            Once, if eight or more distinct inputs have nearly the same embedding.
        UserWarning
            Once, with their number, if texts are truncated.
        """
        unique = list(dict.fromkeys(texts))
        tokens = self._tokens(unique)
        units = np.zeros((len(tokens), self.projection_dim))
        batches = self._text_batches(tokens, batch_size)

        def embed(rows: list[int]) -> torch.Tensor:
            return self._embed_text([tokens[row] for row in rows])

        for rows, embedded in zip(batches, self._passes(embed, batches), strict=True):
            labels = [unique[row] for row in rows]
            units[rows] = self._unit(_to_numpy(embedded), "text", labels)
        self._warn_if_collapsed("text", units, unique)
        row_of = {text: row for row, text in enumerate(unique)}
        return units.astype(np.float32)[[row_of[text] for text in texts]]

    def _averaged(
        self, pieces: Iterable[tuple[int, Any, bool]], n_rows: int, batch_size: int
    ) -> NDArray[np.float64]:
        """Embed pieces; return each row's mean of unit embeddings, at unit norm."""
        totals = np.zeros((n_rows, self.projection_dim))
        at_once = min(batch_size, self._at_once)
        if self.device.type == "cpu":  # spread few clips over the cores
            at_once = min(at_once, max(1, n_rows // torch.get_num_threads()))
        batches = self._batches(pieces, at_once)
        with convolutions_like_products():
            done = self._passes(self._embed_pieces, batches)
            if done:  # fetched last, so that nothing waits for a GPU before
                rows = [row for of_clips, _ in done for row in of_clips]
                embedded = torch.cat([embeddings for _, embeddings in done])
                units = self._unit(_to_numpy(embedded), "waveform", rows)
                np.add.at(totals, rows, units)
        return self._unit(totals, "waveform", range(n_rows))

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        """Embed inputs of shape (n, n_channels, n_frames, n_mels).

        `longer`, on the CPU, marks the inputs that a fused model must fuse.
        """
        raise NotImplementedError

    @abstractmethod
    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        """Embed tokenized texts."""

    def _passes(self, embed: Callable[[Any], Any], batches: Iterable[Any]) -> list[Any]:
        """Apply `embed` to each batch."""
        if self.device.type == "cpu":
            return side_by_side(embed, batches)
        with torch.inference_mode():
            return [embed(batch) for batch in batches]

    def _text_batches(
        self, tokens: Sequence[Sequence[int]], batch_size: int
    ) -> list[list[int]]:
        """Return the positions of the texts in each forward pass.

        On a CPU, texts of equal padded length share a pass, so that none is padded
        because of another. Small passes are filled with copies of a text to a number of
        tokens from which products round alike.
        """
        by_length = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        if self.device.type != "cpu":
            return list(batched(by_length, batch_size))
        batches = []
        alike = groupby(by_length, key=lambda row: self._padded(tokens[row]))
        for length, rows in alike:
            fewest = -(-_FEWEST_TOKENS // length)
            most = max(fewest, min(batch_size, _MOST_TOKENS // length))
            for batch in batched(rows, most):
                batches.append(batch + batch[-1:] * (fewest - len(batch)))
        return batches

    def _padded(self, ids: Sequence[int]) -> int:
        """Return the number of tokens of a padded text."""
        return min(-(-len(ids) // _TOKENS_STEP) * _TOKENS_STEP, self.max_tokens)

    def _pad_tokens(
        self, tokens: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stack token ids, on the device of the model.

        Returns
        -------
        input_ids, attention_mask : Tensor of shape (n, longest), int64
            Right-padded with the padding's id; 1 for tokens, 0 for padding.
        """
        longest = max(self._padded(ids) for ids in tokens)
        input_ids = torch.full((len(tokens), longest), self._pad_id)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(tokens):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            attention_mask[row, : len(ids)] = 1
        return input_ids.to(self.device), attention_mask.to(self.device)

    def _batches(self, pieces: Iterable[Any], at_once: int) -> Iterable[Any]:
        """Group pieces as `_audio_pieces` yields them; equal shapes share a pass."""
        return batched(pieces, at_once)

    def _embed_pieces(
        self, batch: Sequence[tuple[int, NDArray[np.float32], bool]]
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        """Embed pieces as `_audio_pieces` yields them; return their clips too."""
        of_clips, pieces, longer = zip(*batch, strict=True)
        mels = self._mels(pieces, longer).to(self.device, self._dtype)
        embeddings = self._in_parts_that_fit(
            self._embed_audio, mels, torch.tensor(longer)
        )
        return of_clips, embeddings

    def _prepared(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a waveform in the form that the front end expects."""
        return waveform

    def _embed_tiled(
        self, waveform: NDArray[np.float32], starts: Sequence[float], size: int
    ) -> torch.Tensor:
        """Embed windows of `size` samples, cut from the clip's spectrogram."""
        parts = []
        whole = None
        if isinstance(self._log_mel, LogMel):
            samples = torch.tensor(waveform).to(self._log_mel.bank.device)
            whole = self._log_mel(samples[None])[0]
        for some in batched(starts, self._at_once):
            mels = self._window_mels(waveform, whole, some, size)
            parts.append(
                self._in_parts_that_fit(
                    self._embed_audio,
                    mels.to(self.device, self._dtype),
                    torch.zeros(len(mels), dtype=torch.bool),
                )
            )
        return torch.cat(parts)

    def _window_mels(
        self,
        waveform: NDArray[np.float32],
        whole: torch.Tensor | None,
        starts: Sequence[float],
        size: int,
    ) -> torch.Tensor:
        """Return the inputs of the audio tower for some windows of a clip."""
        if whole is None:  # the tower accepts samples
            begins = [round(start * self.sample_rate) for start in starts]
            pieces = [waveform[begin : begin + size] for begin in begins]
            return self._mels(pieces, [False] * len(pieces))
        hop_length = self._log_mel.hop_length
        n_frames = round(size / hop_length)
        last = len(whole) - n_frames
        return tile_frames(
            whole,
            [min(round(s * self.sample_rate / hop_length), last) for s in starts],
            n_frames,
            1 + self.window // hop_length,
            n_copies=_COPIES[self._settings["padding"]](self.window, size),
            silence=self._log_mel.silence,
        )[:, None]

    def _embed_dense(
        self, waveform: NDArray[np.float32], starts: Sequence[float], size: int
    ) -> torch.Tensor:
        """Embed windows of `size` samples, if `has_dense_windows`."""
        raise NotImplementedError

    def _pieces(
        self, waveform: NDArray[np.float32], crop: str
    ) -> Iterator[tuple[NDArray[np.float32], bool]]:
        """Yield the parts of a clip to encode, and whether to fuse each."""
        for start in window_starts(len(waveform), self.window, crop):
            yield waveform[start : start + self.window], False

    def _mels(
        self, pieces: Sequence[NDArray[np.float32]], longer: Sequence[bool]
    ) -> torch.Tensor:
        """Return the inputs of the audio tower, for pieces no longer than a window."""
        pinned = self.device.type == "cuda"
        windows = torch.empty(len(pieces), self.window, pin_memory=pinned)
        for row, piece in zip(windows.numpy(), pieces, strict=True):
            row[:] = fill_window(piece, self.window, self._settings["padding"])
        # From pinned memory, so that the copy does not wait for running kernels.
        windows = windows.to(self._log_mel.bank.device, non_blocking=pinned)
        return self._log_mel(windows)[:, None]

    def _audio_pieces(
        self, waveforms: Sequence[NDArray[np.float32]], crop: str
    ) -> Iterator[tuple[int, NDArray[np.float32], bool]]:
        for row, waveform in enumerate(waveforms):
            for piece, longer in self._pieces(checked_waveform(waveform, row), crop):
                yield row, piece, longer

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        for text in texts:
            if not isinstance(text, str):
                msg = f"Texts must be strings; got {type(text).__name__}: {text!r}."
                raise TypeError(msg)
        if not texts:
            return []
        # Truncated here: the tokenizer's own truncation is state, unsafe in threads.
        suffixed = [text + self._settings["suffix"] for text in texts]
        tokens = self._tokenizer(suffixed, verbose=False)["input_ids"]
        long = [row for row, ids in enumerate(tokens) if len(ids) > self.max_tokens]
        for row in long:
            tokens[row] = [*tokens[row][: self.max_tokens - 1], tokens[row][-1]]
        if long and not self._warned_of_cut:
            self._warned_of_cut = True
            msg = (
                f"{len(long)} of {len(texts)} texts encoded together have more than "
                f"{self.max_tokens} tokens, the limit of {self.source}: only their "
                f"beginning is used. The first is {reprlib.repr(texts[long[0]])}. "
                "Shorten such texts; this warning is not repeated for later ones."
            )
            warnings.warn(msg, stacklevel=3)
        return tokens

    def _unit(
        self, embeddings: NDArray[np.floating], what: str, labels: Sequence[Any]
    ) -> NDArray[np.float64]:
        norms = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        for norm, label in zip(norms, labels, strict=True):
            if not (np.isfinite(norm) and norm > 0):
                msg = (
                    f"The embedding of {what} {label!r} has norm {norm}, so it cannot "
                    f"be scaled to unit norm. The weights of {self.source} are "
                    f"probably damaged: download them again, or compare their checksum "
                    f"with the publisher's."
                )
                raise CheckpointError(msg)
        return embeddings / norms[:, None]

    def _warn_if_collapsed(
        self, tower: str, units: NDArray[np.float64], inputs: Sequence[Any]
    ) -> None:
        if tower not in self.collapsed and warn_if_collapsed(
            tower, self.source, units, inputs
        ):
            self.collapsed.add(tower)


def apart(head: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> Any:
    """Apply the head of a tower to rows; on a CPU, to one at a time."""
    if rows.device.type != "cpu":
        return head(rows)
    # Copies, since kernels may process rows of another memory alignment differently.
    return torch.cat([head(row.clone()) for row in rows.split(1)])


def convolutions_like_products() -> AbstractContextManager[None]:
    """Disable cuDNN's default TF32, unless matrix products may use it."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=torch.get_float32_matmul_precision() != "highest",
    )


def _digest_of(tokenizer: Any) -> str:
    """Return a short digest of what a tokenizer does to texts.

    A newer version of a library may describe the same tokenizer differently. The digest
    then changes and texts are encoded once more, which is cheap; a digest of the tokens
    of some texts alone would be more stable, but miss changes that affect other texts.
    """
    texts = [*_TRIAL_TEXTS, " ".join(tokenizer.all_special_tokens)]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # written in Python; all that can be seen is what it does
        texts += sorted(tokenizer.get_vocab())
        described = {}
    else:
        described = json.loads(backend.to_str())
        # Texts are padded and truncated elsewhere; these two are state of other calls.
        del described["truncation"], described["padding"]
    tokens = tokenizer(texts, verbose=False)["input_ids"]
    known = json.dumps([described, tokens], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _to_numpy(embeddings: torch.Tensor) -> NDArray[np.float32]:
    return embeddings.float().cpu().numpy()
