"""The mod by which nothing leaves a device that its terms do not allow: the outermost one, around every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefed.federation.disclosure import FIELDS
from edgefed.federation.introduction import INTRODUCE, informed, settings_of_device, terms_of
from edgefed.federation.terms import OF_ROWS, TermsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.app import Context, Message
    from flwr.clientapp.typing import ClientAppCallable, Mod

    from edgefed.federation.clients import Clients


def under_terms(clients_of: Callable[[Context], Clients]) -> Mod:
    """Return the mod of a ClientApp whose client is found by ``clients_of(context)``.

    A node whose node config names no terms answers as if it were not there. An introduction passes: it says itself
    what the terms do not agree to, and then nothing of the device's file. The terms are read at every message, so that
    a change holds from the next one on, and a file that cannot be read lets nothing leave.

    Raises
    ------
    TermsError, SettingsError
        From the mod, in place of a reply that the terms keep here.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        kind = message.metadata.message_type
        if kind == f"query.{INTRODUCE}" or (terms := terms_of(context.node_config)) is None:
            return call_next(message, context)
        if kind not in FIELDS:
            raise TermsError(f"{kind}: a device under terms answers what the ledger names, and this is none of it")
        told = informed(context, message)
        config = settings_of_device(told.node_config, told.run_config)
        terms.agree_to_settings(config)
        if kind in OF_ROWS:
            terms.bear_rows(clients_of(told).shards, kind)
            terms.spare_answer(kind)
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        terms.check_reply(kind, reply.content, config)
        if kind in OF_ROWS:
            terms.count(kind)
        return reply

    return mod
