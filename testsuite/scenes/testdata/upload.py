"""HTTP File Upload (XEP-0363): slots, and files with slixmpp's plugin and with curl."""

import asyncio
import io
import socket
import time
from datetime import datetime, timezone

from slixmpp.exceptions import IqError
from component import BOT, connected, reason
from scene import WITHIN, address, check, denied, equal, play, timely

NS, PURPOSE = "urn:xmpp:http:upload:0", "urn:xmpp:http:upload:purpose:0"
ITEMS = "http://jabber.org/protocol/disco#items"


async def curl(*args):
    """Runs curl and returns the status and the body."""
    run = await asyncio.create_subprocess_exec("curl", "-sS", "-k", "-m", str(WITHIN), "-w", "\n%{http_code}", *args,
                                               stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await timely(run.communicate(), f"curl {args}", WITHIN + 5)
    equal(run.returncode, 0, f"curl {args}: {err.decode()}")
    body, _, code = out.decode(errors="replace").rpartition("\n")
    return int(code), body


def service(house):
    return f"upload.{house.domain}"


def request(name="a.txt", size=5, more="", inside=""):
    return f"<request xmlns='{NS}' filename='{name}' size='{size}' {more}>{inside}</request>"


async def slot(actor, *args, **how):
    """Asks for a slot: its URLs and the headers as arguments of curl."""
    el = (await actor.ask("get", request(*args, **how), service(actor.house))).xml.find(f"{{{NS}}}slot")
    put, get = el.find(f"{{{NS}}}put"), el.find(f"{{{NS}}}get")
    return put.get("url"), get.get("url"), [a for h in put for a in ("-H", f"{h.get('name')}: {h.text}")]


async def sent(actor, body, *args, **how):
    """Uploads a file with curl and returns where it is."""
    put, get, headers = await slot(actor, *args, size=len(body), **how)
    equal((await curl("-X", "PUT", "--data-binary", body, "-H", "Content-Type:", *headers, put))[0], 201, "the status of an upload")
    return get


async def files(house):
    return (await house.ask("files"))["code"]


async def the_service_is_there_when_it_works(house):
    romeo = await house.login(await house.users("romeo"))

    async def listed():
        items = (await romeo.ask("get", f"<query xmlns='{ITEMS}'/>", house.domain)).xml.iter(f"{{{ITEMS}}}item")
        return service(house) in [i.get("jid") for i in items]
    # Nobody comes to a loopback address by the name of localhost but where that leads.
    check(not await listed(), "a service is announced that clients cannot reach")
    await denied(romeo.ask("get", request(), service(house)), "remote-server-not-found", "a slot without a service")
    await house.ask("set", stdin="URL")
    check(await listed(), "the service is not announced")
    await house.ask("set", stdin="URL, enabled: false")
    check(not await listed(), "a module that is off is announced")
    equal((await curl(f"http://{house.http}/upload/a/b"))[0], 404, "the path of a module that is off")
    await house.ask("set", stdin="URL")


async def slixmpp_sends_a_file_and_juliet_gets_it(house):
    romeo, juliet = await house.users("romeo", "juliet")
    romeo = await house.login(romeo, plugins=["xep_0363"])
    juliet = await house.login(juliet)
    upload, disco = romeo["xep_0363"], romeo["xep_0030"]

    async def infos(domain=None, **how):  # slixmpp 1.8.3's own waits in a way that Python 3.11 forbids
        items = (await disco.get_items(house.domain, **how))["disco_items"]["items"]
        return [await disco.get_info(jid, **how) for jid, _, _ in items if jid != BOT]
    disco.get_info_from_domain = infos
    info = await upload.find_upload_service(timeout=WITHIN)
    equal(str(info["from"]), service(house), "the service that the plugin finds")
    body = bytes(range(256)) * 4096
    url = await upload.upload_file("très cool.jpg", input_file=io.BytesIO(body), content_type="image/jpeg", timeout=WITHIN)
    equal(upload.max_file_size, 104857600, "the largest file")
    check(url.endswith("/tr%C3%A8s%20cool.jpg"), f"the URL: {url}")
    romeo.say(juliet.boundjid.bare, url)
    got = await juliet.expect("the URL", lambda s: s["body"] == url)
    code, head = await curl("-I", got["body"])
    equal(code, 200, "the head of the file")
    for line in ["content-type: image/jpeg", "content-length: 1048576", "x-content-type-options: nosniff", "access-control-allow-origin: *",
                 "content-disposition: inline; filename*=utf-8''tr%c3%a8s%20cool.jpg", "content-security-policy: default-src 'none'; frame-ancestors 'none';"]:
        check(line in head.lower(), f"no {line} in {head}")
    # The listeners share the files.
    for base in [url, url.replace(f"http://{house.http}", f"https://{house.https}")]:
        run = await asyncio.create_subprocess_exec("curl", "-sSk", base, stdout=asyncio.subprocess.PIPE)
        out, _ = await timely(run.communicate(), "the file")
        check(out == body, f"{base}: {len(out)} bytes came")
    equal(await curl("-r", "65-70", url), (206, "ABCDEF"), "a part of the file")
    for name in ["http_posts_total", "other"]:
        equal((await curl(f"http://{house.http}/upload/{name}"))[0], 404, "what is no file")


async def a_slot_is_for_one_file(house):
    romeo = await house.login(await house.users("romeo"))
    put, get, headers = await slot(romeo, "a.html", 5, "content-type='text/html'")
    for what, code, args in [
            ("no header", 401, ["-H", "Content-Type:", "-d", "12345"]), ("another header", 401, ["-H", "Authorization: Bearer x", "-d", "12345"]),
            ("too much", 413, [*headers, "-d", "123456"]), ("too little", 400, [*headers, "-d", "1234"]),
            ("another type", 415, [*headers, "-H", "Content-Type: image/png", "-d", "12345"]),
            ("a length that is not said", 411, [*headers, "-H", "Transfer-Encoding: chunked", "-H", "Content-Type:", "-d", "12345"]),
            ("what was announced", 201, [*headers, "-H", "Content-Type: text/html", "-d", "<b>5<"]),
            ("it once more", 409, [*headers, "-H", "Content-Type: text/html", "-d", "<b>6<"])]:
        equal((await curl("-X", "PUT", *args, put))[0], code, what)
    code, out = await curl("-i", get)
    equal(code, 200, "the file")
    check("attachment" in out and "application/octet-stream" in out and out.endswith("<b>5<"), f"what could be run: {out}")
    code, out = await curl("-i", "-X", "OPTIONS", "-H", "Origin: https://chat.example", "-H", "Access-Control-Request-Method: PUT", put)
    equal(code, 204, "a preflight")
    check("Access-Control-Allow-Headers: Authorization, Content-Type" in out, out)
    for path in ["", "/", "/.", "/unfinished", "/..%2fcerts%2fx"]:
        equal((await curl("--path-as-is", f"http://{house.http}/upload{path}"))[0], 404, f"/upload{path}")


async def refusals_say_what_to_do(house):
    romeo, juliet = await house.users("romeo", "juliet")
    romeo, juliet = await house.login(romeo), await house.login(juliet)
    await house.ask("set", stdin="URL, max_size: 1000, quota: 1500")
    try:
        for what, payload, condition in [
                ("no name", f"<request xmlns='{NS}' size='5'/>", "bad-request"), ("no size", f"<request xmlns='{NS}' filename='a'/>", "bad-request"),
                ("size 0", request(size=0), "bad-request"), ("no type", request(more="content-type='x'"), "bad-request"),
                ("a purpose that is not served", request(inside=f"<permanent xmlns='{PURPOSE}'/>"), "feature-not-implemented"),
                ("a time that is past", request(inside=f"<ephemeral xmlns='{PURPOSE}' expire-before='2020-01-01T00:00:00Z'/>"), "not-acceptable")]:
            await denied(romeo.ask("get", payload, service(house)), condition, what)
        large = await denied(romeo.ask("get", request(size=1001), service(house)), "not-acceptable", "a file that is too large")
        equal(large.iq.xml.findtext(f".//{{{NS}}}file-too-large/{{{NS}}}max-file-size"), "1000", "the largest file")
        await sent(romeo, "x" * 1000)
        over = await denied(romeo.ask("get", request(size=501), service(house)), "resource-constraint", "more than the quota")
        equal(over.etype, "wait", "the type of that")
        stamp = over.iq.xml.find(f".//{{{NS}}}retry").get("stamp")
        wait = (datetime.fromisoformat(stamp) - datetime.now(timezone.utc)).total_seconds()
        check(86000 < wait <= 86401, f"to wait: {stamp}, {wait} s")
        await sent(romeo, "x" * 500)
        await sent(juliet, "x" * 1000)
    finally:
        await house.ask("set", stdin="URL")


async def programs_get_no_slot(house):
    bot = await connected(house)
    try:
        await bot.ask("get", request(), service(house))
        check(False, "a component has got a slot")
    except IqError as e:
        equal(reason(e.iq.xml), "forbidden", "a slot for a component")


async def a_story_ends(house):
    romeo = await house.login(await house.users("romeo"))
    end = int(time.time()) + 10
    stamp = datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    url = await sent(romeo, "a story", inside=f"<ephemeral xmlns='{PURPOSE}' expire-before='{stamp}'/>")
    code, body = await curl(url)
    check((code, body) == (200, "a story") or time.time() >= end, f"a story: {code}, {body}")
    while time.time() < end + 0.1:
        await asyncio.sleep(0.1)
    equal((await curl(url))[0], 404, "a story that has ended")


async def a_file_is_there_after_a_crash_or_gone(house):
    user = await house.users("romeo")
    romeo = await house.login(user)
    before = await files(house)
    urls = [await sent(romeo, f"file {i}") for i in range(5)]
    put, get, headers = await slot(romeo, "half.bin", 1000)
    path = put.split("/", 3)[3]
    half = socket.create_connection(address(house.http))
    half.sendall(f"PUT /{path} HTTP/1.1\r\nHost: x\r\n{headers[1]}\r\nContent-Length: 1000\r\n\r\nhalf of it".encode())
    until = time.monotonic() + WITHIN
    while await files(house) < before + 6:
        check(time.monotonic() < until, "half a file is not on disk")
        await asyncio.sleep(0.01)
    await house.ask("crash")
    half.close()
    for i, url in enumerate(urls):
        equal(await curl(url), (200, f"file {i}"), "a file after a crash")
    equal((await curl(get))[0], 404, "half a file")
    equal(await files(house), before + 5, "files on disk after the crash")
    # With its account a file goes too.
    await house.command("user", "del", user)
    for url in urls:
        equal((await curl(url))[0], 404, "a file of nobody")
    equal(await files(house), before, "files on disk without the account")


async def what_was_promised_survives_a_kill(house):
    user, before = await house.users("romeo"), await files(house)
    for turn in range(3):
        romeo = await house.login(user)
        slots = [await slot(romeo, f"{i}.bin", 300000) for i in range(30)]
        promised, refused = set(), set()

        async def upload(i):
            put, _, headers = slots[i]
            run = await asyncio.create_subprocess_exec(
                "curl", "-s", "-m", str(WITHIN), "--limit-rate", "3M", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", "-H", "Content-Type:",
                "-H", "Expect:", "--data-binary", "@-", *headers, put, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
            out, _ = await timely(run.communicate(f"{i:03}".encode() * 100000), "an upload", 2 * WITHIN)
            (promised if out == b"201" else refused).add(i)
        running = [asyncio.ensure_future(upload(i)) for i in range(10)]
        # The kill comes while the rest are on their way.
        await asyncio.gather(*running)
        running = [asyncio.ensure_future(upload(i)) for i in range(10, 30)]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        await house.ask("crash")
        await asyncio.gather(*running)
        check(promised >= set(range(10)), f"uploads failed without a reason: {refused}")
        for i, (_, get, _) in enumerate(slots):
            code, body = await curl(get)
            whole = (code, body) == (200, f"{i:03}" * 100000)
            check(whole or i not in promised and code == 404, f"turn {turn}: file {i}, promised: {i in promised}: {code}, {len(body)} bytes")
    # The command does it without a server, too.
    await house.ask("stop")
    await house.command("user", "del", user)
    equal(await files(house), before, "files on disk without the account")
    await house.ask("launch")


if __name__ == "__main__":
    play(the_service_is_there_when_it_works, slixmpp_sends_a_file_and_juliet_gets_it, a_slot_is_for_one_file, refusals_say_what_to_do,
         programs_get_no_slot, a_story_ends, a_file_is_there_after_a_crash_or_gone, what_was_promised_survives_a_kill)
