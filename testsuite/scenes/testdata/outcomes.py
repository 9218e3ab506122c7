"""What becomes of posts over HTTP, told afterwards, with clients that others wrote."""

import asyncio
import json
import time

from post import OK, curl
from scene import Actor, WITHIN, check, equal, message, play

REPORT = ["-H", "Accept: application/json"]
RECEIPT = '<request xmlns="urn:xmpp:receipts"/><markable xmlns="urn:xmpp:chat-markers:0"/>'


def to(jid, body, more="", head=""):
    return f'<message to="{jid}" type="chat"{head}><body>{body}</body>{more}</message>'


async def ask(house, path, user, *more):
    """The JSON of an answer of 200."""
    p = await asyncio.create_subprocess_exec("/usr/bin/curl", "-s", "-f", "--max-time", "60", f"http://{house.http}" + path, "-u",
                                             f"{user}:correct-horse", *more, stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate()
    equal(p.returncode, 0, f"curl {path}")
    return json.loads(out)


async def post(house, user, body, *more):
    """Posts and returns the report."""
    return await ask(house, "/message", user, *REPORT, *more, "--data-binary", body)


def outcomes(record):
    return [r["outcome"] for r in record["recipients"]]


async def becomes(house, user, ident, *want):
    """Comes back when this has become of the post, and returns what is kept of it."""
    until = time.monotonic() + WITHIN
    while True:
        record = await ask(house, f"/api/1.0/posts/{ident}", user)
        if outcomes(record) == list(want):
            return record
        check(time.monotonic() < until, f"{ident} became {record}, not {want}")
        await asyncio.sleep(0.05)


async def taken_is_what_a_client_acknowledges(house):
    andy, bob = await house.users("andy", "bob")
    proxy = await house.proxy()
    b = Actor(house, f"{bob}/phone").resumable()
    await b.login(port=proxy.port)
    proxy.hold()  # the client's acknowledgements
    report = await post(house, andy, to(bob, "one"))
    equal(outcomes(report), ["delivered"], "report")
    await b.expect("the message", message("one"))
    equal(outcomes(await ask(house, f"/api/1.0/posts/{report['id']}", andy)), ["delivered"], "before the acknowledgement")
    waiting = asyncio.ensure_future(post(house, andy, to(bob, "two"), "-H", "Prefer: wait=60"))
    await b.expect("the message", message("two"))
    proxy.gate.set()
    equal(outcomes(await waiting), ["taken"], "the answer that was waited for")
    await becomes(house, andy, report["id"], "taken")


async def receipts_and_markers_come_from_clients_without_stream_management(house):
    andy, bob, eve = await house.users("andy", "bob", "eve")
    b = await house.login(bob, plugins=["xep_0184", "xep_0333"])
    b["xep_0184"].auto_ack = False
    quiet = await post(house, andy, to(bob, "quiet"))
    report = await post(house, andy, to(bob, "loud", RECEIPT, ' id="mine"'))
    m = await b.expect("the message", message("loud"))
    equal(m["id"], "mine", "id")
    await becomes(house, andy, report["id"], "delivered")
    e = await house.login(eve)
    e.say(andy, None, "chat", None, '<received xmlns="urn:xmpp:receipts" id="mine"/>')  # it is not hers
    await e.settle()
    await becomes(house, andy, report["id"], "delivered")
    b["xep_0184"].ack(m)
    await becomes(house, andy, report["id"], "received")
    b["xep_0333"].send_marker(m["from"], m["id"], "displayed")
    record = await becomes(house, andy, report["id"], "displayed")
    equal((record["account"], record["message_id"], record["total"], record["outcomes"]), (andy, "mine", 1, {"displayed": 1}), "record")
    await becomes(house, andy, quiet["id"], "delivered")
    error = b.Message(sto=andy, stype="error")
    error["id"] = quiet["id"]
    error["error"]["condition"] = "not-acceptable"
    error.send()
    record = await becomes(house, andy, quiet["id"], "bounced")
    equal(record["recipients"][0]["reason"], "not-acceptable", "reason")
    answer = await curl(house, f"/api/1.0/posts/{quiet['id']}", eve)
    check(answer.startswith("HTTP/1.1 404"), f"another is told {answer}")


async def what_is_stored_is_taken_after_a_crash_and_a_restart(house):
    andy, bob, eve = await house.users("andy", "bob", "eve")
    await house.command("user", "grant", andy, "multicast")
    for how in ["crash", "restart"]:
        many = f'<message to="multicast" type="chat"><addresses><address jid="{bob}"/><address jid="{eve}"/></addresses><body>yo</body></message>'
        report = await post(house, andy, many)
        equal(outcomes(report), ["stored", "stored"], "report")
        equal(await curl(house, "/message", andy, "--data-binary", to(bob, "given", "", f' id="id-{how}"')), OK, "one without a report")
        if how == "crash":  # what is answered with OK is written within a second
            await ask(house, "/api/1.0/posts", andy)
        await house.ask(how)
        await becomes(house, andy, report["id"], "stored", "stored")
        b = Actor(house, f"{bob}/phone").resumable()
        await b.login()
        await b.expect("what was stored", message("given"))
        await becomes(house, andy, report["id"], "taken", "stored")
        until = time.monotonic() + WITHIN
        while True:
            given = [p for p in (await ask(house, "/api/1.0/posts", andy))["posts"] if p["message_id"] == f"id-{how}"]
            if given and outcomes(given[0]) == ["taken"]:
                break
            check(time.monotonic() < until, f"the one with an id of its own became {given}")
            await asyncio.sleep(0.05)
        await b.leave()
        e = await house.login(eve)
        await e.expect("what was stored", message("yo"))
        await becomes(house, andy, report["id"], "taken", "delivered")
        await e.leave()


async def of_a_thousand_each_is_told(house):
    andy, eve, *others = await house.users("andy", "eve", *[f"bob{i}" for i in range(9)])
    await house.command("user", "grant", andy, "multicast")
    addresses = [f"{others[i % 9]}/{i}" for i in range(999)] + [eve]  # nobody has more from a stranger than waits for him
    addresses = "".join(f'<address jid="{a}"/>' for a in addresses)
    report = await post(house, andy, f'<message to="multicast" type="chat"><addresses>{addresses}</addresses><body>yo</body></message>')
    equal(report["accepted"], 1000, "accepted")
    e = Actor(house, f"{eve}/phone").resumable()
    await e.login()
    await e.expect("the message", message("yo"))
    until = time.monotonic() + WITHIN
    while (record := await ask(house, f"/api/1.0/posts/{report['id']}?first=990", andy))["outcomes"] != {"stored": 999, "taken": 1}:
        check(time.monotonic() < until, f"they became {record['outcomes']}")
        await asyncio.sleep(0.05)
    equal((record["total"], outcomes(record)), (1000, ["stored"] * 9 + ["taken"]), "the last ten")
    first = await ask(house, f"/api/1.0/posts/{report['id']}?limit=3", andy)
    equal((len(first["recipients"]), first["next"]), (3, 3), "the first three")


async def a_stream_tells_it_as_it_happens(house):
    andy, bob = await house.users("andy", "bob")

    async def follow(*more):
        p = await asyncio.create_subprocess_exec(
            "/usr/bin/curl", "-s", "-N", f"http://{house.http}/api/1.0/posts", "-u", f"{andy}:correct-horse", "-H", "Accept: text/event-stream",
            *more, stdout=asyncio.subprocess.PIPE)
        await read(p, "ready")
        return p

    async def read(p, event):
        """Reads up to an event of this kind; returns its id and data."""
        ident, kind = None, None
        while True:
            line = (await asyncio.wait_for(p.stdout.readline(), WITHIN)).decode().rstrip("\n")
            key, _, value = line.partition(": ")
            if key == "id":
                ident = value
            elif key == "event":
                kind = value
            elif key == "data" and kind == event:
                return ident, json.loads(value)
            elif line == "":
                ident, kind = None, None

    p = await follow()
    report = await post(house, andy, to(bob, "yo"))
    last, data = await read(p, "post")
    equal((data["id"], data["total"]), (report["id"], 1), "the new post")
    p.kill()
    await p.wait()
    b = Actor(house, f"{bob}/phone").resumable()
    await b.login()
    await b.expect("the message", message("yo"))
    await becomes(house, andy, report["id"], "taken")
    p = await asyncio.create_subprocess_exec(
        "/usr/bin/curl", "-s", "-N", f"http://{house.http}/api/1.0/posts", "-u", f"{andy}:correct-horse", "-H", "Accept: text/event-stream",
        "-H", f"Last-Event-ID: {last}", stdout=asyncio.subprocess.PIPE)
    _, data = await read(p, "outcome")
    equal((data["id"], data["outcome"]), (report["id"], "taken"), "what has happened since")
    p.kill()
    await p.wait()


play(taken_is_what_a_client_acknowledges, receipts_and_markers_come_from_clients_without_stream_management,
     what_is_stored_is_taken_after_a_crash_and_a_restart, of_a_thousand_each_is_told, a_stream_tells_it_as_it_happens)
