"""Presence: RFC 6121 §4, and capabilities in it (XEP-0115)."""

from scene import befriend, check, child, condition, equal, message, play, presence


async def broadcast_reaches_contacts_and_own_resources(house):
    romeo, juliet = await house.users("romeo", "juliet")
    desk, phone, j = await house.login(romeo, "desk"), await house.login(romeo, "phone", None), await house.login(juliet)
    await befriend(desk, j)
    phone.show_presence(priority=3)
    await j.expect("presence of the phone", presence(f"{romeo}/phone"))
    await desk.expect("presence of the phone", presence(f"{romeo}/phone"))
    await phone.expect("presence of the desk", presence(f"{romeo}/desk"))
    await phone.expect("presence of the contact, probed at login", presence(f"{juliet}/desk"))
    desk.show_presence(None, None, 7, "under the balcony", "<show xmlns='jabber:client'>dnd</show>")
    for a in [j, phone]:
        p = await a.expect("a change", presence(f"{romeo}/desk"))
        equal((p["status"], p["show"], p["priority"]), ("under the balcony", "dnd", 7), "what is shown")
        equal(str(p["to"]), a.boundjid.bare if a is j else str(p["to"]), "to")
    stranger = await house.login(await house.users("tybalt"))
    await stranger.caught_up(desk)
    stranger.none("presence of who is no contact", presence(romeo))


async def the_last_presence_is_told_at_login(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    await befriend(r, j)
    r.show_presence(None, None, 2, "sighing", "<x xmlns='urn:x:mood'/>")
    await j.expect("a change", presence(f"{romeo}/desk"))
    late = await house.login(juliet, "late", presence=None)
    await late.settle()
    late.none("presence before it has sent its own", presence(romeo))
    late.show_presence()
    p = await late.expect("presence of the contact", presence(f"{romeo}/desk"))
    equal(p["status"], "sighing", "status")
    check(child(p, "{urn:x:mood}x") is not None, "the payload of presence is kept")


async def a_closed_stream_and_a_cut_one_are_unavailable(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    await befriend(r, j)
    proxy = await house.proxy()
    await house.login(romeo, "phone", port=proxy.port)
    await j.expect("presence of the phone", presence(f"{romeo}/phone"))
    proxy.cut()
    for a in [r, j]:
        await a.expect("the cut one is gone", presence(f"{romeo}/phone", "unavailable"))
    r.show_presence(None, "unavailable", None, "to Mantua")
    p = await j.expect("unavailable", presence(f"{romeo}/desk", "unavailable"))
    equal(p["status"], "to Mantua", "status")
    r.show_presence()
    await j.expect("back", presence(f"{romeo}/desk"))
    await r.leave()
    await j.expect("gone", presence(f"{romeo}/desk", "unavailable"))


async def directed_presence_ends_with_the_session(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j, phone = await house.login(romeo), await house.login(juliet), await house.login(juliet, "phone")
    r.show_presence(f"{juliet}/phone", None, None, "here I am")
    p = await phone.expect("directed presence", presence(f"{romeo}/desk"))
    equal(p["status"], "here I am", "status")
    r.show_presence(None, None, None, "for my contacts")
    await phone.caught_up(r)
    phone.none("a broadcast", presence(f"{romeo}/desk"))
    await r.leave()
    await phone.expect("the end (RFC 6121 §4.6.3)", presence(f"{romeo}/desk", "unavailable"))
    await j.caught_up(phone)
    j.none("what went to the phone", presence(romeo))


async def directed_presence_to_nobody_is_silent(house):
    r = await house.login(await house.users("romeo"))
    r.forget()
    r.show_presence(f"nobody@{house.domain}")
    r.show_presence(f"nobody@{house.domain}/desk", "unavailable")
    await r.settle()
    r.none("any answer", presence(f"nobody@{house.domain}"), lambda s: s["type"] != "error")


async def a_negative_priority_takes_no_messages(house):
    romeo, juliet = await house.users("romeo", "juliet")
    desk, bot = await house.login(juliet, "desk", 5), await house.login(juliet, "bot", -1)
    r = await house.login(romeo)
    r.say(juliet, "for a person")
    await desk.expect("the message", message("for a person"))
    await bot.caught_up(r)
    bot.none("a message for the bare address", message("for a person"))
    r.say(f"{juliet}/bot", "for the bot")
    await bot.expect("what is addressed to it", message("for the bot"))
    await desk.leave()
    r.say(juliet, "for later")  # RFC 6121 §8.5.2.2: only negative ones are as none at all
    await bot.caught_up(r)
    bot.none("a message for the bare address", message("for later"))
    back = await house.login(juliet, "desk", 5)
    await back.expect("what was stored", message("for later"))


async def a_bad_priority_is_refused_or_taken_as_none(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    await befriend(r, j)
    r.show_presence(None, None, None, None, "<priority xmlns='jabber:client'>1000</priority>")
    await r.settle()
    r.say(juliet, "still here")
    await j.expect("life goes on", message("still here"))
    for s in r.inbox:
        if presence(None, "error")(s):
            equal(condition(s), "bad-request", "presence with a priority of 1000")


async def capabilities_travel_in_presence(house):
    romeo, juliet = await house.users("romeo", "juliet")
    plugins = ["xep_0030", "xep_0115", "xep_0199"]
    r, j = await house.login(romeo, plugins=plugins), await house.login(juliet, plugins=plugins, presence=None)
    await r.settle()
    asked = []
    r.add_filter("in", lambda s: (asked.append(str(s["from"])) if s.xml.find("{http://jabber.org/protocol/disco#info}query")
                                  is not None and s["type"] == "get" else None, s)[1])
    await r["xep_0115"].update_caps()
    ver = await r["xep_0115"].get_verstring(r.boundjid)
    r.send_presence(pto=f"{juliet}/desk")
    p = await j.expect("presence", presence(f"{romeo}/desk"))
    c = child(p, "{http://jabber.org/protocol/caps}c")
    check(c is not None, f"no capabilities in {p}")
    equal((c.get("hash"), c.get("ver")), ("sha-1", ver), "capabilities")
    # What they stand for can be asked of the session behind them.
    answer = await j.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='%s#%s'/>" % (c.get("node"), ver),
                         f"{romeo}/desk")
    features = {f.get("var") for f in answer.xml.iter("{http://jabber.org/protocol/disco#info}feature")}
    check("urn:xmpp:ping" in features, f"features of the session: {features}")
    check(f"{juliet}/desk" in asked, f"asked by {asked}")


if __name__ == "__main__":
    play(broadcast_reaches_contacts_and_own_resources, the_last_presence_is_told_at_login,
         a_closed_stream_and_a_cut_one_are_unavailable, directed_presence_ends_with_the_session,
         directed_presence_to_nobody_is_silent, a_negative_priority_takes_no_messages,
         a_bad_priority_is_refused_or_taken_as_none, capabilities_travel_in_presence)
