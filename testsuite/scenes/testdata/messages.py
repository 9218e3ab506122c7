"""Messages: RFC 6121 §5 and §8, XEP-0160 and XEP-0203 (offline), XEP-0280 (carbons),
XEP-0334 (hints), XEP-0359 (stanza ids)."""

from scene import check, child, condition, denied, equal, kind, message, play

DELAY = "{urn:xmpp:delay}delay"
SID = "{urn:xmpp:sid:0}stanza-id"
ORIGIN = "{urn:xmpp:sid:0}origin-id"
RECEIVED, SENT = "{urn:xmpp:carbons:2}received", "{urn:xmpp:carbons:2}sent"
FORWARDED = "{urn:xmpp:forward:0}forwarded/{jabber:client}message"


async def a_full_address_is_one_session(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, desk, phone = await house.login(romeo), await house.login(juliet, "desk"), await house.login(juliet, "phone", 5)
    for mtype in ["chat", "normal", "headline"]:
        r.say(f"{juliet}/desk", mtype, mtype, "an-id", "<x xmlns='urn:x:y'><z a='1'/></x>")
        m = await desk.expect(mtype, message(mtype))
        equal((str(m["from"]), str(m["to"]), m["id"], kind(m)), (f"{romeo}/desk", f"{juliet}/desk", "an-id", mtype), "head")
        equal(child(m, "{urn:x:y}x/{urn:x:y}z").get("a"), "1", "payload")
    await phone.caught_up(r)
    phone.none("what was for the desk", message())


async def a_bare_address_is_every_session_that_wants_messages(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = await house.login(romeo)
    desk, phone, quiet = [await house.login(juliet, n, p) for n, p in [("desk", 1), ("phone", 1), ("quiet", None)]]
    r.say(juliet, "hello")
    for a in [desk, phone]:
        equal(str((await a.expect("the message", message("hello")))["to"]).split("/")[0], juliet, "to")
    r.say(juliet, "news", "headline")  # RFC 6121 §8.5.2.1.1: every one with a priority that is not negative
    for a in [desk, phone]:
        await a.expect("the headline", message("news", mtype="headline"))
    await quiet.caught_up(r)
    quiet.none("a message without presence", message())


async def a_gone_resource_falls_back_to_the_account(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, desk = await house.login(romeo), await house.login(juliet, "desk")
    r.say(f"{juliet}/gone", "chat")
    await desk.expect("chat", message("chat"))
    r.say(f"{juliet}/gone", "headline", "headline")
    await desk.caught_up(r)
    desk.none("a headline for a resource that is gone (RFC 6121 §8.5.3.2.1)", message("headline"))


async def nobody_is_an_error(house):
    r = await house.login(await house.users("romeo"))
    for to in [f"nobody@{house.domain}", f"nobody@{house.domain}/desk"]:
        mid = r.say(to, "hello?")
        e = await r.expect("an error", message(mtype="error"))
        equal((condition(e), e["id"], str(e["from"])), ("service-unavailable", mid, to), "error")
    r.say(f"nobody@{house.domain}", "news", "headline")
    r.say(f"nobody@{house.domain}", "error", "error")
    await r.settle()
    r.none("an answer to a headline or an error", message())
    mid = r.say("juliet@elsewhere.example", "far away")
    equal(condition(await r.expect("an error", message(mtype="error"))), "remote-server-not-found", "another server")
    await denied(r.ask("get", "<query xmlns='urn:x:unknown'/>", f"nobody@{house.domain}"), "service-unavailable", "iq")
    await denied(r.ask("get", "<query xmlns='urn:x:unknown'/>", house.domain), "service-unavailable", "iq to the host")


async def a_sender_cannot_be_forged(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    r.send_raw(f"<message to='{juliet}' type='chat' from='{romeo}'><body>own bare address</body></message>")
    m = await j.expect("the message", message("own bare address"))
    equal(str(m["from"]), f"{romeo}/desk", "from is stamped (RFC 6120 §8.1.2.1)")
    r.send_raw(f"<message to='{juliet}' type='chat' from='prince@{house.domain}'><body>forged</body></message>")
    await r.ended("invalid-from")
    again = await house.login(romeo)
    await j.caught_up(again)
    j.none("a forged message", message("forged"))


async def messages_wait_in_order_with_their_time(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = await house.login(romeo)
    for i in range(20):
        # RFC 6121 §8.5.3.2.1: of what is for a resource that is gone, only chat is for the account.
        r.say([juliet, f"{juliet}/gone"][i % 2], f"m{i}", ["chat", "normal"][i % 2 == 0 and i % 3 == 0])
    r.say(juliet, "headline", "headline")
    r.say(juliet, None, "chat", None, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
    r.say(juliet, None, "chat", None, "<received xmlns='urn:xmpp:receipts' id='1'/>", "<no-store xmlns='urn:xmpp:hints'/>")
    await r.settle()
    r.none("an error", message(mtype="error"))
    # RFC 6121 §8.5.2.2.1: what says something is stored or refused.
    mid = r.say(juliet, "do not keep", "chat", None, "<no-store xmlns='urn:xmpp:hints'/>")
    equal(condition(await r.expect("an error", message(mtype="error"), lambda s: s["id"] == mid)), "service-unavailable", "condition")
    r.forget()
    j = await house.login(juliet)
    await j.caught_up(r)
    got = [s for s in j.inbox if message()(s)]
    equal([s["body"] for s in got], [f"m{i}" for i in range(20)], "stored messages")
    for m in got:
        d = child(m, DELAY)
        check(d is not None and d.get("from") == house.domain and d.get("stamp", "").endswith("Z"), f"delay in {m}")
        equal(str(m["from"]), f"{romeo}/desk", "from")
    r.none("an error", message(mtype="error"))
    await j.leave()
    again = await house.login(juliet)
    await again.caught_up(r)
    again.none("a message a second time", message())


async def a_full_store_says_so(house):
    romeo, juliet, tybalt = await house.users("romeo", "juliet", "tybalt")
    j = await house.login(juliet)
    await j.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{romeo}'/></query>")
    await j.leave()
    # A stranger has a share, a contact all that is left.
    for who, first, most, end in (tybalt, 0, 250, 252), (romeo, 252, 1002, 1004):
        actor = await house.login(who)
        for i in range(first, end):
            actor.say(juliet, f"m{i}", "chat", f"id{i}")
        await actor.settle()
        errors = [s for s in actor.inbox if message(mtype="error")(s)]
        # Errors of several messages may overtake each other where another node answers them.
        equal(sorted(s["id"] for s in errors), [f"id{i}" for i in range(most, end)], f"what is refused of {who}")
        check(condition(errors[0]) in ("resource-constraint", "service-unavailable"), f"error {errors[0]}")
        r = actor
    j = await house.login(juliet)
    await j.caught_up(r)
    equal([s["body"] for s in j.inbox if message()(s)], [f"m{i}" for i in range(1002) if not 250 <= i < 252], "stored messages")
    r.say(juliet, "room again")
    await j.expect("the message", message("room again"))


async def large_stanzas_pass_up_to_the_limit(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    large = "Wherefore? " * 20000
    r.say(juliet, large)
    equal((await j.expect("a large message", message()))["body"], large, "body")
    r.say(juliet, large + large)
    await r.ended("policy-violation")
    again = await house.login(romeo)
    await j.caught_up(again)
    j.none("what was too large", message())


async def carbons_show_both_sides_of_a_conversation(house):
    romeo, juliet = await house.users("romeo", "juliet")
    plugins = ["xep_0280"]
    desk = await house.login(romeo, "desk", plugins=plugins)
    phone = await house.login(romeo, "phone", plugins=plugins)
    plain = await house.login(romeo, "plain")
    j = await house.login(juliet)
    await phone["xep_0280"].enable()
    desk.say(f"{juliet}/desk", "Wherefore?", "chat", "w1")
    await j.expect("the message", message("Wherefore?"))
    c = await phone.expect("the sent copy", lambda s: child(s, SENT) is not None)
    inner = child(c, f"{SENT}/{FORWARDED}")
    equal((inner.get("from"), inner.get("to"), inner.get("id")), (f"{romeo}/desk", f"{juliet}/desk", "w1"), "inside")
    equal((str(c["from"]), str(c["to"]), kind(c)), (romeo, f"{romeo}/phone", "chat"), "outside (XEP-0280 §7)")

    j.say(f"{romeo}/desk", "Deny thy father", "chat", "d1")
    await desk.expect("the message", message("Deny thy father"))
    c = await phone.expect("the received copy", lambda s: child(s, RECEIVED) is not None)
    inner = child(c, f"{RECEIVED}/{FORWARDED}")
    equal((inner.get("from"), inner.findtext("{jabber:client}body")), (f"{juliet}/desk", "Deny thy father"), "inside")

    j.say(romeo, "to all")
    for a in [desk, phone, plain]:
        await a.expect("the message itself", message("to all"))
    j.say(f"{romeo}/desk", "psst", "chat", None, "<private xmlns='urn:xmpp:carbons:2'/>", "<no-copy xmlns='urn:xmpp:hints'/>")
    await desk.expect("the private message", message("psst"))
    j.say(f"{romeo}/desk", "typing over", "headline")
    for a in [phone, plain]:
        await a.caught_up(j)
        a.none("a copy of what was private, a headline, or not asked for", message())

    await phone["xep_0280"].disable()
    desk.say(f"{juliet}/desk", "no more")
    await phone.caught_up(desk)
    phone.none("a copy after it was turned off", message())


async def carbons_cannot_be_forged_by_the_sender_of_a_message(house):
    # A client must check the sender; the server still passes what it cannot know to be a lie.
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet, plugins=["xep_0280"])
    seen = []
    j.add_event_handler("carbon_received", seen.append)
    r.say(f"{juliet}/desk", None, "chat", None,
          "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'"
          f" from='{juliet}/x' to='{juliet}'><body>forged</body></message></forwarded></received>")
    await j.caught_up(r)
    equal(seen, [], "forged carbons that the client believes")


async def stanza_ids_are_the_servers_word(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    forged = f"<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{juliet}'/>"
    other = "<stanza-id xmlns='urn:xmpp:sid:0' id='theirs' by='room@elsewhere.example'/>"
    origin = "<origin-id xmlns='urn:xmpp:sid:0' id='mine'/>"
    r.say(juliet, "live", "chat", None, forged, other, origin)
    m = await j.expect("the message", message("live"))
    ids = [(e.get("by"), e.get("id")) for e in m.xml.findall(SID)]
    check((juliet, "forged") not in ids, f"a forged id (XEP-0359 §6): {ids}")
    check(("room@elsewhere.example", "theirs") in ids, f"the id of somebody else: {ids}")
    equal(child(m, ORIGIN).get("id"), "mine", "origin id")
    check(len([by for by, _ in ids if by == juliet]) <= 1, f"ids {ids}")
    await j.leave()
    r.say(juliet, "kept", "chat", None, forged)
    await r.settle()
    back = await house.login(juliet)
    m = await back.expect("the message", message("kept"))
    ids = [e.get("id") for e in m.xml.findall(SID) if e.get("by") == juliet]
    check(len(ids) == 1 and ids[0] != "forged", f"one id of the server's own: {ids}")


async def a_delay_of_the_server_cannot_be_forged(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    r.say(juliet, "old", "chat", None, f"<delay xmlns='urn:xmpp:delay' from='{house.domain}' stamp='1999-01-01T00:00:00Z'/>")
    m = await j.expect("the message", message("old"))
    check(all(d.get("from") != house.domain for d in m.xml.findall(DELAY)), f"a forged delay in {m}")


if __name__ == "__main__":
    play(a_full_address_is_one_session, a_bare_address_is_every_session_that_wants_messages,
         a_gone_resource_falls_back_to_the_account, nobody_is_an_error, a_sender_cannot_be_forged,
         messages_wait_in_order_with_their_time, a_full_store_says_so, large_stanzas_pass_up_to_the_limit,
         carbons_show_both_sides_of_a_conversation,
         carbons_cannot_be_forged_by_the_sender_of_a_message, stanza_ids_are_the_servers_word,
         a_delay_of_the_server_cannot_be_forged)
