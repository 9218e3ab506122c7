"""Phones whose connection dies without a word, as push (XEP-0357) and resumption (XEP-0198) see them. The server waits a
few seconds for an acknowledgement here, where it waits a minute or two elsewhere, and tells all it may."""

from push import enable, push_service, told
from scene import Actor, check, child, equal, message, play


async def a_phone_that_is_silent_is_woken(house):
    bot = await push_service(house)
    romeo, juliet, nurse = await house.users("romeo", "juliet", "nurse")
    r, proxy = await house.login(romeo), await house.proxy()
    phones = [Actor(house, f"{u}/phone", port=proxy.port).resumable() for u in (juliet, nurse)]
    phones[1]["xep_0198"].allow_resume = False
    for p in phones:
        await p.login()
        await enable(p, "n")
        await p.acknowledged()
    awake = await Actor(house, f"{juliet}/desk").resumable().login()
    dozing = await Actor(house, f"{nurse}/desk").resumable().login(presence=None)
    proxy.cut(silently=True)
    for p in phones:
        await p.ended()
        r.say(p.boundjid.full, "one")
    await r.settle()
    for p in phones:
        equal(await told(bot, p.boundjid.bare, "n"),
              ({"message-count": "1", "last-message-sender": str(r.boundjid), "last-message-body": "one"}, None), "the notification")
    for p in phones:
        r.say(p.boundjid.full, "two")
    for p in phones:  # it counts what it has told
        said = (await told(bot, p.boundjid.bare, "n"))[0]
        equal((said["message-count"], said["last-message-body"]), ("2", "two"), "the notification")
    equal(await phones[0].back(), "session_resumed", "the phone resumes")
    phones[1] = await Actor(house, f"{nurse}/phone").resumable().login()  # the one that cannot resume
    for p in phones:
        await p.caught_up(r)
        equal([s["body"] for s in p.inbox if message()(s)], ["one", "two"], f"what came to {p.boundjid}")
    for s in phones[1].inbox:  # XEP-0198 §4: as what is for one who is away
        check(not message()(s) or child(s, "{urn:xmpp:delay}delay") is not None, f"when it was said: {s}")
    for a in [awake, dozing]:
        await a.settle()
        check(not a.ends, f"{a.boundjid} has not been silent, but {a.ends}")


if __name__ == "__main__":
    play(a_phone_that_is_silent_is_woken)
