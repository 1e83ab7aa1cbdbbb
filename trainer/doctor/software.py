"""Python, the libraries and their versions, what DeepSpeed must compile, and bitsandbytes' native library.

The allowed versions are read from the project's own metadata, what libraries require of each other from theirs.
"""

import importlib.metadata
import re
import shutil
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

from ..checks import Finding, State, judged
from ..config.run import RunConfig
from ..engine.optimizer import BITSANDBYTES, optimizer_name, tools
from .facts import LIBRARIES, PROJECT, Facts, canonical

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ("deepspeed", "bitsandbytes")  # a run needs them only where its config says so
OLD_LOCK_SECONDS = 1800  # longer than any of DeepSpeed's operators compiles
COMPILED = "cpu_adam"  # what of DeepSpeed the trainer's configs compile


def asked_by_the_project() -> tuple[str, list[str]]:
    """The Python that the project allows, and its requirements.

    From setup.cfg in a checkout, whose installed metadata may be older; else from the metadata.
    """
    path = ROOT / "setup.cfg"
    settings = ConfigParser()
    if path.exists() and settings.read(path) and settings.get("metadata", "name", fallback="") == PROJECT:
        lines = settings["options"]["install_requires"].splitlines()
        return settings["options"]["python_requires"], [line for line in lines if line.strip()]
    metadata = importlib.metadata.metadata(PROJECT)
    return metadata["Requires-Python"], importlib.metadata.requires(PROJECT) or []


def tested_versions() -> dict[str, str]:
    """What the tests run with, from constraints.txt; nothing where it is not at hand."""
    path = ROOT / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonical(name): version for name, version in pairs}


def check_python(facts: Facts) -> Iterator[Finding]:
    """Whether the project allows this version of Python."""
    from packaging.specifiers import SpecifierSet

    allowed, _ = asked_by_the_project()
    version = ".".join(map(str, facts.python))
    is_wrong = not SpecifierSet(allowed).contains(version)
    found = f"{version}, but it must be {allowed}" if is_wrong else version
    yield judged(is_wrong, "Python", found, "make an environment with a newer one", state="lacks")


def check_libraries(facts: Facts) -> Iterator[Finding]:
    """Each of the large libraries; the others in one line unless they are wrong."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    tested, others = tested_versions(), 0
    for requirement in map(Requirement, asked_by_the_project()[1]):
        name = canonical(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found, large = facts.versions.get(name), name in LIBRARIES
        pinned, remedy = tested.get(name), f"pip install '{requirement}'"
        if found is None:
            state: State = "note" if name in OPTIONAL else "lacks"
            words = " (only some configs need it)" if name in OPTIONAL else ""
            yield Finding(name, state, f"not installed{words}", remedy)
        elif not requirement.specifier.contains(found, prereleases=True):
            yield Finding(name, "lacks", f"{found}, but it must be {requirement.specifier}", remedy)
        elif large and pinned and Version(found).release[:2] > Version(pinned).release[:2]:
            yield Finding(name, "note", f"{found}, newer than what the tests run with", f"if it fails: {pinned}")
        elif large:
            yield Finding(name, "good", found)
        else:
            others += 1
    yield Finding("other libraries", "good", f"{others} installed, none too old")


def check_libraries_among_themselves(facts: Facts) -> Iterator[Finding]:
    """What the large libraries require of others that are installed."""
    from packaging.requirements import Requirement

    clean = True
    for name in LIBRARIES:
        if name not in facts.versions:
            continue
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            found = facts.versions.get(canonical(requirement.name))
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if found and applies and not requirement.specifier.contains(found, prereleases=True):
                clean = False
                asks = f"{name} {facts.versions[name]} asks for {requirement}, but {found} is installed"
                yield Finding("libraries together", "lacks", asks, f"pip install '{requirement}', or another {name}")
    if clean:
        yield Finding("libraries together", "good", "their requirements of each other are met")


def compiles(config: RunConfig | None) -> bool:
    """Whether DeepSpeed compiles an operator for this config."""
    return config is not None and optimizer_name(config) == COMPILED


def check_compiler(facts: Facts) -> Iterator[Finding]:
    """What DeepSpeed needs to compile cpu_adam; if a config needs it, the optimizer's check reports what is missing."""
    needed = compiles(facts.config)
    if not needed and (facts.config is not None or "deepspeed" not in facts.versions):
        return
    programs = (facts.environment.get("CXX", "c++"), "ninja")
    missing = [program for program in programs if shutil.which(program, path=tools()) is None]
    if not missing:
        yield Finding("compiler", "good", f"{' and '.join(programs)}, for DeepSpeed's cpu_adam")
    elif not needed:
        yield Finding("compiler", "note", f"no {' and no '.join(missing)}", "engine.cpu_offload needs it: install it")
    if needed and facts.gpus and "deepspeed" in facts.versions:
        from deepspeed.ops.op_builder.builder import assert_no_cuda_mismatch

        try:
            assert_no_cuda_mismatch(COMPILED)
            yield Finding("CUDA toolkit", "good", "its version suits torch's")
        except Exception as error:  # DeepSpeed's, of a kind for each reason
            said = " ".join(str(error).split()).removeprefix(">- DeepSpeed Op Builder: ")
            remedy = "install the toolkit of torch's CUDA version and set CUDA_HOME, or set optimizer.name: adamw"
            yield Finding("CUDA toolkit", "note", said, remedy)


def extension_folder(facts: Facts) -> Path:
    """Where torch keeps what it compiled."""
    if facts.environment.get("TORCH_EXTENSIONS_DIR"):
        return Path(facts.environment["TORCH_EXTENSIONS_DIR"])
    from torch.utils.cpp_extension import get_default_build_root

    return Path(get_default_build_root())


def check_extension_locks(facts: Facts) -> Iterator[Finding]:
    """A compile that was killed leaves its lock, and every later process waits for that operator for ever."""
    from torch.utils import cpp_extension

    # Later releases of torch lock with flock, which the kernel lets go when a process dies.
    if "deepspeed" not in facts.versions or not hasattr(cpp_extension, "FileBaton"):
        return
    folder = extension_folder(facts)
    locks = sorted({*folder.glob("*/lock"), *folder.glob("*/*/lock")})
    for lock in locks:
        age = time.time() - lock.stat().st_mtime
        operator = lock.parent.name
        remedy = f"if nothing compiles now: rm {lock}"
        if age < OLD_LOCK_SECONDS:
            yield Finding("lock of a compile", "note", f"{operator} is being compiled, or was {age:.0f} s ago", remedy)
        else:
            state: State = "lacks" if compiles(facts.config) and operator == COMPILED else "note"
            found = f"{operator}, {age / 3600:.1f} h old: a process that needs that operator waits for ever"
            yield Finding("lock of a compile", state, found, remedy)
    if not locks and folder.exists():
        yield Finding("lock of a compile", "good", f"none in {folder}")


def check_bitsandbytes(facts: Facts) -> Iterator[Finding]:
    """Imported, with the native library for the device here; where the config wants it, or there is no config."""
    config = facts.config
    needed = config is not None and (config.model.quantized_bits is not None or optimizer_name(config) in BITSANDBYTES)
    if (config is not None and not needed) or ("bitsandbytes" not in facts.versions and not needed):
        return
    from modeling.quantization import QuantizationError, import_bitsandbytes

    bad: State = "lacks" if needed else "note"
    try:
        import_bitsandbytes("8-bit optimizers and qlora need")
        from bitsandbytes.cextension import lib
    except (QuantizationError, ImportError) as error:
        yield Finding("bitsandbytes library", bad, " ".join(str(error).split()))
        return
    if re.search("error", type(lib).__name__, re.IGNORECASE):  # a stand-in, which raises when it is first used
        found = "bitsandbytes has no native library for this device"
        remedy = "python -m bitsandbytes says which; pip install another release, or take adamw and lora"
        yield Finding("bitsandbytes library", bad, found, remedy)
        return
    native = Path(getattr(getattr(lib, "_lib", None), "_name", "native library")).name
    is_for_cpus = bool(facts.gpus) and not getattr(lib, "compiled_with_cuda", False)
    remedy = "python -m bitsandbytes says why; unset BNB_CUDA_VERSION, or pip install another release"
    found = f"{native} is loaded, which is for CPUs" if is_for_cpus else native
    yield judged(is_for_cpus, "bitsandbytes library", found, remedy, state=bad)
