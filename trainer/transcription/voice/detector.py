"""How likely somebody speaks at each moment, by the Silero model (PyPI's silero-vad, MIT license).

The package is not imported, since its import sets the number of torch's threads to one. Only its file of weights is
read. The network is small: convolutions hear 32 ms at a time, and one LSTM carries what came before.
"""

import importlib.util
import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.utterance import SAMPLING_RATE

from ...config.reading import ConfigError

FRAME = 512  # samples that a probability is of
FRAME_SECONDS = FRAME / SAMPLING_RATE
CONTEXT = 64  # samples before a frame that are heard with it
MIRRORED = 64  # samples after a frame: its own last ones, reversed
BANDS = 129  # of a Fourier transform over 256 samples
FRAMES_AT_ONCE = 2048  # about a minute: bounds the memory
WEIGHTS = "silero_vad.jit"


@dataclass(frozen=True)
class Before:
    """What a detector keeps of the frames it has heard, to go on from there.

    Attributes:
        context: the last samples, float32 [64].
        hidden, cell: of the LSTM, float32 [1, 1, 128].
    """

    context: torch.Tensor
    hidden: torch.Tensor
    cell: torch.Tensor


NOTHING = Before(torch.zeros(CONTEXT), torch.zeros(1, 1, 128), torch.zeros(1, 1, 128))


class SpeechDetector(nn.Module):
    """A network that hears 16 kHz in frames of 32 ms; it runs on the CPU.

    Raises:
        ConfigError: if the package that has the weights is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        weights = published_weights()
        self.transform = nn.Conv1d(1, 2 * BANDS, 256, stride=128, bias=False)  # cosines, then sines
        shapes = ((BANDS, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))  # channels in and out, stride
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 3, stride, padding=1) for a, b, stride in shapes)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.head = nn.Linear(128, 1)
        named = {"transform.weight": weights["stft.forward_basis_buffer"]}
        for number, kind in product(range(4), ("weight", "bias")):
            named[f"convolutions.{number}.{kind}"] = weights[f"encoder.{number}.reparam_conv.{kind}"]
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            named[f"lstm.{kind}_l0"] = weights[f"decoder.rnn.{kind}"]
        named |= {"head.weight": weights["decoder.decoder.2.weight"][..., 0]}
        named |= {"head.bias": weights["decoder.decoder.2.bias"]}
        self.load_state_dict(named)
        self.eval().requires_grad_(False)

    def probabilities(self, audio: np.ndarray, before: Before = NOTHING) -> tuple[np.ndarray, Before]:
        """The probability of speech in each frame of 512 samples, float32 [ceil(N / 512)], and how to go on after them.

        Args:
            audio: float32 [N], 16 kHz; a last frame that is not full is filled with zeros.
            before: what was heard before it, of the same recording.
        """
        found = []
        for begin in range(0, len(audio), FRAME * FRAMES_AT_ONCE):
            part = torch.from_numpy(audio[begin : begin + FRAME * FRAMES_AT_ONCE].astype(np.float32, copy=False))
            likely, before = self(nn.functional.pad(part, (0, -len(part) % FRAME)).view(-1, FRAME), before)
            found.append(likely.numpy())
        return np.concatenate(found) if found else np.zeros(0, np.float32), before

    @torch.inference_mode()
    def forward(self, frames: torch.Tensor, before: Before) -> tuple[torch.Tensor, Before]:
        """Probabilities, float32 [T], of frames that follow each other, float32 [T, 512]."""
        contexts = torch.cat([before.context[None], frames[:-1, -CONTEXT:]])
        heard = torch.cat([contexts, frames], dim=1)
        heard = nn.functional.pad(heard[:, None], (0, MIRRORED), mode="reflect")  # [T, 1, 640]
        cosines, sines = self.transform(heard).split(BANDS, dim=1)  # [T, 129, 4] each
        states = torch.sqrt(cosines**2 + sines**2)
        for convolution in self.convolutions:
            states = convolution(states).relu()  # [T, 128, 1] at the end
        states, (hidden, cell) = self.lstm(states[None, ..., 0], (before.hidden, before.cell))
        likely = torch.sigmoid(self.head(states[0].relu()))[:, 0]
        return likely, Before(frames[-1, -CONTEXT:], hidden, cell)


def published_weights() -> dict[str, torch.Tensor]:
    """The network's weights for 16 kHz, from the package's TorchScript file.

    The package's safetensors file holds weights of another training, whose probabilities differ by up to 0.7.

    Raises:
        ConfigError: if the package is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        module = torch.jit.load(str(weights_path()), map_location="cpu")
    prefix = "_model."
    return {name.removeprefix(prefix): value for name, value in module.state_dict().items() if name.startswith(prefix)}


def weights_path() -> Path:
    """Where the package keeps the weights. Raises ConfigError if it is not installed."""
    package = importlib.util.find_spec("silero_vad")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (path := Path(folder, "data", WEIGHTS)).is_file():
            return path
    raise ConfigError("finding where somebody speaks (--vad silero, --live) needs a package: pip install silero-vad")
