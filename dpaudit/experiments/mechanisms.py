"""What rungs 1 and 2 ask: the step of a subject's own trainer, as a mechanism or as a federated server."""

from dataclasses import replace

from dpaudit.claim import Adjacency, Claim, FixedSize
from dpaudit.experiments.audit import Audit, Subject
from dpaudit.forensics.federated import Server
from dpaudit.forensics.mechanism import Mechanism, Stated
from dpaudit.training.dp_sgd import DpSgd
from dpaudit.training.federated.trainer import Federated
from dpaudit.training.tf_privacy import TFPrivacy


def mechanism_of(audit: Audit, subject: Subject, *, seed: int) -> tuple[Mechanism | Server, Stated, Claim] | str:
    """A subject's trainer as a mechanism or a server, with what it states; a reason where nothing can be fed to it."""
    trainer, ran = subject.trainer, subject.model.mechanism
    if ran is None or subject.claim is None:
        return "it claims nothing, or was trained without DP"
    claim = replace(subject.claim, adjacency="zero-out", mechanism=replace(ran, slack=0.0))
    if isinstance(trainer, DpSgd) and trainer.l2_norm_clip is not None:
        from dpaudit.forensics.stacked import stacked_step

        clip, noise, size = trainer.l2_norm_clip, trainer.noise_multiplier, trainer.batch_size
        mechanism = stacked_step(clip=clip, noise_multiplier=noise, denominator=size, seed=seed)
        return mechanism, Stated(clip, noise, size, "zero-out"), claim
    if isinstance(trainer, TFPrivacy):
        from dpaudit._tensorflow import keras
        from dpaudit.forensics.keras import model, optimizer

        size = trainer.batch_size
        if trainer.optimizer == "dp-sequential":
            mechanism = model(lambda ls: trainer.dp_sequential(keras.Sequential(ls)), batch_size=size, seed=seed)
        else:
            mechanism = optimizer(trainer.dp_optimizer, batch_size=size, partial=False, seed=seed)
        return mechanism, Stated(trainer.l2_norm_clip, trainer.noise_multiplier, "batch", "zero-out"), claim
    if isinstance(trainer, Federated) and ran.unit == "user":
        from dpaudit.forensics.federation import server_of

        built = server_of(trainer, int(trainer.owner(audit.dataset).max()) + 1, seed=seed)
        if isinstance(built, str):
            return built
        server, stated = built
        # Rounds of a fixed number of clients have no add-remove accounting.
        adjacency: Adjacency = "zero-out" if isinstance(ran.sampling, FixedSize) else stated.adjacency
        return server, replace(stated, adjacency=adjacency), replace(claim, adjacency=adjacency)
    return (
        f"the gradients of a {type(trainer).__name__} trainer cannot be chosen from outside; "
        "write a factory for its step and use `dpaudit inspect`"
    )
