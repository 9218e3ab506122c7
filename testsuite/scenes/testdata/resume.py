"""Stream management (XEP-0198) over connections that are cut, and client state (XEP-0352)."""

import asyncio

from scene import Actor, befriend, check, equal, message, play, presence


async def pair(house, **how):
    """Two contacts with stream management; the first has a proxy before it."""
    romeo, juliet = await house.users("romeo", "juliet")
    proxy = await house.proxy()
    r = Actor(house, f"{romeo}/desk", port=proxy.port, **how).resumable()
    await r.login()
    j = Actor(house, f"{juliet}/desk").resumable()
    await j.login()
    await befriend(r, j)
    return r, j, proxy


def bodies(actor, prefix):
    return [s["body"] for s in actor.inbox if message()(s) and s["body"].startswith(prefix)]


def numbered(prefix, n):
    return [f"{prefix}{i}" for i in range(n)]


async def nothing_is_lost_or_doubled_by_cuts(house):
    r, j, proxy = await pair(house)
    up = down = 0
    for silently in [False, True, False]:  # the queue must not double with every resumption
        for _ in range(20):
            r.say(j.boundjid.full, f"up{up}")
            up += 1
        for _ in range(50):
            j.say(r.boundjid.bare, f"down{down}")
            down += 1
        await r.waiting_queue.join()
        proxy.hold()  # these never arrive, nor do acknowledgements
        for _ in range(20):
            r.say(j.boundjid.full, f"up{up}")
            up += 1
        await r.waiting_queue.join()
        proxy.cut(silently)
        await r.ended()
        for i in range(200):
            j.say([r.boundjid.bare, r.boundjid.full][i % 2], f"down{down}")
            down += 1
        await j.settle()
        equal(await r.back(), "session_resumed", "reconnection")
        r.say(j.boundjid.full, f"up{up}")
        up += 1
        await r.caught_up(j)
        await r.acknowledged()
        await j.caught_up(r)
    equal(bodies(r, "down"), numbered("down", down), "what came down")
    equal(bodies(j, "up"), numbered("up", up), "what went up")
    j.none("a sign that he was away", presence(r.boundjid.full))
    j.none("an error", message(mtype="error"))
    await r.leave()
    again = await house.login(r.boundjid.bare)
    await again.caught_up(j)
    again.none("a message that had come", message())


async def presence_and_requests_wait_too(house):
    r, j, proxy = await pair(house, plugins=["xep_0199"])
    proxy.cut(True)
    await r.ended()
    j.show_presence(None, None, None, "still waiting")
    answer = asyncio.ensure_future(j.ask("get", "<ping xmlns='urn:xmpp:ping'/>", r.boundjid.full))
    await j.settle()
    equal(await r.back(), "session_resumed", "reconnection")
    p = await r.expect("presence", presence(j.boundjid.full))
    equal(p["status"], "still waiting", "status")
    await answer


async def what_was_acknowledged_does_not_come_again(house):
    r, j, proxy = await pair(house)
    for i in range(10):
        j.say(r.boundjid.bare, f"m{i}")
    await r.caught_up(j)
    r["xep_0198"].send_ack()
    await r.settle()
    proxy.hold()
    for i in range(10, 15):
        j.say(r.boundjid.bare, f"m{i}")
    await r.caught_up(j)  # seen, but the server does not hear of it
    equal(bodies(r, "m"), numbered("m", 15), "messages")
    proxy.cut()
    await r.ended()
    await house.command("sessions", "kick", r.boundjid.full)  # the session ends; a client that crashed comes anew
    await j.expect("he is gone", presence(r.boundjid.full, "unavailable"))
    new = await house.login(r.boundjid.bare, "new")
    await new.caught_up(j)
    equal(bodies(new, "m"), numbered("m", 15)[10:], "messages of which the server does not know that they were seen")


async def another_client_cannot_resume_it(house):
    r, j, proxy = await pair(house)
    proxy.cut()
    await r.ended()
    mallory = Actor(house, f"{await house.users('mallory')}/desk").resumable()
    mallory["xep_0198"].sm_id = r["xep_0198"].sm_id
    equal(await mallory.back(), "sm_enabled", "resumption by another account")
    j.say(r.boundjid.bare, "for Romeo")
    await j.settle()
    equal(await r.back(), "session_resumed", "resumption by its owner")
    await r.expect("the message", message("for Romeo"))
    mallory.none("a message", message())


async def a_resumed_client_is_active(house):
    r, j, proxy = await pair(house, plugins=["xep_0352"])
    r["xep_0352"].send_inactive()
    await r.settle()
    r.forget()
    j.show_presence(None, None, None, "held back")
    await j.settle()
    proxy.cut()
    await r.ended()
    equal(await r.back(), "session_resumed", "reconnection")
    equal((await r.expect("presence", presence(j.boundjid.full)))["status"], "held back", "what was held back")
    j.show_presence(None, None, None, "at once")
    equal((await r.expect("presence", presence(j.boundjid.full)))["status"], "at once", "after resumption (XEP-0352 §5.2)")


async def an_inactive_client_is_left_alone(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo, plugins=["xep_0352"]), await house.login(juliet)
    check(r["xep_0352"].enabled, "client state indication is not announced")
    await befriend(r, j)
    r["xep_0352"].send_inactive()
    await r.settle()
    states = "<{} xmlns='http://jabber.org/protocol/chatstates'/>"
    for i in range(5):
        j.show_presence(None, None, None, f"mood {i}")
        j.say(f"{romeo}/desk", None, "chat", None, states.format("composing"))
    j.say(romeo, "important")
    await r.expect("an important message, at once", message("important"))
    moods = [s["status"] for s in r.inbox if presence(f"{juliet}/desk")(s)]
    equal(moods, ["mood 4"], "presence that was held back: the last, before the message")
    r.forget()
    for i in range(3):  # it is inactive still, and hears one only of each kind
        j.show_presence(None, None, None, f"later {i}")
        j.say(f"{romeo}/desk", None, "chat", f"typing-{i}", states.format("composing"))
        j.say(f"{romeo}/desk", None, "chat", f"gone-{i}", states.format("gone"))
    await j.settle()
    r["xep_0352"].send_active()
    await r.settle()  # §4.1: the answer comes behind what was held back
    equal([s["status"] for s in r.inbox if presence(f"{juliet}/desk")(s)], ["later 2"], "presence that was held back")
    equal([s["id"] for s in r.inbox if message()(s)], ["gone-2"], "chat states that were held back")
    r.forget()
    j.show_presence(None, None, None, "at once")
    equal((await r.expect("presence", presence(f"{juliet}/desk")))["status"], "at once", "when active")


if __name__ == "__main__":
    play(nothing_is_lost_or_doubled_by_cuts, presence_and_requests_wait_too, what_was_acknowledged_does_not_come_again,
         another_client_cannot_resume_it, a_resumed_client_is_active, an_inactive_client_is_left_alone)
