"""The names that settings take, with a line on each: literal tables, nothing else."""

ACTIVATIONS = {
    "relu": "max(0, z)",
    "tanh": "hyperbolic tangent",
    "sigmoid": "1 / (1 + exp(-z))",
}
LOSSES = {
    "cross-entropy": "-log softmax(f)_y",
    "mse": "mean over classes of (softmax(f) - onehot(y))^2",
    "hinge": "multi-class margin loss: mean over classes of max(0, 1 - f_y + f_j), j != y",
}
OPTIMIZERS = {
    "sgd": "stochastic gradient descent (momentum, weight decay); batch-size 0 makes it batch gradient descent",
    "adam": "Adam (Kingma & Ba 2015), betas 0.9 and 0.999",
}
STRATEGIES = {
    "fedavg": "weighted average by rows (McMahan et al. 2017), summed in float64",
    "fedprox": "FedAvg of clients that are pulled back by proximal-mu, 0.1 where unset (Li et al. 2020)",
    "fedavgm": "FedAvg with momentum on the server (Hsu et al. 2019)",
    "fedadagrad": "Adagrad on the server (Reddi et al. 2021)",
    "fedadam": "Adam on the server (Reddi et al. 2021)",
    "fedyogi": "Yogi on the server (Reddi et al. 2021)",
    "qfedavg": "fairer: clients with a high loss move the model more (Li et al. 2020)",
    "scaffold": "control variates take out each client's drift; clients keep state (Karimireddy et al. 2020)",
    "fednova": "average of directions, whatever number of steps each took (Wang et al. 2020)",
    "fedmedian": "median of each weight: robust (Yin et al. 2018)",
    "fedtrimmedavg": "mean of each weight without its extremes, malicious-share at each end: robust (Yin et al. 2018)",
    "krum": "the update nearest to the others: robust (Blanchard et al. 2017)",
    "multikrum": "average of the updates nearest to the others: robust (Blanchard et al. 2017)",
    "bulyan": "mean of each weight's values nearest to the median of those that Krum selects (El Mhamdi et al. 2018)",
}
COMPRESSIONS = {
    "none": "the weights as they are",
    "float16": "half precision: 2 bytes a number",
    "int8": "1 byte a number and a scale, rounded at random so that it is right on average (Alistarh et al. 2017)",
    "top-k": "the largest top-k-share of the numbers; the rest is added to the next update (Stich et al. 2018)",
}
SELECTIONS = {
    "uniform": "every client is as likely as another",
    "power-of-choice": "of selection-pool times as many, those whose last loss was highest (Cho et al. 2022)",
    "oort": "by rows times loss, slow clients marked down, new ones tried (after Lai et al. 2021)",
}
PARTIAL_WORK = {
    "drop": "their update is left out, as FedAvg does",
    "accept": "they send what they got done, as FedProx has it",
}
STANDARDIZATIONS = {
    "federated": "mean and deviation of all clients' rows, from additive statistics in one query round",
    "local": "each client by its own mean and deviation (the server's rows by the pooled ones)",
    "server": "mean and deviation of the server's validation rows: nothing leaves a client for it",
    "none": "features as they are",
}
PRIVACY = {
    "none": "no protection of what clients send beyond the connection's",
    "dp-fixed": "client-level differential privacy: clipped updates, noise on their average, an epsilon",
    "dp-adaptive": "the same with a clipping norm that follows the median update (Andrew et al. 2021): no epsilon",
    "secagg": "the server learns the sum of a round's updates and no client's (SecAgg+, Bell et al. 2020)",
}
DTYPES = {"float32": "single precision", "float64": "double precision: for checks, slower"}
TRACKING = {
    "none": "nowhere: the folder has it all",
    "tensorboard": "TensorBoard event files in the folder; needs the extra edgefed[tensorboard]",
    "mlflow": "MLflow: MLFLOW_TRACKING_URI, or else mlflow.db in the folder; needs the extra edgefed[mlflow]",
}
EXPLAIN = {
    "no": "not by the run; edgefed explain asks simulated clients later",
    "yes": "after the last round, while devices are connected; kept in the run's folder for edgefed explain",
}
ATTACKS = {
    "global": "the global model: rows that some client trained on, against rows that none did",
    "update": "a client's update in a round after the last: its own rows, against rows that no client trained on",
    "first-update": "a client's update that counted in the first round: its own rows, against rows that no client "
    "trained on",
    "whose": "a client's update in a round after the last, by how much surer it is than the weights it began with: the "
    "client's own rows, against other clients'",
}

WEIGHS_BY_ITSELF = ("qfedavg", "fedmedian", "fedtrimmedavg", "krum", "bulyan")
"""Strategies that look at no client's say in the average (``multikrum`` does, among those that it selects)."""

DIFFERENTIALLY_PRIVATE = ("dp-fixed", "dp-adaptive")
"""Values of ``privacy`` that clip updates and put noise on their average."""

SEES_EACH_CLIENT = (*WEIGHS_BY_ITSELF, "multikrum", "scaffold", "fednova")
"""Strategies that do not go by a weighted sum of updates alone."""

FEWEST_IN_A_SUM = 3
"""Clients of the smallest sum that secure aggregation forms."""

BINS = 10
"""Bins into which an explanation has each feature counted."""

FEDPROX_MU = 0.1
"""FedProx's mu where a federation asks for FedProx and for no mu: of the paper's grid {0.001, 0.01, 0.1, 1}."""

OTHER_NAMES = {
    "aggregation": "strategy",
    "algorithm": "strategy",
    "batch": "batch-size",
    "beta": "alpha",
    "client-fraction": "fraction-train",
    "clients": "num-clients",
    "comm-round": "num-server-rounds",
    "csv": "data-path",
    "data": "data-path",
    "deadline": "round-deadline",
    "dirichlet-alpha": "alpha",
    "dropout": "drop-out",
    "epochs": "local-epochs",
    "eta": "learning-rate",
    "fraction-fit": "fraction-train",
    "label": "label-column",
    "layers": "hidden",
    "lr": "learning-rate",
    "mu": "proximal-mu",
    "n-clients": "num-clients",
    "n-rounds": "num-server-rounds",
    "num-partitions": "num-clients",
    "num-rounds": "num-server-rounds",
    "num-supernodes": "num-clients",
    "num-users": "num-clients",
    "random-seed": "seed",
    "random-state": "seed",
    "remedy": "imbalance",
    "rounds": "num-server-rounds",
    "server-lr": "server-learning-rate",
    "target": "label-column",
    "test-size": "test-fraction",
    "wd": "weight-decay",
}
"""What other tools and papers call a setting: a mistake with such a name is pointed to ours."""
