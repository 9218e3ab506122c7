"""Rooms as moderators, admins and owners know them: XEP-0045 §8, §9 and §10, with hats (0317) and pictures (0486)."""

import base64
import hashlib

from slixmpp import JID

from scene import check, child, equal, is_message, play
from rooms_cast import (MUC, USER, administer, at, bounces, change, codes, company, config, configure, enter, hush, info, invites, item,
                        kept_out, kind_of, leave, listed, may_not, order, own, reason, refuses, staged, tells, walk_in)


def jid(actor, affiliation, more=""):
    return f"<item affiliation='{affiliation}' jid='{actor.boundjid.bare}'{more}/>"


def nick(name, role):
    return f"<item nick='{name}' role='{role}'><reason>Because</reason></item>"


async def everybody_sees(actors, room, name, affiliation, role):
    """Presence of somebody with this affiliation and role."""
    for a in actors:
        p = await a.expect(f"{name} as {affiliation} and {role}", at(room, name), lambda s: item(s)[:2] == (affiliation, role))
        a.inbox[:] = [s for s in a.inbox if s["from"] != p["from"]]


async def moderators_kick(house):
    room, (crone, hag, witch, king) = await company(house, "crone", "hag", "witch", "king")
    await crone["xep_0045"].set_role(room, "hag", "none", reason="Avaunt")
    for a in [hag, witch, crone]:
        gone = await a.expect("a kick", at(room, "hag", "unavailable"))
        equal((codes(gone), item(gone)[1], reason(gone)), ([110, 307] if a is hag else [307], "none", "Avaunt"), "kick")
        equal(gone.xml.find(f"{USER}x/{USER}item/{USER}actor").get("nick"), "crone", "by whom")
    await walk_in(hag, room, "hag")
    await administer(crone, room, nick("witch", "moderator"))
    await administer(crone, room, jid(king, "admin"))
    await hush(crone, hag, witch, king)
    await may_not(hag, "auth forbidden", room, nick("witch", "none"))
    for name in ["king", "crone"]:
        await may_not(witch, "cancel not-allowed", room, nick(name, "none"))
    await may_not(king, "cancel not-allowed", room, nick("crone", "none"))
    await may_not(witch, "cancel item-not-found", room, nick("nobody", "none"))
    await administer(witch, room, nick("hag", "none"))
    await king.expect("a kick", at(room, "hag", "unavailable"), lambda s: codes(s) == [307])
    await administer(crone, room, nick("king", "none"), nick("witch", "none"))
    for a, name in [(king, "king"), (witch, "witch")]:
        await a.expect("a kick", at(room, name, "unavailable"), lambda s: codes(s) == [110, 307])


async def moderators_manage_voice(house):
    room, (crone, hag, witch, king) = await company(house, "crone", "hag", "witch", "king", moderatedroom=1)
    await administer(crone, room, jid(king, "admin"))
    await everybody_sees([king, crone, hag], room, "king", "admin", "moderator")
    await administer(crone, room, nick("witch", "moderator"))
    await everybody_sees([witch, hag], room, "witch", "none", "moderator")
    await administer(witch, room, nick("hag", "participant"))
    for a in [hag, crone]:
        p = await a.expect("voice", at(room, "hag"))
        equal((item(p)[1], reason(p)), ("participant", "Because"), "voice")
    equal([(i["nick"], i["role"], i["affiliation"], i["jid"]) for i in await listed(witch, room, "role='participant'")],
          [("hag", "participant", "none", hag.boundjid.full)], "who has voice")
    await administer(witch, room, nick("hag", "visitor"))
    await everybody_sees([hag, crone], room, "hag", "none", "visitor")
    for name in ["king", "crone"]:  # nobody takes the voice of an admin or owner
        for role in ["visitor", "participant"]:
            await may_not(witch, "cancel not-allowed", room, nick(name, role))
    await may_not(king, "cancel not-allowed", room, nick("crone", "visitor"))
    await may_not(crone, "cancel not-allowed", room, nick("king", "visitor"))
    await may_not(hag, "auth forbidden", room, nick("hag", "participant"))
    await refuses(hag, "auth forbidden", "get", order("<item role='participant'/>"), room)
    for bad in ["<item/>", "<item role='none'/>", "<item role='x'/>", "<item role='visitor' affiliation='none'/>", ""]:
        await refuses(crone, "modify bad-request", "get", order(bad), room)
    for bad in ["", "<item nick='hag'/>", nick("hag", "x"), "<item nick='hag' role='visitor' affiliation='member'/>",
                nick("hag", "participant") + jid(hag, "member")]:
        await may_not(crone, "modify bad-request", room, bad)


async def admins_make_moderators(house):
    room, (crone, hag, witch, king) = await company(house, "crone", "hag", "witch", "king", whois="moderators")
    await administer(crone, room, jid(king, "admin"))
    await hush(crone, hag, witch, king)
    await administer(king, room, nick("hag", "moderator"))
    check(item(await hag.expect("an address", at(room, "witch")))[3], "a moderator sees no address")
    equal(item(await witch.expect("a moderator", at(room, "hag")))[:2], ("none", "moderator"), "role")
    equal(sorted(i["nick"] for i in await listed(king, room, "role='moderator'")), ["crone", "hag", "king"], "moderators")
    await may_not(hag, "auth forbidden", room, nick("witch", "moderator"))
    for name in ["king", "crone"]:
        await may_not(king, "cancel not-allowed", room, nick(name, "participant"))
    await administer(king, room, nick("hag", "participant"), nick("witch", "moderator"))
    await everybody_sees([hag, crone], room, "hag", "none", "participant")
    await everybody_sees([hag, crone], room, "witch", "none", "moderator")
    await may_not(hag, "auth forbidden", room, nick("hag", "moderator"))


async def admins_ban(house):
    room, (crone, hag, witch, king) = await company(house, "crone", "hag", "witch", "king")
    await administer(crone, room, jid(king, "admin"))
    await hush(crone, hag, witch, king)
    await administer(king, room, jid(hag, "outcast").replace("/>", "><reason>Treason</reason></item>"))
    for a in [hag, witch]:
        gone = await a.expect("a ban", at(room, "hag", "unavailable"))
        equal((codes(gone), item(gone)[:2], reason(gone)), ([110, 301] if a is hag else [301], ("outcast", "none"), "Treason"), "ban")
    await kept_out(hag, room, "hag", "auth forbidden")
    equal([(i["jid"], i["affiliation"], i.get("nick"), i.get("role")) for i in await listed(king, room, "affiliation='outcast'")],
          [(hag.boundjid.bare, "outcast", None, None)], "who is banned")
    check("Treason" in str(await king.ask("get", order("<item affiliation='outcast'/>"), room)), "why is not told")
    await refuses(witch, "auth forbidden", "get", order("<item affiliation='outcast'/>"), room)
    await may_not(witch, "auth forbidden", room, jid(crone, "outcast"))
    await may_not(king, "cancel not-allowed", room, jid(crone, "outcast"))
    for a in [king, crone]:
        await may_not(a, "cancel conflict", room, jid(a, "outcast"))
    await may_not(king, "cancel not-allowed", room, jid(witch, "outcast"), jid(crone, "outcast"))  # all or none
    await witch.settle()
    witch.none("a ban", at(room, "witch", "unavailable"))
    for bad, want in [("<item affiliation='outcast'/>", "modify bad-request"), ("<item affiliation='outcast' jid='@'/>", "modify jid-malformed"),
                      (f"<item affiliation='member' jid='{house.domain}'/>", "modify jid-malformed"), (f"<item affiliation='x' jid='a@{house.domain}'/>", "modify bad-request")]:
        await may_not(king, want, room, bad)
    await administer(king, room, jid(hag, "none"), jid(witch, "outcast"))
    await witch.expect("a ban", at(room, "witch", "unavailable"), lambda s: codes(s) == [110, 301])
    await walk_in(hag, room, "hag")


async def admins_manage_members(house):
    room, (crone, hag, witch, king) = await company(house, "crone", "hag", "witch", "king", moderatedroom=1)
    await administer(crone, room, jid(king, "admin"))
    await everybody_sees([hag], room, "king", "admin", "moderator")
    await administer(king, room, jid(hag, "member", " nick='thirdwitch'"))
    await everybody_sees([hag, witch, crone], room, "hag", "member", "participant")
    equal([(i["jid"], i["nick"], i.get("role")) for i in await listed(king, room, "affiliation='member'")], [(hag.boundjid.bare, "thirdwitch", None)], "members")
    await may_not(king, "cancel conflict", room, jid(witch, "member", " nick='thirdwitch'"))
    await may_not(hag, "auth forbidden", room, jid(witch, "member"))
    for a in [hag, witch]:
        await refuses(a, "auth forbidden", "get", order("<item affiliation='member'/>"), room)
    await refuses(king, "modify bad-request", "get", order("<item affiliation='none'/>"), room)
    await change(crone, room, whois="anyone", getmemberlist=["moderator"])
    equal(len(await listed(hag, room, "affiliation='member'")), 1, "members see the list where addresses are no secret")
    await refuses(witch, "auth forbidden", "get", order("<item affiliation='member'/>"), room)
    await change(crone, room, getmemberlist=["moderator", "participant", "visitor"])
    equal(len(await listed(witch, room, "affiliation='member'")), 1, "so does who may by its role")
    await administer(king, room, jid(hag, "member", " nick=''"))
    equal([i.get("nick") for i in await listed(king, room, "affiliation='member'")], [None], "no nick")
    await administer(king, room, jid(hag, "none"))
    await everybody_sees([hag, crone], room, "hag", "none", "participant")
    # In a room for members.
    await administer(king, room, jid(hag, "member"))
    await leave(witch, room)
    await change(crone, room, membersonly=1, passwordprotectedroom=1, roomsecret="cauldronburn")
    await hush(crone, hag, witch, king)
    await administer(king, room, jid(hag, "none"), jid(witch, "member"))
    for a in [hag, crone]:
        gone = await a.expect("membership ends", at(room, "hag", "unavailable"))
        equal((codes(gone), item(gone)[:2]), ([110, 321] if a is hag else [321], ("none", "none")), "removal")
        a.none("presence of who has no place there", at(room, "hag"))
    m = await witch.expect("an invitation", invites)
    equal(m.xml.findtext(f"{USER}x/{USER}password"), "cauldronburn", "password")
    await kept_out(hag, room, "hag", "auth registration-required")
    await kept_out(witch, room, "witch", "auth not-authorized")
    await walk_in(witch, room, "witch", "<password>cauldronburn</password>")


async def owners_make_admins_and_owners(house):
    room, (crone, hag, witch, king) = await company(house, "crone", "hag", "witch", "king")
    await administer(crone, room, jid(king, "owner"))
    await everybody_sees([king, hag], room, "king", "owner", "moderator")
    await administer(king, room, jid(hag, "admin"))
    await everybody_sees([hag, witch], room, "hag", "admin", "moderator")
    equal([i["jid"] for i in await listed(crone, room, "affiliation='admin'")], [hag.boundjid.bare], "admins")
    equal([i["jid"] for i in await listed(crone, room, "affiliation='owner'")], sorted([crone.boundjid.bare, king.boundjid.bare]), "owners")
    for a in [hag, witch]:
        for what in ["admin", "owner"]:
            await may_not(a, "auth forbidden", room, jid(witch, what))
            await refuses(a, "auth forbidden", "get", order(f"<item affiliation='{what}'/>"), room)
    for a in [crone, hag]:
        await may_not(hag, "auth forbidden", room, jid(a, "member"))
    await administer(king, room, jid(hag, "member"))
    await everybody_sees([hag, witch], room, "hag", "member", "participant")
    await administer(king, room, jid(crone, "none"))
    await everybody_sees([crone, witch], room, "crone", "none", "participant")
    for what in ["none", "admin"]:
        await may_not(king, "cancel conflict", room, jid(king, what))
    await refuses(crone, "auth forbidden", "get", f"<query xmlns='{MUC}#owner'/>", room)
    # By the form, whose lists are complete.
    await king.ask("set", config(roomadmins=[hag.boundjid.bare, witch.boundjid.bare], roomowners=[king.boundjid.bare, crone.boundjid.bare]), room)
    for a, name, affiliation in [(hag, "hag", "admin"), (hag, "witch", "admin"), (hag, "crone", "owner")]:
        await a.expect("who is what", at(room, name), lambda s: item(s)[:2] == (affiliation, "moderator"))
    form = await crone["xep_0045"].get_room_config(room)
    equal(sorted(form.get_fields()["muc#roomconfig_roomowners"]["value"]), sorted([king.boundjid.bare, crone.boundjid.bare]), "owners in the form")
    await crone.ask("set", config(roomowners=[crone.boundjid.bare], roomadmins=[]), room)
    await everybody_sees([witch], room, "king", "none", "participant")
    await everybody_sees([witch], room, "witch", "none", "participant")
    await refuses(crone, "cancel conflict", "set", config(roomowners=[]), room)


async def owners_configure_a_room(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    for values, code in [({"enablelogging": 0}, 171), ({"enablelogging": 1}, 170), ({"whois": "anyone"}, 172), ({"whois": "moderators"}, 173), ({"roomname": "x"}, 104)]:
        await change(crone, room, **values)
        for a in [crone, hag]:
            await a.expect(f"a notice of {values}", tells(code), lambda s: s["from"] == room and s["type"] == "groupchat")
    await configure(crone, room, roomname="A Dark Cave", changesubject=True)
    equal((await info(hag, room))[2], ["A Dark Cave"], "name")
    await hush(crone, hag)
    await change(crone, room, roomname="A Dark Cave")
    await crone.ask("set", f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='cancel'/></query>", room)
    await hush(crone, hag)
    hag.none("a notice of nothing", is_message)
    for kind, inner in [("get", ""), ("set", "<x xmlns='jabber:x:data' type='submit'/>"), ("set", "<destroy/>")]:
        await refuses(hag, "auth forbidden", kind, f"<query xmlns='{MUC}#owner'>{inner}</query>", room)
    for inner in ["", "<x xmlns='jabber:x:data'/>", "<x xmlns='jabber:x:data' type='form'/>",
                  "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>x</value></field></x>"]:
        await refuses(crone, "modify bad-request", "set", f"<query xmlns='{MUC}#owner'>{inner}</query>", room)
    for values in [{"whois": "x"}, {"allowpm": "x"}, {"maxusers": "x"}, {"persistentroom": "x"}, {"presencebroadcast": "x"}, {"muc__maxhistoryfetch": "x"},
                   {"roomowners": "@"}, {"passwordprotectedroom": 1, "roomsecret": ""}]:
        await refuses(crone, "modify not-acceptable", "set", config(**values), room)
    await refuses(crone, "cancel item-not-found", "get", f"<query xmlns='{MUC}#owner'/>", f"nowhere@rooms.{house.domain}")
    equal((await info(hag, room))[2], ["A Dark Cave"], "nothing has changed")


async def an_owner_destroys_a_room(house):
    room, (crone, hag) = await company(house, "crone", "hag", persistentroom=1)
    crone.say(room, "said", "groupchat")
    await hush(crone, hag)
    await refuses(crone, "modify jid-malformed", "set", f"<query xmlns='{MUC}#owner'><destroy jid='@'/></query>", room)
    await crone["xep_0045"].destroy(room, "Macbeth doth come", JID(f"heath@rooms.{house.domain}"))
    for a, n in [(crone, "crone"), (hag, "hag")]:
        gone = await a.expect("the end", at(room, n, "unavailable"))
        d = gone.xml.find(f"{USER}x/{USER}destroy")
        equal((d.get("jid"), d.findtext(USER + "reason"), item(gone)[:2]), (f"heath@rooms.{house.domain}", "Macbeth doth come", ("none", "none")), "why and where")
        a.none("a leave of another", at(room, "hag" if n == "crone" else "crone", "unavailable"))
    own, _, _, history = await enter(hag, room, "hag")
    equal((codes(own), history), ([110, 170, 201], []), "it is made anew")


async def owners_give_hats(house):
    room, (crone, hag) = await company(house, "crone", "hag")

    def command(what, action="execute", **fields):
        form = "".join(f"<field var='hats#{k}'><value>{v}</value></field>" for k, v in fields.items())
        if form:
            form = f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:hats:commands</value></field>{form}</x>"
        return f"<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:hats:commands:{what}' action='{action}'>{form}</command>"

    async def done(what, status="completed", **fields):
        got = await crone.ask("set", command(what, **fields), room)
        equal(child(got, "{http://jabber.org/protocol/commands}command").get("status"), status, what)
        return str(got)

    async def worn(name):
        p = await hag.expect(f"presence of {name}", at(room, name))
        return [(h.get("title"), h.get("uri")) for h in p.xml.iter("{urn:xmpp:hats:0}hat")]
    for fields, want in [({"title": "Host"}, "modify bad-request"), ({"title": "Host", "uri": "urn:host", "hue": "x"}, "modify not-acceptable")]:
        await refuses(crone, want, "set", command("create", **fields), room)
    for what, want in [("create", "auth forbidden"), ("list-assigned", "auth forbidden")]:
        await refuses(hag, want, "set", command(what), room)
    await refuses(crone, "cancel item-not-found", "set", command("x"), room)
    for what, fields in [("assign", {"jid": hag.boundjid.bare}), ("unassign", {"jid": hag.boundjid.bare}), ("destroy", {})]:
        await refuses(crone, "cancel item-not-found", "set", command(what, uri="urn:host", **fields), room)
    check("hats#title" in await done("create", "executing"), "there is no form")
    got = await crone.ask("set", command("create", "cancel"), room)
    equal(child(got, "{http://jabber.org/protocol/commands}command").get("status"), "canceled", "cancel")
    await done("create", title="Host", uri="urn:host", hue="10.5")
    await hag.expect("a notice", tells(104))
    check((await info(hag, room))[1].get("hats#hash"), "no hash of the hats")
    await refuses(crone, "modify jid-malformed", "set", command("assign", uri="urn:host", jid="@"), room)
    await done("assign", uri="urn:host", jid=hag.boundjid.bare)
    equal(await worn("hag"), [("Host", "urn:host")], "hats")
    await done("create", title="Hostess", uri="urn:host")
    equal(await worn("hag"), [("Hostess", "urn:host")], "a hat is changed")
    check(hag.boundjid.bare in await done("list-assigned"), "who wears it")
    check("urn:host" in str(await hag.ask("set", command("list"), room)), "hats are for all to see")
    await done("unassign", uri="urn:host", jid=hag.boundjid.bare)
    equal(await worn("hag"), [], "it is taken off")
    await done("assign", uri="urn:host", jid=crone.boundjid.bare)
    equal(await worn("crone"), [("Hostess", "urn:host")], "hats")
    await done("destroy", uri="urn:host")
    equal(await worn("crone"), [], "it is destroyed")
    got = await crone.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>", room)
    equal(len(list(got.xml.iter("{http://jabber.org/protocol/disco#items}item"))), 6, "commands")


async def a_room_has_a_picture(house):
    room, (crone, hag) = await company(house, "crone", "hag")
    picture = b"not a real picture"
    card = f"<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>{base64.b64encode(picture).decode()}</BINVAL></PHOTO></vCard>"
    await refuses(hag, "auth forbidden", "set", card, room)
    for was, now in [(None, picture), (picture, None)]:
        got = await hag.ask("get", "<vCard xmlns='vcard-temp'/>", room)
        shown = base64.b64encode(was).decode() if was else None
        equal(child(got, "{vcard-temp}vCard").findtext("{vcard-temp}PHOTO/{vcard-temp}BINVAL"), shown, "picture")
        equal((await info(hag, room))[1].get("muc#roominfo_avatarhash"), hashlib.sha1(was).hexdigest() if was else None, "hash")
        await crone.ask("set", card if now else "<vCard xmlns='vcard-temp'/>", room)
        await hag.expect("a change", tells(104))
    await refuses(crone, "cancel item-not-found", "set", card, f"nowhere@rooms.{house.domain}")


MAV = "urn:xmpp:muc:affiliations:1"


def versions(s):
    """The two versions of a change, and what it changes (XEP-0463 §5.2)."""
    x = child(s, "{" + MUC + "#user}x")
    mav = None if x is None else x.find("{" + MAV + "}mav")
    if mav is None:
        return None
    items = {i.get("jid", "").split("/")[0]: i.get("affiliation") for i in x.iter("{" + MUC + "#user}item")}
    return mav.get("since"), mav.get("until"), items


async def clients_catch_up_with_affiliations(house):
    room, (crone, hag, witch) = await company(house, "crone", "hag", "witch", whois="anyone")
    check(MAV in (await info(hag, room))[0], "announced")
    users = {name: str(a.boundjid.bare) for name, a in [("crone", crone), ("hag", hag), ("witch", witch)]}
    await leave(hag, room)
    first, *got = await walk_in(hag, room, "hag", f"<mav xmlns='{MAV}'/>")
    since, now, items = versions(first)
    equal((first.name, since, items), ("message", None, {users["crone"]: "owner"}), "all of them come first")
    equal(versions(own(got))[:2], (None, now), "the version of its own presence")
    check(all(child(s, "{" + MUC + "}x") is None for s in crone.inbox), "nobody else hears of the question")
    await administer(crone, room, jid(witch, "member"))
    change = versions(await hag.expect("a change", lambda s: versions(s) is not None))
    equal((change[0], change[2][users["witch"]]), (now, "member"), "a change of an occupant")
    await administer(crone, room, "<item affiliation='admin' jid='king@example.net'/>")
    away = versions(await hag.expect("a change", is_message, lambda s: versions(s) is not None))
    equal((away[0], away[2]), (change[1], {"king@example.net": "admin"}), "a change of somebody who is away")
    await leave(hag, room)
    await administer(crone, room, jid(witch, "none"), "<item affiliation='owner' jid='king@example.net'/>")
    await administer(crone, room, "<item affiliation='outcast' jid='newt@example.net'/>")
    first, *got = await walk_in(hag, room, "hag", f"<mav xmlns='{MAV}' since='{away[1]}'/>")
    missed = versions(first)
    equal((missed[0], missed[2]), (away[1], {users["witch"]: "none", "king@example.net": "owner"}), "what it has missed")
    equal(versions(own(got))[1], missed[1], "the version of its own presence")
    got = await walk_in(hag, room, "hag", f"<mav xmlns='{MAV}' since='{missed[1]}'/>")
    check(got[0].name == "presence", "nothing is new")
    first = (await walk_in(hag, room, "hag", f"<mav xmlns='{MAV}' since='9pacabr2q1'/>"))[0]
    equal(versions(first)[::2], (None, {users["crone"]: "owner", "king@example.net": "owner"}), "for a version that nobody knows")
    await change_whois(crone, room, hag)
    first = (await walk_in(hag, room, "hag", f"<mav xmlns='{MAV}'/>"))[0]
    equal((first.name, first.xml.get("type"), kind_of(first)), ("message", "error", "auth forbidden"), "addresses are a secret")


async def change_whois(owner, room, other):
    await change(owner, room, whois="moderators")
    await other.expect("a change of the settings", tells(173))


async def rooms_restrict_reactions(house):
    room, (crone, hag) = await company(house, "crone", "hag", jackdaw__reactions=["\N{THUMBS UP SIGN}", "\N{WHITE HEAVY CHECK MARK}"], jackdaw__reactions_per_user=1)
    fields = (await info(hag, room))[1]
    equal((fields["max_reactions_per_user"], fields["allowlist"]), ("1", "\N{THUMBS UP SIGN}"), "what is announced")

    def react(*emoji):
        return "<reactions xmlns='urn:xmpp:reactions:0' id='1'>" + "".join(f"<reaction>{e}</reaction>" for e in emoji) + "</reactions>"

    for to, how in [(room, "groupchat"), (f"{room}/crone", "chat")]:
        for bad in [react("\N{TURTLE}"), react("\N{THUMBS UP SIGN}", "\N{WHITE HEAVY CHECK MARK}")]:
            await bounces(hag, "modify not-acceptable", to, None, how, bad)
        for good in [react("\N{WHITE HEAVY CHECK MARK}"), react()]:
            hag.say(to, None, how, None, good)
            await crone.expect("reactions", is_message, lambda s: child(s, "{urn:xmpp:reactions:0}reactions") is not None)


if __name__ == "__main__":
    play(*map(staged, [
        moderators_kick, moderators_manage_voice, admins_make_moderators, admins_ban, admins_manage_members, owners_make_admins_and_owners,
        owners_configure_a_room, an_owner_destroys_a_room, owners_give_hats, a_room_has_a_picture,
        clients_catch_up_with_affiliations, rooms_restrict_reactions]))
