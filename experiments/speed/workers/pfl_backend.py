"""pfl-research (Apple): FederatedAveraging on its SimulatedBackend, without evaluation.

With ``--processes 2`` the cohort is shared out to two processes of torch.distributed, as pfl does on several
accelerators. Its in-memory user datasets keep a user's batches and never shuffle them, which saves it work here.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np
import torch
from workload import WORKLOADS, add_options, client_rows, emit, initial_weights


def launch(processes: int) -> None:
    """Start this script again in several processes under torchrun, in place of this one."""
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--processes")]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    os.execv(sys.executable, [sys.executable, *launcher, __file__, *arguments])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    if asked.processes > 1:
        launch(asked.processes)
    torch.set_num_threads(1)

    # pfl joins the process group when it is imported.
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.aggregate.weighting import WeightByDatapoints
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.internal.ops import get_ops
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    work = WORKLOADS[asked.workload]

    class Network(torch.nn.Sequential):
        def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self(x), y)

        def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
            return {}

    layers: list[torch.nn.Module] = []
    for weight, bias in initial_weights(work):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [linear, torch.nn.ReLU()]
    network = Network(*layers[:-1])
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    rows = zip(*map(torch.from_numpy, client_rows(work, asked.clients)), strict=True)
    users = [Dataset(of_one) for of_one in rows]
    data = FederatedDataset(users.__getitem__, get_user_sampler("minimize_reuse", range(asked.clients)))
    seconds: list[float] = []

    class Stopwatch(TrainingProcessCallback):
        begun = 0.0

        def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
            now = time.perf_counter()
            if central_iteration > 0:
                seconds.append(now - self.begun)
            self.begun = now
            return False, Metrics()

    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=asked.rounds + 1,
            evaluation_frequency=asked.rounds + 2,  # only before the first round, which is not timed
            train_cohort_size=asked.clients,
            val_cohort_size=0,
        ),
        SimulatedBackend(data, data, postprocessors=[WeightByDatapoints()]),
        model,
        NNTrainHyperParams(local_num_epochs=work.epochs, local_learning_rate=work.rate, local_batch_size=work.batch),
        callbacks=[Stopwatch()],
        send_metrics_to_platform=False,
    )
    moved = float(np.abs(network[0].weight.detach().numpy() - initial_weights(work)[0][0]).max())
    if get_ops().distributed.global_rank == 0:
        emit(seconds, ["pfl", "torch"], processes=get_ops().distributed.world_size, weights_moved_by=moved)
    if torch.distributed.is_initialized():
        # Left to itself, the process that ends first now and then takes the other one's connection with it.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
