"""The app that Flower runs: its settings' table, its ServerApp over another grid, its ClientApp from the settings."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from federations import figures, settings, trained
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

import edgefed
from edgefed.config import FederationConfig, app_config_table
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.engines.grid import InProcessGrid
from edgefed.errors import FederationError
from edgefed.federation.client_app import clients_of_partition, make_client_app
from edgefed.federation.clients import Clients
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import ARRAYS, CONFIG
from edgefed.federation.server_app import app as server_app
from edgefed.runs import Run

PYPROJECT = Path(edgefed.__file__).parents[1] / "pyproject.toml"


def test_the_table_in_pyproject_is_the_schemas():
    """Regenerate it with ``python -c "from edgefed.config import app_config_table as t; print(t())"``."""
    document = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    table = document["tool"]["flwr"]["app"]["config"]
    generated = tomllib.loads(app_config_table())["tool"]["flwr"]["app"]["config"]

    assert table == generated
    assert list(table) == list(generated)
    assert {key: type(value) for key, value in table.items()} == {key: type(v) for key, v in generated.items()}
    assert FederationConfig.from_mapping(table) == FederationConfig()


def test_flower_finds_the_apps_that_pyproject_names():
    named = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]["components"]

    assert named == {
        "serverapp": "edgefed.federation.server_app:app",
        "clientapp": "edgefed.federation.client_app:app",
    }


def context_of(run_config, node_config=None):
    """Return what Flower hands to an app."""
    return Context(run_id=1, node_id=1, node_config=node_config or {}, state=RecordDict(), run_config=run_config)


@pytest.mark.parametrize("changes", [{}, {"imbalance": "post-hoc", "fraction_train": 0.5, "dtype": "float64"}])
def test_the_server_app_runs_the_same_federation(tmp_path, changes):
    config = settings(**changes, run_folder=str(tmp_path / "run"))
    config_of_run, data = federate(config)
    grid = InProcessGrid(Clients(config_of_run, data.shards), make_engine("sequential"))

    server_app(grid, context_of(config.to_mapping()))

    deployed = Run.read(tmp_path / "run")
    simulated, _ = trained(config)
    assert deployed.summary["engine"] == "flower"
    assert figures(deployed) == figures(simulated)
    lines = (tmp_path / "run" / "clients.csv").read_text().splitlines()
    assert len(lines) == 1 + deployed.summary["client_updates"]


def test_the_server_app_refuses_other_numbers_of_nodes():
    config, data = federate(settings(num_clients=4, wait_for_clients=0.001))
    grid = InProcessGrid(Clients(config, data.shards), make_engine("sequential"))

    with pytest.raises(FederationError, match=r"4 of 5 clients are connected after 0.001 s; .*num-supernodes"):
        server_app(grid, context_of(config.replace(num_clients=5).to_mapping()))
    with pytest.raises(FederationError, match=r"4 nodes are connected, num-clients=3"):
        server_app(grid, context_of(config.replace(num_clients=3).to_mapping()))


def test_a_node_finds_its_own_shard_from_the_settings_alone():
    config, data = federate(settings(client_test_fraction=0.2, long_tail=1.0))
    for client in (0, 9):
        found = clients_of_partition(context_of(config.to_mapping(), {"partition-id": client}))
        expected = data.shards.one(client)
        assert found.shards.ids.tolist() == [client]
        assert found.shards.features.tobytes() == expected.features.tobytes()
        assert found.shards.labels.tolist() == expected.labels.tolist()
        assert len(found.shards.features) == len(data.shards.train.rows(client)) + len(
            data.shards.held_out.rows(client)
        )
    for partition in (-1, 10):
        with pytest.raises(ValueError, match="expected 0 to 9"):
            clients_of_partition(context_of(config.to_mapping(), {"partition-id": partition}))


def test_weights_that_must_not_be_written_to_are_no_cause_for_a_warning():
    """Ray hands its workers read-only memory: each of them would print a warning of torch's."""
    config, data = federate(settings())
    clients = Clients(config, data.shards.one(0))
    weights = clients.model.initial(0).astype(np.float32)
    weights.setflags(write=False)
    guidance = ConfigRecord({"feature-mean": [0.0] * 4, "feature-scale": [1.0] * 4, "server-round": 1})
    content = RecordDict({ARRAYS: to_record(clients.model, weights), CONFIG: guidance})
    InProcessGrid(clients, make_engine("sequential"))  # gives messages their identity
    message = Message(content, 0, MessageType.TRAIN)

    reply = make_client_app(lambda _: clients)(message, context_of(config.to_mapping()))

    assert not reply.has_error()
