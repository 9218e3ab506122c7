"""Components (XEP-0114): python3-slixmpp's ComponentXMPP answers for a domain of its own."""

import asyncio
import time

import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath
from post import OK, curl, plain, with_json
from scene import (WITHIN, Actor, Failed, address, check, condition, denied, element, equal, is_message, kind, message, play, presence,
                   timely)

BOT, SECRET = "bot.localhost", "s3cret"
GATEWAY = "gateway.localhost"  # has privileges
ANSWERS = "answers.localhost"  # answers in place of the server
DELEGATION = "urn:xmpp:delegation:2"


class Component(slixmpp.ComponentXMPP):
    """A component that keeps what it receives, as an Actor does."""

    _keep, _end, _wake = Actor._keep, Actor._end, Actor._wake
    event_once, expect, ended, none, forget, abort = (Actor.event_once, Actor.expect, Actor.ended, Actor.none, Actor.forget,
                                                      Actor.abort)

    def __init__(self, house, jid, secret, **how):
        super().__init__(jid, secret, **how)
        self.house, self.inbox, self.came, self.ends = house, [], asyncio.Event(), []
        self.requested_jid = self.boundjid
        self.use_aiodns = False
        self.auto_authorize = self.auto_subscribe = None
        self.add_filter("in", self._keep)
        for event in ["stream_error", "disconnected"]:
            self.add_event_handler(event, lambda data, event=event: self._end(event, data))
        house.actors.append(self)

    async def open(self):
        started = asyncio.ensure_future(self.event_once("session_start", "disconnected"))
        await asyncio.sleep(0)
        self.connect(*address((await self.house.ask("listener"))["out"]))
        return (await started)[0]

    def say(self, local, to, body, mtype="chat"):
        m = self.make_message(to, body, mtype=mtype, mfrom=f"{local}@{self.boundjid.host}")
        m["id"] = self.new_id()
        m.send()
        return m["id"]

    async def ask(self, kind, payload, to, local="it"):
        iq = self.make_iq(ito=to, ifrom=f"{local}@{self.boundjid.host}", itype=kind)
        iq["id"] = self.new_id()
        iq.append(element(payload))
        return await timely(iq.send(timeout=WITHIN), f"{self.boundjid}: answer to {payload}")


async def connected(house, jid=BOT, secret=SECRET, **how):
    c = Component(house, jid, secret, **how)
    equal(await c.open(), "session_start", f"{jid} connects ({c.ends})")
    return c


def reason(xml):
    """The defined condition of an error that a component has got: slixmpp 1.8.3 looks for it in the namespace of clients."""
    return [e.tag.split("}")[1] for e in xml.iter() if e.tag.startswith("{urn:ietf:params:xml:ns:xmpp-stanzas}")][0]


async def echo(bot):
    """Answers every chat message until it is cancelled."""
    while True:
        m = await bot.expect("something to echo", is_message, lambda s: kind(s) == "chat", within=600)
        bot.say(m["to"].local, m["from"], "echo: " + m["body"])


async def an_echo_bot(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    bot = await connected(house)
    echoing = asyncio.ensure_future(echo(bot))
    for i in range(20):
        for a in [r, j]:
            a.say(f"parrot@{BOT}", f"{a.boundjid.user} {i}")
    for a in [r, j]:
        for i in range(20):
            m = await a.expect("the echo", message(sender=f"parrot@{BOT}"))
            equal((m["body"], str(m["to"])), (f"echo: {a.boundjid.user} {i}", a.boundjid.full), "echo, in order")
    echoing.cancel()


async def the_namespace_may_be_that_of_clients(house):
    romeo = await house.users("romeo")
    r = await house.login(romeo)
    bot = await connected(house, use_jc_ns=True)
    bot.say("it", romeo, "hello")
    m = await r.expect("the message", message("hello"))
    equal((str(m["from"]), m.xml.tag), (f"it@{BOT}", "{jabber:client}message"), "head")


async def what_a_component_says_is_stored(house):
    juliet = await house.users("juliet")
    bot = await connected(house)
    for i in range(3):
        bot.say("it", juliet, f"m{i}")
    await bot.ask("get", "<ping xmlns='urn:xmpp:ping'/>", house.domain)
    j = await house.login(juliet)
    for i in range(3):
        m = await j.expect("what was stored", message(sender=f"it@{BOT}"))
        equal(m["body"], f"m{i}", "in order")
    bot.say("it", f"nobody@{house.domain}", "hello?")
    e = await bot.expect("an error", message(mtype="error"))
    equal((reason(e.xml), str(e["to"])), ("service-unavailable", f"it@{BOT}"), "error")


async def subscriptions_go_both_ways(house):
    romeo = await house.users("romeo")
    r = await house.login(romeo)
    await r.contacts()
    bot = await connected(house)
    it = f"it@{BOT}"
    r.show_presence(it, "subscribe")
    await bot.expect("a request", presence(romeo, "subscribe"))
    bot.send_presence(pto=romeo, pfrom=it, ptype="subscribed")
    bot.send_presence(pto=romeo, pfrom=f"{it}/x", pstatus="here")
    await r.expect("approval", presence(it, "subscribed"))
    equal((await r.expect("presence", presence(f"{it}/x")))["status"], "here", "status")
    bot.send_presence(pto=romeo, pfrom=it, ptype="subscribe")
    await r.expect("a request", presence(it, "subscribe"))
    r.show_presence(it, "subscribed")
    await bot.expect("approval", presence(romeo, "subscribed"))
    await bot.expect("presence", presence(f"{romeo}/desk"))
    equal((await r.contacts())[0], {it: ("", "both", None, [])}, "roster")
    await r.leave()
    await bot.expect("unavailable presence", presence(f"{romeo}/desk", "unavailable"))


async def requests_go_both_ways(house):
    r = await house.login(await house.users("romeo"))
    bot = await connected(house)
    bot.register_plugin("xep_0030")
    bot.register_plugin("xep_0199")
    bot["xep_0030"].add_identity("client", "bot", jid=bot.boundjid, name="a bot")
    info = await r.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", BOT)
    identity = info.xml.find(".//{http://jabber.org/protocol/disco#info}identity")
    check(identity is not None and identity.get("name") == "a bot", f"disco#info: {info}")
    items = await r.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", house.domain)
    check(BOT in [i.get("jid") for i in items.xml.iter()], f"disco#items of the host: {items}")
    await r.ask("get", "<ping xmlns='urn:xmpp:ping'/>", BOT)
    await denied(r.ask("get", "<query xmlns='urn:x:unknown'/>", BOT), "feature-not-implemented", "an error of the component")
    info = await bot.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", house.domain)
    check(info.xml.find(".//{http://jabber.org/protocol/disco#info}feature") is not None, f"disco#info of the server: {info}")
    try:
        raise Failed(f"an answer: {await bot.ask('get', '<query/>', r.boundjid.full)}")
    except IqError as e:
        check(str(e.iq["from"]) == r.boundjid.full and reason(e.iq.xml), f"an error of a client: {e.iq}")


async def a_post_reaches_a_component(house):
    andy, bob = await house.users("andy", "bob")
    text = f'<message to="it@{BOT}"><body>yo</body></message>'
    bot = await connected(house)
    equal(await curl(house, "/message", andy, "--data-binary", text), OK, "answer")
    m = await bot.expect("the message", message("yo"))
    equal((str(m["from"]), str(m["to"])), (andy, f"it@{BOT}"), "head")
    await house.command("user", "grant", andy, "multicast")
    both = (f'<message to="multicast"><addresses xmlns="http://jabber.org/protocol/address"><address type="bcc" jid="it@{BOT}"/>'
            f'<address type="bcc" jid="{bob}"/></addresses><body>both</body></message>')
    equal(await curl(house, "/message", andy, "-H", "Accept: application/json", "--data-binary", both),
          with_json("200 OK", '{"id":"m-ID","accepted":2,"recipients":[{"jid":"it@%s","outcome":"delivered"},'
                              '{"jid":"%s","outcome":"stored"}]}\n' % (BOT, bob)), "report")
    await bot.expect("the message", message("both"))
    bot.abort()
    await gone(house, await house.login(bob))
    equal(await curl(house, "/message", andy, "--data-binary", text),
          plain("403 Forbidden", f"Forbidden: no recipient accepted the message: it@{BOT} (service-unavailable)."), "answer")


async def gone(house, r):
    """Comes back when the server has noticed that there is no component."""
    until = time.monotonic() + WITHIN
    while time.monotonic() < until:
        # What the server writes before it notices is lost with the connection, without an error (XEP-0114).
        r.say(f"it@{BOT}", "anybody?")
        await r.settle()
        errors = [s for s in r.inbox if message(mtype="error")(s)]
        r.inbox = [s for s in r.inbox if s not in errors]
        for e in errors:
            equal(condition(e), "service-unavailable", "error")
            if e["error"]["type"] == "wait":
                return
        await asyncio.sleep(0.02)
    raise Failed("the component is not gone")


async def a_component_may_be_away(house):
    r = await house.login(await house.users("romeo"))
    bot = await connected(house)
    await bot.disconnect()
    await gone(house, r)
    await denied(r.ask("get", "<ping xmlns='urn:xmpp:ping'/>", BOT), "service-unavailable", "iq")
    shown = await house.command("s2s")
    check(BOT in shown and "closed by the component" in shown, f"jackdaw s2s: {shown}")
    again = await connected(house)
    r.say(f"it@{BOT}", "there you are")
    await again.expect("the message", message("there you are"))
    shown = await house.command("s2s")
    check(BOT in shown and "closed by the component" not in shown, f"jackdaw s2s: {shown}")


async def stream_management_counts_what_a_component_has(house):
    romeo = await house.users("romeo")
    r = Actor(house, f"{romeo}/desk").resumable()
    await r.login()
    bot = await connected(house)
    for i in range(50):
        r.say(f"it@{BOT}", f"m{i}")
    await r.acknowledged()
    for i in range(50):
        equal((await bot.expect("a message", is_message))["body"], f"m{i}", "in order")
    bot.abort()
    await gone(house, r)
    await r.acknowledged()  # an error is an answer too


async def the_newer_of_two_stays(house):
    r = await house.login(await house.users("romeo"))
    older, newer = await connected(house), await connected(house)
    await older.ended("conflict")
    r.say(f"it@{BOT}", "who?")
    await newer.expect("the message", message("who?"))
    older.none("a message", is_message)


async def a_component_speaks_for_itself_only(house):
    romeo = await house.users("romeo")
    r = await house.login(romeo)
    for sender in [f"prince@{house.domain}", "it@irc.localhost", "it@elsewhere.example"]:
        bot = await connected(house)
        bot.send_raw(f"<message to='{romeo}' from='{sender}'><body>forged</body></message>")
        await bot.ended("invalid-from")
    bot = await connected(house)
    bot.send_raw(f"<message from='it@{BOT}'><body>to whom?</body></message>")
    await bot.ended("improper-addressing")
    bot = await connected(house)
    bot.say("it", romeo, "own")
    await r.expect("the message", message("own"))
    r.none("a forged message", is_message)


async def a_wrong_secret_is_refused(house):
    for jid, secret, want in [(BOT, "wrong", "not-authorized"), ("irc.localhost", SECRET, "not-authorized"),
                              ("other.localhost", SECRET, "host-unknown"), (house.domain, SECRET, "host-unknown")]:
        c = Component(house, jid, secret)
        equal(await c.open(), "disconnected", f"{jid} with {secret}")
        check(("stream_error", want) in c.ends, f"{jid} with {secret}: {c.ends}")


async def a_gateway_does_things_for_users(house):
    """XEP-0356, with slixmpp's own plugin."""
    romeo, juliet, *others = await house.users("romeo", "juliet", "mercutio", "tybalt", "paris", "benvolio")
    r = await house.login(romeo)
    r.send_presence()
    there = [await house.login(user) for user in others]  # at each of several nodes
    for other in there:
        other.send_presence()
        await other.settle()
    bot = Component(house, GATEWAY, SECRET)
    bot.register_plugin("xep_0356")
    told = asyncio.ensure_future(bot.event_once("privileges_advertised"))
    equal(await bot.open(), "session_start", "the gateway connects")
    await timely(told, "what it may do")
    bot.server_host = "localhost"
    plugin = bot["xep_0356"]
    equal({k: plugin.granted_privileges[k] for k in ["roster", "message", "presence"]},
          {"roster": "both", "message": "outgoing", "presence": "managed_entity"}, "what it may do")
    for other in [r, *there]:
        await bot.expect(f"that {other.boundjid} is here", presence(sender=str(other.boundjid)))

    await r.get_roster()
    friend = f"friend@{GATEWAY}"
    bot.forget()
    await plugin.set_roster(romeo, {friend: {"name": "Friend", "subscription": "both", "groups": ["IRC"]}})
    await bot.expect("the push", lambda s: s.name == "iq" and s["type"] == "set" and s["from"] == romeo)
    got = (await plugin.get_roster(romeo))["roster"]["items"]
    item = got[slixmpp.JID(friend)]
    equal((item["name"], item["subscription"], list(item["groups"])), ("Friend", "both", ["IRC"]), "the contact")
    await r.expect("the client's push", lambda s: s.name == "iq" and "subscription=\"both\"" in str(s) and friend in str(s))
    for user in others:
        await plugin.set_roster(user, {friend: {"name": "Friend", "subscription": "both", "groups": []}})
        got = (await plugin.get_roster(user))["roster"]["items"]
        equal(got[slixmpp.JID(friend)]["subscription"], "both", f"the contact of {user}")

    other = await house.login(romeo, "phone")
    await other.ask("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
    m = bot.Message()
    m["from"], m["to"], m["type"], m["body"], m["id"] = romeo, friend, "chat", "written elsewhere", "e1"
    bot.forget()
    plugin.send_privileged_message(m)
    await bot.expect("what romeo has written", is_message, lambda s: s["body"] == "written elsewhere" and s["from"] == romeo)
    await other.expect("a carbon", lambda s: s.name == "message" and "urn:xmpp:carbons:2" in str(s) and "written elsewhere" in str(s))

    # It publishes for romeo, as romeo.
    answer = await bot.ask("set", f"""<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='set' id='p1'>
        <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:x:gateway'><item id='1'><x xmlns='urn:x:gateway'/>
        </item></publish></pubsub></iq></privileged_iq>""", romeo)
    inner = [e for e in answer.xml.iter() if e.tag.endswith("}iq") and e.get("id") == "p1"]
    equal([e.get("type") for e in inner], ["result"], f"the answer in {answer}")
    items = await r.ask("get", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:x:gateway'/></pubsub>", romeo)
    equal([e.get("id") for e in items.xml.iter() if e.tag.endswith("}item")], ["1"], "what was published")

    # What it may not, it cannot: the namespace is not granted, and there is no such user.
    for to, payload in [(romeo, "<query xmlns='jabber:iq:register'><remove/></query>"),
                        ("nobody@localhost", "<pubsub xmlns='http://jabber.org/protocol/pubsub'/>")]:
        try:
            await bot.ask("set", f"<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='set' id='x'>{payload}</iq></privileged_iq>", to)
            raise Failed(f"{payload} to {to} was not refused")
        except IqError as e:
            equal(reason(e.iq.xml), "forbidden", payload)
    await other.leave()
    await bot.expect("who has gone", presence(sender=str(other.boundjid), ptype="unavailable"))


def enclosed(s):
    """The request in what the server hands over, and its payload."""
    iq = s.xml.find(f"./{{{DELEGATION}}}delegation/{{urn:xmpp:forward:0}}forwarded/{{jabber:client}}iq")
    return iq, iq[0]


def handed_over(s):
    return s.name == "iq" and s["type"] == "set" and s.xml.find(f"{{{DELEGATION}}}delegation") is not None


async def a_component_answers_in_place_of_the_server(house):
    """XEP-0355."""
    romeo = await house.users("romeo")
    r = await house.login(romeo)
    get = "<report xmlns='urn:x:weather' where='Verona'/>"
    await denied(r.ask("get", get, house.domain), "service-unavailable", "while it is away")
    bot = Component(house, ANSWERS, SECRET)
    for kind in ["get", "set"]:  # else slixmpp answers that it does not know them
        bot.register_handler(Callback(kind, StanzaPath(f"iq@type={kind}"), lambda iq: None))
    equal(await bot.open(), "session_start", "it connects")
    told = await bot.expect("what it answers", lambda s: s.name == "message" and s.xml.find(f"{{{DELEGATION}}}delegation") is not None)
    equal([(e.get("namespace"), [a.get("name") for a in e]) for e in told.xml.find(f"{{{DELEGATION}}}delegation")],
          [("urn:x:weather", []), (f"{DELEGATION}:bare:disco#info:*", []), ("urn:xmpp:mam:2", ["node"])], "what it answers")

    def answer(s, payload, **attrs):
        iq, _ = enclosed(s)
        reply = {"id": iq.get("id"), "to": iq.get("from"), "type": "result"} | attrs
        head = " ".join(f"{k}='{v}'" for k, v in reply.items())
        bot.send_raw(f"<iq type='result' id='{s['id']}' from='{ANSWERS}' to='{s['from']}'><delegation xmlns='{DELEGATION}'>"
                     f"<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' {head}>{payload}</iq></forwarded></delegation></iq>")

    # What it is stands in what the host and its accounts are (XEP-0355 §7.2).
    for _ in range(4):  # for each namespace, as a host and as an account
        q = await bot.expect("a question", lambda s: s.name == "iq" and s["type"] == "get" and "disco#info" in str(s))
        node = q.xml[0].get("node")
        bot.send_raw(f"<iq type='result' id='{q['id']}' from='{ANSWERS}' to='{q['from']}'><query xmlns='http://jabber.org/protocol/disco#info' "
                     f"node='{node}'><feature var='about {node}'/></query></iq>")

    async def of(who):
        info = await r.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", who)
        return [e.get("var") for e in info.xml.iter() if e.tag.endswith("}feature")]

    await bot.ask("get", "<ping xmlns='urn:xmpp:ping'/>", house.domain)  # the server has its answers
    host, account = await of(house.domain), await of(romeo)
    check(f"about {DELEGATION}::urn:x:weather" in host and DELEGATION in host, f"the host: {host}")
    check(f"about {DELEGATION}:bare:urn:xmpp:mam:2" in account, f"the account: {account}")
    check("urn:xmpp:mam:2" not in account and "urn:xmpp:mam:2#extended" not in account, f"the account: {account}")

    # Requests to the host, to the own account, and to others.
    for to in [house.domain, romeo, f"nobody@{house.domain}"]:
        asked = asyncio.ensure_future(r.ask("get", get, to))
        s = await bot.expect("a request", handed_over)
        iq, payload = enclosed(s)
        equal((iq.get("from"), iq.get("to"), payload.get("where")), (str(r.boundjid), to, "Verona"), "what was asked")
        answer(s, "<sunny xmlns='urn:x:weather'/>")
        got = await asked
        equal((str(got["from"]), got.xml[0].tag), (to, "{urn:x:weather}sunny"), "the answer")

    # The archive is the component's where a node is asked for, and the server's else.
    await r.ask("set", "<query xmlns='urn:xmpp:mam:2'/>", romeo)
    asked = asyncio.ensure_future(r.ask("set", "<query xmlns='urn:xmpp:mam:2' node='n'/>", romeo))
    answer(await bot.expect("a query", handed_over), "<fin xmlns='urn:xmpp:mam:2' complete='true' from='elsewhere'/>")
    equal((await asked).xml[0].get("from"), "elsewhere", "the archive of a node")
    asked = asyncio.ensure_future(r.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>", romeo))
    answer(await bot.expect("a node that the server does not know", handed_over),
           "<query xmlns='http://jabber.org/protocol/disco#info' node='n'><identity category='pubsub' type='leaf'/></query>")
    equal((await asked).xml[0][0].get("type"), "leaf", "the node")

    # An answer that is none, and one for another.
    for bad in [{"id": "other"}, {"to": f"juliet@{house.domain}/x"}, {"type": "error"}, {"from": ANSWERS}]:
        asked = asyncio.ensure_future(r.ask("get", get, house.domain))
        answer(await bot.expect("a request", handed_over), "<sunny xmlns='urn:x:weather'/>", **bad)
        await denied(asked, "service-unavailable", f"an answer with {bad}")
    try:  # what it asks itself, the server answers
        raise Failed(f"answered: {await bot.ask('get', get, house.domain)}")
    except IqError as e:
        equal(reason(e.iq.xml), "service-unavailable", "its own request")
    bot.none("a request", handed_over)
    asked = asyncio.ensure_future(r.ask("get", get, house.domain))
    await bot.expect("a request", handed_over)
    bot.abort()
    asked.cancel()


async def a_secret_is_changed(house):
    await house.ask("secret", stdin="first")
    irc = await connected(house, "irc.localhost", "first")
    bot = await connected(house)
    await house.ask("secret", stdin="second")
    await house.command("reload")
    await irc.ended("reset")
    await connected(house, "irc.localhost", "second")
    r = await house.login(await house.users("romeo"))
    r.say(f"it@{BOT}", "still there?")
    await bot.expect("the message", message("still there?"))


async def a_stop_says_so(house):
    bot = await connected(house)
    equal((await house.ask("stop"))["code"], 0, "exit code")
    await bot.ended("system-shutdown")
    await house.ask("launch")
    r = await house.login(await house.users("romeo"))
    again = await connected(house)
    r.say(f"it@{BOT}", "back")
    await again.expect("the message", message("back"))


if __name__ == "__main__":
    play(a_component_answers_in_place_of_the_server, a_gateway_does_things_for_users, an_echo_bot, the_namespace_may_be_that_of_clients, what_a_component_says_is_stored,
         subscriptions_go_both_ways,
         requests_go_both_ways, a_post_reaches_a_component, a_component_may_be_away, stream_management_counts_what_a_component_has,
         the_newer_of_two_stays, a_component_speaks_for_itself_only, a_wrong_secret_is_refused, a_secret_is_changed, a_stop_says_so)
