"""The trainer ``federated``: a federation as a plan writes it. TensorFlow is loaded when it trains."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dpaudit.accounting.claim import GaussianSteps, Poisson
from dpaudit.bounds.lower_bound import Skipped
from dpaudit.data.dataset import Dataset
from dpaudit.data.users import Clients, Iid, Natural, rows_of
from dpaudit.runtime import check
from dpaudit.runtime.check import BoolArray, IntArray
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.took import epoch_done
from dpaudit.training.architecture import Architecture
from dpaudit.training.capabilities import no_probe
from dpaudit.training.dp_sgd import OptimizerName
from dpaudit.training.federated.aggregation import NamedAggregator, PlainMean
from dpaudit.training.federated.compression import Compression, Whole
from dpaudit.training.federated.participation import AllClients, Participation, Trouble
from dpaudit.training.federated.public_data import Pretraining
from dpaudit.training.fine_tuned import FineTuned, network_of
from dpaudit.training.trainer import TrainedModel

if TYPE_CHECKING:
    from dpaudit.inspection.under_test import UnderTest

Decay = Literal["constant", "cosine"]


@dataclass(frozen=True)
class ClientTraining:
    """What a client does with its records in a round.

    Args:
        epochs: passes over the records.
        batch_size: records per step; ``all`` is one step per pass (with one pass: FedSGD).
        learning_rate: of the first round.
        learning_rate_decay: over the rounds.
        momentum: of a round's steps.
        proximal: μ of FedProx.
        clip: norm each example's gradient is clipped to: DP-SGD in each client, for records.
        noise_multiplier: of that DP-SGD.
    """

    epochs: int = 1
    batch_size: int | Literal["all"] = 32
    learning_rate: float = 0.1
    learning_rate_decay: Decay = "constant"
    momentum: float = 0.0
    proximal: float = 0.0
    clip: float | None = None
    noise_multiplier: float = 0.0

    def __post_init__(self) -> None:
        check.integer("epochs", self.epochs, at_least=1)
        if self.batch_size != "all":
            check.integer("batch_size", self.batch_size, at_least=1)
        check.positive("learning_rate", self.learning_rate)
        check.one_of("learning_rate_decay", self.learning_rate_decay, get_args(Decay))
        check.probability("momentum", self.momentum)
        check.nonnegative("proximal", self.proximal)
        check.nonnegative("noise_multiplier", self.noise_multiplier)
        if self.clip is not None:
            check.positive("clip", self.clip)
        elif self.noise_multiplier:
            raise InputError(f"a client's noise_multiplier {self.noise_multiplier} needs a clip.")


@dataclass(frozen=True)
class ServerTraining:
    """What the server does with the average update.

    Args:
        optimizer: ``sgd`` or ``adam``.
        learning_rate: 1 with ``sgd`` is FedAvg.
        momentum: of ``sgd``.
    """

    optimizer: OptimizerName = "sgd"
    learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check.one_of("optimizer", self.optimizer, get_args(OptimizerName))
        check.positive("learning_rate", self.learning_rate)
        check.probability("momentum", self.momentum)
        if self.momentum and self.optimizer != "sgd":
            raise InputError("a server's momentum belongs to sgd.")


@dataclass(frozen=True)
class Federated:
    """A server and its clients: FedAvg, FedSGD, FedProx, server momentum or Adam, and DP for users or records.

    Args:
        architecture: what is trained.
        clients: whose record is it: ``natural`` users of the data, or a partition (`dpaudit.data.users`).
        rounds: rounds.
        participation: how clients are sampled (`dpaudit.training.federated.participation`).
        aggregator: what the server makes of the updates (`dpaudit.training.federated.aggregation`).
        local: what a client does (`ClientTraining`).
        server: what the server does with their average (`ServerTraining`).
        compression: what clients send (`dpaudit.training.federated.compression`).
        trouble: drop-outs and stragglers.
        pretraining: public data to start from; None starts from random weights.
        partition_seed: of the partition, which is part of the data and not of a training's chance.
    """

    architecture: Architecture
    clients: Clients = Natural()  # noqa: RUF009  # frozen values, here and below
    rounds: int = 30
    participation: Participation = AllClients()  # noqa: RUF009
    aggregator: NamedAggregator = PlainMean()  # noqa: RUF009
    local: ClientTraining = ClientTraining()
    server: ServerTraining = ServerTraining()
    compression: Compression = Whole()  # noqa: RUF009
    trouble: Trouble = Trouble()  # noqa: RUF009
    pretraining: Pretraining | None = None
    partition_seed: int = 0

    def __post_init__(self) -> None:
        check.integer("rounds", self.rounds, at_least=1)
        check.integer("partition_seed", self.partition_seed, at_least=0)
        if self.local.clip is not None and not isinstance(self.clients, Iid):
            raise InputError(
                "a clip of clients needs clients of kind 'iid': with other sizes every client has an ε of its own."
            )
        # Which pairs of sampling and aggregator can be accounted is known without data.
        self.aggregator.mechanism(self.participation, self.rounds)
        if self.pretraining is not None and isinstance(self.architecture, FineTuned):
            raise InputError("a federation starts from pretraining or from start weights; leave one of them out.")

    def mechanism(self, records: int) -> GaussianSteps | None:
        """What the accountant is told: per user by the aggregator, else per record by the clients' own DP-SGD."""
        by_user = self.aggregator.mechanism(self.participation, self.rounds)
        if by_user is not None or self.local.clip is None:
            return by_user
        assert isinstance(self.clients, Iid)
        size = max(1, records // self.clients.clients)
        batch = size if self.local.batch_size == "all" else min(self.local.batch_size, size)
        steps = self.rounds * self.local.epochs * -(-size // batch)
        return GaussianSteps(self.local.noise_multiplier, steps, Poisson(batch / size))

    @property
    def epochs(self) -> int:
        """Its length: rounds."""
        return self.rounds

    def with_epochs(self, epochs: int) -> "Federated":
        """The same federation for so many rounds."""
        return replace(self, rounds=epochs)

    def adds_noise(self) -> bool:
        """Whether the server or the clients add any."""
        by_user = self.aggregator.mechanism(self.participation, self.rounds)
        return self.local.noise_multiplier > 0 or (by_user is not None and by_user.noise_multiplier > 0)

    def refuse(self, dataset: Dataset) -> None:
        """Refuse records without the users or public data that it needs, another roster, and what no engine trains."""
        self.participation.expected(int(self.owner(dataset).max()) + 1)
        network_of(self.architecture, *dataset.network_shape)
        if self.pretraining is not None:
            self.pretraining.public_data(dataset)

    def probe(self, dataset: Dataset, *, seed: int) -> "UnderTest | Skipped":
        """Its server, where it protects users, with the clients of the data on its roster."""
        if self.aggregator.mechanism(self.participation, self.rounds) is None:
            return no_probe(self)
        from dpaudit.training.federated.server_under_test import server_of

        return server_of(self.aggregator, self.participation, int(self.owner(dataset).max()) + 1, seed=seed)

    def owner(self, dataset: Dataset) -> IntArray:
        """Client of each record, shape (records,)."""
        return self.clients(dataset, seed=self.partition_seed)

    def restore(self, weights: dict[str, npt.NDArray[np.float32]], dataset: Dataset) -> TrainedModel:
        """The model again from stored weights."""
        from dpaudit.training.keras_model import restore_model

        return restore_model(self.architecture(*dataset.network_shape), weights, None)

    def __call__(self, dataset: Dataset, included: BoolArray, *, seed: int) -> TrainedModel:
        """Train on the included records; a client that is left without records is absent.

        Raises:
            InputError: no users in the data where natural ones are wanted, no client with records, a roster that does
                not fit the sampling.
            AuditFailed: the federation diverged.
        """
        from dpaudit.training.keras_model import as_trained_model

        federation = self.prepare(dataset, seed=seed)
        rows = rows_of(self.owner(dataset), included=included)
        models, _ = federation([rows], seed=seed, progress=lambda rounds: epoch_done())
        return as_trained_model(federation.network.to_keras(models, 0), self.mechanism(int(included.sum())))

    def prepare(self, dataset: Dataset, *, seed: int) -> Any:
        """A `dpaudit.training.federated.federation.Federation` of it; the seed draws the first weights.

        Raises:
            InputError: the public data does not fit, or the pretraining leaves nothing to train.
        """
        from dpaudit.engine.optimizers import Adam, GradientDescent
        from dpaudit.engine.schedules import Constant, Cosine
        from dpaudit.training.federated.federation import Federation, with_start
        from dpaudit.training.federated.local import Local
        from dpaudit.training.federated.simulation import FederationRecipe

        own, server = self.local, self.server
        rate = Constant if own.learning_rate_decay == "constant" else Cosine
        recipe = FederationRecipe(
            rounds=self.rounds,
            participation=self.participation,
            local=Local(
                epochs=own.epochs,
                batch_size=own.batch_size,
                optimizer=GradientDescent(own.momentum),
                proximal=own.proximal,
                clip=own.clip,
                noise_multiplier=own.noise_multiplier,
            ),
            learning_rate=rate(own.learning_rate),
            aggregator=self.aggregator,
            server=Adam() if server.optimizer == "adam" else GradientDescent(server.momentum),
            server_learning_rate=server.learning_rate,
            compression=self.compression,
            trouble=self.trouble,
        )
        network = network_of(self.architecture, *dataset.network_shape)
        network, start = with_start(network, dataset, self.pretraining, seed=seed)
        return Federation(network, start, recipe, dataset)
