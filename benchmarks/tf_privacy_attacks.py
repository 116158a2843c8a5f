"""Runs TensorFlow Privacy's released attacks on given arrays. It is run by `benchmarks/attacks.py` in an environment
of its own, which has tensorflow-empirical-privacy and not dpaudit.

    python tf_privacy_attacks.py IN.npz OUT.npz
"""

import sys
import time

import numpy as np
from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack.advanced_mia import (
    calculate_statistic,
    compute_score_lira,
    compute_score_offset,
)
from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack.data_structures import AttackInputData
from tensorflow_privacy.privacy.privacy_tests.membership_inference_attack.membership_inference_attack import (
    run_attacks,
)
from tensorflow_privacy.privacy.privacy_tests.secret_sharer.exposures import (
    compute_exposure_extrapolation,
    compute_exposure_interpolation,
)


def main() -> None:
    given = np.load(sys.argv[1])
    out = {}
    target, reference, included = given["phi"], given["reference"], given["included"]
    records = range(target.size)
    inside = [reference[included[:, j], j][:, None] for j in records]
    outside = [reference[~included[:, j], j][:, None] for j in records]
    for middle in ("median", "mean"):
        for fixed in (False, True):
            begin = time.perf_counter()
            scores = compute_score_lira(
                target[:, None], inside, outside, option="both", fix_variance=fixed, median_or_mean=middle
            )
            out[f"seconds_lira_{middle}_{'residual' if fixed else 'per-record'}"] = time.perf_counter() - begin
            out[f"lira_{middle}_{'residual' if fixed else 'per-record'}"] = -scores  # theirs is low for members
            scores = compute_score_lira(
                target[:, None], inside, outside, option="out", fix_variance=fixed, median_or_mean=middle
            )
            out[f"density_{middle}_{'residual' if fixed else 'per-record'}"] = -scores
    out["offset_mean"] = compute_score_offset(target[:, None], inside, outside, median_or_mean="mean")
    if "logits" in given:
        logits, labels, member = given["logits"], given["labels"].astype(np.int64), given["member"]
        out["phi"] = calculate_statistic(logits.copy(), labels, option="logit")
        data = AttackInputData(
            logits_train=logits[member],
            logits_test=logits[~member],
            labels_train=labels[member],
            labels_test=labels[~member],
        )
        out["modified_entropy"] = np.concatenate([data.get_entropy_train(), data.get_entropy_test()])
        out["auc_threshold"] = run_attacks(data).single_attack_results[0].get_auc()
    if "perplexities" in given:
        secrets = {1: list(given["perplexities"])}
        out["exposure"] = np.array(compute_exposure_interpolation(secrets, list(given["perplexity_reference"]))[1])
        out["extrapolated"] = np.array(compute_exposure_extrapolation(secrets, list(given["perplexity_reference"]))[1])
    np.savez(sys.argv[2], **out)


if __name__ == "__main__":
    main()
