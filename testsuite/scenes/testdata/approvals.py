"""Accounts that an administrator approves: registered in a client (XEP-0077), decided by command and in a client (XEP-0050)."""

from scene import PASSWORD, WITHIN, Actor, check, denied, equal, is_message, play
from administer import administrator
from invitations import register

NODE = "urn:x-jackdaw:admin#waiting-users"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"


async def kept_out(house, user, password=PASSWORD):
    """The condition and the text of a login that fails."""
    a = Actor(house, f"{user}/desk", password=password)
    text = []
    a.add_filter("in", lambda s: (text.extend(t.text for t in s.xml.iter() if t.tag.endswith("}text")), s)[1])
    return await a.refused(), "".join(text)


async def state(house, user):
    """What `jackdaw user list` says of an account, "" of none."""
    for line in (await house.command("user", "list")).splitlines():
        address, state = line.split("\t")[:2]
        if address == user:
            return state
    return ""


async def decide(a, decision, *users):
    """Decides about accounts with the command, and returns those that were offered."""
    command = (await a["xep_0050"].send_command(a.house.domain, NODE, timeout=WITHIN))["command"]
    if command["status"] == "completed":
        return []
    form = command["form"]
    offered = [o["value"] for o in form.get_fields()["accountjids"]["options"]]
    form.reply()
    form["values"] = {"accountjids": list(users), "decision": decision}
    done = (await a["xep_0050"].send_command(a.house.domain, NODE, action="complete", sessionid=command["sessionid"],
                                             payload=form, timeout=WITHIN))["command"]
    equal(done["status"], "completed", decision)
    return offered


async def who_registers_waits_until_an_administrator_approves(house):
    a, r = await administrator(house), await house.login(await house.users("romeo"))
    names = [f"{n}-{house.name}" for n in ("juliet", "nurse", "tybalt")]
    juliet, nurse, tybalt = [f"{n}@{house.domain}" for n in names]
    equal(await register(house, names[0], ""), "", "registration")
    notice = await a.expect("a notice", is_message)
    check(notice["from"] == house.domain and f"{juliet} has registered" in notice["body"], f"the notice: {notice}")
    for name in names[1:]:
        equal(await register(house, name, ""), "", "another registration")
    equal(await register(house, names[0], ""), "cancel conflict", "a name that waits")

    why, text = await kept_out(house, juliet)
    check(why == "account-disabled" and "administrator has to approve" in text, f"kept out by {why}: {text}")
    equal(await kept_out(house, juliet, "wrong"), ("not-authorized", ""), "with a wrong password")
    equal(await kept_out(house, f"nobody-{house.name}@{house.domain}"), ("not-authorized", ""), "nobody")
    r.say(juliet, "Are you there?", mid="q")
    error = await r.expect("there is no such user", lambda s: is_message(s) and s["type"] == "error" and s["id"] == "q")
    equal(error["error"]["condition"], "service-unavailable", "a message to one who waits")
    equal([await state(house, u) for u in (juliet, nurse, tybalt)], ["pending"] * 3, "state")

    await house.command("user", "approve", juliet, nurse)
    await house.command("user", "refuse", tybalt)
    equal([await state(house, u) for u in (juliet, nurse, tybalt)], ["active", "active", ""], "state")
    j = await house.login(juliet)
    r.say(juliet, "Are you there now?")
    await j.expect("a message", lambda s: is_message(s) and s["body"] == "Are you there now?")
    equal((await kept_out(house, tybalt))[0], "not-authorized", "who was refused")
    if house.nodes == 1:  # each of several nodes gathers the notices of what it was asked for
        a.none("a notice for each", is_message)


async def an_administrator_decides_in_a_client(house):
    a, r = await administrator(house), await house.login(await house.users("romeo"), plugins=["xep_0050"])
    names = [f"{n}-client-{house.name}" for n in ("juliet", "nurse")]
    juliet, nurse = [f"{n}@{house.domain}" for n in names]
    for name in names:
        equal(await register(house, name, ""), "", "registration")
    await denied(r["xep_0050"].send_command(house.domain, NODE, timeout=WITHIN), "forbidden", "a user")
    equal(sorted(await decide(a, "approve", juliet)), [juliet, nurse], "who waits")
    await house.login(juliet)
    equal(await decide(a, "refuse", nurse), [nurse], "who waits then")
    equal(await decide(a, "refuse"), [], "who waits at the end")
    equal((await kept_out(house, nurse))[0], "not-authorized", "who was refused")
    equal(await register(house, names[1], ""), "", "the name is free again")
    await house.command("user", "del", nurse)


if __name__ == "__main__":
    play(who_registers_waits_until_an_administrator_approves, an_administrator_decides_in_a_client)
