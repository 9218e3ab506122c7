"""What people on two servers do with each other: messages (RFC 6121 §5), subscriptions and
presence (§3, §4), cards (XEP-0054), events (0163), discovery (0030), pings (0199). Each scene has accounts
of its own, so that all are played at the same time.

Run with a JSON object that names both servers and the first number of the accounts.
"""

import asyncio
import json
import logging
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scenes", "testdata"))

from scene import (Actor, Failed, XMPPError, befriend, check, child, condition, equal, is_push, message, presence, timely, unbound)

INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"
CARD = "{vcard-temp}vCard"


class Server:
    """What an actor has to know of the server that its account is on."""

    def __init__(self, config):
        self.kind, self.domain = config["kind"], config["domain"]
        host, _, port = config["tls"].rpartition(":")
        self.tls = self.c2s = (host, int(port))
        self.actors = []

    async def login(self, user, resource="desk", presence=True, **how):
        a = unbound(Actor(self, f"{user}@{self.domain}/{resource}", mech="SCRAM-SHA-1", direct=True, **how))
        await a.login(presence)
        return a


class Play:
    """Two accounts for one scene."""

    def __init__(self, a, b, number):
        self.a, self.b = a, b
        self.number = number
        self.romeo, self.juliet = f"u{number}@{a.domain}", f"u{number}@{b.domain}"

    async def romeo_in(self, *args, **how):
        return await self.a.login(f"u{self.number}", *args, **how)

    async def juliet_in(self, *args, **how):
        return await self.b.login(f"u{self.number}", *args, **how)

    async def both_in(self):
        r, j = await asyncio.gather(self.romeo_in(), self.juliet_in())
        for x in [r, j]:
            await x.contacts()  # who has not asked for the roster is told nothing of it
        return r, j


# Scenes: the first actor's server is the one that the theme starts from.

async def messages_come_in_order_and_whole(play):
    r, j = await play.both_in()
    r.say(j.boundjid.full, "Wherefore? <&>\u00e9\U0001f339", "chat", "m1", "<x xmlns='urn:x:letter' seal='wax'><y/></x>")
    m = await j.expect("a message", message("Wherefore? <&>\u00e9\U0001f339", r.boundjid.full, "chat"))
    equal((m["id"], str(m["to"])), ("m1", j.boundjid.full), "id and to")
    letter = child(m, "{urn:x:letter}x")
    check(letter is not None and letter.get("seal") == "wax" and letter.find("{urn:x:letter}y") is not None, f"payload: {m}")
    j.say(r.boundjid.full, "Therefore.")
    await r.expect("the answer", message("Therefore.", j.boundjid.full, "chat"))
    for i in range(50):
        r.say(j.boundjid.bare, f"line {i}", ("chat", "normal")[i % 2])
    for i in range(50):
        m = await j.expect("a line", message())
        equal(m["body"], f"line {i}", "order")


async def messages_wait_for_who_is_away(play):
    r = await play.romeo_in()
    for i in range(3):
        r.say(play.juliet, f"note {i}")
    # What comes later on the same way is there when the account has what came before.
    other = await play.b.login(f"u{play.number + 1}")
    await other.caught_up(r)
    j = await play.juliet_in()
    for i in range(3):
        m = await j.expect("a note", message(None, r.boundjid.full))
        equal(m["body"], f"note {i}", "order")
        check(child(m, "{urn:xmpp:delay}delay") is not None, f"no time in {m}")


async def messages_to_nobody_come_back(play):
    if play.b.kind == "jackal" and play.a.kind != "jackdaw":
        return  # it sends errors back on the stream of the message, where most do not look
    r = await play.romeo_in()
    r.say(f"nobody@{play.b.domain}", "anybody?", "chat", "n1")
    m = await r.expect("an error", message(None, f"nobody@{play.b.domain}", "error"))
    equal((m["id"], condition(m)), ("n1", "service-unavailable"), "bounce")


async def subscriptions_go_both_ways(play):
    r, j = await play.both_in()
    r.show_presence(j.boundjid.bare, "subscribe", None, None)
    await settled(r, play.juliet, "none", "subscribe")
    request = await j.expect("the request", presence(play.romeo, "subscribe"))
    equal(str(request["from"]), play.romeo, "a request comes from the bare address (RFC 6121 §3.1.2)")
    j.show_presence(play.romeo, "subscribed")
    await settled(j, play.romeo, "from")
    await settled(r, play.juliet, "to")
    await r.expect("the approval", presence(play.juliet, "subscribed"))
    await r.expect("presence of the contact", presence(j.boundjid.full))

    j.show_presence(None, None, 3, "on the balcony", "<show xmlns='jabber:client'>dnd</show>")
    p = await r.expect("a change", presence(j.boundjid.full))
    equal((p["status"], p["show"], p["priority"]), ("on the balcony", "dnd", 3), "what is shown")

    j.show_presence(play.romeo, "subscribe")
    await r.expect("the request back", presence(play.juliet, "subscribe"))
    r.show_presence(play.juliet, "subscribed")
    await j.expect("the approval", presence(play.romeo, "subscribed"))
    await j.expect("presence of the contact", presence(r.boundjid.full))
    equal((await r.contacts())[0][play.juliet][1], "both", "roster of who asked first")
    equal((await j.contacts())[0][play.romeo][1], "both", "roster of the other")

    # Who comes later is told what is so (RFC 6121 §4.3).
    late = await play.romeo_in("late")
    p = await late.expect("presence at login", presence(j.boundjid.full))
    equal(p["status"], "on the balcony", "status at login")
    await j.expect("presence of the other resource", presence(f"{play.romeo}/late"))
    if play.a.kind == "jackal":  # it does not tell of a stream that was cut
        late.show_presence(None, "unavailable")
    else:
        late.abort()
    await j.expect("the other resource is gone", presence(f"{play.romeo}/late", "unavailable"))
    j.show_presence(None, "unavailable", None, "good night")
    await r.expect("the contact is gone", presence(j.boundjid.full, "unavailable"))


async def subscriptions_end(play):
    r, j = await play.both_in()
    for x, y in [(r, j), (j, r)]:
        x.show_presence(y.boundjid.bare, "subscribe")
        await y.expect("a request", presence(x.boundjid.bare, "subscribe"))
        y.show_presence(x.boundjid.bare, "subscribed")
        await x.expect("presence of the contact", presence(y.boundjid.full))
    r.show_presence(play.juliet, "unsubscribe")
    if play.b.kind != "jackal":  # it says nothing
        await r.expect("the contact is gone", presence(play.juliet, "unavailable"))  # Prosody: of the account
    await settled(r, play.juliet, "from")
    await settled(j, play.romeo, "to")
    if play.a.kind == "jackal":
        return  # what it sends for a removed contact varies
    await r.set_item(play.juliet, subscription="remove")
    await j.expect("the contact is gone", presence(play.romeo, "unavailable"))
    await settled(j, play.romeo, "none")
    check(play.juliet not in (await r.contacts())[0], "she is in the roster still")


async def settled(actor, jid, subscription, ask=None):
    """Reads pushes until one says this. Some servers get there in more than one step, and
    jackal does not tell what is asked."""
    states = [(subscription, ask), (subscription, None if actor.house.kind == "jackal" else ask)]
    while (await actor.pushed(jid))[1:3] not in states:
        pass


async def requests_wait_for_who_is_away(play):
    r = await play.romeo_in()
    await r.contacts()
    r.show_presence(play.juliet, "subscribe")
    await settled(r, play.juliet, "none", "subscribe")
    other = await play.b.login(f"u{play.number + 1}")
    await other.caught_up(r)
    j = await play.juliet_in()
    await j.expect("the request", presence(play.romeo, "subscribe"))
    j.show_presence(play.romeo, "unsubscribed")
    await r.expect("the refusal", presence(play.juliet, "unsubscribed"))
    await settled(r, play.juliet, "none")


async def cards_are_fetched(play):
    if play.a.kind == "jackal":
        return  # it drops the answers of other servers
    r, j = await play.both_in()
    await j.ask("set", "<vCard xmlns='vcard-temp'><FN>Juliet Capulet</FN><NICKNAME>Jule</NICKNAME></vCard>")
    answer = await r.ask("get", "<vCard xmlns='vcard-temp'/>", play.juliet)
    equal((str(answer["from"]), answer.xml.find(f"{CARD}/{{vcard-temp}}FN").text), (play.juliet, "Juliet Capulet"), "her card")


async def servers_and_clients_are_discovered(play):
    if play.a.kind == "jackal":
        return
    r = await play.romeo_in()
    j = await play.juliet_in(plugins=["xep_0030"])
    answer = await r.ask("get", f"<query xmlns='{INFO}'/>", play.b.domain)
    query = answer.xml.find(f"{{{INFO}}}query")
    identities = [(i.get("category"), i.get("type")) for i in query.findall(f"{{{INFO}}}identity")]
    check(("server", "im") in identities, f"identities {identities}")
    check(INFO in [f.get("var") for f in query.findall(f"{{{INFO}}}feature")], "features")
    await r.ask("get", f"<query xmlns='{ITEMS}'/>", play.b.domain)
    if play.b.kind != "jackal":
        answer = await r.ask("get", f"<query xmlns='{INFO}'/>", j.boundjid.full)
        check(answer.xml.find(f"{{{INFO}}}query/{{{INFO}}}identity") is not None, f"her client: {answer}")


async def pings_are_answered(play):
    if play.a.kind == "jackal":
        return
    r = await play.romeo_in()
    j = await play.juliet_in(plugins=["xep_0199"])
    answer = await r.ask("get", "<ping xmlns='urn:xmpp:ping'/>", play.b.domain)
    equal(str(answer["from"]), play.b.domain, "who answers")
    if play.b.kind != "jackal":
        await r.ask("get", "<ping xmlns='urn:xmpp:ping'/>", j.boundjid.full)
        try:
            await r.ask("get", "<ping xmlns='urn:xmpp:ping'/>", f"{play.juliet}/gone")
        except XMPPError as e:
            equal(e.condition, "service-unavailable", "a session that is gone")
        else:
            raise Failed("a session that is gone answers")


EVENT, PUBSUB = "{http://jabber.org/protocol/pubsub#event}", "{http://jabber.org/protocol/pubsub}"
TUNE = "http://jabber.org/protocol/tune"


async def wanting(server, user, resource, *nodes):
    """An actor whose capabilities say what it wants."""
    a = await server.login(user, resource, presence=None, plugins=["xep_0060", "xep_0115", "xep_0163"])
    for node in nodes:
        a["xep_0030"].add_feature(node + "+notify")
    await a["xep_0115"].update_caps(a.boundjid, broadcast=False)
    a.show_presence()
    await a.contacts()
    return a


async def publish(actor, node, item, access):
    await actor.ask("set", f"""<pubsub xmlns='http://jabber.org/protocol/pubsub'>
        <publish node='{node}'><item id='{item}'><t xmlns='urn:t'>{item}</t></item></publish>
        <publish-options><x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>
        <field var='pubsub#access_model'><value>{access}</value></field></x></publish-options></pubsub>""")


def event(node, item):
    def match(s):
        i = s.xml.find(f"{EVENT}event/{EVENT}items[@node='{node}']/{EVENT}item")
        return i is not None and i.get("id") == item
    return match


async def events_reach_contacts_and_subscribers(play):
    if {play.a.kind, play.b.kind} != {"jackdaw", "prosody"}:
        return
    r = await wanting(play.a, f"u{play.number}", "desk")
    j = await wanting(play.b, f"u{play.number}", "desk", TUNE)

    # A stranger reads an open node and subscribes to it.
    await publish(r, "urn:open", "1", "open")
    items = await j.ask("get", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:open'/></pubsub>", play.romeo)
    equal([i.get("id") for i in items.xml.iter(PUBSUB + "item")], ["1"], "items that a stranger reads")
    await j["xep_0060"].subscribe(play.romeo, "urn:open")
    await publish(r, "urn:open", "2", "open")
    await j.expect("an event of the open node", event("urn:open", "2"))

    # A contact has it without asking, at the sessions that want it, and the last one at a new session.
    await befriend(r, j)
    await publish(r, TUNE, "1", "presence")
    e = await j.expect("an event", event(TUNE, "1"))
    equal((str(e["from"]), str(e["to"]), e["type"]), (play.romeo, j.boundjid.full, "headline"), "who tells whom")
    street = await wanting(play.b, f"u{play.number}", "street", TUNE)
    await street.expect("the last item", event(TUNE, "1"))

    # The user's server learns of its contacts anew when the user comes back.
    r.abort()
    r = await wanting(play.a, f"u{play.number}", "back")
    await r.expect("presence of the contact", presence(street.boundjid.full))
    await publish(r, TUNE, "2", "presence")
    for x in [j, street]:
        await x.expect("an event", event(TUNE, "2"))
        await x.caught_up(r)
        x.none("an event twice", event(TUNE, "2"))


SCENES = [messages_come_in_order_and_whole, messages_wait_for_who_is_away, messages_to_nobody_come_back,
          subscriptions_go_both_ways, subscriptions_end, requests_wait_for_who_is_away,
          cards_are_fetched, events_reach_contacts_and_subscribers, servers_and_clients_are_discovered, pings_are_answered]


async def perform(scene, play):
    started, fault = time.monotonic(), None
    try:
        await timely(scene(play), "the end", 60)
    except (Failed, XMPPError) as e:
        at = [f for f in traceback.extract_tb(e.__traceback__) if f.filename == os.path.abspath(__file__)]
        fault = f"line {at[-1].lineno if at else '?'}: {e.condition + ' ' + e.text if isinstance(e, XMPPError) else e}"
    except Exception:
        fault = traceback.format_exc()
    took = round((time.monotonic() - started) * 1000)
    print(json.dumps({"scene": scene.__name__, "ms": took, "fault": fault}), flush=True)
    return fault is None


async def run(config):
    a, b = Server(config["a"]), Server(config["b"])
    # Two accounts for each: some need one more on the other side.
    plays = [perform(s, Play(a, b, config["first"] + 2 * i)) for i, s in enumerate(SCENES) if config["only"] in s.__name__]
    good = all(await asyncio.gather(*plays))
    for actor in a.actors + b.actors:
        actor.abort()
    return good


logging.basicConfig(level=logging.CRITICAL)
good = asyncio.run(run(json.loads(sys.argv[1])))
sys.stdout.flush()
os._exit(0 if good else 1)
