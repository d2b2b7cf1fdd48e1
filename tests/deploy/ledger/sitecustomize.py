"""Read at the start of every Python that has this folder in PYTHONPATH: the server's writes down what reaches it.

In the SuperLink each message has its tree of objects, and each object's bytes come once, from whoever made them. Both
are kept as they arrive, a JSON line each, in the file that ``OBJECT_LEDGER`` names: who sends what to whom is then
counted without a line of edgefed's own counting.
"""

import json
import os
import sys


def keep_ledger(path):
    """Write down messages and objects as Flower's SuperLink stores them."""
    from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
    from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
    from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore

    store_message, put = InMemoryLinkState.store_message_and_object_tree, InMemoryObjectStore.put

    def write(line):
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(line) + "\n")

    def storing(self, message, object_tree, session_id):
        content = [node.object_id for child in object_tree.children for node in iterate_object_tree(child)]
        way = "up" if message.metadata.reply_to_message_id else "down"
        write({"way": way, "type": message.metadata.message_type, "objects": content})
        return store_message(self, message, object_tree, session_id)

    def putting(self, object_id, object_content):
        write({"object": object_id, "bytes": len(object_content)})
        return put(self, object_id, object_content)

    InMemoryLinkState.store_message_and_object_tree = storing
    InMemoryObjectStore.put = putting


if "launch-server" in sys.orig_argv and "OBJECT_LEDGER" in os.environ:
    keep_ledger(os.environ["OBJECT_LEDGER"])
