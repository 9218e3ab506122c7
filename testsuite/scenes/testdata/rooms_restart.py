"""Rooms and the end of the server: what is to last is there again, and who is in a room is told (XEP-0045 §11.2)."""

from scene import check, equal, message, play
from rooms_cast import MUC, PLUGINS, administer, at, codes, configure, enter, has_form, item, listed, room_of, walk_in


async def affiliations(actor, room, since):
    """Enters, and returns the version of the affiliations (XEP-0463); one that is known is not told again."""
    got = await walk_in(actor, room, "crone", f"<mav xmlns='urn:xmpp:muc:affiliations:1'{since}/>")
    equal(got[0].name, "presence" if since else "message", "what comes first")
    return next(s for s in got if 110 in codes(s)).xml.find(".//{urn:xmpp:muc:affiliations:1}mav").get("until")


async def a_persistent_room_is_there_after_a_restart(house):
    users = await house.users("crone", "hag", "witch")
    crone, hag, witch = [await house.login(u, plugins=PLUGINS) for u in users]
    room = room_of(house)
    await walk_in(crone, room, "crone")
    await configure(crone, room, persistentroom=True, roomname="A Dark Cave", membersonly=True)
    await administer(crone, room, f"<item affiliation='admin' jid='{users[1]}' nick='hag'/>")
    await walk_in(hag, room, "hag")
    await witch.ask("set", "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
                    f"<value>{MUC}#register</value></field><field var='muc#register_roomnick'><value>second</value></field></x></query>", room)
    await crone.expect("a request to register", has_form)
    crone["xep_0045"].set_subject(room, "Fire")
    crone.say(room, "lasting", "groupchat")
    await hag.expect("it", message("lasting"))
    await crone.settle()
    version = await affiliations(crone, room, "")
    for how in ["stop", "crash"]:
        await house.ask(how)
        if how == "stop":
            for a, nick in [(crone, "crone"), (hag, "hag")] if house.nodes == 1 else []:  # else all nodes end at once
                equal(codes(await a.expect("the end of the service", at(room, nick, "unavailable"))), [110, 332], "codes")
            await house.ask("launch")
        crone, hag = [await house.login(u, plugins=PLUGINS) for u in users[:2]]
        own, subject, _, history = await enter(hag, room, "hag")
        equal(codes(own), [110, 170], f"codes after a {how}")
        equal(await affiliations(crone, room, f" since='{version}'"), version, f"the version of affiliations after a {how}")
        equal((item(own)[:2], subject["subject"], [m["body"] for m in history]), (("admin", "moderator"), "Fire", ["lasting"]), f"after a {how}")
        info = await crone["xep_0030"].get_info(jid=room)
        check(any(i[3] == "A Dark Cave" for i in info["disco_info"]["identities"]), f"name after a {how}")
        rooms = await crone["xep_0030"].get_items(jid=f"rooms.{house.domain}")
        check(any(i[0] == str(room) for i in rooms["disco_items"]["items"]), f"it is not listed after a {how}")
        await crone.settle()
        await hag.settle()
    hag.say(room, None, "normal", None, f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#register</value></field>"
            "<field var='muc#register_roomnick'><value>second</value></field><field var='muc#register_allow'><value>1</value></field></x>")
    await hag.settle()
    equal([(i["jid"], i["nick"]) for i in await listed(hag, room, "affiliation='member'")], [(users[2], "second")], "who has asked before is a member")


if __name__ == "__main__":
    play(a_persistent_room_is_there_after_a_restart)
