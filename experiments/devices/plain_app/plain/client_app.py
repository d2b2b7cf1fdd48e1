"""The plain app's clients."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from plain.task import loaders, model, test
from plain.task import train as train_fn

app = ClientApp()


def _loaded(message: Message):
    net = model()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return net


def _rows(context: Context):
    return loaders(context.node_config["partition-id"], context.node_config["num-partitions"])


@app.train()
def train(message: Message, context: Context) -> Message:
    net, (rows, _) = _loaded(message), _rows(context)
    loss = train_fn(net, rows)
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(rows.dataset)})
    return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    net, (_, rows) = _loaded(message), _rows(context)
    loss, accuracy = test(net, rows)
    metrics = MetricRecord({"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(rows.dataset)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
