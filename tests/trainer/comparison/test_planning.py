"""Plans: strategies and files to checked configs, and arms run in processes that stop, fail and go on."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml

import launch.compare
from trainer.comparison.planning import Plan, PlannedArm, check_plan, common_rate, plan_of_strategies, read_plan
from trainer.comparison.running import Runner, SplitEvaluation, is_evaluated, run_arm, run_arms, run_logged
from trainer.config.microbatches import settled
from trainer.config.reading import ConfigError, dump_config, load_config
from trainer.engine.stopping import StopRequest
from trainer.record.best import RECORD, BestRecord, record_text
from trainer.record.folder import write_config
from trainer.record.lock import only_one

from ...end_to_end import run
from ...support.comparison_runs import misheard, sentences, write_evaluation
from ...support.untrained import save_checkpoint

COMPARE = Path(launch.compare.__file__)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config whose data need not be there: only for its columns is it opened before an arm is run."""
    values = {
        "output_dir": str(tmp_path / "unused"),
        "model": {"checkpoint": "openai/whisper-tiny"},
        "data": {"train": {"files": "train.parquet"}, "test": {"files": "test.parquet"}, "language": "en"},
        "training": {"steps": 100},
    }
    path = tmp_path / "common.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def checked(config: Path, *strategies: str, overrides: Sequence[str] = (), **options: Any) -> list[PlannedArm]:
    plan = plan_of_strategies(config, strategies, options.get("split"), options.get("cluster"))
    return check_plan(plan, overrides, config.parent / "out")


def refused(config: Path, *strategies: str, overrides: Sequence[str] = (), **options: Any) -> str:
    with pytest.raises(ConfigError) as told:
        checked(config, *strategies, overrides=overrides, **options)
    return str(told.value)


def write_plan(config: Path, values: dict[str, Any]) -> Path:
    path = config.with_name("plan.yaml")
    path.write_text(yaml.safe_dump({"config": config.name, **values}, sort_keys=False))
    return path


def test_strategies_become_arms_with_folders_of_their_own(config: Path) -> None:
    arms = checked(config, "plain", "full", "plain:lora", "dual:frozen_primary", overrides=["training.steps=7"])
    seen = [(arm.name, arm.is_trained, arm.config.model.strategy, arm.config.model.dual_attention) for arm in arms]
    assert seen == [
        ("plain", False, "full", True),
        ("full", True, "full", True),
        ("plain_lora", True, "lora", False),
        ("dual_frozen_primary", True, "frozen_primary", True),
    ]
    assert [arm.folder for arm in arms] == [config.parent / "out" / arm.name for arm in arms]
    assert {arm.config.training.steps for arm in arms} == {7}
    assert {arm.split for arm in arms} == {"test"}


@pytest.mark.parametrize(
    ("strategy", "right"),
    [
        ("lroa", "unknown strategy 'lroa'; did you mean 'lora'?"),
        ("duel:lora", "did you mean 'dual:lora'?"),
        ("dual:", "unknown strategy 'dual:'"),
        ("plain:plain", "unknown strategy"),
        (":lora", "unknown strategy"),
    ],
)
def test_an_unknown_strategy_is_refused_with_the_nearest(config: Path, strategy: str, right: str) -> None:
    assert right in refused(config, "full", strategy)


def test_overrides_may_follow_the_strategies(config: Path) -> None:
    arguments = ("--config", config, "--strategies", "full", "lora", "training.stepz=3")
    outcome = run(launch.compare.main, *arguments, "--output", config.parent / "out")
    assert outcome.code == 2
    assert "arm full:" in outcome.complaint
    assert "unknown key training.stepz; did you mean 'steps'?" in outcome.complaint


def test_a_strategy_stands_once(config: Path) -> None:
    for strategy in ("dual:lora", "frozen_encoder"):
        assert refused(config, strategy, "full", strategy) == f"--strategies has {strategy!r} twice"


def test_common_options_that_an_arm_has_no_use_for_are_left_out(config: Path) -> None:
    overrides = [
        "model.lora={rank: 4, bits: 8}",
        "model.selective={encoder_layers: 1, decoder_layers: 1}",
        "optimizer.new_modules_learning_rate=1e-3",
        "optimizer.encoder_learning_rate=1e-6",
    ]
    arms = checked(config, "plain:full", "dual:lora", "qlora", "selective", "frozen_encoder", overrides=overrides)
    full, lora, qlora, selective, frozen = (arm.config for arm in arms)
    assert [arm.optimizer.encoder_learning_rate for arm in (full, lora, frozen)] == [1e-6, 1e-6, None]
    assert (full.model.lora, full.model.selective, full.optimizer.new_modules_learning_rate) == (None, None, None)
    assert lora.model.lora is not None
    assert (lora.model.lora.rank, lora.model.lora.bits, lora.model.selective) == (4, None, None)
    assert lora.optimizer.new_modules_learning_rate == 1e-3
    assert qlora.model.lora is not None
    assert qlora.model.lora.bits == 8
    assert selective.model.lora is None
    assert selective.model.selective is not None


def test_what_an_arm_itself_sets_is_never_left_out(config: Path) -> None:
    arms: dict[str, Any] = {"one": {"model.strategy": "full", "model.lora.rank": 4}}
    arms["two"] = {"model.strategy": "frozen_encoder", "optimizer.encoder_learning_rate": 1e-6}
    with pytest.raises(ConfigError) as told:
        check_plan(read_plan(write_plan(config, {"arms": arms}), Plan), [], config.parent / "out")
    assert "lora does nothing under strategy 'full'" in str(told.value)
    assert "arm two: optimizer.encoder_learning_rate is 1e-06, but strategy 'frozen_encoder'" in str(told.value)


def test_all_mistakes_are_told_together(config: Path) -> None:
    plan = write_plan(
        config,
        {
            "arms": {
                "fine": None,
                "first": {"optimizer.learnin_rate": 1},
                "second": {"model": {"strategy": "frozen_primary", "dual_attention": False}},
            }
        },
    )
    outcome = run(launch.compare.main, "--plan", plan, "--output", config.parent / "out")
    assert outcome.code == 2
    for part in ("arm first:", "did you mean 'learning_rate'?", "arm second:", "dual_attention: false leaves out"):
        assert part in outcome.complaint
    assert "arm fine" not in outcome.complaint
    assert not (config.parent / "out").exists()


def speech(folder: Path) -> Path:
    """Test data with the columns speaker and age."""
    row = {"audio": {"bytes": b"", "path": "a.wav"}, "text": "a", "speaker": "s1", "age": 7}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), folder / "test.parquet")
    return folder / "test.parquet"


def test_a_misspelt_column_is_told_before_anything_is_trained(config: Path) -> None:
    overrides = [f"data.test.files={speech(config.parent)}"]
    complaint = refused(config, "full", "lora", overrides=overrides, cluster="spekaer")
    assert complaint.count("(did you mean 'speaker'?)") == 1


def test_a_plan_file_says_all(config: Path) -> None:
    values = {
        "split": "test",
        "cluster": "speaker",
        "arms": {
            "whisper": "plain",
            "short": "dual:lora",
            "nested": {"model": {"strategy": "lora"}, "optimizer.learning_rate": 0.002},
            "as_it_is": None,
        },
    }
    overrides = ["training.steps=9", "evaluation.columns=[age]", f"data.test.files={speech(config.parent)}"]
    arms = check_plan(read_plan(write_plan(config, values), Plan), overrides, Path("out"))
    assert [(arm.name, arm.is_trained, arm.config.model.strategy) for arm in arms] == [
        ("whisper", False, "full"),
        ("short", True, "lora"),
        ("nested", True, "lora"),
        ("as_it_is", True, "full"),
    ]
    assert arms[2].config.optimizer.learning_rate == 0.002
    assert {arm.config.training.steps for arm in arms} == {9}
    assert {(arm.config.evaluation.cluster, arm.config.evaluation.columns) for arm in arms} == {
        ("speaker", ("age", "speaker"))
    }


@pytest.mark.parametrize(
    ("values", "right"),
    [
        ({"arm": {}}, "unknown key arm; did you mean 'arms'?"),
        ({"arms": {}}, "arms is {}: dictionary should have at least 1 item"),
        ({"arms": {"a/b": None}}, "arms: a/b: a name is made of letters"),
        ({"arms": {"..": None}}, "a name is made of letters"),
        ({"arms": {"a": 3}}, "arms: a is 3; it must be a strategy"),
        ({"arms": {"a": "loar"}}, "arms: a: unknown strategy 'loar'; did you mean 'lora'?"),
        ({"arms": {"a": None}, "split": "train"}, "split is 'train': input should be 'test' or 'validation'"),
        ({"arms": {"a": None}, "cluster": 3}, "cluster is 3: input should be a valid string"),
        ({"arms": {"a": None}, "config": None}, "config is None: input is not a valid path"),
        ({"arms": {"a": None}, "config": "none.yaml"}, "cannot read the config"),
        ({"arms": {"a": None}, "split": "validation"}, "no data.validation to evaluate on; it has train, test"),
    ],
)
def test_a_plan_files_mistakes_are_named(config: Path, values: dict[str, Any], right: str) -> None:
    outcome = run(launch.compare.main, "--plan", write_plan(config, values))
    assert outcome.code == 2
    assert right in outcome.complaint


def test_a_model_from_nothing_has_no_unmodified_one(config: Path) -> None:
    shape = "{d_model: 32, encoder_layers: 1, decoder_layers: 1, attention_heads: 2}"
    told = refused(config, "plain", "full", overrides=["model.checkpoint=null", f"model.architecture={shape}"])
    assert told == "arm plain: model.checkpoint is null: there is no unmodified model to evaluate"


def test_a_folder_that_holds_another_run_is_refused(config: Path) -> None:
    (arm,) = checked(config, "lora")
    arm.folder.mkdir(parents=True)
    (arm.folder / "config.yaml").write_text(dump_config(arm.config))
    assert checked(config, "lora", overrides=["logging.every_steps=3"])
    told = refused(config, "lora", overrides=["training.steps=101"])
    assert told.startswith(f"arm lora: training.steps is 101, but {arm.folder} was run with 100: set it back")


def test_a_plan_is_run_again_over_what_its_runs_settled(config: Path) -> None:
    """The run wrote what it measured and found; what is asked for otherwise is still another config."""
    auto = ["training.step_utterances=12", "training.batch_size=auto"]
    (arm,) = checked(config, "lora", overrides=auto)
    found = settled(arm.config, 1, 3)
    performance = found.performance.model_copy(update={"onednn": False})
    write_config(found.model_copy(update={"performance": performance}))
    assert checked(config, "lora", overrides=auto)
    assert checked(config, "lora", overrides=[*auto, "training.batch_size=6", "performance.onednn=false"])
    told = refused(config, "lora", overrides=[*auto, "performance.onednn=true"])
    assert told.startswith(f"arm lora: performance.onednn is True, but {arm.folder} was run with False")
    told = refused(config, "lora", overrides=[*auto, "training.step_utterances=24"])
    assert told.startswith(f"arm lora: training.step_utterances is 24, but {arm.folder} was run with 12")


def test_one_rate_for_all_strategies_is_remarked_on(config: Path) -> None:
    plan = plan_of_strategies(config, ["full", "lora"], None, None)
    own = check_plan(plan, [], Path("out"))
    assert len({arm.config.optimizer.learning_rate for arm in own}) == 2
    assert common_rate(plan, own) is None
    same = check_plan(plan, ["optimizer.learning_rate=2e-5"], Path("out"))
    remark = common_rate(plan, same)
    assert remark is not None
    assert "optimizer.learning_rate is 2e-05 for every strategy" in remark
    arms = {"full": {"optimizer.learning_rate": 2e-5}, "lora": {"model.strategy": "lora"}}
    chosen = Plan(config=config, arms=arms)
    assert common_rate(chosen, check_plan(chosen, [], Path("out"))) is None


def logged(command: list[str], tmp_path: Path, stop: StopRequest) -> tuple[int, str]:
    log = tmp_path / "log"
    with only_one(tmp_path) as lock:
        code = run_logged(command, log, stop, lock)
    return code, log.read_text()


def test_a_commands_output_is_kept(tmp_path: Path) -> None:
    said = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    for times in (1, 2):
        code, log = logged([sys.executable, "-c", said], tmp_path, StopRequest())
        assert code == 3
        assert log.count("out\n") == log.count("err\n") == times


SAVES = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def save(number, frame):
    time.sleep(0.5)
    with (folder / "saved").open("a") as file:
        file.write(f"{sys.argv[2]} {signal.Signals(number).name}\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
if sys.argv[2] == "launcher":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    subprocess.Popen([sys.executable, __file__, sys.argv[1], "child"])
else:
    (folder / "ready").touch()
time.sleep(60)
"""


def start_plan(tmp_path: Path, kind: str) -> "subprocess.Popen[bytes]":
    """A process that runs one child, which is ready."""
    script, plan = tmp_path / "saves.py", tmp_path / "plan.py"
    script.write_text(SAVES)
    plan.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from trainer.comparison.running import run_logged\nfrom trainer.record.lock import only_one\n"
        "from trainer.engine.stopping import StopRequest\n"
        "folder = Path(sys.argv[1])\n"
        "with StopRequest() as stop, only_one(folder) as lock:\n"
        "    run_logged([sys.executable, *sys.argv[2:]], folder / 'log', stop, lock)\n"
        "    assert stop()\n"
    )
    command = [sys.executable, str(plan), str(tmp_path), str(script), str(tmp_path), kind]
    root = str(COMPARE.parents[1])
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root}, start_new_session=True)
    wait_for(tmp_path / "ready", process)
    return process


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("child", signal.SIGINT),
        pytest.param("child", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("launcher", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_stop_lets_every_child_save_once(tmp_path: Path, kind: str, number: int) -> None:
    process = start_plan(tmp_path, kind)
    os.killpg(process.pid, number)  # as a terminal sends it, to the plan's own group
    assert process.wait(20) == 0
    assert (tmp_path / "saved").read_text() == "child SIGTERM\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a child that its parent has gone")
def test_a_child_does_not_outlive_a_plan_that_is_killed(tmp_path: Path) -> None:
    process = start_plan(tmp_path, "child")
    process.kill()
    process.wait(20)
    with pytest.raises(ConfigError, match="another job is at work on a plan"), only_one(tmp_path):
        pass  # the child is saving
    limit = time.monotonic() + 20
    while not (tmp_path / "saved").exists():
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert (tmp_path / "saved").read_text() == "child SIGTERM\n"


def wait_for(path: Path, process: "subprocess.Popen[bytes]", seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < limit, f"{path} did not come"
        assert process.poll() is None, f"ended with {process.returncode} before {path} came"
        time.sleep(0.02)


def test_one_plan_at_a_time_is_at_work_in_a_folder(tmp_path: Path) -> None:
    with only_one(tmp_path) as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    with pytest.raises(ConfigError, match="another job is at work on a plan"), only_one(tmp_path):
        pass  # the child of a killed plan lives on
    child.communicate(b"\n")
    with only_one(tmp_path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_evaluation_counts_while_it_is_whole_and_not_older_than_its_model(tmp_path: Path) -> None:
    said = sentences(5)
    model = tmp_path / "best"
    model.mkdir()
    place = write_evaluation(tmp_path / "evaluation", said, misheard(said, 0.3, seed=1), str(model))
    assert is_evaluated(place, str(model), "test")
    assert not is_evaluated(place, str(model), "validation")
    assert not is_evaluated(place, str(tmp_path / "final"), "test")
    weights = model / "model.safetensors"
    weights.write_text("")
    later = time.time() + 60
    os.utime(weights, (later, later))
    assert not is_evaluated(place, str(model), "test")
    weights.unlink()
    (place / "predictions.jsonl").write_text("")
    assert not is_evaluated(place, str(model), "test")


EVALUATES = """
import sys
from pathlib import Path
from tests.support.comparison_runs import sentences, write_evaluation
words = sys.argv[1:]
said = {option: words[words.index(option) + 1] for option in ("--checkpoint", "--split", "--output")}
write_evaluation(Path(said["--output"]), sentences(5), sentences(5), said["--checkpoint"], split=said["--split"])
"""


@pytest.mark.parametrize(
    "change",
    ["model.checkpoint=openai/whisper-base", "evaluation.beams=5", "evaluation.max_new_tokens=30", "data.language=az"],
)
def test_an_unmodified_checkpoint_is_evaluated_anew_where_it_would_be_otherwise(
    config: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(COMPARE.parents[1]))
    output = config.parent / "out"
    output.mkdir()
    script = config.with_name("evaluates.py")
    script.write_text(EVALUATES)

    def evaluations(*overrides: str, ends: bool = True) -> int:
        (arm,) = checked(config, "plain", overrides=overrides)
        code = [str(script)] if ends else ["-c", "import sys; sys.exit(1)"]
        assert (failure(arm, output, [sys.executable, *code]) is None) == ends
        return (output / "plain.log").read_text().count("$ ")

    assert evaluations() == evaluations("training.steps=7") == 1
    assert evaluations(change, ends=False) == 2
    assert evaluations(change) == 3, "what was killed left no evaluation of before"
    assert evaluations(change) == 3


@pytest.mark.parametrize(
    ("launcher", "right"),
    [
        ("acelerate launch", "there is no command 'acelerate' (did you mean 'accelerate'?)"),
        ('accelerate "launch', "no closing quotation"),
        ("", "there is no command ''"),
    ],
)
def test_a_launcher_that_is_not_there_is_refused_before_anything_runs(config: Path, launcher: str, right: str) -> None:
    output = config.parent / "out"
    arguments = ("--config", config, "--strategies", "plain", "--output", output, "--launcher", launcher)
    outcome = run(launch.compare.main, *arguments)
    assert outcome.code == 2
    assert f"--launcher is {launcher!r}" in outcome.complaint and right in outcome.complaint
    assert not output.exists()


@dataclass
class Names:
    """A measurement that notes whom it measures; ``done`` are passed over."""

    done: tuple[str, ...] = ()
    measured: list[str] = field(default_factory=list)

    def is_done(self, arm: PlannedArm) -> bool:
        return arm.name in self.done

    def prepare(self, arm: PlannedArm, config: Path) -> None:
        assert not config.exists()

    def measure(self, arm: PlannedArm, config: Path, runner: Runner) -> str | None:
        assert load_config(config) == arm.config
        self.measured.append(arm.name)
        return "no luck" if arm.name == "c" else None


def test_queues_share_the_arms_out_and_pass_over_what_is_done(config: Path) -> None:
    plan = Plan.model_construct(config=config, arms=dict.fromkeys("abcde"))
    for name, share, whom in (
        ("first", (1, 2), ["a", "c"]),
        ("second", (2, 2), ["b", "d"]),
        ("all", (1, 1), [*"abcd"]),
    ):
        output = config.parent / name
        names = Names(done=("e",))
        failed = run_arms(check_plan(plan, [], output), output, names, share=share)
        assert names.measured == whom
        assert failed == ({"c": "no luck"} if "c" in whom else {})


def test_an_arm_that_fails_says_how_its_log_ends(config: Path) -> None:
    (arm,) = checked(config, "full")
    output = config.parent / "out"
    output.mkdir()
    start = [sys.executable, "-c", "import sys; print('a\\n' * 9 + 'begun'); sys.exit(open(sys.argv[3]).name)"]
    log = output / "full.log"
    reason = failure(arm, output, start)
    assert reason == f"training ended with exit code 1; {log} ends: a / a / a / begun / {output / 'full.yaml'}"
    first = log.read_text().splitlines()[0]
    assert first.startswith(f"$ {sys.executable} -c")
    assert first.endswith(f"launch/train.py --config {output / 'full.yaml'} --resume")
    assert load_config(output / "full.yaml") == arm.config
    start = [sys.executable, "-c", "import sys; print('begun'); print('error: no such file'); sys.exit(2)"]
    assert failure(arm, output, start) == f"training ended with exit code 2; no such file ({log})"
    untrue = [sys.executable, "-c", "pass"]
    assert str(failure(arm, output, untrue)).startswith("training ended with exit code 0")  # and left no model


@pytest.mark.parametrize(("step", "goes"), [(999, True), (1000, False)])
def test_an_arm_begins_again_only_where_no_checkpoint_is_lost(config: Path, step: int, goes: bool) -> None:
    """Checkpoints are written every 1,000 steps: a later best/ had one, which somebody has deleted since."""
    (arm,) = checked(config, "full")
    figures = {"value": 0.5, "word_error_rate": 0.5, "character_error_rate": 0.2, "utterances": 5, "skipped": 0}
    digests = {"rows": "", "references": "", "measured": {}}
    (arm.folder / "best").mkdir(parents=True)
    record = BestRecord(step=step, metric="word_error_rate", **figures, **digests)
    (arm.folder / "best" / RECORD).write_text(record_text(record))
    failure(arm, config.parent / "out", [sys.executable, "-c", "raise SystemExit(1)"])
    assert (arm.folder / "best").exists() != goes


def failure(arm: PlannedArm, output: Path, start: list[str]) -> str | None:
    with only_one(output) as lock:
        return run_arm(arm, SplitEvaluation(), Runner(output, start, StopRequest(), lock))


@pytest.fixture
def tiny_plan(tiny_values: dict[str, Any], tmp_path: Path) -> Path:
    """Two trained arms, an untrained one and one that fails, on a tiny checkpoint."""
    tiny_values["model"] = {"checkpoint": str(save_checkpoint(tmp_path / "whisper", padding=None, positions=64))}
    common = tmp_path / "tiny.yaml"
    common.write_text(yaml.safe_dump(tiny_values))
    nowhere = {"data.train.files": str(tmp_path / "nowhere.parquet")}
    return write_plan(
        common, {"arms": {"whisper": "plain", "lora": "dual:lora", "broken": nowhere, "full": "plain:full"}}
    )


@pytest.mark.slow
def test_a_killed_plan_goes_on_where_it_stood(tiny_plan: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, str(COMPARE), "--plan", str(tiny_plan), "--output", str(output)]
    overrides = ["training.steps=400", "evaluation.every_steps=200", "checkpoints.every_steps=200"]
    process = subprocess.Popen([*command, *overrides], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(output / "lora" / "metrics.jsonl", process)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130, told
    assert "the same command goes on" in told
    assert list((output / "lora" / "checkpoints").iterdir()), (output / "lora.log").read_text()
    assert not (output / "lora" / "final").exists()
    whisper = (output / "whisper" / "evaluation.json").stat().st_mtime_ns
    outcome = subprocess.run([*command, *overrides], capture_output=True, text=True, timeout=200)
    assert outcome.returncode == 1, outcome.stderr
    assert (output / "whisper" / "evaluation.json").stat().st_mtime_ns == whisper
    assert re.search(r"from .*checkpoints/step_\d+", (output / "lora.log").read_text())
    assert "arm broken failed: training ended with exit code 2" in outcome.stderr
    assert "nowhere.parquet" in outcome.stderr
    page, text = ((output / f"comparison.{kind}").read_text() for kind in ("html", "md"))
    assert "What did not run" in page
    assert "nowhere.parquet" in page
    assert [name for name in ("whisper", "lora", "full") if f"| {name} |" in text] == ["whisper", "lora", "full"]
    again = subprocess.run([*command, *overrides], capture_output=True, text=True, timeout=100)
    assert again.returncode == 1
    assert "lora: training" not in again.stdout  # finished, as is its evaluation
    assert "broken: training" in again.stdout
