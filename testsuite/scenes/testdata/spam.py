"""Spam: reports (XEP-0377), strangers whose messages are held, and accounts that write to too many."""

from scene import PASSWORD, Actor, check, denied, equal, is_message, kind, message, play, presence

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
          "what the administrator is told")
    push = await other.expect("the push", lambda s: s.xml.find("{urn:xmpp:blocking}block") is not None)
    check("reporting" not in str(push), "the push says nothing of the report")
    r.say(juliet, "blocked")
    m = await r.expect("the error", is_message, lambda s: kind(s) == "error")
    equal(m["error"]["condition"], "service-unavailable", "romeo is blocked")


async def a_report_that_says_nothing_is_none(house):
    romeo, juliet = await house.users("romeo", "juliet")
    j = await house.login(juliet)
    await j.ask("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{romeo}'><report xmlns='{REPORTING}'/></item></block>")
    listed = await j.ask("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
    equal([i.get("jid") for i in listed.xml.iter("{urn:xmpp:blocking}item")], [romeo], "it is blocked nevertheless")
    await denied(j.ask("set", f"<block xmlns='urn:xmpp:blocking'><item jid='@'><report xmlns='{REPORTING}' reason='urn:xmpp:reporting:spam'/></item></block>"),
                 "jid-malformed", "a report with a request that cannot be read")


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
    play(a_report_reaches_the_administrator, a_report_that_says_nothing_is_none, a_stranger_waits_until_added, a_stranger_waits_until_answered,
         a_request_for_a_subscription_passes, who_writes_to_too_many_must_wait)
