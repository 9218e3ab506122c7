"""The errors of XEP-0060, section by section, as far as they can come from a service that can do what accounts can; and
those of XEP-0049 and XEP-0054."""

from eventing_actors import (CAST, CLOSED, STRANGER, affiliate, begin, cast, config, create, entity, form, options, owner, people, publish, refuse,
                             subscribe, texts, thing)
from scene import befriend, equal, play

MISSING = "cancel item-not-found"
FORBIDDEN = "auth forbidden"
NAMELESS = "modify bad-request nodeid-required"
BAD = "modify bad-request"
UNMET = "cancel conflict precondition-not-met"
UNSUPPORTED = "cancel feature-not-implemented unsupported "


def page(inner):
    return f"<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>"


async def company(house):
    """juliet, whose nodes are asked for, romeo, who is a contact, and mercutio, who is none, with their actors."""
    juliet, romeo, mercutio = await people(house, "juliet", "romeo", "mercutio")
    known = CAST.copy()
    desk, orchard, hall = await cast(house, juliet, "desk"), await cast(house, romeo, "orchard"), await cast(house, mercutio, "hall")
    if not known:
        await befriend(desk, orchard)
    await begin(desk)
    return juliet, romeo, mercutio, desk, orchard, hall


async def subscribers_hear_what_is_wrong(house):
    juliet, romeo, mercutio, desk, orchard, hall = await company(house)
    await create(desk, "open", access_model="open")
    await create(desk, "contacts")
    await create(desk, "friends", access_model="roster", roster_groups_allowed="Friends")
    await create(desk, "asked", access_model="authorize")
    await create(desk, "closed", access_model="whitelist")
    await create(desk, "transient", access_model="open", persist_items="0")
    await publish(desk, "open", "1", thing())
    await affiliate(desk, "open", **{romeo: "outcast"})
    await affiliate(desk, "contacts", **{mercutio: "publish-only"})
    equal(await subscribe(hall, "asked", juliet), "pending", "subscription to be approved")

    def to(node, jid=mercutio, what="subscribe"):
        return entity(f"<{what} node='{node}' jid='{jid}'/>")

    def get(node, inner="", more=""):
        return entity(f"<items node='{node}'{more}/>{inner}")

    await refuse([
        ("5.6", hall, "get", entity("<subscriptions node='none'/>"), juliet, MISSING),
        ("5.7", hall, "get", entity("<affiliations node='none'/>"), juliet, MISSING),
        ("6.1.3.1", hall, "set", to("open", romeo), juliet, "modify bad-request invalid-jid"),
        ("6.1.3.1", hall, "set", to("open", "@"), juliet, "modify bad-request invalid-jid"),
        ("6.1.3.1", hall, "set", entity("<subscribe node='open'/>"), juliet, "modify bad-request invalid-jid"),
        ("6.1.3.2", hall, "set", to("closed"), juliet, CLOSED),
        ("6.1.3.2", hall, "set", to("friends"), juliet, STRANGER),
        ("6.1.3.3", orchard, "set", to("friends", romeo), juliet, "auth not-authorized not-in-roster-group"),
        ("6.1.3.4", orchard, "set", to("closed", romeo), juliet, CLOSED),
        ("6.1.3.7", hall, "set", to("asked"), juliet, "auth not-authorized pending-subscription"),
        ("6.1.3.8", orchard, "set", to("open", romeo), juliet, FORBIDDEN),
        ("6.1.3.8", hall, "set", to("contacts"), juliet, FORBIDDEN),
        ("6.1.3.12", hall, "set", to("none"), juliet, MISSING),
        ("6.1", hall, "set", entity(f"<subscribe jid='{mercutio}'/>"), juliet, NAMELESS),
        ("6.2.3.2", hall, "set", to("open", what="unsubscribe"), juliet, "cancel unexpected-request not-subscribed"),
        ("6.2.3.3", hall, "set", to("open", romeo, "unsubscribe"), juliet, FORBIDDEN),
        ("6.2.3.4", hall, "set", to("none", what="unsubscribe"), juliet, MISSING),
        ("6.2", hall, "set", entity("<unsubscribe node='open'/>"), juliet, "modify bad-request invalid-jid"),
        ("6.3.4.2", hall, "get", to("open", what="options"), juliet, "cancel unexpected-request not-subscribed"),
        ("6.3.7", hall, "set", entity(f"<subscribe node='open' jid='{mercutio}'/><options node='open'/>"), juliet, "modify bad-request"),
        ("6.4", hall, "get", entity("<default node='none'/>"), juliet, MISSING),
        ("6.5.9.3", hall, "get", get("asked"), juliet, "auth not-authorized not-subscribed"),
        ("6.5.9.4", hall, "get", get("transient"), juliet, UNSUPPORTED + "persistent-items"),
        ("6.5.9.6", hall, "get", get("friends"), juliet, STRANGER),
        ("6.5.9.7", orchard, "get", get("friends"), juliet, "auth not-authorized not-in-roster-group"),
        ("6.5.9.8", orchard, "get", get("closed"), juliet, CLOSED),
        ("6.5.9.10", orchard, "get", get("open"), juliet, FORBIDDEN),
        ("6.5.9.11", hall, "get", get("none"), juliet, MISSING),
        ("6.5", hall, "get", entity("<items/>"), juliet, NAMELESS),
        ("6.5.6", hall, "get", get("open", more=" max_items='0'"), juliet, BAD),
        ("6.5.6", hall, "get", get("open", more=" max_items='x'"), juliet, BAD),
        ("6.5.4", hall, "get", get("open", page("<after>none</after>")), juliet, MISSING),
        ("6.5.4", hall, "get", get("open", page("<before>none</before>")), juliet, MISSING),
        ("6.5.4", hall, "get", get("open", page("<max>x</max>")), juliet, BAD),
        ("", hall, "get", entity(""), juliet, BAD),
        ("", hall, "set", get("open"), juliet, BAD),
        ("", hall, "get", to("open"), juliet, BAD),
    ])
    # Items that are not there are none (§6.5.9.12).
    equal(await texts(hall, "open", juliet, inner="<item id='none'/>"), {}, "items that are not there")
    # An address without an account is like an account without nodes.
    nobody = f"nobody@{house.domain}"
    await refuse([("6.5.9.11", hall, "get", get("none"), nobody, MISSING), ("6.1.3.12", hall, "set", to("none"), nobody, MISSING),
                  ("8.1", hall, "set", entity("<create node='n'/>"), nobody, FORBIDDEN), ("8.4.3.2", hall, "set", owner("<delete node='n'/>"), nobody, MISSING)])


async def publishers_hear_what_is_wrong(house):
    juliet, romeo, mercutio, desk, orchard, hall = await company(house)
    await create(desk, "n", access_model="open", max_items="2")
    await create(desk, "full", max_items="1", publish_node_full="reject")
    await create(desk, "heedless", persist_items="0", deliver_payloads="0")
    await create(desk, "members", publish_model="subscribers", access_model="open")
    await create(desk, "everybody", publish_model="open", access_model="open", max_items="max")
    await affiliate(desk, "everybody", **{romeo: "outcast"})
    for node, item in [("n", "1"), ("full", "1"), ("everybody", "hers")]:
        await publish(desk, node, item, thing())

    def put(node, inner=f"<item id='1'>{thing()}</item>", more=""):
        return entity(f"<publish node='{node}'>{inner}</publish>{more}")

    def take(node, inner="<item id='1'/>"):
        return entity(f"<retract node='{node}'>{inner}</retract>")

    two = "".join(f"<item id='{i}'>{thing()}</item>" for i in "234")
    await refuse([
        ("7.1.3.1", orchard, "set", put("n"), juliet, FORBIDDEN),
        ("7.1.3.1", hall, "set", put("members"), juliet, FORBIDDEN),
        ("7.1.3.1", orchard, "set", put("everybody"), juliet, FORBIDDEN),
        ("7.1.3.3", orchard, "set", put("none"), juliet, MISSING),
        ("7.1.3.4", desk, "set", put("full", f"<item id='2'>{thing()}</item>"), None, "cancel conflict node-full"),
        ("7.1.3.5", desk, "set", put("n", f"<item id='2'>{thing('x' * 131072)}</item>"), None, "modify not-acceptable payload-too-big"),
        ("7.1.3.6", desk, "set", put("n", f"<item>{thing()}{thing()}</item>"), None, "modify bad-request invalid-payload"),
        ("7.1.3.6", desk, "set", put("n", "<item><body xmlns='jabber:client'/></item>"), None, "modify bad-request invalid-payload"),
        ("7.1.3.7", desk, "set", put("n", ""), None, "modify bad-request item-required"),
        ("7.1.3.7", desk, "set", put("n", "<item id='2'/>"), None, "modify bad-request payload-required"),
        ("7.1.3.7", desk, "set", put("heedless"), None, "modify bad-request item-forbidden"),
        ("7.1", desk, "set", entity(f"<publish><item>{thing()}</item></publish>"), None, NAMELESS),
        ("7.1.5", desk, "set", put("n", more=options(access_model="presence")), None, UNMET),
        ("7.1.5", desk, "set", put("n", more=options(no_such_option="1")), None, UNMET),
        ("7.1.5", desk, "set", put("new", more=options(no_such_option="1")), None, "modify not-acceptable"),
        ("7.1.5", desk, "set", put("new", more=options(access_model="guests")), None, "modify not-acceptable unsupported-access-model"),
        ("7.1.5", desk, "set", put("new", more=options(max_items="1000")), None, "ok"),
        ("7.1.5", desk, "set", put("new", more="<publish-options/>"), None, BAD),
        ("7.1.5", desk, "set", put("new", more=f"<publish-options>{form('node_config', {})}</publish-options>"), None, BAD),
        ("12.11", desk, "set", put("n", two), None, "cancel not-allowed max-items-exceeded"),
        ("7.2.3.1", orchard, "set", take("n"), juliet, FORBIDDEN),
        ("7.2.3.1", orchard, "set", take("everybody", "<item id='hers'/>"), juliet, FORBIDDEN),
        ("7.2.3.1", hall, "set", take("everybody", "<item id='hers'/>"), juliet, FORBIDDEN),
        ("7.2.3.2", desk, "set", take("none"), None, MISSING),
        ("7.2.3.2", desk, "set", take("n", "<item id='none'/>"), None, MISSING),
        ("12.11", desk, "set", take("n", "<item id='1'/><item id='none'/>"), None, MISSING),
        ("7.2.3.3", desk, "set", entity("<retract><item id='1'/></retract>"), None, NAMELESS),
        ("7.2.3.4", desk, "set", take("n", ""), None, "modify bad-request item-required"),
        ("7.2.3.4", desk, "set", take("n", "<item/>"), None, "modify bad-request item-required"),
        ("7.2.3.5", desk, "set", take("heedless"), None, UNSUPPORTED + "persistent-items"),
        ("", desk, "set", put("n" * 1025), None, "modify not-acceptable"),
        ("", desk, "set", put("n", f"<item id='{'i' * 1025}'>{thing()}</item>"), None, "modify not-acceptable"),
    ])
    # What failed has changed nothing, and what is there already may be written again though the node is full.
    equal([await texts(desk, node) for node in ["n", "full", "everybody"]], [{"1": ""}, {"1": ""}, {"hers": ""}], "items")
    await publish(desk, "full", "1", thing("again"))
    equal(await texts(desk, "full"), {"1": "again"}, "an item of a full node")
    names = sorted(i[1] for i in (await hall["xep_0060"].get_nodes(jid=juliet))["disco_items"]["items"])
    equal(names, ["everybody", "members", "n"], "nodes")


async def owners_hear_what_is_wrong(house):
    juliet, romeo, mercutio, desk, orchard, _ = await company(house)
    await create(desk, "n")
    await create(desk, "transient", persist_items="0")

    def affiliation(jid, what, node="n"):
        return owner(f"<affiliations node='{node}'><affiliation jid='{jid}' affiliation='{what}'/></affiliations>")

    def subscription(jid, what, node="n"):
        return owner(f"<subscriptions node='{node}'><subscription jid='{jid}' subscription='{what}'/></subscriptions>")

    def configured(node="n", **fields):
        return owner(f"<configure node='{node}'>{form('node_config', fields)}</configure>")

    await refuse([
        ("8.1.1", orchard, "set", entity("<create node='new'/>"), juliet, FORBIDDEN),
        ("8.1.1", desk, "set", entity("<create node='n'/>"), None, "cancel conflict"),
        ("8.1.2", desk, "set", entity("<create node='new'/>" + config(access_model="guests")), None, "modify not-acceptable unsupported-access-model"),
        ("8.1.3", desk, "set", entity("<create node='new'/>" + config(max_items="many")), None, "modify not-acceptable"),
        ("8.1.3", desk, "set", entity("<create node='new'/><configure node='new'/>"), None, BAD),
        ("8.1.3", desk, "set", entity("<configure/><create node='new'/>"), None, BAD),
        ("8.1.3", desk, "set", entity(f"<create node='new'/><configure>{form('other', {})}</configure>"), None, BAD),
        ("8.2.3.2", orchard, "get", owner("<configure node='n'/>"), juliet, FORBIDDEN),
        ("8.2.3.2", orchard, "set", configured(title="mine"), juliet, FORBIDDEN),
        ("8.2.3.3", desk, "get", owner("<configure/>"), None, NAMELESS),
        ("8.2.3.5", desk, "get", owner("<configure node='none'/>"), None, MISSING),
        ("8.2.3.5", desk, "set", configured("none", title="x"), None, MISSING),
        ("8.2.4", desk, "set", owner("<configure node='n'/>"), None, BAD),
        *[("8.2.5.2", desk, "set", configured(**{k: v}), None, "modify not-acceptable") for k, v in [
            ("max_items", "0"), ("max_items", "1000"), ("persist_items", "maybe"), ("publish_model", "kings"), ("notification_type", "chat"),
            ("send_last_published_item", "always"), ("publish_node_full", "explode"), ("item_expire", "0"), ("item_expire", "soon"),
            ("itemreply", "nobody"), ("title", "x" * 1025)]],
        ("8.2.5.2", desk, "set", configured(access_model="guests"), None, "modify not-acceptable unsupported-access-model"),
        ("8.3", orchard, "get", owner("<default/>"), juliet, FORBIDDEN),
        ("8.4.1", desk, "set", owner("<delete node='n'><redirect uri='elsewhere'/></delete>"), None, BAD),
        ("8.4.3.1", orchard, "set", owner("<delete node='n'/>"), juliet, FORBIDDEN),
        ("8.4.3.2", desk, "set", owner("<delete node='none'/>"), None, MISSING),
        ("8.4", desk, "set", owner("<delete/>"), None, NAMELESS),
        ("8.5.3.2", orchard, "set", owner("<purge node='n'/>"), juliet, FORBIDDEN),
        ("8.5.3.3", desk, "set", owner("<purge node='transient'/>"), None, UNSUPPORTED + "persistent-items"),
        ("8.5.3.4", desk, "set", owner("<purge node='none'/>"), None, MISSING),
        ("8.8.1.2", orchard, "get", owner("<subscriptions node='n'/>"), juliet, FORBIDDEN),
        ("8.8.1.3", desk, "get", owner("<subscriptions node='none'/>"), None, MISSING),
        ("8.8.2.2", orchard, "set", subscription(romeo, "subscribed"), juliet, FORBIDDEN),
        ("8.8.2.3", desk, "set", subscription(romeo, "none", "none"), None, MISSING),
        ("8.8.2.4", desk, "set", subscription(mercutio, "subscribed"), None, "modify not-acceptable"),
        ("8.8.2.4", desk, "set", subscription(romeo, "pending"), None, "modify not-acceptable"),
        ("8.8.2.4", desk, "set", subscription(romeo + "/orchard", "subscribed"), None, "modify not-acceptable"),
        ("8.8.2.4", desk, "set", subscription(romeo, "perhaps"), None, "modify not-acceptable"),
        ("8.8.2.4", desk, "set", subscription("@", "none"), None, "modify not-acceptable"),
        ("8.9.1.2", orchard, "get", owner("<affiliations node='n'/>"), juliet, FORBIDDEN),
        ("8.9.1.3", desk, "get", owner("<affiliations node='none'/>"), None, MISSING),
        ("8.9.2.3", orchard, "set", affiliation(romeo, "publisher"), juliet, FORBIDDEN),
        ("8.9.2.3", desk, "set", affiliation(romeo, "member", "none"), None, MISSING),
        ("8.9.2.4", desk, "set", affiliation(juliet, "none"), None, "modify not-acceptable"),
        ("8.9.2.4", desk, "set", affiliation(romeo, "owner"), None, "modify not-acceptable"),
        ("8.9.2.4", desk, "set", affiliation(romeo, "king"), None, "modify not-acceptable"),
        ("8.9.2.4", desk, "set", affiliation("@", "member"), None, "modify not-acceptable"),
    ])


async def keepers_of_other_things_hear_what_is_wrong(house):
    _, romeo, _, desk, _, _ = await company(house)

    def private(inner):
        return f"<query xmlns='jabber:iq:private'>{inner}</query>"

    card = "<vCard xmlns='vcard-temp'/>"
    await refuse([
        ("0049 3", desk, "get", private(""), None, BAD),
        ("0049 2.3", desk, "set", private(""), None, "modify not-acceptable"),
        ("0049 2.3", desk, "set", private("<x xmlns='jabber:client'/>"), None, "modify not-acceptable"),
        ("0049 2.3", desk, "get", private("<x xmlns='urn:x'/><y xmlns='urn:y'/>"), None, BAD),
        ("0049 2.3", desk, "get", private("<x xmlns='urn:x'/>"), romeo, FORBIDDEN),
        ("0049 2.3", desk, "set", private("<x xmlns='urn:x'>1</x>"), romeo, FORBIDDEN),
        ("0049 2.3", desk, "set", private("<x xmlns='urn:x'>1</x>"), f"nobody@{house.domain}", FORBIDDEN),
        ("0049", desk, "set", private("".join(f"<x xmlns='urn:{i}'>1</x>" for i in range(101))), None, "wait resource-constraint"),
        ("0054 3.1", desk, "get", card, None, MISSING),
        ("0054 3.2", desk, "set", card, romeo, FORBIDDEN),
        ("0054 3.2", desk, "set", card, f"nobody@{house.domain}", FORBIDDEN),
        ("0054 3.3", desk, "get", card, romeo, "cancel service-unavailable"),
        ("0054 3.3", desk, "get", card, f"nobody@{house.domain}", "cancel service-unavailable"),
        ("0054", desk, "set", f"<vCard xmlns='vcard-temp'><FN>{'x' * 131072}</FN></vCard>", None, "modify resource-constraint"),
    ])


play(subscribers_hear_what_is_wrong, publishers_hear_what_is_wrong, owners_hear_what_is_wrong, keepers_of_other_things_hear_what_is_wrong)
