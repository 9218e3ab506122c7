"""Spam: blocking in all its forms (XEP-0191), reports (XEP-0377), strangers whose messages are held, and accounts that write to
too many."""

from scene import PASSWORD, Actor, befriend, check, denied, equal, is_message, kind, message, play, presence

REPORTING = "urn:xmpp:reporting:1"
DELAY = "{urn:xmpp:delay}delay"


async def admin(house):
    """The administrator of the host, with an empty inbox."""
    if not getattr(house, "admin", None):
        await house.command("user", "add", f"admin@{house.domain}", "--password-stdin", stdin=PASSWORD + "\n")
        house.admin = f"admin@{house.domain}"
    return await house.login(house.admin)


async def from_host(actor, what, *parts):
    m = await actor.expect(what, message(sender=actor.boundjid.host), lambda s: all(p in s["body"] for p in parts))
    equal(kind(m), "normal", what)
    return m["body"]


async def a_report_reaches_the_administrator(house):
    boss = await admin(house)
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    info = await j.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", house.domain)
    check(REPORTING in [f.get("var") for f in info.xml.iter("{http://jabber.org/protocol/disco#info}feature")], "reporting is announced")
    other = await house.login(juliet, "other")
    await other.ask("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
    await j.ask("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{romeo}'><report xmlns='{REPORTING}' reason='urn:xmpp:reporting:spam'>"
                f"<stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='28482'/><text xml:lang='en'>Never came trouble\nto my house</text>"
                "</report></item></block>")
    told = await from_host(boss, "the report", juliet, romeo)
    equal(told, f"{juliet} has blocked {romeo} and reports spam. Stanza ids: \"28482\" by {juliet}. The user says: \"Never came trouble to my house\"",
          "what the administrator is told")  # further ones are told together, five minutes later
    push = await other.expect("the push", lambda s: s.xml.find("{urn:xmpp:blocking}block") is not None)
    check("reporting" not in str(push), "the push says nothing of the report")
    r.say(juliet, "blocked")
    m = await r.expect("the error", is_message, lambda s: kind(s) == "error")
    equal(m["error"]["condition"], "service-unavailable", "romeo is blocked")


def blocking(verb, *jids, inside=""):
    return f"<{verb} xmlns='urn:xmpp:blocking'>" + "".join(f"<item jid='{j}'>{inside}</item>" for j in jids) + f"</{verb}>"


async def blocked(actor):
    listed = await actor.ask("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
    return [i.get("jid") for i in listed.xml.iter("{urn:xmpp:blocking}item")]


async def whatever_a_report_says_the_block_is_done(house):
    romeo, juliet, nurse, paris = await house.users("romeo", "juliet", "nurse", "paris")
    j = await house.login(juliet)
    report = f"<report xmlns='{REPORTING}'{{}}>{{}}</report>".format
    await j.ask("set", blocking("block", romeo, inside=report("", "")))  # a reason is missing
    await j.ask("set", blocking("block", nurse, inside=report(" reason='urn:x'", "<stanza-id xmlns='urn:xmpp:sid:0'/><text/><third-party/><x xmlns='urn:x'/>")))
    await j.ask("set", blocking("block", paris, f"{romeo}/desk", inside=report(" reason='urn:xmpp:reporting:abuse'", "<report-origin/>")))
    equal(await blocked(j), sorted([romeo, nurse, paris, f"{romeo}/desk"]), "blocked nevertheless")
    await denied(j.ask("set", blocking("block", "@", inside=report(" reason='urn:xmpp:reporting:spam'", ""))), "jid-malformed",
                 "a report with a request that cannot be read")
    await denied(j.ask("set", report(" reason='urn:xmpp:reporting:spam'", "")), "service-unavailable", "a report outside of a request to block")


async def blocks_that_cannot_be_are_refused(house):
    romeo, juliet = await house.users("romeo", "juliet")
    j = await house.login(juliet)
    for verb, payload, to, want in [
            ("set", blocking("block"), None, "bad-request"), ("set", blocking("block", "@"), None, "jid-malformed"),
            ("set", blocking("block", romeo, ""), None, "jid-malformed"), ("set", blocking("unblock", "@"), None, "jid-malformed"),
            ("set", blocking("blocklist"), None, "bad-request"), ("get", blocking("block", romeo), None, "bad-request"),
            ("set", blocking("block", *(f"u{i}@x" for i in range(2001))), None, "resource-constraint"),
            # As for an address that is nobody's account.
            ("get", blocking("blocklist"), romeo, "service-unavailable"), ("set", blocking("block", juliet), romeo, "service-unavailable"),
            ("set", blocking("unblock"), romeo, "service-unavailable"),
            ("get", blocking("blocklist"), f"nobody@{house.domain}", "service-unavailable")]:
        await denied(j.ask(verb, payload, to), want, f"{verb} {payload[:100]}")
    equal(await blocked(j), [], "nobody is blocked after that")
    await j.ask("set", blocking("block", juliet, house.domain))
    await j.settle()
    j.say(juliet, "to myself")
    await j.expect("what nobody can block", message("to myself"))


async def a_block_is_held_against_what_it_names(house):
    romeo, tybalt = await house.users("romeo", "tybalt")
    r, t = await house.login(romeo), await house.login(tybalt)
    phone = await house.login(tybalt, "phone")
    await befriend(r, t)
    host = house.domain
    for item, stopped, passing in [(f"{tybalt}/desk", t, phone), (f"{tybalt}/phone", phone, t), (tybalt, t, None), (f"{host}/desk", t, phone)]:
        await r.ask("set", blocking("block", item))
        await stopped.settle()
        stopped.forget()
        await denied(stopped.ask("get", "<ping xmlns='urn:xmpp:ping'/>", f"{romeo}/desk"), "service-unavailable", f"a request while {item} is blocked")
        stopped.say(romeo, f"from {item}")
        m = await stopped.expect("the error", message(mtype="error"))
        equal(m["error"]["condition"], "service-unavailable", f"a message while {item} is blocked")
        if item == tybalt:  # a request for a subscription is of the account
            stopped.show_presence(romeo, "subscribe")
        stopped.show_presence(f"{romeo}/desk", None, None, "let me in")
        await stopped.settle()
        stopped.none("an answer to presence", presence(romeo))
        await denied(r.ask("get", "<ping xmlns='urn:xmpp:ping'/>", str(stopped.boundjid)), "not-acceptable", "a request to whom one has blocked")
        if passing:
            passing.say(romeo, "let in")
            await r.expect("what is not blocked", message("let in"))
        await r.settle()
        r.none("presence of the blocked", lambda s: s["status"] == "let me in")
        await r.ask("set", blocking("unblock", item))


async def all_are_let_in_again_at_once(house):
    romeo, juliet, nurse = await house.users("romeo", "juliet", "nurse")
    j, phone = await house.login(juliet), await house.login(juliet, "phone")
    never_asked = await house.login(juliet, "tablet")
    equal((await blocked(j), await blocked(phone)), ([], []), "at first")
    await j.ask("set", blocking("block", romeo, nurse, f"{romeo}/x"))
    await j.ask("set", blocking("unblock", f"{romeo}/x", "who@was.not.blocked"))
    equal(await blocked(j), sorted([romeo, nurse]), "without one")
    await j.ask("set", blocking("unblock"))
    equal(await blocked(phone), [], "after all are let in")
    await never_asked.settle()
    for actor in [j, phone]:
        for verb, jids in [("block", [romeo, nurse, f"{romeo}/x"]), ("unblock", [f"{romeo}/x", "who@was.not.blocked"]), ("unblock", [])]:
            push = await actor.expect("a push", lambda s: s.xml.find("{urn:xmpp:blocking}*") is not None)
            el = push.xml.find("{urn:xmpp:blocking}*")
            equal((el.tag, [i.get("jid") for i in el]), (f"{{urn:xmpp:blocking}}{verb}", jids), "the push")
    never_asked.none("a push", lambda s: s.xml.find("{urn:xmpp:blocking}*") is not None)
    r = await house.login(romeo)
    await j.set_item(romeo)
    r.say(juliet, "thank you")
    await j.expect("the message", message("thank you"))


async def a_stranger_waits_until_added(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    for body in ["one", "two"]:
        r.say(juliet, body)
    await from_host(j, "the word of it", romeo, "not among your contacts")
    await j.settle()
    j.none("a message of a stranger", message(sender=romeo))
    history = await j.ask("set", "<query xmlns='urn:xmpp:mam:2'/>")
    check(history.xml.find("{urn:xmpp:mam:2}fin") is not None, "the archive answers")
    j.none("a message of a stranger in the archive", lambda s: romeo + "/" in str(s) and "two" in str(s))
    await j.set_item(romeo)
    for body in ["one", "two"]:
        m = await j.expect("what was held", message(body, romeo))
        equal(m.xml.find(DELAY).get("from"), house.domain, "who notes when it came")
    r.say(juliet, "three")
    m = await j.expect("the next", message("three", romeo))
    check(m.xml.find(DELAY) is None, "it is not late")
    r.none("an error", lambda s: kind(s) == "error")


async def a_stranger_waits_until_answered(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = await Actor(house, f"{romeo}/desk").resumable().login()
    r.say(juliet, "are you there?")  # she is not
    await r.acknowledged()
    await house.ask("crash")
    r, j = await house.login(romeo), await house.login(juliet)
    await from_host(j, "the word of it, which the crash did not end", romeo)
    j.none("a message of a stranger", message(sender=romeo))
    j.say(romeo, "who are you?")
    await r.expect("the question, since romeo has written to her", message("who are you?"))
    await j.expect("what was held", message("are you there?", romeo))
    r.say(juliet, "a montague")
    await j.expect("the answer", message("a montague"))


async def a_request_for_a_subscription_passes(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    await j.contacts()
    r.say(juliet, "may I?")
    r.show_presence(juliet, "subscribe")
    await j.expect("the request", presence(romeo, "subscribe"))
    j.none("a message of a stranger", message(sender=romeo))
    j.show_presence(romeo, "subscribed")
    await j.expect("what was held", message("may I?", romeo))


async def of_one_stranger_so_much_is_held(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    for i in range(21):
        r.say(juliet, f"m{i}", "chat", f"id{i}")
    await r.settle()
    equal([(s["id"], s["error"]["condition"], s["error"]["type"]) for s in r.inbox if message(mtype="error")(s)],
          [("id20", "resource-constraint", "wait")], "what is refused")
    await j.set_item(romeo)
    await j.expect("the last that was held", message("m19"))
    equal([s["body"] for s in j.inbox if message(sender=romeo)(s)], [f"m{i}" for i in range(19)], "what was held, in order")
    r.say(juliet, "room again")
    await j.expect("the message", message("room again"))


async def who_writes_to_too_many_must_wait(house):
    boss = await admin(house)
    *names, spammer = await house.users(*[f"u{i}" for i in range(6)], "spammer")
    s = await house.login(spammer)
    for n in names:
        s.say(n, "buy")
    m = await s.expect("the refusal", is_message, lambda s: kind(s) == "error")
    equal((m["from"].bare, m["error"]["condition"], m["error"]["type"]), (names[5], "resource-constraint", "wait"), "the refusal")
    s.say(names[0], "buy more")
    s.say(names[5], "buy now")
    m = await s.expect("another refusal", is_message, lambda s: kind(s) == "error")
    equal(m["from"].bare, names[5], "who is refused")
    s.none("a refusal of who was written to", is_message, lambda s: kind(s) == "error")
    for n in names:
        boss.say(n, "to all")
    await boss.settle()
    boss.none("a refusal of the administrator", lambda s: kind(s) == "error")


if __name__ == "__main__":
    play(a_report_reaches_the_administrator, whatever_a_report_says_the_block_is_done, blocks_that_cannot_be_are_refused,
         a_block_is_held_against_what_it_names, all_are_let_in_again_at_once, a_stranger_waits_until_added, a_stranger_waits_until_answered,
         a_request_for_a_subscription_passes, of_one_stranger_so_much_is_held,
         who_writes_to_too_many_must_wait)
