"""What two people have on a server before it is left, and find on the one that they come to: passwords, contacts,
requests, cards, private data, blocked addresses, nodes, history, messages that wait, a room.

Run with a JSON object: what to do (fill, check), the server, and what it can do.
"""

import asyncio
import json
import logging
import os
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scenes", "testdata"))

from scene import Actor, Failed, XMPPError, befriend, check, child, equal, message, presence, timely, unbound

CARD = "<vCard xmlns='vcard-temp'><FN>Romeo &amp; co</FN></vCard>"
PIECE = "<query xmlns='jabber:iq:private'><exodus xmlns='exodus:prefs'><nick>R</nick></exodus></query>"
NODE = "urn:example:diary"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
LINES = [f"line {i}: <&> \u00e9\U0001f339" for i in range(30)]


class Server:
    def __init__(self, config):
        self.domain, self.can, self.rooms = config["domain"], config["can"], config["rooms"]
        host, _, port = config["tls"].rpartition(":")
        self.tls = self.c2s = (host, int(port))
        self.direct = "starttls" not in self.can
        self.actors = []

    async def login(self, user, resource="desk", presence=True):
        a = unbound(Actor(self, f"{user}@{self.domain}/{resource}", mech="SCRAM-SHA-1", direct=self.direct))
        await a.login(presence)
        return a


def form(kind, **fields):
    fields = "".join(f"<field var='pubsub#{k}'><value>{v}</value></field>" for k, v in fields.items())
    return ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>http://jabber.org/protocol/pubsub#{kind}</value></field>{fields}</x>")


async def fill(s):
    r, j, n = [await s.login(u) for u in ["romeo", "juliet", "nurse"]]
    for x in [r, j, n]:
        await x.contacts()
    await befriend(r, j)
    await r.set_item(j.boundjid.bare, "Juliet", ["Friends", "Verona"])
    for i, line in enumerate(LINES):
        a, b = [(r, j), (j, r)][i % 2]
        a.say(b.boundjid.full, line, "chat", f"m{i}")
        await b.expect("a line", message(line))
    await r.ask("set", CARD)
    await r.ask("set", PIECE)
    if "blocking" in s.can:
        await r.ask("set", "<block xmlns='urn:xmpp:blocking'><item jid='tybalt@verona.example'/></block>")
    for i in range(3 if "nodes" in s.can else 0):
        await r.ask("set", f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{NODE}'><item id='i{i}'>"
                    f"<page xmlns='{NODE}'>{i}</page></item></publish>"
                    f"<publish-options>{form('publish-options', access_model='whitelist', persist_items=1)}</publish-options></pubsub>")
        if i == 0:
            await r.ask("set", f"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='{NODE}'>"
                        f"{form('node_config', max_items=5)}</configure></pubsub>")
    if "rooms" in s.can:
        room = f"verona@{s.rooms}"
        r.show_presence(f"{room}/romeo", None, None, None, "<x xmlns='http://jabber.org/protocol/muc'/>")
        await r.expect("the room", presence(f"{room}/romeo"))
        await r.ask("set", "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"
                    "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
                    "<field var='muc#roomconfig_roomname'><value>Fair Verona</value></field>"
                    "<field var='muc#roomconfig_persistentroom'><value>1</value></field>"
                    "<field var='muc#roomconfig_membersonly'><value>1</value></field></x></query>", room)
        await r.ask("set", f"<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member' jid='{j.boundjid.bare}'/>"
                    "</query>", room)
        r.say(room, "in the room", "groupchat", "g1")
        await r.expect("what was said in the room", message("in the room"))
    n.show_presence(r.boundjid.bare, "subscribe", None, None)
    await r.expect("the request", presence(n.boundjid.bare, "subscribe"))
    await j.leave()
    for i in range(3):
        r.say(j.boundjid.bare, f"note {i}", "chat")
    await r.settle()
    await n.leave()
    await r.leave()


async def archived(a):
    """All bodies of the archive, in order."""
    bodies, after = [], ""
    while True:
        a.forget()
        done = await a.ask("set", "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>20</max>"
                           f"{after}</set></query>")
        for m in a.inbox:
            for body in m.xml.iter("{jabber:client}body"):
                bodies.append(body.text)
        fin = done.xml.find("{urn:xmpp:mam:2}fin")
        if fin.get("complete") == "true":
            return bodies
        last = fin.find("{http://jabber.org/protocol/rsm}set/{http://jabber.org/protocol/rsm}last").text
        after = f"<after>{last}</after>"


async def check_all(s):
    r = await s.login("romeo", presence=False)
    roster = (await r.contacts())[0]
    equal(roster[f"juliet@{s.domain}"], ("Juliet", "both", None, ["Friends", "Verona"]), "Juliet")
    card = await r.ask("get", "<vCard xmlns='vcard-temp'/>")
    equal(card.xml.find("{vcard-temp}vCard/{vcard-temp}FN").text, "Romeo & co", "card")
    piece = await r.ask("get", "<query xmlns='jabber:iq:private'><exodus xmlns='exodus:prefs'/></query>")
    equal(piece.xml.find(".//{exodus:prefs}nick").text, "R", "private data")
    if "blocking" in s.can:
        blocked = await r.ask("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
        equal([i.get("jid") for i in blocked.xml.iter("{urn:xmpp:blocking}item")], ["tybalt@verona.example"], "blocked")
    if "nodes" in s.can:
        node = await r.ask("get", f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{NODE}'/></pubsub>")
        equal([(i.get("id"), i.find("{%s}page" % NODE).text) for i in node.xml.iter(PUBSUB + "item")],
              [("i0", "0"), ("i1", "1"), ("i2", "2")], "items")
        config = await r.ask("get", f"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='{NODE}'/></pubsub>")
        values = {f.get("var"): f.findtext("{jabber:x:data}value") for f in config.xml.iter("{jabber:x:data}field")}
        equal((values["pubsub#access_model"], values["pubsub#max_items"]), ("whitelist", "5"), "settings of the node")
    if "history" in s.can:
        bodies = await archived(r)
        # jackal archives what has come after it has been delivered: an answer may be there before it.
        by = LINES.index if "unordered" in s.can else lambda _: 0
        equal(sorted([b for b in bodies if b in LINES], key=by), LINES, "history")
        equal([b for b in bodies if b.startswith("note")], ["note 0", "note 1", "note 2"], "history of notes")
    r.send_presence()
    if "requests" in s.can:
        request = await r.expect("the request of the nurse", presence(f"nurse@{s.domain}", "subscribe"))
        check(request is not None, "no request")
    j = await s.login("juliet")
    equal((await j.contacts())[0][f"romeo@{s.domain}"][1], "both", "Romeo")
    for i in range(3):
        m = await j.expect("a note", message(f"note {i}"))
        check(child(m, "{urn:xmpp:delay}delay") is not None, f"no time in {m}")
    if "rooms" in s.can:
        room = f"verona@{s.rooms}"
        j.show_presence(f"{room}/juliet", None, None, None, "<x xmlns='http://jabber.org/protocol/muc'/>")
        own = await j.expect("the room", presence(f"{room}/juliet"))
        equal(own.xml.find(".//{http://jabber.org/protocol/muc#user}item").get("affiliation"), "member", "Juliet in the room")
        await j.expect("what was said in the room", message("in the room"))
        info = await j.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", room)
        equal(info.xml.find(".//{http://jabber.org/protocol/disco#info}identity").get("name"), "Fair Verona", "the room's name")


async def run(config):
    s = Server(config)
    try:
        await timely({"fill": fill, "check": check_all}[config["do"]](s), "the end", 90)
        return True
    except (Failed, XMPPError) as e:
        at = [f for f in traceback.extract_tb(e.__traceback__) if f.filename == os.path.abspath(__file__)]
        print(f"line {at[-1].lineno if at else '?'}: {e.condition + ' ' + e.text if isinstance(e, XMPPError) else e}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        for actor in s.actors:
            actor.abort()
    return False


logging.basicConfig(level=logging.CRITICAL)
good = asyncio.run(run(json.loads(sys.argv[1])))
sys.stdout.flush()
os._exit(0 if good else 1)
