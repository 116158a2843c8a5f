"""What ``[federated]`` would take: trainings in rounds, and what else is counted in rounds or in updates of clients.

A round is timed where the model's own training is. Canary clients, who cost the server more than the others, are timed
in federations of one and of a few rounds.
"""

from dataclasses import replace

from dpaudit.audits.federated.gradient_canaries import Canary, canary_audit
from dpaudit.audits.federated.run import FederatedSettings
from dpaudit.audits.table_cost import TableCost, Untrained
from dpaudit.runtime.progress import Silent
from dpaudit.runtime.took import Took
from dpaudit.training.federated.trainer import Federated
from dpaudit.training.reference_models.speed import Speed, measured_once, speed_of

ROUNDS = 3  # of the longer federation with canaries that is timed


def cost(settings: FederatedSettings, untrained: Untrained) -> TableCost:
    """Of all federated models."""
    trainers = {name: one for name, one in untrained.trainers.items() if isinstance(one, Federated)}
    took, trainings = Took(), 0
    extra: Speed | None = None
    for name, trainer in trainers.items():
        speed = untrained.alone(trainer)
        assert speed is not None  # a federation has rounds
        lifted = 0 if settings.lifted is None else settings.lifted.federations
        stacked = 1 + lifted + (settings.references if "final-model" in settings.users else 0)
        if settings.canaries is not None:
            stacked += 1
            extra = _canaries(settings.canaries, name, trainer, speed, untrained) if extra is None else extra
            took += extra.took(trainer.rounds)
        trainings += stacked
        took += speed.call + speed.epoch * (trainer.rounds * stacked) + _counted(settings, trainer, speed, untrained)
    return TableCost(trainings, took)


def _canaries(settings: Canary, name: str, trainer: Federated, speed: Speed, untrained: Untrained) -> Speed:
    """What canary clients and the bounds from them take beside a training, and in each round."""
    audit, owner = replace(untrained.audit, progress=Silent()), trainer.owner(untrained.audit.dataset)

    def of_rounds(rounds: int) -> Took:
        def audited() -> None:
            prepared = trainer.with_epochs(rounds).prepare(audit.dataset, seed=0)
            canary_audit(name, prepared, owner, settings, audit)

        what = speed_of(trainer), settings.model_dump_json(), audit.dataset.features.shape
        return measured_once(audited, "canary clients", what, rounds)

    first, long = of_rounds(1), of_rounds(ROUNDS)
    each = long.less(first) * (1 / (ROUNDS - 1))
    return Speed(Took(), first.less(each), each.less(speed.epoch), Took())


def _counted(settings: FederatedSettings, trainer: Federated, speed: Speed, untrained: Untrained) -> Took:
    """Of what is counted: rounds released again, updates of clients, and predictions."""
    roster = int(trainer.owner(untrained.audit.dataset).max()) + 1
    update = speed.epoch * (1 / max(trainer.participation.expected(roster), 1.0))
    took = Took()
    if "every-round" in settings.users:
        took += speed.predict * trainer.rounds
    if "releases" in settings.users:
        took += update * (roster * trainer.rounds)
    if (crafted := settings.crafted) is not None:  # a release is at most a round, a step at most an update
        took += (speed.epoch * crafted.draws + update * (crafted.mock_clients + crafted.steps)) * crafted.rounds
    if (inference := settings.inference) is not None:
        asked = inference.records * trainer.participation.expected(roster) / len(untrained.audit.dataset)
        took += (speed.predict * asked + update * (inference.shadows * len(inference.classes))) * inference.rounds
    return took
