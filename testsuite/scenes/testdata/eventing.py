"""Events of accounts: XEP-0163 on XEP-0060, and what is unified on top of it: avatars (XEP-0084, XEP-0398), bookmarks
(XEP-0402, XEP-0048, XEP-0049), what was displayed (XEP-0490)."""

import base64
import hashlib

from scene import befriend, check, child, denied, element, equal, is_message, play, presence
from slixmpp.plugins.xep_0048.stanza import Bookmarks

EVENT = "{http://jabber.org/protocol/pubsub#event}"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
READY = "urn:example:ready"
TUNE = "http://jabber.org/protocol/tune"
DEVICES = "eu.siacs.conversations.axolotl.devicelist"
BOOKMARKS = "urn:xmpp:bookmarks:1"
OLD = "storage:bookmarks"
DISPLAYED = "urn:xmpp:mds:displayed:0"
DATA, META = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
JPEG = b"\xff\xd8\xff\xe0 not much of a picture"


async def client(house, user, resource="desk", wants=(), plugins=()):
    """An actor that is available, and whose capabilities say what it wants."""
    a = await house.login(user, resource, presence=None, plugins=["xep_0060", "xep_0115", "xep_0163", *plugins])
    await appear(a, wants)
    return a


async def appear(a, wants=()):
    """Shows presence, and comes back when the server knows what the client wants."""
    wants = [*wants, READY] if wants else []
    for node in wants:
        a["xep_0030"].add_feature(node + "+notify")
    await a["xep_0115"].update_caps(a.boundjid, broadcast=False)
    a.show_presence()
    await a.expect("its presence", presence(a.boundjid.full))
    if wants:
        # It is an event if the server knows already, and the last item that it sends once it does if not.
        await publish(a, READY, a.boundjid.resource, f"<ready xmlns='{READY}'/>")
        await a.expect("an event of its own", event(READY, a.boundjid.resource))


def event(node, item=None, what="item"):
    """An event of a node: of an item with this id, or of its retraction."""
    def match(s):
        items = s.xml.find(f"{EVENT}event/{EVENT}items") if is_message(s) else None
        return (items is not None and items.get("node") == node
                and (item is None or any(i.get("id") == item for i in items.findall(EVENT + what))))
    return match


def payload(s):
    return s.xml.find(f"{EVENT}event/{EVENT}items/{EVENT}item")[0]


def options(**fields):
    """A form of publish-options."""
    inner = "".join(f"<field var='pubsub#{k}'><value>{v}</value></field>" for k, v in fields.items())
    return ("<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>http://jabber.org/protocol/pubsub#publish-options</value></field>{inner}</x></publish-options>")


PRIVATE = dict(persist_items="true", max_items="max", send_last_published_item="never", access_model="whitelist")


async def publish(a, node, item, xml, **fields):
    inner = f"<publish node='{node}'><item id='{item}'>{xml}</item></publish>" + (options(**fields) if fields else "")
    return await a.ask("set", f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{inner}</pubsub>")


async def items(a, node, of=None):
    """The items of a node, as {id: payload}."""
    answer = await a.ask("get", f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>", of)
    return {i.get("id"): i[0] for i in answer.xml.findall(f"{PUBSUB}pubsub/{PUBSUB}items/{PUBSUB}item")}


def tune(title):
    return element(f"<tune xmlns='{TUNE}'><title>{title}</title></tune>")


def title(s):
    return payload(s).find(f"{{{TUNE}}}title").text


async def contacts_and_own_clients_hear_what_they_want(house):
    juliet, romeo = await house.users("juliet", "romeo")
    desk, orchard = await client(house, juliet), await client(house, romeo, "orchard")
    await befriend(desk, orchard)
    await desk["xep_0060"].publish(None, TUNE, id="1", payload=tune("Lark"))
    # The last item comes to who becomes available, and says that the server knows now what it wants.
    phone = await client(house, juliet, "phone", [TUNE])
    street = await client(house, romeo, "street", [TUNE])
    for a in [phone, street]:
        last = await a.expect("the last item", event(TUNE, "1"))
        check(child(last, "{urn:xmpp:delay}delay") is not None, "the last item does not say when it was published")
    await desk["xep_0060"].publish(None, TUNE, id="2", payload=tune("Nightingale"))
    for a in [phone, street]:
        e = await a.expect("the event", event(TUNE, "2"))
        equal((str(e["from"]), str(e["to"]), e["type"], title(e)), (juliet, a.boundjid.full, "headline", "Nightingale"), "event")
    await desk["xep_0060"].retract(None, TUNE, "2", notify="true")
    for a in [phone, street]:
        await a.expect("the retraction", event(TUNE, "2", "retract"))
    await orchard.caught_up(desk)
    for a in [desk, orchard]:
        a.none("an event that it does not want", event(TUNE))
    await street.caught_up(desk)
    street.none("an event twice", event(TUNE))


async def strangers_read_open_nodes_and_subscribe(house):
    juliet, mercutio = await house.users("juliet", "mercutio")
    desk, hall = await client(house, juliet), await client(house, mercutio, "hall")
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
    fault = await denied(items(hall, TUNE, juliet), "not-authorized", "a stranger reads what contacts may")
    check("presence-subscription-required" in str(fault.iq), f"error {fault.iq}")
    await denied(publish(desk, DEVICES, "current", devices.format(3), access_model="whitelist"), "conflict", "another access model")
    equal([d.get("id") for d in (await items(hall, DEVICES, juliet))["current"]], ["2"], "devices after a refusal")
    for request in [f"<delete node='{DEVICES}'/>", f"<purge node='{DEVICES}'/>"]:
        await denied(hall.ask("set", f"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>{request}</pubsub>", juliet), "forbidden", request)
    await denied(items(hall, TUNE, f"nobody@{house.domain}"), "item-not-found", "a node of nobody")


async def the_account_says_what_it_can(house):
    juliet = await house.users("juliet")
    desk = await client(house, juliet)
    info = (await desk["xep_0030"].get_info(jid=juliet))["disco_info"]
    check(("pubsub", "pep", None, None) in info["identities"], f"identities {info['identities']}")
    for f in ["publish-options", "auto-create", "filtered-notifications", "access-whitelist", "persistent-items", "multi-items"]:
        check("http://jabber.org/protocol/pubsub#" + f in info["features"], f"{f} is not announced")
    for f in ["urn:xmpp:pep-vcard-conversion:0", BOOKMARKS + "#compat", BOOKMARKS + "#compat-pep", "urn:xmpp:mds:server-assist:0"]:
        check(f in info["features"], f"{f} is not announced")
    form = (await desk.ask("get", "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><default/></pubsub>")).xml
    check("pubsub#access_model" in [f.get("var") for f in form.iter("{jabber:x:data}field")], "no form with the defaults")


async def nodes_and_subscriptions_survive_a_crash(house):
    juliet, mercutio = await house.users("juliet", "mercutio")
    desk, hall = await client(house, juliet), await client(house, mercutio, "hall")
    for i in range(5):
        await publish(desk, "urn:n", str(i), f"<t xmlns='urn:t'>{i}</t>", access_model="open", max_items="4")
    await hall["xep_0060"].subscribe(juliet, "urn:n")
    await desk["xep_0060"].retract(None, "urn:n", "3")
    await house.ask("crash")
    desk, hall = await client(house, juliet, "desk2"), await client(house, mercutio, "hall2")
    equal({k: v.text for k, v in (await items(desk, "urn:n")).items()}, {"1": "1", "2": "2", "4": "4"}, "items after a crash")
    await denied(publish(desk, "urn:n", "5", "<t xmlns='urn:t'/>", access_model="presence"), "conflict", "the configuration after a crash")
    await publish(desk, "urn:n", "6", "<t xmlns='urn:t'>6</t>")
    await hall.expect("an event of the subscription of before", event("urn:n", "6"))


async def avatars_of_both_kinds_are_the_same(house):
    juliet, romeo = await house.users("juliet", "romeo")
    desk = await client(house, juliet, plugins=["xep_0084", "xep_0054"])
    orchard = await client(house, romeo, "orchard", [META], plugins=["xep_0084", "xep_0054"])
    await befriend(desk, orchard)
    form = desk["xep_0004"].make_form(ftype="submit")
    form.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    form.add_field(var="pubsub#access_model", value="open")
    ident = hashlib.sha1(PNG).hexdigest()
    await desk["xep_0084"].publish_avatar(PNG, options=form)
    await desk["xep_0084"].publish_avatar_metadata({"id": ident, "type": "image/png", "bytes": len(PNG)}, options=form)
    e = await orchard.expect("the metadata", event(META))
    equal(payload(e).find(f"{{{META}}}info").get("id"), ident, "hash of the avatar")
    avatar = await orchard["xep_0084"].retrieve_avatar(juliet, ident)
    equal(avatar["pubsub"]["items"]["item"]["avatar_data"]["value"], PNG, "the avatar")
    p = await orchard.expect("presence with the hash", presence(desk.boundjid.full), has_photo(ident))
    check(p is not None, "no presence")
    card = await orchard["xep_0054"].get_vcard(juliet)
    equal((card["vcard_temp"]["PHOTO"]["BINVAL"], card["vcard_temp"]["PHOTO"]["TYPE"]), (PNG, "image/png"), "photo in the vCard")

    card = desk["xep_0054"].make_vcard()
    card["FN"] = "Juliet"
    card["PHOTO"]["TYPE"], card["PHOTO"]["BINVAL"] = "image/jpeg", JPEG
    await desk["xep_0054"].publish_vcard(card)
    ident = hashlib.sha1(JPEG).hexdigest()
    e = await orchard.expect("the metadata of the photo", event(META, ident))
    equal(payload(e).find(f"{{{META}}}info").get("type"), "image/jpeg", "type")
    await orchard.expect("presence with the new hash", presence(desk.boundjid.full), has_photo(ident))
    avatar = await orchard["xep_0084"].retrieve_avatar(juliet, ident)
    equal(avatar["pubsub"]["items"]["item"]["avatar_data"]["value"], JPEG, "the avatar")

    # A session that comes later and says nothing of a picture shows it too.
    await client(house, juliet, "phone")
    await orchard.expect("presence of another client", presence(juliet + "/phone"), has_photo(ident))


def has_photo(ident):
    def match(s):
        photo = s.xml.find("{vcard-temp:x:update}x/{vcard-temp:x:update}photo")
        return photo is not None and photo.text == ident
    return match


async def bookmarks_are_the_same_everywhere(house):
    juliet = await house.users("juliet")
    old = await client(house, juliet, "old", plugins=["xep_0048"])
    new = await client(house, juliet, "new", [BOOKMARKS])
    listed = Bookmarks()
    listed.add_conference("a@rooms.example", "J", name="A", autojoin=True)
    listed.add_url("https://example.org/", name="Pages")
    await old["xep_0048"].set_bookmarks(listed, method="xep_0049")
    e = await new.expect("the bookmark", event(BOOKMARKS, "a@rooms.example"))
    equal((payload(e).get("name"), payload(e).find(f"{{{BOOKMARKS}}}nick").text), ("A", "J"), "bookmark")
    await publish(new, BOOKMARKS, "b@rooms.example", f"<conference xmlns='{BOOKMARKS}' name='B'/>", **PRIVATE)
    for method in ["xep_0049", "xep_0223"]:
        answer = (await old["xep_0048"].get_bookmarks(method=method)).xml
        rooms = {c.get("jid"): c.get("name") for c in answer.iter(f"{{{OLD}}}conference")}
        equal(rooms, {"a@rooms.example": "A", "b@rooms.example": "B"}, f"bookmarks by {method}")
        if method == "xep_0049":
            equal([u.get("url") for u in answer.iter(f"{{{OLD}}}url")], ["https://example.org/"], "pages")
    listed = Bookmarks()
    listed.add_conference("b@rooms.example", "J", name="B")
    await old["xep_0048"].set_bookmarks(listed, method="xep_0223")
    await new.expect("the retraction", event(BOOKMARKS, "a@rooms.example", "retract"))
    equal(sorted(await items(new, BOOKMARKS)), ["b@rooms.example"], "bookmarks")


async def what_was_displayed_is_told_to_own_clients_only(house):
    juliet, romeo = await house.users("juliet", "romeo")
    desk, orchard = await client(house, juliet), await client(house, romeo, "orchard", [DISPLAYED])
    await befriend(desk, orchard)
    await publish(desk, DISPLAYED, "x@example.org", f"<displayed xmlns='{DISPLAYED}'><stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='1'/></displayed>", **PRIVATE)
    phone = await client(house, juliet, "phone", [DISPLAYED])
    desk.say(romeo, None, "chat", None, "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>",
             f"<displayed xmlns='{DISPLAYED}'><stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='2'/></displayed>")
    m = await orchard.expect("the marker", is_message, lambda s: child(s, "{urn:xmpp:chat-markers:0}displayed") is not None)
    check(child(m, f"{{{DISPLAYED}}}displayed") is None, f"the note left the account: {m}")
    equal(sorted(await items(desk, DISPLAYED)), sorted([romeo, "x@example.org"]), "chats")
    await phone.expect("the note", event(DISPLAYED, romeo))
    await denied(items(orchard, DISPLAYED, juliet), "not-allowed", "a contact reads what was displayed")
    await orchard.caught_up(desk)
    orchard.none("a note of another account", event(DISPLAYED))


async def quotas_are_errors(house):
    juliet = await house.users("juliet")
    desk = await client(house, juliet)
    fault = await denied(publish(desk, "urn:n", "1", f"<t xmlns='urn:t'>{'x' * 65536}</t>"), "not-acceptable", "a payload of 64 KiB and more")
    check("payload-too-big" in str(fault.iq), f"error {fault.iq}")
    await publish(desk, "urn:n", "1", f"<t xmlns='urn:t'>{'x' * 60000}</t>")
    await denied(publish(desk, "urn:m", "1", "<t xmlns='urn:t'/>", max_items="1000"), "conflict", "more items than there may be")


play(contacts_and_own_clients_hear_what_they_want, strangers_read_open_nodes_and_subscribe, the_account_says_what_it_can,
     avatars_of_both_kinds_are_the_same, bookmarks_are_the_same_everywhere,
     what_was_displayed_is_told_to_own_clients_only, quotas_are_errors, nodes_and_subscriptions_survive_a_crash)
