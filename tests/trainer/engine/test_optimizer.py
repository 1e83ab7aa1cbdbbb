"""Optimizers: who gets which rate and weight decay, what is refused before anything is loaded, 8 bits that resume."""

import io
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainer.config.reading import ConfigError, load_config
from trainer.config.run import OptimizerConfig
from trainer.engine.accelerator import deepspeed_config
from trainer.engine.optimizer import (
    BITSANDBYTES,
    bitsandbytes_optimizer,
    build_optimizer,
    check_optimizer,
    learning_rate_share,
    logged_learning_rates,
    optimizer_name,
    set_learning_rates,
)
from trainer.model.building import build_model
from trainer.run import train

CPU = torch.device("cpu")
OFFLOAD = ("engine.zero_stage=2", "engine.cpu_offload=optimizer")


def rows(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if row["kind"] == kind]


def test_each_group_has_its_learning_rate_and_weight_decay(tiny_config: Path) -> None:
    overrides = ["optimizer.weight_decay=0.01", "optimizer.encoder_learning_rate=1e-4", "optimizer.warmup_steps=2"]
    config = load_config(tiny_config, overrides)
    model, _ = build_model(config)
    optimizer = build_optimizer(model, config, CPU)
    set_learning_rates(optimizer, config.optimizer, 1, 12)  # half of the rate: warm-up
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen: Counter[str] = Counter()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            is_new = ".secondary_attn" in name or ".gate." in name
            own = "new_modules" if is_new else "encoder" if name.startswith("model.encoder.") else "decoder"
            assert group["name"] == own, name
            assert group["lr"] == pytest.approx({"new_modules": 1e-3, "encoder": 5e-5, "decoder": 5e-4}[own]), name
            bare = any(part in name for part in ("norm", "bias", "embed_", ".gate."))
            assert group["weight_decay"] == (0.0 if bare else 0.01), name
            seen[own] += 1
    assert len(seen) == 3
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == trained
    assert logged_learning_rates(optimizer) == pytest.approx(
        {
            "learning_rate": 5e-4,
            "learning_rate_encoder": 5e-5,
            "learning_rate_decoder": 5e-4,
            "learning_rate_new_modules": 1e-3,
        }
    )


def test_each_layer_has_its_rate(tiny_config: Path) -> None:
    overrides = ["optimizer.layer_decay=0.5", "optimizer.encoder_learning_rate=1e-4", "optimizer.warmup_steps=0"]
    overrides += ["optimizer.learning_rate=1e-3", "optimizer.new_modules_learning_rate=1e-2"]
    config = load_config(tiny_config, overrides)
    model, _ = build_model(config)
    optimizer = build_optimizer(model, config, CPU)
    set_learning_rates(optimizer, config.optimizer, 1, 10**9)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert (len(model.model.encoder.layers), len(model.model.decoder.layers)) == (2, 2)
    for name, expected in {
        "model.encoder.layer_norm.weight": 1e-4,
        "model.encoder.layers.1.fc1.weight": 1e-4,
        "model.encoder.layers.0.self_attn.q_proj.bias": 5e-5,
        "model.encoder.conv1.weight": 2.5e-5,
        "model.decoder.layer_norm.bias": 1e-3,
        "model.decoder.layers.1.encoder_attn.v_proj.weight": 1e-3,
        "model.decoder.layers.0.fc2.weight": 5e-4,
        "model.decoder.embed_tokens.weight": 2.5e-4,
        "model.decoder.embed_positions.weight": 2.5e-4,
        "model.decoder.layers.0.gate.hidden.weight": 1e-2,
    }.items():
        assert found[name] == pytest.approx(expected), name
    assert logged_learning_rates(optimizer) == pytest.approx(
        {
            "learning_rate": 1e-3,
            "learning_rate_encoder": 1e-4,
            "learning_rate_decoder": 1e-3,
            "learning_rate_new_modules": 1e-2,
        }
    )


def test_layer_decay_without_a_layer_to_decay_is_refused(tiny_config: Path, tmp_path: Path) -> None:
    frozen = ("model.architecture=null", f"model.checkpoint={tmp_path}", "model.strategy=frozen_primary")
    with pytest.raises(ConfigError, match=r"optimizer\.layer_decay does nothing where model\.strategy is"):
        load_config(tiny_config, ["optimizer.layer_decay=0.9", *frozen])


def test_adapters_decay_and_are_counted_with_what_they_adapt(tiny_config: Path) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = load_config(tiny_config, ["optimizer.weight_decay=0.01", "optimizer.encoder_learning_rate=1e-4"])
    model, _ = build_model(config)
    model.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=r".*\.self_attn\.q_proj"), model)
    groups = build_optimizer(model, config, CPU).param_groups
    assert [(group["name"], group["weight_decay"]) for group in groups] == [("encoder", 0.01), ("decoder", 0.01)]
    assert [len(group["params"]) for group in groups] == [4, 4]


def test_one_rate_for_all_is_logged_once(tiny_config: Path) -> None:
    config = load_config(tiny_config, ["optimizer.new_modules_learning_rate=null", "optimizer.warmup_steps=4"])
    optimizer = build_optimizer(build_model(config)[0], config, CPU)
    set_learning_rates(optimizer, config.optimizer, 1, 12)
    assert logged_learning_rates(optimizer) == {"learning_rate": pytest.approx(2.5e-4)}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("linear", [0.5, 1.0, 0.55, 0.1]), ("cosine", [0.5, 1.0, 0.55, 0.1]), ("constant", [0.5, 1.0, 1.0, 1.0])],
)
def test_learning_rate_warms_up_and_decays(schedule: str, expected: list[float]) -> None:
    config = OptimizerConfig(schedule=schedule, warmup_steps=10, final_share=0.1)  # type: ignore[arg-type]
    assert [learning_rate_share(step, 110, config) for step in (5, 10, 60, 110)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("overrides", "name"), [((), "adamw"), (OFFLOAD, "cpu_adam"), ((*OFFLOAD, "optimizer.name=adamw"), "adamw")]
)
def test_auto_goes_by_the_offload(tiny_config: Path, overrides: tuple[str, ...], name: str) -> None:
    config = load_config(tiny_config, list(overrides))
    assert optimizer_name(config) == name
    check_optimizer(config)


def test_every_name_is_built_as_what_it_says(tiny_config: Path) -> None:
    config = load_config(tiny_config)
    model, _ = build_model(config)
    made = {}
    for name in ("adamw", *BITSANDBYTES):
        config = load_config(tiny_config, [f"optimizer.name={name}", "optimizer.betas=[0.8, 0.99]"])
        made[name] = optimizer = build_optimizer(model, config, CPU)
        assert all(tuple(group["betas"]) == (0.8, 0.99) for group in optimizer.param_groups)
        assert all(group["eps"] == 1e-8 for group in optimizer.param_groups)
    kinds = {name: type(optimizer).__name__ for name, optimizer in made.items()}
    assert kinds == {"adamw": "AdamW", **BITSANDBYTES}
    bits = {name: (made[name].args.optim_bits, made[name].is_paged) for name in BITSANDBYTES}
    assert bits == {"adamw_8bit": (8, False), "paged_adamw": (32, True), "paged_adamw_8bit": (8, True)}


@pytest.fixture
def paged_buffers(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """CPU memory in place of CUDA's managed memory, marked as bitsandbytes marks it; all that was asked for."""
    import bitsandbytes.functional

    made: list[torch.Tensor] = []

    def get_paged(*shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        buffer: Any = torch.empty(shape, dtype=dtype)
        buffer.is_paged, buffer.page_deviceid = True, device.index
        made.append(buffer)
        return buffer

    monkeypatch.setattr(bitsandbytes.functional, "get_paged", get_paged)
    monkeypatch.setattr(bitsandbytes.functional, "fill", lambda buffer, value: buffer.fill_(value))
    return made


@pytest.mark.parametrize("name", ["paged_adamw", "paged_adamw_8bit"])
@pytest.mark.parametrize("engine", ["one process", "accelerated"])
def test_paged_states_are_paged_again_on_load(paged_buffers: list[torch.Tensor], name: str, engine: str) -> None:
    """The meta device stands for a GPU, which the library must not move large states to."""
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    def built(large: torch.Tensor) -> Any:
        groups = [{"params": [torch.nn.Parameter(large), torch.nn.Parameter(torch.empty(8, device="meta"))]}]
        return bitsandbytes_optimizer(name, groups, {"lr": 1e-3})

    dtype = torch.float32 if name == "paged_adamw" else torch.uint8
    wide = torch.empty(400, 250, device="meta")
    written = built(wide)
    for parameter in written.param_groups[0]["params"]:
        written.init_state(written.param_groups[0], parameter, 0, 0 if parameter.ndim == 2 else 1)
    first = written.state[written.param_groups[0]["params"][0]]
    for number, key in enumerate(("state1", "state2"), start=1):
        first[key].copy_(torch.arange(100_000).remainder(100 + number).view(400, 250))
    first["step"] = 7
    with io.BytesIO() as file:
        saved = written.state_dict()
        del saved["state"][1]  # whose states lie on the stand-in, and cannot be written
        torch.save(saved, file)
        file.seek(0)
        saved = torch.load(file, weights_only=False)
    paged_buffers.clear()
    read = built(wide)
    if engine == "accelerated":
        Accelerator(cpu=True)
        AcceleratedOptimizer(read, device_placement=False).load_state_dict(saved)
    else:
        read.load_state_dict(saved)
    states = read.state[read.param_groups[0]["params"][0]]
    assert states["step"] == 7 and read.is_paged
    for one, key in zip(paged_buffers, ("state1", "state2"), strict=True):
        assert states[key] is one, "in memory that CUDA manages, not only marked as such"
        assert states[key].is_paged and states[key].dtype == dtype
        assert any(one is known for known in read.page_mng.paged_tensors)
        assert torch.equal(one, first[key])
    if name == "paged_adamw_8bit":
        assert states["absmax1"].device.type == states["qmap1"].device.type == "meta"


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("cuda", True), ("mps", False)])
def test_adamw_is_fused_where_it_can_be(tiny_config: Path, device: str, fused: bool) -> None:
    config = load_config(tiny_config)
    optimizer = build_optimizer(build_model(config)[0], config, torch.device(device))
    assert {group["fused"] for group in optimizer.param_groups} == {fused}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("optimizer.name=cpu_adam",), "'cpu_adam', which needs engine.cpu_offload: optimizer or parameters; it is"),
        (("optimizer.name=adamw_8bit", *OFFLOAD), "'adamw_8bit', which is for states on the GPU, but engine.cpu_off"),
        (("optimizer.encoder_learning_rate=1e-4", "FROZEN"), "encoder_learning_rate is 0.0001, but nothing of the enc"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tiny_config: Path, tmp_path: Path, overrides: tuple[str, ...], said: str
) -> None:
    frozen = ("model.architecture=null", f"model.checkpoint={tmp_path}", "model.strategy=frozen_encoder")
    written = [part for override in overrides for part in (frozen if override == "FROZEN" else (override,))]
    with pytest.raises(ConfigError, match=said):
        check_optimizer(load_config(tiny_config, written))


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
@pytest.mark.parametrize("name", ["paged_adamw", "paged_adamw_8bit"])
def test_paged_states_need_a_gpu(tiny_config: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"optimizer.name is '{name}', .* needs a CUDA GPU; take adamw"):
        check_optimizer(load_config(tiny_config, [f"optimizer.name={name}"]))


def test_a_missing_library_is_named_before_anything_is_loaded(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny_config, ["optimizer.name=adamw_8bit"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "bitsandbytes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(ConfigError, match="'adamw_8bit', which needs bitsandbytes; pip install bitsandbytes, or take"):
        check_optimizer(config)


def test_a_missing_compiler_is_named(tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(tiny_config, list(OFFLOAD))
    ninja = shutil.which("ninja")
    assert ninja is not None
    (tmp_path / "ninja").symlink_to(ninja)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "g++")
    with pytest.raises(ConfigError, match=r"compiles at its first use: g\+\+ cannot be found; install it, or set opt"):
        check_optimizer(config)


def test_deepspeed_leaves_the_offloaded_optimizer_in_place(tiny_config: Path) -> None:
    settings = deepspeed_config(load_config(tiny_config, list(OFFLOAD)), "fp32")
    assert settings["zero_force_ds_cpu_optimizer"] is False


def test_8_bits_train_and_resume_as_if_nothing_had_been(tiny_config: Path, tmp_path: Path) -> None:
    """Wide enough for states in 8 bits, which small tensors do not get; resumed twice."""
    wide = ("optimizer.name=adamw_8bit", "optimizer.warmup_steps=2", "model.architecture.d_model=64")
    every = ("training.steps=9", "checkpoints.every_steps=3", "optimizer.schedule=constant", "data.validation=null")
    train(load_config(tiny_config, [*wide, *every]))
    parts = f"output_dir={tmp_path / 'parts'}"
    for steps in (3, 6, 9):
        train(load_config(tiny_config, [*wide, *every, parts, f"training.steps={steps}"]), resume=steps > 3)
    whole = load_file(tmp_path / "run" / "final" / "model.safetensors")
    resumed = load_file(tmp_path / "parts" / "final" / "model.safetensors")
    assert all(torch.equal(resumed[key], tensor) for key, tensor in whole.items())
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert losses == [row["loss"] for row in rows(tmp_path / "parts")] and losses[-1] < losses[0] - 0.1
    (state,) = (tmp_path / "run" / "checkpoints" / "step_00000009").glob("optimizer.bin")
    states = torch.load(state, weights_only=False)["state"].values()
    inner = [next((value for value in one.values() if isinstance(value, dict)), one) for one in states]  # or one more
    dtypes = Counter(one["state1"].dtype for one in inner)
    assert dtypes[torch.uint8] > 5 and dtypes[torch.float32] > 5


def test_a_resumed_run_follows_the_rates_of_now(tiny_config: Path, tmp_path: Path) -> None:
    short = ("training.steps=2", "data.validation=null", "optimizer.warmup_steps=0", "optimizer.schedule=constant")
    train(load_config(tiny_config, list(short)))
    changed = ("training.steps=3", "optimizer.learning_rate=3e-3")
    train(load_config(tiny_config, [*short, *changed]), resume=True)
    logged = rows(tmp_path / "run")
    assert [row["learning_rate"] for row in logged] == [1e-3, 1e-3, 3e-3]
    assert [row["learning_rate_new_modules"] for row in logged] == [2e-3] * 3
    assert [row["learning_rate_encoder"] for row in logged] == [1e-3, 1e-3, 3e-3]
