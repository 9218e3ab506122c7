"""What administrators do in a client (XEP-0133 over XEP-0050)."""

import json

from scene import WITHIN, Actor, check, denied, equal, message, play

NODE = "http://jabber.org/protocol/admin#"
ROSTER = "{jabber:iq:roster}"


async def administrator(house, name="admin", **how):
    user = await house.users(name)
    await house.command("user", "grant", user, "admin")
    return await house.login(user, plugins=["xep_0030", "xep_0050"], **how)


async def run(a, node, **values):
    """Runs a command, fills in its form if it has one, and returns what comes at the end."""
    command = (await a["xep_0050"].send_command(a.house.domain, NODE + node, timeout=WITHIN))["command"]
    if command["status"] == "completed":
        return command
    form = command["form"]
    form.reply()
    form["values"] = values
    done = (await a["xep_0050"].send_command(a.house.domain, NODE + node, action="complete", sessionid=command["sessionid"],
                                             payload=form, timeout=WITHIN))["command"]
    equal(done["status"], "completed", node)
    return done


def values(command, name):
    field = command["form"].get_fields()[name]["value"]
    return field if isinstance(field, list) else field.split("\n")


async def administrators_find_their_commands(house):
    a, r = await administrator(house), await house.login(await house.users("romeo"), plugins=["xep_0030", "xep_0050"])
    items = (await a["xep_0050"].get_commands(house.domain, timeout=WITHIN))["disco_items"]["items"]
    nodes = {node for _, node, _ in items}
    for node in ["add-user", "delete-user", "get-online-users-list", "edit-admin", "shutdown"]:
        check(NODE + node in nodes, f"{node} is not among {nodes}")
    check(NODE + "get-user-password" not in nodes, "passwords are told")
    items = (await r["xep_0050"].get_commands(house.domain, timeout=WITHIN))["disco_items"]["items"]
    check(not any(node.startswith(NODE) for _, node, _ in items), f"a user is shown {items}")
    await denied(r["xep_0050"].send_command(house.domain, NODE + "add-user", timeout=WITHIN), "forbidden", "a user")
    await denied(r["xep_0030"].get_info(house.domain, node=NODE + "add-user", timeout=WITHIN), "forbidden", "of what it is")


async def an_account_is_made_and_kept_out_and_removed(house):
    a = await administrator(house)
    romeo = f"romeo-by-hand{house.count}@{house.domain}"
    await run(a, "add-user", accountjid=romeo, password="first", **{"password-verify": "first"})
    await denied(run(a, "add-user", accountjid=romeo, password="first", **{"password-verify": "first"}), "conflict", "twice")
    r = Actor(house, f"{romeo}/desk", password="first")
    await r.login()
    await run(a, "change-user-password", accountjid=romeo, password="second")
    await r.ended("not-authorized")
    equal(await Actor(house, f"{romeo}/desk", password="first").refused(), "not-authorized", "the old password")
    r = Actor(house, f"{romeo}/desk", password="second")
    await r.login()
    check(romeo in values(await run(a, "get-online-users-list", max_items="none"), "onlineuserjids"), "he is not online")
    await run(a, "end-user-session", accountjids=[f"{romeo}/desk"])
    await r.ended("policy-violation")
    last = values(await run(a, "get-user-lastlogin", accountjids=[romeo]), "lastlogin")
    check(len(last) == 1 and last[0].endswith("Z"), f"last login {last}")
    await run(a, "disable-user", accountjids=[romeo])
    check(romeo in values(await run(a, "get-disabled-users-list", max_items="none"), "disableduserjids"), "not disabled")
    equal(await Actor(house, f"{romeo}/desk", password="second").refused(), "not-authorized", "a disabled account")
    await run(a, "reenable-user", accountjids=[romeo])
    r = Actor(house, f"{romeo}/desk", password="second")
    await r.login()
    await run(a, "delete-user", accountjids=[romeo])
    await r.ended()
    await denied(run(a, "user-stats", accountjid=romeo), "item-not-found", "he is gone")


async def contacts_and_numbers_are_shown(house):
    a, juliet = await administrator(house), await house.users("juliet")
    j = await house.login(juliet)
    await j.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='nurse@{house.domain}' name='Nurse'/></query>")
    shown = (await run(a, "get-user-roster", accountjids=[juliet])).xml
    equal([i.get("name") for i in shown.iter(ROSTER + "item")], ["Nurse"], "contacts")
    stats = await run(a, "user-stats", accountjid=juliet)
    equal((values(stats, "rostersize"), values(stats, "onlineresources")), (["1"], ["desk"]), "what is known of her")
    number = int(values(await run(a, "get-registered-users-num"), "registeredusersnum")[0])
    online = int(values(await run(a, "get-online-users-num"), "onlineusersnum")[0])
    check(2 <= online <= number, f"{online} of {number} are online")


async def announcements_reach_who_is_here_and_who_comes(house):
    a, (romeo, juliet) = await administrator(house), await house.users("romeo", "juliet")
    r = await house.login(romeo)
    text = f"The server moves on Friday ({house.name})"
    await house.command("announce", "--days", "1", text)
    said = message(text, house.domain)
    await r.expect("the announcement", said)
    j = await house.login(juliet)
    await j.expect("the announcement", said)
    await j.leave()
    j = await house.login(juliet)
    await j.caught_up(r)
    j.none("the announcement twice", said)
    listed = await house.command("announce", "--list")
    check(text in listed, f"not kept: {listed}")
    await house.command("announce", "--withdraw", next(line for line in listed.split("\n") if text in line).split("\t")[0])
    check(text not in await house.command("announce", "--list"), "withdrawn and kept")

    await run(a, "announce", announcement="Now & <here>")
    await r.expect("what is for now", message("Now & <here>", house.domain))
    await run(a, "set-welcome", welcome="Be\nwelcome")
    nurse = await house.login(await house.users("nurse"))
    await nurse.expect("the welcome", message("Be\nwelcome", house.domain))
    await run(a, "delete-welcome")


async def rooms_are_shown_and_given_and_ended(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    room = f"garden-{house.count}@rooms.{house.domain}"
    for a, nick in [(r, "romeo"), (j, "juliet")]:
        a.send_raw(f"<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        await a.expect("own presence", lambda s, nick=nick: str(s["from"]) == f"{room}/{nick}")
        if a is r:
            await r.ask("set", "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>", room)
    check(f"{room}\t2\tpublic\t{romeo}\t-\n" in await house.command("rooms"), "it is not listed")
    await house.command("rooms", "own", room, juliet)
    shown = json.loads(await house.command("rooms", "show", room, "--json"))
    equal((shown["owners"], sorted(o["nick"] for o in shown["inside"])), (sorted([romeo, juliet]), ["juliet", "romeo"]), "owners")
    await house.command("rooms", "destroy", room, "--reason", "winter")
    gone = await j.expect("the end", lambda s: s["type"] == "unavailable" and str(s["from"]) == f"{room}/juliet")
    check("winter" in str(gone), f"no reason in {gone}")
    check(room not in await house.command("rooms", house.domain), "it is still there")


if __name__ == "__main__":
    play(administrators_find_their_commands, an_account_is_made_and_kept_out_and_removed, contacts_and_numbers_are_shown,
         announcements_reach_who_is_here_and_who_comes, rooms_are_shown_and_given_and_ended)
