"""What an operator does to the running server (docs/cli.md), and its end and beginning."""

import asyncio

from scene import WITHIN, Actor, befriend, check, equal, message, play, presence


async def curl(house, user, *more, body, password="correct-horse"):
    p = await asyncio.create_subprocess_exec("/usr/bin/curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                                             f"http://{house.http}/message", "-u", f"{user}:{password}", *more,
                                             "--data-binary", body, stdout=asyncio.subprocess.PIPE)
    return (await p.communicate())[0].decode()


async def permissions_are_in_force_at_once(house):
    romeo, juliet = await house.users("romeo", "juliet")
    j = await house.login(juliet)
    forged = f"<message to='{juliet}' from='ticket-7@trac' type='headline'><body>forged</body></message>"
    many = f"<message to='multicast'><addresses><address jid='{juliet}'/></addresses><body>many</body></message>"
    for permission, body, text in [("forge_sender", forged, "forged"), ("multicast", many, "many"),
                                   ("forge_sender=*@trac", forged, "forged")]:
        equal(await curl(house, romeo, body=body), "403", f"without {permission}")
        await house.command("user", "grant", romeo, permission)
        equal(await curl(house, romeo, body=body), "200", f"with {permission}")
        await j.expect("the message", message(text))
        await house.command("user", "revoke", romeo, permission)
        equal(await curl(house, romeo, body=body), "403", f"after {permission} was revoked")
    await house.command("user", "grant", romeo, "forge_sender=*@jira")
    equal(await curl(house, romeo, body=forged), "403", "a permission for other senders")


async def passwords_change_at_once(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = Actor(house, f"{romeo}/desk").resumable()
    await r.login()
    post = f"<message to='{juliet}'><body>hello</body></message>"
    equal(await curl(house, romeo, body=post), "200", "the old password")  # and it is remembered
    await house.command("user", "passwd", romeo, "--password-stdin", stdin="another one\n")
    await r.ended("not-authorized")
    equal(await curl(house, romeo, body=post), "401", "the old password after the change")
    equal(await curl(house, romeo, body=post, password="another one"), "200", "the new one")
    equal(await Actor(house, f"{romeo}/x").refused(), "not-authorized", "login with the old one")
    await Actor(house, f"{romeo}/x", "another one").login()
    await house.command("user", "disable", romeo)
    equal(await curl(house, romeo, body=post, password="another one"), "401", "a disabled account")
    await house.command("user", "enable", romeo)
    equal(await curl(house, romeo, body=post, password="another one"), "200", "enabled again")
    await house.command("user", "del", romeo)
    equal(await curl(house, romeo, body=post, password="another one"), "401", "a deleted account")


async def sessions_are_shown_and_kicked(house):
    romeo, juliet = await house.users("romeo", "juliet")
    desk, phone, j = await house.login(romeo, "desk"), await house.login(romeo, "phone"), await house.login(juliet)
    await befriend(j, desk)
    listed = await house.command("sessions")
    for a in [desk, phone, j]:
        check(a.boundjid.full in listed, f"{a.boundjid} in {listed}")
    await house.command("sessions", "kick", f"{romeo}/phone")
    await phone.ended("policy-violation")
    await desk.settle()
    await j.expect("gone", presence(f"{romeo}/phone", "unavailable"))
    await house.command("sessions", "kick", romeo)
    await desk.ended("policy-violation")
    listed = await house.command("sessions")
    check(romeo not in listed and juliet in listed, f"after the kick: {listed}")
    answer = await house.ask("command", args=["sessions", "kick", romeo], stdin="")
    equal(answer["code"], 1, "a kick of who is not there")


async def clients_learn_where_outages_are_told(house):
    r = await house.login(await house.users("romeo"))
    query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"

    async def told():
        got = await r.ask("get", query, house.domain)
        return [v.text for f in got.xml.iter("{jabber:x:data}field") if f.get("var") in ("FORM_TYPE", "external-status-addresses")
                for v in f.iter("{jabber:x:data}value")]
    check("urn:xmpp:sos:0" not in await told(), "something is told, though nothing is configured")
    change = "    admins: [", '    outage: ["https://status.example.net/outage.json"]\n    admins: ['
    await house.ask("configure", args=change)
    try:
        await house.command("reload")
        equal((await told())[-2:], ["urn:xmpp:sos:0", "https://status.example.net/outage.json"], "what the host tells")
    finally:
        await house.ask("configure", args=change[::-1])
    await house.command("reload")
    check("urn:xmpp:sos:0" not in await told(), "it is still told")


async def a_reload_keeps_streams(house):
    romeo = await house.users("romeo")
    r = await house.login(romeo)
    before, less, nonsense = "max_body: 2097152\n", "max_body: 1024\n", "max_body: 1024\n  nonsense: true\n"
    now = before

    async def configure(what):
        nonlocal now
        now, args = what, [now, what]
        await house.ask("configure", args=args)
    try:
        await configure(less)
        await house.command("reload")
        await r.settle()
        big = f"<message to='{romeo}'><body>{'x' * 2000}</body></message>"
        equal(await curl(house, romeo, body=big), "413", "over the new limit")
        await configure(nonsense)
        answer = await house.ask("command", args=["reload"], stdin="")
        equal(answer["code"], 1, "reload of a broken configuration")
        check("nonsense" in answer["out"], f"what it says: {answer['out']}")
    finally:
        await configure(before)
    await house.command("reload")
    equal(await curl(house, romeo, body=big), "200", "under the old limit")
    await r.expect("the message, on the stream of before", lambda s: len(s["body"]) == 2000)


async def an_end_is_told_and_a_restart_keeps_everything(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = Actor(house, f"{romeo}/desk").resumable(), await house.login(juliet, plugins=["xep_0191"])
    await r.login()
    await befriend(r, j)
    await r.set_item(juliet, "Juliet", ["Verona"])
    await r.ask("set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
    await r.ask("set", "<query xmlns='jabber:iq:private'><x xmlns='urn:x:note'>remember</x></query>")
    await j["xep_0191"].block([f"tybalt@{house.domain}"], timeout=WITHIN)
    await house.command("user", "grant", romeo, "multicast")
    _, ver = await r.contacts("")
    equal((await house.ask("stop"))["code"], 0, "exit code after SIGTERM")
    for a in [r, j]:
        await a.ended("system-shutdown")
    await house.command("user", "add", f"late-{romeo}", "--password-stdin", stdin="correct-horse\n")  # without a server
    await house.ask("launch")
    r = await house.login(romeo)
    equal((await r.contacts())[0][juliet], ("Juliet", "both", None, ["Verona"]), "roster")
    equal(await r.contacts(ver), (None, None), f"answer to version {ver} of before")
    card = await r.ask("get", "<vCard xmlns='vcard-temp'/>")
    equal(card.xml.findtext("{vcard-temp}vCard/{vcard-temp}FN"), "Romeo", "card")
    note = await r.ask("get", "<query xmlns='jabber:iq:private'><x xmlns='urn:x:note'/></query>")
    equal(note.xml.findtext("{jabber:iq:private}query/{urn:x:note}x"), "remember", "private XML")
    j = await house.login(juliet, plugins=["xep_0191"])
    await r.expect("presence", presence(f"{juliet}/desk"))
    equal({str(i) for i in (await j["xep_0191"].get_blocked(timeout=WITHIN))["blocklist"]["items"]}, {f"tybalt@{house.domain}"},
          "block list")
    many = f"<message to='multicast'><addresses><address jid='{juliet}'/></addresses><body>many</body></message>"
    equal(await curl(house, romeo, body=many), "200", "a permission of before")
    await house.login(f"late-{romeo}")


if __name__ == "__main__":
    play(permissions_are_in_force_at_once, passwords_change_at_once, sessions_are_shown_and_kicked,
         clients_learn_where_outages_are_told, a_reload_keeps_streams,
         an_end_is_told_and_a_restart_keeps_everything)
