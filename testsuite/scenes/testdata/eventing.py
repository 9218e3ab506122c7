"""Events of accounts: XEP-0163 on XEP-0060, with capabilities (XEP-0115) that say who wants them."""

from eventing_actors import (NS, OWNER, STRANGER, TUNE, affiliate, appear, begin, cast, client, create, entity, event, fields, is_last, items, outcome, owner, payload, people,
                             publish, subscribe, texts, thing)
from scene import befriend, check, child, element, equal, play
from slixmpp.stanza import Iq

DEVICES = "eu.siacs.conversations.axolotl.devicelist"


def tune(title):
    return element(f"<tune xmlns='{TUNE}'><title>{title}</title></tune>")


def title(s):
    return payload(s).find(f"{{{TUNE}}}title").text


async def contacts_and_own_clients_hear_what_they_want(house):
    juliet, romeo, _ = await people(house, "juliet", "romeo", "mercutio")
    desk, orchard = await cast(house, juliet, "desk"), await cast(house, romeo, "orchard")
    await befriend(desk, orchard)
    await desk["xep_0060"].publish(None, TUNE, id="1", payload=tune("Lark"))
    # The last item comes to who becomes available, and says that the server knows now what it wants.
    phone = await cast(house, juliet, "phone", [TUNE])
    street = await cast(house, romeo, "street", [TUNE])
    for a in [phone, street]:
        last = await a.expect("the last item", event(TUNE, "1"))
        check(is_last(last), "the last item does not say when it was published")
    await desk["xep_0060"].publish(None, TUNE, id="2", payload=tune("Nightingale"))
    for a in [phone, street]:
        e = await a.expect("the event", event(TUNE, "2"))
        equal((str(e["from"]), str(e["to"]), e["type"], title(e)), (juliet, a.boundjid.full, "headline", "Nightingale"), "event")
        replies = child(e, "{http://jabber.org/protocol/address}addresses")[0]  # XEP-0163 §4.3.1
        equal((replies.get("type"), replies.get("jid")), ("replyto", desk.boundjid.full), "which session it was")
    await desk["xep_0060"].retract(None, TUNE, "2", notify="true")
    for a in [phone, street]:
        await a.expect("the retraction", event(TUNE, "2", "retract"))
    await orchard.caught_up(desk)
    for a in [desk, orchard]:
        a.none("an event that it does not want", event(TUNE))
    await street.caught_up(desk)
    street.none("an event twice", event(TUNE))


async def strangers_read_open_nodes_and_subscribe(house):
    juliet, mercutio = await people(house, "juliet", "mercutio")
    desk, hall = await cast(house, juliet, "desk"), await cast(house, mercutio, "hall")
    await begin(desk)
    devices = "<list xmlns='eu.siacs.conversations.axolotl'><device id='{}'/></list>"
    await publish(desk, DEVICES, "current", devices.format(1), access_model="open")
    equal([d.get("id") for d in (await items(hall, DEVICES, juliet))["current"]], ["1"], "devices that a stranger sees")
    nodes = await hall["xep_0060"].get_nodes(jid=juliet)
    equal([i[1] for i in nodes["disco_items"]["items"]], [DEVICES], "nodes that a stranger sees")
    await hall["xep_0060"].subscribe(juliet, DEVICES)
    await hall.expect("the last item", event(DEVICES, "current"))
    await publish(desk, DEVICES, "current", devices.format(2), access_model="open")
    e = await hall.expect("the event", event(DEVICES, "current"))
    equal(payload(e)[0].get("id"), "2", "device")

    await publish(desk, TUNE, "1", f"<tune xmlns='{TUNE}'/>")
    equal(await outcome(hall, "get", entity(f"<items node='{TUNE}'/>"), juliet), STRANGER, "a stranger reads what contacts may")
    for request in [f"<delete node='{DEVICES}'/>", f"<purge node='{DEVICES}'/>"]:
        equal(await outcome(hall, "set", owner(request), juliet), "auth forbidden", request)


async def the_account_says_what_it_can(house):
    juliet, = await people(house, "juliet")
    desk = await cast(house, juliet, "desk")
    info = (await desk["xep_0030"].get_info(jid=juliet))["disco_info"]
    check(("pubsub", "pep", None, None) in info["identities"], f"identities {info['identities']}")
    # What clients look for before they use it, and what there is not.
    for f in ["publish", "publish-options", "auto-create", "auto-subscribe", "filtered-notifications", "access-open", "access-whitelist", "persistent-items",
              "multi-items", "config-node", "config-node-max", "create-and-configure", "delete-items", "retract-items", "delete-nodes", "purge-nodes",
              "instant-nodes", "item-ids", "last-published", "meta-data", "retrieve-items", "publish-node-full", "pubsub-on-a-jid", "subscription-options", "multi-subscribe",
              "leased-subscription", "retrieve-default-sub"]:
        check(f"{NS}#{f}" in info["features"], f"{f} is not announced")
    for f in ["urn:xmpp:pep-vcard-conversion:0", "urn:xmpp:bookmarks:1#compat", "urn:xmpp:bookmarks:1#compat-pep", "urn:xmpp:mds:server-assist:0",
              "urn:ietf:params:xml:ns:vcard-4.0", "vcard-temp"]:
        check(f in info["features"], f"{f} is not announced")
    for f in ["collections", "get-pending"]:
        check(f"{NS}#{f}" not in info["features"], f"{f} is announced")


async def nodes_and_subscriptions_survive_a_crash(house):
    juliet, mercutio = await people(house, "juliet", "mercutio")
    desk, hall = await cast(house, juliet, "desk"), await cast(house, mercutio, "hall")
    await begin(desk)
    for i in range(5):
        await publish(desk, "n", str(i), thing(i), access_model="open", max_items="4", item_expire="86400", publish_node_full="retract-oldest")
    await subscribe(hall, "n", juliet)
    await desk["xep_0060"].retract(None, "n", "3")
    await create(desk, "m", access_model="authorize")
    await subscribe(hall, "m", juliet)
    await affiliate(desk, "m", **{f"nurse@{house.domain}": "publisher"})
    before = [(await desk.ask("get", owner(f"<configure node='{node}'/>"))).xml for node in "nm"]
    await house.ask("crash")
    desk, hall = await client(house, juliet, "desk2"), await client(house, mercutio, "hall2")
    equal(await texts(desk, "n"), {"1": "1", "2": "2", "4": "4"}, "items after a crash")
    after = [(await desk.ask("get", owner(f"<configure node='{node}'/>"))).xml for node in "nm"]
    equal([fields(x) for x in after], [fields(x) for x in before], "configurations after a crash")
    listed = (await desk.ask("get", owner("<affiliations node='m'/>"))).xml.iter(OWNER + "affiliation")
    equal({a.get("jid"): a.get("affiliation") for a in listed}, {juliet: "owner", f"nurse@{house.domain}": "publisher"}, "affiliations after a crash")
    listed = (await desk.ask("get", owner("<subscriptions node='m'/>"))).xml.iter(OWNER + "subscription")
    equal({a.get("jid"): a.get("subscription") for a in listed}, {mercutio: "pending"}, "subscriptions after a crash")
    await publish(desk, "n", "6", thing(6))
    await hall.expect("an event of the subscription of before", event("n", "6"))


async def clients_are_asked_once_what_they_can(house):
    juliet, romeo = await people(house, "juliet", "romeo")
    wants = [f"urn:example:{juliet}"]  # that nobody else wants

    def asked(a):
        return sum(isinstance(s, Iq) and s["id"].startswith("caps-") for s in a.inbox)

    desk, orchard = await cast(house, juliet, "desk"), await cast(house, romeo, "orchard")
    await begin(desk)
    for a in [desk, orchard]:
        await appear(a, wants)
    if house.nodes == 1:  # each of several nodes asks for itself
        equal((asked(desk), asked(orchard)), (1, 0), "questions: the second says what the first has said")
    check(max(asked(desk), asked(orchard)) <= house.nodes, "questions that were answered are asked again")
    # The server says at the login what it can (XEP-0115 §6.3), so that nobody has to ask.
    check("caps" in desk.features, "the stream says nothing of the server's capabilities")
    info = await desk["xep_0030"].get_info(jid=house.domain)
    ver = desk["xep_0115"].generate_verstring(info["disco_info"], "sha-1")
    node = await desk["xep_0030"].get_info(jid=house.domain, node=f"urn:x-jackdaw:server#{ver}")
    equal(node["disco_info"]["features"], info["disco_info"]["features"], "what the node of the capabilities stands for")


play(contacts_and_own_clients_hear_what_they_want, strangers_read_open_nodes_and_subscribe, the_account_says_what_it_can,
     clients_are_asked_once_what_they_can, nodes_and_subscriptions_survive_a_crash)
