"""Who may have what of a node: access models, affiliations, approval (XEP-0060 §4, §6, §8.6 to §8.9), and what presence has to do with it
(§9, XEP-0163 §4)."""

from eventing_actors import (CLOSED, OWNER, PUBSUB, STRANGER, affiliate, appear, begin, cast, configure, create, entity, event, fields, form, is_last, news,
                             outcome, owner, people, publish, subscribe, texts, thing, told)
from scene import befriend, check, equal, is_message, play, presence

DATA = "{jabber:x:data}x"


async def access_models_admit_whom_they_should(house):
    juliet, romeo, benvolio, mercutio = await people(house, "juliet", "romeo", "benvolio", "mercutio")
    models = ["open", "presence", "roster", "authorize", "whitelist"]
    desk, orchard, street, hall = (await cast(house, juliet, "desk", models), await cast(house, romeo, "orchard", models),
                                   await cast(house, benvolio, "street", models), await cast(house, mercutio, "hall", models))
    for other in [orchard, street]:
        await befriend(desk, other)
    await desk.set_item(romeo, groups=["Friends"])
    for model in models:
        more = dict(roster_groups_allowed="Friends") if model == "roster" else {}
        await create(desk, model, access_model=model, **more)
        await publish(desk, model, "1", thing())
    waits, ungrouped = "auth not-authorized not-subscribed", "auth not-authorized not-in-roster-group"
    # What comes of it when somebody retrieves, subscribes, and retrieves again.
    table = {
        "open": {"ok": [desk, orchard, street, hall]},
        "presence": {"ok": [desk, orchard, street], STRANGER: [hall]},
        "roster": {"ok": [desk, orchard], ungrouped: [street], STRANGER: [hall]},
        "authorize": {"ok": [desk], waits: [orchard, street, hall]},
        "whitelist": {"ok": [desk], CLOSED: [orchard, street, hall]},
    }
    for model, row in table.items():
        for want, actors in row.items():
            for a in actors:
                who = a.boundjid.bare
                ask = entity(f"<subscribe node='{model}' jid='{who}'/>")
                got = [await outcome(a, "get", entity(f"<items node='{model}'/>"), juliet), await outcome(a, "set", ask, juliet),
                       await outcome(a, "get", entity(f"<items node='{model}'/>"), juliet)]
                equal(got, [want, "ok" if want == waits else want, want], f"{model} for {who}")
    names = {a: sorted(i[1] for i in (await a["xep_0060"].get_nodes(jid=juliet))["disco_items"]["items"] if i[1])
             for a in [desk, orchard, street, hall]}
    equal([len(names[desk]), names[orchard], names[street], names[hall]],
          [6, ["authorize", "open", "presence", "roster", "urn:example:ready"], ["authorize", "open", "presence", "urn:example:ready"],
           ["authorize", "open"]], "nodes")
    # Who hears of an item, and how often.
    for a in [desk, orchard, street, hall]:
        await a.caught_up(desk)
        a.forget()
    for model in models:
        await publish(desk, model, "2", thing())
    for a, want in [(desk, models), (orchard, models[:3]), (street, models[:2]), (hall, models[:1])]:
        await a.caught_up(desk)
        heard = [told(s, "items").get("node") for s in a.inbox if is_message(s) and told(s, "items") is not None]
        equal(heard, want, f"events of {a.boundjid.bare}")


async def subscriptions_wait_for_approval(house):
    juliet, mercutio, nurse = await people(house, "juliet", "mercutio", "benvolio")
    desk, hall, room = await cast(house, juliet, "desk"), await cast(house, mercutio, "hall"), await cast(house, nurse, "street")
    await begin(desk)
    await create(desk, "n", access_model="authorize")
    await publish(desk, "n", "1", thing("a"))

    async def wish(of):
        """The request that the owner gets (§8.6)."""
        m = await desk.expect("a subscription request", is_message, lambda s: s.xml.find(DATA) is not None)
        f = fields(m.xml)
        equal((str(m["from"]), f), (juliet, dict(node="n", subscriber_jid=of, allow="false")), "request")

    def answer(of, allow, how="submit"):
        desk.say(juliet, None, "normal", None, form("subscribe_authorization", dict(node="n", subscriber_jid=of, allow=allow) if how == "submit" else {}, how))

    async def state(a, of, want):
        m = await a.expect(f"{want}", news("n", "subscription"))
        s = told(m, "subscription")
        equal((s.get("jid"), s.get("subscription")), (of, want), "state")

    async def subscribers():
        found = (await desk.ask("get", owner("<subscriptions node='n'/>"))).xml.iter(OWNER + "subscription")
        return {s.get("jid"): s.get("subscription") for s in found}

    equal(await subscribe(hall, "n", juliet), "pending", "subscription")
    await wish(mercutio)
    answer(mercutio, "1", "cancel")
    hall.say(juliet, None, "normal", None, form("subscribe_authorization", dict(node="n", subscriber_jid=mercutio, allow="1")))
    await desk.expect("a form of somebody else", is_message, lambda s: s["from"].bare == mercutio)
    equal(await subscribers(), {mercutio: "pending"}, "subscribers after a form that was cancelled, and one of another")
    answer(nurse, "1")
    fault = await desk.expect("an error", is_message, lambda s: s["type"] == "error")
    equal(fault["error"]["condition"], "item-not-found", "approval of who does not wait")
    answer(mercutio, "0")
    await state(hall, mercutio, "none")
    equal(await subscribers(), {}, "subscribers after a refusal")
    await subscribe(hall, "n", juliet)
    await wish(mercutio)
    answer(mercutio, "1")
    await state(hall, mercutio, "subscribed")
    check(is_last(await hall.expect("the last item", event("n", "1"))), "an old item without its time")
    equal(await texts(hall, "n", juliet), {"1": "a"}, "items for a subscriber")
    # The owner may say so in the list as well (§8.8), and is told of others if it wants (pubsub#notify_sub).
    await subscribe(room, "n", juliet)
    await wish(nurse)
    await desk.ask("set", owner(f"<subscriptions node='n'><subscription jid='{nurse}' subscription='subscribed'/><subscription jid='{mercutio}'/></subscriptions>"))
    await state(room, nurse, "subscribed")
    await desk.ask("set", owner(f"<subscriptions node='n'><subscription jid='{mercutio}' subscription='none'/></subscriptions>"))
    await state(hall, mercutio, "none")
    equal(await outcome(desk, "set", owner(f"<subscriptions node='n'><subscription jid='{mercutio}' subscription='subscribed'/></subscriptions>")),
          "modify not-acceptable", "a stranger who has not asked is subscribed")
    equal(await subscribers(), {nurse: "subscribed"}, "subscribers")
    await subscribe(hall, "n", juliet)
    await wish(mercutio)
    await configure(desk, "n", access_model="open", notify_sub="1")  # nobody is left to approve those who wait
    await state(hall, mercutio, "subscribed")
    # What subscribers know of themselves, and their going (§5.6, §6.2). An address with a resource is one of its own.
    equal(await subscribe(hall, "n", juliet, hall.boundjid.full), "subscribed", "subscription of a session")
    await state(desk, hall.boundjid.full, "subscribed")
    await create(desk, "m", access_model="open")
    await subscribe(hall, "m", juliet)
    mine = {(s.get("node"), s.get("jid")) for s in (await hall.ask("get", entity("<subscriptions/>"), juliet)).xml.iter(PUBSUB + "subscription")}
    equal(mine, {("n", mercutio), ("n", hall.boundjid.full), ("m", mercutio)}, "subscriptions")
    await hall.caught_up(desk)
    hall.forget()
    await publish(desk, "n", "2", thing())
    await hall.caught_up(desk)
    heard = [str(s["to"]) for s in hall.inbox if is_message(s) and told(s, "items") is not None]
    equal(sorted(heard), sorted([mercutio, hall.boundjid.full]), "where an event goes")
    await hall.ask("set", entity(f"<unsubscribe node='n' jid='{mercutio}'/>"), juliet)
    await state(desk, mercutio, "none")
    mine = {s.get("jid") for s in (await hall.ask("get", entity("<subscriptions node='n'/>"), juliet)).xml.iter(PUBSUB + "subscription")}
    equal(mine, {hall.boundjid.full}, "subscriptions")


async def affiliations_allow_what_they_should(house):
    juliet, mercutio, nurse = await people(house, "juliet", "mercutio", "benvolio")
    desk, hall, room = await cast(house, juliet, "desk"), await cast(house, mercutio, "hall"), await cast(house, nurse, "street")
    await begin(desk)
    await create(desk, "n", access_model="whitelist", max_items="max", itemreply="publisher")
    await create(desk, "m", access_model="open")
    await publish(desk, "n", "hers", thing("a"))
    get, put = entity("<items node='n'/>"), entity(f"<publish node='n'><item id='his'>{thing('b')}</item></publish>")
    take, end = entity("<retract node='n'><item id='his'/></retract>"), entity("<retract node='n'><item id='hers'/></retract>")
    no = "auth forbidden"
    for what, want in [("none", [CLOSED, no, "cancel item-not-found", no]), ("member", ["ok", no, "cancel item-not-found", no]),
                       ("publish-only", [no, "ok", "ok", no]), ("publisher", ["ok", "ok", "ok", "ok"]), ("outcast", [no, no, no, no])]:
        await affiliate(desk, "n", **{mercutio: what})
        got = [await outcome(hall, "get", get, juliet), await outcome(hall, "set", put, juliet), await outcome(hall, "set", take, juliet),
               await outcome(hall, "set", end, juliet)]
        if want[2].startswith("cancel"):  # who may not publish is told that before
            want[2] = no
        equal(got, want, f"what {what} may")
        await publish(desk, "n", "hers", thing("a"))
    await affiliate(desk, "n", **{mercutio: "publisher", nurse: "member"})
    await hall.ask("set", put, juliet)
    answer = await room.ask("get", get, juliet)
    equal({i.get("id"): i.get("publisher") for i in answer.xml.iter(PUBSUB + "item")}, {"hers": juliet, "his": mercutio}, "publishers")
    listed = (await desk.ask("get", owner("<affiliations node='n'/>"))).xml.iter(OWNER + "affiliation")
    equal({a.get("jid"): a.get("affiliation") for a in listed}, {juliet: "owner", mercutio: "publisher", nurse: "member"}, "affiliations")
    for query, want in [("", {"n": "publisher"}), (" node='n'", {"n": "publisher"}), (" node='m'", {})]:
        mine = (await hall.ask("get", entity(f"<affiliations{query}/>"), juliet)).xml.iter(PUBSUB + "affiliation")
        equal({a.get("node"): a.get("affiliation") for a in mine}, want, "affiliations of a publisher")
    mine = {a.get("affiliation") for a in (await desk.ask("get", entity("<affiliations/>"))).xml.iter(PUBSUB + "affiliation")}
    equal(mine, {"owner"}, "affiliations of the owner")
    # Who loses the right loses the subscription (XEP-0163 §7.1).
    await subscribe(room, "n", juliet)
    await affiliate(desk, "n", **{nurse: "none"})
    equal(told(await room.expect("the end of the subscription", news("n", "subscription")), "subscription").get("subscription"), "none", "state")
    await publish(desk, "n", "more", thing())
    await room.caught_up(desk)
    room.none("an event after that", event("n", "more"))
    # Publish models (pubsub#publish_model).
    put = entity(f"<publish node='m'><item id='{{}}'>{thing()}</item></publish>")
    await configure(desk, "m", publish_model="subscribers", max_items="max")
    equal(await outcome(room, "set", put.format(1), juliet), no, "a publication of who has not subscribed")
    await subscribe(room, "m", juliet)
    await room.ask("set", put.format(2), juliet)
    await configure(desk, "m", publish_model="open")
    await hall.ask("set", put.format(3), juliet)
    equal(await outcome(hall, "set", entity("<retract node='m'><item id='2'/></retract>"), juliet), no, "an item of another's is taken back")
    await hall.ask("set", entity("<retract node='m'><item id='3'/></retract>"), juliet)
    equal(list(await texts(desk, "m")), ["2"], "items")


async def presence_brings_and_ends_what_contacts_hear(house):
    juliet, romeo = await people(house, "juliet", "mercutio")
    desk, orchard = await cast(house, juliet, "desk"), await cast(house, romeo, "hall")
    await begin(desk)
    await appear(orchard, ["n", "friends", "open"])
    await create(desk, "n")
    await create(desk, "friends", access_model="roster", roster_groups_allowed="Friends")
    await create(desk, "open", access_model="open")
    await create(desk, "quiet", send_last_published_item="never")
    await create(desk, "later", access_model="whitelist")
    for node in ["n", "friends", "open", "quiet", "later"]:
        await publish(desk, node, "1", thing())

    async def last(node):
        check(is_last(await orchard.expect(f"the last item of {node}", event(node, "1"))), "an old item without its time")

    # A new contact is sent the last items that it wants and may have, and the one of a group that it comes into.
    await desk.contacts()
    await orchard.contacts()
    for x, y in [(desk, orchard), (orchard, desk)]:
        x.show_presence(y.boundjid.bare, "subscribe")
        await y.expect("a request", presence(x.boundjid.bare, "subscribe"))
        y.show_presence(x.boundjid.bare, "subscribed")
        await x.expect("approval", presence(y.boundjid.bare, "subscribed"))
    await last("n")
    await last("open")
    await orchard.caught_up(desk)
    await desk.set_item(romeo, groups=["Friends"])
    await last("friends")
    # Out of the group, it loses what it had there (XEP-0163 §7.1).
    await subscribe(orchard, "friends", juliet)
    await desk.set_item(romeo, groups=["Foes"])
    equal(told(await orchard.expect("the end of the subscription", news("friends", "subscription")), "subscription").get("subscription"), "none", "state")
    equal(await outcome(orchard, "get", entity("<items node='friends'/>"), juliet), "auth not-authorized not-in-roster-group", "items for another group")
    # A client that wants more than before is sent that, and no more.
    await orchard.caught_up(desk)
    orchard.forget()
    await appear(orchard, ["quiet", "later"])
    await configure(desk, "later", access_model="presence")  # and who may have more than before is sent that
    await last("later")
    await orchard.caught_up(desk)
    for node in ["n", "friends", "open", "quiet"]:
        orchard.none("an item again", event(node))
    # Presence that says nothing new brings nothing.
    await orchard["xep_0115"].update_caps(orchard.boundjid, broadcast=False)
    orchard.show_presence(status="away")
    await orchard.expect("its presence", presence(orchard.boundjid.full))
    await publish(desk, "quiet", "2", thing())
    await orchard.expect("the event", event("quiet", "2"))
    for node in ["n", "friends", "open", "later"]:
        orchard.none("an item again", event(node))
    # Who is blocked hears nothing, and who is unavailable.
    block = "<{0} xmlns='urn:xmpp:blocking'><item jid='" + romeo + "'/></{0}>"
    await desk.ask("set", block.format("block"))
    await publish(desk, "n", "2", thing())
    await desk.ask("set", block.format("unblock"))
    orchard.show_presence(ptype="unavailable")
    await orchard.settle()
    await publish(desk, "n", "3", thing())
    await desk.settle()
    await orchard.caught_up(desk)
    orchard.none("an event while it was blocked or away", event("n"))
    orchard.forget()
    await appear(orchard)
    await orchard.expect("the last item of one that comes back", event("n", "3"))
    # A contact that is one no more.
    await subscribe(orchard, "n", juliet)
    desk.show_presence(romeo, "unsubscribed")
    equal(told(await orchard.expect("the end of the subscription", news("n", "subscription")), "subscription").get("subscription"), "none", "state")
    await publish(desk, "n", "4", thing())
    equal(await outcome(orchard, "get", entity("<items node='n'/>"), juliet), STRANGER, "items for one who is no contact")
    await orchard.caught_up(desk)
    orchard.none("an event of one who is no contact", event("n", "4"))


play(access_models_admit_whom_they_should, subscriptions_wait_for_approval, affiliations_allow_what_they_should,
     presence_brings_and_ends_what_contacts_hear)
