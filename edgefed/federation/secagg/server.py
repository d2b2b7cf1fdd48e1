"""The server's side of a secure round: four stages, drop-outs at any of them, and the sum without its masks.

A round is a generator that yields messages and is sent their replies, so that many federations' rounds can be advanced
stage by stage, their clients trained in one batch.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from flwr.app import Message, MessageType

from edgefed.federation.clients import ROWS
from edgefed.federation.messages import PARTITION_ID, STEPS, Broadcast, CohortReplies
from edgefed.federation.replies import Failure, failure_of
from edgefed.federation.screening import Asked, Screened
from edgefed.federation.secagg.graph import drawn_neighbours, threshold_of
from edgefed.federation.secagg.joining import Sifting, TooFewError, joined
from edgefed.federation.secagg.messages import KIND_OF, content_of, told_alike, with_stage
from edgefed.federation.secagg.replies import keys_in, shares_in, unmasking_in, vector_in
from edgefed.federation.secagg.unmasking import Masks
from edgefed.federation.secagg.vectors import HEADER, Average, BareSumError, Quantizer
from edgefed.federation.traffic import payload_bytes
from edgefed.names import FEWEST_IN_A_SUM

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence

    from flwr.app import RecordDict
    from numpy.typing import NDArray

    from edgefed.federation.disclosure import Left
    from edgefed.federation.federation import Federation
    from edgefed.federation.secagg.joining import Joining
    from edgefed.federation.traffic import Traffic

    Asking = Generator[Sequence[Message], Sequence[Message], Any]
    Graph = Mapping[int, Sequence[int]]

Found = TypeVar("Found")


class SecureRound:
    """One round of one federation.

    Parameters
    ----------
    federation : Federation
    cohort : int64 ndarray
        Clients that are asked.
    content : RecordDict
        What the strategy sends each of them with the weights.
    traffic : Traffic
    """

    def __init__(
        self, federation: Federation, cohort: NDArray[np.int64], content: RecordDict, traffic: Traffic
    ) -> None:
        self.federation = federation
        self.config = federation.config
        self.number = federation.round + 1
        self.content = content
        self.asked = Asked(cohort, federation.nodes[cohort])
        self.node = dict(zip(cohort.tolist(), federation.nodes[cohort].tolist(), strict=True))
        self.traffic = traffic
        self.up = self.down = 0
        self.left: Left = []
        self.payload = {"up": 0, "down": 0}
        self.row: dict[str, Any] = {}
        self._said: dict[str, float] = {}
        self._failed: list[Failure] = []
        self._refused: dict[int, str] = {}
        self._answered: frozenset[int] = frozenset()
        self._length = HEADER + federation.model.size

    def run(self) -> Asking:
        """Yield each stage's messages; return the round's average as one reply, :class:`Screened`."""
        try:
            found, vectors = yield from self._average()
        except TooFewError as error:
            why = f"secure aggregation: {error}"
            return Screened([], {}, self._refused, self._failed, why, self._answered - {*self._refused})
        counted = np.array(sorted(vectors), np.int64)
        metrics = {
            PARTITION_ID: counted,
            ROWS: self.federation.rows[counted],  # of the query: the replies say nothing of it
            STEPS: np.zeros(len(counted), np.int64),
            "train-loss": np.full(len(counted), np.nan),
        }
        if found is None:
            return Screened([], metrics, self._refused, self._failed, "no client had any say")
        self._said["clipped"] = found.clipped
        self.row = {"train_loss": found.loss, "steps": found.steps, "secagg": self._said}
        if found.told < 1:
            self._said["rows_with_a_loss"] = found.told
        model, dtype = self.federation.model, self.config.dtype
        weights = (self.federation.weights + found.update).astype(dtype)[None]
        asked = [Message(self.content, next(iter(self.node.values())), MessageType.TRAIN)]
        one = CohortReplies(asked, model, weights, {name: values[:1] for name, values in metrics.items()})
        return Screened(one, metrics, self._refused, self._failed)

    # ---- the stages
    def _average(self) -> Generator[Sequence[Message], Sequence[Message], tuple[Average | None, Collection[int]]]:
        """Return what the cohort's masked vectors sum up to, and whose are in it."""
        keys = yield from self._public_keys()
        graph = drawn_neighbours(sorted(keys), self.config.secagg_neighbors)
        needed = {client: threshold_of(self.config.secagg_threshold, len(others)) for client, others in graph.items()}
        self._said = {"neighbors": len(next(iter(graph.values()))), "threshold": max(needed.values())}
        shares = self._with_enough((yield from self._shares(graph, keys)), graph, needed)
        quantizer = self._quantizer()
        told = told_alike(
            self.content,
            {"round": self.number, "most-weight": quantizer.most_weight, "most-rows": quantizer.most_rows},
            self.config,
        )
        vectors = yield from self._vectors(graph, shares, quantizer)
        gone = sorted(set(shares) - set(vectors))
        self._check_can_be_unmasked(vectors, gone, graph, needed, "sent a masked vector")
        self._open(vectors)
        seeds, private = yield from self._unmasking(graph, vectors, gone, needed)
        total: NDArray[np.uint32] = np.sum(list(vectors.values()), axis=0, dtype=np.uint32)
        rows: list[int] = self.federation.rows[list(vectors)].tolist()

        masks = Masks(vectors, gone, graph, needed, keys, told)

        def average(joining: Joining) -> Average | None:
            bare = masks.off(total, seeds, private, joining)
            try:
                return quantizer.decode(bare, rows, self._say, self.config.secagg_max_norm or np.inf)
            except BareSumError as error:
                raise TooFewError(str(error)) from None

        try:
            return average(joined), vectors
        except ValueError as error:
            why = str(error)
        # Not before: to hold all shares against each other costs as much as the round has.
        sifting = Sifting()
        try:
            return average(sifting.joined), vectors
        except ValueError:
            raise TooFewError(why) from None
        finally:
            self._refused |= sifting.blamed([*seeds.values(), *private.values()])

    def _public_keys(self) -> Generator[Sequence[Message], Sequence[Message], dict[int, tuple[bytes, bytes]]]:
        if len(self.node) < FEWEST_IN_A_SUM:
            raise TooFewError(f"{len(self.node)} clients, at least {FEWEST_IN_A_SUM} make a sum")
        messages = Broadcast(content_of(round=self.number), self.asked.nodes, KIND_OF["keys"])
        keys = yield from self._ask(messages, "keys", lambda _, content: keys_in(content))
        known: set[bytes] = set()
        for client in sorted(keys):
            if known & {*keys[client]}:  # whoever repeats another's key is not let in
                self._refused[client] = "keys: another client's"
                del keys[client]
            else:
                known |= {*keys[client]}
        if len(keys) < FEWEST_IN_A_SUM:
            raise TooFewError(f"{_clients(len(keys))} gave keys, at least {FEWEST_IN_A_SUM} make a sum")
        return keys

    def _shares(
        self, graph: Graph, keys: Mapping[int, tuple[bytes, bytes]]
    ) -> Generator[Sequence[Message], Sequence[Message], dict[int, dict[int, bytes]]]:
        messages = [
            self._message(
                client,
                content_of(
                    round=self.number,
                    clients=list(others),
                    mask_keys=[keys[other][0] for other in others],
                    cipher_keys=[keys[other][1] for other in others],
                ),
                KIND_OF["shares"],
            )
            for client, others in graph.items()
        ]
        found: dict[int, dict[int, bytes]] = yield from self._ask(
            messages, "shares", lambda client, content: shares_in(content, graph[client])
        )
        return found

    def _with_enough(
        self, shares: dict[int, dict[int, bytes]], graph: Graph, needed: Mapping[int, int]
    ) -> dict[int, dict[int, bytes]]:
        """Return the shares of clients that have enough neighbours left; nobody has been masked yet."""
        left = dict(shares)
        while few := [client for client in left if _count(graph[client], left) < needed[client]]:
            for client in few:
                del left[client]
        if len(left) < FEWEST_IN_A_SUM:
            raise TooFewError(
                f"{_clients(len(shares))} sent shares, each needs {max(needed.values())} others of its neighbours"
            )
        for client in set(shares) - set(left):
            self._refused[client] = "shares: too few of its neighbours sent any"
        return left

    def _vectors(
        self, graph: Graph, shares: Mapping[int, Mapping[int, bytes]], quantizer: Quantizer
    ) -> Generator[Sequence[Message], Sequence[Message], dict[int, NDArray[np.uint32]]]:
        messages = []
        for client in shares:
            sources = [other for other in graph[client] if other in shares]
            stage = content_of(
                round=self.number,
                most_weight=quantizer.most_weight,
                most_rows=quantizer.most_rows,
                clients=sources,
                closed=[shares[other][client] for other in sources],
            )
            messages.append(self._message(client, with_stage(self.content, stage), KIND_OF["masked"]))
        vectors: dict[int, NDArray[np.uint32]] = yield from self._ask(
            messages, "masked", lambda client, content: vector_in(content, client, self._length)
        )
        self.payload = {
            "up": 4 * self._length * len(vectors),
            "down": payload_bytes(self.content) * len(messages),
        }
        return vectors

    def _unmasking(
        self, graph: Graph, vectors: Collection[int], gone: Collection[int], needed: Mapping[int, int]
    ) -> Generator[Sequence[Message], Sequence[Message], tuple[Any, Any]]:
        """Return the shares of each secret that is needed, seeds and private keys: by whose it is, and who gave it."""
        asked = {
            client: tuple(
                {other: graph[other].index(client) + 1 for other in graph[client] if other in some}
                for some in (vectors, gone)
            )
            for client in vectors
        }
        messages = [
            self._message(client, content_of(round=self.number, there=list(there), gone=list(away)), KIND_OF["unmask"])
            for client, (there, away) in asked.items()
        ]
        found = yield from self._ask(messages, "unmask", lambda client, content: unmasking_in(content, *asked[client]))
        seeds: dict[int, dict[int, bytes]] = {client: {} for client in vectors}
        private: dict[int, dict[int, bytes]] = {client: {} for client in gone}
        closed = Counter[int]()
        for client in sorted(found):
            for shares, of, whose in zip(found[client], (seeds, private), asked[client], strict=True):
                closed.update(set(whose) - set(shares))
                for other, share in shares.items():
                    of[other][client] = share
        for client, count in closed.items():
            there = _count(graph[client], vectors)
            if there - count < needed[client]:  # too few, had everybody answered
                self._refused[client] = f"shares: {count} of its {there} neighbours in the sum cannot open what it sent"
        return seeds, private

    # ---- within a stage
    def _message(self, client: int, content: RecordDict, message_type: str) -> Message:
        return Message(content, self.node[client], message_type)

    def _ask(
        self, messages: Sequence[Message], stage: str, opened: Callable[[int, RecordDict], Found]
    ) -> Generator[Sequence[Message], Iterable[Message], dict[int, Found]]:
        """Return what each client replies, in the order of partition ids; note why the others do not."""
        replies = list((yield messages))
        left, up = self.traffic.left(KIND_OF[stage], replies)
        self.down += self.traffic.sent(messages)
        self.up += up
        self.left += left
        found: dict[int, Found] = {}
        for reply in replies:
            node = reply.metadata.src_node_id
            client = self.asked.client(node)
            if reply.has_error():
                failure = failure_of(reply)
                self._failed.append(Failure(node, f"{stage}: {failure.reason}", failure.kind))
            elif client is None:
                self._failed.append(Failure(node, "a reply of a node that was not asked", "refused"))
            elif client not in found:
                try:
                    found[client] = opened(client, reply.content)
                    self._refused.pop(client, None)  # a second answer, a good one
                except Exception as error:  # what a hostile payload does to whoever opens it
                    reason = str(error) if type(error) is ValueError else f"cannot be read ({type(error).__name__})"
                    self._refused[client] = f"{stage}: {' '.join(reason.split())[:200]}"
        self._answered = frozenset(found)
        return dict(sorted(found.items()))

    def _open(self, vectors: Collection[int]) -> None:
        """Make sure that the sum may be looked at, before any share of a mask is asked for.

        A round that a stopped run redoes has the same batches and roundings: with another client more or less in it,
        the two sums would differ by that client's vector.
        """
        if len(vectors) < self.config.min_replies:
            raise TooFewError(f"{_clients(len(vectors))} sent a masked vector")
        if self.federation.opening is not None and not self.federation.opening(self.number, vectors):
            raise TooFewError(
                "before the run was stopped this round was summed over other clients, and the two sums would differ by "
                "single updates"
            )

    def _check_can_be_unmasked(
        self, there: Collection[int], gone: Collection[int], graph: Graph, needed: Mapping[int, int], what: str
    ) -> None:
        for client in [*there, *gone]:
            count = _count(graph[client], there)
            if count < needed[client] and (count or client in there):
                raise TooFewError(
                    f"{_clients(len(there))} {what}, and {count} neighbours of client {client} among them: "
                    f"{needed[client]} are needed"
                )
        if len(there) < FEWEST_IN_A_SUM:
            raise TooFewError(f"{_clients(len(there))} {what}, at least {FEWEST_IN_A_SUM} make a sum")

    @property
    def _say(self) -> tuple[float, float] | None:
        """The least and the largest weight that a client may have; None where it is its rows."""
        remedy = self.federation.remedy
        return remedy.say_range(self.federation.model.classes) if remedy.reweighs else None

    def _quantizer(self) -> Quantizer:
        rows = float(self.federation.rows[self.asked.ids].max())
        return Quantizer.of(self.config, self._say[1] if self._say else rows, rows)


def _count(neighbours: Sequence[int], among: Collection[int]) -> int:
    return sum(other in among for other in neighbours)


def _clients(count: int) -> str:
    return f"{count} client{'' if count == 1 else 's'}"
