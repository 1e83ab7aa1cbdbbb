"""launch/visualize.py: what a decoder attends to, as pictures and a page, for every kind of checkpoint."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import launch.visualize
from modeling.adapters import LoraSettings, add_lora, fingerprint, save_adapter
from modeling.checkpoint_files import Base, Checkpoint
from modeling.checkpoints import open_model
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.config.reading import ConfigError
from trainer.visualization.attention_maps import AttentionMaps
from trainer.visualization.attention_reader import AttentionReader
from trainer.visualization.command import layer_numbers
from trainer.visualization.excerpt import NoiseGiven, read_excerpt
from trainer.visualization.page import quantized, script_data
from trainer.visualization.token_names import token_names

pytestmark = pytest.mark.usefixtures("exact_attention")

RATE = 16_000


def sound(seconds: float, seed: int = 0, level: float = 0.3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (level * generator.uniform(-1, 1, round(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "dual")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "plain", ("az", "en"), padding=None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with recordings in it."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("good.wav", sound(1.0), RATE)
    soundfile.write("hiss.wav", sound(0.4, seed=1), RATE)
    soundfile.write("moment.wav", sound(0.0005, seed=1), RATE)
    soundfile.write("silence.wav", np.zeros(RATE, np.float32), RATE)
    Path("text.wav").write_text("not a recording")
    return tmp_path


@pytest.fixture
def visualize(checkpoint: Path, folder: Path) -> Callable[..., Outcome]:
    return lambda *arguments: run(launch.visualize.main, "--checkpoint", checkpoint, *arguments)


def maps_of(
    checkpoint: Path, text: str | None = None, noise: NoiseGiven | None = None, layers: tuple[int, ...] | None = None
) -> AttentionMaps:
    excerpt = read_excerpt(Path("good.wav"), 0.0, None, noise or NoiseGiven())
    return AttentionReader(str(checkpoint), "az", layers).read(excerpt, text)


class Page:
    """What a browser would fetch, run and show."""

    def __init__(self, path: str) -> None:
        self.text = Path(path).read_text(encoding="utf-8")
        self.addresses = re.findall(r'(?:src|href)="([^"]*)"', self.text)
        self.scripts = dict(re.findall(r"<script([^>]*)>(.*?)</script>", self.text, re.DOTALL))
        self.data = json.loads(self.scripts[' type="application/json" id="maps"'])

    def embedded(self, kind: str) -> list[bytes]:
        start = f"data:{kind};base64,"
        return [base64.b64decode(found[len(start) :]) for found in self.addresses if found.startswith(start)]


# What comes out


def test_pictures_and_a_page_that_needs_nothing_else(visualize: Callable[..., Outcome]) -> None:
    outcome = visualize("good.wav", "--output", "out", "--noise", "hiss.wav", "--ratio", "5")
    assert outcome.code == 0
    assert re.fullmatch(r"[a-z]+\n", outcome.output)
    assert {path.name for path in Path("out").iterdir()} == {"attention.html", "attention.png", "layers.png"}
    for name in ("attention.png", "layers.png"):
        assert Image.open(Path("out", name)).width == 1200
    page = Page("out/attention.html")
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert len(page.embedded("image/png")) == 3
    digest = base64.b64encode(hashlib.sha256(page.scripts[""].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.text
    (wave,) = page.embedded("audio/wav")
    heard, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    assert (rate, len(heard)) == (RATE, RATE)
    assert np.abs(heard - sound(1.0)).max() > 0.05  # the mixture, not the recording
    data = page.data
    assert (
        page.text.count('<tr data-token="') == len(data["views"][0]["peaks"]) == len(data["told"]) == 20
    )  # an untrained one never ends by itself
    weights = np.frombuffer(base64.b64decode(data["secondary"]), np.uint8)
    assert len(weights) == 20 * 2 * data["views"][0]["frames"]
    assert "secondary on noise" in data["told"][0]


def test_names_and_texts_are_never_markup(visualize: Callable[..., Outcome], folder: Path) -> None:
    name = "<script>alert(1)<!--$x$.wav"
    soundfile.write(name, sound(0.5), RATE)
    assert visualize(name, "--text", "</script><b>$a$&", "--output", "out").code == 0
    page = Page("out/attention.html")
    assert page.text.count("<script") == page.text.count("</script>") == 2
    assert "<b>$" not in page.text and "<!--" not in page.text
    assert any("<" in told for told in page.data["told"])
    assert "<" not in page.scripts[' type="application/json" id="maps"']


def test_plain_whisper_has_one_attention_and_no_gate(plain: Path, folder: Path) -> None:
    soundfile.write("long.wav", sound(32), RATE)
    outcome = run(launch.visualize.main, "--checkpoint", plain, "long.wav", "--text", "bir")
    assert outcome.code == 0
    assert "note: long.wav has 32.0 s; shown are 0 to 30 s, and --begin" in outcome.errors
    page = Page("attention/long/attention.html")
    assert page.data["views"][0]["frames"] == 1500
    assert "secondary" not in page.data and "gates" not in page.data
    assert "gate" not in page.data["told"][0]
    found = maps_of(plain, "bir")
    assert (found.secondary, found.gates, found.recordings[0].noise) == (None, None, None)
    assert found.primary.shape[2] == 1500  # its window of 30 s, of which the recording's part is shown
    assert found.recordings[0].shown_frames == 75


def test_plain_whisper_says_what_transformers_lets_it_say(plain: Path, folder: Path) -> None:
    from trainer.transcription.transcriber import Transcriber

    assert maps_of(plain).text == Transcriber(str(plain), "az").transcribe("good.wav").text


def test_an_adapter_is_merged(checkpoint: Path, folder: Path) -> None:
    model = open_model(str(checkpoint))
    base = Base(str(checkpoint.resolve()), None, True, "clip", fingerprint(model))
    add_lora(model, LoraSettings(2, 4.0, 0.0, ("q_proj",), ("decoder",)), base)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    save_adapter(model, model.state_dict(), Path("adapter"))
    Checkpoint(str(checkpoint)).processor.save_pretrained("adapter")
    adapted, before = maps_of(Path("adapter"), "salam"), maps_of(checkpoint, "salam")
    assert adapted.secondary is not None
    assert np.abs(adapted.primary - before.primary).max() > 1e-3


# What the numbers are


def test_weights_are_those_of_the_tokens_that_each_position_predicts(checkpoint: Path, folder: Path) -> None:
    found = maps_of(checkpoint, "salam")
    assert found.tokens == ("␣", "s", "a", "l", "a", "m", "⟨end⟩")
    assert found.text == "salam"
    model, processor = open_model(str(checkpoint)).eval(), Checkpoint(str(checkpoint)).processor
    ids = processor.tokenizer(" salam", add_special_tokens=False).input_ids
    start = processor.tokenizer.convert_tokens_to_ids(
        ["<|startoftranscript|>", "<|az|>", "<|transcribe|>", "<|notimestamps|>"]
    )
    features = torch.zeros(1, 80, 154)
    features[0, :, :150] = torch.from_numpy(found.recordings[0].features[:, :150])
    features[0, :, 150:] = features.min()
    with torch.no_grad():
        output = model(
            features,
            feature_lengths=[150],
            decoder_input_ids=torch.tensor([[*start, *ids]]),
            output_attentions=True,
            use_cache=False,
        )
    for layer in range(2):
        for seen, weights in ((found.primary, output.cross_attentions), (found.secondary, output.secondary_attentions)):
            assert seen is not None
            np.testing.assert_allclose(seen[layer], weights[layer][0, :, 3:].mean(0), atol=1e-5)
        assert found.gates is not None
        np.testing.assert_allclose(found.gates[layer], output.gates[layer][0, 3:], atol=1e-5)
    chances = output.logits[0, 3:].softmax(-1)
    np.testing.assert_allclose(found.probabilities[:6], chances[range(6), ids], atol=1e-5)


def test_only_the_layers_asked_for(checkpoint: Path, folder: Path) -> None:
    every, second = maps_of(checkpoint, "bir"), maps_of(checkpoint, "bir", layers=(1,))
    assert second.layers == (1,)
    np.testing.assert_array_equal(second.primary[0], every.primary[1])
    assert second.gates is not None and every.gates is not None
    np.testing.assert_array_equal(second.gates[0], every.gates[1])


def test_shares_on_noise_and_peaks(checkpoint: Path, folder: Path) -> None:
    """A noise in the second half alone: what falls on those frames, and nothing else, is on noise."""
    part = sound(1.0)
    part[: RATE // 2] = 0
    soundfile.write("part.wav", part, RATE)
    found = maps_of(checkpoint, "bir", NoiseGiven(part=Path("part.wav")))
    noise = found.recordings[0].noise
    assert noise is not None and found.secondary is not None
    np.testing.assert_allclose(noise[1:25], 0, atol=1e-6)
    np.testing.assert_allclose(noise[26:50], 1, atol=1e-3)
    share = found.shares_on_noise["secondary"]
    np.testing.assert_allclose(share, found.secondary.mean(0)[:, 25:51].sum(-1), atol=0.03)
    sharp = np.zeros_like(found.primary)
    sharp[:, :, 30] = 1.0
    np.testing.assert_allclose(replace(found, primary=sharp).shares_on_noise["primary"], 1.0)
    np.testing.assert_allclose(replace(found, primary=sharp).share_beyond("primary"), 0.0)


def test_peaks_are_not_the_frames_that_every_token_looks_at(checkpoint: Path, folder: Path) -> None:
    found = maps_of(checkpoint, "bir")
    primary = np.full_like(found.primary, 0.001)
    primary[:, :, 30] = 0.6
    for token in range(len(found.tokens)):
        primary[:, token, 5 + 2 * token] = 0.2
    np.testing.assert_allclose(replace(found, primary=primary).peaks(), [0.1, 0.14, 0.18, 0.22, 0.26])
    alone = replace(found, primary=primary[:, :1])
    np.testing.assert_allclose(alone.peaks(), [0.6])


def test_noise_is_mixed_in_at_the_ratio_asked_for(folder: Path) -> None:
    excerpt = read_excerpt(Path("good.wav"), 0.0, None, NoiseGiven(Path("hiss.wav"), 10.0))
    assert excerpt.noise is not None
    speech = excerpt.audio - excerpt.noise
    assert 10 * np.log10(np.square(speech).mean() / np.square(excerpt.noise).mean()) == pytest.approx(10.0, abs=0.01)


def test_pieces_of_a_long_recording(folder: Path) -> None:
    soundfile.write("long.wav", sound(32), RATE)
    last = read_excerpt(Path("long.wav"), 31.5, None, NoiseGiven())
    assert (last.begin, len(last.audio), last.note) == (31.5, RATE // 2, None)
    chosen = read_excerpt(Path("long.wav"), 2.0, 1.5, NoiseGiven())
    assert chosen.note is None
    np.testing.assert_allclose(chosen.audio, sound(32)[2 * RATE : 3 * RATE + RATE // 2], atol=1e-4)


def test_times_are_those_of_the_recording(checkpoint: Path, folder: Path) -> None:
    excerpt = read_excerpt(Path("good.wav"), 0.5, None, NoiseGiven())
    data = script_data(AttentionReader(str(checkpoint)).read(excerpt, "bir"))
    (view,) = data["views"]
    assert view["frames"] == 50  # half a second, and half a second after it
    assert view["peaks"]
    for told, peak in zip(data["told"], view["peaks"], strict=True):
        assert f"peak at {0.5 + peak:.2f} s" in told


def test_tokens_that_share_a_character_and_those_of_none(checkpoint: Path) -> None:
    tokenizer = Checkpoint(str(checkpoint)).processor.tokenizer
    ids = tokenizer("ə b", add_special_tokens=False).input_ids
    assert token_names(tokenizer, ids, 256) == ["ə 1/2", "ə 2/2", "␣", "b"]
    assert token_names(tokenizer, [0xC9, 256], 256)[1] == "⟨end⟩"
    assert len(token_names(tokenizer, [0xFF, 0xFE, ord("a")], 256)) == 3


def test_bytes_of_the_page_hold_the_weights() -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(40, 0.1), size=(2, 3)).astype(np.float32)
    text, most = quantized(weights)
    levels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(3, 2, 40) / 255
    np.testing.assert_allclose(levels**2 * np.array(most)[:, None, None], weights.transpose(1, 0, 2), atol=0.005)


def test_layer_numbers() -> None:
    assert layer_numbers("0,3-5, 4") == (0, 3, 4, 5)
    for wrong in ("", "a", "-1", "5-3", "1,,2", "1.5"):
        with pytest.raises(ConfigError, match="--layers is"):
            layer_numbers(wrong)


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["nowhere.wav"], 2, ("nowhere.wav does not exist",)),
        (["."], 2, ("is a folder",)),
        (["text.wav"], 1, ("text.wav: not audio",)),
        (["silence.wav"], 1, ("silence.wav: silence from 0 to 1.00 s",)),
        (["good.wav", "--begin", "5"], 2, ("--begin is 5, but good.wav ends at 1.00 s",)),
        (["good.wav", "--seconds", "31"], 2, ("--seconds", "'31' is not a number from 0.01 to 30")),
        (["good.wav", "--text", "  "], 2, ("--text '  ': the text is empty",)),
        (["good.wav", "--text", "a" * 40], 2, ("--text 'aaa", "41 tokens long; 20 fit")),
        (["good.wav", "--text", "a <|endoftext|>"], 2, ("--text 'a <|endoftext|>': the text holds '<|endoftext|>'",)),
        (["good.wav", "--text", "a\udcff"], 2, ("--text holds what is no UTF-8",)),
        (["good.wav", "--noise", "nowhere.wav"], 2, ("nowhere.wav does not exist",)),
        (["good.wav", "--noise", "text.wav"], 1, ("text.wav: not audio",)),
        (["good.wav", "--noise", "moment.wav"], 2, ("--noise moment.wav", "shorter than a millisecond")),
        (["good.wav", "--noise", "silence.wav"], 2, ("--noise silence.wav", "silent where the speech is")),
        (["good.wav", "--noise", "hiss.wav", "--ratio", "nan"], 2, ("--ratio", "'nan' is not a number")),
        (["good.wav", "--ratio", "5"], 2, ("--ratio is 5, but there is no --noise",)),
        (["good.wav", "--noise", "hiss.wav", "--noise-part", "hiss.wav"], 2, ("--noise-part", "give one")),
        (["good.wav", "--noise-part", "hiss.wav"], 2, ("--noise-part hiss.wav has 0.400 s, good.wav has 1.000 s",)),
        (["good.wav", "--layers", "2"], 2, ("--layers names 2", "0 to 1")),
        (["good.wav", "--layers", "x"], 2, ("--layers is 'x'", "0,3-5")),
        (["good.wav", "--language", "xx"], 2, ("--language is 'xx'", "it knows az only")),
        (["good.wav", "--output", "text.wav"], 2, ("--output is 'text.wav'", "nothing can be written")),
        (["good.wav", "--device", "cuda:99"], 2, ("--device is 'cuda:99'",)),
        (["good.wav", "--checkpoint", "text.wav"], 2, ("text.wav", "neither a folder nor a hub name")),
        (["good.wav", "--checkpoint", "."], 2, ("no config.json",)),
        ([], 2, ("FILE",)),
    ],
)
def test_what_cannot_be_shown(
    visualize: Callable[..., Outcome], arguments: list[str], code: int, parts: tuple[str, ...]
) -> None:
    outcome = visualize(*arguments)
    assert outcome.code == code
    for part in parts:
        assert part in outcome.complaint
    assert not list(Path().rglob("attention.*"))
