"""Small deterministic encoders that workers can import."""

import os
import signal
from pathlib import Path

import numpy as np


def took(file):
    """Return whether a file existed, and delete it."""
    try:
        Path(file).unlink()
    except FileNotFoundError:
        return False
    return True


class BandsEncoder:
    """Embed a clip by the energy in four bands and a text by its first letters.

    Every row is computed by itself, so that no bit depends on its neighbours.
    """

    sample_rate = 8_000
    projection_dim = 4
    identity = "bands 1"

    def encode_audio(self, waveforms):
        powers = [np.abs(np.fft.rfft(clip, n=800)[1:401]) for clip in waveforms]
        return np.stack([np.log1p(p.reshape(4, -1).sum(axis=1)) for p in powers])

    def encode_text(self, texts):
        return np.array([[ord(letter) % 7 + 1.0 for letter in t[:4]] for t in texts])


class MortalEncoder(BandsEncoder):
    """Kill the process, once, at the first batch with a given clip.

    Parameters
    ----------
    tomb : str
        A file that is there while the process may still die.
    n_samples : int
        Length of the clip.
    log : str, default=None
        A file to which the length of every clip that was encoded is added.
    """

    def __init__(self, tomb, n_samples, log=None):
        self.tomb = tomb
        self.n_samples = n_samples
        self.log = log

    def encode_audio(self, waveforms):
        if self.n_samples in map(len, waveforms) and took(self.tomb):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.log is not None:
            with open(self.log, "a") as log:
                log.writelines(f"{len(clip)}\n" for clip in waveforms)
        return super().encode_audio(waveforms)


class FailingEncoder(BandsEncoder):
    """Raise an error, once.

    Parameters
    ----------
    tomb : str
        A file that is there while the encoder may still fail.
    """

    def __init__(self, tomb):
        self.tomb = tomb

    def encode_audio(self, waveforms):
        if took(self.tomb):
            msg = "the disk is away"
            raise OSError(msg)
        return super().encode_audio(waveforms)
