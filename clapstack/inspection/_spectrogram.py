"""Display of the spectrogram of a clip, with its caption, score and events."""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.signal

from clapstack._fitted import predict
from clapstack.audio import read_audio, read_audio_at_own_rate
from clapstack.inspection._canvas import COLUMN, ORANGE, PALE, Display
from clapstack.inspection._events import EventExplanation, explain_events

_HIGHEST_RATE = 48_000  # Hz; no encoder uses a higher rate
_WINDOW, _HOP = 0.032, 0.010  # s
_N_BANDS = 96
_LEAST_STEP = 12.5  # mel; narrower bands would fall between two bins near 0 Hz
_RANGE = 80.0  # dB below the loudest
_TICKS = (0, 500, 1_000, 2_000, 4_000, 8_000, 16_000)  # Hz
_WIDTH, _LINES = 44, 3  # of a caption, in characters and lines
_BAR, _LABEL = 0.13, 24  # of a clause: height as a fraction of the axes, characters


class Spectrogram(NamedTuple):
    """A log-mel spectrogram.

    Attributes
    ----------
    level : ndarray of shape (n_bands, n_frames)
        Level in dB relative to the loudest point, from -80 to 0.
    duration : float
        Length of the clip in seconds.
    highest : float
        Upper end of the highest band in Hz; the lowest starts at 0.
    """

    level: np.ndarray
    duration: float
    highest: float


class SpectrogramDisplay(Display):
    """Log-mel spectrogram of a clip, with its caption and its score.

    Create it with :meth:`from_audio` or :meth:`from_estimator`. Read more in the
    :ref:`User Guide <pictures>`.

    Parameters
    ----------
    spectrogram : Spectrogram
        The spectrogram, as from :func:`mel_spectrogram`.
    text : str, default=None
        The caption.
    score : float, default=None
        Its score.
    interval : pair of float, default=None
        Ends of the score's interval.
    events : EventExplanation, default=None
        Result of :func:`explain_events`: when each clause of the caption is heard,
        which are not heard, and when there are sounds that the caption does not name.

    Attributes
    ----------
    image_ : AxesImage
        The spectrogram.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.inspection import SpectrogramDisplay, mel_spectrogram
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    >>> display = SpectrogramDisplay(
    ...     spectrogram=mel_spectrogram((tone, 16_000)), text="a tone", score=8
    ... )
    >>> print(display.describe())
    Spectrogram of 1.0 s of sound, up to 8 kHz; loudest at ... s, near 447 Hz.
    Caption: a tone. Score 8.0.
    """

    def __init__(
        self,
        *,
        spectrogram: Spectrogram,
        text: str | None = None,
        score: float | None = None,
        interval: tuple[float, float] | None = None,
        events: EventExplanation | None = None,
    ):
        self.spectrogram = spectrogram
        self.text = text
        self.score = score
        self.interval = interval
        self.events = events

    @classmethod
    def from_audio(
        cls,
        audio: Any,
        *,
        text: str | None = None,
        score: float | None = None,
        interval: tuple[float, float] | None = None,
        events: EventExplanation | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw a clip.

        Parameters
        ----------
        audio : object
            The clip, as for :func:`clapstack.audio.read_audio`.
        text : str, default=None
            The caption.
        score : float, default=None
            Its score.
        interval : pair of float, default=None
            Ends of the score's interval.
        events : EventExplanation, default=None
            Result of :func:`explain_events`.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : SpectrogramDisplay
            The drawn display.

        Raises
        ------
        AudioError
            If the clip cannot be read.
        """
        display = cls(
            spectrogram=mel_spectrogram(audio),
            text=text,
            score=score,
            interval=interval,
            events=events,
        )
        return display.plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: pd.DataFrame,
        *,
        coverage: float | None = 0.9,
        events: bool = False,
        ax: Any = None,
    ) -> Any:
        """Score one pair with a fitted pipeline and draw it.

        Parameters
        ----------
        estimator : estimator
            A fitted pipeline that takes pairs.
        X : DataFrame of one row
            The pair, with ``audio`` and ``text``.
        coverage : float or None, default=0.9
            Coverage of the prediction interval. None omits the interval, as does a
            model without ``predict_interval``.
        events : bool, default=False
            Whether to run :func:`explain_events` with the encoders of the pipeline and
            show the result.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : SpectrogramDisplay
            The drawn display.

        Raises
        ------
        ValueError
            If `X` does not have one row, or if `events` is set and the pipeline has no
            encoder of both clips and texts.
        """
        if len(X) != 1:
            msg = f"X must have one row; got {len(X)} rows. Select one: X.iloc[[i]]."
            raise ValueError(msg)
        y_pred, interval = predict(estimator, X, coverage)
        ends = None if interval is None else (interval[0, 0], interval[0, 1])
        audio, text = X["audio"].iloc[0], X["text"].iloc[0]
        return cls.from_audio(
            audio,
            text=text,
            score=float(y_pred[0]),
            interval=ends,
            events=explain_events(audio, text, estimator) if events else None,
            ax=ax,
        )

    def _size(self) -> tuple[float, float]:
        return COLUMN, 1.9 + 0.14 * self._title().count("\n")

    def _describe(self) -> str:
        level, duration, highest = self.spectrogram
        band, frame = np.unravel_index(np.argmax(level), level.shape)
        loudest = _hertz(_mel(highest) * (band + 1) / (len(level) + 1))
        at = duration * frame / max(level.shape[1] - 1, 1)
        parts = [
            f"Spectrogram of {duration:.1f} s of sound, up to {highest / 1000:g} kHz; "
            f"loudest at {at:.1f} s, near {loudest:.0f} Hz."
        ]
        if self.text is not None:
            parts.append(f"Caption: {self.text}.")
        if self.score is not None:
            parts.append(f"{self._score_text()}.")
        if self.events is not None:
            parts += [
                f"Heard from {one.start:.1f} to {one.end:.1f} s: {one.text}."
                for one in self.events.clauses
                if one.is_heard
            ]
            parts += [f"{words}." for words in self._faults()]
        return " ".join(parts)

    def _faults(self) -> list[str]:
        """Return in which respects the clip differs from the caption."""
        if self.events is None:
            return []
        faults = [f"Not heard: {text}" for text in self.events.missing]
        if self.events.order_holds is False:
            faults.append("The sounds are in another order")
        return faults

    def _score_text(self) -> str:
        if self.interval is None:
            return f"Score {self.score:.1f}"
        low, high = self.interval
        return f"Score {self.score:.1f} (interval {low:.1f} to {high:.1f})"

    def _title(self) -> str:
        lines = []
        if self.text is not None:
            lines += textwrap.wrap(
                f"“{self.text}”", _WIDTH, max_lines=_LINES, placeholder=" …"
            )
        if self.score is not None:
            lines.append(self._score_text())
        lines += [textwrap.shorten(words, _WIDTH) for words in self._faults()]
        return "\n".join(lines)

    def _draw(self, ax: Any) -> None:
        level, duration, highest = self.spectrogram
        self.image_ = ax.imshow(
            level,
            origin="lower",
            aspect="auto",
            extent=(0, duration, 0, _mel(highest)),
            cmap="viridis",
            vmin=-_RANGE,
            vmax=0,
            interpolation="nearest",
        )
        ticks = [tick for tick in _TICKS if tick <= highest]
        names = [f"{t // 1000}k" if t >= 1000 else f"{t}" for t in ticks]
        ax.set_yticks([_mel(tick) for tick in ticks], names)
        ax.set(xlabel="time (s)", ylabel="frequency (Hz)")
        ax.set_title(self._title(), loc="left", fontsize="medium", parse_math=False)
        bar = ax.figure.colorbar(self.image_, ax=ax, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("level (dB)")
        if self.events is not None:
            self._draw_events(ax, self.events)

    def _draw_events(self, ax: Any, events: EventExplanation) -> None:
        """Draw a bar for each clause heard, and hatch sounds that no clause names."""
        across = ax.get_xaxis_transform()  # seconds, and parts of the height
        heard = [one for one in events.clauses if one.is_heard]
        for place, one in enumerate(heard):
            y = 1 - _BAR * (place + 1)
            ends = (one.start or 0.0, one.end or 0.0)
            ax.plot(ends, [y, y], color=ORANGE, lw=2, transform=across)
            is_late = sum(ends) > events.duration
            ax.text(
                ends[is_late],
                y,
                textwrap.shorten(one.text, _LABEL, placeholder="…"),
                ha="right" if is_late else "left",
                va="bottom",
                color="white",
                fontsize="small",
                transform=across,
                parse_math=False,
            )
        for ends in events.unexplained:
            ax.axvspan(*ends, fill=False, hatch="//", edgecolor=PALE, lw=0)


def mel_spectrogram(audio: Any) -> Spectrogram:
    """Compute a log-mel spectrogram at the sampling rate of the clip, up to 48 kHz.

    Parameters
    ----------
    audio : object
        The clip, as for :func:`clapstack.audio.read_audio`.

    Returns
    -------
    spectrogram : Spectrogram
        96 bands of equal width on the mel scale, from 0 Hz to half the sampling rate
        (fewer below 3 kHz), from windows of 32 ms every 10 ms.

    Raises
    ------
    AudioError
        If the clip cannot be read.
    """
    samples, own_rate = read_audio_at_own_rate(audio)
    rate = int(min(own_rate, _HIGHEST_RATE))
    if rate != own_rate:
        samples = read_audio((samples, own_rate), rate)
    width, hop = round(_WINDOW * rate), round(_HOP * rate)
    n_fft = 2 * scipy.fft.next_fast_len(width, real=True)
    width = min(width, len(samples))
    _, _, spectrum = scipy.signal.stft(
        samples, rate, nperseg=width, noverlap=max(width - hop, 0), nfft=n_fft
    )
    power = _mel_bands(rate, n_fft) @ np.abs(spectrum) ** 2
    loudest = power.max()
    level = 10 * np.log10(np.maximum(power / loudest, 10 ** (-_RANGE / 10)))
    return Spectrogram(level, len(samples) / rate, rate / 2)


def _mel(frequency: Any) -> Any:
    """Return a frequency in Hz on the mel scale (O'Shaughnessy)."""
    return 2595 * np.log10(1 + np.asarray(frequency) / 700)


def _hertz(mel: Any) -> Any:
    """Return the frequency in Hz of a point on the mel scale."""
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def _mel_bands(rate: int, n_fft: int) -> np.ndarray:
    """Return triangular mel filters of height one, of shape (n_bands, n_fft // 2 + 1).

    All have the same width on the mel scale.
    """
    mels = _mel(np.fft.rfftfreq(n_fft, 1 / rate))
    highest = _mel(rate / 2)
    n_bands = min(_N_BANDS, int(highest / _LEAST_STEP) - 2)
    corners = np.linspace(0, highest, n_bands + 2)
    step = corners[1] - corners[0]
    return np.maximum(0, 1 - np.abs(mels - corners[1:-1, None]) / step)
