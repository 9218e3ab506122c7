"""Rooms: XEP-0045 with self-ping (0410), occupant ids (0421), moderation (0425), pictures (0486) and archives (0313)."""

import base64
import contextlib
import hashlib
import sys

from slixmpp import JID
from slixmpp.exceptions import PresenceError

from scene import Actor, check, child, condition, denied, equal, is_message, message, play, presence, timely

PLUGINS = ["xep_0004", "xep_0030", "xep_0045", "xep_0059", "xep_0249", "xep_0313", "xep_0421"]
USER = "{http://jabber.org/protocol/muc#user}"
COUNT = 0


def room_of(house, name="coven"):
    global COUNT
    COUNT += 1
    return JID(f"{name}-{COUNT}@rooms.{house.domain}")


def codes(s):
    x = s.xml.find(USER + "x")
    return [] if x is None else sorted(int(c.get("code")) for c in x.findall(USER + "status"))


def item(s):
    """Affiliation, role and nick of a presence, and whether there is an address."""
    i = s.xml.find(USER + "x").find(USER + "item")
    return i.get("affiliation"), i.get("role"), i.get("nick"), i.get("jid") is not None


def at(room, nick, ptype=None):
    return presence(f"{room}/{nick}", ptype)


async def enter(actor, room, nick, **how):
    """Enters by slixmpp's plugin, which waits for the subject: own presence, subject, other occupants, history."""
    with contextlib.redirect_stdout(sys.stderr):  # slixmpp 1.8.3 prints the delays that it reads
        own, subject, occupants, history = await timely(actor["xep_0045"].join_muc_wait(room, nick, timeout=20, **how), f"{nick} enters")
    actor.forget()
    return own, subject, [p for p in occupants if p["from"] != own["from"]], history


async def kept_out(actor, room, nick, want, **how):
    try:
        await enter(actor, room, nick, **how)
    except PresenceError as e:
        equal(e.condition, want, f"{nick} is kept out")
        return
    check(False, f"{nick} enters {room}")


async def configure(actor, room, **values):
    """Fills in the form that the room gives."""
    form = await actor["xep_0045"].get_room_config(room)
    fields = form.get_fields()
    for name, value in values.items():
        check(f"muc#roomconfig_{name}" in fields, f"no field {name}")
        fields[f"muc#roomconfig_{name}"]["value"] = value
    form["type"] = "submit"
    await actor["xep_0045"].set_room_config(room, form)


async def company(house, *names, **config):
    """A room with these users in it, each by its name as nick; the first owns it."""
    users = await house.users(*names)
    users = [users] if isinstance(users, str) else users
    actors = [await house.login(u, plugins=PLUGINS) for u in users]
    room = room_of(house)
    own, _, _, _ = await enter(actors[0], room, names[0])
    equal(codes(own), [110, 170, 201], "codes for who has made it")
    await configure(actors[0], room, **config)
    for a, n in zip(actors[1:], names[1:]):
        await enter(a, room, n)
    for a in actors:
        await a.settle()
        a.forget()
    return room, actors


async def all_hear(actors, body, sender):
    for a in actors:
        m = await a.expect(body, message(body, sender, "groupchat"))
        check(m.xml.find("{urn:xmpp:occupant-id:0}occupant-id") is not None, "no occupant id")
        check(m.xml.find("{urn:xmpp:sid:0}stanza-id").get("by") == sender.split("/")[0], "no stanza id of the room")


async def a_room_is_made_entered_and_talked_in(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    crone.say(room, "Thrice the brinded cat hath mew'd", "groupchat")
    await all_hear([crone, hag], "Thrice the brinded cat hath mew'd", f"{room}/crone")
    crone["xep_0045"].set_subject(room, "Fire Burn")
    for a in [crone, hag]:
        await a.expect("the subject", is_message, lambda s: s["subject"] == "Fire Burn")
    witch = await house.login(await house.users("witch"), plugins=PLUGINS)
    own, subject, occupants, history = await enter(witch, room, "witch")
    equal(codes(own), [110, 170], "codes")
    equal(item(own), ("none", "participant", None, True), "own item")
    equal(sorted(str(p["from"].resource) for p in occupants), ["crone", "hag"], "occupants")
    equal([m["body"] for m in history], ["Thrice the brinded cat hath mew'd"], "history")
    equal((subject["subject"], subject["from"]), ("Fire Burn", JID(f"{room}/crone")), "subject")
    for a, sees in [(crone, True), (hag, False)]:
        p = await a.expect("the new one", at(room, "witch"))
        equal(item(p), ("none", "participant", None, sees), "item")


async def nicks_change_and_occupants_leave(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    hag.show_presence(f"{room}/oldhag")
    for a in [crone, witch, hag]:
        gone = await a.expect("the old nick ends", at(room, "hag", "unavailable"))
        equal((item(gone)[2], 303 in codes(gone)), ("oldhag", True), "new nick")
        await a.expect("the new nick", at(room, "oldhag"))
    hag.show_presence(f"{room}/witch")
    equal(condition(await hag.expect("a conflict", presence(None, "error"))), "conflict", "taken nick")
    hag.show_presence(f"{room}/oldhag", "unavailable", None, "gone where the goblins go")
    for a in [crone, witch]:
        gone = await a.expect("it leaves", at(room, "oldhag", "unavailable"))
        equal((gone["status"], item(gone)[1]), ("gone where the goblins go", "none"), "farewell")
    equal(codes(await hag.expect("its own leave", at(room, "oldhag", "unavailable"))), [110], "codes")
    witch.abort()
    await crone.expect("a lost connection is a leave", at(room, "witch", "unavailable"))


async def private_messages_reach_one(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    crone.say(f"{room}/hag", "I'll give thee a wind", "chat")
    m = await hag.expect("it", message("I'll give thee a wind", f"{room}/crone", "chat"))
    check(child(m, USER + "x") is not None, "not marked as private")
    crone.say(f"{room}/nobody", "x", "chat")
    equal(condition(await crone.expect("an error", message(mtype="error"))), "item-not-found", "nobody")
    crone.say(f"{room}/hag", "x", "groupchat")
    equal(condition(await crone.expect("an error", message(mtype="error"))), "bad-request", "groupchat to one")
    await witch.settle()
    witch.none("what is not for it", is_message)


async def moderators_take_and_give_voice(house):
    room, (crone, hag) = await company(house, "crone", "hag", moderatedroom=True)
    hag.say(room, "x", "groupchat")
    equal(condition(await hag.expect("an error", message(mtype="error"))), "forbidden", "no voice")
    hag["xep_0045"].request_voice(room, "participant")
    ask = await crone.expect("a request", is_message, lambda s: child(s, "{jabber:x:data}x") is not None)
    crone.say(room, None, "normal", None, "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>"
              "<field var='muc#role'><value>participant</value></field><field var='muc#roomnick'><value>hag</value></field>"
              "<field var='muc#request_allow'><value>1</value></field></x>")
    check(ask["from"] == room, "the request is not the room's")
    p = await hag.expect("voice", at(room, "hag"), lambda s: item(s)[1] == "participant")
    equal(codes(p), [110], "codes")
    hag.say(room, "at last", "groupchat")
    await all_hear([crone, hag], "at last", f"{room}/hag")
    equal(await crone["xep_0045"].get_roles_list(room, "participant"), ["hag"], "who has voice")
    await crone["xep_0045"].set_role(room, "hag", "visitor", reason="Not so worthy")
    p = await hag.expect("no voice", at(room, "hag"), lambda s: item(s)[1] == "visitor")
    await denied(hag["xep_0045"].set_role(room, "crone", "none"), "forbidden", "a visitor kicks")


async def kicks_and_bans_remove(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    await crone["xep_0045"].set_role(room, "hag", "none", reason="Avaunt")
    for a in [hag, witch, crone]:
        gone = await a.expect("a kick", at(room, "hag", "unavailable"))
        check(307 in codes(gone) and item(gone)[1] == "none", "not kicked")
        reason = gone.xml.find(f"{USER}x/{USER}item/{USER}reason")
        equal(reason.text, "Avaunt", "reason")
    await enter(hag, room, "hag")
    await crone["xep_0045"].set_affiliation(room, "outcast", jid=hag.boundjid.bare)
    for a in [hag, witch]:
        check(301 in codes(await a.expect("a ban", at(room, "hag", "unavailable"))), "not banned")
    await kept_out(hag, room, "hag", "forbidden")
    equal([str(j) for j in await crone["xep_0045"].get_affiliation_list(room, "outcast")], [hag.boundjid.bare], "who is banned")
    await denied(witch["xep_0045"].get_affiliation_list(room, "outcast"), "forbidden", "who may not see that")
    await denied(witch["xep_0045"].set_affiliation(room, "outcast", jid=crone.boundjid.bare), "forbidden", "who may not ban")
    await denied(crone["xep_0045"].set_affiliation(room, "outcast", jid=crone.boundjid.bare), "conflict", "who bans himself")
    await crone["xep_0045"].set_affiliation(room, "none", jid=hag.boundjid.bare)
    await enter(hag, room, "hag")


async def passwords_and_members_keep_out(house):
    room, (crone,) = await company(house, "crone", passwordprotectedroom=True, roomsecret="cauldronburn")
    users = await house.users("hag", "witch")
    hag, witch = [await house.login(u, plugins=PLUGINS) for u in users]
    await kept_out(hag, room, "hag", "not-authorized")
    await kept_out(hag, room, "hag", "not-authorized", password="wrong")
    await enter(hag, room, "hag", password="cauldronburn")
    await kept_out(witch, room, "hag", "conflict", password="cauldronburn")
    await configure(crone, room, passwordprotectedroom=False, membersonly=True)
    gone = await hag.expect("who is no member has to go", at(room, "hag", "unavailable"))
    check(322 in codes(gone), "code")
    await kept_out(hag, room, "hag", "registration-required")
    crone["xep_0045"].invite(room, JID(users[0]), "Hey")
    invitation = await hag.expect("an invitation", is_message, lambda s: s.xml.find(f"{USER}x/{USER}invite") is not None)
    equal(invitation["from"], room, "from the room")
    await enter(hag, room, "hag")
    await crone["xep_0045"].set_affiliation(room, "member", jid=witch.boundjid.bare)
    await witch.expect("an invitation", is_message, lambda s: s.xml.find(f"{USER}x/{USER}invite") is not None)
    witch["xep_0045"].decline(room, JID(crone.boundjid.bare), "Too busy")
    no = await crone.expect("it is declined", is_message, lambda s: s.xml.find(f"{USER}x/{USER}decline") is not None)
    equal(no.xml.find(f"{USER}x/{USER}decline").get("from"), witch.boundjid.bare, "who")
    await crone["xep_0045"].set_affiliation(room, "none", jid=hag.boundjid.bare)
    check(321 in codes(await hag.expect("membership ends", at(room, "hag", "unavailable"))), "code")


async def a_persistent_room_is_there_after_a_restart(house):
    room, (crone, hag) = await company(house, "crone", "hag", persistentroom=True, roomname="A Dark Cave")
    await crone["xep_0045"].set_affiliation(room, "admin", jid=hag.boundjid.bare)
    crone["xep_0045"].set_subject(room, "Fire")
    crone.say(room, "lasting", "groupchat")
    await hag.expect("it", message("lasting"))
    users = [crone.boundjid.bare, hag.boundjid.bare]
    for how in ["restart", "crash"]:
        await house.ask(how)
        crone, hag = [await house.login(u, plugins=PLUGINS) for u in users]
        own, subject, _, history = await enter(hag, room, "hag")
        equal(codes(own), [110, 170], f"codes after a {how}")
        equal((item(own)[:2], subject["subject"], [m["body"] for m in history]), (("admin", "moderator"), "Fire", ["lasting"]), f"after a {how}")
        info = await crone["xep_0030"].get_info(jid=room)
        check(any(i[3] == "A Dark Cave" for i in info["disco_info"]["identities"]), f"name after a {how}")
        rooms = await crone["xep_0030"].get_items(jid=f"rooms.{house.domain}")
        check(any(i[0] == str(room) for i in rooms["disco_items"]["items"]), f"it is not listed after a {how}")


async def an_owner_destroys_a_room(house):
    room, (crone, hag) = await company(house, "crone", "hag", persistentroom=True)
    await denied(hag["xep_0045"].destroy(room, "x"), "forbidden", "who may not")
    await crone["xep_0045"].destroy(room, "Macbeth doth come", JID(f"heath@rooms.{house.domain}"))
    for a, n in [(crone, "crone"), (hag, "hag")]:
        gone = await a.expect("the end", at(room, n, "unavailable"))
        d = gone.xml.find(f"{USER}x/{USER}destroy")
        equal((d.get("jid"), d.findtext(USER + "reason")), (f"heath@rooms.{house.domain}", "Macbeth doth come"), "why and where")
    own, _, _, history = await enter(hag, room, "hag")
    equal((codes(own), history), ([110, 170, 201], []), "it is made anew")


async def who_pings_itself_learns_whether_it_is_in_the_room(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    ping = "<ping xmlns='urn:xmpp:ping'/>"
    await hag.ask("get", ping, f"{room}/hag")
    hag.show_presence(f"{room}/hag", "unavailable")
    await denied(hag.ask("get", ping, f"{room}/hag"), "not-acceptable", "who is not")
    hag.show_presence(f"{room}/hag")  # as who believes to be in it
    equal(codes(await hag.expect("the truth", at(room, "hag", "unavailable"), lambda s: 333 in codes(s))), [110, 307, 333], "codes")


async def an_occupant_keeps_its_id(house):
    room, (crone, hag) = await company(house, "crone", "hag", persistentroom=True)
    oid = "{urn:xmpp:occupant-id:0}occupant-id"
    ids = set()
    for nick in ["hag", "oldhag"]:
        hag.show_presence(f"{room}/{nick}", None, None, None, f"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>")
        p = await crone.expect("presence", at(room, nick))
        equal(len(p.xml.findall(oid)), 1, "ids")
        ids.add(p.xml.find(oid).get("id"))
    check(len(ids) == 1 and "forged" not in ids, f"ids are {ids}")


async def a_room_has_an_archive(house):
    room, (crone, hag) = await company(house, "crone", "hag", persistentroom=True)
    for i in range(3):
        hag.say(room, str(i), "groupchat")
    last = await crone.expect("the last", message("2"))
    aid = last.xml.find("{urn:xmpp:sid:0}stanza-id").get("id")
    page = await hag["xep_0313"].retrieve(jid=room)
    results = list(page["mam"]["results"])
    forwarded = "{urn:xmpp:mam:2}result/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
    equal([r.xml.find(forwarded).findtext("{jabber:client}body") for r in results], ["0", "1", "2"], "archive")
    equal([r.xml.find(forwarded).get("from") for r in results], [f"{room}/hag"] * 3, "senders")
    equal(results[2].xml.find("{urn:xmpp:mam:2}result").get("id"), aid, "the archive id is the stanza id")
    await denied(hag.ask("set", f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{aid}'><retract xmlns='urn:xmpp:message-retract:1'/></moderate>", room),
                 "forbidden", "who may not moderate")
    await crone.ask("set", f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{aid}'><retract xmlns='urn:xmpp:message-retract:1'/><reason>Spam</reason></moderate>", room)
    for a in [crone, hag]:
        m = await a.expect("a retraction", is_message, lambda s: child(s, "{urn:xmpp:message-retract:1}retract") is not None)
        equal((m["from"], child(m, "{urn:xmpp:message-retract:1}retract").get("id")), (room, aid), "retraction")
    results = list((await hag["xep_0313"].retrieve(jid=room))["mam"]["results"])
    check(results[2].xml.find(forwarded).find("{urn:xmpp:message-retract:1}retracted") is not None, "no tombstone")
    await configure(crone, room, membersonly=True)
    await denied(hag["xep_0313"].retrieve(jid=room), "forbidden", "who may not enter")


async def a_room_has_a_picture(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    picture = b"not a real picture"
    card = f"<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>{base64.b64encode(picture).decode()}</BINVAL></PHOTO></vCard>"
    await denied(hag.ask("set", card, room), "forbidden", "who may not")
    await crone.ask("set", card, room)
    await hag.expect("a change", message(mtype="groupchat"), lambda s: codes(s) == [104])
    got = await hag.ask("get", "<vCard xmlns='vcard-temp'/>", room)
    equal(child(got, "{vcard-temp}vCard").findtext("{vcard-temp}PHOTO/{vcard-temp}BINVAL"), base64.b64encode(picture).decode(), "picture")
    info = await hag.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", room)
    check(hashlib.sha1(picture).hexdigest() in str(info), "no hash")


async def members_register_their_nicks(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch")
    form = ("<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field>"
            "<field var='muc#register_roomnick'><value>thirdwitch</value></field></x></query>")
    await hag.ask("set", form, room)
    await crone.expect("a member", at(room, "hag"), lambda s: item(s)[0] == "member")
    await denied(witch.ask("set", form, room), "conflict", "a reserved nick")
    witch.show_presence(f"{room}/thirdwitch")
    equal(condition(await witch.expect("a conflict", presence(None, "error"))), "conflict", "a reserved nick")
    got = await hag.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>", room)
    check("name=\"thirdwitch\"" in str(got), "the nick is not told")


async def requests_pass_through_the_room(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    await crone.ask("set", "<vCard xmlns='vcard-temp'><FN>Crone</FN></vCard>")
    got = await hag.ask("get", "<vCard xmlns='vcard-temp'/>", f"{room}/crone")
    equal((got["from"], child(got, "{vcard-temp}vCard").findtext("{vcard-temp}FN")), (JID(f"{room}/crone"), "Crone"), "vCard")
    check(crone.boundjid.bare not in str(got), "the address is told")
    info = await hag.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", f"{room}/crone")
    equal(info["from"], JID(f"{room}/crone"), "the client answers through the room")
    hag.show_presence(f"{room}/hag", "unavailable")
    await denied(hag.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", f"{room}/crone"), "bad-request", "who is not in the room")


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
    await enter(phone, room, "hag")
    crone.say(room, "both", "groupchat")
    await all_hear([crone, hag, phone], "both", f"{room}/crone")
    crone.forget()
    await phone.leave()
    await hag.settle()
    crone.say(room, "one", "groupchat")
    await crone.expect("its own", message("one"))
    crone.none("a leave of who is there", at(room, "hag", "unavailable"))
    await hag.expect("it", message("one"))


async def rooms_are_limited(house):
    crone = await house.login(await house.users("crone"), plugins=PLUGINS)
    for _ in range(3):
        await enter(crone, room_of(house), "x")
    await kept_out(crone, room_of(house), "x", "resource-constraint")


async def what_is_wrong_is_answered_with_errors(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    stranger = await house.login(await house.users("stranger"), plugins=PLUGINS)
    stranger.say(room, "x", "groupchat")
    equal(condition(await stranger.expect("an error", message(mtype="error"))), "not-acceptable", "who is not in the room")
    stranger.say(f"nowhere@rooms.{house.domain}", "x", "groupchat")
    equal(condition(await stranger.expect("an error", message(mtype="error"))), "item-not-found", "no such room")
    stranger.show_presence(room, None, None, None, "<x xmlns='http://jabber.org/protocol/muc'/>")
    equal(condition(await stranger.expect("an error", presence(None, "error"))), "jid-malformed", "no nick")
    hag.say(room, "x", "chat")
    equal(condition(await hag.expect("an error", message(mtype="error"))), "bad-request", "not for all")
    hag["xep_0045"].set_subject(room, "x")
    equal(condition(await hag.expect("an error", message(mtype="error"))), "forbidden", "subject")
    await denied(hag["xep_0045"].get_room_config(room), "forbidden", "configuration")
    await denied(stranger.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", f"nowhere@rooms.{house.domain}"), "item-not-found", "no such room")
    await denied(stranger.ask("get", "<query xmlns='jabber:iq:version'/>", room), "service-unavailable", "what a room does not know")
    await crone.settle()


if __name__ == "__main__":
    play(a_room_is_made_entered_and_talked_in, nicks_change_and_occupants_leave, private_messages_reach_one,
         moderators_take_and_give_voice, kicks_and_bans_remove, passwords_and_members_keep_out,
         who_pings_itself_learns_whether_it_is_in_the_room, an_occupant_keeps_its_id, a_room_has_an_archive, a_room_has_a_picture,
         members_register_their_nicks, requests_pass_through_the_room, a_session_that_is_resumed_has_missed_nothing,
         one_user_has_two_clients_in_the_room, rooms_are_limited, what_is_wrong_is_answered_with_errors, an_owner_destroys_a_room,
         a_persistent_room_is_there_after_a_restart)
