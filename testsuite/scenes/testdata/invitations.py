"""Accounts by invitation: made in a client (XEP-0401), used in another one before login (XEP-0445), and contacts at once,
of the same server (XEP-0379)."""

import asyncio

from scene import PASSWORD, WITHIN, Actor, check, equal, play, presence, timely
from administer import administrator

NODE = "urn:xmpp:invite#"


async def invited(a, node, **values):
    """The link for a client of an invitation that a makes."""
    command = (await a["xep_0050"].send_command(a.house.domain, NODE + node, timeout=WITHIN))["command"]
    if command["status"] != "completed":
        form = command["form"]
        form.reply()
        form["values"] = values
        command = (await a["xep_0050"].send_command(a.house.domain, NODE + node, action="complete", sessionid=command["sessionid"],
                                                    payload=form, timeout=WITHIN))["command"]
    return command["form"].get_fields()["uri"]["value"]


def token_of(uri):
    """The token of a link, after whose account it is for."""
    return next(part.removeprefix("preauth=") for part in uri.partition("?")[2].split(";") if part.startswith("preauth="))


async def register(house, name, token):
    """Registers on a stream that nobody has logged in to. What is returned is why not: type and condition of an error."""
    a = Actor(house, f"{name}@{house.domain}/new", plugins=["xep_0077"])
    done = asyncio.get_running_loop().create_future()

    answers = {}
    a.add_filter("in", lambda s: (answers[s["id"]].set_result(s) if s["id"] in answers else None, s)[1])

    async def asked(payload):
        # slixmpp keeps requests of its own back until somebody has logged in.
        own = a.new_id()
        answers[own] = asyncio.get_running_loop().create_future()
        a.send_raw(f"<iq type='set' id='{own}' to='{house.domain}'>{payload}</iq>")
        got = await answers[own]
        return f"{got['error']['type']} {got['error']['condition']}" if got["type"] == "error" else ""

    async def steps():
        bad = await asked(f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>") if token else ""
        done.set_result(bad or await asked(f"<query xmlns='jabber:iq:register'><username>{name}</username>"
                                           f"<password>{PASSWORD}</password></query>"))

    def offered(features):
        running.append(asyncio.ensure_future(steps()))
        return True  # instead of a login

    running = []
    a.unregister_feature("register", 50)
    a.register_feature("register", offered, restart=True, order=50)
    a.open()
    outcome = await timely(done, f"{name} registers")
    a.abort()
    return outcome


async def an_administrator_invites_to_an_account(house):
    a = await administrator(house)
    juliet = f"juliet-{house.name}"
    token = token_of(await invited(a, "create-account", **{"roster-subscription": True}))
    equal(await register(house, juliet, None), "cancel not-allowed", "without an invitation")
    equal(await register(house, juliet, token[:-1] + ("A" if token[-1] != "A" else "B")), "cancel item-not-found", "a token that is made up")
    equal(await register(house, juliet, token), "", "with one")
    equal(await register(house, f"tybalt-{house.name}", token), "cancel item-not-found", "with one that was used")
    j = await house.login(f"{juliet}@{house.domain}")
    equal((await j.contacts())[0][str(a.boundjid.bare)][1], "both", "who has invited is a contact")
    equal((await a.contacts())[0][f"{juliet}@{house.domain}"][1], "both", "and the other way round")
    await j.expect("the inviter is there", presence(str(a.boundjid)))


async def a_user_invites_a_contact(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=["xep_0050"]) for u in (romeo, juliet)]
    uri = await invited(r, "invite")
    check(uri.startswith(f"xmpp:{romeo}?roster;preauth="), uri)
    # What a client does that follows the link (XEP-0379): nobody is asked.
    await j.set_item(romeo)
    j.send_raw(f"<presence to='{romeo}' type='subscribe'><preauth xmlns='urn:xmpp:pars:0' token='{token_of(uri)}'/></presence>")
    await j.expect("romeo is there", presence(f"{romeo}/desk"))
    await r.expect("juliet is there", presence(f"{juliet}/desk"))
    equal([(await x.contacts())[0][other][1] for x, other in [(r, juliet), (j, romeo)]], ["both", "both"], "contacts")


if __name__ == "__main__":
    play(an_administrator_invites_to_an_account, a_user_invites_a_contact)
