"""Peers' estimators, run inside their own environment by ``bounds.py``: npz of scores in, JSON of ε and seconds out.

Modules are loaded by path, because the packages around them import frameworks that a bound does not need.
"""

import importlib.util
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

Estimator = Callable[[np.ndarray, np.ndarray, float, float], float]  # members, non-members, δ, level -> ε


def load(package: str, path: str) -> ModuleType:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed here")
    file = Path(next(iter(spec.submodule_search_locations))) / path
    module_spec = importlib.util.spec_from_file_location(file.stem, file)
    if module_spec is None or module_spec.loader is None:
        raise SystemExit(f"{file} is not there")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[file.stem] = module
    module_spec.loader.exec_module(module)
    return module


def jax_privacy() -> dict[str, Estimator]:
    auditing = load("jax_privacy", "auditing.py")
    auditor, split, several = auditing.CanaryScoreAuditor, auditing.Split, auditing.MultiSplit
    return {
        "clopper-pearson (Bonferroni)": lambda a, b, d, s: auditor(a, b).epsilon_clopper_pearson(s, d),
        "clopper-pearson (Split)": lambda a, b, d, s: auditor(a, b).epsilon_clopper_pearson(
            s, d, threshold_strategy=split(seed=0)
        ),
        "clopper-pearson (MultiSplit)": lambda a, b, d, s: auditor(a, b).epsilon_clopper_pearson(
            s, d, threshold_strategy=several(num_samples=7, seed=0)
        ),
        "one-run (Split)": lambda a, b, d, s: auditor(a, b).epsilon_one_run(s, d, threshold_strategy=split(seed=0)),
        "one-run (MultiSplit)": lambda a, b, d, s: auditor(a, b).epsilon_one_run(
            s, d, threshold_strategy=several(num_samples=7, seed=0)
        ),
        "epsilon_from_gdp": lambda a, b, d, s: auditor(a, b).epsilon_from_gdp(s, d),
        "one-run (Bonferroni)": lambda a, b, d, s: auditor(a, b).epsilon_one_run(s, d),
        "one-run f-DP (Bonferroni)": lambda a, b, d, s: auditor(a, b).epsilon_one_run_fdp(s, d),
    }


def tensorflow_privacy() -> dict[str, Estimator]:
    module = load("tensorflow_privacy", "privacy/privacy_tests/epsilon_lower_bound.py")

    def largest(method: object) -> Estimator:
        def estimate(a: np.ndarray, b: np.ndarray, delta: float, level: float) -> float:
            bound = module.EpsilonLowerBound(a, b, alpha=level, two_sided_threshold=False)
            found = bound.compute_epsilon_lower_bound(method, k=1)
            return max(0.0, float(found[0])) if found.size else 0.0

        return estimate

    return {f"{method.value} (largest)": largest(method) for method in module.BoundMethod}


def of_counts(repeats: int) -> dict[str, list[float]]:
    """Seconds of jax-privacy for one count: all of a million canaries guessed, and of ten thousand."""
    auditing = load("jax_privacy", "auditing.py")
    work = {
        "one-run count at m = 1,000,000, s": lambda: auditing._epsilon_one_run(0.0, 10**6, 10**6, 700_000, 0.05, 1e-8),
        "one-run f-DP at m = 10,000, s": lambda: auditing._epsilon_one_run_fdp(0.0, 10**4, 10**4, 7000, 0.05, 1e-5),
    }
    return {name: [_timed(each) for _ in range(repeats)] for name, each in work.items()}


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    if sys.argv[1] == "counts":
        print(json.dumps(of_counts(int(sys.argv[2]))))
        return
    peer, file, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    estimators = {"jax-privacy": jax_privacy, "tensorflow-privacy": tensorflow_privacy}[peer]()
    with np.load(file, allow_pickle=False) as saved:
        scores, member, delta, level = saved["scores"], saved["member"], float(saved["delta"]), float(saved["level"])
    warnings.simplefilter("ignore")  # peers warn about logarithms of empty cells, which is theirs to say
    answer = {}
    for name, estimator in estimators.items():
        found, seconds = [], []
        for row, truth in zip(scores, member, strict=True):
            for _ in range(repeats):
                begin = time.perf_counter()
                value = float(estimator(row[truth], row[~truth], delta, level))
                seconds.append(time.perf_counter() - begin)
            found.append(value)
        answer[name] = {"epsilon": found, "seconds": seconds}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
