"""Each part of the self-test on a CPU: right results pass, planted wrong ones do not."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.backends.registry import set_default_backend

from platform.config.models import GoogLeNetConfig, OwnModelConfig
from platform.gpu_check import __main__ as command
from platform.gpu_check import report
from platform.gpu_check.checks import compiled, evaluation, fused, networks, replicas, resume, waiting
from platform.gpu_check.checks.decoding import decoding
from platform.gpu_check.checks.feed import feed
from platform.gpu_check.context import Context
from platform.gpu_check.machine import Machine, no_gpu
from platform.gpu_check.parts import PARTS
from platform.gpu_check.results import NotHere, Results
from platform.gpu_check.sizes import TINY
from platform.gpu_check.trainings import CPU, Case, made_batch, part_of, trained

pytestmark = pytest.mark.usefixtures("one_thread")
WRONG = Case(OwnModelConfig("tests.gpu_check.wrong_network:build"), 32)
SMALL = Case(GoogLeNetConfig(width=0.1), 32, steps=1)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(CPU, TINY, tmp_path_factory.mktemp("gpu_check"))


def outcomes(results: Results) -> dict[str, str]:
    return {check.name: check.outcome for check in results.checks}


def test_a_wrong_network_is_found(context: Context) -> None:
    results = Results()
    wrong = Context(CPU, replace(TINY, networks=(SMALL, WRONG)), context.folder)
    networks.networks(wrong, results)
    assert list(outcomes(results).values()) == ["passed", "FAILED"]
    assert results.checks[1].difference == pytest.approx(0.01, rel=0.5)
    assert "logits" in results.checks[1].detail


@pytest.mark.slow
def test_a_wrong_optimiser_is_found(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device it makes steps half as long."""
    results = Results()
    exact = trained

    def halved(case: Case, device: torch.device, dtype: torch.dtype = torch.float32, *, channels_last: bool = True):
        found = exact(case, device, dtype, channels_last=channels_last)
        if channels_last and case.optim.name == "adamw":
            found.change = [each / 2 for each in found.change]
        return found

    monkeypatch.setattr(networks, "trained", halved)
    networks.optimisers(Context(CPU, replace(TINY, optimisers=SMALL), context.folder), results)
    failed = [name for name, outcome in outcomes(results).items() if outcome != "passed"]
    assert failed == ["optimiser adamw"]
    assert len(results.checks) == 7


@pytest.mark.slow
def test_inputs_evaluation_decoding_and_copies_pass(context: Context) -> None:
    results = Results()
    for part in (networks.inputs, evaluation.evaluation, decoding, feed):
        part(context, results)
    assert set(outcomes(results).values()) == {"passed"}
    names = set(outcomes(results))
    assert names >= {"sampling area_aspect", "sampling random_square", "sampling centre_square", "transforms mixup"}
    assert names >= {"evaluation 1 view(s)", "evaluation 144 view(s)", "decoding", "batches arrive whole"}


@pytest.mark.slow
def test_a_resumed_training_passes_and_one_that_loses_a_step_does_not(
    context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = Results()
    resume.resume(context, results)
    assert outcomes(results) == {"resumed = undisturbed": "passed"}
    assert results.checks[0].tolerance == 0
    exact = resume._resumed
    off = lambda *given: {name: value + 1e-7 for name, value in exact(*given).items()}  # noqa: E731
    monkeypatch.setattr(resume, "_resumed", off)
    other = Context(CPU, TINY, tmp_path)
    resume.resume(other, results)
    assert results.checks[1].outcome == "FAILED"


@pytest.mark.slow
def test_fused_members_pass(context: Context) -> None:
    results = Results()
    fused.fused(context, results)
    assert list(outcomes(results).values()) == ["passed"]


@pytest.mark.long
def test_replicas_pass(context: Context) -> None:
    results = Results()
    replicas.replicas(context, results)
    assert len(results.checks) == 2
    assert set(outcomes(results).values()) == {"passed"}


@pytest.mark.parametrize(
    ("gpus", "names"),
    [
        (1, ["DDP nccl, 1 process(es)", "DDP gloo, 2 process(es)"]),
        (3, ["DDP nccl, 1 process(es)", "DDP nccl, 2 process(es)", "DDP nccl, 2 process(es), gradients in bfloat16"]),
        (8, ["DDP nccl, 1 process(es)", "DDP nccl, 8 process(es)", "DDP nccl, 8 process(es), gradients in bfloat16"]),
    ],
)
def test_the_gpus_that_are_there_form_groups(gpus: int, names: list[str]) -> None:
    found = replicas.groups(torch.device("cuda", 0), gpus)
    assert [group.name for group in found] == names
    assert found[-1].device_of(1) == torch.device("cuda", 0 if gpus == 1 else 1)


def test_shares_of_a_batch_make_it_up() -> None:
    batch = made_batch(8, 32, SMALL.transforms, 0)
    shares = [part_of(batch, rank, 4) for rank in range(4)]
    torch.testing.assert_close(torch.cat([share.images for share in shares]), batch.images)
    assert [share.draws_ND.tolist() for share in shares] == [
        batch.draws_ND[2 * r : 2 * r + 2].tolist() for r in range(4)
    ]


@pytest.fixture
def traced() -> Iterator[None]:
    """Compiled networks run PyTorch's own operators: the kernels that are made for a CPU are not trusted."""
    set_default_backend("aot_eager")
    yield
    set_default_backend("inductor")
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_a_compiled_network_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    results = Results()
    compiled.compare(WRONG, CPU, "default", results)  # which is as wrong uncompiled
    assert outcomes(results) == {"compiled = eager (default)": "passed"}


def test_on_a_cpu_nothing_is_compiled_and_nothing_waited_for(context: Context) -> None:
    with pytest.raises(NotHere, match="for trying"):
        compiled.compiled(context, Results())
    with pytest.raises(NotHere, match="nothing is waited for"):
        waiting.waiting(context, Results())


def test_a_wait_is_heard_and_traced_to_its_line() -> None:
    """Such as PyTorch says it on a GPU, from lines of the platform that are marked and that are not."""
    watch = waiting.Watch()
    marked = compile("\n" * 4 + "wait()  # sync point\n", f"{waiting.ROOT}/platform/marked.py", "exec")
    unmarked = compile("\n" * 6 + "wait()\n", f"{waiting.ROOT}/platform/unmarked.py", "exec")
    lines = {"platform/marked.py": "wait()  # sync point", "platform/unmarked.py": "wait()"}
    for file, text in lines.items():
        name = f"{waiting.ROOT}/{file}"
        waiting.linecache.cache[name] = (0, None, ["\n"] * 4 + [f"{text}\n"] * 3, name)

    def wait() -> None:
        warnings.warn("called a synchronizing CUDA operation (Triggered internally at ...)", stacklevel=2)

    try:
        with watch.watching():
            exec(marked, {"wait": wait})
            assert watch.unmarked == []
            for _ in range(2):
                exec(unmarked, {"wait": wait})
    finally:
        for file in lines:
            del waiting.linecache.cache[f"{waiting.ROOT}/{file}"]
    assert watch.waits == 3
    assert watch.unmarked == ["platform/unmarked.py:7"]


@pytest.mark.slow
def test_the_command_measures_says_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--device",
        "cpu",
        "--size",
        "tiny",
        "--out",
        str(tmp_path),
        "--parts",
        "roofline",
        "googlenet",
        "loader",
        "waiting",
    ]
    assert command.main(given) == 0
    written = json.loads((tmp_path / report.FILE).read_text())
    assert written["passed"]
    assert {"device", "torch_version", "cuda", "driver", "commit", "date"} <= set(written["machine"])
    assert list(written["seconds"]) == ["waiting", "roofline", "googlenet", "loader"]
    figures = {each["name"]: each for each in written["figures"]}
    speed = figures["step.googlenet.eager_images_per_s"]
    assert speed["lowest"] <= speed["median"] <= speed["highest"]
    assert len(speed["values"]) == TINY.repeats
    share, ceiling = figures["step.googlenet.eager_share"], figures["ceiling.googlenet.eager_images_per_s"]
    assert share["values"] == pytest.approx([each / ceiling["median"] for each in speed["values"]])
    assert figures["loader.images_per_s"]["median"] > 0
    assert [each["name"] for each in written["left_out"]] == ["waiting"]
    printed = capsys.readouterr().out
    assert "step.googlenet.eager_images_per_s" in printed
    assert "all 0 checks passed" in printed


def test_a_failed_check_is_the_status_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command.SIZES, "tiny", replace(TINY, networks=(WRONG,)))
    given = ["--device", "cpu", "--size", "tiny", "--out", str(tmp_path), "--parts", "networks"]
    assert command.main(given) == 1
    assert not json.loads((tmp_path / report.FILE).read_text())["passed"]
    assert "1 of 1 checks FAILED: network tests.gpu_check.wrong_network:build" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--parts", "speed"], "--parts has speed; give some of"),
        (["--minutes", "0"], "--minutes is 0; give more than 0"),
        (["--photos", "/nowhere.tar"], "--photos is /nowhere.tar, which is no file; give a tar"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--device", "cpu", *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_a_gpu_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main([]) == 2
    assert "give --device cpu" in capsys.readouterr().err
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert no_gpu() == "CUDA_VISIBLE_DEVICES is '', which hides every GPU; unset it, or give --device cpu"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "was built without CUDA" in no_gpu()


def test_an_infinite_difference_is_text_in_the_file(tmp_path: Path) -> None:
    results = Results()
    results.compare("a", [networks.Difference("x", float("nan"), 1.0)])
    report.save(Machine.of(CPU), results, 10, 1.0, tmp_path / "a.json")
    (check,) = json.loads((tmp_path / "a.json").read_text())["checks"]
    assert (check["outcome"], check["difference"]) == ("FAILED", "nan")


def test_the_table_needs_no_rich() -> None:
    results = Results()
    results.compare("network a", [networks.Difference("logits", 1e-6, 1e-4)])
    results.figures.add("step.a", 1234.0, "images")
    results.leave_out("b", "for time")
    lines = report.plain(report.rows(results))
    assert len(lines) == 4
    assert lines[1].split() == [
        "network",
        "a",
        "passed",
        "1.0e-06",
        "at",
        "most",
        "1.0e-04",
        "logits",
        "1.0e-06",
        "of",
        "1e-04",
    ]
    assert lines[2].split() == ["step.a", "1,234", "1,234", "to", "1,234", "images"]
    assert lines[3].split() == ["b", "left", "out", "for", "time"]


def test_correctness_comes_before_speed_and_all_but_the_last_fit_into_ten_minutes() -> None:
    names = [part.name for part in PARTS]
    assert len(set(names)) == len(names)
    assert names.index("compiled") < names.index("roofline") < names.index("googlenet")
    assert sum(part.seconds_on_gpu for part in PARTS[: names.index("fused members")]) < 595
    assert sum(part.seconds_on_cpu for part in PARTS) < 595
