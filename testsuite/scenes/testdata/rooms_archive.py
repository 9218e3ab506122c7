"""What is said in a room and kept: its archive (XEP-0313) in pages (0059), moderation (0425) and retraction (0424)."""

from scene import check, child, equal, is_message, message, play, timely
from rooms_cast import OCCUPANT_ID, STANZA_ID, USER, administer, cast, change, company, hush, leave, refuses, staged, walk_in

MAM = "urn:xmpp:mam:2"
MESSAGE = "{urn:xmpp:forward:0}forwarded/{jabber:client}message"
RETRACT = "{urn:xmpp:message-retract:1}"


def query(rsm="", kind="submit", **fields):
    form = ""
    for name, v in fields.items():
        values = "".join(f"<value>{x}</value>" for x in (v if isinstance(v, list) else [v]))
        form += f"<field var='{name.rstrip('_').replace('_', '-')}'>{values}</field>"
    form = f"<x xmlns='jabber:x:data' type='{kind}'><field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>{form}</x>" if fields else ""
    return f"<query xmlns='{MAM}' queryid='q'>{form}" + (f"<set xmlns='http://jabber.org/protocol/rsm'>{rsm}</set>" if rsm else "") + "</query>"


async def ask(actor, room, payload):
    """The results in their order, and the answer that ends them."""
    await actor.settle()
    actor.forget()
    fin = await actor.ask("set", payload, room)
    got = [s.xml.find("{" + MAM + "}result") for s in actor.inbox if is_message(s)]
    actor.forget()
    return [r for r in got if r is not None], fin


async def bodies(actor, room, payload):
    return "".join(r.find(MESSAGE).findtext("{jabber:client}body") or "-" for r in (await ask(actor, room, payload))[0])


async def a_room_has_an_archive(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    _, _, witch = await cast(house, 3)
    for i in range(5):
        (hag if i % 2 else crone).say(room, str(i), "groupchat")
        await hush(crone, hag) if i < 4 else None
    last = await crone.expect("the last", message("4"))
    results, fin = await ask(hag, room, query())
    equal([r.find(MESSAGE).findtext("{jabber:client}body") for r in results], list("01234"), "archive")
    equal([r.find(MESSAGE).get("from") for r in results], [f"{room}/{'hag' if i % 2 else 'crone'}" for i in range(5)], "senders")
    ids = [r.get("id") for r in results]
    stamps = [r.find("{urn:xmpp:forward:0}forwarded/{urn:xmpp:delay}delay").get("stamp") for r in results]
    equal(ids[4], last.xml.find(STANZA_ID).get("id"), "the archive id is the stanza id")
    check(all(r.get("queryid") == "q" and r.find(MESSAGE).find(OCCUPANT_ID) is not None for r in results), "query id and occupant ids")
    equal(child(fin, "{" + MAM + "}fin").get("complete"), "true", "the end")
    for payload, want in [
            (query("<max>2</max>"), "01"), (query(f"<max>2</max><after>{ids[1]}</after>"), "23"), (query("<max>2</max><before/>"), "34"),
            (query(f"<max>2</max><before>{ids[3]}</before>"), "12"), (query(start=stamps[0]), "01234"), (query(start="2100-01-01T00:00:00Z"), ""),
            (query(end="2002-01-01T00:00:00Z"), ""), (query(before_id=ids[2]), "01"), (query(after_id=ids[2]), "34"), (query(ids=[ids[3], ids[1]]), "13"),
            (query(with_=f"{room}/hag"), "13"), (query(with_=hag.boundjid.bare), ""),
            (query("<max>2</max>").replace("</query>", "<flip-page/></query>"), "10"), (query("<max>0</max>"), "")]:
        equal(await bodies(hag, room, payload), want, payload)
    equal(await bodies(crone, room, query(with_=hag.boundjid.bare)), "13", "addresses are for moderators")
    equal(await bodies(witch, room, query("<max>1</max>")), "0", "who could enter may read")
    got = await hag.ask("get", f"<metadata xmlns='{MAM}'/>", room)
    meta = child(got, "{" + MAM + "}metadata")
    equal((meta.find("{" + MAM + "}start").get("id"), meta.find("{" + MAM + "}end").get("id")), (ids[0], ids[4]), "first and last")
    check("before-id" in str(await hag.ask("get", f"<query xmlns='{MAM}'/>", room)), "no form")
    for payload in [query("<after>1</after>"), query("<before>1</before>"), query(before_id="1"), query(after_id="x"), query(ids=["1"])]:
        await refuses(hag, "cancel item-not-found", "set", payload, room)
    await refuses(hag, "cancel item-not-found", "set", query(), f"nowhere@rooms.{house.domain}")
    await refuses(hag, "modify jid-malformed", "set", query(with_="@"), room)
    await refuses(hag, "modify bad-request", "set", query(start="yesterday"), room)
    await refuses(hag, "cancel feature-not-implemented", "set", f"<query xmlns='{MAM}' node='urn:x'/>", room)
    # Who may not enter may not read.
    await change(crone, room, membersonly=1)
    for payload in [query(), f"<metadata xmlns='{MAM}'/>"]:
        await refuses(witch, "auth forbidden", "set" if "query" in payload else "get", payload, room)
    await change(crone, room, membersonly=0, passwordprotectedroom=1, roomsecret="x")
    await refuses(witch, "auth forbidden", "set", query(), room)
    await change(crone, room, passwordprotectedroom=0)
    await administer(crone, room, f"<item affiliation='outcast' jid='{witch.boundjid.bare}'/>")
    await refuses(witch, "auth forbidden", "set", query(), room)
    await change(crone, room, enablelogging=0)
    await refuses(crone, "cancel service-unavailable", "set", query(), room)


async def what_is_not_to_be_kept_is_not(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    crone.say(room, "x", "groupchat", None, "<no-store xmlns='urn:xmpp:hints'/>")
    crone.say(room, None, "groupchat", None, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
    crone.say(f"{room}/hag", "private", "chat")
    crone.say(room, "a", "groupchat")
    crone.say(room, None, "groupchat", None, "<reactions xmlns='urn:xmpp:reactions:0' id='a'/>")
    await hag.expect("all", is_message, lambda s: child(s, "{urn:xmpp:reactions:0}reactions") is not None)
    equal(await bodies(hag, room, query()), "a-", "archive")
    await change(crone, room, whois="anyone")
    crone.say(room, "b", "groupchat")
    await crone.settle()
    for a, want in [(hag, [None, None, crone.boundjid.full]), (crone, [crone.boundjid.bare, crone.boundjid.bare, crone.boundjid.full])]:
        results, _ = await ask(a, room, query())
        said_by = [r.find(f"{MESSAGE}/{USER}x/{USER}item") for r in results]
        equal([i.get("jid") if i is not None else None for i in said_by], want, "addresses for those who may know them")


async def moderators_and_authors_take_messages_back(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    _, _, witch = await cast(house, 3)
    ids = []
    for body in ["moderated", "taken back", "another's"]:
        hag.say(room, body, "groupchat")
        ids.append((await crone.expect(body, message(body))).xml.find(STANZA_ID).get("id"))

    def moderate(aid, inner="<retract xmlns='urn:xmpp:message-retract:1'/>"):
        return f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{aid}'>{inner}<reason>Spam</reason></moderate>"
    for a in [hag, witch]:
        await refuses(a, "auth forbidden" if a is hag else "modify not-acceptable", "set", moderate(ids[0]), room)
    for aid in ["1", "x"]:
        await refuses(crone, "cancel item-not-found", "set", moderate(aid), room)
    await refuses(crone, "modify bad-request", "set", moderate(ids[0], ""), room)
    await hush(crone, hag)
    await crone.ask("set", moderate(ids[0]), room)
    for a in [crone, hag]:
        m = await a.expect("a retraction", is_message, lambda s: child(s, RETRACT + "retract") is not None)
        r = child(m, RETRACT + "retract")
        equal((m["from"], r.get("id"), r.findtext(RETRACT + "reason"), r.find("{urn:xmpp:message-moderate:1}moderated").get("by")),
              (room, ids[0], "Spam", f"{room}/crone"), "retraction")
    hag.say(room, None, "groupchat", None, f"<retract xmlns='urn:xmpp:message-retract:1' id='{ids[1]}'/>")
    crone.say(room, None, "groupchat", None, f"<retract xmlns='urn:xmpp:message-retract:1' id='{ids[2]}'/>")
    await hush(crone, hag)
    results, _ = await ask(hag, room, query())
    kept = [("retracted" if r.find(MESSAGE).find(RETRACT + "retracted") is not None else r.find(MESSAGE).findtext("{jabber:client}body")) for r in results]
    equal(kept[:3], ["retracted", "retracted", "another's"], "archive")
    tombstone = results[0].find(MESSAGE).find(RETRACT + "retracted")
    check(tombstone.find("{urn:xmpp:message-moderate:1}moderated") is not None and tombstone.findtext(RETRACT + "reason") == "Spam", "tombstone")
    await leave(hag, room)
    equal([s["body"] for s in await walk_in(hag, room, "hag") if s["body"]], ["another's"], "what who enters is shown")
    # Only the room moderates.
    crone.say(room, "x", "groupchat", None, f"<retract xmlns='urn:xmpp:message-retract:1' id='{ids[2]}'><moderated xmlns='urn:xmpp:message-moderate:1'/></retract>")
    check(child(await hag.expect("it", message("x")), RETRACT + "retract") is None, "an occupant moderates")


async def clients_of_the_old_version_moderate_too(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    hag.say(room, "spam", "groupchat")
    aid = (await crone.expect("it", message("spam"))).xml.find(STANZA_ID).get("id")
    await hush(crone, hag)
    await timely(crone["xep_0425"].moderate(room, aid, "Spam"), "moderation")  # slixmpp 1.8 knows urn:xmpp:message-moderate:0
    for a in [crone, hag]:
        m = await a.expect("a retraction", is_message, lambda s: child(s, RETRACT + "retract") is not None)
        equal((m["apply_to"]["id"], str(m["apply_to"]["moderated"]["by"]), m["apply_to"]["moderated"]["reason"]),
              (aid, f"{room}/crone", "Spam"), "what the plugin reads")
    results, _ = await ask(hag, room, query())
    check(results[0].find(MESSAGE).find(RETRACT + "retracted") is not None, "no tombstone")


async def what_is_marked_to_be_stored_is_history(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    crone.say(room, None, "groupchat", None, "<encrypted xmlns='urn:xmpp:omemo:2'/>", "<store xmlns='urn:xmpp:hints'/>")
    crone.say(room, "for those who are here", "groupchat", None, "<no-store xmlns='urn:xmpp:hints'/>")
    await hag.expect("both", message("for those who are here"))
    await leave(hag, room)
    got = [s for s in await walk_in(hag, room, "hag") if is_message(s) and child(s, "{urn:xmpp:delay}delay") is not None]
    equal([child(s, "{urn:xmpp:omemo:2}encrypted") is not None for s in got], [True], "history")


if __name__ == "__main__":
    play(*map(staged, [a_room_has_an_archive, what_is_not_to_be_kept_is_not, moderators_and_authors_take_messages_back,
                       clients_of_the_old_version_moderate_too, what_is_marked_to_be_stored_is_history]))
