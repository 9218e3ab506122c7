"""Messages to many at once (XEP-0033) with slixmpp's own plugin, which knows nothing of this server."""

from component import connected, reason
from slixmpp.exceptions import IqError
from scene import element, equal, is_message, message, play


def shown(m):
    """The addresses that a recipient sees, as the plugin reads them."""
    return sorted((a["type"], str(a["jid"]), a["delivered"]) for a in m["addresses"])


async def a_library_sends_to_many(house):
    romeo, juliet, nurse, paris = await house.users("romeo", "juliet", "nurse", "paris")
    r, j, n, p = [await house.login(u, plugins=["xep_0030", "xep_0033"]) for u in [romeo, juliet, nurse, paris]]
    disco = r["xep_0030"]
    items = (await disco.get_items(jid=house.domain))["disco_items"]["items"]
    found = []
    for jid, _, _ in items:
        try:
            info = (await disco.get_info(jid=jid))["disco_info"]
        except IqError:
            continue  # the component, which is away
        if "http://jabber.org/protocol/address" in info["features"]:
            found.append(jid)
    equal(found, [f"multicast.{house.domain}"], "services with the feature")

    def send(body):
        m = r.make_message(found[0], body, mtype="chat")
        m["addresses"].add_address("to", juliet, desc="the fair")
        m["addresses"].add_address("cc", nurse)
        m["addresses"].add_address("bcc", paris)
        m["addresses"].add_address("replyto", romeo)
        m.send()

    send("not yet")
    e = await r.expect("an error", message(mtype="error"))
    equal((e["error"]["condition"], str(e["from"])), ("forbidden", found[0]), "without the permission")
    await house.command("user", "grant", romeo, "multicast")
    send("hark")
    all_see = [("cc", nurse, True), ("replyto", romeo, False), ("to", juliet, True)]
    for a, more in [(j, []), (n, []), (p, [("bcc", paris, False)])]:
        m = await a.expect("the message", is_message)
        equal((m["body"], str(m["from"]), str(m["to"])), ("hark", r.boundjid.full, a.boundjid.bare), "the copy")
        equal(shown(m), sorted(all_see + more), f"addresses that {a.boundjid} sees")
        await a.caught_up(r)
        a.none("another", is_message)
    r.none("an answer", is_message)


async def a_component_is_not_relayed_for(house):
    juliet = await house.users("juliet")
    j = await house.login(juliet)
    bot = await connected(house)
    for to in [f"multicast.{house.domain}", f"x@multicast.{house.domain}"]:
        m = bot.make_message(to, "hark", mfrom=f"it@{bot.boundjid.host}")
        m["id"] = bot.new_id()
        m["type"] = "chat"
        m.xml.append(element(f"<addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='{juliet}'/></addresses>"))
        m.send()
        e = await bot.expect("an error", message(mtype="error"))
        equal((reason(e.xml), e["id"]), ("forbidden", m["id"]), f"to {to}")
    bot.say("it", j.boundjid.full, "(mark)")
    await j.expect("the mark", message("(mark)"))
    j.none("a relayed message", is_message)
    # It may ask what this is.
    await bot.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", f"multicast.{house.domain}")


if __name__ == "__main__":
    play(a_library_sends_to_many, a_component_is_not_relayed_for)
