"""What was built with Opacus: its claim is read, its step and its batches are asked, and faults of the public library.

Statistical checks have a false-alarm rate of 1e-6 over each inspection; seeds are fixed.
"""

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs dpaudit[torch]; make test-torch runs it")
opacus: Any = pytest.importorskip("opacus", reason="needs dpaudit[torch]; make test-torch runs it")

from dpaudit.accounting.claim import Claim  # noqa: E402
from dpaudit.inspection.built_training import BuiltTraining  # noqa: E402
from dpaudit.inspection.check_grad_samples import check_grad_samples  # noqa: E402
from dpaudit.inspection.inspect import Inspection, inspect_mechanism  # noqa: E402
from dpaudit.inspection.opacus_step import optimizer_step  # noqa: E402
from dpaudit.inspection.opacus_training import is_built_with_torch, read_training  # noqa: E402
from dpaudit.inspection.step_canaries import StepCanaries  # noqa: E402
from dpaudit.runtime.errors import InputError  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
FLAT: dict[str, Any] = {"max_grad_norm": 1.0}
RIGHT: dict[str, dict[str, Any]] = {
    "flat": FLAT,
    "per layer": {"max_grad_norm": [0.5] * 4, "clipping": "per_layer"},
    "ghost": {"max_grad_norm": 1.0, "grad_sample_mode": "ghost"},
    "sum": {"max_grad_norm": 1.0, "loss_reduction": "sum"},
}


def _parts(records: int, batch_size: int) -> tuple[Any, Any, Any]:
    drawn = torch.Generator().manual_seed(0)
    data = torch.utils.data.TensorDataset(
        torch.randn(records, 12, generator=drawn), torch.randint(0, 3, (records,), generator=drawn)
    )
    module = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size)
    return module, torch.optim.SGD(module.parameters(), lr=0.1), loader


def _private(records: int = 1010, batch_size: int = 64, **settings: Any) -> Any:
    module, optimizer, loader = _parts(records, batch_size)
    return opacus.PrivacyEngine().make_private(
        module=module, optimizer=optimizer, data_loader=loader, noise_multiplier=1.1, **{**FLAT, **settings}
    )


def _read(build: Any, seed: int = 0) -> BuiltTraining:
    return read_training(build, build(), name="train.py:build", seed=seed)


def _asked(built: BuiltTraining, seed: int = 1) -> tuple[Inspection, list[str]]:
    claim = Claim(1.8, 1e-5, "record", "add-remove", "read", built.accounted)
    found = inspect_mechanism(built.mechanism, built.stated, seed=seed, claim=claim, budget=1.0)
    checks = [each.check for each in found.violations]
    return found, checks + [each.check for each in built.reconciled(claim, level=1e-6).findings]


@pytest.mark.parametrize("kind", RIGHT)
def test_right_trainings_are_read_and_nothing_is_found(kind: str) -> None:
    """Noise multiplier, clip, divisor, rate and steps are those given to make_private; no check finds anything."""
    built = _read(lambda: _private(**RIGHT[kind]))
    divisor = 1.0 if kind == "sum" else 63.0  # 1010 records in 16 batches
    assert (built.stated.clip, built.stated.noise_multiplier, built.stated.denominator) == (1.0, 1.1, divisor)
    assert (built.accounted.noise_multiplier, built.accounted.steps) == (1.1, 16)
    assert built.accounted.sampling.rate == 1 / 16
    found, checks = _asked(built)
    assert checks == []
    assert found.noise_multiplier == pytest.approx(1.1, rel=0.02)


def test_the_release_is_the_clipped_sum_over_the_divisor() -> None:
    """Without noise the step gives Σ clip(gᵢ, C) / divisor, as computed by numpy."""
    optimizer = _private()[1]
    optimizer.noise_multiplier = 0.0
    step, fed = optimizer_step(optimizer, seed=0)
    rng = np.random.default_rng(3)
    gradients = [rng.normal(size=(7, *shape)).astype(np.float32) for shape in step.shapes]
    flat = np.concatenate([gradient.reshape(7, -1) for gradient in gradients], axis=1)
    clipped = (flat / np.maximum(1.0, np.linalg.norm(flat, axis=1))[:, None]).sum(axis=0) / 63
    assert fed == [0, 1, 2, 3]
    np.testing.assert_allclose(np.concatenate([part.ravel() for part in step.release(gradients)]), clipped, atol=1e-5)


def test_a_divisor_from_the_private_number_of_records_is_found() -> None:
    """Opacus #571 and #819: on 3 records in batches of 2 the divisor is 1, on 2 records it is 2."""
    built = _read(lambda: _private(3, 2))
    (finding,) = built.findings
    assert finding.check == "divisor"
    assert "divided by 1 and by 2" in finding.observed
    assert finding.true_epsilon is not None
    assert finding.true_epsilon > 100  # two steps of 131 numbers each


def test_a_divisor_that_is_fixed_is_not_mistaken() -> None:
    """The right twin: the same training with its divisor set to a number; the size of the data set may be any."""

    def fixed() -> Any:
        parts = _private(3, 2)
        parts[1].expected_batch_size = 2
        return parts

    assert _read(fixed).findings == ()


def test_the_number_of_records_may_be_public() -> None:
    """With replace-one adjacency all neighbours have as many records, so the divisor says nothing."""
    built = _read(lambda: _private(3, 2))
    claim = Claim(1.8, 1e-5, "record", "replace-one", "typed", built.accounted)
    assert "divisor" not in [each.check for each in built.reconciled(claim, level=1e-6).findings]


def test_a_weighted_sampler_is_found() -> None:
    """Opacus #813: with poisson_sampling=False the weights stay, and five records are in nearly every batch."""

    def weighted() -> Any:
        module, optimizer, loader = _parts(1010, 64)
        weights = torch.ones(1010)
        weights[:5] = 50.0
        sampler = torch.utils.data.WeightedRandomSampler(weights, 1010)
        loader = torch.utils.data.DataLoader(loader.dataset, batch_size=64, sampler=sampler)
        return opacus.PrivacyEngine().make_private(
            module=module, optimizer=optimizer, data_loader=loader, noise_multiplier=1.1, poisson_sampling=False, **FLAT
        )

    assert "records drawn often" in _asked(_read(weighted))[1]


def test_fixed_batches_accounted_as_poisson_are_found() -> None:
    """With poisson_sampling=False a loader that does not shuffle draws the same batches in every epoch."""
    assert "fixed batches" in _asked(_read(lambda: _private(poisson_sampling=False)))[1]


@pytest.mark.parametrize(("kind", "check"), [("flat", "noise"), ("ghost", "noise")])
def test_too_little_noise_is_found(kind: str, check: str) -> None:
    """The optimizer adds noise for half of the clip that it states."""

    def build() -> Any:
        parts = _private(**RIGHT[kind])
        right = type(parts[1]).add_noise

        def halved() -> None:
            stated, parts[1].noise_multiplier = parts[1].noise_multiplier, parts[1].noise_multiplier / 2
            right(parts[1])
            parts[1].noise_multiplier = stated

        parts[1].add_noise = halved
        return parts

    if kind == "ghost":  # a method of the instance is bound to the optimizer it was made for

        class Halved(opacus.optimizers.DPOptimizerFastGradientClipping):  # type: ignore[misc]  # Opacus has no types here
            def add_noise(self) -> None:
                self._adjusted_noise_multiplier = self.noise_multiplier / 2
                super().add_noise()

        def build() -> Any:
            parts = _private(**RIGHT[kind])
            parts[1].__class__ = Halved
            return parts

    assert check in _asked(_read(build))[1]


def test_a_model_that_clips_at_more_than_the_noise_is_for_is_found() -> None:
    """Ghost clipping has its clip norm twice, in the model and in the optimizer: they must be one."""

    def build() -> Any:
        parts = _private(**RIGHT["ghost"])
        parts[0].max_grad_norm = 4.0
        return parts

    assert "sensitivity" in _asked(_read(build))[1]


def test_step_canaries_measure_the_noise() -> None:
    """Rung 2 on the optimizer: the noise multiplier lies below the upper bound of the canaries (confidence 95 %)."""
    built = _read(lambda: _private())
    claim = Claim(1.8, 1e-5, "record", "add-remove", "read", built.accounted)
    audit = StepCanaries(60)(built.mechanism, built.stated, claim, confidence=0.95, seed=1)
    assert audit.p_value > 1e-6
    assert audit.noise_multiplier_at_most > 1.1


def _lazy() -> Any:
    parts = _private()
    parts[1].param_groups[0]["params"] = [torch.nn.LazyLinear(2).weight]
    return parts


def _half() -> Any:
    parts = _private()
    parts[1].param_groups[0]["params"] = [torch.nn.Parameter(torch.zeros(3, dtype=torch.float16))]
    return parts


def _meta() -> Any:
    parts = _private()
    parts[1].param_groups[0]["params"] = [torch.nn.Parameter(torch.zeros(3, device="meta"))]
    return parts


def _older() -> Any:
    """As Opacus was before it kept the reduction of the loss."""
    parts = _private()
    del parts[1].loss_reduction
    return parts


def _adaptive() -> Any:
    return _private(
        clipping="adaptive",
        target_unclipped_quantile=0.5,
        clipbound_learning_rate=0.2,
        max_clipbound=10.0,
        min_clipbound=0.1,
        unclipped_num_std=2.0,
    )


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: _parts(100, 10), "was not made private"),
        (lambda: _parts(100, 10)[0], "no optimizer"),
        (lambda: _private(grad_sample_mode="ghost")[1], "return all that PrivacyEngine.make_private"),
        (_adaptive, "changes with every step"),
        (_lazy, "lazy layers"),
        (_half, "float16"),
        (_meta, "on the meta device"),
        (_older, r"Opacus \d\.\d\.\d has no loss_reduction; install 1\.5 or later"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(build: Any, says: str) -> None:
    """Nothing private, nothing that clips, a clip that changes, lazy layers, half precision, an old Opacus."""
    with pytest.raises(InputError, match=says) as caught:
        _read(build)
    assert "\n" not in str(caught.value)


def test_only_what_is_of_torch_is_read_so() -> None:
    """A function or an array is not."""
    assert is_built_with_torch(torch.nn.Linear(1, 1))
    assert is_built_with_torch((None, torch.zeros(1)))
    assert not is_built_with_torch(np.zeros(1))


@pytest.mark.parametrize("mode", ["hooks", "ghost"])
def test_a_layer_with_a_wrong_gradient_sampler_is_found(mode: str) -> None:
    """A registered sampler that gives half of each gradient; without it the same layer is right."""

    class Halved(torch.nn.Linear):  # type: ignore[misc]  # PyTorch has no types here
        pass

    def build() -> Any:
        module, _, loader = _parts(200, 10)
        module = torch.nn.Sequential(Halved(12, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 3))
        return opacus.PrivacyEngine().make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
            data_loader=loader,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            grad_sample_mode=mode,
        )

    def sampler(layer: Any, activations: Any, backprops: Any) -> Any:
        found = {layer.weight: torch.einsum("ni,nj->nij", backprops, activations[0]) / 2}
        return {**found, layer.bias: backprops / 2}

    assert "per-example gradients" not in [each.check for each in _read(build).findings]
    opacus.grad_sample.register_grad_sampler(Halved)(sampler)
    assert "per-example gradients" in [each.check for each in _read(build).findings]


def test_what_cannot_be_compared_is_said() -> None:
    """A model that was not wrapped, and records that are no tensors."""
    assert check_grad_samples(torch.nn.Linear(1, 1), [], seed=0)[1][0].reason == "the model is not wrapped by Opacus"
    module = _private()[0]
    assert "TypeError" in check_grad_samples(module, [("a word", 1)] * 4, seed=0)[1][0].reason
