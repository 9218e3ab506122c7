"""Programs that answer for accounts: what is written to a bot is posted to a URL, and the answer is the reply."""

import asyncio
import json
import os
import re
import socket
import sys

from post import curl
from scene import HERE, WITHIN, Actor, check, child, condition, equal, message, play, presence, timely

MUC = "http://jabber.org/protocol/muc"
REPLY = "{urn:xmpp:reply:0}reply"
DOCUMENT = os.path.join(HERE, "..", "..", "..", "docs", "hooks.md")


class Program:
    """A program behind a URL that answers what the scene has told it to."""

    async def open(self):
        self.got, self.answers, self.came = [], [], asyncio.Event()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%d/in" % self.server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
                event = json.loads(await reader.readexactly(int(headers["content-length"])))
                event["key"] = headers["idempotency-key"]
                self.got.append(event)
                self.came.set()
                status, kind, body = self.answers.pop(0) if self.answers else (204, "", "")
                if status is None:  # it falls over
                    writer.transport.abort()
                    return
                body = body.encode()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                             if status != 204 else b"HTTP/1.1 204 X\r\n\r\n")
                writer.write(body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()

    def says(self, *texts):
        self.answers += [(200, "text/plain", t) for t in texts]

    async def next(self, what):
        """Takes the oldest request, as soon as there is one."""
        while not self.got:
            self.came.clear()
            await timely(self.came.wait(), what)
        return self.got.pop(0)


async def online(house, bot):
    """Comes back when the bot has its session."""
    while True:
        line = next(i for i in json.loads(await house.command("bot", "list", "--json")) if i["jid"] == bot)
        if line["state"] == "online" and all("away" not in r for r in line["rooms"]):
            return line
        await asyncio.sleep(0.05)


async def an_answer_is_the_reply(house):
    romeo, weather = await house.users("romeo", "weather")
    program = await Program().open()
    await house.command("bot", "add", weather, "--url", program.url, "--trigger", "!w ", "--composing")
    await online(house, weather)
    r = await house.login(romeo)
    program.answers = [(200, "application/json", json.dumps({"text": "12 °C", "messages": ["and rain"]}))]
    mid = r.say(weather, "!w berlin mitte", "chat", None, "<thread>t1</thread>")
    got = await program.next("the message")
    equal({k: got[k] for k in ["bot", "from", "type", "room", "nick", "id", "text", "command", "args"]},
          {"bot": weather, "from": f"{romeo}/desk", "type": "chat", "room": None, "nick": None, "id": mid,
           "text": "berlin mitte", "command": "!w", "args": ["berlin", "mitte"]}, "what is posted")
    check(got["stanza_id"] and got["stanza_id"] in got["stanza"], f"no stanza-id in {got}")
    await r.expect("that the bot is at work", lambda s: child(s, "{http://jabber.org/protocol/chatstates}composing") is not None)
    for text in ["12 °C", "and rain"]:
        reply = await r.expect(text, message(text, weather, "chat"))
        equal((reply["thread"], child(reply, REPLY).get("id")), ("t1", mid), "thread and what it replies to")
    program.answers = [(410, "", "")]
    mid = r.say(weather, "no more")
    refused = await r.expect("an error", message(None, weather, "error"))
    equal((refused["id"], condition(refused)), (mid, "recipient-unavailable"), "what the program refuses")
    log = json.loads(await house.command("bot", "log", weather, "--json"))
    equal([(d["status"], d["said"]) for d in log], [(410, 0), (200, 2)], "the log")
    program.says("a test")
    tested = await house.command("bot", "test", weather, "x")
    check(tested.endswith("\na test\n"), f"a test: {tested}")
    r.none("the answer of a test", message("a test"))
    await house.command("user", "del", weather)
    check(weather not in await house.command("bot", "list"), "a deleted account is a bot")
    r.say(weather, "anybody?")
    refused = await r.expect("an error", message(None, weather, "error"))
    equal(condition(refused), "service-unavailable", "who writes to it")
    equal([g["text"] for g in program.got], ["no more", "x"], "what else the program got")


async def an_answer_may_come_later(house):
    romeo, weather = await house.users("romeo", "weather")
    program = await Program().open()
    await house.command("bot", "add", weather, "--url", program.url)
    await online(house, weather)
    r = await house.login(romeo)
    program.answers = [(202, "", "")]
    mid = r.say(weather, "think of it")
    url = (await program.next("the message"))["reply_url"]
    check(url.startswith("https://im.example.org/hooks/jdh"), f"the address is {url}")
    path = url.removeprefix("https://im.example.org")

    async def late(path, text):
        answer = await curl(house, path, None, "-H", "Content-Type: text/plain; charset=utf-8", "--data-binary", text)
        return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]

    for time in range(6):  # at each of several nodes
        if time == 3:
            await house.ask("crash")
            r = await house.login(romeo, "phone")
        equal(await late(path, f"at last {time}"), (200, '{"status":"ok"}\n'), "a late answer")
        reply = await r.expect("the late answer", message(f"at last {time}", weather))
        equal(child(reply, REPLY).get("id"), mid, "what it replies to")
    check((await late(path + "x", "x"))[0] in (401, 404), "another address")
    await house.command("bot", "remove", weather)
    check((await late(path, "x"))[0] in (401, 404), "after the bot was removed")


async def people_see_that_a_bot_is_there(house):
    romeo, weather = await house.users("romeo", "weather")
    program = await Program().open()
    r = await house.login(romeo, plugins=["xep_0030", "xep_0199"])
    await r.contacts()
    await house.command("bot", "add", weather, "--url", program.url, "--nick", "Weather")
    await online(house, weather)
    r.show_presence(weather, "subscribe")
    await r.expect("approval", presence(weather, "subscribed"))
    full = (await r.expect("presence", presence(weather)))["from"]
    info = (await r["xep_0030"].get_info(full, timeout=WITHIN))["disco_info"]
    equal({i[:2] + i[3:] for i in info["identities"]}, {("client", "bot", "Weather")}, "what it is")
    await r["xep_0199"].send_ping(full, timeout=WITHIN)
    await house.command("bot", "remove", weather)
    await r.expect("that it has gone", presence(str(full), "unavailable"))
    r.say(weather, "anybody?")
    await r.settle()
    w = await house.login(weather)
    await w.expect("what was stored", message("anybody?", romeo))
    equal(program.got, [], "what the program gets of it")


async def in_a_room_a_bot_hears_its_name(house):
    romeo, weather = await house.users("romeo", "weather")
    program = await Program().open()
    room = f"{weather.split('@')[0]}@rooms.{house.domain}"
    r = await house.login(romeo)
    r.show_presence(f"{room}/Romeo", None, None, None, f"<x xmlns='{MUC}'/>")
    await r.ask("set", f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>"
                       f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>"
                       "<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query>", room)
    await house.command("bot", "add", weather, "--url", program.url, "--room", room, "--nick", "Weather", "--trigger", "!w ")
    await r.expect("the bot", presence(f"{room}/Weather"))
    r.say(room, "not for the bot", "groupchat")
    program.says("12 °C")
    r.say(room, "!w berlin", "groupchat")
    got = await program.next("a command")
    equal((got["from"], got["room"], got["nick"], got["text"], got["type"]), (f"{room}/Romeo", room, "Romeo", "berlin", "groupchat"), "what is posted")
    reply = await r.expect("the answer", message("12 °C", f"{room}/Weather", "groupchat"))
    equal(child(reply, REPLY).get("id"), got["stanza_id"], "what it replies to")
    program.answers = [(200, "application/json", json.dumps({"text": "psst", "private": True}))]
    r.say(room, "Weather: and privately?", "groupchat")
    named = await program.next("its name")
    equal(named["text"], "and privately?", "what is left of the text")
    await r.expect("a private answer", message("psst", f"{room}/Weather", "chat"))
    program.says("heard")
    r.say(f"{room}/Weather", "between us", "chat", None, f"<x xmlns='{MUC}#user'/>")
    private = await program.next("a private message")
    equal(private["nick"], "Romeo", "who wrote")
    await r.expect("the answer to a private message", message("heard", f"{room}/Weather", "chat"))
    # After a crash it comes by itself.
    await house.ask("crash")
    r = await house.login(romeo)
    r.show_presence(f"{room}/Romeo", None, None, None, f"<x xmlns='{MUC}'><history maxstanzas='0'/></x>")
    await r.expect("the bot", presence(f"{room}/Weather"))
    # Who bans it is rid of it, and the administrator sees why.
    await r.ask("set", f"<query xmlns='{MUC}#admin'><item affiliation='outcast' jid='{weather}'/></query>", room)
    await r.expect("that it has left", presence(f"{room}/Weather", "unavailable"))
    while True:
        line = next(i for i in json.loads(await house.command("bot", "list", "--json")) if i["jid"] == weather)
        if line["rooms"] == [{"room": room, "away": "banned"}]:
            break
        await asyncio.sleep(0.05)
    # What it had answered just before the crash may come again, under the same key.
    equal({g["key"] for g in program.got} - {g["key"] for g in [got, named, private]}, set(), "what else the program got")


async def a_crash_loses_nothing_and_repeats_with_the_same_key(house):
    romeo, juliet, weather = await house.users("romeo", "juliet", "weather")
    program = await Program().open()
    await house.command("bot", "add", weather, "--url", program.url)
    await online(house, weather)
    program.answers = [(500, "", "")] * 1000
    senders = []
    for user in [romeo, juliet]:
        a = Actor(house, f"{user}/desk").resumable()
        await a.login()
        senders.append(a)
        for i in range(5):
            a.say(weather, f"{user} {i}")
        await a.acknowledged()
    keys = {}
    for _ in range(2):
        got = await program.next("a first try")
        keys[got["text"]] = got["key"]
    await house.ask("crash")
    program.got.clear()
    program.answers.clear()
    program.says(*["thanks"] * 10)
    texts = {romeo: [], juliet: []}
    for _ in range(10):
        got = await program.next("a message after the crash")
        check(keys.setdefault(got["text"], got["key"]) == got["key"], f"another key: {got}")
        user, _, number = got["text"].partition(" ")
        texts[user].append(int(number))
    equal(texts, {romeo: list(range(5)), juliet: list(range(5))}, "the order of each sender")
    equal(len(set(keys.values())), 10, "keys")
    for user in [romeo, juliet]:
        a = await house.login(user, "phone")
        for _ in range(5):
            await a.expect("an answer", message("thanks", weather))
    program.answers.clear()


async def bots_do_not_answer_each_other(house):
    romeo, weather, clock = await house.users("romeo", "weather", "clock")
    program = await Program().open()
    for bot in [weather, clock]:
        await house.command("bot", "add", bot, "--url", program.url)
        await online(house, bot)
    c = await house.login(clock, "own")
    mid = c.say(weather, "what is the weather?")
    refused = await c.expect("an error", message(None, weather, "error"))
    equal(refused["id"], mid, "a bot that writes to another")
    check(child(refused, "{jabber:client}error/{urn:ietf:params:xml:ns:xmpp-stanzas}policy-violation") is not None, f"why: {refused}")
    r = await house.login(romeo)
    r.say(weather, "encrypted", "chat", None, "<encrypted xmlns='eu.siacs.conversations.axolotl'/>")
    refused = await r.expect("an error", message(None, weather, "error"))
    equal(condition(refused), "not-acceptable", "what is encrypted")
    equal(program.got, [], "what is posted of it")


async def the_bot_of_the_document_works(house):
    romeo, echo = await house.users("romeo", "echo")
    with open(DOCUMENT, encoding="utf-8") as f:
        code = re.search(r"```python bot\n(.*?)```", f.read(), re.S).group(1)
    path, secret = os.path.join(house.dir, "echo.py"), os.path.join(house.dir, "echo.secret")
    for name, text in [(path, code), (secret, "a secret\n")]:
        with open(name, "w", encoding="utf-8") as f:
            f.write(text)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    process = await asyncio.create_subprocess_exec(sys.executable, path, str(port), secret, stderr=asyncio.subprocess.DEVNULL)
    try:
        await house.command("bot", "add", echo, "--url", f"http://127.0.0.1:{port}/in", "--secret-file", secret)
        r = await house.login(romeo)
        r.say(echo, "grüß dich")  # it may still be starting: then it is tried again
        await r.expect("the echo", message("You said: grüß dich", echo))
        tested = await house.command("bot", "test", echo, "hello")
        check(tested.endswith("\nYou said: hello\n"), f"a test: {tested}")
    finally:
        process.kill()


play(an_answer_is_the_reply, an_answer_may_come_later, people_see_that_a_bot_is_there, in_a_room_a_bot_hears_its_name,
     a_crash_loses_nothing_and_repeats_with_the_same_key, bots_do_not_answer_each_other, the_bot_of_the_document_works)
