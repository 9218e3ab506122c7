"""Accounts whose passwords a directory knows, and one that is kept here: logins, what is refused, and a directory that
is away."""

import asyncio

from scene import PASSWORD, WITHIN, Actor, check, equal, message, play

OWN = "alerts"  # accounts.local


async def post(house, user, password=PASSWORD):
    """Posts a message of a user to the same, and returns the status."""
    curl = await asyncio.create_subprocess_exec(
        "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-u", f"{user}:{password}", "--data-binary",
        f"<message to='{user}'><body>posted</body></message>", f"http://{house.http}/message", stdout=asyncio.subprocess.PIPE)
    out, _ = await curl.communicate()
    return out.decode()


async def person(house, name, *more):
    await house.ask("directory", args=["add", name, PASSWORD, *more])
    return f"{name}@{house.domain}"


async def who_is_in_the_directory_has_an_account(house):
    romeo, juliet = await person(house, "romeo"), await person(house, "juliet")
    r, j = await house.login(romeo), await house.login(juliet, direct=True)
    r.say(juliet, "it is the east")
    await j.expect("what he says", message("it is the east"))
    equal(await post(house, romeo), "200", "a post with the password of the directory")
    await r.expect("the post", message("posted"))
    check("romeo" in await house.command("user", "list"), "the account is not in the list")
    await house.command("user", "grant", romeo, "multicast")
    check("multicast" in await house.command("user", "show", romeo), "nothing was granted")


async def nobody_else_gets_in(house):
    viola, tybalt = await person(house, "viola"), await person(house, "tybalt", "outside")
    for user, password in [(viola, "wrong"), (tybalt, PASSWORD), (f"nobody@{house.domain}", PASSWORD), (f"*@{house.domain}", PASSWORD)]:
        equal(await Actor(house, f"{user}/desk", password=password).refused(), "not-authorized", f"{user} with {password}")
    equal(await post(house, viola, "wrong"), "401", "a post with a wrong password")
    equal(await post(house, tybalt), "401", "a post of who is not in the group")
    check("tybalt" not in await house.command("user", "list"), "who was refused has an account")
    # Nothing is offered that would not show the password, or make an account.
    a = Actor(house, f"{viola}/desk", plugins=["xep_0077"])
    features = []
    a.add_filter("in", lambda s: (features.append(s), s)[1])
    await a.login()
    seen = "".join(str(s) for s in features if s.xml.tag.endswith("}features"))
    check(">PLAIN<" in seen and "SCRAM" not in seen and "HT-SHA" not in seen and "iq-register" not in seen, f"offered: {seen}")


async def what_only_the_directory_does_is_refused_with_what_to_do(house):
    rosaline = await person(house, "rosaline")
    r = await house.login(rosaline, plugins=["xep_0077"])
    try:
        await r["xep_0077"].change_password("another", house.domain, timeout=WITHIN)
        check(False, "the password was changed")
    except Exception as e:
        equal(getattr(e, "condition", e), "not-allowed", "a change of the password")
        check("elsewhere" in e.text, f"it says {e.text!r}")
    stdin = "--password-stdin"
    for args in [("user", "add", f"new@{house.domain}", stdin), ("user", "passwd", rosaline, stdin), ("invite",),
                 ("invite", "--reset", rosaline)]:
        answer = await house.ask("command", args=list(args), stdin="another\n")
        check(answer["code"] != 0 and "kept elsewhere" in answer["out"], f"{args}: {answer}")
    await house.login(rosaline, "phone")


async def while_the_directory_is_away_nobody_comes_in_but_who_is_kept_here(house):
    paris, own = await person(house, "paris"), f"{OWN}@{house.domain}"
    await house.command("user", "add", own, "--password-stdin", stdin=PASSWORD + "\n")
    p = await house.login(paris)
    await house.ask("directory", args=["stop"])
    for password in [PASSWORD, "wrong", PASSWORD, PASSWORD]:
        equal(await Actor(house, f"{paris}/phone", password=password).refused(), "temporary-auth-failure", "while it is away")
    equal(await post(house, paris), "503", "a post while it is away")
    o = await house.login(own)
    o.say(paris, "all is well")
    await p.expect("a message of who is kept here", message("all is well"))  # who is there stays
    equal(await post(house, own), "200", "a post of who is kept here")
    await house.ask("directory", args=["start"])
    while (await post(house, paris)) == "503":  # it is left alone for a second or two
        pass
    equal(await post(house, paris), "200", "a post when it is back")
    await house.login(paris, "phone")
    equal(await Actor(house, f"{paris}/tablet", password="wrong").refused(), "not-authorized", "when it is back")


play(who_is_in_the_directory_has_an_account, nobody_else_gets_in, what_only_the_directory_does_is_refused_with_what_to_do,
     while_the_directory_is_away_nobody_comes_in_but_who_is_kept_here)
