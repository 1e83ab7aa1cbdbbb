"""What launch/doctor.py says of machines that lack something, put together from facts, and of this one."""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import launch.doctor
from tests import ROOT
from tests.end_to_end import run
from trainer.checks import Check, Finding, collect_all
from trainer.config.reading import ConfigError, dump_config
from trainer.config.run import RunConfig
from trainer.doctor import combinations, devices, downloads, machine, report, software, speed, storage
from trainer.doctor.facts import Facts, Gpu, installed_versions
from trainer.engine.device import peak_of
from trainer.record import disk

GIB = 2**30
A100 = Gpu("NVIDIA A100-SXM4-40GB", 40 * GIB, 39 * GIB, (8, 0))
T4 = Gpu("Tesla T4", 15 * GIB, 15 * GIB, (7, 5))
RTX = Gpu("NVIDIA GeForce RTX 4090", 24 * GIB, 23 * GIB, (8, 9))


def config_of(values: dict[str, Any], **sections: dict[str, Any]) -> RunConfig:
    merged = {key: value | sections.get(key, {}) if isinstance(value, dict) else value for key, value in values.items()}
    return RunConfig.model_validate({**sections, **merged})


def states(check: Callable[[Facts], Iterable[Finding]], facts: Facts) -> dict[str, str]:
    return {finding.name: finding.state for finding in check(facts)}


def of_the_config(config: RunConfig, *extra: Check, **options: Any) -> dict[str, Finding]:
    """Findings of the checks that a run makes itself, by name."""
    facts = Facts(config, **options)
    return {finding.name: finding for finding in collect_all([*report.config_checks(facts), *extra], facts)}


def only(found: Iterable[Finding]) -> Finding:
    (finding,) = found
    return finding


# Software


def test_this_environment_is_good() -> None:
    facts = Facts(versions=installed_versions())
    for check in (software.check_python, software.check_libraries, software.check_libraries_among_themselves):
        assert set(states(check, facts).values()) == {"good"}, list(check(facts))


def test_an_old_python_is_told() -> None:
    finding = only(software.check_python(Facts(python=(3, 10, 4))))
    assert finding.state == "lacks" and "3.10.4" in finding.found and ">=3.11" in finding.found


@pytest.mark.parametrize(
    ("name", "version", "state"),
    [
        ("transformers", None, "lacks"),
        ("transformers", "4.30.2", "lacks"),
        ("deepspeed", None, "note"),  # the engine's check says whether the config needs it
        ("torch", "99.0.0", "note"),
        ("torch", "2.13.0+cu126", "good"),
        ("soundfile", "0.1", "lacks"),
    ],
)
def test_missing_and_wrong_versions(name: str, version: str | None, state: str) -> None:
    versions = installed_versions()
    versions.pop(name)
    if version:
        versions[name] = version
    found = {finding.name: finding for finding in software.check_libraries(Facts(versions=versions))}
    assert found[name].state == state
    assert (state == "good") == (found[name].remedy == "")
    assert all(finding.state == "good" for other, finding in found.items() if other != name)


def test_what_libraries_ask_of_each_other() -> None:
    versions = installed_versions() | {"huggingface-hub": "0.36.0"}
    found = list(software.check_libraries_among_themselves(Facts(versions=versions)))
    assert {finding.state for finding in found} == {"lacks"}
    assert any(finding.found.startswith("datasets 5") and "0.36.0" in finding.found for finding in found)


def test_the_allowed_versions_come_from_the_metadata_where_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = software.asked_by_the_project()
    monkeypatch.setattr(software, "ROOT", tmp_path)
    python, libraries = software.asked_by_the_project()
    assert python == checkout[0]
    assert "torch>=2.8" in libraries and "torch>=2.8" in [line.strip() for line in checkout[1]]
    assert software.tested_versions() == {}


def test_an_engine_that_cannot_run(tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    config = config_of(tiny_values, engine={"zero_stage": 2}, optimizer={"name": "cpu_adam"})
    found = of_the_config(config)
    assert found["engine"].state == "lacks" and "ACCELERATE_USE_CPU" in found["engine"].found
    assert found["engine"].remedy.startswith("unset it")
    assert found["optimizer"].state == "lacks" and "cpu_offload" in found["optimizer"].found


def test_a_compiler_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "tools", lambda: "")
    finding = only(software.check_compiler(Facts(versions={"deepspeed": "0.19.8"})))
    assert (finding.state, finding.found) == ("note", "no c++ and no ninja")


@pytest.mark.parametrize(
    ("age", "offload", "state"), [(10, True, "note"), (7200, True, "lacks"), (7200, False, "note")]
)
def test_a_stale_lock_of_a_compile(
    tiny_values: dict[str, Any], tmp_path: Path, age: int, offload: bool, state: str
) -> None:
    lock = tmp_path / "py311_cpu" / "cpu_adam" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (time.time() - age, time.time() - age))
    engine = {"zero_stage": 2, "cpu_offload": "optimizer" if offload else "none"}
    environment = {"TORCH_EXTENSIONS_DIR": str(tmp_path)}
    facts = Facts(config_of(tiny_values, engine=engine), versions={"deepspeed": "0.19.8"}, environment=environment)
    finding = only(software.check_extension_locks(facts))
    assert finding.state == state and f"rm {lock}" in finding.remedy
    lock.unlink()
    assert only(software.check_extension_locks(facts)).state == "good"


def test_bitsandbytes_that_cannot_be_imported(tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    config = config_of(tiny_values, optimizer={"name": "adamw_8bit"})
    assert states(software.check_bitsandbytes, Facts(config)) == {"bitsandbytes library": "lacks"}
    assert not list(software.check_bitsandbytes(Facts(config_of(tiny_values))))


# Devices


def test_a_machine_without_a_gpu() -> None:
    assert "compute on the CPU" in only(devices.check_gpus(Facts())).found
    finding = devices.no_gpu(Facts(driver="550.54.14"), torch_cuda=None)
    assert "built for CPUs" in finding.found and finding.remedy
    hidden = Facts(driver="550.54.14", environment={"CUDA_VISIBLE_DEVICES": ""})
    assert "hides them" in devices.no_gpu(hidden, "12.8").found
    old = devices.no_gpu(Facts(driver="470.1", driver_cuda=(11, 4)), "12.8")
    assert "runs CUDA 11.4" in old.found and "newer driver" in old.remedy


def test_gpus_that_are_in_use_or_too_few() -> None:
    used = dataclasses.replace(A100, free_bytes=20 * GIB)
    found = states(devices.check_gpus, Facts(gpus=(used,), local_processes=2))
    assert found == {"GPU 0": "good", "memory of GPU 0": "note", "GPUs": "lacks"}
    assert states(devices.check_gpus, Facts(gpus=(A100, A100), local_processes=2)) == {"GPU 0": "good", "GPU 1": "good"}


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["sm_80", "sm_90"], (8, 6), True),
        (["sm_80", "sm_90"], (9, 0), True),
        (["sm_80", "sm_90a"], (7, 5), False),
        (["sm_90"], (12, 0), False),
        (["sm_90", "compute_90"], (12, 0), True),
        (["sm_120"], (12, 0), True),
    ],
)
def test_code_for_a_gpu(built_for: list[str], capability: tuple[int, int], runs: bool) -> None:
    assert devices.runs_on(built_for, capability) == runs


def test_precision(tiny_values: dict[str, Any]) -> None:
    assert of_the_config(config_of(tiny_values))["precision"].state == "good"
    fp16 = of_the_config(config_of(tiny_values | {"engine": {"precision": "fp16"}}))["precision"]
    assert (fp16.state, fp16.remedy) == ("lacks", "use fp32 or bf16 here")
    finding = only(devices.check_speed_of_precision(Facts(config_of(tiny_values), gpus=(T4,))))
    assert finding.state == "note" and "fp16" in finding.remedy
    assert not list(devices.check_speed_of_precision(Facts(config_of(tiny_values))))


def test_the_batch_against_the_gpu_that_is_there(tiny_values: dict[str, Any]) -> None:
    facts = Facts(config_of(tiny_values), asked="mine.yaml training.steps=5")
    none = only(devices.check_batch(facts))
    assert none.state == "note"
    assert none.remedy.startswith('python launch/batch_size.py --config mine.yaml training.steps=5 --gpu "A100')
    finding = only(devices.check_batch(dataclasses.replace(facts, gpus=(A100,))))
    assert finding.state == "good" and f"fits {A100.name} with 3" in finding.found


# Known combinations


@pytest.mark.parametrize(
    ("facts", "name", "state"),
    [
        (Facts(environment={"ACCELERATE_USE_CPU": "true"}), "ACCELERATE_USE_CPU", "note"),
        (
            Facts(environment={"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync,max_split_size_mb:64"}),
            "allocator",
            "note",
        ),
        (Facts(environment={"TORCH_DISTRIBUTED_DEBUG": "detail"}), "TORCH_DISTRIBUTED_DEBUG", "note"),
        (Facts(gpus=(RTX, RTX), driver="535.129.03", processes=2), "several RTX 40 and an old driver", "lacks"),
        (Facts(gpus=(A100, A100), environment={"NCCL_P2P_DISABLE": "1"}), "NCCL_P2P_DISABLE", "note"),
        (Facts(gpus=(A100,), environment={"CUDA_LAUNCH_BLOCKING": "1"}), "CUDA_LAUNCH_BLOCKING", "note"),
    ],
)
def test_a_known_combination_is_found(facts: Facts, name: str, state: str) -> None:
    assert states(combinations.check_known_combinations, facts) == {name: state}


@pytest.mark.parametrize(
    "facts",
    [
        Facts(),
        Facts(versions=installed_versions()),
        Facts(gpus=(RTX, RTX), driver="550.54.14", processes=2, local_processes=2),
        Facts(gpus=(RTX,), driver="535.129.03"),
        Facts(
            gpus=(RTX, RTX),
            driver="535.129.03",
            processes=2,
            local_processes=2,
            environment={"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"},
        ),
        Facts(environment={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
    ],
)
def test_what_is_no_known_combination(facts: Facts) -> None:
    assert states(combinations.check_known_combinations, facts) == {"known bad combinations": "good"}


# The machine


def test_too_little_memory(tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tiny_values)
    assert states(machine.check_memory, Facts(config)) == {"CPU memory": "good"}
    monkeypatch.setattr(machine, "machine_room", lambda: 1_500_000_000)
    assert states(machine.check_memory, Facts(config)) == {"CPU memory": "good"}
    assert states(machine.check_memory, Facts(config, processes=2, local_processes=2)) == {"CPU memory": "lacks"}


def test_memory_of_offloaded_states() -> None:
    from trainer.config.reading import load_config

    plain = load_config(ROOT / "configs" / "base_zero2.yaml")
    offload = load_config(ROOT / "configs" / "base_zero2_offload.yaml")
    gpu = (A100,)
    less, more = machine.memory_wanted(Facts(plain, gpus=gpu)), machine.memory_wanted(Facts(offload, gpus=gpu))
    facts = Facts(offload, gpus=gpu)
    trained = sum(parameter.numel() for parameter in facts.model.parameters() if parameter.requires_grad)
    assert less is not None and more is not None
    assert more - less == 16 * trained


def test_cores_and_threads(tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    unset = only(machine.check_cores(Facts(processes=4, local_processes=4)))
    assert (unset.state, unset.remedy) == ("note", "OMP_NUM_THREADS=2")
    for threads, state in (("2", "good"), ("1", "note"), ("8", "note")):
        facts = Facts(processes=4, local_processes=4, environment={"OMP_NUM_THREADS": threads})
        assert only(machine.check_cores(facts)).state == state


def test_shared_memory_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"total": 64 * 2**20})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    finding = only(machine.check_shared_memory(Facts(gpus=(A100, A100))))
    assert finding.state == "note" and "--shm-size" in finding.remedy
    assert not list(machine.check_shared_memory(Facts(gpus=(A100,))))


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda kind: (1024, 65536))
    finding = only(machine.check_open_files(Facts()))
    assert finding.state == "note" and "65536" in finding.found
    monkeypatch.setattr(machine.resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert only(machine.check_open_files(Facts())).state == "good"


# The disk


def test_too_little_disk(tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tiny_values)
    assert states(storage.check_disk, Facts(config)) == {"disk": "good"}
    usage = type("Usage", (), {"free": 10_000_000})
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage)
    finding = only(storage.check_disk(Facts(config)))
    assert finding.state == "lacks" and "2 + 1 checkpoints" in finding.found


def test_bytes_of_a_runs_files() -> None:
    """The formula's terms; a real run's folders were within 1 % of it for every engine."""
    from trainer.config.reading import load_config

    def of(name: str, *overrides: str) -> tuple[disk.RunFiles, int, int]:
        config = load_config(ROOT / "configs" / f"{name}.yaml", overrides)
        model = Facts(config).model
        whole = sum(parameter.numel() for parameter in model.parameters())
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return disk.files_of_a_run(config, model), whole, trained

    files, whole, trained = of("base")
    assert files.checkpoint == 4 * whole + 8 * trained and files.folder == 4 * whole
    assert files.total == 3 * files.checkpoint + 2 * files.folder + disk.OTHER_FILES
    files, whole, trained = of("base", "model.strategy=lora", "optimizer.name=adamw_8bit")
    assert files.checkpoint == 6 * trained and trained < whole / 4
    files, whole, trained = of("base_zero2", "engine.precision=bf16")
    assert files.checkpoint == 2 * whole + 12 * trained and files.folder == 2 * whole
    files, whole, trained = of("base_zero3", "engine.precision=bf16", "model.strategy=frozen_encoder")
    assert files.checkpoint == 2 * (whole - trained) + 12 * trained


def test_a_network_mount(tiny_values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "mount_of", lambda folder: ("nfs4", "/home"))
    facts = Facts(config_of(tiny_values))
    finding = only(storage.check_file_system(facts))
    assert finding.state == "note" and "nfs4" in finding.found


def test_an_output_folder_that_holds_something(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    assert of_the_config(config_of(tiny_values))["output_dir"].state == "good"
    (folder / "notes.txt").touch()
    finding = of_the_config(config_of(tiny_values))["output_dir"]
    assert (finding.state, finding.remedy) == ("lacks", "choose another")
    config = config_of(tiny_values)
    (folder / "config.yaml").write_text(dump_config(config))
    finding = of_the_config(config)["output_dir"]
    assert finding.state == "note" and finding.remedy.startswith("add --resume")
    assert of_the_config(config_of(tiny_values, optimizer={"epsilon": 1e-3}))["output_dir"].state == "lacks"


def test_writing_is_timed_and_leaves_nothing(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    finding = only(storage.check_write_speed(Facts(config_of(tiny_values))))
    assert "MB/s: a checkpoint takes" in finding.found
    assert set(tmp_path.iterdir()) == before


# Checkpoint and data


def test_data_that_is_not_there(tiny_values: dict[str, Any]) -> None:
    good = of_the_config(config_of(tiny_values))
    assert good["data.train"].found.endswith("120 rows") and good["data.validation"].state == "good"
    missing = tiny_values["data"] | {"train": {"files": "nowhere-*.parquet"}}
    found = of_the_config(config_of(tiny_values | {"data": missing}))
    assert found["data.train"].state == "lacks" and "nowhere-*.parquet" in found["data.train"].found
    assert found["data.validation"].state == "good"
    assert [finding.name for finding in found.values() if finding.state == "lacks"] == ["data.train"]  # told once
    noisy = tiny_values["data"] | {"augmentation": {"noise": {"folder": "nowhere"}, "noise_share": 0.5}}
    found = of_the_config(config_of(tiny_values | {"data": noisy}))
    assert found["data.augmentation"].state == "lacks" and "nowhere" in found["data.augmentation"].found


def test_an_evaluation_that_does_not_fit(tiny_values: dict[str, Any]) -> None:
    unfit = {"evaluation": tiny_values["evaluation"] | {"columns": ["accent"], "max_new_tokens": 445}}
    found = of_the_config(config_of(tiny_values | unfit))
    assert found["evaluation"].state == "lacks" and "accent" in found["evaluation"].found
    assert found["evaluation.max_new_tokens"].state == "lacks"


def test_checkpoints(tiny_values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    here = Check("checkpoint", downloads.check_checkpoint, needs=("model",))

    def of(checkpoint: str, **environment: str) -> dict[str, str]:
        config = config_of(tiny_values | {"model": {"checkpoint": checkpoint}})
        found = of_the_config(config, here, environment=environment)
        return {name: found[name].state for name in ("model", "checkpoint") if name in found}

    assert of("openai/whisper-tiny") == {"model": "good", "checkpoint": "note"}
    assert of("openai/whisper-tiny", HF_HUB_OFFLINE="1") == {"model": "good", "checkpoint": "lacks"}
    assert of("someone/whisper-of-their-own") == {"checkpoint": "note"}
    assert of(str(tmp_path / "nothing")) == {"model": "lacks"}
    assert of(str(tmp_path)) == {"model": "lacks"}
    facts = Facts(config_of(tiny_values | {"model": {"checkpoint": str(tmp_path)}}))
    assert states(machine.check_memory, facts) == {"CPU memory": "good"}  # told once, by the model's check


# Speed


def test_known_peaks() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert peak_of("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_of("NVIDIA A100-SXM4-40GB", "fp32") == 19.5e12
    assert peak_of("NVIDIA L40S", "bf16") == 362e12
    assert peak_of("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "bf16") is None
    assert peak_of("NVIDIA B9000", "bf16") is None


def test_products_and_copies_are_timed(tiny_values: dict[str, Any]) -> None:
    facts = Facts(config_of(tiny_values | {"engine": {"precision": "bf16"}}))
    assert "in bf16" in only(speed.check_products(facts)).found
    assert "GB/s" in only(speed.check_copies(facts)).found
    quick = dataclasses.replace(facts, measure=False)
    assert not [*speed.check_products(quick), *speed.check_copies(quick), *storage.check_write_speed(quick)]


@pytest.mark.parametrize(
    ("instructions", "half", "state"), [(True, 2e12, "note"), (True, 1.2e12, "good"), (False, 2e12, "good")]
)
def test_bf16_is_advised_on_a_cpu_where_its_products_are_faster(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, half: float, state: str
) -> None:
    speeds = {torch.float32: 1e12, torch.bfloat16: half}
    monkeypatch.setattr(speed, "multiplies_bf16", lambda: instructions)
    monkeypatch.setattr(speed, "product_speed", lambda width, dtype, device: speeds[dtype])
    found = only(speed.check_products(Facts()))
    assert found.state == state and ("engine.precision: bf16" in found.remedy) == (state == "note")


def test_the_steps_of_measuring_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU in their place: the figures mean nothing, what is told of them does."""
    monkeypatch.setattr(speed, "gpu", lambda index: torch.device("cpu"))
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.setattr(speed, "WHOLE_MATRIX", 64)
    monkeypatch.setattr(speed, "COPIED", 2**20)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda *pair: False)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    facts = Facts(gpus=(A100, A100))
    products = {finding.name: finding for finding in speed.check_products(facts)}
    assert set(products) == {"products on GPU 0", "products on GPU 1"}
    assert "0% of what NVIDIA A100-SXM4-40GB can do" in products["products on GPU 0"].found
    assert products["products on GPU 0"].state == "note"  # below half
    copies = [finding.name for finding in speed.check_copies(facts)]
    assert copies == ["copies to GPU 0", "copies to GPU 1", "copies from GPU 0 to 1"]


# The command


def test_a_check_that_fails_is_a_finding() -> None:
    def check_the_moon(facts: Facts) -> Iterable[Finding]:
        yield Finding("near side", "good", "dusty")
        raise OSError(5, "no moon here")

    def check_sun(facts: Facts) -> Iterable[Finding]:
        raise SystemExit

    def check_stars(facts: Facts) -> None:
        raise ConfigError("stars are out of reach", "wait for night")

    checks = [
        Check("the moon", check_the_moon),
        Check("sun", check_sun),
        Check("stars", check_stars),
        Check("planets", check_sun, needs=("stars",)),
        Check("Python", software.check_python),
    ]
    near, broken, sun, stars, python = collect_all(checks, Facts())
    assert near.found == "dusty"
    assert (broken.name, broken.state) == ("the moon", "note")
    assert broken.found == "could not be checked: OSError: [Errno 5] no moon here"
    assert (sun.name, sun.found) == ("sun", "could not be checked: SystemExit")
    assert stars == Finding("stars", "lacks", "stars are out of reach", "wait for night")
    assert python.name == "Python"


def test_every_check_stands_on_a_machine_where_nothing_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "not allowed")

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr("shutil.disk_usage", refuse)
    monkeypatch.setattr("resource.getrlimit", refuse)
    found = report.look(None, measure=False)
    failed = [finding for finding in found if "could not be checked" in finding.found]
    assert {"open files", "disk"} <= {finding.name for finding in failed}
    assert all(finding.state == "note" for finding in failed)


@pytest.fixture
def for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("for_one_process")
def test_the_command_for_a_config(tiny_config: Path) -> None:
    outcome = run(launch.doctor.main, "--config", tiny_config, "--no-measuring")
    assert outcome.code == 0, outcome.output
    assert "nothing is lacking" in outcome.output.splitlines()[-1]
    lacking = run(
        launch.doctor.main, "--config", tiny_config, "--no-measuring", "data.validation.files=nowhere.parquet"
    )
    assert lacking.code == 1
    assert "1 lacking: a run would fail" in lacking.output.splitlines()[-1]


@pytest.mark.usefixtures("for_one_process")
def test_json_for_machines(tiny_config: Path) -> None:
    outcome = run(launch.doctor.main, "--config", tiny_config, "--no-measuring", "--json", "engine.precision=fp16")
    values = json.loads(outcome.output)
    assert outcome.code == 1 and values["fit"] is False and values["config"] == str(tiny_config)
    by_name = {finding["name"]: finding for finding in values["findings"]}
    assert by_name["precision"]["state"] == "lacks" and by_name["torch"]["state"] == "good"
    assert set(by_name["torch"]) == {"name", "state", "found", "remedy"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--config", "nowhere.yaml"], "cannot read the config nowhere.yaml"),
        (["--config", str(ROOT / "configs" / "base.yaml"), "engine.zero_stag=2"], "did you mean 'zero_stage'?"),
        (["engine.zero_stage=2"], "go with --config"),
    ],
)
def test_a_wrong_config_ends_with_2(arguments: list[str], complaint: str) -> None:
    outcome = run(launch.doctor.main, *arguments)
    assert outcome.code == 2
    assert complaint in outcome.complaint


def test_a_library_that_cannot_be_imported_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trainer.doctor.report", None)
    outcome = run(launch.doctor.main)
    assert outcome.code == 1
    assert "cannot be imported" in outcome.complaint and "pip install" in outcome.complaint


@pytest.mark.alone
def test_the_whole_command_takes_under_15_seconds(tiny_config: Path) -> None:
    """Of computing, measurements included: the machine may be shared."""
    before = os.times()
    command = [sys.executable, "launch/doctor.py", "--config", str(tiny_config), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fit"] is True
    assert after.children_user + after.children_system - before.children_user - before.children_system < 15


@pytest.mark.slow
def test_two_processes_measure_their_exchange(tiny_config: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["launch/doctor.py", "--no-measuring", "--json", "--config", str(tiny_config)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    by_name = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert by_name["all-reduce"]["found"].startswith("2 ranks over gloo: 64 MB in")
