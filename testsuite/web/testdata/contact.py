"""A contact of whoever sits at the browser: a client of slixmpp that tells what it hears, a JSON object a line, and does
what it is told on standard input, a JSON list a line."""

import asyncio
import json
import logging
import ssl
import sys

import slixmpp


class Contact(slixmpp.ClientXMPP):
    def __init__(self, jid, password, room):
        super().__init__(jid, password)
        self.room = room
        self.ssl_context = ssl.create_default_context()
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.use_aiodns = False
        self.auto_authorize = self.auto_subscribe = True
        for plugin in ["xep_0004", "xep_0045", "xep_0066"]:
            self.register_plugin(plugin)
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.heard)
        self.add_event_handler("changed_status", lambda p: tell("presence", p["from"], show=p["type"]))
        self.add_event_handler("groupchat_presence", lambda p: tell("occupant", p["from"], show=p["type"]))
        for event in ["failed_all_auth", "disconnected"]:
            self.add_event_handler(event, lambda _, event=event: tell(event, ""))

    async def start(self, _):
        self.send_presence()
        await self.get_roster()
        tell("ready", self.boundjid)

    def heard(self, m):
        if m["body"]:
            tell(m["type"], m["from"], body=m["body"], url=m["oob"]["url"])

    def say(self, to, body):
        self.send_message(to, body, mtype="chat")

    async def make_room(self, nick):
        await self["xep_0045"].join_muc_wait(self.room, nick, timeout=60)
        await self["xep_0045"].set_room_config(self.room, self["xep_0004"].make_form("submit"))
        tell("made", self.room)

    def say_in_room(self, body):
        self.send_message(self.room, body, mtype="groupchat")


def tell(event, sender, **more):
    print(json.dumps({"event": event, "from": str(sender), **more}), flush=True)


async def obey(client):
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, *args = json.loads(line)
        if awaited := getattr(client, what)(*args):
            await awaited


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    address, jid, password, room = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    client = Contact(jid, password, room)
    client.connect((host, int(port)))
    client.loop.run_until_complete(obey(client))
