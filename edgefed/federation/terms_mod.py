"""The mod by which nothing leaves a device that its terms do not allow: the outermost one, around every answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgefed.errors import SettingsError
from edgefed.federation.disclosure import FIELDS
from edgefed.federation.introduction import INTRODUCE, UNUSABLE, informed, settings_of_device, terms_of
from edgefed.federation.messages import CONFIG, read_guidance
from edgefed.federation.terms import OF_ROWS, TermsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.app import Context, Message
    from flwr.clientapp.typing import ClientAppCallable, Mod

    from edgefed.federation.clients import Clients

log = logging.getLogger("edgefed")


def under_terms(clients_of: Callable[[Context], Clients]) -> Mod:
    """Return the mod of a ClientApp whose client is found by ``clients_of(context)``.

    A node whose node config names no terms answers as if it were not there. An introduction passes: it says itself
    what the terms do not agree to, and then nothing of the device's file. The terms are read at every message, so that
    a change holds from the next one on, and a file that cannot be read lets nothing leave. A message by whose classes
    or categories the device's rows cannot be read counts as answered: that they cannot says something of them.

    Raises
    ------
    TermsError, SettingsError
        From the mod, in place of a reply that the terms keep here; for settings that are none.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        kind = message.metadata.message_type
        if kind == f"query.{INTRODUCE}" or (terms := terms_of(context.node_config)) is None:
            return call_next(message, context)
        if kind not in FIELDS:
            raise TermsError(f"{kind}: a device under terms answers what the ledger names, and this is none of it")
        told = informed(context, message)
        config = settings_of_device(told.node_config, told.run_config, terms)
        try:
            if kind in OF_ROWS:
                terms.spare_answer(kind)
                clients = clients_of(told)
                terms.bear_rows(clients.shards, kind)
            if kind == "train" and terms.min_rows:  # undersampling draws fewer
                drawn = clients.trained_on(read_guidance(message.content.config_records[CONFIG]))
                terms.check_rows(int(drawn.sizes[0]))
            reply = call_next(message, context)
        except TermsError:
            raise
        except SettingsError as error:
            log.warning("this device's file cannot be used: %s", error)
            if kind in OF_ROWS:
                terms.count(kind)
            raise TermsError(UNUSABLE) from None
        if reply.has_error():
            return reply
        terms.check_reply(kind, reply.content, config)
        if kind in OF_ROWS:
            terms.count(kind)
        return reply

    return mod
