"""A federation ready to run: model, first weights, data and recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dpaudit.data.dataset import Dataset
from dpaudit.engine.device_arrays import Held
from dpaudit.engine.losses import loss_of
from dpaudit.engine.network import Network, Parameters
from dpaudit.engine.schedules import Constant
from dpaudit.runtime.errors import InputError
from dpaudit.runtime.tensorflow import keras, tf
from dpaudit.training.federated.ledger import Entry
from dpaudit.training.federated.local import ClientWork, Local, Trainees, slots_for
from dpaudit.training.federated.public_data import Pretraining
from dpaudit.training.federated.simulation import CanaryClients, ClientRows, FederationRecipe, Observer, simulate
from dpaudit.training.keras_model import keras_targets, network_inputs


@dataclass(frozen=True)
class Federation:
    """Runs federations of one trainer on one data set.

    Args:
        network: the model; its frozen layers hold what they were pretrained to.
        start: weights every federation starts from.
        recipe: how they train.
        dataset: all records.
    """

    network: Network
    start: Parameters
    recipe: FederationRecipe
    dataset: Dataset

    def __call__(
        self,
        rows: Sequence[ClientRows],
        *,
        seed: int,
        canaries: CanaryClients | Sequence[CanaryClients] | None = None,
        observe: Observer | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Parameters, list[list[Entry]]]:
        """Models (federations, ...) and ledgers; ``rows`` are the clients' records in each federation."""
        return simulate(
            self.network,
            self.network.of_copies(self.start, lambda value: tf.repeat(value, len(rows), axis=0)),
            self.recipe,
            features=network_inputs(self.dataset),
            targets=keras_targets(self.dataset),
            rows=rows,
            loss=loss_of(self.dataset.task),
            seed=seed,
            canaries=canaries,
            observe=observe,
            progress=progress,
        )

    def updates(
        self, weights: Sequence[npt.NDArray[np.float32]], rows: ClientRows, *, round_number: int, seed: int
    ) -> npt.NDArray[np.float64]:
        """What each client would send if the round began with these weights, shape (clients, coordinates)."""
        recipe = self.recipe
        trainees = Trainees(
            self.network,
            recipe.local,
            self._held,
            loss_of(self.dataset.task),
            slots_for(len(rows)),
            seed,
        )
        tasks = [ClientWork(0, client, own) for client, own in enumerate(rows)]
        rate = float(recipe.learning_rate(recipe.rounds)[round_number])
        parts = trainees(self.network.stack([weights]), tasks, round_number=round_number, rate=rate)
        return np.asarray(np.concatenate([np.reshape(part, (len(rows), -1)) for part in parts], axis=1), np.float64)

    @cached_property
    def _held(self) -> Held:
        return Held.of(self.network, network_inputs(self.dataset), keras_targets(self.dataset))

    @property
    def coordinates(self) -> int:
        """Number of trained parameters."""
        return int(sum(np.prod(self.network.variables[i].shape) for i in self.network.trainable))

    def trained_part(self, weights: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float64]:
        """The trained parameters of ``model.get_weights()`` as one vector."""
        return np.asarray(np.concatenate([np.ravel(weights[i]) for i in self.network.trainable]), np.float64)


def with_start(
    network: Network, dataset: Dataset, pretraining: Pretraining | None, *, seed: int
) -> tuple[Network, Parameters]:
    """A network and the weights a federation starts from: its own start, or what is trained on public data.

    Raises:
        InputError: the public data does not fit, or the pretraining leaves nothing to train.
    """
    model = network.model
    start = network.initial(seed=seed, models=range(1))
    if pretraining is None:
        return network, start
    public = pretraining.public_data(dataset)
    # A single client that holds everything is ordinary training.
    recipe = FederationRecipe(
        rounds=1,
        local=Local(pretraining.epochs, pretraining.batch_size),
        learning_rate=Constant(pretraining.learning_rate),
    )
    start, _ = Federation(network, start, recipe, public)([[np.arange(len(public))]], seed=seed)
    weights = network.weights(start, 0)
    model.set_weights(weights)
    weighted = [layer for layer in model.layers if isinstance(layer, keras.layers.Layer) and layer.weights]
    if pretraining.freeze >= len(weighted):
        raise InputError(
            f"freeze {pretraining.freeze} leaves none of the {len(weighted)} layers with weights to train."
        )
    for layer in weighted[: pretraining.freeze]:
        layer.trainable = False
    # model.weights lists trainable weights first, so freezing may change their order: the weights are read again.
    frozen = Network.from_keras(model)
    return frozen, frozen.stack([model.get_weights()])
