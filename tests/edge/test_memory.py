"""The floor under what training needs, by hand, and which devices are said to be too small for it."""

import pytest
from federations import trained

from edgefed.config import FederationConfig
from edgefed.edge.memory import least_memory, sizes_in_words, too_small
from edgefed.edge.profiles import PROFILES, fleet
from edgefed.notes import notes_of_run

#: 4-16-3: 5 x 16 + 17 x 3 = 131 parameters; ten rows of 4 + 16 + 3 numbers.
PARAMETERS, BATCH = 131, 230


@pytest.mark.parametrize(
    ("changes", "copies"),
    [
        ({}, 2),
        ({"momentum": 0.9}, 3),
        ({"optimizer": "adam"}, 4),
        ({"strategy": "fedprox"}, 3),
        ({"compression": "int8"}, 3),
        ({"compression": "top-k"}, 4),
        ({"strategy": "scaffold"}, 5),
        ({"strategy": "scaffold", "compression": "float16", "momentum": 0.5}, 6),
    ],
)
def test_copies_of_the_model_are_counted_by_what_training_keeps(changes, copies):
    config = FederationConfig(**changes)
    assert least_memory(config, 4, 3, largest_shard=100) == 4 * (copies * PARAMETERS + BATCH)


def test_batches_layers_and_precision():
    assert least_memory(FederationConfig(dtype="float64"), 4, 3, 100) == 8 * (2 * PARAMETERS + BATCH)
    assert least_memory(FederationConfig(batch_size=0), 4, 3, 7) == 4 * (2 * PARAMETERS + 7 * 23)
    assert least_memory(FederationConfig(), 4, 3, 2) == 4 * (2 * PARAMETERS + 2 * 23)
    # 4-8-6-3: 5 x 8 + 9 x 6 + 7 x 3 = 115; no hidden layer: 5 x 3 = 15.
    assert least_memory(FederationConfig(hidden="8-6"), 4, 3, 100) == 4 * (2 * 115 + 10 * 21)
    assert least_memory(FederationConfig(hidden=""), 4, 3, 100) == 4 * (2 * 15 + 10 * 7)


def test_devices_that_hold_less_are_named_with_how_many_clients_they_are():
    devices = fleet("microcontroller:1,phone:1", 50, seed=0)
    controllers = int((devices.kind == 0).sum())
    assert 0 < controllers < 50
    held = PROFILES["microcontroller"].memory
    assert too_small(devices, int(held)) == []
    assert too_small(devices, int(held) + 1) == [("microcontroller", controllers, held)]
    assert [name for name, _, _ in too_small(devices, 9 * 2**30)] == ["microcontroller", "phone"]


def test_sizes_are_said_in_powers_of_1024():
    assert sizes_in_words([500, 128 * 2**10, 1.5 * 2**20, 8 * 2**30]) == ["500 B", "128 KiB", "1.5 MiB", "8 GiB"]


def test_a_run_says_whose_memory_its_model_cannot_fit():
    """4-256-64-3: 1,280 + 16,448 + 195 = 17,923 parameters; 4 x (2 x 17,923 + 10 x 327) = 156,464 bytes."""
    config = FederationConfig(devices="microcontroller", num_server_rounds=1, num_clients=4, partition="iid")

    small, _ = trained(config)
    large, _ = trained(config.replace(hidden="256-64"))
    roomy, _ = trained(config.replace(hidden="256-64", devices="phone"))

    assert notes_of_run(small) == notes_of_run(roomy) == []
    (line,) = notes_of_run(large)
    assert line.startswith("4 of 4 clients are a microcontroller with 128 KiB of memory: ")
    assert "alone take 153 KiB" in line
