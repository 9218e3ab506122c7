"""What the scenes share: actors, which are clients of Debian's python3-slixmpp that keep
what they receive in order, a line to the house (the Go test that runs the server), and a
TCP proxy that can be cut.

A script is run with one argument, a JSON object that says where the server is. It
speaks JSON lines: what it asks of the house goes to standard output and is answered on
standard input, and so does the outcome of each scene.
"""

import asyncio
import json
import logging
import os
import ssl
import sys
import time
import traceback
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout, XMPPError
from slixmpp.stanza import Iq, Message, Presence
from slixmpp.xmlstream.stanzabase import StanzaBase

PASSWORD = "correct-horse"
WITHIN = int(os.environ.get("SCENE_PATIENCE", "60"))  # seconds that anything awaited may take; a wait ends when it comes
HERE = os.path.dirname(os.path.abspath(__file__))


class Failed(Exception):
    """An expectation that does not hold."""


def check(holds, text):
    if not holds:
        raise Failed(text)


def equal(got, want, what):
    if got != want:
        raise Failed(f"{what}: got {got!r}, want {want!r}")


def element(xml):
    return ET.fromstring(xml)


def show(stanza):
    return str(stanza) if isinstance(stanza, StanzaBase) else ET.tostring(stanza, "unicode")


async def timely(awaitable, what, within=WITHIN):
    """Awaits, but not for ever."""
    try:
        return await asyncio.wait_for(awaitable, within)
    except (asyncio.TimeoutError, IqTimeout):
        raise Failed(f"{what}: nothing within {within} s") from None


# The house: the Go test behind standard input and output.

class House:
    def __init__(self, config):
        self.domain = config["domain"]
        self.c2s = address(config["c2s"] or "127.0.0.1:5222")
        self.tls = address(config["tls"] or "127.0.0.1:5223")
        self.http = config["http"]
        self.https = config["https"]
        self.dir = config["dir"]
        self.nodes = config["nodes"]
        self.binary = config["binary"]
        self.recipients = config["recipients"]  # that a post may have
        self.name = config["name"]  # of the script's users, so that scripts can share a server
        self.count = 0
        self.actors = []
        self.proxies = []

    async def ask(self, what, **more):
        """Asks the Go test for something and returns its answer."""
        print(json.dumps({"ask": what, **more}), flush=True)
        line = await timely(asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline), f"answer to {what}", 120)
        return json.loads(line)

    async def command(self, *args, stdin=""):
        """Runs a command of the jackdaw binary; it must succeed."""
        answer = await self.ask("command", args=list(args), stdin=stdin)
        equal(answer["code"], 0, f"jackdaw {' '.join(args)}: {answer['out']}")
        return answer["out"]

    async def users(self, *names):
        """Makes accounts that no other scene uses and returns their bare addresses."""
        self.count += 1
        jids = [f"{n}-{self.name}{self.count}@{self.domain}" for n in names]
        await self.ask("users", args=jids)
        return jids if len(jids) > 1 else jids[0]

    async def login(self, user, resource="desk", presence=True, **how):
        """An actor with a session; presence=None leaves it without presence, a number is the priority."""
        actor = Actor(self, f"{user}/{resource}", **how)
        await actor.login(presence)
        return actor

    async def proxy(self, port=None):
        p = Proxy(port or self.c2s)
        await p.open()
        self.proxies.append(p)
        return p

    async def leave(self):
        for a in self.actors:
            a.abort()
        for p in self.proxies:
            p.cut()
            p.server.close()
        self.actors, self.proxies = [], []


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


# Actors.

class Actor(slixmpp.ClientXMPP):
    """A client. It does nothing on its own that a scene has not told it to, except what
    the protocol asks of every client; messages, presence and requests that it receives wait
    in the inbox until the scene takes them.
    """

    def __init__(self, house, jid, password=PASSWORD, mech="PLAIN", plugins=(), port=None, direct=False, lean=True):
        super().__init__(jid, password, sasl_mech=mech)
        self.house = house
        self.port = port or (house.tls if direct else house.c2s)
        self.direct = direct
        self.inbox = []
        self.came = asyncio.Event()
        self.ends = []
        # The server of the scenes has a certificate that it signed itself.
        self.ssl_context = ssl.create_default_context()
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE
        self.use_aiodns = False
        for event, handler in [
                ("presence_subscribe", self._handle_subscribe),
                ("presence_subscribed", self._handle_subscribed),
                ("presence_unsubscribe", self._handle_unsubscribe),
                ("presence_unsubscribed", self._handle_unsubscribed),
                ("roster_subscription_request", self._handle_new_subscription)]:
            self.del_event_handler(event, handler)  # answers are the scene's
        for p in plugins:
            self.register_plugin(p)
        self.add_filter("in", self._keep)
        for event in ["failed_auth", "stream_error", "disconnected"]:
            self.add_event_handler(event, lambda data, event=event: self._end(event, data))
        house.actors.append(self)

    def _keep(self, stanza):
        if isinstance(stanza, (Message, Presence)) or isinstance(stanza, Iq) and stanza["type"] in ("get", "set"):
            self.inbox.append(stanza)
            self._wake()
        return stanza

    def _end(self, event, data):
        self.ends.append((event, data["condition"] if event != "disconnected" else ""))
        self._wake()

    def _wake(self):
        came, self.came = self.came, asyncio.Event()
        came.set()

    def open(self, port=None):
        self.connect(port or self.port, use_ssl=self.direct, force_starttls=True, disable_starttls=self.direct)

    async def event_once(self, *names, within=WITHIN):
        """Waits for one of slixmpp's events and returns its name and data."""
        done = asyncio.get_running_loop().create_future()
        handlers = []
        for n in names:
            def handler(data, n=n):
                if not done.done():
                    done.set_result((n, data))
            self.add_event_handler(n, handler)
            handlers.append((n, handler))
        try:
            return await timely(done, f"{self.requested_jid}: {' or '.join(names)}", within)
        finally:
            for n, h in handlers:
                self.del_event_handler(n, h)

    async def login(self, presence=True, port=None):
        started = asyncio.ensure_future(self.event_once("session_start", "failed_all_auth", "disconnected"))
        managed = asyncio.ensure_future(self.event_once("sm_enabled")) if "xep_0198" in self.plugin else None
        await asyncio.sleep(0)  # the handlers are there before the connection
        self.open(port)
        name, _ = await started
        if managed and name == "session_start":
            await managed
        if name != "session_start":
            raise Failed(f"{self.requested_jid} cannot log in: {name}, {self.ends}")
        if presence is True:
            self.send_presence()
        elif presence is not None:
            self.send_presence(ppriority=presence)
        if presence is not None:
            await self.settle()
        return self

    async def refused(self):
        """Tries to log in, which must fail, and returns the condition."""
        started = asyncio.ensure_future(self.event_once("session_start", "failed_auth"))
        await asyncio.sleep(0)
        self.open()
        name, data = await started
        equal(name, "failed_auth", f"login of {self.requested_jid}")
        self.abort()
        return data["condition"]

    def resumable(self):
        """Turns on stream management with slixmpp's plugin, which loses what is not acknowledged
        when it resumes; this keeps it (to be called before login)."""
        self.register_plugin("xep_0198")
        sm, unacked = self["xep_0198"], []

        def keep(stanza):
            if stanza.xml.tag == "{urn:xmpp:sm:3}resume":
                sm.unacked_queue.extend(unacked)
            return stanza
        self.add_filter("out_sync", keep)
        self.add_event_handler("disconnected", lambda _: (unacked.clear(), unacked.extend(sm.unacked_queue)))
        return self

    async def back(self, port=None):
        """Connects again and says how: session_resumed or, with a new session, sm_enabled."""
        self.ends.clear()
        done = asyncio.ensure_future(self.event_once("session_resumed", "sm_enabled"))
        await asyncio.sleep(0)
        self.open(port)
        return (await done)[0]

    async def acknowledged(self):
        """Comes back when the server has said that it has all that was sent."""
        sm = self["xep_0198"]
        await self.waiting_queue.join()
        while sm.unacked_queue:
            acked = asyncio.ensure_future(self.event_once("stanza_acked"))
            await asyncio.sleep(0)
            if not sm.unacked_queue:  # acknowledged before anybody waited for it
                acked.cancel()
                break
            sm.request_ack()
            await acked

    def abort(self):
        """Drops the connection; slixmpp's own stumbles over one that is closing."""
        if self.transport:
            self.transport.abort()

    # What is received.

    async def expect(self, what, *match, within=WITHIN):
        """Takes the first stanza in the inbox that matches, as soon as there is one."""
        until = time.monotonic() + within
        while True:
            for i, s in enumerate(self.inbox):
                if all(m(s) for m in match):
                    return self.inbox.pop(i)
            came = self.came
            left = until - time.monotonic()
            try:
                await asyncio.wait_for(came.wait(), max(left, 0.001))
            except asyncio.TimeoutError:
                got = "\n  ".join(map(show, self.inbox)) or "nothing"
                raise Failed(f"{self.boundjid} expects {what}; its inbox holds\n  {got}\n  ends: {self.ends}") from None

    async def ended(self, want=None):
        """Waits until the server has ended the stream; want is the condition of its stream error."""
        until = time.monotonic() + WITHIN
        while not any(e == "disconnected" for e, _ in self.ends):
            try:
                await asyncio.wait_for(self.came.wait(), max(until - time.monotonic(), 0.001))
            except asyncio.TimeoutError:
                raise Failed(f"{self.boundjid}: the server does not end the stream: {self.ends}") from None
        if want:
            check(("stream_error", want) in self.ends, f"{self.boundjid}: stream error {want} expected, got {self.ends}")

    def none(self, what, *match):
        """Fails if the inbox holds a match. The scene has seen to it that all had time to come."""
        for s in self.inbox:
            check(not all(m(s) for m in match), f"{self.boundjid} has {what}: {show(s)}")

    def forget(self):
        self.inbox.clear()

    # What is sent.

    def say(self, to, body, mtype="chat", mid=None, *children):
        m = self.Message(sto=to, stype=mtype)
        m["id"] = mid or self.new_id()
        if body is not None:
            m["body"] = body
        for c in children:
            m.append(element(c))
        m.send()
        return m["id"]

    def show_presence(self, to=None, ptype=None, priority=None, status=None, *children):
        p = self.Presence(sto=to)
        if ptype:
            p["type"] = ptype
        if priority is not None:
            p["priority"] = priority
        if status is not None:
            p["status"] = status
        for c in children:
            p.append(element(c))
        p.send()

    async def ask(self, kind, payload, to=None):
        """Sends a request and returns the result; an error is an IqError."""
        iq = self.Iq(stype=kind, sto=to)
        iq["id"] = self.new_id()
        iq.append(element(payload))
        return await timely(iq.send(timeout=WITHIN), f"{self.boundjid}: answer to {payload}")

    async def settle(self):
        """Comes back when the server has handled all that was sent on this stream, and what came of it for this one has
        come."""
        await self.ask("get", "<ping xmlns='urn:xmpp:ping'/>", self.house.domain)
        if getattr(self.house, "nodes", 1) > 1:  # this one's home has passed it on; the others may be at it
            await self.house.ask("quiet")
            await self.ask("get", "<ping xmlns='urn:xmpp:ping'/>", self.house.domain)

    async def caught_up(self, sender):
        """Comes back when all that sender's stream has sent to this session before has come. A session
        that has just sent its first presence settles before: till then nothing is held back behind what is stored."""
        # A message that waits behind stored ones, and of which nobody gets a carbon copy.
        mark = sender.say(self.boundjid.full, "(mark)", "chat", None, "<private xmlns='urn:xmpp:carbons:2'/>",
                          "<no-copy xmlns='urn:xmpp:hints'/>")
        await self.expect("a mark", is_message, lambda s: s["id"] == mark)

    async def contacts(self, ver=None):
        """The roster as {jid: (name, subscription, ask, groups)}, and its version."""
        attr = "" if ver is None else f" ver='{ver}'"
        answer = await self.ask("get", f"<query xmlns='jabber:iq:roster'{attr}/>")
        query = answer.xml.find("{jabber:iq:roster}query")
        if query is None:
            return None, None
        return items(query), query.get("ver")

    async def set_item(self, jid, name=None, groups=(), subscription=None):
        """Sets a roster item; returns when the server has agreed."""
        more = "".join(f" {k}='{v}'" for k, v in [("name", name), ("subscription", subscription)] if v)
        inner = "".join(f"<group>{g}</group>" for g in groups)
        return await self.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{jid}'{more}>{inner}</item></query>")

    async def pushed(self, jid):
        """Takes the next roster push about jid: (name, subscription, ask, groups)."""
        push = await self.expect(f"a roster push of {jid}", is_push(jid))
        return items(push.xml.find("{jabber:iq:roster}query"))[jid]

    async def leave(self):
        """Logs out and returns when the stream is closed."""
        await timely(self.disconnect(), f"{self.boundjid}: logout")


def items(query):
    out = {}
    for i in query.findall("{jabber:iq:roster}item"):
        groups = sorted(g.text for g in i.findall("{jabber:iq:roster}group"))
        out[i.get("jid")] = (i.get("name") or "", i.get("subscription", "none"), i.get("ask"), groups)
    return out


def unbound(actor):
    """slixmpp 1.8.3 knows tls-unique only and, without it, says that the server offers no
    channel binding, which is not so. A client that does none says nothing of it."""
    mechanisms = actor["feature_mechanisms"]
    mechanisms.sasl_callback = lambda required, optional: {
        k: v for k, v in mechanisms._default_credentials(required, optional).items() if k != "channel_binding"}
    return actor


async def befriend(a, b):
    """Makes two actors see each other's presence, and leaves their inboxes empty."""
    for x in [a, b]:
        await x.contacts()  # who has not asked for the roster is not told of approvals
    for x, y in [(a, b), (b, a)]:
        x.show_presence(y.boundjid.bare, "subscribe")
        await y.expect("a request", presence(x.boundjid.bare, "subscribe"))
        y.show_presence(x.boundjid.bare, "subscribed")
        await x.expect("approval", presence(y.boundjid.bare, "subscribed"))
        await x.expect("presence of the contact", presence(y.boundjid.full))
    for x, y in [(a, b), (b, a)]:
        await x.caught_up(y)
        x.forget()


async def denied(awaitable, condition, what):
    """The request must be answered by an error with this condition."""
    try:
        answer = await awaitable
    except XMPPError as e:
        equal(e.condition, condition, what)
        return e
    raise Failed(f"{what}: got {show(answer)}, want {condition}")


# Matches for expect and none.

def is_message(s):
    return isinstance(s, Message)


def message(body=None, sender=None, mtype=None):
    def match(s):
        return (isinstance(s, Message) and (body is None or s["body"] == body)
                and (sender is None or s["from"] == sender or "/" not in str(sender) and s["from"].bare == str(sender))
                and (mtype is None or kind(s) == mtype))
    return match


def presence(sender=None, ptype=None):
    """Presence of a session (full) or of anyone of an account (bare)."""
    def match(s):
        return (isinstance(s, Presence) and s.xml.get("type") == ptype
                and (sender is None or str(s["from"]) == str(sender)
                     or "/" not in str(sender) and s["from"].bare == str(sender)))
    return match


def is_push(jid=None):
    def match(s):
        q = s.xml.find("{jabber:iq:roster}query")
        return isinstance(s, Iq) and s["type"] == "set" and q is not None and (jid is None or jid in items(q))
    return match


def kind(s):
    return s.xml.get("type", "normal" if isinstance(s, Message) else None)


def condition(s):
    """The defined condition of an error stanza."""
    return s["error"]["condition"]


def child(s, name):
    """The first child with a qualified name, {namespace}local."""
    return s.xml.find(name)


# A proxy that can be cut.

class Proxy:
    """Passes bytes between clients and the server until it is cut: as when a train enters a
    tunnel. With both ends reset the server knows; in silence, only the client does."""

    def __init__(self, target):
        self.target = target
        self.near, self.far = set(), set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self):
        self.server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()

    async def _pass(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        self.near.add(writer)
        self.far.add(far_writer)
        await asyncio.gather(self._pump(reader, far_writer, self.gate), self._pump(far_reader, writer, None))

    async def _pump(self, reader, writer, gate):
        try:
            while data := await reader.read(65536):
                if gate:
                    await gate.wait()
                writer.write(data)
                await writer.drain()
            if writer in self.near | self.far:  # of a connection that was not cut
                writer.close()
        except OSError:
            if writer in self.near | self.far:
                writer.transport.abort()

    def hold(self):
        """From here on what clients send stays in the proxy, and dies with a cut."""
        self.gate.clear()

    def cut(self, silently=False):
        for w in self.near if silently else self.near | self.far:
            w.transport.abort()
        if silently:
            self.lost = self.far  # open, with nobody behind it
        self.near, self.far = set(), set()
        self.gate = asyncio.Event()  # what was held stays so
        self.gate.set()


# The run of a script.

def play(*scenes):
    """Runs the scenes one after the other and ends the process."""
    logging.basicConfig(level=logging.CRITICAL)
    config = json.loads(sys.argv[1])

    async def perform(house, scene):
        try:
            await asyncio.wait_for(scene(house), 180)
        except asyncio.TimeoutError:
            return "not over after 180 s"
        except (Failed, XMPPError) as e:
            at = [f for f in traceback.extract_tb(e.__traceback__) if os.path.dirname(f.filename) == HERE and not f.filename.endswith("/scene.py")]
            return f"line {at[-1].lineno if at else '?'}: {e.condition + ' ' + e.text if isinstance(e, XMPPError) else e}"
        except Exception:
            return traceback.format_exc()
        finally:
            await house.leave()

    async def run():
        house, faults = House(config), 0
        unknown = set(config["left"]) - {s.__name__ for s in scenes}
        check(not unknown, f"no such scenes: {unknown}")
        for scene in (s for s in scenes if config["only"] in s.__name__ and s.__name__ not in config["left"]):
            started = time.monotonic()
            fault = await perform(house, scene)
            faults += fault is not None
            took = round((time.monotonic() - started) * 1000)
            print(json.dumps({"scene": scene.__name__, "ms": took, "fault": fault}), flush=True)
        return faults

    faults = asyncio.run(run())
    # A thread that waits for the house must not keep the process.
    os._exit(1 if faults else 0)
