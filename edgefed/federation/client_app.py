"""The ClientApp: one client's answers to query, train and evaluate messages.

A node whose node config has ``data-path`` is a device with rows of its own: it trains on that file. Any other node
takes its partition of the run's dataset, as in a simulation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

from edgefed.config import FederationConfig
from edgefed.data.device_file import device_shards, read_device_file
from edgefed.data.shards import federate
from edgefed.federation.client_explanation import CLASS_MOMENTS, EXPLAIN, Question, class_moments, explain
from edgefed.federation.clients import CONTROL, ROWS, Clients
from edgefed.federation.components import DTYPES, update_of
from edgefed.federation.compression import sent
from edgefed.federation.flat_record import to_flat
from edgefed.federation.introduction import DATA_PATH, INTRODUCE, informed, introduction, settings_of_device
from edgefed.federation.messages import (
    ARRAYS,
    CONFIG,
    PARTITION_ID,
    STEPS,
    read_counted,
    read_epochs,
    read_guidance,
    reply_content,
)
from edgefed.federation.secagg.mod import add_stages, secagg_mod
from edgefed.federation.terms_mod import under_terms
from edgefed.learning.schedule import schedule_of
from edgefed.learning.training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flwr.app import Context
    from numpy.typing import NDArray

    from edgefed.edge.codecs import Packed
    from edgefed.learning.training import Execution


def make_client_app(clients_of: Callable[[Context], Clients], execution: Execution | None = None) -> ClientApp:
    """Return a ClientApp whose client is found by ``clients_of(context)``: a :class:`Clients` of one shard."""
    app = ClientApp(mods=[under_terms(clients_of)])
    add_stages(app)

    @app.query(INTRODUCE)
    def introduce(message: Message, context: Context) -> Message:
        return Message(introduction(context), reply_to=message)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        clients = clients_of(informed(context, message))
        asked = message.content.config_records[CONFIG]
        columns = clients.statistics(moments=bool(asked["moments"]), class_counts=bool(asked["class-counts"]))
        return _reply(message, clients, columns)

    @app.query(CLASS_MOMENTS)
    def query_class_moments(message: Message, context: Context) -> Message:
        clients = clients_of(informed(context, message))
        return _reply(message, clients, class_moments(clients, np.array([0])))

    @app.query(EXPLAIN)
    def query_explanation(message: Message, context: Context) -> Message:
        clients = clients_of(informed(context, message))
        config = message.content.config_records[CONFIG]
        question, edges = Question.read(config, clients.model.inputs)
        answer = explain(clients, read_guidance(config), np.array([0]), _weights(message, clients), question, edges)
        return _reply(message, clients, answer)

    @app.train(mods=[secagg_mod])
    def train_round(message: Message, context: Context) -> Message:
        clients = clients_of(informed(context, message))
        params, round_number = _weights(message, clients), _round(message)
        guidance = read_guidance(message.content.config_records[CONFIG])
        if not clients.shards.train.sizes[0]:
            raise ValueError("empty shard: nothing to train on")
        alone, control = np.array([0]), _control(message, clients)
        clients.state.load(context.state)
        clients.take_back(alone, read_counted(message.content.config_records[CONFIG], clients.shards.ids))
        cohort = replace(
            clients.cohort(guidance, alone, params, round_number),
            epochs=read_epochs(message.content.config_records[CONFIG], clients.shards.ids, clients.config.local_epochs),
            correction=clients.correction(alone, control),
        )
        trained = train(update_of(clients.config, clients.model), schedule_of(clients.config), cohort, execution)
        columns = {
            ROWS: clients.shards.train.sizes,
            STEPS: trained.steps,
            "train-loss": trained.loss,
            **clients.asked_for(guidance, alone, params),
        }
        weights = trained.params.numpy()
        packed, told = sent(clients, alone, params.cpu().numpy(), weights, round_number)
        clients.remember(alone, params, control, told, trained.steps, round_number)
        clients.state.save(context.state)
        return _reply(message, clients, columns, weights[0], packed)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        clients = clients_of(informed(context, message))
        guidance = read_guidance(message.content.config_records[CONFIG])
        return _reply(message, clients, clients.evaluate(guidance, np.array([0]), _weights(message, clients)))

    return app


def _weights(message: Message, clients: Clients) -> torch.Tensor:
    flat = to_flat(clients.model, message.content.array_records[ARRAYS])
    # Copied: what Ray hands over must not be written to.
    return torch.tensor(flat, dtype=DTYPES[clients.config.dtype], device=clients.device)


def _control(message: Message, clients: Clients) -> torch.Tensor | None:
    """Return SCAFFOLD's control variate [size]; None where the server sends none."""
    if CONTROL not in message.content.array_records:
        return None
    flat = to_flat(clients.model, message.content.array_records[CONTROL])
    return torch.tensor(flat, dtype=DTYPES[clients.config.dtype], device=clients.device)


def _round(message: Message) -> int:
    return cast("int", message.content.config_records[CONFIG]["server-round"])


def _reply(
    message: Message,
    clients: Clients,
    columns: Mapping[str, NDArray[np.generic]],
    weights: NDArray[np.floating] | None = None,
    packed: Packed | None = None,
) -> Message:
    columns = {PARTITION_ID: clients.shards.ids, **columns}
    model = None if weights is None else clients.model
    return Message(reply_content(model, weights, columns, 0, packed), reply_to=message)


def clients_of_node(context: Context) -> Clients:
    """Return a node's client: its own file's rows where its node config has ``data-path``, else its partition."""
    if DATA_PATH in context.node_config:
        return clients_of_device(context)
    return clients_of_partition(context)


def clients_of_device(context: Context) -> Clients:
    """Return the client whose rows are the file that the node's config names by ``data-path``.

    Raises
    ------
    SettingsError
        One line, for a file that cannot be used.
    """
    config = settings_of_device(context.node_config, context.run_config)
    table = read_device_file(str(context.node_config[DATA_PATH]), config)
    return Clients(config, device_shards(table, config, int(context.node_config["partition-id"])))


def clients_of_partition(context: Context) -> Clients:
    """Return the client that a node's config names by ``partition-id``, from the run's settings alone.

    Every node of a simulation finds its shard by itself: dataset, split and partition follow from the seeds.
    """
    config, data = federate(FederationConfig.from_mapping(context.run_config))
    position = int(context.node_config["partition-id"])
    if not 0 <= position < len(data.shards):
        raise ValueError(f"partition-id={position}: expected 0 to {len(data.shards) - 1}")
    return Clients(config, data.shards.one(position))


app = make_client_app(clients_of_node)
