"""What survives the server: a resumption window of two seconds, restarts and crashes."""

from post import OK, curl
from resume import bodies, numbered, pair
from scene import Actor, check, child, equal, message, play, presence

DELAY = "{urn:xmpp:delay}delay"
SID = "{urn:xmpp:sid:0}stanza-id"


async def stored_messages_survive_restarts(house):
    romeo, juliet = await house.users("romeo", "juliet")
    n = 0
    for how in ["restart", "crash"]:
        r = Actor(house, f"{romeo}/desk").resumable()
        await r.login()
        for _ in range(5):
            r.say(juliet, f"m{n}")
            n += 1
        await r.acknowledged()  # the word that counts: without it a crash may lose them
        await house.ask(how)
    r = await house.login(romeo)
    r.say(juliet, f"m{n}")
    await r.settle()
    j = await house.login(juliet)
    await j.caught_up(r)
    equal(bodies(j, "m"), numbered("m", n + 1), "stored messages")
    ids = [child(s, SID).get("id") for s in j.inbox if message()(s)]
    equal(len(set(ids)), n + 1, "different stanza ids")


async def after_the_window_messages_wait_in_storage(house):
    r, j, proxy = await pair(house)
    proxy.cut()
    await r.ended()
    for i in range(10):
        j.say([r.boundjid.bare, r.boundjid.full][i % 2], f"m{i}")
    await j.expect("the end of the window", presence(r.boundjid.full, "unavailable"))
    for i in range(10, 15):
        j.say([r.boundjid.bare, r.boundjid.full][i % 2], f"m{i}")
    await j.settle()
    equal(await r.back(), "sm_enabled", "reconnection")
    r.send_presence()
    await r.settle()
    await r.caught_up(j)
    equal(bodies(r, "m"), numbered("m", 15), "stored messages")
    for s in r.inbox:
        check(not message()(s) or child(s, DELAY) is not None, f"no delay in {s}")
    j.none("an error", message(mtype="error"))


async def what_another_session_took_is_not_stored_for_the_lost_one(house):
    r, j, proxy = await pair(house)
    phone = await house.login(r.boundjid.bare, "phone")
    proxy.cut()
    await r.ended()
    for i in range(10):
        j.say(r.boundjid.bare, f"m{i}")
    await phone.caught_up(j)
    equal(bodies(phone, "m"), numbered("m", 10), "messages on the phone")
    await j.expect("the end of the window", presence(r.boundjid.full, "unavailable"))
    tablet = await house.login(r.boundjid.bare, "tablet")
    for a in [tablet, phone]:
        await a.caught_up(j)
    equal(bodies(phone, "m"), numbered("m", 10), "messages on the phone after the window")
    tablet.none("a message that the phone has", message())


async def stored_messages_that_nobody_acknowledged_come_again(house):
    romeo, juliet = await house.users("romeo", "juliet")
    j = Actor(house, f"{juliet}/desk").resumable()
    await j.login()
    for i in range(10):
        j.say(romeo, f"m{i}")
    await j.acknowledged()
    ids = []
    for _ in range(2):
        proxy = await house.proxy()
        r = Actor(house, f"{romeo}/desk", port=proxy.port).resumable()
        r["xep_0198"].send_ack = lambda: None
        await r.login()
        await r.expect("the last one", message("m9"))
        await j.caught_up(r)
        ids.append([child(s, SID).get("id") for s in r.inbox if message()(s) and s["body"].startswith("m")])
        equal(bodies(r, "m"), numbered("m", 9), "the others, in order")
        # XEP-0198 §5: another session of the same resource takes its place; what was not acknowledged is stored.
        r.abort()
        await r.ended()
    equal(ids[0], ids[1], "stanza ids")
    last = Actor(house, f"{romeo}/desk").resumable()
    await last.login()
    await last.caught_up(j)
    equal(bodies(last, "m"), numbered("m", 10), "messages")
    last["xep_0198"].send_ack()
    await last.settle()
    await last.leave()
    again = await house.login(romeo)
    await again.caught_up(j)
    again.none("a message that was acknowledged", message())


async def after_a_restart_everything_comes_once(house):
    for how in ["restart", "crash"]:
        r, j, proxy = await pair(house)
        proxy.cut()
        await r.ended()
        for i in range(20):
            j.say(r.boundjid.bare, f"m{i}")
        await j.acknowledged()
        await house.ask(how)
        again = await house.login(j.boundjid.bare)
        again.say(r.boundjid.bare, "m20")
        await again.settle()
        equal(await r.back(), "sm_enabled", f"resumption after a {how}")
        r.send_presence()
        await r.settle()
        await r.caught_up(again)
        equal(bodies(r, "m"), numbered("m", 21), f"messages after a {how}")
        await r.acknowledged()
        await r.leave()
        last = await house.login(r.boundjid.bare)
        await last.caught_up(again)
        last.none("a message a second time", message())


async def a_post_that_was_answered_survives_a_crash(house):
    andy, bob = await house.users("andy", "bob")
    for i in range(5):
        text = f'<message to="{bob}"><body>post {i}</body></message>'
        equal(await curl(house, "/message", andy, "--data-binary", text), OK, "answer")
        await house.ask("crash")
    b = await house.login(bob)
    await b.caught_up(await house.login(andy))
    equal(bodies(b, "post"), numbered("post ", 5), "messages")


if __name__ == "__main__":
    play(stored_messages_survive_restarts, after_the_window_messages_wait_in_storage,
         what_another_session_took_is_not_stored_for_the_lost_one, stored_messages_that_nobody_acknowledged_come_again,
         after_a_restart_everything_comes_once,         a_post_that_was_answered_survives_a_crash)
