"""The app that Flower runs on both sides: it passes envelopes on, and looks into none.

A frame is length, site, tag (4, 4 and 8 bytes, little-endian) and as many bytes. A tag comes back
with the reply. A reply without bytes says that nobody listens at the site's socket.
"""

import select
import socket
import struct
import time

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

HEAD = struct.Struct("<IIQ")
SECONDS_BETWEEN_POLLS = 0.5  # of replies, and between tries to send to a node that is not there yet
SECONDS_FOR_AN_AGENT = 5.0  # that restarts
SECONDS_BETWEEN_TRIES = 0.2
KEY = "envelope"

client = ClientApp()
server = ServerApp()


def read(link: socket.socket) -> tuple[int, int, bytes]:
    """Returns the next frame's site, tag and bytes. Raises EOFError: there is none."""
    head = link.recv(HEAD.size, socket.MSG_WAITALL)
    if len(head) < HEAD.size:
        raise EOFError
    length, site, tag = HEAD.unpack(head)
    data = link.recv(length, socket.MSG_WAITALL)
    if len(data) < length:
        raise EOFError
    return site, tag, data


def write(link: socket.socket, site: int, tag: int, data: bytes) -> None:
    """Sends a frame."""
    link.sendall(HEAD.pack(len(data), site, tag))
    link.sendall(data)


def asked(path: str, data: bytes) -> dict[str, bytes]:
    """Returns the agent's answer: nothing under no key if it gives none, no bytes if it is gone."""
    end = time.monotonic() + SECONDS_FOR_AN_AGENT
    with socket.socket(socket.AF_UNIX) as link:
        while link.connect_ex(path):
            if time.monotonic() > end:
                return {KEY: b""}
            time.sleep(SECONDS_BETWEEN_TRIES)
        try:
            write(link, 0, 0, data)
            return {KEY: read(link)[2]}
        except (OSError, EOFError):
            return {}


@client.query()  # type: ignore[untyped-decorator]
def carry(message: Message, context: Context) -> Message:
    """Asks the site's agent, whose socket the node's configuration names."""
    data = message.content.config_records[KEY][KEY]
    answer = asked(context.node_config["agent"], data)
    return Message(RecordDict({KEY: ConfigRecord(answer)}), reply_to=message)


@server.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Passes frames on until the coordinator closes its socket."""
    pairs = (pair.split(":") for pair in context.run_config["nodes"].split(","))
    nodes = {int(site): int(node) for site, node in pairs}
    unsent: dict[int, tuple[int, bytes]] = {}  # site -> tag and envelope, the latest
    sent: dict[str, tuple[int, int]] = {}  # message -> site and tag
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(context.run_config["coordinator"])
        while True:
            if select.select([link], [], [], SECONDS_BETWEEN_POLLS if unsent or sent else None)[0]:
                try:
                    site, tag, data = read(link)
                except (OSError, EOFError):
                    return
                unsent[site] = (tag, data)
            for site, (tag, data) in list(unsent.items()):
                record = RecordDict({KEY: ConfigRecord({KEY: data})})
                message = Message(record, dst_node_id=nodes[site], message_type="query")
                if (name := next(iter(grid.push_messages([message])))) is not None:
                    sent[name] = (site, tag)
                    del unsent[site]
            for reply in grid.pull_messages(list(sent)) if sent else ():
                place = sent.pop(reply.metadata.reply_to_message_id, None)
                if place and reply.has_content() and KEY in reply.content.config_records[KEY]:
                    write(link, *place, reply.content.config_records[KEY][KEY])
