"""A component says what only a user's own server may say."""

from component import BOT, connected, reason
from slixmpp.exceptions import IqError
from slixmpp.stanza import Iq
from scene import Failed, element, equal, is_message, message, play

INSIDE = ("<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='nurse@localhost'><body>he is dead</body></message>"
          "</forwarded>")


async def its_copies_and_delays_are_taken_out(house):
    juliet = await house.users("juliet")
    j = await house.login(juliet)
    bot = await connected(house)
    for forged in [f"<received xmlns='urn:xmpp:carbons:2'>{INSIDE}</received>", f"<sent xmlns='urn:xmpp:carbons:2'>{INSIDE}</sent>",
                   f"<delay xmlns='urn:xmpp:delay' from='{house.domain}' stamp='2002-09-10T23:08:25Z'/>",
                   f"<delay xmlns='urn:xmpp:delay' from='{juliet}' stamp='2002-09-10T23:08:25Z'/>",
                   f"<stanza-id xmlns='urn:xmpp:sid:0' by='{juliet}' id='forged'/>"]:
        m = bot.make_message(j.boundjid.full, "a", mtype="chat", mfrom=f"it@{BOT}")
        m.xml.append(element(forged))
        m.send()
        m = await j.expect("the message", message("a"))
        left = [c.tag for c in m.xml if c.tag != "{urn:xmpp:sid:0}stanza-id" or c.get("id") == "forged"]
        equal(left, ["{jabber:client}body"], f"what is left beside {forged}")


async def its_pushes_are_refused(house):
    j = await house.login(await house.users("juliet"))
    bot = await connected(house)
    before = (await j.contacts())[0]
    for payload in ["<query xmlns='jabber:iq:roster'><item jid='tybalt@example.net' subscription='both'/></query>",
                    f"<block xmlns='urn:xmpp:blocking'><item jid='nurse@{house.domain}'/></block>"]:
        try:
            raise Failed(f"an answer: {await bot.ask('set', payload, j.boundjid.full)}")
        except IqError as e:
            equal(reason(e.iq.xml), "service-unavailable", f"the answer to {payload}")
    bot.say("it", j.boundjid.full, "(mark)")
    await j.expect("the mark", is_message)
    j.none("a push", lambda s: isinstance(s, Iq))
    equal((await j.contacts())[0], before, "contacts")


if __name__ == "__main__":
    play(its_copies_and_delays_are_taken_out, its_pushes_are_refused)
