"""One environment for each release of transformers in docs/versions.md, without this project installed.

    nox -f tests/ladder/noxfile.py -s "ladder(release='4.30.2')"

In each the promises are tested, and checkpoints are exchanged with the environment that nox itself runs in.
"""

import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.ladder.promises import read_promises  # noqa: E402
from tests.ladder.transformers_tests import unpack_tests  # noqa: E402

RELEASES, PROMISES = read_promises()
NEWEST = RELEASES[-1]
TORCH = "torch==2.13.0"
# What transformers' own trainer of that time works with; the newest elsewhere.
ACCELERATE = {"4.38.2": "accelerate==0.34.2"}

nox.options.envdir = str(ROOT / ".nox")
nox.options.reuse_venv = "yes"


@nox.session(venv_backend="venv")
@nox.parametrize("release", RELEASES)
def ladder(session: nox.Session, release: str) -> None:
    """The promises on one release, and checkpoints written by it and by the newest read by each other."""
    session.chdir(ROOT)
    peft = ["peft==0.21.2"] if PROMISES["peft"][release] else []
    # torch first, alone: where pip is set up to find a CPU build of it, nothing can then pull in another.
    session.install("numpy", "setuptools", TORCH)
    session.install(f"transformers=={release}", ACCELERATE.get(release, "accelerate==1.15.0"), *peft)
    session.install("pytest", "pytest-timeout")
    session.env.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"})
    absent = "import importlib.util; assert importlib.util.find_spec('modeling') is None"
    session.run("python", "-I", "-c", absent)
    session.run("python", "-m", "pytest", "-p", "no:cacheprovider", "tests/ladder")
    exchange = ("-m", "tests.ladder.exchange")
    old, newest = (Path(session.create_tmp()).resolve() / name for name in ("old", "newest"))
    for folder, writer, reader in ((old, "python", sys.executable), (newest, sys.executable, "python")):
        shutil.rmtree(folder, ignore_errors=True)
        session.run(writer, *exchange, "write", str(folder), external=True)
        session.run(reader, *exchange, "read", str(folder), external=True)


@nox.session(venv_backend="venv")
def transformers_tests(session: nox.Session) -> None:
    """transformers' own tests of a model on this project's classes, as far as its source distribution holds them."""
    session.chdir(ROOT)
    session.install("numpy", "setuptools", TORCH)
    session.install(f"transformers=={NEWEST}", "accelerate==1.15.0", "peft==0.21.2")
    session.install("pytest", "pytest-timeout", "parameterized")
    folder = Path(session.create_tmp()).resolve()
    archive, outcomes = folder / f"transformers-{NEWEST}.tar.gz", folder / "outcomes.xml"
    if not archive.exists():
        source = ("--no-deps", "--no-binary", "transformers", f"transformers=={NEWEST}")
        session.run("python", "-m", "pip", "download", "--dest", str(folder), *source)
    session.env.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"})
    session.env["TRANSFORMERS_TESTS"] = str(unpack_tests(archive, folder / "unpacked"))
    quiet = ("-q", "--tb=line", "--durations=5", "-W", "ignore", "-p", "no:cacheprovider", "-o", "addopts=")
    tests = ("tests/ladder/transformers_tests/model_tests.py", f"--junitxml={outcomes}")
    session.run("python", "-m", "pytest", *quiet, *tests, success_codes=[0, 1])  # what may fail is listed
    session.run("python", "-m", "tests.ladder.transformers_tests.outcomes", str(outcomes))
