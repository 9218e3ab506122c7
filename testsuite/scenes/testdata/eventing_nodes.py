"""What owners and publishers do with nodes (XEP-0060 §5, §7, §8), and what others see of it."""

import asyncio

from eventing_actors import (PRIVATE, PUBSUB, begin, cast, configure, create, entity, fields, options, outcome, owner, people, publish, retract,
                             subscribe, texts, thing)
from scene import check, equal, is_message, kind, play, timely

ITEMS = "{http://jabber.org/protocol/disco#items}"
INFO = "{http://jabber.org/protocol/disco#info}"
SET = "{http://jabber.org/protocol/rsm}set"


async def company(house):
    """juliet, whose nodes these are, her actor, and a stranger."""
    juliet, mercutio = await people(house, "juliet", "mercutio")
    desk, hall = await cast(house, juliet, "desk"), await cast(house, mercutio, "hall")
    await begin(desk)
    return juliet, desk, hall


async def nodes_say_what_they_are(house):
    juliet, desk, hall = await company(house)
    # The defaults, and all that can be configured (§8.2, §8.3).
    defaults = fields((await desk.ask("get", owner("<default/>"))).xml)
    want = dict(access_model="presence", send_last_published_item="on_sub_and_presence", deliver_notifications="1", deliver_payloads="1",
                persist_items="1", max_items="1", publish_model="publishers", notification_type="headline", publish_node_full="discard-oldest",
                item_expire="max", notify_delete="1", notify_retract="1", notify_config="0", notify_sub="0", itemreply="none")
    equal({k: defaults[k] for k in want}, want, "defaults")
    changed = dict(title="News", description="What is new", type="urn:t", access_model="roster", roster_groups_allowed=["Friends", "Servants"],
                   send_last_published_item="never", deliver_notifications="0", deliver_payloads="0", persist_items="0", max_items="7",
                   publish_model="open", notification_type="normal", publish_node_full="reject", item_expire="3600", notify_delete="0",
                   notify_retract="0", notify_config="1", notify_sub="1", itemreply="publisher")
    await create(desk, "n", **changed)
    equal(fields((await desk.ask("get", owner("<configure node='n'/>"))).xml), changed, "what was configured at the creation")
    await configure(desk, "n", access_model="open", max_items="max", persist_items="1")
    changed.update(access_model="open", max_items="max", persist_items="1")
    equal(fields((await desk.ask("get", owner("<configure node='n'/>"))).xml), changed, "what was configured later")
    await desk.ask("set", owner("<configure node='n'><x xmlns='jabber:x:data' type='cancel'/></configure>"))
    await configure(desk, "n", no_such_field="1")
    equal(fields((await desk.ask("get", owner("<configure node='n'/>"))).xml), changed, "what was not configured")

    # A node without a name gets one (§8.1.1), and so does an item (§7.1.2).
    answer = await desk.ask("set", entity("<create/>"))
    name = answer.xml.find(f"{PUBSUB}pubsub/{PUBSUB}create").get("node")
    answer = await publish(desk, name, None, thing("x"))
    item = answer.xml.find(f"{PUBSUB}pubsub/{PUBSUB}publish/{PUBSUB}item").get("id")
    equal(await texts(desk, name), {item: "x"}, "an item that was published without an id")

    # What strangers see: of the node's description, of its items, and nothing of nodes that they may not have (§5.2 to §5.5).
    for i in "12":
        await publish(hall, "n", i, thing(i), to=juliet)
    await subscribe(hall, "n", juliet)
    answer = await hall.ask("get", f"<query xmlns='{INFO[1:-1]}' node='n'/>", juliet)
    check(any((i.get("category"), i.get("type")) == ("pubsub", "leaf") for i in answer.xml.iter(INFO + "identity")), f"no leaf: {answer}")
    meta = fields(answer.xml)
    check(meta.pop("creation_date", "").endswith("Z"), f"metadata {meta}")
    equal(meta, dict(title="News", description="What is new", type="urn:t", access_model="open", publish_model="open", max_items="max",
                     creator=juliet, owner=juliet, num_subscribers="1"), "metadata")
    for query, want in [("", [("n", "News")]), (" node='n'", [(None, "1"), (None, "2")])]:
        answer = await hall.ask("get", f"<query xmlns='{ITEMS[1:-1]}'{query}/>", juliet)
        equal([(i.get("node"), i.get("name")) for i in answer.xml.iter(ITEMS + "item")], want, "what a stranger finds")
    # A node for contacts is answered like one that is not there.
    for node in [name, "none"]:
        equal(await outcome(hall, "get", f"<query xmlns='{INFO[1:-1]}' node='{node}'/>", juliet), "cancel service-unavailable", "what it is")
        answer = await hall.ask("get", f"<query xmlns='{ITEMS[1:-1]}' node='{node}'/>", juliet)
        equal(len(list(answer.xml.iter(ITEMS + "item"))), 0, "what is in it")


async def items_come_as_they_are_asked_for(house):
    juliet, desk, hall = await company(house)
    await create(desk, "n", access_model="open", max_items="max")
    for i in "ebdca":
        await publish(desk, "n", i, thing(i))
    await publish(desk, "n", "b", thing("again"))  # the newest then (§12.1)

    async def asked(**how):
        return list(await texts(hall, "n", juliet, **how))

    equal(await asked(), list("edcab"), "all items")
    equal(await asked(more=" max_items='2'"), list("ab"), "the two newest")
    equal(await asked(inner="<item id='d'/><item id='a'/><item id='none'/>"), list("da"), "items by their ids")

    async def page(inner):
        answer = await hall.ask("get", entity(f"<items node='n'/><set xmlns='{SET[1:-4]}'>{inner}</set>"), juliet)
        last = answer.xml.find(f"{PUBSUB}pubsub/{SET}")
        value = {c.tag.partition("}")[2]: c.text for c in last}
        ids = "".join(i.get("id") for i in answer.xml.iter(PUBSUB + "item"))
        return ids, value.get("first"), value.get("last"), value["count"]

    for inner, want in [("<max>2</max>", ("ed", "e", "d", "5")), ("<max>2</max><after>d</after>", ("ca", "c", "a", "5")),
                        ("<max>2</max><before/>", ("ab", "a", "b", "5")), ("<max>2</max><before>a</before>", ("dc", "d", "c", "5")),
                        ("<max>1</max><index>3</index>", ("a", "a", "a", "5")), ("<max>0</max>", ("", None, None, "5"))]:
        equal(await page(inner), want, f"page {inner}")

    # Several at once, and what is too much for one answer comes in pages.
    await desk.ask("set", entity("<publish node='n'>" + "".join(f"<item id='{i}'>{thing(i)}</item>" for i in "xy") + "</publish>"))
    await retract(desk, "n", "e", "d", "x")
    equal(await asked(), list("caby"), "items after several at once")
    await create(desk, "large", access_model="open", max_items="max")
    for i in range(8):
        await publish(desk, "large", str(i), thing(str(i) * 60000))
    got = []
    while len(got) < 8:
        after = f"<set xmlns='{SET[1:-4]}'><after>{got[-1]}</after></set>" if got else ""
        more = list(await texts(hall, "large", juliet, rsm=after))
        check(0 < len(more) < 8, f"a page of {more} after {got}")
        got += more
    equal(got, list("01234567"), "items of all pages")


async def events_are_as_the_node_says(house):
    juliet, desk, hall = await company(house)
    await create(desk, "n", access_model="open", max_items="2")
    equal(await subscribe(hall, "n", juliet), "subscribed", "subscription")

    async def news_of(*want):
        """The next events of the node must be these, and no others."""
        await hall.caught_up(desk)
        got = []
        for m in [s for s in hall.inbox if is_message(s)]:
            hall.inbox.remove(m)
            for what in m.xml.find("{http://jabber.org/protocol/pubsub#event}event"):
                said = [what.tag.partition("}")[2]] if what.tag.partition("}")[2] != "items" else []
                for c in what:
                    local = c.tag.partition("}")[2]
                    said.append({"retract": "-", "item": ""}.get(local, local) + (c.get("id") or ""))
                    said += [p.text or "" for p in c if local == "item"]
                    said += ["by " + c.get("publisher")] if c.get("publisher") else []
                    said += [c.get("uri")] if local == "redirect" else []
                got.append(" ".join(said + [kind(m)] * (kind(m) != "headline")))
        equal(got, list(want), "events")

    await publish(desk, "n", "1", thing("a"))
    await publish(desk, "n", "1", thing("b"))
    await desk.ask("set", entity("<publish node='n'>" + "".join(f"<item id='{i}'>{thing(i)}</item>" for i in "23") + "</publish>"))
    await news_of("1 a", "1 b", "2 2 3 3")
    equal(list(await texts(desk, "n")), ["2", "3"], "items of a node for two")
    await retract(desk, "n", "2", "3")
    await news_of("-2 -3")
    await configure(desk, "n", notify_retract="0")
    await publish(desk, "n", "4", thing("c"))
    await retract(desk, "n", "4", more="")
    await publish(desk, "n", "5", thing("d"))
    await retract(desk, "n", "5")  # whoever asks for it is heard
    await news_of("4 c", "5 d", "-5")
    await configure(desk, "n", itemreply="publisher", notification_type="normal", notify_config="1", deliver_payloads="0")
    await publish(desk, "n", "6", thing("e"))
    await news_of("configuration normal", f"6 by {juliet} normal")
    equal(await texts(hall, "n", juliet), {"6": "e"}, "the payload is there all the same")
    await configure(desk, "n", itemreply="none", notification_type="headline", deliver_payloads="1")
    await news_of("configuration x")

    # A full node (§7.1.2).
    await configure(desk, "n", notify_config="0", publish_node_full="retract-oldest", notify_retract="1")
    for i in "78":
        await publish(desk, "n", i, thing())
    await news_of("7 ", "8 ", "-6")
    await configure(desk, "n", publish_node_full="discard-oldest")
    await publish(desk, "n", "9", thing())
    await news_of("9 ")
    await configure(desk, "n", max_items="1")
    equal(list(await texts(desk, "n")), ["9"], "items of a node that has less room than before")

    # Purge, silence, items that are not kept, and the end (§8.4, §8.5).
    await desk.ask("set", owner("<purge node='n'/>"))
    equal(await texts(desk, "n"), {}, "items after the purge")
    await configure(desk, "n", deliver_notifications="0")
    await publish(desk, "n", "10", thing())
    await configure(desk, "n", deliver_notifications="1", persist_items="0")
    await publish(desk, "n", "11", thing("f"))
    await configure(desk, "n", deliver_payloads="0")
    await desk.ask("set", entity("<publish node='n'/>"))
    await news_of("purge", "11 f", "")
    await configure(desk, "n", persist_items="1", deliver_payloads="1")
    equal(await texts(desk, "n"), {}, "items that were not kept")
    await desk.ask("set", owner("<delete node='n'><redirect uri='xmpp:pubsub.example?;node=m'/></delete>"))
    await news_of("delete redirect xmpp:pubsub.example?;node=m")
    equal(await outcome(desk, "get", entity("<items node='n'/>")), "cancel item-not-found", "the deleted node")
    await create(desk, "n", access_model="open", notify_delete="0")
    answer = await hall.ask("get", entity("<subscriptions node='n'/>"), juliet)
    equal(len(list(answer.xml.iter(PUBSUB + "subscription"))), 0, "subscriptions of a node of the same name")
    await subscribe(hall, "n", juliet)
    await desk.ask("set", owner("<delete node='n'/>"))
    await news_of()


async def options_make_a_node_and_are_conditions_then(house):
    _, desk, _ = await company(house)
    await publish(desk, "brief", "1", thing(), item_expire="5")
    wants = dict(PRIVATE, notify_retract="1", notify_delete="1", item_expire="max", type="urn:t")
    await publish(desk, "n", "1", thing("1"), **wants)  # §7.1.4, §7.1.5, XEP-0223
    made = fields((await desk.ask("get", owner("<configure node='n'/>"))).xml)
    equal({k: made[k] for k in wants}, dict(wants, persist_items="1"), "the configuration of the node")
    await publish(desk, "n", "2", thing("2"), **wants)
    for one in [dict(access_model="open"), dict(persist_items="0"), dict(max_items="3"), dict(send_last_published_item="on_sub")]:
        equal(await outcome(desk, "set", entity(f"<publish node='n'><item id='3'>{thing()}</item></publish>" + options(**dict(wants, **one)))),
              "cancel conflict precondition-not-met", f"a publication that wants {one}")
    equal(await texts(desk, "n"), {"1": "1", "2": "2"}, "items")
    # What clients do then: make the node so, and publish again.
    await configure(desk, "n", access_model="open")
    await publish(desk, "n", "3", thing("3"), access_model="open")
    # As XEP-0222 would have it.
    await publish(desk, "m", "1", thing("1"), persist_items="true", send_last_published_item="never", access_model="open")
    equal(await texts(desk, "m"), {"1": "1"}, "items")

    async def over():
        while await texts(desk, "brief"):
            await asyncio.sleep(0.05)
    await timely(over(), "the end of an item that lives for five seconds")
    await publish(desk, "brief", "2", thing("next"))
    equal(await texts(desk, "brief"), {"2": "next"}, "items")


async def quotas_are_errors(house):
    _, desk, _ = await company(house)
    for i in range(20):
        await create(desk, f"n{i}", max_items="256")
    for request in [entity("<create node='more'/>"), entity(f"<publish node='more'><item>{thing()}</item></publish>")]:
        equal(await outcome(desk, "set", request), "wait resource-constraint", "a node too many")
    await desk.ask("set", owner("<delete node='n0'/>"))
    await publish(desk, "more", "1", thing())
    await publish(desk, "n1", "1", thing("x" * 60000))
    equal(await outcome(desk, "set", entity(f"<publish node='n1'><item id='1'>{thing('x' * 131072)}</item></publish>")),
          "modify not-acceptable payload-too-big", "a payload of more than 128 KiB")
    many = "".join(f"<item id='{i}'>{thing()}</item>" for i in range(256))
    await desk.ask("set", entity(f"<publish node='n1'>{many}</publish>"))
    await publish(desk, "n1", "256", thing())
    got = list(await texts(desk, "n1"))
    equal((len(got), got[0], got[-1]), (256, "1", "256"), "items of a full node")


play(nodes_say_what_they_are, items_come_as_they_are_asked_for, events_are_as_the_node_says,
     options_make_a_node_and_are_conditions_then, quotas_are_errors)
