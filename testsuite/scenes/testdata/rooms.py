"""Rooms as those who are in them know them: XEP-0045 §6, §7 and §17, with direct invitations (0249), self-ping (0410), occupant ids
(0421), lists in pages (0059) and searches (0433)."""

import datetime
import time

from slixmpp import JID
from slixmpp.exceptions import XMPPError

from scene import Actor, check, child, condition, equal, is_message, message, play, presence
from rooms_cast import (DELAY, INFO, ITEMS, MARK, MUC, OCCUPANT_ID, PLUGINS, STANZA_ID, USER, administer, all_hear, at, bounces, cast, change, codes,
                        company, configure, declines, enter, has_form, hush, info, invites, is_error, item, kept_out, kept_out_by_plugin, kind_of, leave, listed,
                        may_not, own, refuses, room_of, staged, tells, walk_in)

PING = "<ping xmlns='urn:xmpp:ping'/>"
ASK_INFO = f"<query xmlns='{INFO}'/>"


async def page(actor, to, inner):
    """Addresses on a page of a list, and the index of the first."""
    got = await actor.ask("get", f"<query xmlns='{ITEMS}'><set xmlns='http://jabber.org/protocol/rsm'>{inner}</set></query>", to)
    first = next(got.xml.iter("{http://jabber.org/protocol/rsm}first"), None)
    return [i.get("jid").split("@")[0] for i in got.xml.iter("{" + ITEMS + "}item")], first.get("index") if first is not None else None


async def the_service_and_its_rooms_are_found(house):
    crone, hag = await cast(house, 2)
    service = f"rooms.{house.domain}"
    got = await hag.ask("get", f"<query xmlns='{ITEMS}'/>", house.domain)
    check(service in [i.get("jid") for i in got.xml.iter("{" + ITEMS + "}item")], "the server does not name the service")
    got = await hag["xep_0030"].get_info(jid=service)
    check(("conference", "text") in [i[:2] for i in got["disco_info"]["identities"]], "identity of the service")
    check({MUC, MUC + "#stable_id", "muc_rooms"} <= set(got["disco_info"]["features"]), "features of the service")
    for name, public in [("zz-c", True), ("zz-a", True), ("zz-b", False)]:
        room = room_of(house, name)
        await walk_in(crone, room, "crone")
        await change(crone, room, publicroom=int(public), roomname="Room " + name)
    rooms = (await hag["xep_0030"].get_items(jid=service))["disco_items"]["items"]
    names = {i[0].split("-r")[0]: i[2] for i in rooms if i[0].startswith("zz")}
    equal(names, {"zz-a": "Room zz-a", "zz-c": "Room zz-c"}, "public rooms")
    a, c = sorted(str(r) for r in [i[0] for i in rooms] if r.startswith("zz"))
    for inner, want in [(f"<max>1</max><after>{a}</after>", c), (f"<max>1</max><before>{c}</before>", a), ("<max>1</max><before/>", c)]:
        equal((await page(hag, service, inner))[0], [want.split("@")[0]], inner)
    equal((await page(hag, service, "<max>1</max><index>0</index>"))[1], "0", "a page by its index")
    await refuses(hag, "modify bad-request", "get", f"<query xmlns='{ITEMS}'><set xmlns='http://jabber.org/protocol/rsm'><max>x</max></set></query>", service)
    await refuses(hag, "cancel item-not-found", "get", f"<query xmlns='{INFO}' node='x'/>", service)
    await refuses(hag, "cancel service-unavailable", "get", "<query xmlns='jabber:iq:version'/>", service)
    hag.show_presence(service, None, None, None, MARK)
    equal(kind_of(await hag.expect("an error", presence(service, "error"))), "modify jid-malformed", "a room without a name")


async def public_rooms_are_searched(house):
    crone, hag = await cast(house, 2)
    service, ns = f"rooms.{house.domain}", "urn:xmpp:channel-search:0:search"
    check(ns in (await hag["xep_0030"].get_info(jid=service))["disco_info"]["features"], "searches are not announced")
    offered = await hag.ask("get", f"<search xmlns='{ns}'/>", service)
    equal([f.get("var") for f in offered.xml.iter("{jabber:x:data}field")],
          ["FORM_TYPE", "q", "all", "sinname", "sindescription", "sinaddress", "types", "key"], "the form")
    word = "cauldron" + room_of(house, "x").local.rpartition("-")[2]
    for name, public in [("yy-c", 1), ("yy-a", 1), ("yy-b", 0)]:
        room = room_of(house, name)
        await walk_in(crone, room, "crone")
        await change(crone, room, publicroom=public, roomname="Room " + name, roomdesc=f"Around the {word}")
        if name == "yy-c":
            await walk_in(hag, room, "hag")

    async def search(q, **more):
        fields = "".join(f"<field var='{k}'><value>{v}</value></field>" for k, v in {"FORM_TYPE": ns + "-params", "q": q, **more}.items())
        got = await hag.ask("get", f"<search xmlns='{ns}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></search>", service)
        return [(i.get("address").split("-r")[0], i.findtext(f"{{{ns}}}nusers")) for i in got.xml.iter(f"{{{ns}}}item")]
    equal(await search(word.upper()), [("yy-c", "2"), ("yy-a", "1")], "by the number of occupants")
    equal(await search(word, key="{urn:xmpp:channel-search:0:order}address"), [("yy-a", "1"), ("yy-c", "2")], "by address")
    equal(await search(word, sindescription="0"), [], "names and addresses only")
    form = f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{ns}-params</value></field></x>"
    await refuses(hag, "cancel bad-request", "get", f"<search xmlns='{ns}'>{form}</search>", service)


async def a_room_tells_what_it_is(house):
    room, (crone, hag) = await company(house, "crone", "hag", roomname="A Dark Cave", roomdesc="For witches", lang="en")
    features, fields, names = await info(hag, room)
    check({MUC, MUC + "#stable_id", MUC + "#self-ping-optimization", MUC + "#request", MUC + "#register", MUC + "#roomconfig", MUC + "#roominfo",
           "jabber:iq:register", "urn:xmpp:occupant-id:0", "urn:xmpp:mam:2", "muc_public", "muc_temporary", "muc_open", "muc_unmoderated",
           "muc_semianonymous", "muc_unsecured"} <= features, f"features {features}")
    equal((names, fields["muc#roominfo_description"], fields["muc#roominfo_lang"], fields["muc#roominfo_occupants"]),
          (["A Dark Cave"], "For witches", "en", "2"), "description")
    crone["xep_0045"].set_subject(room, "Spells")
    await change(crone, room, publicroom=0, persistentroom=1, membersonly=1, moderatedroom=1, whois="anyone", passwordprotectedroom=1, roomsecret="x",
                 enablelogging=0, jackdaw__registration=0, changesubject=1, muc__maxhistoryfetch=5)
    features, fields, _ = await info(crone, room)
    check({"muc_hidden", "muc_persistent", "muc_membersonly", "muc_moderated", "muc_nonanonymous", "muc_passwordprotected"} <= features, f"features {features}")
    check(not {"jabber:iq:register", MUC + "#register", "urn:xmpp:mam:2"} & features, f"features {features}")
    equal((fields["muc#roominfo_subject"], fields["muc#roominfo_contactjid"], fields["muc#roomconfig_changesubject"], fields["muc#maxhistoryfetch"]),
          ("Spells", crone.boundjid.bare, "1", "5"), "description")

    async def items(actor):
        got = await actor.ask("get", f"<query xmlns='{ITEMS}'/>", room)
        return [i.get("jid") for i in got.xml.iter("{" + ITEMS + "}item")]
    equal(await items(crone), [f"{room}/crone"], "who is in the room")
    equal(await items(hag), [], "who is in the room is not for others")
    await refuses(hag, "cancel service-unavailable", "get", f"<query xmlns='{INFO}' node='{MUC}#traffic'/>", room)
    for query in [INFO, ITEMS]:
        await refuses(hag, "cancel item-not-found", "get", f"<query xmlns='{query}' node='x'/>", room)
        await refuses(hag, "cancel item-not-found", "get", f"<query xmlns='{query}'/>", f"nowhere@rooms.{house.domain}")
    await refuses(hag, "cancel service-unavailable", "get", "<query xmlns='jabber:iq:version'/>", room)
    for to, want in [(f"{room}/crone", "modify bad-request"), (f"nowhere@rooms.{house.domain}/x", "cancel item-not-found")]:
        await refuses(hag, want, "get", ASK_INFO, to)


async def a_room_is_made_entered_and_talked_in(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    mid = crone.say(room, "Thrice the brinded cat hath mew'd", "groupchat")
    m = await hag.expect("it", message("Thrice the brinded cat hath mew'd"))
    equal(m["id"], mid, "the id is the sender's")
    hag.inbox.append(m)
    await all_hear([crone, hag], "Thrice the brinded cat hath mew'd", f"{room}/crone")
    crone["xep_0045"].set_subject(room, "Fire Burn")
    for a in [crone, hag]:
        await a.expect("the subject", is_message, lambda s: s["subject"] == "Fire Burn")
    crone.say(room, "with a body it is none", "groupchat", None, "<subject xmlns='jabber:client'>Cauldron</subject>")
    crone.say(room, None, "groupchat", None, "<subject xmlns='jabber:client'>Bubble</subject>", "<thread xmlns='jabber:client'>t</thread>")
    await crone.expect("both", is_message, lambda s: s["subject"] == "Bubble")
    _, _, witch = await cast(house, 3)
    p, subject, occupants, history = await enter(witch, room, "witch")
    equal(codes(p), [110, 170], "codes")
    equal(item(p), ("none", "participant", None, True), "own item")
    equal(sorted(str(p["from"].resource) for p in occupants), ["crone", "hag"], "occupants")
    equal([m["body"] for m in history], ["Thrice the brinded cat hath mew'd", "with a body it is none"], "history")
    equal((subject["subject"], subject["from"]), ("Fire Burn", JID(f"{room}/crone")), "subject")
    for a, sees in [(crone, True), (hag, False)]:
        p = await a.expect("the new one", at(room, "witch"))
        equal(item(p), ("none", "participant", None, sees), "item")
    crone.say(room, None, "groupchat", None, "<subject xmlns='jabber:client'/>")
    await hag.expect("no subject", is_message, lambda s: child(s, "{jabber:client}subject") is not None and s["subject"] == "")
    await leave(witch, room)
    last = (await walk_in(witch, room, "witch"))[-1]
    equal((last["subject"], child(last, DELAY).get("from")), ("", room), "it was cleared by somebody")


async def who_enters_is_told_everything_in_order(house):
    crone, hag, witch = await cast(house, 3)
    room = room_of(house)
    got = await walk_in(crone, room, "crone")
    equal([codes(s) for s in got], [[110, 170, 201], []], "who makes a room")
    check(child(got[-1], DELAY) is None, "nobody has set a subject")
    await change(crone, room, whois="anyone")
    await walk_in(hag, room, "hag")
    hag.say(room, "one", "groupchat")
    await hag.expect("it", message("one"))
    got = await walk_in(witch, room, "witch")
    equal([str(s["from"].resource) for s in got], ["crone", "hag", "witch", "hag", ""], "order")
    equal(codes(got[2]), [100, 110, 170], "codes")
    check(all(item(s)[3] for s in got[:3]), "no address where everybody may see it")
    check(child(got[3], DELAY).get("from") == room and child(got[4], "{jabber:client}subject") is not None, "history and subject")
    check(item(await hag.expect("the new one", at(room, "witch")))[3], "hag does not see the address")
    # Who enters again, having lost what it knew, is told the same, and the others nothing.
    await hush(crone, hag)
    again = await walk_in(witch, room, "witch")
    equal([(str(s["from"]), codes(s), s["body"] if is_message(s) else item(s)) for s in again],
          [(str(s["from"]), codes(s), s["body"] if is_message(s) else item(s)) for s in got], "it enters again")
    await hush(hag)
    witch.show_presence(f"{room}/witch", None, None, "away", MARK)
    equal((await hag.expect("what is new in it", at(room, "witch")))["status"], "away", "status")
    # Nobody has made it persistent.
    for a in [crone, hag, witch]:
        await leave(a, room)
    await refuses(crone, "cancel item-not-found", "get", ASK_INFO, room)


async def history_is_shown_within_limits(house):
    room, (crone, hag) = await company(house, "crone", "hag", muc__maxhistoryfetch=4)
    for body in ["dropped", "a" * 1000, "b" * 1000, "c"]:
        crone.say(room, body, "groupchat")
    await crone.settle()
    before = time.time()
    while time.time() < before + 0.005:  # the stamps are told in milliseconds
        await crone.settle()
    noon = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    crone.say(room, "d", "groupchat")
    await crone.settle()
    await leave(hag, room)
    for limits, want in [("", "abcd"), ("maxstanzas='2'", "cd"), ("maxstanzas='0'", ""), ("maxchars='0'", ""), ("maxchars='1900'", "cd"),
                         ("seconds='1000'", "abcd"), ("seconds='0'", ""), (f"since='{noon}'", "d"), ("since='1970-01-01T00:00:00Z'", "abcd"),
                         ("maxstanzas='3' maxchars='2900'", "bcd"), ("maxstanzas='x'", "abcd")]:
        got = await walk_in(hag, room, "hag", f"<history {limits}/>" if limits else "")
        shown = [s for s in got if s["body"]]
        equal("".join(s["body"][0] for s in shown), want, f"history with {limits}")
        check(all(child(s, DELAY).get("from") == room and child(s, STANZA_ID) is not None for s in shown), "no delay or id")
        await leave(hag, room)
    await change(crone, room, muc__maxhistoryfetch=0)
    equal(len(await walk_in(hag, room, "hag")), 3, "a room without history")


async def what_keeps_somebody_out(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch", passwordprotectedroom=1, roomsecret="cauldronburn")
    password = "<password>cauldronburn</password>"
    await leave(hag, room)
    await kept_out(hag, room, "hag", "auth not-authorized")
    await kept_out(hag, room, "hag", "auth not-authorized", "<password>wrong</password>")
    await kept_out(hag, room, "witch", "cancel conflict", password)
    await kept_out(hag, room, None, "modify jid-malformed", password)
    hag.show_presence(f"{room}/ ", None, None, None, MARK)
    equal(kind_of(await hag.expect("an error", presence(None, "error"))), "modify jid-malformed", "a nick that nobody sees")
    await enter(hag, room, "hag", password="cauldronburn")
    await configure(crone, room, passwordprotectedroom=False, membersonly=True)
    for a in [hag, crone]:
        await a.expect("who is no member has to go", at(room, "hag", "unavailable"), lambda s: 322 in codes(s))
    await kept_out(hag, room, "hag", "auth registration-required")
    await change(crone, room, membersonly=0, maxusers=2)
    await walk_in(witch, room, "witch")
    await kept_out(hag, room, "hag", "wait service-unavailable")
    await administer(crone, room, f"<item affiliation='admin' jid='{hag.boundjid.bare}'/>")
    await walk_in(hag, room, "hag")  # an admin finds a place
    await administer(crone, room, f"<item affiliation='outcast' jid='{hag.boundjid.bare}'/>")
    await kept_out(hag, room, "hag", "auth forbidden")
    await administer(crone, room, f"<item affiliation='none' jid='{hag.boundjid.bare}'/>", f"<item affiliation='outcast' jid='{house.domain}'/>")
    await kept_out(hag, room, "hag", "auth forbidden")  # with all of the domain


async def a_room_is_closed_until_its_maker_has_configured_it(house):
    crone, hag = await cast(house, 2)
    room = room_of(house)
    await walk_in(crone, room, "crone")
    await kept_out(hag, room, "hag", "cancel item-not-found")
    await bounces(hag, "cancel item-not-found", room, "x")
    await refuses(hag, "cancel item-not-found", "get", ASK_INFO, room)
    await refuses(crone, "modify not-acceptable", "set", config_without_password(), room)
    await change(crone, room, roomname="x")
    await walk_in(hag, room, "hag")
    for how in ["cancel", "leave", "vanish"]:
        room, maker = room_of(house), crone
        if how == "vanish":
            maker = await house.login(crone.boundjid.bare, "phone", plugins=PLUGINS)
        await walk_in(maker, room, "maker")
        equal(await what_keeps_from_configuring(crone, room), None, "its owner sees it")
        if how == "cancel":
            await maker.ask("set", f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='cancel'/></query>", room)
        elif how == "leave":
            maker.show_presence(f"{room}/maker", "unavailable")
        else:
            maker.abort()
            await maker.ended()
        if how != "vanish":
            end = await maker.expect("the end", at(room, "maker", "unavailable"))
            check(end.xml.find(f"{USER}x/{USER}destroy") is not None, f"after a {how} it is not destroyed")
        while (missing := await what_keeps_from_configuring(crone, room)) is None:
            check(how == "vanish", "it is there")  # of the end of a session the server hears in its own time
        equal(missing, "item-not-found", f"after a {how}")
    equal(codes((await walk_in(hag, room, "hag"))[0]), [110, 170, 201], "it is made anew")


def config_without_password():
    return (f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field>"
            "<field var='muc#roomconfig_roomsecret'><value/></field></x></query>")


async def what_keeps_from_configuring(actor, room):
    try:
        await actor["xep_0045"].get_room_config(room)
    except XMPPError as e:
        return e.condition
    return None


async def nicks_and_availability_change_and_occupants_leave(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    hag.show_presence(f"{room}/hag", None, None, "brewing", "<show xmlns='jabber:client'>xa</show>")
    p = await witch.expect("how available hag is", at(room, "hag"))
    equal((p["status"], p["show"], item(p)[1]), ("brewing", "xa", "participant"), "presence")
    hag.show_presence(f"{room}/oldhag")
    for a in [crone, witch, hag]:
        gone = await a.expect("the old nick ends", at(room, "hag", "unavailable"))
        equal((item(gone)[2], codes(gone)), ("oldhag", [110, 303] if a is hag else [303]), "new nick")
        equal(codes(await a.expect("the new nick", at(room, "oldhag"))), [110] if a is hag else [], "codes")
    hag.show_presence(f"{room}/witch")
    equal(kind_of(await hag.expect("a conflict", presence(None, "error"))), "cancel conflict", "taken nick")
    hag.show_presence(f"{room}/oldhag", "unavailable", None, "gone where the goblins go")
    for a in [crone, witch]:
        gone = await a.expect("it leaves", at(room, "oldhag", "unavailable"))
        equal((gone["status"], item(gone)[1]), ("gone where the goblins go", "none"), "farewell")
    equal(codes(await hag.expect("its own leave", at(room, "oldhag", "unavailable"))), [110], "codes")
    await hush(hag)
    hag.show_presence(f"{room}/oldhag", "unavailable")  # who is not there does not leave
    hag.show_presence(f"{room}/oldhag", "probe")
    await hush(hag, crone)
    for a in [hag, crone]:
        a.none("what nobody has done", presence(room))
    lost = await house.login(await house.users("lost"), plugins=PLUGINS)
    await walk_in(lost, room, "lost")
    lost.abort()
    await crone.expect("a lost connection is a leave", at(room, "lost", "unavailable"))
    gone = witch.boundjid.full
    witch.send_presence(ptype="unavailable")
    await crone.expect("so is being unavailable for all", at(room, "witch", "unavailable"))
    witch.send_presence()
    check(gone == witch.boundjid.full, "another session")


async def private_messages_reach_one(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    for mtype in ["chat", "normal"]:
        crone.say(f"{room}/hag", "I'll give thee a wind", mtype)
        m = await hag.expect("it", message("I'll give thee a wind", f"{room}/crone", mtype))
        check(child(m, USER + "x") is not None and child(m, OCCUPANT_ID) is not None, "not marked as private, or by nobody")
    stranger = await house.login(await house.users("stranger"), plugins=PLUGINS)
    await bounces(crone, "cancel item-not-found", f"{room}/nobody", "x", "chat")
    await bounces(crone, "modify bad-request", f"{room}/hag", "x", "groupchat")
    await bounces(stranger, "modify not-acceptable", f"{room}/hag", "x", "chat")
    await bounces(stranger, "cancel item-not-found", f"nowhere@rooms.{house.domain}/hag", "x", "chat")
    for who, crone_may, hag_may in [("moderators", True, False), ("none", False, False), ("participants", True, True)]:
        await change(crone, room, allowpm=who)
        for a, to, may in [(crone, "hag", crone_may), (hag, "crone", hag_may)]:
            if may:
                a.say(f"{room}/{to}", who, "chat")
                await (hag if a is crone else crone).expect("it", message(who))
            else:
                await bounces(a, "auth forbidden", f"{room}/{to}", "x", "chat")
    await hush(witch)
    crone.say(f"{room}/hag", "x", "chat")
    await hush(crone, witch)
    witch.none("what is not for it", is_message)


async def errors_for_private_messages_come_back_without_an_address(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    crone.say(f"{room}/hag", "psst", "chat")
    m = await hag.expect("it", message("psst", f"{room}/crone"))
    await hush(crone, hag, witch)
    no = "<error type='modify'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    hag.send_raw(f"<message type='error' id='{m['id']}' to='{room}/crone'>{no}</message>")
    back = await crone.expect("the error", is_message, is_error)
    equal((back["from"].full, back["id"]), (f"{room}/hag", m["id"]), "whose error, and for what")
    check(str(hag.boundjid.bare) not in str(back), "an address is told")
    crone.say(room, "to all", "groupchat")
    m = await hag.expect("it", message("to all"))
    await hush(crone, hag, witch)
    hag.send_raw(f"<message type='error' id='{m['id']}' to='{room}/crone'>{no}</message>")
    await hush(hag, crone, witch)
    crone.none("an error for what was said to all", is_error)
    witch.none("a farewell", at(room, "hag", "unavailable"))


async def who_blocks_another_occupant_stays_in_the_room(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    await hag.ask("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{room}/crone'/></block>")
    for to, mtype in [(room, "groupchat"), (f"{room}/hag", "chat")]:
        crone.say(to, "toil and trouble", mtype)
        await hush(crone, hag)
        hag.none("what is blocked", message("toil and trouble"))
    hag.say(room, "still here", "groupchat")
    await witch.expect("it", message("still here", f"{room}/hag"))
    await hag.ask("set", "<unblock xmlns='urn:xmpp:blocking'/>")


async def probes_of_occupants_are_answered(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    _, _, stranger = await cast(house, 3)
    await hush(crone, hag)
    hag.show_presence(f"{room}/crone", "probe")
    equal(item(await hag.expect("an answer", at(room, "crone")))[:2], ("owner", "moderator"), "who is there")
    hag.show_presence(f"{room}/nobody", "probe")
    await hag.expect("an answer", at(room, "nobody", "unavailable"))
    stranger.show_presence(f"{room}/crone", "probe")
    await hush(stranger)
    stranger.none("an answer", at(room, "crone"))


async def only_who_is_in_the_room_and_has_voice_speaks(house):
    room, (crone, hag) = await company(house, "crone", "hag", moderatedroom=1)
    _, _, stranger = await cast(house, 3)
    await bounces(hag, "auth forbidden", room, "x")
    await bounces(hag, "modify bad-request", room, "x", "chat")
    await bounces(stranger, "modify not-acceptable", room, "x")
    await bounces(stranger, "modify not-acceptable", room, "x", "normal")
    await bounces(stranger, "cancel item-not-found", f"nowhere@rooms.{house.domain}", "x")
    await change(crone, room, moderatedroom=0)
    await administer(crone, room, "<item nick='hag' role='participant'/>")
    await bounces(hag, "auth forbidden", room, None, "groupchat", "<subject xmlns='jabber:client'>x</subject>")
    await change(crone, room, changesubject=1)
    hag["xep_0045"].set_subject(room, "Hag's")
    await crone.expect("its subject", is_message, lambda s: s["subject"] == "Hag's")
    # What only the room says of somebody is not taken from anybody.
    forged = f"<x xmlns='{MUC}#user'><item affiliation='owner' role='moderator'/><status code='110'/></x>"
    oid = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>"
    hag.show_presence(f"{room}/hag", None, None, "x", forged, oid, "<hats xmlns='urn:xmpp:hats:0'><hat title='Queen' uri='urn:q'/></hats>", "<x xmlns='urn:x'/>")
    p = await crone.expect("hag", at(room, "hag"), lambda s: s["status"] == "x")
    equal((item(p)[:2], codes(p), len(p.xml.findall(USER + "x"))), (("none", "participant"), [], 1), "presence")
    check("forged" not in str(p) and "Queen" not in str(p) and child(p, "{urn:x}x") is not None, "what passes")
    hag.say(room, "y", "groupchat", None, forged, oid, f"<stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='forged'/>", "<x xmlns='urn:x'/>",
            f"<delay xmlns='urn:xmpp:delay' from='{room}' stamp='2002-10-13T23:58:37Z'/>")
    m = await crone.expect("hag", message("y"))
    check("forged" not in str(m) and codes(m) == [] and child(m, DELAY) is None and child(m, "{urn:x}x") is not None, "what passes")


async def others_are_invited(house):
    room, (crone, hag) = await company(house, "crone", "hag", passwordprotectedroom=1, roomsecret="cauldronburn")
    _, _, witch = await cast(house, 3)
    crone["xep_0249"].send_invitation(witch.boundjid.full, room, "cauldronburn", "Hey")
    m = await witch.expect("a direct invitation", is_message, lambda s: s["groupchat_invite"]["jid"] == room)
    equal((m["from"], m["groupchat_invite"]["password"], m["groupchat_invite"]["reason"]), (crone.boundjid, "cauldronburn", "Hey"), "invitation")
    hag["xep_0045"].invite(room, JID(witch.boundjid.bare), "Hey")
    m = await witch.expect("an invitation by the room", invites)
    i = m.xml.find(f"{USER}x/{USER}invite")
    equal((m["from"], i.get("from"), i.findtext(USER + "reason"), m.xml.findtext(f"{USER}x/{USER}password")), (room, f"{room}/hag", "Hey", "cauldronburn"), "it")
    witch["xep_0045"].decline(room, JID(f"{room}/hag"), "Too busy")
    d = (await hag.expect("it is declined", declines)).xml.find(f"{USER}x/{USER}decline")
    equal((d.get("from"), d.findtext(USER + "reason")), (witch.boundjid.bare, "Too busy"), "who and why")

    def invite(to):
        return f"<x xmlns='{MUC}#user'><invite to='{to}'/></x>"
    for a, to, want in [(crone, f"nobody@{house.domain}", "cancel item-not-found"), (crone, house.domain, "modify jid-malformed"), (crone, room, "cancel item-not-found"),
                        (witch, crone.boundjid.bare, "modify not-acceptable")]:
        await bounces(a, want, room, None, "normal", invite(to))
    await bounces(witch, "cancel item-not-found", room, None, "normal", f"<x xmlns='{MUC}#user'><decline to='nobody@{house.domain}'/></x>")
    await bounces(witch, "modify jid-malformed", room, None, "normal", f"<x xmlns='{MUC}#user'><decline to=''/></x>")
    equal(await listed(crone, room, "affiliation='member'"), [], "an invitation into an open room makes nobody a member")
    # Into a room for members admins invite, and those whom the owners let.
    await administer(crone, room, f"<item affiliation='member' jid='{hag.boundjid.bare}'/>")
    await change(crone, room, passwordprotectedroom=0, membersonly=1)
    await bounces(hag, "auth forbidden", room, None, "normal", invite(witch.boundjid.bare))
    await kept_out(witch, room, "witch", "auth registration-required")
    await change(crone, room, allowinvites=1)
    hag["xep_0045"].invite(room, JID(witch.boundjid.bare))
    await witch.expect("an invitation", invites)
    await walk_in(witch, room, "witch")
    await administer(crone, room, f"<item affiliation='outcast' jid='{witch.boundjid.bare}'/>")
    await bounces(crone, "cancel not-allowed", room, None, "normal", invite(witch.boundjid.bare))


async def two_who_talk_take_a_third_with_them(house):
    crone, hag, witch = await cast(house, 3)
    room = room_of(house)
    await walk_in(crone, room, "crone")
    await change(crone, room, whois="anyone")
    stamp = "2004-09-29T01:54:37Z"
    crone.say(room, "Thrice the brinded cat", "groupchat", None, "<thread xmlns='jabber:client'>t</thread>", f"<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>")
    invite = "".join(f"<invite to='{to}'><continue thread='t'/></invite>" for to in [hag.boundjid.full, witch.boundjid.bare])
    crone.say(room, None, "normal", None, f"<x xmlns='{MUC}#user'>{invite}</x>")
    for a in [hag, witch]:
        i = (await a.expect("an invitation", invites)).xml.find(f"{USER}x/{USER}invite")
        equal((i.get("from"), i.find(USER + "continue").get("thread")), (crone.boundjid.bare, "t"), "it")
        m = [s for s in await walk_in(a, room, a.boundjid.local) if s["body"]][0]
        equal((m["thread"], [d.get("stamp") for d in m.xml.findall(DELAY)]), ("t", [stamp]), "what was said before")


async def moderators_take_and_give_voice(house):
    room, (crone, hag) = await company(house, "crone", "hag", moderatedroom=1)
    _, _, witch = await cast(house, 3)
    form = (f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#request</value></field><field var='muc#role'><value>participant</value></field>"
            "<field var='muc#roomnick'><value>hag</value></field><field var='muc#request_allow'><value>%s</value></field></x>")
    for answer in ["0", "1"]:
        hag["xep_0045"].request_voice(room, "participant")
        ask = await crone.expect("a request", has_form)
        check(ask["from"] == room and "hag</value>" in str(ask) and hag.boundjid.full in str(ask), "it does not say who")
        await bounces(hag, "auth forbidden", room, None, "normal", form % answer)
        crone.say(room, None, "normal", None, form % answer)
        await hush(crone)
        if answer == "0":
            await bounces(hag, "auth forbidden", room, "x")
    p = await hag.expect("voice", at(room, "hag"), lambda s: item(s)[1] == "participant")
    equal(codes(p), [110], "codes")
    hag.say(room, "at last", "groupchat")
    await all_hear([crone, hag], "at last", f"{room}/hag")
    equal(await crone["xep_0045"].get_roles_list(room, "participant"), ["hag"], "who has voice")
    for values, want in [("maybe", "modify bad-request"), ("1", "cancel item-not-found")]:
        await bounces(crone, want, room, None, "normal", (form % values).replace("hag", "hag" if values == "maybe" else "nobody"))
    crone.say(room, None, "normal", None, "<x xmlns='jabber:x:data' type='cancel'/>")
    await crone["xep_0045"].set_role(room, "hag", "visitor", reason="Not so worthy")
    for a in [hag, crone]:
        p = await a.expect("no voice", at(room, "hag"), lambda s: item(s)[1] == "visitor")
        equal(p.xml.findtext(f"{USER}x/{USER}item/{USER}reason"), "Not so worthy", "why")
    await leave(hag, room)
    equal(item(own(await walk_in(hag, room, "hag")))[1], "visitor", "who comes again")
    await change(crone, room, jackdaw__voice_requests=0)
    wish = f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#request</value></field><field var='muc#role'><value>participant</value></field></x>"
    await bounces(hag, "auth forbidden", room, None, "normal", wish)
    await bounces(witch, "modify not-acceptable", room, None, "normal", wish)
    await hush(crone)
    crone.none("what nobody asks", has_form)


async def presence_of_some_is_not_shown(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch", moderatedroom=1, presencebroadcast=["moderator", "participant"])
    equal([str(s["from"].resource) for s in (await walk_in(hag, room, "hag"))[:-1]], ["crone", "hag"], "a visitor sees itself")
    await hush(crone)
    hag.show_presence(f"{room}/hag", None, None, "x")
    await hush(hag, crone)
    crone.none("presence of a visitor", presence(room))
    await administer(crone, room, "<item nick='hag' role='participant'/>")
    for a in [crone, witch]:
        equal(item(await a.expect("hag appears", at(room, "hag")))[1], "participant", "role")
    await administer(crone, room, "<item nick='hag' role='visitor'/>")
    await witch.expect("hag disappears", at(room, "hag", "unavailable"))
    await change(crone, room, presencebroadcast=["moderator", "participant", "visitor"])
    for nick in ["hag", "witch"]:
        await crone.expect(f"{nick} appears", at(room, nick))


async def who_pings_itself_learns_whether_it_is_in_the_room(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    await hag.ask("get", PING, f"{room}/hag")
    await leave(hag, room)
    for to in [f"{room}/hag", f"nowhere@rooms.{house.domain}/hag"]:
        await refuses(hag, "cancel not-acceptable", "get", PING, to)
    await refuses(crone, "cancel item-not-found", "get", PING, f"{room}/oldhag")
    hag.show_presence(f"{room}/hag")  # as who believes to be in it
    equal(codes(await hag.expect("the truth", at(room, "hag", "unavailable"), lambda s: 333 in codes(s))), [110, 307, 333], "codes")


async def who_is_not_reached_any_more_is_removed(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    gone = "<error xmlns='jabber:client' type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    hag.say(f"{room}/crone", None, "error", None, gone % ("modify", "not-acceptable"))
    await hush(hag, crone)
    crone.none("a leave", at(room, "hag", "unavailable"))
    hag.say(f"{room}/crone", None, "error", None, gone % ("cancel", "gone"))
    for a in [hag, crone]:
        s = await a.expect("hag is removed", at(room, "hag", "unavailable"))
        equal((codes(s), item(s)[1]), ([110, 333] if a is hag else [333], "none"), "codes")
    witch.show_presence(f"{room}/crone", "error", None, None, gone % ("cancel", "item-not-found"))
    await crone.expect("witch is removed", at(room, "witch", "unavailable"), lambda s: codes(s) == [333])


async def an_occupant_keeps_its_id(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    ids = set()
    for nick in ["hag", "oldhag"]:
        hag.show_presence(f"{room}/{nick}")
        p = await crone.expect("presence", at(room, nick))
        equal(len(p.xml.findall(OCCUPANT_ID)), 1, "ids")
        ids.add(p.xml.find(OCCUPANT_ID).get("id"))
    hag.say(room, "x", "groupchat")
    ids.add((await crone.expect("it", message("x"))).xml.find(OCCUPANT_ID).get("id"))
    await leave(hag, room)
    ids.add(own(await walk_in(hag, room, "third")).xml.find(OCCUPANT_ID).get("id"))
    equal(len(ids), 1, f"ids {ids}")
    other = room_of(house)
    ids.add((await walk_in(hag, other, "hag"))[0].xml.find(OCCUPANT_ID).get("id"))
    equal(len(ids), 2, "ids in two rooms")


async def requests_pass_through_the_room(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    await crone.ask("set", "<vCard xmlns='vcard-temp'><FN>Crone</FN></vCard>")
    got = await hag.ask("get", "<vCard xmlns='vcard-temp'/>", f"{room}/crone")
    equal((got["from"], child(got, "{vcard-temp}vCard").findtext("{vcard-temp}FN")), (JID(f"{room}/crone"), "Crone"), "vCard")
    check(crone.boundjid.bare not in str(got), "the address is told")
    got = await hag.ask("get", ASK_INFO, f"{room}/crone")
    equal(got["from"], JID(f"{room}/crone"), "the client answers through the room")
    await refuses(hag, "cancel item-not-found", "get", ASK_INFO, f"{room}/nobody")
    await leave(hag, room)
    await refuses(hag, "modify bad-request", "get", ASK_INFO, f"{room}/crone")
    await refuses(hag, "cancel not-acceptable", "get", "<query xmlns='jabber:iq:version'/>", f"{room}/crone")


async def a_session_that_is_resumed_has_missed_nothing(house):
    room, (crone,) = await company(house, "crone")
    hag = await house.users("hag")
    proxy = await house.proxy()
    phone = Actor(house, f"{hag}/phone", plugins=PLUGINS, port=proxy.port).resumable()
    await phone.login(port=proxy.port)
    await enter(phone, room, "hag")
    proxy.cut()
    await phone.ended()
    for i in range(5):
        crone.say(room, f"while away {i}", "groupchat")
        await crone.expect("its own", message(f"while away {i}"))
    crone.none("a leave of who may be back", at(room, "hag", "unavailable"))
    equal(await phone.back(house.c2s), "session_resumed", "resumption")
    for i in range(5):
        await phone.expect("what was said", message(f"while away {i}"))
    phone.say(room, "back", "groupchat")
    await all_hear([crone, phone], "back", f"{room}/hag")


async def one_user_has_two_clients_in_the_room(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    phone = await house.login(hag.boundjid.bare, "phone", plugins=PLUGINS)
    await walk_in(phone, room, "hag")
    for mtype, to in [("groupchat", room), ("chat", f"{room}/hag")]:
        crone.say(to, mtype, mtype)
        for a in [hag, phone]:
            await a.expect("it", message(mtype, f"{room}/crone"))
    phone.say(room, "from the phone", "groupchat")
    await all_hear([crone, hag, phone], "from the phone", f"{room}/hag")
    await hush(crone)
    await phone.leave()
    await hag.settle()
    crone.say(room, "one", "groupchat")
    await crone.expect("its own", message("one"))
    crone.none("a leave of who is there", at(room, "hag", "unavailable"))
    await hag.expect("it", message("one"))


async def users_have_limits(house):
    crone, hag, witch = await cast(house, 3)
    for a in [crone, hag, witch]:  # as many as are in rooms elsewhere, too
        await a.settle()
    for _ in range(3):
        await walk_in(crone, room_of(house), "x")
    await kept_out_by_plugin(crone, room_of(house), "x", "resource-constraint")
    talker = await house.login(await house.users("talker"), plugins=PLUGINS)
    room = room_of(house)
    await walk_in(talker, room, "talker")
    await change(talker, room)
    # Of 20 a second, and three seconds' worth saved up: in one piece, lest a slow client keeps to it.
    talker.send_raw(f"<message to='{room}' type='groupchat'><body>x</body></message>" * 150)
    await talker.settle()
    refused = [s for s in talker.inbox if s.xml.get("type") == "error"]
    equal({kind_of(s) for s in refused}, {"wait resource-constraint"}, "too much said")
    check(len(talker.inbox) - len(refused) >= 60, f"of 150 messages {len(refused)} are refused")
    await talker.ask("set", f"<query xmlns='{MUC}#owner'><destroy/></query>", room)


def registration(nick, kind="submit", name="muc#register_roomnick"):
    return (f"<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='{kind}'><field var='FORM_TYPE'><value>{MUC}#register</value></field>"
            f"<field var='{name}'><value>{nick}</value></field></x></query>")


def decision(allow, nick):
    allow = f"<field var='muc#register_allow'><value>{allow}</value></field>" if allow else ""
    return (f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#register</value></field>"
            f"<field var='muc#register_roomnick'><value>{nick}</value></field>{allow}</x>")


async def members_register_their_nicks(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    ask = "<query xmlns='jabber:iq:register'/>"

    async def own_nick(actor):
        got = await actor.ask("get", f"<query xmlns='{INFO}' node='x-roomuser-item'/>", room)
        return [i.get("name") for i in got.xml.iter("{" + INFO + "}identity")]
    check("muc#register_roomnick" in str(await hag.ask("get", ask, room)), "there is no form")
    equal(await own_nick(hag), [], "before")
    await refuses(hag, "cancel conflict", "set", registration("crone"), room)
    for bad in [ask, registration("x", "form"), registration("x", name="muc#register_first"), ask.replace("/>", "><x xmlns='jabber:x:data'/></query>")]:
        await refuses(hag, "modify bad-request", "set", bad, room)
    await refuses(hag, "modify not-acceptable", "set", registration(" "), room)
    await refuses(hag, "auth registration-required", "set", "<query xmlns='jabber:iq:register'><remove/></query>", room)
    await refuses(hag, "cancel item-not-found", "get", ask, f"nowhere@rooms.{house.domain}")
    await hag.ask("set", registration("x", "cancel"), room)
    await hag.ask("set", registration("thirdwitch"), room)
    for a in [crone, witch]:
        await a.expect("a member", at(room, "hag"), lambda s: item(s)[0] == "member")
    got = await hag.ask("get", ask, room)
    query = got.xml.find("{jabber:iq:register}query")
    equal((query.find("{jabber:iq:register}registered") is not None, query.findtext("{jabber:iq:register}username")), (True, "thirdwitch"), "it is registered")
    equal(await own_nick(hag), ["thirdwitch"], "after")
    await refuses(witch, "cancel conflict", "set", registration("thirdwitch"), room)
    witch.show_presence(f"{room}/thirdwitch")
    equal(condition(await witch.expect("a conflict", presence(None, "error"))), "conflict", "a reserved nick")
    # Where no other nick may be borne.
    await hush(hag, witch)
    await change(crone, room, jackdaw__registered_nicks=1)
    for a in [hag, witch]:
        equal(item(await a.expect("the nick ends", at(room, "hag", "unavailable")))[2], "thirdwitch", "the next one")
        equal(codes(await a.expect("the registered one", at(room, "thirdwitch"))), [110, 210] if a is hag else [210], "codes")
    hag.show_presence(f"{room}/hag")
    equal(kind_of(await hag.expect("an error", presence(None, "error"))), "cancel not-acceptable", "another nick")
    await leave(hag, room)
    p = own(await walk_in(hag, room, "hag"))
    equal((p["from"].resource, codes(p)), ("thirdwitch", [110, 170, 210]), "it enters by another nick")
    await hag.ask("set", "<query xmlns='jabber:iq:register'><remove/></query>", room)
    await witch.expect("no member", at(room, "thirdwitch"), lambda s: item(s)[0] == "none")
    await change(crone, room, jackdaw__registration=0)
    await refuses(hag, "cancel not-allowed", "get", ask, room)
    await administer(crone, room, f"<item affiliation='outcast' jid='{hag.boundjid.bare}'/>")
    await refuses(hag, "cancel not-allowed", "set", registration("x"), room)


async def admins_approve_of_registrations(house):
    room, (crone, hag) = await company(house, "crone", "hag", membersonly=0, jackdaw__registration_approval=1)
    _, _, witch, king = await cast(house, 4)
    await administer(crone, room, f"<item affiliation='admin' jid='{king.boundjid.bare}'/>")

    await hag.ask("set", registration("thirdwitch"), room)
    for a in [crone, king]:  # in the room and not
        m = await a.expect("a request", has_form)
        check(m["from"] == room and "thirdwitch</value>" in str(m) and hag.boundjid.bare in str(m) and "muc#register_allow" in str(m), "it does not say all")
    equal(await listed(crone, room, "affiliation='member'"), [], "before")
    await refuses(witch, "cancel conflict", "set", registration("thirdwitch"), room)
    for a, answer, want in [(hag, decision("1", "thirdwitch"), "auth forbidden"), (king, decision("1", "x"), "cancel item-not-found"),
                            (king, decision(None, "thirdwitch"), "modify bad-request"), (king, decision("maybe", "thirdwitch"), "modify bad-request")]:
        await bounces(a, want, room, None, "normal", answer)
    king.say(room, None, "normal", None, decision("1", "thirdwitch"))
    for a in [hag, crone]:
        await a.expect("a member", at(room, "hag"), lambda s: item(s)[0] == "member")
    equal([(i["jid"], i["nick"]) for i in await listed(crone, room, "affiliation='member'")], [(hag.boundjid.bare, "thirdwitch")], "after")
    await witch.ask("set", registration("second"), room)
    king.say(room, None, "normal", None, decision("0", "second"))
    await hush(king)
    await bounces(king, "cancel item-not-found", room, None, "normal", decision("1", "second"))
    # Registering is no way into a room for members.
    await change(crone, room, jackdaw__registration_approval=0, membersonly=1)
    await witch.ask("set", registration("second"), room)
    await kept_out(witch, room, "second", "auth registration-required")
    crone.say(room, None, "normal", None, decision("true", "second"))
    await witch.expect("an invitation", invites)
    await walk_in(witch, room, "second")


async def who_is_not_in_the_room_hears_of_its_new_affiliation(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    await administer(crone, room, f"<item affiliation='member' jid='{hag.boundjid.bare}'/>")
    await leave(hag, room)
    await hush(crone, hag, witch)
    await administer(crone, room, f"<item affiliation='admin' jid='{hag.boundjid.bare}'/>")
    for a, want in [(hag, [101]), (crone, [])]:
        m = await a.expect("a message", is_message, lambda s: s["from"] == room and s.xml.find(f"{USER}x/{USER}item") is not None)
        equal((codes(m), item(m)[0]), (want, "admin"), "affiliation")
    await hush(witch)
    witch.none("what is for those who see addresses", is_message)
    await may_not(witch, "auth forbidden", room, f"<item affiliation='none' jid='{hag.boundjid.bare}'/>")
    await change(crone, room, whois="anyone")
    await witch.expect("a notice", tells(172))
    await administer(crone, room, f"<item affiliation='none' jid='{hag.boundjid.bare}'/>")
    equal(codes(await hag.expect("a message", is_message, lambda s: s["from"] == room)), [101], "codes")


if __name__ == "__main__":
    play(*map(staged, [
        the_service_and_its_rooms_are_found, public_rooms_are_searched, a_room_tells_what_it_is, a_room_is_made_entered_and_talked_in, who_enters_is_told_everything_in_order,
        history_is_shown_within_limits, what_keeps_somebody_out, a_room_is_closed_until_its_maker_has_configured_it,
        nicks_and_availability_change_and_occupants_leave, private_messages_reach_one,
        errors_for_private_messages_come_back_without_an_address, who_blocks_another_occupant_stays_in_the_room, probes_of_occupants_are_answered, only_who_is_in_the_room_and_has_voice_speaks, others_are_invited,
        two_who_talk_take_a_third_with_them, moderators_take_and_give_voice, presence_of_some_is_not_shown, who_pings_itself_learns_whether_it_is_in_the_room,
        who_is_not_reached_any_more_is_removed, an_occupant_keeps_its_id, requests_pass_through_the_room, a_session_that_is_resumed_has_missed_nothing,
        one_user_has_two_clients_in_the_room, users_have_limits, members_register_their_nicks, admins_approve_of_registrations,
        who_is_not_in_the_room_hears_of_its_new_affiliation]))
