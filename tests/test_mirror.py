"""The tests lie as the packages do: the test of a module is in the folder of its package, or named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OF_THE_WHOLE = {"browser", "docs", "fuzz", "statistical"}  # folders that test the product, not one package

# Modules that no test of their own package names, by the test that goes through them to reach what they do.
THROUGH = {
    "tests/attacks/gradient/test_matching.py": (
        "attacks.gradient.adam attacks.gradient.dense_objective attacks.gradient.restarts data.bundled"
    ),
    "tests/attacks/membership/test_base.py": "attacks.membership._mean_confidence",
    "tests/attacks/membership/test_every_attack.py": "attacks.membership.hinge",
    "tests/attacks/membership/test_lira.py": "attacks.membership._views",
    "tests/attacks/membership/test_without_references.py": (
        "attacks.membership._log_surprise attacks.membership.confidence attacks.membership.entropy"
    ),
    "tests/audits/federated/test_attacks.py": "audits.federated.watched",
    "tests/audits/federated/test_run.py": "audits.federated.course audits.federated.run data.synthetic results.metric",
    "tests/audits/experiment/test_audit.py": "audits.experiment.heldout audits.experiment.predictions",
    "tests/audits/gradient/test_servers.py": (
        "attacks.gradient.servers.first_layer attacks.gradient.servers.honest audits.gradient.questions "
        "audits.gradient.scan"
    ),
    "tests/audits/gradient/test_settings.py": "audits.architecture",
    "tests/audits/ladder/test_run.py": (
        "audits.ladder.canary_runs audits.ladder.canary_tasks audits.ladder.trainer_under_test data.canaries "
        "training.engine_scores"
    ),
    "tests/audits/membership/test_larger_than_memory.py": "runtime.out_of_core",
    "tests/audits/membership/test_reference_models.py": "audits.membership.views",
    "tests/audits/test_attack.py": "audits.signals data.as_data",
    "tests/audits/test_heavy_steps.py": "runtime.seeds training.reference_models.task_cache",
    "tests/audits/test_plan.py": "audits.plan_paths audits.plan_tables runtime.first_error runtime.strict",
    "tests/audits/test_run.py": "runtime.keras_two runtime.log runtime.tensorflow",
    "tests/audits/test_score.py": "accounting.adjacency audits.statement data.member_choice",
    "tests/audits/test_sweep.py": "cli.sweep reports.sweep results.sweep",
    "tests/audits/unlearning/test_run.py": "audits.unlearning.tasks",
    "tests/audits/trace/test_run.py": "attacks.gradient.views_of_trace audits.trace.run",
    "tests/bounds/test_power.py": "self_test.power",
    "tests/bounds/test_vacuous.py": "bounds.certified bounds.vacuous",
    "tests/cli/test_attack_command.py": "data.prediction_files",
    "tests/cli/test_commands.py": (
        "cli.compare cli.doctor cli.history cli.init cli.list cli.power cli.report cli.schema cli.score cli.selftest"
    ),
    "tests/audits/test_table_cost.py": "audits.federated.cost",
    "tests/cli/test_dry_run.py": "audits.membership.cost cli.options cli.output",
    "tests/cli/test_init_table.py": "audits.plan_for_table",
    "tests/cli/test_export.py": "cli.export reports.export",
    "tests/cli/test_inspect.py": "cli.epsilon cli.inspect reports.inspection",
    "tests/cli/test_verify_command.py": "cli.verify",
    "tests/cli/test_text_commands.py": "cli.extract",
    "tests/data/test_blind_baseline.py": "data.columns",
    "tests/data/test_tables.py": "data.table_columns",
    "tests/data/test_text_canaries.py": "data.text_samples",
    "tests/docs/test_commands.py": "data.optional self_test.faults.page",
    "tests/engine/test_batches.py": "engine.keys",
    "tests/engine/test_gradients.py": (
        "engine.attention engine.conv_layers engine.conv_windows engine.layers engine.per_example_clipping "
        "engine.recurrent_layers engine.sequence_layers engine.shapes"
    ),
    "tests/engine/test_low_rank.py": "engine.low_rank",
    "tests/engine/test_network.py": "engine.initial_weights engine.read_keras",
    "tests/engine/test_training.py": "engine.device_arrays",
    "tests/gate/test_verify.py": "gate.judge_claim",
    "tests/inspection/test_federated_rounds.py": "inspection.under_test training.federated.server_under_test",
    "tests/inspection/test_inspection.py": (
        "inspection.check_extremes inspection.check_independence inspection.check_scale "
        "inspection.check_state inspection.probe"
    ),
    "tests/inspection/test_keras_adapters.py": "inspection.coupling",
    "tests/inspection/test_kinds_of_faults.py": (
        "accounting.law inspection.check_rare "
        "inspection.after inspection.listen inspection.microbatches inspection.noise inspection.questions "
        "inspection.sight inspection.undo "
        ""
    ),
    "tests/inspection/test_jax_training.py": "runtime.jax",
    "tests/inspection/test_participation.py": "inspection.epochs",
    "tests/inspection/test_server_rounds.py": "inspection.check_count",
    "tests/inspection/test_opacus_training.py": "runtime.pytorch",
    "tests/integrations/test_simulated.py": "training.federated.ledger",
    "tests/reports/test_forms.py": "gate.history gate.plan_changes gate.release_answers",
    "tests/reports/test_sections.py": "reports.tables.extraction reports.tables.gradient",
    "tests/results/test_frames.py": "audits.record_scores",
    "tests/results/test_parity.py": "accounting.accounted_claim",
    "tests/results/test_result_types.py": (
        "results.federated results.gradient results.membership results.prior results.text_gradient results.trace"
    ),
    "tests/scores/test_signals.py": "scores.logit_scaled",
    "tests/self_test/faults/test_run.py": (
        "self_test.faults.rung_0 self_test.faults.rung_1 self_test.faults.started "
        "self_test.faults.federated "
        "self_test.faults.recorded_federations self_test.faults.tf_privacy "
        "self_test.faults.traces"
    ),
    "tests/training/test_torch_trainers.py": "training.torch_trainer",
    "tests/trace/test_trace.py": (
        "trace.accountant trace.averages trace.check_course trace.check_noise trace.check_participation trace.inspect "
        "trace.manifest trace.reader trace.server trace.writer"
    ),
    "tests/training/reference_models/test_pool.py": "training.reference_models.masks",
    "tests/training/reference_models/test_speed.py": "runtime.took",
    "tests/training/test_decoder.py": "training.position_embedding",
    "tests/training/test_load_model.py": (
        "training.keras_3_config training.keras_config training.last_activation training.model_file"
    ),
    "tests/training/test_function.py": "training.named_function",
    "tests/training/test_onnx_model.py": "training.onnx_inputs",
    "tests/training/test_trainer_of_file.py": "training.model_inputs",
}


def test_folders_of_tests_are_packages() -> None:
    """Every folder of tests has the name of a package, below it of one inside it."""
    folders = {file.parent.relative_to(ROOT / "tests") for file in (ROOT / "tests").rglob("test_*.py")}
    packages = {_place(file).parent for file in _modules()}
    assert [str(folder) for folder in folders if folder.parts[:1] and folder not in packages | _whole()] == []


@pytest.mark.long
def test_every_module_has_a_test_that_is_found() -> None:
    """A module is imported or named by a test in the folder of its package, or by its door in the list above."""
    through = {name for names in THROUGH.values() for name in names.split()}
    assert [name for name in _names() if name not in through and not _named_by_its_own(name)] == []


@pytest.mark.long
def test_the_list_of_doors_is_short_of_nothing_and_holds_nothing_old() -> None:
    """Each module in it exists and has no test of its own, and each test in it exists."""
    through = [name for names in THROUGH.values() for name in names.split()]
    assert len(through) == len(set(through))
    assert [name for name in through if name not in _names() or _named_by_its_own(name)] == []
    assert [file for file in THROUGH if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from dpaudit.bounds.one_run import OneRun", True),
        ("from dpaudit.bounds import one_run", True),
        ("import dpaudit.bounds.one_run as module", True),
        ("patch('dpaudit.bounds.one_run.OneRun', None)", True),
        ("from dpaudit.bounds.one_run_trade_off import OneRunTradeOff", False),
        ("# dpaudit.bounds.one_run", False),
    ],
)
def test_what_names_a_module(text: str, found: bool) -> None:
    """An import in any form, or the module's path in a string; not the name of another module, and not a comment."""
    assert ("bounds.one_run" in _named_in(text)) is found


def _modules() -> list[Path]:
    found = [file for folder in ("dpaudit", "attacks", "reports") for file in (ROOT / folder).rglob("*.py")]
    return [file for file in found if not file.name.startswith("__")]


def _place(file: Path) -> Path:
    """Where a module is in the package: ``bounds/one_run``."""
    path = file.relative_to(ROOT).with_suffix("")
    return path.relative_to("dpaudit") if path.parts[0] == "dpaudit" else path


def _names() -> list[str]:
    """``bounds.one_run`` and so on; loose modules and the faces of packages have no folder to look in."""
    return sorted({".".join(_place(file).parts) for file in _modules() if len(_place(file).parts) > 1})


def _whole() -> set[Path]:
    return {Path(folder) for folder in OF_THE_WHOLE}


_OF_PACKAGE: dict[str, set[str]] = {}


def _named_by_its_own(name: str) -> bool:
    package = name.split(".")[0]
    if package not in _OF_PACKAGE:
        files = (ROOT / "tests" / package).rglob("test_*.py")
        _OF_PACKAGE[package] = {found for file in files for found in _named_in(file.read_text(encoding="utf-8"))}
    return name in _OF_PACKAGE[package]


def _named_in(text: str) -> Iterator[str]:
    """Every dotted name below ``dpaudit`` that a file imports or writes in a string, with all that lies above it."""
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = node.value.replace(":", ".").split()
        for name in names:
            parts = name.removeprefix("dpaudit.").split(".") if name.startswith("dpaudit.") else []
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))
