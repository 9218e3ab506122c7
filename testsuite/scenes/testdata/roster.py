"""Rosters and subscriptions: RFC 6121 §2 and §3."""

from scene import (check, denied, equal, is_push, play, presence)


async def changes_are_pushed_to_every_interested_resource(house):
    romeo, juliet = await house.users("romeo", "juliet")
    desk = await house.login(romeo, "desk")
    phone = await house.login(romeo, "phone")
    shy = await house.login(romeo, "shy")
    for a in [desk, phone]:
        equal((await a.contacts())[0], {}, "roster of a new account")

    await desk.set_item(juliet, "Juliet", ["Friends", "Verona"])
    for a in [desk, phone]:
        equal(await a.pushed(juliet), ("Juliet", "none", None, ["Friends", "Verona"]), "added")
    await phone.set_item(juliet, "My love", ["Verona"])
    for a in [desk, phone]:
        equal(await a.pushed(juliet), ("My love", "none", None, ["Verona"]), "renamed and regrouped")
    equal((await desk.contacts())[0], {juliet: ("My love", "none", None, ["Verona"])}, "roster")
    await phone.set_item(juliet, subscription="remove")
    for a in [desk, phone]:
        equal((await a.pushed(juliet))[1], "remove", "removed")
    equal((await desk.contacts())[0], {}, "roster after removal")
    # RFC 6121 §2.1.6: who has not asked for the roster gets no pushes.
    await shy.caught_up(desk)
    shy.none("a push", is_push())


async def another_version_brings_only_what_changed(house):
    romeo = await house.users("romeo")
    a = await house.login(romeo)
    check("rosterver" in a.features, "roster versioning is not announced")
    _, empty = await a.contacts("")
    check(empty is not None, "the first answer has no version")
    await a.set_item("juliet@localhost", "Juliet")
    push = await a.expect("a push", is_push("juliet@localhost"))
    ver = push.xml.find("{jabber:iq:roster}query").get("ver")
    check(ver and ver != empty, f"version {ver!r} after {empty!r}")

    b = await house.login(romeo, "phone")
    equal(await b.contacts(ver), (None, None), "answer to the version in force")
    await b.settle()
    b.none("a push of what it knows", is_push())
    await a.set_item("nurse@localhost", "Nurse")
    await b.pushed("nurse@localhost")

    # A client that was away gets the difference as pushes or the whole roster (RFC 6121 §2.6.3).
    c = await house.login(romeo, "tablet")
    whole, _ = await c.contacts(ver)
    if whole is None:
        equal((await c.pushed("nurse@localhost"))[0], "Nurse", "what was missed")
    else:
        equal(sorted(whole), ["juliet@localhost", "nurse@localhost"], "whole roster")


async def bad_items_are_refused(house):
    a = await house.login(await house.users("romeo"))
    await denied(a.ask("set", "<query xmlns='jabber:iq:roster'/>"), "bad-request", "no item")
    await denied(a.ask("set", "<query xmlns='jabber:iq:roster'><item jid='a@localhost'/><item jid='b@localhost'/></query>"),
                 "bad-request", "two items")
    await denied(a.set_item("nobody@localhost", subscription="remove"), "item-not-found", "removal of a stranger")
    await denied(a.ask("get", "<query xmlns='jabber:iq:roster'/>", await house.users("juliet")),
                 "forbidden", "the roster of somebody else")
    equal((await a.contacts())[0], {}, "roster")


async def handshake_both_ways(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    phone = await house.login(juliet, "phone")
    for a in [r, j, phone]:
        await a.contacts()

    r.show_presence(juliet, "subscribe", None, "Wherefore not?")
    equal(await r.pushed(juliet), ("", "none", "subscribe", []), "asked")
    for a in [j, phone]:
        request = await a.expect("the request", presence(romeo, "subscribe"))
        equal(str(request["from"]), romeo, "a request comes from the bare address (RFC 6121 §3.1.2)")
        equal(request["status"], "Wherefore not?", "its text")
    equal((await j.contacts())[0], {}, "a request alone is no roster item")

    j.show_presence(romeo, "subscribed")
    for a in [j, phone]:
        equal(await a.pushed(romeo), ("", "from", None, []), "approved")
    await r.expect("approval", presence(juliet, "subscribed"))
    equal(await r.pushed(juliet), ("", "to", None, []), "granted")
    await r.expect("presence of the desk", presence(f"{juliet}/desk"))
    await r.expect("presence of the phone", presence(f"{juliet}/phone"))
    j.none("presence of who was not asked yet", presence(f"{romeo}/desk"))

    j.show_presence(romeo, "subscribe")
    equal(await j.pushed(romeo), ("", "from", "subscribe", []), "asked back")
    await r.expect("the request back", presence(juliet, "subscribe"))
    r.show_presence(juliet, "subscribed")
    equal(await r.pushed(juliet), ("", "both", None, []), "both for the one")
    equal(await j.pushed(romeo), ("", "both", None, []), "both for the other")
    for a in [j, phone]:
        await a.expect("presence", presence(f"{romeo}/desk"))
    equal((await j.contacts())[0], {romeo: ("", "both", None, [])}, "roster")


async def a_request_waits_for_who_is_away(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = await house.login(romeo)
    await r.contacts()
    r.show_presence(juliet, "subscribe")
    await r.settle()
    for resource in ["desk", "phone"]:  # as long as it is not answered, at every login
        j = await house.login(juliet, resource)
        await j.expect("the request", presence(romeo, "subscribe"))
    j.show_presence(romeo, "unsubscribed")
    await r.expect("refusal", presence(juliet, "unsubscribed"))
    last = await house.login(juliet, "tablet")
    await last.settle()
    last.none("an answered request", presence(romeo, "subscribe"))


async def a_request_is_declined(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    await r.contacts(), await j.contacts()
    r.show_presence(juliet, "subscribe")
    await r.pushed(juliet)
    await j.expect("the request", presence(romeo, "subscribe"))
    j.show_presence(romeo, "unsubscribed")
    await r.expect("refusal", presence(juliet, "unsubscribed"))
    equal(await r.pushed(juliet), ("", "none", None, []), "after the refusal")
    await r.caught_up(j)
    r.none("presence of who declined", presence(f"{juliet}/desk"))


async def subscriptions_are_cancelled_by_either_side(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    for a, b in [(r, j), (j, r)]:
        await a.contacts()
        a.show_presence(b.boundjid.bare, "subscribe")
        await b.expect("the request", presence(a.boundjid.bare, "subscribe"))
        b.show_presence(a.boundjid.bare, "subscribed")
        await a.expect("presence", presence(b.boundjid.full))
    await r.caught_up(j), await j.caught_up(r)
    r.forget(), j.forget()

    j.show_presence(romeo, "unsubscribed")  # RFC 6121 §3.2: the contact takes it back
    await r.expect("cancellation", presence(juliet, "unsubscribed"))
    equal(await r.pushed(juliet), ("", "from", None, []), "Romeo's side")
    equal(await j.pushed(romeo), ("", "to", None, []), "Juliet's side")
    await r.expect("she is gone for him", presence(f"{juliet}/desk", "unavailable"))

    j.show_presence(romeo, "unsubscribe")  # RFC 6121 §3.3: the user does not want any more
    await r.expect("unsubscription", presence(juliet, "unsubscribe"))
    equal(await j.pushed(romeo), ("", "none", None, []), "Juliet's side")
    equal(await r.pushed(juliet), ("", "none", None, []), "Romeo's side")
    await j.expect("he is gone for her", presence(f"{romeo}/desk", "unavailable"))


async def removal_from_the_roster_ends_both_subscriptions(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    for a, b in [(r, j), (j, r)]:
        await a.contacts()
        a.show_presence(b.boundjid.bare, "subscribe")
        await b.expect("the request", presence(a.boundjid.bare, "subscribe"))
        b.show_presence(a.boundjid.bare, "subscribed")
        await a.expect("presence", presence(b.boundjid.full))
    await r.caught_up(j), await j.caught_up(r)
    r.forget(), j.forget()
    await r.set_item(juliet, subscription="remove")
    equal((await r.pushed(juliet))[1], "remove", "Romeo's side")
    await j.expect("unsubscribe", presence(romeo, "unsubscribe"))
    await j.expect("unsubscribed", presence(romeo, "unsubscribed"))
    await j.expect("he is gone", presence(f"{romeo}/desk", "unavailable"))
    await r.expect("she is gone", presence(f"{juliet}/desk", "unavailable"))
    await j.caught_up(r)
    equal((await j.contacts())[0], {romeo: ("", "none", None, [])}, "Juliet's roster")


async def an_approval_may_come_before_the_request(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    check("preapproval" in j.features, "pre-approval is not announced (RFC 6121 §3.4)")
    await r.contacts(), await j.contacts()
    j.show_presence(romeo, "subscribed")
    push = await j.expect("a push with the approval", is_push(romeo))
    equal(push.xml.find("{jabber:iq:roster}query/{jabber:iq:roster}item").get("approved"), "true", "approved")
    await r.caught_up(j)
    r.none("an approval not asked for", presence(juliet, "subscribed"))

    r.show_presence(juliet, "subscribe")
    await r.expect("approval", presence(juliet, "subscribed"))
    await r.expect("presence", presence(f"{juliet}/desk"))
    equal((await j.pushed(romeo))[1], "from", "Juliet's side")
    await j.caught_up(r)
    j.none("a request that was approved before", presence(romeo, "subscribe"))


async def a_probe_does_not_tell_accounts_from_strangers(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = await house.login(romeo)
    await house.login(juliet)
    answers = []
    for other in [juliet, f"nobody@{house.domain}"]:
        r.forget()
        r.show_presence(other, "probe")
        await r.settle()
        answers.append([s["type"] for s in r.inbox if s["from"].bare == other])
    equal(answers[0], answers[1], "answers to a probe of an account and of nobody")


if __name__ == "__main__":
    play(changes_are_pushed_to_every_interested_resource, another_version_brings_only_what_changed, bad_items_are_refused,
         handshake_both_ways, a_request_waits_for_who_is_away, a_request_is_declined,
         subscriptions_are_cancelled_by_either_side, removal_from_the_roster_ends_both_subscriptions,
         an_approval_may_come_before_the_request, a_probe_does_not_tell_accounts_from_strangers)
