"""curl posts, a client receives: the examples of the contract of HTTP posting, each with its answer byte
for byte."""

import asyncio
import re

from scene import PASSWORD, WITHIN, check, equal, message, play

OK = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\n\r\nOK\n"


async def curl(house, path, user, *more, password=PASSWORD, base=None):
    """Runs curl and returns the whole answer but for what differs each time: the date, and the
    id of a report (its length does not)."""
    p = await asyncio.create_subprocess_exec(
        "/usr/bin/curl", "-s", "-i", "--max-time", "60", (base or f"http://{house.http}") + path,
        *(["-u", f"{user}:{password}"] if user else []), *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await p.communicate()
    equal((p.returncode, err), (0, b""), f"curl {path}")
    text = out.decode()
    check(re.search(r"^Date: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n", text, re.M), f"no date in {text}")
    text = re.sub(r"^Date: .*\r\n", "", text, flags=re.M)
    return re.sub(r'"id":"m-[0-9a-f]{16}"', '"id":"m-ID"', text)


def plain(status, line, *headers):
    """An error: one line of text."""
    body = line + "\n"
    return "".join([f"HTTP/1.1 {status}\r\n", *[h + "\r\n" for h in sorted([
        "Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff", *headers])],
        f"Content-Length: {len(body.encode())}\r\n\r\n", body])


def with_json(status, body, kind="application/json"):
    # The body's length on the wire is that with an id of eighteen bytes.
    length = len(body.encode()) + (len("m-") + 16 - len("m-ID")) * body.count('"m-ID"')
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"


def payload(m):
    """The children of a received message but for what the server adds."""
    return [(c.tag.split("}")[-1], c.text) for c in m.xml if c.tag != "{urn:xmpp:sid:0}stanza-id"]


async def one_message(house):
    andy, bob = await house.users("andy", "bob")
    b = await house.login(bob)
    text = f'<message to="{bob}"><body>yo</body></message>'
    equal(await curl(house, "/message", andy, "--data-binary", text), OK, "answer")
    m = await b.expect("the message", message("yo"))
    equal((str(m["from"]), str(m["to"]), m.xml.get("type"), payload(m)), (andy, bob, None, [("body", "yo")]), "message")
    for body in [f'\ufeff<?xml version="1.0" encoding="UTF-8"?>\n {text}\n', text.replace("<message", "<message xmlns='jabber:client'")]:
        equal(await curl(house, "/message", andy, "--data-binary", body), OK, body)
        await b.expect("the message", message("yo"))
    equal(await curl(house, "/message", andy.split("@")[0], "--data-binary", text), OK, "the local part alone")
    equal(await curl(house, "/message", andy, "--data-binary", text, "-k", "--http1.1", base=f"https://{house.https}"), OK, "over TLS")
    own = f'<message to="{bob}" from="{andy}/cron" id="42" type="chat" xml:lang="de"><body>jo</body><x xmlns="urn:x:y">&lt;</x></message>'
    equal(await curl(house, "/message", andy, "--data-binary", own), OK, "with a resource of its own")
    m = await b.expect("the message", message("jo"))
    equal((str(m["from"]), m["id"], m["type"], m["lang"]), (f"{andy}/cron", "42", "chat", "de"), "head")
    equal(payload(m), [("body", "jo"), ("x", "<")], "payload")
    # Stored for who is away, and told so to who asks.
    await b.leave()
    equal(await curl(house, "/message", andy, "-H", "Accept: application/json", "--data-binary", text),
          with_json("200 OK", '{"id":"m-ID","accepted":1,"recipients":[{"jid":"%s","outcome":"stored"}]}\n' % bob), "report")
    back = await house.login(bob)
    await back.expect("what was stored", message("yo"))


async def what_is_refused_says_why(house):
    andy, bob = await house.users("andy", "bob")
    b = await house.login(bob)
    to_bob = f'<message to="{bob}"><body>no</body></message>'
    many = f'<message to="multicast"><addresses><address jid="{bob}"/></addresses><body>no</body></message>'
    # Of who is refused unread, the connection is closed with the rest of the body.
    unauthorized = plain("401 Unauthorized", "Unauthorized. Use your Jabber ID (user@domain.com) and password.", "Connection: close",
                         f'WWW-Authenticate: Basic realm="{house.domain}", charset="UTF-8"')
    for what, user, password, more, want in [
            ("GET", None, None, [], plain("405 Method Not Allowed", "Method not allowed. Use POST.", "Allow: POST")),
            ("nobody", None, None, ["--data-binary", to_bob], unauthorized),
            ("a wrong password", andy, "wrong", ["--data-binary", to_bob], unauthorized),
            ("an unknown user", f"nobody@{house.domain}", PASSWORD, ["--data-binary", to_bob], unauthorized),
            ("another root", andy, PASSWORD, ["--data-binary", "<iq/>"],
             plain("400 Bad Request", "Bad request: the payload must be an XMPP message element.")),
            ("a forged sender", andy, PASSWORD, ["--data-binary", to_bob.replace("<message", "<message from='ticket-123@trac'")],
             plain("403 Forbidden", "Forbidden: the authenticated user does not have permission to forge senders.")),
            ("multicast", andy, PASSWORD, ["--data-binary", many],
             plain("403 Forbidden", "Forbidden: the authenticated user does not have permission to multicast.")),
            ]:
        equal(await curl(house, "/message", user, *more, password=password), want, what)
    for what, body, words in [
            ("ill-formed XML", "<message to='x'>\n<body>", ["line 2", "column"]),
            ("two elements", to_bob + to_bob, ["line 1", "column"]),
            ("a DTD", "<!DOCTYPE x><message to='x'/>", ["line 1", "column 1"]),
            ("a comment", "<message to='x'><!-- --></message>", ["line 1", "column"]),
            ("nothing", "", ["line 1"]),
            ("an address", "<message to='a@b@c'/>", ["a@b@c"]),
            ("no address", "<message><body>x</body></message>", ["to"])]:
        answer = await curl(house, "/message", andy, "--data-binary", body)
        check(answer.startswith("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"), f"{what}: {answer}")
        line = answer.split("\r\n\r\n", 1)[1]
        check(line.startswith("Bad request: ") and line.count("\n") == 1 and all(w in line for w in words), f"{what}: {line!r}")
    marker = f'<message to="{bob}"><body>at last</body></message>'
    equal(await curl(house, "/message", andy, "--data-binary", marker), OK, "marker")
    await b.expect("the marker", message("at last"))
    b.none("what was refused", message())


async def multicast_is_bcc(house):
    andy, bob, eve = await house.users("andy", "bob", "eve")
    await house.command("user", "grant", andy, "multicast")
    b, e = await house.login(bob), await house.login(eve)
    for body in [f'<message to="multicast"><addresses><address jid="{bob}"/><address jid="{eve}"/></addresses><body>yo</body></message>',
                 f'<message to="multicast.{house.domain}"><addresses xmlns="http://jabber.org/protocol/address">'
                 f'<address type="to" jid="{bob}"/><address type="cc" jid="{eve}"/><address type="bcc" jid="{eve.upper()}"/>'
                 '</addresses><body>yo</body></message>']:
        equal(await curl(house, "/message", andy, "--data-binary", body), OK, "answer")
        for a, jid, other in [(b, bob, eve), (e, eve, bob)]:
            m = await a.expect("the message", message("yo"))
            equal((str(m["from"]), str(m["to"]), payload(m)), (andy, jid, [("body", "yo")]), "message")
            check(other not in str(m), f"somebody else's address in {m}")
    no = "Bad request: multicast requires addresses; see XEP-0033. This module treats all addresses as BCC."
    equal(await curl(house, "/message", andy, "--data-binary", '<message to="multicast"><body>yo</body></message>'),
          plain("400 Bad Request", no), "without addresses")
    answer = await curl(house, "/message", andy, "--data-binary", f'<message to="multicast"><addresses><address jid="{bob}"/>'
                        '<address jid="a@b@c"/></addresses><body>never</body></message>')
    check(answer.startswith("HTTP/1.1 400 ") and "a@b@c" in answer, f"a bad address: {answer}")
    for a in [b, e]:
        await a.caught_up(e)
        a.none("a message a second time, or of a refused list", message())


async def the_gateway(house):
    andy, bob = await house.users("andy", "bob")
    b = await house.login(bob)
    path = f"/api/1.0/xmppdomains/{house.domain}/gateway/messages"
    kind = ["-H", "Content-Type: application/json"]
    said = '{"to": "%s", "message_attributes": {"id": "1234"}, "body": "Hello", "extra_elements": "<subject>Hi</subject>"}' % bob
    answer = await curl(house, path, andy, *kind, "--data-binary", said)
    check(answer.startswith("HTTP/1.1 403 Forbidden\r\n") and "\r\nContent-Type: application/json\r\n" in answer
          and '{"status":"error","message":"Forbidden: ' in answer, f"without permission: {answer}")
    await house.command("user", "grant", andy, "xmppgateway")
    good = with_json("200 OK", '{"status":"success","message":"The message was accepted.","id":"m-ID","accepted":1,'
                     '"recipients":[{"jid":"%s","outcome":"delivered"}]}\n' % bob)
    equal(await curl(house, path, andy, *kind, "--data-binary", said), good, "JSON")
    m = await b.expect("the message", message("Hello"))
    equal((str(m["from"]), str(m["to"]), m["id"], m.xml.get("type")), (andy, bob, "1234", "chat"), "head")
    equal(payload(m), [("body", "Hello"), ("subject", "Hi")], "payload")
    xml = f"<message to='{bob}' from='prince@{house.domain}' type='headline'><body>XML</body></message>"
    equal(await curl(house, path, andy, "-H", "Content-Type: application/xml", "--data-binary", xml), good, "XML")
    equal(str((await b.expect("the message", message("XML", mtype="headline")))["from"]), andy, "the sender is the account")
    answer = await curl(house, path, andy, *kind, "--data-binary", '{"to": "%s", "bdoy": "x"}' % bob)
    check(answer.startswith("HTTP/1.1 400 ") and '"status":"error"' in answer and "bdoy" in answer, f"an unknown field: {answer}")
    answer = await curl(house, path, andy, "--data-binary", xml)  # curl's own type of content
    check(answer.startswith("HTTP/1.1 415 "), f"a form: {answer}")
    answer = await curl(house, path.replace(house.domain, "other.example"), andy, *kind, "--data-binary", said)
    check(answer.startswith("HTTP/1.1 404 "), f"a foreign domain: {answer}")

    robot = f"robot{house.count}"
    await house.command("api-account", "add", robot, "--domain", house.domain, "--password-stdin", stdin="tin can\n")
    equal(await curl(house, path + "/alerts", robot, *kind, "--data-binary", said, password="tin can"), good, "an API account")
    equal(str((await b.expect("the message", message("Hello")))["from"]), f"alerts@{house.domain}", "any name of the domain")
    await house.command("api-account", "del", robot)
    answer = await curl(house, path + "/alerts", robot, *kind, "--data-binary", said, password="tin can")
    check(answer.startswith("HTTP/1.1 401 "), f"a deleted API account: {answer}")


async def forged_senders(house):
    andy, bob, eve = await house.users("andy", "bob", "eve")
    await house.command("user", "grant", andy, "forge_sender")
    b = await house.login(bob, plugins=["xep_0191"])
    for sender in ["ticket-123@trac", f"nobody@{house.domain}", eve]:
        body = f"<message from='{sender}' to='{bob}'><body>by {sender}</body></message>"
        equal(await curl(house, "/message", andy, "--data-binary", body), OK, f"as {sender}")
        equal(str((await b.expect("the message", message(f"by {sender}")))["from"]), sender, "from")
    # Nothing of a foreign sender leaves for a foreign server, and none of it is sent.
    await house.command("user", "grant", andy, "multicast")
    body = f"""<message from='ticket-123@trac' to='multicast'><addresses><address jid='{bob}'/>
        <address jid='x@example.net'/></addresses><body>abroad</body></message>"""
    answer = await curl(house, "/message", andy, "--data-binary", body)
    check(answer.startswith("HTTP/1.1 403 ") and "x@example.net" in answer, f"to a remote recipient: {answer}")
    # Who blocks the account behind it has blocked it whatever it calls itself.
    await b["xep_0191"].block([andy], timeout=WITHIN)
    body = f"<message from='ticket-123@trac' to='{bob}'><body>around the block</body></message>"
    answer = await curl(house, "/message", andy, "--data-binary", body)
    check(not answer.startswith("HTTP/1.1 5"), answer)
    e = await house.login(eve)
    await b.caught_up(e)
    b.none("a message that was refused", message())
    # An answer to nobody's address is an error, not silence.
    b.say(f"nobody@{house.domain}", "re: your ticket")
    await b.expect("an error", message(mtype="error"))


async def the_same_key_sends_once(house):
    andy, bob = await house.users("andy", "bob")
    b = await house.login(bob)
    body = f"<message to='{bob}'><body>once</body></message>"
    key = ["-H", "Idempotency-Key: 5f1c"]
    equal(await curl(house, "/message", andy, *key, "--data-binary", body), OK, "first")
    for how in ["", "restart"]:
        if how:
            await house.ask(how)
            b = await house.login(bob)
        else:
            await b.expect("the message", message("once"))
        again = await curl(house, "/message", andy, *key, "--data-binary", body)
        equal(again, OK.replace("Content-Length: 3\r\n", "Idempotency-Replayed: true\r\nContent-Length: 3\r\n"), f"again {how}")
        a = await house.login(andy)
        await b.caught_up(a)
        b.none("it a second time", message())
    answer = await curl(house, "/message", andy, *key, "--data-binary", body.replace("once", "other"))
    check(answer.startswith("HTTP/1.1 422 "), f"another request under the same key: {answer}")


if __name__ == "__main__":
    play(one_message, what_is_refused_says_why, multicast_is_bcc, the_gateway, forged_senders, the_same_key_sends_once)
