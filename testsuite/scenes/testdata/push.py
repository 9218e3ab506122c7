"""Push (XEP-0357): what a push service, which is a component, is told when a phone is away."""

from slixmpp.stanza import Iq
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from component import BOT, connected, reason
from scene import Actor, check, denied, element, equal, is_message, message, play

NS, PUBSUB, FORM = "urn:xmpp:push:0", "http://jabber.org/protocol/pubsub", "jabber:x:data"
OPTIONS = (f"<x xmlns='{FORM}' type='submit'><field var='FORM_TYPE'><value>{PUBSUB}#publish-options</value></field>"
           "<field var='secret'><value>eruio234vzxc2kla-91</value></field></x>")


async def push_service(house):
    bot = await connected(house)
    bot.error = None  # what it answers, if not that all is well

    def answer(iq):
        reply = iq.reply()
        if bot.error:
            reply["type"] = "error"
            reply.append(element(bot.error))
        reply.send()
    bot.register_handler(Callback("push", MatchXPath(f"{{jabber:component:accept}}iq/{{{PUBSUB}}}pubsub"), answer))
    return bot


def failure(condition, kind="cancel"):
    return f"<error xmlns='jabber:component:accept' type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


def fields(form):
    return {f.get("var"): f.findtext(f"{{{FORM}}}value") for f in form.findall(f"{{{FORM}}}field")}


async def told(bot, user, node):
    """Takes the next notification for a node and returns what it says."""
    iq = await bot.expect(f"a notification for {node}", lambda s: isinstance(s, Iq), lambda s: s["from"].bare == user,
                          lambda s: s.xml.find(f".//{{{PUBSUB}}}publish").get("node") == node)
    equal((iq["type"], str(iq["from"])), ("set", user), "the notification")
    said = fields(iq.xml.find(f".//{{{NS}}}notification/{{{FORM}}}x"))
    equal(said.pop("FORM_TYPE"), "urn:xmpp:push:summary", "the kind of form")
    options = iq.xml.find(f".//{{{PUBSUB}}}publish-options/{{{FORM}}}x")
    return said, None if options is None else fields(options)


def quiet(bot, user, why):
    bot.none(f"a notification though {why}", lambda s: isinstance(s, Iq), lambda s: s["from"].bare == user)


async def enable(phone, node, inside=""):
    await phone.ask("set", f"<enable xmlns='{NS}' jid='{BOT}' node='{node}'>{inside}</enable>")


async def pair(house):
    romeo, juliet = await house.users("romeo", "juliet")
    return await house.login(romeo), await house.login(juliet, "phone")


async def accounts_say_that_they_push(house):
    r, p = await pair(house)
    info = await p.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", p.boundjid.bare)
    check(NS in [f.get("var") for f in info.xml.iter("{http://jabber.org/protocol/disco#info}feature")], "the account announces push")


async def requests_that_cannot_be_meant_are_refused(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet, romeo = p.boundjid.bare, r.boundjid.bare
    request = f"<{{}} xmlns='{NS}'{{}}>{{}}</{{}}>".format

    def form(kind, of, value=""):
        return f"<x xmlns='{FORM}' type='{kind}'><field var='FORM_TYPE'><value>{of}</value></field><field var='secret'><value>{value}</value></field></x>"
    for verb, attrs, inside, to, ask, want in [
            ("enable", "", "", None, "set", "bad-request"), ("enable", " jid=''", "", None, "set", "bad-request"),
            ("enable", " jid='@'", "", None, "set", "jid-malformed"), ("enable", f" jid='{BOT}'", "", None, "get", "bad-request"),
            ("enable", f" jid='{juliet}'", "", None, "set", "not-allowed"), ("enable", f" jid='{BOT}'", "", romeo, "set", "service-unavailable"),
            ("enable", f" jid='{BOT}' node='{'n' * 1025}'", "", None, "set", "not-acceptable"),
            ("enable", f" jid='{BOT}'", form("submit", "urn:x"), None, "set", "bad-request"),
            ("enable", f" jid='{BOT}'", form("form", f"{PUBSUB}#publish-options"), None, "set", "bad-request"),
            ("enable", f" jid='{BOT}'", form("submit", f"{PUBSUB}#publish-options", "x" * 5000), None, "set", "not-acceptable"),
            ("disable", "", "", None, "set", "bad-request"), ("disable", " jid='@'", "", None, "set", "jid-malformed"),
            ("disable", f" jid='{BOT}'", "", romeo, "set", "service-unavailable")]:
        await denied(p.ask(ask, request(verb, attrs, inside, verb), to), want, f"{ask} {verb} {attrs[:80]} {inside[:200]} to {to}")
    await p.ask("set", request("disable", f" jid='{BOT}' node='unknown'", "", "disable"))  # as it is wanted already
    await p.leave()
    r.say(juliet, "hello")
    other = await house.login(await house.users("other"), "phone")
    await enable(other, "other")
    await other.leave()
    r.say(other.boundjid.bare, "hello")
    await told(bot, other.boundjid.bare, "other")
    quiet(bot, juliet, "nothing is enabled")


async def nodes_are_told_each_and_the_last_options_count(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet = p.boundjid.bare
    for node in range(11):  # the server's bound is ten: the oldest goes
        await enable(p, f"n{node}")
    await enable(p, "n5", OPTIONS)
    await p.leave()
    r.say(juliet, "hello")
    for node in range(1, 11):
        said, options = await told(bot, juliet, f"n{node}")
        equal((said, options and options["secret"]), ({"message-count": "1"}, "eruio234vzxc2kla-91" if node == 5 else None), f"for n{node}")
    quiet(bot, juliet, "each is told once, and the oldest is no more")


async def a_phone_that_has_logged_out_is_woken(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet = p.boundjid.bare
    await enable(p, "n", OPTIONS)
    r.say(juliet, "while she is there")
    await p.expect("the message", message("while she is there"))
    await p.leave()
    r.say(juliet, "wake up")
    equal(await told(bot, juliet, "n"), ({"message-count": "1"}, {"FORM_TYPE": f"{PUBSUB}#publish-options", "secret": "eruio234vzxc2kla-91"}),
          "the notification tells nothing but the number, and the secret along")
    p = await house.login(juliet, "phone")
    await p.expect("what was stored", message("wake up"))


async def a_phone_that_may_resume_is_woken_and_resumes(house):
    bot = await push_service(house)
    romeo, juliet = await house.users("romeo", "juliet")
    r, proxy = await house.login(romeo), await house.proxy()
    p = Actor(house, f"{juliet}/phone", port=proxy.port).resumable()
    await p.login()
    await enable(p, "n")
    proxy.cut()
    await p.ended()
    r.say(juliet, "one")
    await told(bot, juliet, "n")
    for body in ["two", "three"]:
        r.say(juliet, body)
    while (await told(bot, juliet, "n"))[0]["message-count"] != "3":  # nearly always both at once
        pass
    equal(await p.back(), "session_resumed", "the phone resumes")
    for body in ["one", "two", "three"]:
        await p.expect("the message", message(body))
    quiet(bot, juliet, "all is told")


async def what_was_on_its_way_to_a_lost_phone_wakes_it(house):
    bot = await push_service(house)
    romeo, juliet = await house.users("romeo", "juliet")
    r, proxy = await house.login(romeo), await house.proxy()
    p = Actor(house, f"{juliet}/phone", port=proxy.port).resumable()
    await p.login()
    await enable(p, "n")
    await p.acknowledged()
    proxy.hold()
    r.say(juliet, "lost")
    await r.settle()
    quiet(bot, juliet, "nobody knows that it is lost")
    proxy.cut()
    equal(await told(bot, juliet, "n"), ({"message-count": "1"}, None), "the notification")
    await p.ended()
    equal(await p.back(), "session_resumed", "the phone resumes")
    await p.expect("the message", message("lost"))


async def a_desktop_does_not_leave_the_phone_asleep(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet = p.boundjid.bare
    await enable(p, "n")
    desk = await house.login(juliet, "desk")
    await p.leave()
    r.say(juliet, "hello")
    await desk.expect("the message", message("hello"))
    equal(await told(bot, juliet, "n"), ({"message-count": "1"}, None), "the notification")
    desk.say(r.boundjid.bare, "what she says herself")
    desk.say(juliet, "a note")
    r.say(juliet, None, "chat", None, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
    r.say(juliet, None, "chat", None, "<received xmlns='urn:xmpp:receipts' id='1'/>")
    await desk.caught_up(r)  # which is a message too, and the next to be told
    equal(await told(bot, juliet, "n"), ({"message-count": "2"}, None), "nothing but messages of others counts")


async def disabled_is_not_told(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet = p.boundjid.bare
    for node in ["a", "b", "c"]:
        await enable(p, node)
    await p.ask("set", f"<disable xmlns='{NS}' jid='{BOT}' node='a'/>")
    await denied(r.ask("set", f"<disable xmlns='{NS}' jid='{BOT}'/>", juliet), "service-unavailable", "of somebody else")
    await denied(p.ask("set", f"<enable xmlns='{NS}' node='a'/>"), "bad-request", "no service")
    await denied(p.ask("set", f"<enable xmlns='{NS}' jid='@'/>"), "jid-malformed", "no address")
    await denied(p.ask("set", f"<enable xmlns='{NS}' jid='{BOT}'><x xmlns='{FORM}' type='form'/></enable>"), "bad-request", "a form that is not filled in")
    await p.leave()
    r.say(juliet, "hello")
    for node in ["b", "c"]:
        await told(bot, juliet, node)
    quiet(bot, juliet, "it is disabled")
    p = await house.login(juliet, "phone")
    await p.ask("set", f"<disable xmlns='{NS}' jid='{BOT}'/>")
    await p.leave()
    r.say(juliet, "again")
    await r.settle()
    other = await house.login(await house.users("other"), "phone")  # what is told of another comes later
    await enable(other, "other")
    await other.leave()
    r.say(other.boundjid.bare, "hello")
    await told(bot, other.boundjid.bare, "other")
    quiet(bot, juliet, "it is disabled")


async def a_service_that_refuses_is_not_told_again(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet = p.boundjid.bare
    await enable(p, "gone")
    await enable(p, "revoked")
    await p.leave()
    bot.send_raw(f"<message from='{BOT}' to='{juliet}'><pubsub xmlns='{PUBSUB}' node='revoked'>"
                 f"<affiliation jid='{juliet}' affiliation='none'/></pubsub></message>")
    bot.say("it", r.boundjid.bare, "revoked")
    await r.expect("the word that it is so", message("revoked"))
    bot.error = failure("item-not-found")
    r.say(juliet, "one")
    await told(bot, juliet, "gone")
    quiet(bot, juliet, "it has taken the right back")
    bot.say("it", r.boundjid.bare, "gone")
    await r.expect("the word that it is so", message("gone"))
    bot.error = None
    r.say(juliet, "two")
    other = await house.login(await house.users("other"), "phone")
    await enable(other, "other")
    await other.leave()
    r.say(other.boundjid.bare, "hello")
    await told(bot, other.boundjid.bare, "other")
    quiet(bot, juliet, "it knows no such node")
    p = await house.login(juliet, "phone")
    for body in ["one", "two"]:
        await p.expect("what was stored", message(body))
    p.none("what a push service says to the server", is_message)


async def a_blocked_domain_wakes_nobody(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet = p.boundjid.bare
    await p.ask("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{BOT}'/></block>")
    for local in ["it", "somebody"]:  # XEP-0191 §5: a domain is all of its addresses
        sent = bot.say(local, juliet, "buy")
        e = await bot.expect("the refusal", is_message, lambda s: s["type"] == "error" and s["id"] == sent)
        equal(reason(e.xml), "service-unavailable", "the refusal")
        await denied(p.ask("get", "<ping xmlns='urn:xmpp:ping'/>", f"{local}@{BOT}"), "not-acceptable", "a request to whom one has blocked")
    await p.settle()
    p.none("a message of a blocked domain", is_message)


async def a_restart_forgets_no_registration(house):
    bot = await push_service(house)
    r, p = await pair(house)
    juliet, romeo = p.boundjid.bare, r.boundjid.bare
    await enable(p, "n", OPTIONS)
    await p.leave()
    await house.ask("crash")
    bot, r = await push_service(house), await house.login(romeo)
    r.say(juliet, "hello")
    said, options = await told(bot, juliet, "n")
    equal((said, options["secret"]), ({"message-count": "1"}, "eruio234vzxc2kla-91"), "the notification")


if __name__ == "__main__":
    play(accounts_say_that_they_push, requests_that_cannot_be_meant_are_refused, nodes_are_told_each_and_the_last_options_count,
         a_phone_that_has_logged_out_is_woken, a_phone_that_may_resume_is_woken_and_resumes,
         what_was_on_its_way_to_a_lost_phone_wakes_it, a_desktop_does_not_leave_the_phone_asleep, disabled_is_not_told,
         a_service_that_refuses_is_not_told_again, a_blocked_domain_wakes_nobody, a_restart_forgets_no_registration)
