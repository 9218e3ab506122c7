"""What clients are told of relays for calls (XEP-0215), and files through the proxy (XEP-0065)."""

import asyncio
import base64
import hashlib
import hmac
import time
import uuid
from datetime import datetime, timezone

from scene import address, check, denied, equal, play, timely

NS, STREAMS = "urn:xmpp:extdisco:2", "http://jabber.org/protocol/bytestreams"
INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"
HERE, MOVED, COTURN = "192.0.2.7", "192.0.2.8", "turn.example.org"


def services(el):
    return [dict(s.attrib) for s in el.iter(f"{{{NS}}}service")]


async def told(actor, kind=""):
    """The services that a user is told of, by type, host and transport."""
    answer = await actor.ask("get", f"<services xmlns='{NS}'" + (f" type='{kind}'" if kind else "") + "/>", actor.house.domain)
    return {(s["type"], s["host"], s["transport"]): s for s in services(answer.xml)}


async def users_are_told_of_relays(house):
    romeo, juliet = [await house.login(u) for u in await house.users("romeo", "juliet")]
    info = await romeo.ask("get", f"<query xmlns='{INFO}'/>", house.domain)
    check(NS in [f.get("var") for f in info.xml.iter(f"{{{INFO}}}feature")], "it is not announced")
    all = await told(romeo)
    ports = [str(address(one)[1]) for one in (await house.ask("relays"))["out"].split()]
    for one in [("stun", HERE, "udp"), ("turn", HERE, "udp"), ("turn", HERE, "tcp")]:
        check(one in all, f"{one} is not among {sorted(all)}")
        check(all[one]["port"] in ports, f"the port of {one} is {all[one]['port']}, not one of {ports}")
    equal("username" in all["stun", HERE, "udp"], False, "credentials where none are needed")
    for one in [("turn", HERE, "udp"), ("turn", HERE, "tcp"), ("turn", COTURN, "udp")]:
        s = all[one]
        equal(s["restricted"], "true", f"{one} is restricted")
        left = (datetime.fromisoformat(s["expires"]) - datetime.now(timezone.utc)).total_seconds()
        check(11 * 3600 < left <= 12 * 3600, f"{one} expires in {left} s")
        check("romeo" not in s["username"], "the username says who calls")
    check(all["turn", HERE, "udp"]["username"] != (await told(juliet))["turn", HERE, "udp"]["username"], "two have the same credentials")
    # A relay elsewhere knows them by the secret that it shares.
    s = all["turn", COTURN, "udp"]
    equal(s["password"], base64.b64encode(hmac.new(b"shared", s["username"].encode(), hashlib.sha1).digest()).decode(), "the password of coturn")
    check(abs(int(s["username"].partition(":")[0]) - time.time() - 12 * 3600) < 60, f"the time in {s['username']}")


async def users_ask_for_some(house):
    romeo = await house.login(await house.users("romeo"))
    equal(sorted(await told(romeo, "stun")), [("stun", HERE, "udp")], "those of one type")
    equal(await told(romeo, "ftp"), {}, "those of a type that is not there")

    def wanted(inside):
        return f"<credentials xmlns='{NS}'>{inside}</credentials>"
    got = services((await romeo.ask("get", wanted(f"<service type='turn' host='{HERE}'/>"), house.domain)).xml)
    equal(sorted(s["transport"] for s in got), ["tcp", "udp"], "credentials of one host")
    check(all(s["username"] and s["password"] and s["expires"] for s in got), f"credentials {got}")
    for kind, payload, condition in [
            ("get", wanted(""), "bad-request"), ("get", wanted("<service type='turn'/>"), "bad-request"), ("get", wanted(f"<service host='{HERE}'/>"), "bad-request"),
            ("get", wanted("<service type='turn' host='elsewhere.example'/>"), "item-not-found"),
            ("get", wanted(f"<service type='turn' host='{HERE}' port='1'/>"), "item-not-found"),
            ("get", wanted(f"<service type='stun' host='{HERE}'/>"), "item-not-found"),
            ("set", f"<services xmlns='{NS}'/>", "bad-request"), ("set", wanted(f"<service type='turn' host='{HERE}'/>"), "bad-request")]:
        await denied(romeo.ask(kind, payload, house.domain), condition, payload)


async def users_are_told_of_changes(house):
    romeo, juliet = [await house.login(u) for u in await house.users("romeo", "juliet")]
    await told(romeo, "turn")

    def push(s):
        return s["type"] == "set" and s.xml.find(f"{{{NS}}}services") is not None
    await house.ask("move", stdin=MOVED)
    try:
        got = sorted((s["action"], s["type"], s["host"], s["transport"], "password" in s) for s in services((await romeo.expect("a push", push)).xml))
        equal(got, [("add", "turn", MOVED, t, True) for t in ["tcp", "udp"]] + [("delete", "turn", HERE, t, False) for t in ["tcp", "udp"]], "what he is told")
        check(("turn", MOVED, "udp") in await told(juliet), "she asks anew")
        juliet.none("a push without having asked", push)
    finally:
        await house.ask("move", stdin=HERE)


async def nothing_is_told_that_nobody_reaches(house):
    """The address is private, or the listeners are of this machine alone; the relay elsewhere is told."""
    user = await house.users("romeo")
    for what in ["10.0.0.1", "loopback"]:
        await house.ask("move", stdin=what)
        await house.ask("restart")
        romeo = await house.login(user)
        equal(sorted(await told(romeo)), [("turn", COTURN, "udp")], what)
        await romeo.leave()
    await house.ask("move", stdin=HERE)
    await house.ask("restart")


# Files.

def proxy(house):
    return f"proxy.{house.domain}"


async def slixmpp_sends_a_file_through_the_proxy(house):
    romeo, juliet = [await house.login(u, plugins=["xep_0065"]) for u in await house.users("romeo", "juliet")]
    juliet["xep_0065"].auto_accept = True
    comes = asyncio.ensure_future(juliet.event_once("socks5_stream"))
    way = await timely(romeo["xep_0065"].handshake(juliet.boundjid.full), "the stream")
    other = (await comes)[1]
    check(way is not None, "no proxy is found")
    body, got, whole = bytes(range(256)) * 4096, bytearray(), asyncio.get_running_loop().create_future()

    def came(data):
        got.extend(data)
        if len(got) >= len(body) and not whole.done():
            whole.set_result(None)
    juliet.add_event_handler("socks5_data", came)
    await way.write(body)
    await timely(whole, "the file")
    check(bytes(got) == body, "another file came")
    for end in [way, other]:
        end.transport.close()


async def connect(at, dst):
    """Asks a proxy for a stream: the first bytes of its answer, and what is read and written."""
    r, w = await asyncio.open_connection(*address(at))
    w.write(b"\x05\x01\x00")
    equal(await timely(r.readexactly(2), "the method"), b"\x05\x00", "the method")
    w.write(b"\x05\x01\x00\x03" + bytes([len(dst)]) + dst.encode() + b"\x00\x00")
    return await timely(r.readexactly(2), "the answer"), r, w


async def join(at, dst):
    """A connection to a proxy for a stream."""
    answer, r, w = await connect(at, dst)
    equal(answer, b"\x05\x00", "the answer")
    await timely(r.readexactly(3 + len(dst) + 2), "the rest of the answer")
    return r, w


async def streams_are_joined_by_who_began_them(house):
    romeo, juliet, mercutio = [await house.login(u) for u in await house.users("romeo", "juliet", "mercutio")]
    listed = (await romeo.ask("get", f"<query xmlns='{ITEMS}'/>", house.domain)).xml.iter(f"{{{ITEMS}}}item")
    check(proxy(house) in [i.get("jid") for i in listed], "the host does not list the proxy")
    info = (await romeo.ask("get", f"<query xmlns='{INFO}'/>", proxy(house))).xml.find(f"{{{INFO}}}query")
    one = info.find(f"{{{INFO}}}identity")
    equal((one.get("category"), one.get("type")), ("proxy", "bytestreams"), "identity")
    host = (await romeo.ask("get", f"<query xmlns='{STREAMS}'/>", proxy(house))).xml.find(f".//{{{STREAMS}}}streamhost")
    at = host.get("host") + ":" + host.get("port")  # of several nodes that of his home, which joins what he began
    equal(host.get("jid"), proxy(house), "the proxy")
    check(at in (await house.ask("proxies"))["out"].split(), f"{at} is no proxy")

    sid, target = uuid.uuid4().hex, juliet.boundjid.full
    dst = hashlib.sha1((sid + romeo.boundjid.full + target).encode()).hexdigest()

    def activation(sid=sid, target=target):
        return f"<query xmlns='{STREAMS}' sid='{sid}'><activate>{target}</activate></query>"

    async def refused(actor, payload, condition):
        await denied(actor.ask("set", payload, proxy(house)), condition, payload)
    await refused(romeo, activation(), "item-not-found")  # nobody is connected
    his = await join(at, dst)
    await refused(romeo, activation(), "not-allowed")  # only one is
    hers = await join(at, dst)
    await refused(mercutio, activation(), "item-not-found")  # it is not his: the address is made of that of who asks
    await refused(romeo, f"<query xmlns='{STREAMS}' sid='{sid}'/>", "bad-request")
    await refused(romeo, f"<query xmlns='{STREAMS}'><activate>{target}</activate></query>", "bad-request")
    await refused(romeo, activation(target="@"), "jid-malformed")
    await romeo.ask("set", activation(), proxy(house))
    for (_, w), (r, _) in [(his, hers), (hers, his)]:
        w.write(b"x" * 100000)
        equal(await timely(r.readexactly(100000), "the bytes"), b"x" * 100000, "the bytes")
    await refused(romeo, activation(), "item-not-found")  # it is no more to be had
    his[1].close()
    equal(await timely(hers[0].read(), "the end"), b"", "the end")
    hers[1].close()


async def no_stream_of_another_kind(house):
    """What is no request for a bytestream, or one too many, ends."""
    at = (await house.ask("proxies"))["out"].split()[0]
    for what, said in [("a browser", b"GET / HTTP/1.1\r\n\r\n"), ("a password", b"\x05\x01\x02"), ("an address of the network", b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")]:
        r, w = await asyncio.open_connection(*address(at))
        w.write(said)
        try:
            got = await timely(r.read(), f"the end of {what}")
        except ConnectionResetError:  # what it has said was not read to the end
            got = b""
        check(len(got) <= 12 and b"HTTP" not in got, f"{what}: {got}")
        w.close()
    dst = uuid.uuid4().hex + "00000000"
    two = [await join(at, dst) for _ in range(2)]
    answer, _, third = await connect(at, dst)
    equal(answer, b"\x05\x02", "the answer to a third one")
    for w in [third, *[w for _, w in two]]:
        w.close()


play(users_are_told_of_relays, users_ask_for_some, users_are_told_of_changes, slixmpp_sends_a_file_through_the_proxy,
     streams_are_joined_by_who_began_them, no_stream_of_another_kind, nothing_is_told_that_nobody_reaches)
