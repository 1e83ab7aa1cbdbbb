"""launch/visualize.py --second: attention over two recordings, for checkpoints that hear both."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import launch.visualize
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoints import open_model
from modeling.decoding import encode
from tests.end_to_end import Outcome, run
from tests.support.untrained import save_checkpoint
from trainer.visualization import pictures
from trainer.visualization.attention_maps import AttentionMaps
from trainer.visualization.attention_reader import AttentionReader
from trainer.visualization.excerpt import NoiseGiven, SecondGiven, read_excerpts
from trainer.visualization.figures import notes, tiles, told
from trainer.visualization.page import script_data

from .test_visualize import RATE, Page, sound

pytestmark = pytest.mark.usefixtures("exact_attention")

HEARING = {"attention": {"dual_attention": True}, "joined": {"dual_attention": False}}
SECONDS = {"good.wav": 1.0, "room.wav": 0.7, "longer.wav": 1.6}  # room.wav is shorter than good.wav, longer.wav longer


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "plain", padding=None)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, plain: Path) -> dict[str, Path]:
    """A checkpoint for each way of hearing two, and one that pads its input to 30 s; new parameters are no copies."""
    folder, found = tmp_path_factory.mktemp("hearing"), {}
    for name, heard, padding in (
        ("attention", "attention", "clip"),
        ("joined", "joined", "clip"),
        ("window", "joined", "window"),
    ):
        values = {"second_recording": heard, "encoder_padding": padding, **HEARING[heard]}
        model = open_model(str(plain), lift=True, **values)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if key in set(model.new_modules()):
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        model.save_pretrained(folder / name)
        Checkpoint(str(plain)).processor.save_pretrained(folder / name)
        found[name] = folder / name
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with recordings in it."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, seconds) in enumerate(SECONDS.items()):
        soundfile.write(name, sound(seconds, seed), RATE)
    soundfile.write("hiss.wav", sound(0.4, seed=8), RATE)
    soundfile.write("silence.wav", np.zeros(RATE, np.float32), RATE)
    soundfile.write("stereo.wav", np.stack([sound(0.8, 1), sound(0.8, 2)], axis=1), RATE)
    soundfile.write("half.wav", np.stack([sound(0.8, 1), np.zeros(len(sound(0.8)))], axis=1), RATE)
    Path("text.wav").write_text("not a recording")
    return tmp_path


def maps_of(checkpoint: Path, second: SecondGiven | None = None, noise: NoiseGiven | None = None) -> AttentionMaps:
    given = noise or NoiseGiven(), second or SecondGiven()
    excerpt, other = read_excerpts(Path("good.wav"), 0.0, None, *given)
    return AttentionReader(str(checkpoint), "az").read(excerpt, "salam", other)


# What the numbers are


@pytest.mark.parametrize("room", ["room.wav", "longer.wav"])
def test_each_attention_reads_its_recording(checkpoints: dict[str, Path], folder: Path, room: str) -> None:
    found = maps_of(checkpoints["attention"], SecondGiven(room))
    frames = [round(50 * seconds) + 25 for seconds in (1.0, SECONDS[room])]
    assert [recording.shown_frames for recording in found.recordings] == frames
    assert found.secondary is not None and found.gates is not None and not found.is_joined
    assert [found.primary.shape[2], found.secondary.shape[2]] == frames
    for weights in (found.primary, found.secondary):
        np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
    alone = maps_of(checkpoints["attention"])
    np.testing.assert_allclose(found.primary[0, 0], alone.primary[0, 0], atol=1e-4)  # layer 0, which has heard nothing
    assert found.secondary.shape != alone.primary.shape
    assert "none was given" in "".join(notes(alone)) and "none was given" not in "".join(notes(found))


@pytest.mark.parametrize("name", ["joined", "window"])
@pytest.mark.parametrize("room", ["room.wav", "longer.wav"])
def test_one_attention_is_split_where_the_second_recording_begins(
    checkpoints: dict[str, Path], folder: Path, name: str, room: str
) -> None:
    found = maps_of(checkpoints[name], SecondGiven(room))
    assert found.is_joined and found.secondary is not None and found.first_shares is not None
    model = open_model(str(checkpoints[name])).eval()
    features = [recording.features for recording in found.recordings]
    ends = [part.shape[1] for part in features]
    batch = torch.empty(2, 80, min(max(ends) + 4, 3000))
    for row, part in enumerate(features):
        batch[row] = float(part.min())  # silence
        batch[row, :, : ends[row]] = torch.from_numpy(part)
    encoded = encode(model, batch, None if name == "window" else ends, [0])
    start = ["<|startoftranscript|>", "<|az|>", "<|transcribe|>", "<|notimestamps|>"]
    tokenizer = Checkpoint(str(checkpoints[name])).processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids(start) + tokenizer(" salam", add_special_tokens=False).input_ids
    with torch.no_grad():
        options = {"output_attentions": True, "use_cache": False}
        output = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([ids]), **options)
    for seen, weights, end in (
        (found.primary, output.cross_attentions, ends[0]),
        (found.secondary, output.secondary_attentions, ends[1]),
    ):
        for layer in range(2):
            own = weights[layer][0, :, 3:].mean(0)
            np.testing.assert_allclose(seen[layer], own[:, : end // 2], atol=1e-5)
            assert own[:, end // 2 :].abs().sum() == 0
    np.testing.assert_allclose(found.primary.sum(-1) + found.secondary.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found.first_shares, found.primary.sum(-1), atol=1e-5)
    assert 0.1 < found.second_share < 0.9
    values = dict(tiles(found))
    assert values["of the attention on the second recording"] == f"{100 * found.second_share:.0f} %"


def test_a_share_of_the_attention_by_token_and_layer(checkpoints: dict[str, Path], folder: Path) -> None:
    """Weights that are set: 30 % on the second recording in layer 0, 70 % in layer 1."""
    found = maps_of(checkpoints["joined"], SecondGiven("room.wav"))
    primary, secondary = np.zeros_like(found.primary), np.zeros_like(found.primary[:, :, :60])
    for layer, share in enumerate((0.3, 0.7)):
        primary[layer, :, 20] = 0.1
        for token in range(len(found.tokens)):
            primary[layer, token, 30 + token], secondary[layer, token, 10 + token] = 0.9 - share, share
    found = replace(found, primary=primary, secondary=secondary)
    data = script_data(found)
    assert data["second_shares"] == pytest.approx([0.3, 0.7])
    np.testing.assert_allclose(data["first_shares"][0], [0.7, 0.3], atol=1e-6)
    assert found.second_share == pytest.approx(0.5)
    assert "on the second recording 50 %" in told(found, 0)
    np.testing.assert_allclose(data["views"][0]["peaks"], [0.02 * (30 + token) for token in range(len(found.tokens))])
    assert found.full_scale() == pytest.approx({"primary": 0.5, "secondary": 0.5})
    assert "gates" not in data


@pytest.mark.parametrize("name", ["attention", "joined"])
def test_noise_of_either_recording(checkpoints: dict[str, Path], folder: Path, name: str) -> None:
    second_noise = NoiseGiven(Path("hiss.wav"), -60.0, prefix="--second-")
    found = maps_of(checkpoints[name], SecondGiven("room.wav", None, second_noise))
    assert found.recordings[0].noise is None
    assert set(found.shares_on_noise) == {"secondary"}
    expected = 1.0 if name == "attention" else found.second_share
    assert found.shares_on_noise["secondary"].mean() == pytest.approx(expected, rel=0.5)
    both = maps_of(checkpoints[name], SecondGiven("room.wav", None, second_noise), NoiseGiven(Path("hiss.wav"), 0.0))
    assert set(both.shares_on_noise) == {"primary", "secondary"}
    assert "Noise was mixed into the second recording: hiss.wav at -60 dB." in notes(both)


# What comes out


@pytest.mark.parametrize("name", ["attention", "joined"])
def test_a_page_with_both_recordings(
    checkpoints: dict[str, Path], folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "written", lambda figure: b"")  # laid out, but not drawn
    arguments = (
        "good.wav",
        "--second",
        "room.wav",
        "--second-noise",
        "hiss.wav",
        "--output",
        "out",
        "--language",
        "az",
    )
    for name in ("joined", "attention"):
        outcome = run(launch.visualize.main, "--checkpoint", checkpoints[name], *arguments)
        assert outcome.code == 0, outcome.errors
        page = Page("out/attention.html")
        assert len(page.embedded("audio/wav")) == 2
        assert len(page.embedded("image/png")) == 4
        assert [view["frames"] for view in page.data["views"]] == [75, 60]
        assert ("gate_means" in page.data, "second_shares" in page.data) == (name == "attention", name == "joined")
        assert len(page.data["second_shares" if name == "joined" else "gate_means"]) == 2
        ids = ("audio-1", "view-1", "peak-1", "playing-1", "line-secondary", "strip-secondary", "gates")
        assert all(f'id="{one}"' in page.text for one in ids)


@pytest.mark.parametrize(("word", "order"), [("channel", (1, 2)), ("left_channel", (2, 1))])
def test_the_channels_of_one_file(folder: Path, word: str, order: tuple[int, int]) -> None:
    pair = read_excerpts(Path("stereo.wav"), 0.1, 0.5, NoiseGiven(), SecondGiven(word))
    for excerpt, seed in zip(pair, order, strict=True):
        assert excerpt is not None
        np.testing.assert_allclose(excerpt.audio, sound(0.8, seed)[RATE // 10 :][: RATE // 2], atol=1e-4)
        assert excerpt.name == f"stereo.wav, {('left', 'right')[seed - 1]} channel"


def test_the_second_recording_has_a_begin_of_its_own(folder: Path) -> None:
    first, second = read_excerpts(Path("good.wav"), 0.5, None, NoiseGiven(), SecondGiven("longer.wav", 1.2))
    assert second is not None
    assert (first.begin, len(first.audio), second.begin, len(second.audio)) == (0.5, RATE // 2, 1.2, round(0.4 * RATE))


# What cannot be


@pytest.fixture
def visualize(checkpoints: dict[str, Path], folder: Path) -> Callable[..., Outcome]:
    return lambda *arguments: run(launch.visualize.main, "--checkpoint", checkpoints["joined"], *arguments)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["good.wav", "--second", "nowhere.wav"], ("--second: nowhere.wav does not exist",)),
        (["good.wav", "--second", "."], ("--second: . is a folder",)),
        (["good.wav", "--second", "text.wav"], ("--second: text.wav: not audio",)),
        (["good.wav", "--second", "silence.wav"], ("--second: silence.wav: silence from 0 to 1.00 s",)),
        (["good.wav", "--second", "channel"], ("--second is 'channel': good.wav", "one channel, so no right channel")),
        (["good.wav", "--second", "left_channel"], ("--second is 'left_channel': good.wav", "so no right channel")),
        (["half.wav", "--second", "channel"], ("half.wav, right channel: silence from 0 to 0.80 s",)),
        (["good.wav", "--second", "room.wav", "--begin", "0.8"], ("--begin is 0.8, but room.wav", "--second-begin")),
        (
            ["good.wav", "--second", "room.wav", "--second-begin", "3"],
            ("--second-begin is 3, but room.wav ends at 0.70",),
        ),
        (["good.wav", "--second", "room.wav", "--second-noise", "no.wav"], ("--second: no.wav does not exist",)),
        (
            ["good.wav", "--second", "room.wav", "--second-ratio", "3"],
            ("--second-ratio is 3, but", "--second-noise FILE"),
        ),
        (["good.wav", "--second-ratio", "3"], ("--second-ratio is 3", "there is no --second")),
        (["good.wav", "--second-begin", "0"], ("--second-begin is 0", "there is no --second")),
    ],
)
def test_what_cannot_be_shown(visualize: Callable[..., Outcome], arguments: list[str], parts: tuple[str, ...]) -> None:
    outcome = visualize(*arguments)
    assert outcome.code == 2
    for part in parts:
        assert part in outcome.complaint
    assert not list(Path().rglob("attention.*"))


def test_a_checkpoint_that_hears_one_recording(plain: Path, folder: Path) -> None:
    outcome = run(launch.visualize.main, "--checkpoint", plain, "good.wav", "--second", "room.wav")
    assert outcome.code == 2
    assert "--second is given, but" in outcome.complaint and "hears one recording" in outcome.complaint
