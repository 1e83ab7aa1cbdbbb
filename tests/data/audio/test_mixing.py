"""Channels that cancel each other are not averaged; all others are, to the bit."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.audio.decoding import UndecodableAudio, decode, decode_audio
from data.audio.mixing import OUT_OF_PHASE, mean_of
from data.augmentation.fields import NoiseSourceConfig
from data.augmentation.noise_clips import NoiseClips
from data.preparation.clips import RecordingReader

from ...support.films import spoken

VOICE = spoken(3.0, 16_000)
OTHER = np.random.default_rng(1).normal(0, 0.1, len(VOICE)).astype(np.float32)
NOTHING = np.zeros_like(VOICE)


def encoded(channels: np.ndarray, kind: str = "WAV", subtype: str | None = "FLOAT", rate: int = 16_000) -> bytes:
    """Channels [C, N] as a file."""
    file = io.BytesIO()
    soundfile.write(file, channels.T, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    "channels",
    [(VOICE, -VOICE), (VOICE, -0.8 * VOICE), (VOICE, -VOICE + 0.1 * OTHER), (VOICE, -VOICE, VOICE, -VOICE)],
    ids=["opposite", "nearly", "with noise", "four"],
)
def test_one_channel_is_kept_where_all_cancel(channels: tuple[np.ndarray, ...]) -> None:
    stacked = np.stack(channels).astype(np.float32)
    for value in (
        encoded(stacked),
        {"array": stacked, "sampling_rate": 16_000},
        {"array": stacked.T, "sampling_rate": 16_000},
    ):
        decoded = decode(value, whole=True)
        np.testing.assert_array_equal(decoded.samples, VOICE)
        assert decoded.remarks == (OUT_OF_PHASE,)


@pytest.mark.parametrize(
    "channels",
    [(VOICE, VOICE), (VOICE, NOTHING), (NOTHING, VOICE), (VOICE, OTHER), (VOICE, -0.5 * VOICE), (VOICE, 0.1 * -VOICE),
     (VOICE, *[NOTHING] * 7), (OTHER, *[NOTHING] * 6, VOICE), (NOTHING, NOTHING)],
    ids=["same", "left", "right", "uncorrelated", "half", "tenth", "one of eight", "two of eight", "silence"],
)  # fmt: skip
def test_the_mean_is_taken_of_all_others(channels: tuple[np.ndarray, ...]) -> None:
    stacked = np.stack(channels).astype(np.float32)
    decoded = decode(encoded(stacked))
    np.testing.assert_array_equal(decoded.samples, np.ascontiguousarray(stacked.T).mean(axis=1))
    assert decoded.remarks == ()


@pytest.mark.parametrize("channel", [0, 1])
def test_one_channel_is_kept_where_they_cancel_in_a_part_of_the_recording(channel: int, tmp_path: Path) -> None:
    """As where a recorder turns one round: the mean would be silent there, and what is said lost."""
    voice = spoken(8.0, 16_000)
    turned = np.where(np.arange(len(voice)) < 6 * 16_000, voice, -voice).astype(np.float32)
    stacked = np.stack([voice, turned] if channel == 0 else [turned, voice])
    path = tmp_path / "talk.wav"
    path.write_bytes(encoded(stacked))
    decoded = decode(str(path))
    np.testing.assert_array_equal(decoded.samples, stacked[0])
    assert decoded.remarks == (OUT_OF_PHASE,)
    with RecordingReader() as reader:
        np.testing.assert_array_equal(reader.read(str(path), 6.5, 7.5), stacked[0][104_000:120_000])


def test_a_room_heard_between_the_words_decides_nothing() -> None:
    """Faint sound that cancels, as of spaced microphones, between loud words that do not."""
    random = np.random.default_rng(3)
    words = np.repeat(np.tile([1.0, 0.0], 8), 8000) * random.normal(0, 0.2, 128_000)
    room = random.normal(0, 0.02, 128_000)
    stacked = np.stack([words + room, words - room]).astype(np.float32)
    decoded = decode(encoded(stacked))
    np.testing.assert_array_equal(decoded.samples, np.ascontiguousarray(stacked.T).mean(axis=1))
    assert decoded.remarks == ()


@pytest.mark.parametrize("channels", range(1, 10))
def test_the_quick_mean_is_the_mean_to_the_bit(channels: int) -> None:
    block = np.random.default_rng(channels).normal(0, 0.3, (1001, channels)).astype(np.float32)
    block[::3], block[::5, 0], block[::7], block[100] = -0.0, 0.0, 1e-42, np.nan
    np.testing.assert_array_equal(mean_of(block).view(np.uint32), block.mean(axis=1).view(np.uint32))


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_segments_and_blocks_agree_with_the_whole(
    kind: str, subtype: str | None, rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though in the last second the channels are alike: it is a matter of the recording, not of its parts."""
    voice = spoken(3.0, rate)
    other = np.where(np.arange(len(voice)) < 2.9 * rate, -voice, voice)
    path = tmp_path / "talk"
    path.write_bytes(encoded(np.stack([voice, other]), kind, subtype, rate))
    whole = decode_audio(str(path))
    monkeypatch.setattr("data.audio.sounds.BLOCK_FRAMES", 4099)
    np.testing.assert_array_equal(decode_audio(str(path)), whole)
    assert np.abs(whole).max() > 0.2
    with RecordingReader() as reader:
        for start, end in ((0.5, 1.0), (2.9, 3.0), (1.0, 2.95)):
            clip = reader.read(str(path), start, end)
            np.testing.assert_allclose(clip, whole[round(16_000 * start) : round(16_000 * end)], atol=2e-4)
            assert reader.remarks == [OUT_OF_PHASE]
        reader.read({"array": VOICE, "sampling_rate": 16_000}, 0, 1)
        assert reader.remarks == []


def test_segments_of_two_recordings_in_turn_look_at_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    monkeypatch.setattr("data.preparation.clips.kept_channel", lambda file: looked.append(file) or 1)
    stacked = np.stack([NOTHING, VOICE])
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(encoded(stacked))
    with RecordingReader() as reader:
        for start in (0.0, 0.5, 1.0):
            for name in ("a.wav", "b.wav"):
                clip = reader.read(str(tmp_path / name), start, start + 0.5)
                np.testing.assert_array_equal(clip, VOICE[round(start * 16_000) :][:8000])
                assert reader.remarks == [OUT_OF_PHASE]
    assert len(looked) == 2


def test_noises_are_mixed_likewise(tmp_path: Path) -> None:
    """A long clip, of which only a part is decoded, and a short one."""
    for seconds in (2, 70):
        noise = np.random.default_rng(2).normal(0, 0.1, seconds * 16_000).astype(np.float32)
        (tmp_path / f"{seconds}.wav").write_bytes(encoded(np.stack([noise, -noise]), subtype="PCM_16"))
    clips = NoiseClips(NoiseSourceConfig(folder=str(tmp_path)))
    for index in range(2):
        part: Any = clips.cut(index, 16_000, 0.5)
        assert part is not None and np.std(part) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_one_channel_alone_where_it_is_asked_for(rate: int, tmp_path: Path) -> None:
    """Also of channels that cancel each other, and without a word of that."""
    for channels in ((VOICE, OTHER), (VOICE, -VOICE)):
        stacked = np.stack(channels).astype(np.float32)
        (tmp_path / "both.wav").write_bytes(encoded(stacked, rate=rate))
        values = (str(tmp_path / "both.wav"), {"array": stacked.T, "sampling_rate": rate}, encoded(stacked, rate=rate))
        for value in values:
            for channel in (0, 1):
                decoded = decode(value, channel=channel)
                alone = decode_audio(encoded(stacked[channel : channel + 1], rate=rate))
                np.testing.assert_array_equal(decoded.samples, alone)
                np.testing.assert_array_equal(decode_audio(value, whole=True, channel=channel), alone)
                assert decoded.remarks == ()


def test_a_channel_that_is_not_there_is_one_line() -> None:
    for value in (encoded(VOICE[None]), {"array": VOICE, "sampling_rate": 16_000}):
        np.testing.assert_array_equal(decode_audio(value, channel=0), VOICE)
        for whole in (False, True):
            with pytest.raises(UndecodableAudio, match=r"^the recording has one channel, so no right channel$"):
                decode_audio(value, whole=whole, channel=1)
    with pytest.raises(UndecodableAudio, match=r"^the recording has 2 channels, so no channel 3$"):
        decode_audio(encoded(np.stack([VOICE, OTHER])), channel=2)
