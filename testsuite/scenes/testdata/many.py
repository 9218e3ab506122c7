"""One post to as many accounts as one may go to: each has its copy, and nobody sees another's address."""

import asyncio
import json
import os
import time

from scene import PASSWORD, check, child, equal, is_message, message, play

ONLINE, LATER = 20, 20
SID = "{urn:xmpp:sid:0}stanza-id"


async def post(house, user, body, name):
    path = os.path.join(house.dir, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(body)
    p = await asyncio.create_subprocess_exec(
        "/usr/bin/curl", "-s", "-w", "%{http_code}", "--max-time", "100", f"http://{house.http}/message", "-u", f"{user}:{PASSWORD}",
        "-H", "Accept: application/json", "--data-binary", "@" + path, stdout=asyncio.subprocess.PIPE)
    out = (await p.communicate())[0].decode()
    return out[-3:], json.loads(out[:-3])


async def thousands_get_one_post(house):
    size = house.recipients
    andy = await house.users("andy")
    await house.command("user", "grant", andy, "multicast")
    jids = [f"r{i}@{house.domain}" for i in range(size)]
    print(json.dumps({"scene": "accounts are made", "ms": await timed(house.ask("users", args=jids))}), flush=True)
    step = size // ONLINE
    here = [await house.login(jids[i]) for i in range(0, size, step)]
    addresses = "".join(f'<address jid="{j}" type="cc"/>' for j in jids)
    body = f'<message to="multicast"><addresses xmlns="http://jabber.org/protocol/address">{addresses}</addresses><body>to all</body></message>'
    started = time.monotonic()
    status, report = await post(house, andy, body, "post.xml")
    print(json.dumps({"scene": "the post", "ms": round((time.monotonic() - started) * 1000)}), flush=True)
    equal((status, report["accepted"], len(report["recipients"])), ("200", size, size), "answer")
    outcomes = {r["jid"]: r["outcome"] for r in report["recipients"]}
    equal(set(outcomes), set(jids), "recipients in the report")
    for i in range(0, size, step):
        equal(outcomes.pop(jids[i]), "delivered", "who is here")
    equal(set(outcomes.values()), {"stored"}, "who is away")
    for a in here:
        whole(await a.expect("the message", message("to all")), andy, a)
    later = [await house.login(jids[i]) for i in range(1, size, size // LATER)]
    for a in later:
        whole(await a.expect("the stored message", message("to all")), andy, a)
    sender = await house.login(andy)
    for a in here + later:
        await a.caught_up(sender)
        a.none("a second one", is_message)

    status, report = await post(house, andy, body.replace("</addresses>", f'<address jid="one-more@{house.domain}"/></addresses>'),
                                "more.xml")
    equal(status, "400", "one more than there may be")
    await here[0].caught_up(sender)
    here[0].none("a message of a refused post", is_message)


def whole(m, sender, a):
    equal((str(m["from"]), str(m["to"])), (sender, a.boundjid.bare), "head")
    check(child(m, "{http://jabber.org/protocol/address}addresses") is None, f"addresses in {m}")
    others = {s.get("by") for s in m.xml.findall(SID)} - {a.boundjid.bare}
    check(not others and str(m).count("@") <= 4, f"somebody else's address in {m}")


async def timed(awaitable):
    started = time.monotonic()
    await awaitable
    return round((time.monotonic() - started) * 1000)


if __name__ == "__main__":
    play(thousands_get_one_post)
