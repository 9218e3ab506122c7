"""The archive: XEP-0313 with its pages (XEP-0059), preferences (XEP-0441), stanza ids (XEP-0359), hints
(XEP-0334) and tombstones (XEP-0424)."""

import base64
import datetime
import urllib.request

from scene import PASSWORD, WITHIN, check, child, denied, equal, message, play

SID = "{urn:xmpp:sid:0}stanza-id"
FORWARDED = "{urn:xmpp:forward:0}forwarded/{jabber:client}message"
SENT, RECEIVED = "{urn:xmpp:carbons:2}sent", "{urn:xmpp:carbons:2}received"
PLUGINS = ["xep_0059", "xep_0313", "xep_0441"]


def inside(result):
    """The archived message of a result, and its archive id."""
    r = child(result, "{urn:xmpp:mam:2}result")
    return r.find(FORWARDED), r.get("id")


def bodies(results):
    return [inside(r)[0].findtext("{jabber:client}body") for r in results]


def own_id(stanza, owner):
    ids = [e.get("id") for e in stanza.findall(SID) if e.get("by") == owner]
    check(len(ids) <= 1, f"ids by {owner}: {ids}")
    return ids[0] if ids else None


async def page(actor, **how):
    """One page by slixmpp's plugin: results and <fin/>."""
    iq = await actor["xep_0313"].retrieve(**how)
    fin = child(iq, "{urn:xmpp:mam:2}fin")
    return list(iq["mam"]["results"]), fin


async def history(actor, **how):
    return [m async for m in actor["xep_0313"].iterate(**how)]


def query(fields="", inner=""):
    filled = "".join(f"<field var='{name}'>{''.join(f'<value>{v}</value>' for v in values)}</field>" for name, *values in fields)
    form = ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"
            f"{filled}</x>") if fields else ""
    return f"<query xmlns='urn:xmpp:mam:2' queryid='q'>{form}{inner}</query>"


def rsm(inner):
    return f"<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>"


async def raw(actor, payload, to=None):
    """A query as it is written here: results, which are taken out of the inbox, and the answer."""
    answer = await actor.ask("set", payload, to)
    got, rest = [], []
    for s in actor.inbox:
        (got if message()(s) and child(s, "{urn:xmpp:mam:2}result") is not None else rest).append(s)
    actor.inbox = rest
    equal({child(s, "{urn:xmpp:mam:2}result").get("queryid") for s in got} - {"q"}, set(), "queryid")
    return got, child(answer, "{urn:xmpp:mam:2}fin")


async def features(actor, of):
    info = await actor.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", of)
    return {f.get("var") for f in info.xml.iter("{http://jabber.org/protocol/disco#info}feature")}


async def both_sides_find_what_was_said(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet)]
    r.say(juliet, "Wherefore?", "chat", "w1")
    m = await j.expect("the message", message("Wherefore?"))
    j.say(r.boundjid, "Deny thy father", "chat", "d1")
    n = await r.expect("the answer", message("Deny thy father"))
    for actor, live in [(j, (m, 0)), (r, (n, 1))]:
        results, fin = await page(actor)
        equal(bodies(results), ["Wherefore?", "Deny thy father"], "archive")
        equal(fin.get("complete"), "true", "complete")
        got, aid = inside(results[live[1]])
        equal(aid, own_id(live[0].xml, actor.boundjid.bare), "the archive id is the stanza id of the live message")
        equal((got.get("from"), got.get("id"), got.get("type")), (str(live[0]["from"]), live[0]["id"], "chat"), "head")
        equal(str(results[0]["from"]), actor.boundjid.bare, "results come from the archive")
    check(own_id(m.xml, romeo) is None, "an id of the sender's archive went to the recipient")
    meta = await r["xep_0313"].get_archive_metadata()
    ids = [inside(x)[1] for x in (await page(r))[0]]
    equal((meta["mam_metadata"]["start"]["id"], meta["mam_metadata"]["end"]["id"]), (ids[0], ids[1]), "metadata")
    for of, want in [(romeo, {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:2#groupchat-field", "http://jabber.org/protocol/rsm",
                              "urn:xmpp:message-retract:1", "urn:xmpp:message-retract:1#tombstone"}),
                     (house.domain, {"urn:xmpp:sid:0", "urn:xmpp:message-retract:1"})]:
        got = await features(r, of)
        check(want <= got, f"{of} announces {want - got} as well")
    form = await r["xep_0313"].get_fields()
    check({"with", "start", "end", "before-id", "after-id", "ids", "include-groupchat"} <= set(form.get_fields()), f"fields {form.get_fields()}")
    check(form.xml.find(".//{*}required") is None, "a field is required")
    check(form.xml.find(".//*[@var='ids']/{*}validate/{*}open") is not None, "any ids may be given")


async def pages_follow_each_other_in_both_directions(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet)]
    said = [f"m{i}" for i in range(130)]
    for s in said:
        r.say(juliet, s)
    await j.caught_up(r)
    want = [*said, "(mark)"]
    equal(bodies(await history(j)), want, "forward, pages of ten")
    equal(bodies(await history(j, rsm={"max": 7})), want, "forward, pages of seven")
    back = bodies(await history(j, reverse=True, rsm={"max": 40}))
    equal(sorted(back), sorted(want), "backward")
    results, fin = await page(j)
    equal((len(results), fin.get("complete")), (100, None), "a page is bounded")
    j.forget()
    flat, fin = await raw(j, query(inner=rsm("<max>3</max><before/>")))
    ids = [inside(x)[1] for x in flat]
    equal(bodies(flat), want[-3:], "the last page")
    equal(fin.findtext(".//{*}first"), ids[0], "first")
    equal(fin.findtext(".//{*}last"), ids[2], "last")
    flipped, fin = await raw(j, query(inner=rsm("<max>3</max><before/>") + "<flip-page/>"))
    equal([inside(x)[1] for x in flipped], ids[::-1], "flipped")
    equal(fin.findtext(".//{*}first"), ids[0], "first of a flipped page")
    some, fin = await raw(j, query([("ids", ids[2], ids[0])]))
    equal([inside(x)[1] for x in some], [ids[0], ids[2]], "by id")
    some, fin = await raw(j, query([("after-id", ids[0]), ("before-id", ids[2])]))
    equal([inside(x)[1] for x in some], [ids[1]], "between two")
    some, fin = await raw(j, query([("after-id", ids[0])], rsm(f"<before>{ids[2]}</before>")))
    equal([inside(x)[1] for x in some], [ids[1]], "behind one, on the page before another")
    some, fin = await raw(j, query(inner=rsm("<max>0</max>")))
    equal((len(some), fin.findtext(".//{*}count"), fin.find(".//{*}first")), (0, "131", None), "the number only")
    for what, q in [("behind the last", query(inner=rsm(f"<after>{ids[2]}</after>"))), ("of the future", query([("start", "2999-01-01T00:00:00Z")])),
                    ("with nobody", query([("with", f"nobody@{house.domain}")]))]:
        some, fin = await raw(j, q)
        equal((len(some), fin.get("complete"), fin.find("{*}set") is not None, fin.find(".//{*}first"), fin.find(".//{*}last")),
              (0, "true", True, None, None), f"an empty page, {what}")
    for value in ["true", "0"]:
        some, fin = await raw(j, query([("include-groupchat", value)], rsm("<max>1</max><before/>")), juliet)
        equal([inside(x)[1] for x in some], ids[2:], "rooms are in no account's archive")


async def filters_narrow_down(house):
    romeo, juliet, nurse = await house.users("romeo", "juliet", "nurse")
    r, j, n = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet, nurse)]
    r.say(juliet, "early")
    await j.expect("it", message("early"))
    n.say(f"{juliet}/desk", "nurse's")
    await j.expect("it", message("nurse's"))
    stamps = [child(x, ".//{urn:xmpp:delay}delay").get("stamp") for x in (await page(j))[0]]
    later = datetime.datetime.fromisoformat(stamps[1].replace("Z", "+00:00")) + datetime.timedelta(seconds=1)
    equal(bodies((await page(j, with_jid=romeo))[0]), ["early"], "with")
    equal(bodies((await page(j, with_jid=f"{nurse}/desk"))[0]), ["nurse's"], "with a resource")
    equal(bodies((await page(j, with_jid=f"{nurse}/phone"))[0]), [], "with another resource")
    equal(bodies((await page(j, start=later))[0]), [], "start")
    equal(bodies((await page(j, end=later))[0]), ["early", "nurse's"], "end")
    j.forget()
    got, _ = await raw(j, query([("start", stamps[1]), ("end", stamps[1])]))
    check("nurse's" in bodies(got), f"from its own time to its own time: {bodies(got)}")
    j.say(juliet, "to myself")
    await j.settle()
    equal(bodies((await page(j, with_jid=juliet))[0]), ["to myself"], "with oneself")


async def wrong_questions_are_answered_with_errors(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = await house.login(romeo, plugins=PLUGINS)
    empty = await r.ask("get", "<metadata xmlns='urn:xmpp:mam:2'/>")
    equal(len(child(empty, "{urn:xmpp:mam:2}metadata")), 0, "what is said of an empty archive")
    results, fin = await raw(r, query())
    equal((len(results), fin.get("complete")), (0, "true"), "an empty archive")
    r.say(juliet, "x")
    form = "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='{}'>{}</x></query>".format
    kind_of = "<field var='FORM_TYPE' type='hidden'><value>{}</value></field>".format
    for payload, want in [
            (query([("{urn:x}y", "z")]), "feature-not-implemented"),
            (query([("start", "yesterday")]), "bad-request"),
            (query([("with", "@")]), "jid-malformed"),
            (query([("ids", "1")]), "item-not-found"),
            (query([("after-id", "1")]), "item-not-found"),
            (query([("before-id", "1")]), "item-not-found"),
            (query([("end", "2010-08-07")]), "bad-request"),
            (query([("include-groupchat", "perhaps")]), "bad-request"),
            (form("submit", ""), "bad-request"),
            (form("submit", kind_of("urn:xmpp:mam:1")), "bad-request"),
            (form("form", kind_of("urn:xmpp:mam:2")), "bad-request"),
            (query(inner=rsm("<after>unknown</after>")), "item-not-found"),
            (query(inner=rsm("<before>1</before>")), "item-not-found"),
            (query(inner=rsm("<index>0</index>")), "feature-not-implemented"),
            (query(inner=rsm("<max>many</max>")), "bad-request"),
            (query(inner=rsm("<max>-1</max>")), "bad-request"),
            ("<query xmlns='urn:xmpp:mam:2' node='urn:x'/>", "feature-not-implemented"),
            ("<metadata xmlns='urn:xmpp:mam:2'/>", "bad-request")]:
        await denied(r.ask("set", payload), want, payload[:300])
    await denied(r.ask("set", query(), house.domain), "service-unavailable", "the host has no archive")
    # A condition that slixmpp does not know.
    e = await denied(r.ask("set", query([("ids", *["1"] * 1001)])), "", "a thousand ids and one")
    check("<policy-violation " in str(e.iq), f"a thousand ids and one: {e.iq}")
    for to in [juliet, f"nobody@{house.domain}"]:
        await denied(r.ask("set", query(), to), "forbidden", f"the archive of {to}")
        await denied(r.ask("get", "<metadata xmlns='urn:xmpp:mam:2'/>", to), "forbidden", f"metadata of {to}")
        for verb in ["get", "set"]:
            await denied(r.ask(verb, "<prefs xmlns='urn:xmpp:mam:2' default='never'/>", to), "forbidden", f"preferences of {to}")
    equal(bodies((await page(r))[0]), ["x"], "after all that")


async def hints_and_kinds_decide_what_is_kept(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet)]
    hint = "<{} xmlns='urn:xmpp:hints'/>".format
    r.say(juliet, None, "chat", None, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
    r.say(juliet, "not kept", "chat", "n1", hint("no-store"))
    r.say(juliet, "off the record", "chat", "n2", hint("no-permanent-store"))
    r.say(juliet, "news", "headline", "n3")
    r.say(juliet, "to be stored and not", "chat", "n4", hint("no-permanent-store"), hint("store"))
    r.say(juliet, "kept", "chat", "k1", f"<stanza-id xmlns='urn:xmpp:sid:0' by='{romeo}' id='forged'/>", "<origin-id xmlns='urn:xmpp:sid:0' id='own'/>")
    r.say(juliet, None, "chat", "k2", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", hint("store"))
    r.say(juliet, "breaking news", "headline", "k3", hint("store"))
    r.say(juliet, "a letter", "normal", "k4")
    r.say(juliet, None, "chat", "k5", "<received xmlns='urn:xmpp:receipts' id='1'/>")
    await j.expect("the last", message(), lambda s: s["id"] == "k5")
    for actor in [r, j]:
        results = (await page(actor))[0]
        equal([inside(x)[0].get("id") for x in results], ["k1", "k2", "k3", "k4", "k5"], actor.boundjid.bare)
        first = inside(results[0])[0]
        equal(first.find("{urn:xmpp:sid:0}origin-id").get("id"), "own", "the origin id")
        check("forged" not in [e.get("id") for e in first.findall(SID) if e.get("by") == actor.boundjid.bare], "a forged id is in the archive")
    for s in j.inbox:
        if s["id"].startswith("n"):
            check(own_id(s.xml, juliet) is None, f"an id for what is not archived: {s}")
    await j.leave()
    r.say(juliet, "for tonight", "chat", "n5", hint("no-permanent-store"))
    r.say(juliet, "for nobody", "chat", "n6", hint("no-store"))
    await r.settle()
    j = await house.login(juliet, plugins=PLUGINS)
    await j.caught_up(r)
    equal([s["id"] for s in j.inbox if message()(s)], ["n5"], "what waits though it is not archived")
    check(not {"n5", "n6"} & {inside(x)[0].get("id") for x in (await page(j))[0]}, "what is not for the archive is in it")


async def carbons_bear_the_ids_of_the_archive(house):
    romeo, juliet = await house.users("romeo", "juliet")
    desk, phone = [await house.login(romeo, n, plugins=[*PLUGINS, "xep_0280"]) for n in ("desk", "phone")]
    j = await house.login(juliet)
    await phone["xep_0280"].enable()
    ids = []
    for wrap in [SENT, RECEIVED]:
        if wrap == SENT:
            desk.say(juliet, "sent")
        else:
            j.say(f"{romeo}/desk", "received")
        c = await phone.expect("a copy", lambda s: child(s, wrap) is not None)
        ids.append(own_id(child(c, f"{wrap}/{FORWARDED}"), romeo))
    j.say(romeo, "to both")
    for actor in [desk, phone]:
        m = await actor.expect("the message", message("to both"))
        ids.append(own_id(m.xml, romeo))
    equal(ids[2], ids[3], "the id of one message at two clients")
    results, _ = await page(phone)
    equal([inside(x)[1] for x in results], ids[:3], "ids of the carbons")


async def a_phone_that_was_away_misses_nothing(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet)]
    r.say(juliet, "before")
    last = own_id((await j.expect("it", message("before"))).xml, juliet)
    # A contact may fill the whole offline storage, others only a share of it.
    await j.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{romeo}'/></query>")
    await j.leave()
    said = [f"m{i}" for i in range(1000)]
    for s in said:
        r.say(juliet, s)
    await r.settle()
    # Quiet until it has asked the archive; what storage then brings it knows by its id.
    j = await house.login(juliet, presence=None, plugins=PLUGINS)
    seen, cursor = {}, last
    while True:
        results, fin = await raw(j, query(inner=rsm(f"<max>100</max><after>{cursor}</after>")))
        seen.update((inside(x)[1], inside(x)[0].findtext("{jabber:client}body")) for x in results)
        if fin.get("complete") == "true":
            break
        cursor = fin.findtext(".//{*}last")
    equal(list(seen.values()), said, "from the archive")
    j.send_presence()
    await j.settle()
    await j.caught_up(r)
    live = [s for s in j.inbox if message()(s) and s["body"] != "(mark)"]
    equal([seen.get(own_id(s.xml, juliet)) for s in live], said, "what storage brings is known by its id")


async def preferences_are_obeyed(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet)]
    def prefs(answer):
        p = child(answer, "{urn:xmpp:mam:2}prefs")
        return p.get("default"), *([x.text for x in p.find(f"{{urn:xmpp:mam:2}}{which}")] for which in ("always", "never"))
    asking, change = "<prefs xmlns='urn:xmpp:mam:2'/>", "<prefs xmlns='urn:xmpp:mam:2' default='{}'>{}</prefs>".format
    listed = "<{0}>{1}</{0}>".format
    jids = lambda *all: "".join(f"<jid>{x}</jid>" for x in all)
    equal(prefs(await j.ask("get", asking)), ("always", [], []), "at first, with both lists")
    default, *_ = await j["xep_0441"].get_preferences()
    equal(default, "always", "at first")
    told = await j["xep_0441"].set_preferences(default="always", never=[romeo])
    equal([str(x) for x in told["mam_prefs"]["never"]], [romeo], "as set")
    r.say(juliet, "unrecorded")
    m = await j.expect("it", message("unrecorded"))
    check(own_id(m.xml, juliet) is None, "an id for what is not archived")
    equal(bodies((await page(j))[0]), [], "hers")
    equal(bodies((await page(r))[0]), ["unrecorded"], "his")
    await j["xep_0441"].set_preferences(default="roster")
    r.say(juliet, "stranger")
    await j.expect("it", message("stranger"))
    await j.set_item(romeo)
    r.say(juliet, "contact")
    await j.expect("it", message("contact"))
    equal(bodies((await page(j))[0]), ["contact"], "with 'roster'")
    told = await j.ask("set", change("never", listed("always", jids(f"{romeo}/phone")) + listed("never", jids(f"nurse@{house.domain}"))))
    equal(prefs(told), ("never", [f"{romeo}/phone"], [f"nurse@{house.domain}"]), "as set")
    for to in [f"{romeo}/phone", f"{romeo}/desk", romeo]:  # what one sends is judged by 'to', as it is written
        j.say(to, f"to {to}")
    r.say(juliet, "from the desk")
    await j.expect("it", message("from the desk"))
    equal(bodies((await page(j))[0]), ["contact", f"to {romeo}/phone"], "with one resource that is listed")
    for payload, want in [(change("perhaps", ""), "bad-request"), ("<prefs xmlns='urn:xmpp:mam:2'/>", "bad-request"),
                          (change("always", listed("never", jids("@"))), "jid-malformed"),
                          (change("always", listed("never", jids(*(f"u{i}@x" for i in range(1001))))), "resource-constraint")]:
        await denied(j.ask("set", payload), want, payload[:200])
    equal(prefs(await j.ask("get", asking)), ("never", [f"{romeo}/phone"], [f"nurse@{house.domain}"]), "after what was refused")


async def a_retracted_message_leaves_a_tombstone(house):
    romeo, juliet, nurse = await house.users("romeo", "juliet", "nurse")
    r, j, n = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet, nurse)]
    r.say(juliet, "oops", "chat", "wrong-1")
    r.say(juliet, "stays", "chat", "right-1")
    before = [inside(x)[1] for x in (await page(r))[0]]
    retract = "<retract xmlns='urn:xmpp:message-retract:1' id='{}'/>".format
    n.say(juliet, "not hers to retract", "chat", "n-1", retract("right-1"))
    await n.settle()
    r.say(juliet, "unknown", "chat", "retract-0", retract("never-said"), "<no-store xmlns='urn:xmpp:hints'/>")
    r.say(juliet, "retracted", "chat", "retract-1", retract("wrong-1"))
    await j.caught_up(r)
    for actor in [r, j]:
        results, _ = await page(actor, with_jid={r: juliet, j: romeo}[actor])
        m, _ = inside(results[0])
        equal(m.findtext("{jabber:client}body"), None, "the body of what was retracted")
        stone = m.find("{urn:xmpp:message-retract:1}retracted")
        equal((m.get("id"), stone.get("id"), stone.get("stamp", "")[-1:]), ("wrong-1", "retract-1", "Z"), "the tombstone")
        check(child(results[0], ".//{urn:xmpp:delay}delay") is not None, "when it was said")
        equal(bodies(results)[1:4], ["stays", "unknown", "retracted"], "the rest, all retractions among it")
    equal([inside(x)[1] for x in (await page(r))[0]][:2], before, "ids")


async def posts_are_archived_once(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet)]

    def post(key, xml):
        req = urllib.request.Request(f"http://{house.http}/message", xml.encode(), {
            "Idempotency-Key": key, "Authorization": "Basic " + base64.b64encode(f"{romeo}:{PASSWORD}".encode()).decode()})
        with urllib.request.urlopen(req, timeout=WITHIN) as answer:
            return answer.status
    for key in ["k1", "k1"]:
        equal(post(key, f"<message to='{juliet}' type='chat'><body>posted</body></message>"), 200, "status")
    await j.expect("it", message("posted"))
    equal(post("k2", f"<message from='ticket@trac' to='{juliet}' type='chat'><body>forged</body></message>"), 200, "status")
    await j.expect("it", message("forged"))
    equal(bodies((await page(j))[0]), ["posted", "forged"], "hers")
    equal(bodies((await page(r))[0]), ["posted"], "his own only")


async def what_is_refused_is_not_archived(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet)]
    await j.ask("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{romeo}'/></block>")
    for to in [juliet, f"nobody@{house.domain}", "juliet@elsewhere.example"]:
        r.say(to, "refused")
        await r.expect("an error", message(mtype="error"))
    for actor in [r, j]:
        equal(bodies((await page(actor))[0]), [], actor.boundjid.bare)


async def words_are_found(house):
    romeo, juliet, nurse = await house.users("romeo", "juliet", "nurse")
    r, j, n = [await house.login(u, plugins=PLUGINS) for u in (romeo, juliet, nurse)]
    field = "{urn:xmpp:fulltext:0}fulltext"

    async def found(actor, text, *more):
        results, fin = await raw(actor, query([(field, text), *more]))
        check(fin is not None, "no <fin/>")
        return bodies(results)

    check("urn:xmpp:fulltext:0" in await features(r, romeo), "announced (XEP-0431 §3)")
    form = await r["xep_0313"].get_fields()
    check(field in form.get_fields(), "the form has the field (XEP-0431 §4.1)")
    r.say(juliet, "It is the east, and Juliet is the sun", "chat", "w-1")
    j.say(romeo, "Thou know'st the mask of night is on my face", "chat", "w-2")
    await j.caught_up(r)
    n.say(juliet, "The sun is up, Madam", "chat", "w-3")
    await j.caught_up(n)
    equal(await found(r, "sun"), ["It is the east, and Juliet is the sun"], "of his own archive alone")
    equal(await found(j, "SUN"), ["It is the east, and Juliet is the sun", "The sun is up, Madam"], "of hers")
    equal(await found(j, "sun", ("with", nurse)), ["The sun is up, Madam"], "with one of them")
    equal(await found(j, "sun night"), [], "all words in one message")
    equal(await found(j, "moon"), [], "nothing said")
    await denied(r.ask("set", query([(field, "!")])), "bad-request", "a search for no word")
    r.say(juliet, "never mind", "chat", "w-4", "<retract xmlns='urn:xmpp:message-retract:1' id='w-1'/>")
    await j.caught_up(r)
    equal(await found(r, "sun"), [], "after he has retracted it")
    equal(await found(j, "sun"), ["The sun is up, Madam"], "on the other side, too")
    await house.command("user", "del", juliet)
    await house.command("user", "add", "--batch", stdin=f"{juliet} {PASSWORD}\n")
    j = await house.login(juliet, plugins=PLUGINS)
    equal(await found(j, "sun"), [], "of a new account with the old name")


async def the_archive_survives_and_goes_with_its_account(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo, plugins=PLUGINS), await house.login(juliet, plugins=PLUGINS)
    r.resumable()
    r.say(juliet, "lasting")
    await j.expect("it", message("lasting"))
    await r.settle()
    ids = [inside(x)[1] for x in (await page(j))[0]]
    await j["xep_0441"].set_preferences(default="roster", always=[romeo])
    await house.ask("restart")
    j, r = await house.login(juliet, plugins=PLUGINS), await house.login(romeo)
    default, always, never = await j["xep_0441"].get_preferences()
    equal((default, [str(x) for x in always], len(never)), ("roster", [romeo], 0), "preferences after a restart")
    r.say(juliet, "later")
    await j.expect("it", message("later"))
    results, _ = await page(j)
    equal((bodies(results), [inside(x)[1] for x in results][:1]), (["lasting", "later"], ids), "after a restart")
    await house.command("user", "del", juliet)
    await house.command("user", "add", "--batch", stdin=f"{juliet} {PASSWORD}\n")
    j = await house.login(juliet, plugins=PLUGINS)
    equal(bodies((await page(j))[0]), [], "of a new account with the old name")
    equal(bodies((await page(await house.login(romeo, plugins=PLUGINS)))[0]), ["lasting", "later"], "the other side's")


if __name__ == "__main__":
    play(both_sides_find_what_was_said, pages_follow_each_other_in_both_directions, filters_narrow_down,
         wrong_questions_are_answered_with_errors, hints_and_kinds_decide_what_is_kept, carbons_bear_the_ids_of_the_archive,
         a_phone_that_was_away_misses_nothing, preferences_are_obeyed, a_retracted_message_leaves_a_tombstone,
         words_are_found, posts_are_archived_once, what_is_refused_is_not_archived, the_archive_survives_and_goes_with_its_account)
