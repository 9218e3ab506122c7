"""What clients of different age keep in different places is the same in all: avatars (XEP-0084, XEP-0153, XEP-0398), vCards (XEP-0054,
XEP-0292), bookmarks (XEP-0402, XEP-0048, XEP-0049). And what was displayed (XEP-0490)."""

import base64
import hashlib

from eventing_actors import (CAST, CLOSED, PRIVATE, USERS, begin, cast, configure, create, entity, event, items, options, outcome, owner, payload,
                             people, publish, retract)
from scene import befriend, check, child, equal, is_message, play, presence
from slixmpp.plugins.xep_0048.stanza import Bookmarks

BOOKMARKS = "urn:xmpp:bookmarks:1"
OLD = "storage:bookmarks"
BY_JID = "jid='a@rooms.example' "
DISPLAYED = "urn:xmpp:mds:displayed:0"
DATA, META = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
JPEG = b"\xff\xd8\xff\xe0 not much of a picture"


async def company(house):
    """juliet and romeo, who are contacts, and an actor of each."""
    juliet, romeo = await people(house, "juliet", "romeo")
    known = CAST.copy()
    plugins = ["xep_0084", "xep_0054", "xep_0048"]
    desk = await cast(house, juliet, "desk", plugins=plugins)
    orchard = await cast(house, romeo, "orchard", [META, BOOKMARKS, OLD, DISPLAYED], plugins)
    if not known:
        await befriend(desk, orchard)
    await begin(desk)
    return juliet, romeo, desk, orchard


async def phone_of(house):
    """Another client of juliet's."""
    return await cast(house, USERS["juliet"], "phone", ["urn:xmpp:vcard4", BOOKMARKS, DISPLAYED])


async def avatars_of_both_kinds_are_the_same(house):
    juliet, _, desk, orchard = await company(house)
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

    # An avatar that is turned off (XEP-0084 §4.2.2) is in the vCard no more.
    await publish(desk, META, "none", f"<metadata xmlns='{META}'/>")
    await orchard.expect("presence without a hash", presence(desk.boundjid.full), lambda s: not has_photo(ident)(s))
    card = (await orchard["xep_0054"].get_vcard(juliet)).xml.find("{vcard-temp}vCard")
    equal([c.tag for c in card], ["{vcard-temp}FN"], "the vCard")
    # One of which there are several: the one in the data node counts, and not what is elsewhere; and what is not what it says it is does not.
    ident = hashlib.sha1(PNG).hexdigest()
    info = "<info bytes='{}' id='{}' type='image/{}'{}/>"
    elsewhere = info.format(9, "0" * 40, "gif", " url='https://example.org/a.gif'")
    await publish(desk, DATA, ident, f"<data xmlns='{DATA}'>{base64.b64encode(JPEG).decode()}</data>")
    await publish(desk, META, ident, f"<metadata xmlns='{META}'>{elsewhere}{info.format(len(PNG), ident, 'png', '')}</metadata>")
    equal(await photo_of(orchard, juliet), None, "a picture with another hash")
    await publish(desk, DATA, ident, f"<data xmlns='{DATA}'>{base64.b64encode(PNG).decode()}</data>")
    await publish(desk, META, ident, f"<metadata xmlns='{META}'>{elsewhere}{info.format(len(PNG), ident, 'png', '')}</metadata>")
    await orchard.expect("presence with the hash again", presence(desk.boundjid.full), has_photo(ident))
    equal(await photo_of(orchard, juliet), PNG, "the photo")

    # A session that comes later and says nothing of a picture shows it too.
    await phone_of(house)
    await orchard.expect("presence of another client", presence(juliet + "/phone"), has_photo(ident))


async def photo_of(a, user):
    """The picture in a vCard, None for none."""
    found = (await a.ask("get", "<vCard xmlns='vcard-temp'/>", user)).xml.find("{vcard-temp}vCard/{vcard-temp}PHOTO/{vcard-temp}BINVAL")
    return None if found is None else base64.b64decode(found.text)


def has_photo(ident):
    def match(s):
        photo = s.xml.find("{vcard-temp:x:update}x/{vcard-temp:x:update}photo")
        return photo is not None and photo.text == ident
    return match


async def presence_says_what_the_vcard_has(house):
    juliet, _, desk, orchard = await company(house)
    ident = hashlib.sha1(PNG).hexdigest()
    # For contacts only: neither the vCard nor presence has it (XEP-0398 §8).
    await publish(desk, DATA, ident, f"<data xmlns='{DATA}'>{base64.b64encode(PNG).decode()}</data>")
    await publish(desk, META, ident, f"<metadata xmlns='{META}'><info bytes='{len(PNG)}' id='{ident}' type='image/png'/></metadata>")
    equal(await outcome(orchard, "get", "<vCard xmlns='vcard-temp'/>", juliet), "cancel service-unavailable", "the vCard")
    desk.show_presence(status="shy")
    said = await orchard.expect("presence", presence(desk.boundjid.full))
    check(not has_photo(ident)(said), f"presence tells of an avatar for contacts: {said}")
    # In the vCard: presence says so, unless the client says that there is none or is right itself (XEP-0398 §4).
    await desk.ask("set", "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>" + base64.b64encode(PNG).decode() + "</BINVAL></PHOTO></vCard>")
    await orchard.expect("presence with the hash", presence(desk.boundjid.full), has_photo(ident))
    update = "<x xmlns='vcard-temp:x:update'>{}</x>"
    for said, want in [("", ident), ("<photo/>", None), (f"<photo>{ident}</photo>", ident), (f"<photo>{'0' * 40}</photo>", ident)]:
        for to in [None, orchard.boundjid.full]:  # directed presence too
            desk.show_presence(to, None, None, None, update.format(said))
            s = await orchard.expect("presence", presence(desk.boundjid.full))
            equal([p.text for p in s.xml.iter("{vcard-temp:x:update}photo")], [want], f"the hash of a client that says {said!r}")
    # A picture that cannot be read is none, and so is no photo: the avatar is out.
    await desk.ask("set", "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>!</BINVAL></PHOTO></vCard>")
    await orchard.expect("presence without the hash", presence(desk.boundjid.full), lambda s: not has_photo(ident)(s))
    await desk.ask("set", "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>" + base64.b64encode(PNG).decode() + "</BINVAL></PHOTO></vCard>")
    await orchard.expect("presence with the hash", presence(desk.boundjid.full), has_photo(ident))
    await desk.ask("set", "<vCard xmlns='vcard-temp'><FN>Juliet</FN></vCard>")
    await orchard.expect("presence without the hash", presence(desk.boundjid.full), lambda s: not has_photo(ident)(s))


CARD = "urn:ietf:params:xml:ns:vcard-4.0"


async def vcards_of_both_kinds_say_the_same(house):
    juliet, romeo, old, shy = await company(house)
    new = await phone_of(house)

    async def temp():
        """What the old kind says, by the names of properties."""
        card = (await shy.ask("get", "<vCard xmlns='vcard-temp'/>", juliet)).xml.find("{vcard-temp}vCard")
        return {c.tag.partition("}")[2]: " ".join((t.text or t.tag.partition("}")[2]) for t in c.iter() if len(t) == 0) for c in card}

    async def four():
        found = list((await items(shy, "urn:xmpp:vcard4", juliet)).values())
        equal(len(found), 1, "vCards in the node")
        return {c.tag.partition("}")[2]: " ".join(t.text or "" for t in c.iter() if len(t) == 0) for c in found[0]}

    # A client of before writes, and there is no node yet.
    await old.ask("set", """<vCard xmlns='vcard-temp'><FN>Juliet Capulet</FN><N><FAMILY>Capulet</FAMILY><GIVEN>Juliet</GIVEN></N><NICKNAME>Jule</NICKNAME>
        <EMAIL><HOME/><USERID>j@example.org</USERID></EMAIL><TEL><CELL/><NUMBER>+39045</NUMBER></TEL><URL>https://example.org/</URL>
        <ADR><HOME/><STREET>Via Cappello</STREET><LOCALITY>Verona</LOCALITY><CTRY>Italy</CTRY></ADR><ORG><ORGNAME>Capulet</ORGNAME></ORG>
        <TITLE>Lady</TITLE><BDAY>1580-07-31</BDAY><DESC>Not yet fourteen</DESC><X-MINE>kept</X-MINE></vCard>""")
    e = await new.expect("the vCard4", event("urn:xmpp:vcard4", "current"))
    equal(payload(e).tag, f"{{{CARD}}}vcard", "payload")
    equal(await four(), {"fn": "Juliet Capulet", "n": "Capulet Juliet", "nickname": "Jule", "email": "home j@example.org", "tel": "cell tel:+39045",
                         "url": "https://example.org/", "adr": "home Via Cappello Verona Italy", "org": "Capulet", "title": "Lady", "bday": "1580-07-31",
                         "note": "Not yet fourteen"}, "the vCard4")
    # A client of today writes, with more than the other kind knows.
    await publish(new, "urn:xmpp:vcard4", "mine", f"""<vcard xmlns='{CARD}'><fn><text>Juliet Montague</text></fn>
        <email><parameters><type><text>home</text></type><altid><text>1</text></altid></parameters><text>j@example.org</text></email>
        <impp><uri>xmpp:{juliet}</uri></impp><gender><sex><text>F</text></sex></gender></vcard>""", access_model="open")
    equal(await temp(), {"FN": "Juliet Montague", "EMAIL": "HOME j@example.org", "X-MINE": "kept", "JABBERID": juliet}, "the vCard")
    # And the first again, which changes one thing: nothing of the rest is lost.
    await old.ask("set", f"""<vCard xmlns='vcard-temp'><FN>Juliet</FN><EMAIL><HOME/><USERID>j@example.org</USERID></EMAIL><X-MINE>kept</X-MINE>
        <JABBERID>{juliet}</JABBERID></vCard>""")
    equal(await four(), {"fn": "Juliet", "email": "home 1 j@example.org", "impp": f"xmpp:{juliet}", "gender": "F"}, "the vCard4")

    # A vCard4 for contacts stays where it is, and so do those of contacts, which are for the owner alone (XEP-0292 §5.2).
    await publish(shy, "urn:xmpp:vcard4", "1", f"<vcard xmlns='{CARD}'><fn><text>Secret</text></fn></vcard>")
    equal(await outcome(old, "get", "<vCard xmlns='vcard-temp'/>", romeo), "cancel service-unavailable", "the vCard of one who is shy")
    await shy.ask("set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
    equal([t.text for t in (await items(shy, "urn:xmpp:vcard4"))["1"].iter(f"{{{CARD}}}text")], ["Secret"], "the vCard4 of one who is shy")
    await publish(shy, "urn:xmpp:contacts", juliet, f"<vcard xmlns='{CARD}'><fn><text>Juliet</text></fn></vcard>")
    await publish(shy, "urn:xmpp:contacts", "mercutio@example.org", f"<vcard xmlns='{CARD}'><fn><text>Mercutio</text></fn></vcard>")
    equal(sorted(await items(shy, "urn:xmpp:contacts")), sorted([juliet, "mercutio@example.org"]), "vCards of contacts")
    equal(await outcome(old, "get", entity("<items node='urn:xmpp:contacts'/>"), romeo), CLOSED, "another reads vCards of contacts")


async def bookmarks_are_the_same_everywhere(house):
    _, _, old, _ = await company(house)
    new = await phone_of(house)
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

    # What a client does not know it leaves as it is: extensions survive the clients that have none (XEP-0402 §5.3).
    more = "<extensions><group xmlns='urn:example:groups'>plays</group></extensions>"
    await publish(new, BOOKMARKS, "b@rooms.example",
                  f"<conference xmlns='{BOOKMARKS}' name='B' autojoin='true'><nick>J</nick><password>p</password>{more}</conference>", **PRIVATE)
    answer = (await old["xep_0048"].get_bookmarks(method="xep_0049")).xml
    entry = next(answer.iter(f"{{{OLD}}}conference"))
    equal((entry.get("autojoin"), [c.text for c in entry if c.text]), ("true", ["J", "p"]), "what a client of before sees")
    listed = Bookmarks()
    listed.add_conference("b@rooms.example", "Jule", name="Balcony")
    listed.add_conference("c@rooms.example", "J")
    await old["xep_0048"].set_bookmarks(listed, method="xep_0049")
    kept = await items(new, BOOKMARKS)
    equal(sorted(kept), ["b@rooms.example", "c@rooms.example"], "bookmarks")
    b = kept["b@rooms.example"]
    equal((b.get("name"), b.find(f"{{{BOOKMARKS}}}nick").text, b.get("jid")), ("Balcony", "Jule", None), "a bookmark that was changed")
    equal([g.text for g in b.iter("{urn:example:groups}group")], ["plays"], "its extensions")
    await retract(new, BOOKMARKS, "b@rooms.example")
    for method in ["xep_0049", "xep_0223"]:
        answer = (await old["xep_0048"].get_bookmarks(method=method)).xml
        equal([c.get("jid") for c in answer.iter(f"{{{OLD}}}conference")], ["c@rooms.example"], f"bookmarks by {method}")


async def bookmarks_are_private(house):
    juliet, romeo, desk, orchard = await company(house)
    # Also where the client does not ask for it (XEP-0402 §7, XEP-0048 §3, XEP-0490 §8).
    room = "<conference {}xmlns='{}' name='A'/>"
    await publish(desk, BOOKMARKS, "a@rooms.example", room.format("", BOOKMARKS))
    await publish(desk, OLD, "current", f"<storage xmlns='{OLD}'>{room.format(BY_JID, OLD)}</storage>")
    await publish(desk, DISPLAYED, romeo, f"<displayed xmlns='{DISPLAYED}'><stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='1'/></displayed>")
    for node in [BOOKMARKS, OLD, DISPLAYED]:
        equal(await outcome(orchard, "get", entity(f"<items node='{node}'/>"), juliet), CLOSED, node)
    await orchard.caught_up(desk)
    for node in [BOOKMARKS, OLD, DISPLAYED]:
        orchard.none("what is private", event(node))
    # A node that was made too open fails the precondition, so that nothing leaks.
    await desk.ask("set", owner(f"<delete node='{BOOKMARKS}'/>"))
    await create(desk, BOOKMARKS, access_model="open", max_items="max")
    got = await outcome(desk, "set", entity(f"<publish node='{BOOKMARKS}'><item id='b@rooms.example'>{room.format('', BOOKMARKS)}</item></publish>"
                                            + options(access_model="whitelist")))
    equal(got, "cancel conflict precondition-not-met", "a bookmark in a node for all")
    await configure(desk, BOOKMARKS, access_model="whitelist")
    await publish(desk, BOOKMARKS, "b@rooms.example", room.format("", BOOKMARKS), access_model="whitelist")


async def private_storage_keeps_what_it_is_given(house):
    _, _, desk, _ = await company(house)

    async def stored(inner):
        query = (await desk.ask("get", f"<query xmlns='jabber:iq:private'>{inner}</query>")).xml.find("{jabber:iq:private}query")
        return [(c.tag, c.text, c.get("a")) for c in query]

    async def keep(inner):
        await desk.ask("set", f"<query xmlns='jabber:iq:private'>{inner}</query>")

    equal(await stored("<x xmlns='urn:x'/>"), [("{urn:x}x", None, None)], "what is not there")
    await keep("<x xmlns='urn:x' a='1'>one</x><y xmlns='urn:x'>two</y>")
    equal(await stored("<x xmlns='urn:x'/>"), [("{urn:x}x", "one", "1")], "what was stored")
    equal(await stored("<y xmlns='urn:x'/>"), [("{urn:x}y", "two", None)], "what was stored with it")
    await keep("<x xmlns='urn:x'>three</x>")
    equal(await stored("<x xmlns='urn:x'/>"), [("{urn:x}x", "three", None)], "what was stored again")
    await keep("<x xmlns='urn:x'/>")
    equal(await stored("<x xmlns='urn:x'/>"), [("{urn:x}x", None, None)], "what was forgotten")


async def what_was_displayed_is_told_to_own_clients_only(house):
    juliet, romeo, desk, orchard = await company(house)
    await publish(desk, DISPLAYED, "x@example.org", f"<displayed xmlns='{DISPLAYED}'><stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='1'/></displayed>", **PRIVATE)
    phone = await phone_of(house)
    desk.say(romeo, None, "chat", None, "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>",
             f"<displayed xmlns='{DISPLAYED}'><stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='2'/></displayed>")
    m = await orchard.expect("the marker", is_message, lambda s: child(s, "{urn:xmpp:chat-markers:0}displayed") is not None)
    check(child(m, f"{{{DISPLAYED}}}displayed") is None, f"the note left the account: {m}")
    equal(sorted(await items(desk, DISPLAYED)), sorted([romeo, "x@example.org"]), "chats")
    await phone.expect("the note", event(DISPLAYED, romeo))
    equal(await outcome(orchard, "get", entity(f"<items node='{DISPLAYED}'/>"), juliet), CLOSED, "a contact reads what was displayed")
    await orchard.caught_up(desk)
    orchard.none("a note of another account", event(DISPLAYED))
    # The address is taken as it stands (a private message of a room has a resource); without a stanza-id there is nothing to note.
    note = f"<displayed xmlns='{DISPLAYED}'>{{}}</displayed>"
    full = orchard.boundjid.full
    desk.say(full, None, "chat", None, note.format(f"<stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='3'/>"))
    await phone.expect("the note", event(DISPLAYED, full))
    desk.say(f"{romeo}/other", "psst", "chat", None, note.format(""))
    m = await orchard.expect("the message", is_message, lambda s: s["body"] == "psst")
    check(child(m, f"{{{DISPLAYED}}}displayed") is None, f"the note left the account: {m}")
    equal(sorted(await items(desk, DISPLAYED)), sorted([full, romeo, "x@example.org"]), "chats")
    # Nobody's copy of the message has it either (§5.2).
    await phone.ask("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
    desk.say(romeo, "read", "chat", None, note.format(f"<stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='4'/>"))
    copies = [await phone.expect("the copy", is_message, lambda s: child(s, "{urn:xmpp:carbons:2}sent") is not None)]
    for a in [desk, orchard]:
        await a.caught_up(desk)
        await a.ask("set", "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><before/></set></query>")
        copies.append(await a.expect("what the archive has", is_message, lambda s: any(b.text == "read" for b in s.xml.iter("{jabber:client}body"))))
    for s in copies:
        equal([b.text for b in s.xml.iter("{jabber:client}body")], ["read"], "the copy")
        check(not list(s.xml.iter(f"{{{DISPLAYED}}}displayed")), f"the note is in a copy: {s}")


play(presence_says_what_the_vcard_has, avatars_of_both_kinds_are_the_same, vcards_of_both_kinds_say_the_same, bookmarks_are_the_same_everywhere,
     bookmarks_are_private, private_storage_keeps_what_it_is_given, what_was_displayed_is_told_to_own_clients_only)
