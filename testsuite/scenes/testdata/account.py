"""What an account and its host answer: discovery (XEP-0030), contact addresses (0157), ping
(0199), version (0092), time (0202), last activity (0012), cards (0054, 0153), private XML
(0049), commands (0050), the directory (0055), blocking (0191), registration (0077)."""

import base64
import hashlib
from datetime import datetime, timezone

from scene import WITHIN, Actor, befriend, check, child, condition, denied, equal, message, play, presence, unbound

INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"


async def the_host_tells_what_it_can(house):
    r = await house.login(await house.users("romeo"), plugins=["xep_0030"])
    info = (await r["xep_0030"].get_info(house.domain, timeout=WITHIN))["disco_info"]
    check(("server", "im") in {i[:2] for i in info["identities"]}, f"identities {info['identities']}")
    for feature in [INFO, ITEMS, "urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time", "jabber:iq:last", "vcard-temp",
                    "jabber:iq:private", "urn:xmpp:blocking", "urn:xmpp:carbons:2", "jabber:iq:register", "msgoffline"]:
        own = (await r["xep_0030"].get_info(r.boundjid.bare, timeout=WITHIN))["disco_info"]
        check(feature in info["features"] | own["features"], f"{feature} is not announced: {info['features']}, {own['features']}")
    items = await r["xep_0030"].get_items(house.domain, timeout=WITHIN)
    equal(str(items["from"]), house.domain, "items")
    check(("account", "registered") in {i[:2] for i in own["identities"]}, f"the account: {own['identities']}")
    await denied(r["xep_0030"].get_info(f"nobody@{house.domain}", timeout=WITHIN), "service-unavailable", "info of nobody")
    await denied(r["xep_0030"].get_info(await house.users("juliet"), timeout=WITHIN), "service-unavailable", "info of a stranger")


async def the_features_of_the_stream_hash_what_the_host_tells(house):
    user = await house.users("romeo")
    r = Actor(house, f"{user}/desk", plugins=["xep_0030", "xep_0115"])
    seen = []
    r.add_filter("in", lambda s: (seen.append(s), s)[1])
    await r.login()
    caps = [s.xml.find("{http://jabber.org/protocol/caps}c") for s in seen if s.xml.tag.endswith("}features")][-1]
    check(caps is not None, "no capabilities in the stream features (XEP-0115 §6.3)")
    answer = await r.ask("get", f"<query xmlns='{INFO}' node='{caps.get('node')}#{caps.get('ver')}'/>", house.domain)
    query = answer.xml.find(f"{{{INFO}}}query")
    text = "".join(sorted(f"{i.get('category')}/{i.get('type')}/{i.get('{http://www.w3.org/XML/1998/namespace}lang', '')}/"
                          f"{i.get('name', '')}<" for i in query.findall(f"{{{INFO}}}identity")))
    text += "".join(var + "<" for var in sorted(f.get("var") for f in query.findall(f"{{{INFO}}}feature")))  # sorted without the '<': §5.1
    forms = []
    for x in query.findall("{jabber:x:data}x"):
        fields = {f.get("var"): sorted(v.text or "" for v in f.findall("{jabber:x:data}value"))
                  for f in x.findall("{jabber:x:data}field")}
        forms.append(fields.pop("FORM_TYPE")[0] + "<" + "".join(
            var + "<" + "".join(v + "<" for v in values) for var, values in sorted(fields.items())))
    text += "".join(sorted(forms))
    equal(base64.b64encode(hashlib.sha1(text.encode()).digest()).decode(), caps.get("ver"), f"hash of {text}")


async def small_questions(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r = await house.login(romeo, plugins=["xep_0199", "xep_0092", "xep_0202"])
    await r["xep_0199"].send_ping(house.domain, timeout=WITHIN)
    await r["xep_0199"].send_ping(romeo, timeout=WITHIN)
    v = (await r["xep_0092"].get_version(house.domain, timeout=WITHIN))["software_version"]
    equal((v["name"], bool(v["version"])), ("jackdaw", True), "version")
    t = (await r["xep_0202"].get_entity_time(house.domain, timeout=WITHIN)).xml.find("{urn:xmpp:time}time")
    stamp = datetime.fromisoformat(t.findtext("{urn:xmpp:time}utc"))  # slixmpp's own parser wants it without the Z
    check(abs((stamp - datetime.now(timezone.utc)).total_seconds()) < 60, f"time: {stamp}")
    check(t.findtext("{urn:xmpp:time}tzo"), "no offset")
    j = await house.login(juliet, plugins=["xep_0199"])
    await j["xep_0199"].send_ping(f"{romeo}/desk", timeout=WITHIN)
    await denied(r.ask("get", "<ping xmlns='urn:xmpp:ping'/>", f"{juliet}/gone"), "service-unavailable", "a gone session")


async def last_activity_is_for_contacts(house):
    romeo, juliet = await house.users("romeo", "juliet")
    plugins = ["xep_0012"]
    r, j = await house.login(romeo, plugins=plugins), await house.login(juliet)
    up = await r["xep_0012"].get_last_activity(house.domain, timeout=WITHIN)
    check(up["last_activity"]["seconds"] >= 0, f"uptime {up}")
    await denied(r["xep_0012"].get_last_activity(juliet, timeout=WITHIN), "forbidden", "a stranger asks")
    await befriend(r, j)
    here = await r["xep_0012"].get_last_activity(juliet, timeout=WITHIN)
    equal(here["last_activity"]["seconds"], 0, "while she is here")
    j.show_presence(None, "unavailable", None, "good night")
    await j.leave()
    await r.expect("gone", presence(f"{juliet}/desk", "unavailable"))
    gone = (await r["xep_0012"].get_last_activity(juliet, timeout=WITHIN))["last_activity"]
    check(0 <= gone["seconds"] < 60, f"seconds since {gone['seconds']}")
    equal(gone["status"], "good night", "her last words")


async def a_card_is_for_everybody_to_read(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    await denied(r.ask("get", "<vCard xmlns='vcard-temp'/>"), "item-not-found", "no card yet")
    photo = base64.b64encode(bytes(range(256)) * 8).decode()
    await r.ask("set", f"<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>{photo}</BINVAL>"
                       "</PHOTO></vCard>")
    for asker, to in [(j, romeo), (r, None), (r, romeo)]:
        card = await asker.ask("get", "<vCard xmlns='vcard-temp'/>", to)
        equal(card.xml.findtext("{vcard-temp}vCard/{vcard-temp}FN"), "Romeo Montague", "name")
        equal(card.xml.findtext("{vcard-temp}vCard/{vcard-temp}PHOTO/{vcard-temp}BINVAL"), photo, "photo")
    await denied(j.ask("set", "<vCard xmlns='vcard-temp'><FN>Not him</FN></vCard>", romeo), "forbidden", "the card of another")
    await denied(j.ask("get", "<vCard xmlns='vcard-temp'/>", f"nobody@{house.domain}"), "service-unavailable", "nobody's card")


async def private_xml_is_private(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo), await house.login(juliet)
    get = "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"
    empty = await r.ask("get", get)
    equal(len(empty.xml.find("{jabber:iq:private}query/{storage:bookmarks}storage")), 0, "nothing yet")
    await r.ask("set", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>"
                       "<conference jid='verona@rooms.example' name='Städtchen &lt;3'/></storage></query>")
    await r.ask("set", "<query xmlns='jabber:iq:private'><other xmlns='urn:x:other'>1</other></query>")
    phone = await house.login(romeo, "phone")
    got = await phone.ask("get", get)
    equal(got.xml.find("{jabber:iq:private}query/{storage:bookmarks}storage/{storage:bookmarks}conference").get("name"),
          "Städtchen <3", "bookmark")
    await denied(j.ask("get", get, romeo), "forbidden", "private XML of another")
    own = await j.ask("get", get)
    equal(len(own.xml.find("{jabber:iq:private}query/{storage:bookmarks}storage")), 0, "hers is empty")


async def commands_are_listed_and_end_sessions(house):
    romeo = await house.users("romeo")
    plugins = ["xep_0030", "xep_0050"]
    r, phone = await house.login(romeo, plugins=plugins), await house.login(romeo, "phone")
    items = (await r["xep_0050"].get_commands(house.domain, timeout=WITHIN))["disco_items"]["items"]
    check((house.domain, "sessions", "Your sessions") in items, f"commands {items}")
    info = (await r["xep_0030"].get_info(house.domain, node="sessions", timeout=WITHIN))["disco_info"]
    check(("automation", "command-node") in {i[:2] for i in info["identities"]}, f"identities {info['identities']}")
    command = (await r["xep_0050"].send_command(house.domain, "sessions", timeout=WITHIN))["command"]
    equal((command["status"], command["actions"]), ("executing", {"complete"}), "the first stage")
    field = command["form"].get_fields()["end"]
    equal([o["value"] for o in field["options"]], ["phone"], "the other sessions")
    form = command["form"]
    form.reply()
    form["values"] = {"end": ["phone"]}
    done = (await r["xep_0050"].send_command(house.domain, "sessions", action="complete", sessionid=command["sessionid"],
                                             payload=form, timeout=WITHIN))["command"]
    equal((done["status"], done["notes"]), ("completed", [("info", "1 session has ended.")]), "the end")
    await phone.ended("policy-violation")
    again = r["xep_0050"].send_command(house.domain, "sessions", action="complete", sessionid=command["sessionid"], timeout=WITHIN)
    await denied(again, "not-allowed", "a session of a command that is over")
    await denied(r["xep_0050"].send_command(house.domain, "none", timeout=WITHIN), "item-not-found", "no such command")


async def blocking_hides_both_ways(house):
    romeo, tybalt = await house.users("romeo", "tybalt")
    plugins = ["xep_0191"]
    r, phone = await house.login(romeo, plugins=plugins), await house.login(romeo, "phone", plugins=plugins)
    t = await house.login(tybalt)
    await befriend(r, t)
    await phone.caught_up(t)
    phone.forget()
    for a in [r, phone]:
        equal((await a["xep_0191"].get_blocked(timeout=WITHIN))["blocklist"]["items"], set(), "block list")

    await r["xep_0191"].block([tybalt], timeout=WITHIN)
    for a in [r, phone]:
        push = await a.expect("a push of the block", lambda s: child(s, "{urn:xmpp:blocking}block") is not None)
        equal({str(i) for i in push["block"]["items"]}, {tybalt}, "blocked")
    for resource in ["desk", "phone"]:  # XEP-0191 §3.3: he sees them leave
        await t.expect("unavailable", presence(f"{romeo}/{resource}", "unavailable"))

    for to in [romeo, f"{romeo}/desk"]:
        mid = t.say(to, "Thou art a villain")
        e = await t.expect("an error", message(mtype="error"))
        equal((condition(e), e["id"]), ("service-unavailable", mid), "error")
    await denied(t.ask("get", "<ping xmlns='urn:xmpp:ping'/>", f"{romeo}/desk"), "service-unavailable", "iq")
    t.show_presence(f"{romeo}/desk", None, None, "directed")
    t.show_presence(None, None, None, "broadcast")
    r.say(tybalt, "and thou")
    e = await r.expect("an error", message(mtype="error"))
    equal(condition(e), "not-acceptable", "a message to whom one has blocked (XEP-0191 §3.3)")
    check(child(e, "{jabber:client}error/{urn:xmpp:blocking:errors}blocked") is not None, f"its reason: {e}")
    r.show_presence(None, None, None, "dear contacts")
    await r.settle()
    await t.settle()
    mark = await house.login(await house.users("benvolio"))
    await t.caught_up(mark), await r.caught_up(mark)
    t.none("presence of who blocked him", presence(romeo))
    t.none("a message of who blocked him", message("and thou"))
    r.none("what a blocked one sends", lambda s: s["from"].bare == tybalt and s["type"] != "error")

    late = await house.login(romeo, "late", plugins=plugins)
    equal({str(i) for i in (await late["xep_0191"].get_blocked(timeout=WITHIN))["blocklist"]["items"]}, {tybalt}, "block list")
    await late.caught_up(mark)
    late.none("presence of the blocked at login", presence(tybalt))

    await r["xep_0191"].unblock([tybalt], timeout=WITHIN)
    await phone.expect("a push", lambda s: child(s, "{urn:xmpp:blocking}unblock") is not None)
    await t.expect("presence again", presence(f"{romeo}/desk"))
    t.say(f"{romeo}/desk", "peace?")
    await r.expect("the message", message("peace?"))


async def what_is_blocked_is_not_stored(house):
    romeo, tybalt = await house.users("romeo", "tybalt")
    r = await house.login(romeo, plugins=["xep_0191"])
    await r["xep_0191"].block([tybalt], timeout=WITHIN)
    await r.leave()
    t = await house.login(tybalt)
    t.say(romeo, "for later")
    equal(condition(await t.expect("an error", message(mtype="error"))), "service-unavailable", "error")
    back = await house.login(romeo, plugins=["xep_0191"])
    await back["xep_0191"].unblock([tybalt], timeout=WITHIN)
    await back.caught_up(t)
    back.none("a message of when he was blocked", message("for later"))


async def a_password_is_changed_by_its_owner(house):
    romeo = await house.users("romeo")
    r = await house.login(romeo, "desk", plugins=["xep_0077"])
    phone = await house.login(romeo, "phone")
    other = "a new Päss & word"
    await r["xep_0077"].change_password(other, house.domain, timeout=WITHIN)
    await phone.ended("not-authorized")
    await r.settle()  # who has changed it stays: XEP-0077 §3.3
    equal(await Actor(house, f"{romeo}/old").refused(), "not-authorized", "the old password")
    for mech in ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]:
        await unbound(Actor(house, f"{romeo}/new", other, mech)).login()


async def an_account_is_removed_with_all_it_had(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = await house.login(romeo, plugins=["xep_0077"]), await house.login(juliet)
    await befriend(r, j)
    await r.ask("set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
    phone = await house.login(romeo, "phone")
    await r["xep_0077"].cancel_registration(timeout=WITHIN)
    await r.ended("not-authorized")
    await phone.ended("not-authorized")
    await j.expect("gone", presence(f"{romeo}/desk", "unavailable"))
    equal(await Actor(house, f"{romeo}/again").refused(), "not-authorized", "login")
    j.say(romeo, "hello?")
    equal(condition(await j.expect("an error", message(mtype="error"))), "service-unavailable", "a message")
    # Somebody else who takes the name starts from nothing.
    await house.command("user", "add", "--batch", stdin=f"{romeo} correct-horse\n")
    new = await house.login(romeo)
    equal((await new.contacts())[0], {}, "roster")
    await denied(new.ask("get", "<vCard xmlns='vcard-temp'/>"), "item-not-found", "the card of before")


async def users_of_a_host_find_each_other(house):
    romeo, juliet = await house.users("romeo", "juliet")
    r, j = [await house.login(u, plugins=["xep_0030", "xep_0055"]) for u in (romeo, juliet)]
    check("jabber:iq:search" in (await r["xep_0030"].get_info(house.domain, timeout=WITHIN))["disco_info"]["features"], "announced")
    await j.ask("set", "<vCard xmlns='vcard-temp'><N><GIVEN>Juliet</GIVEN><FAMILY>Capulet of Verona</FAMILY></N></vCard>")
    fields = await r.ask("get", "<query xmlns='jabber:iq:search'/>", house.domain)
    equal(sorted(fields["search"]["form"].get_fields()), ["FORM_TYPE", "email", "first", "last", "nick"], "what can be searched for")
    got = await r.ask("set", "<query xmlns='jabber:iq:search'><last>of verona</last><first>JULIET</first><nick>" +
                      juliet.split("@")[0] + "</nick></query>", house.domain)
    equal([i.get("jid") for i in got.xml.iter("{jabber:iq:search}item")], [juliet], "who is found")
    await denied(r.ask("set", "<query xmlns='jabber:iq:search'/>", house.domain), "not-acceptable", "nothing is searched for")


async def nobody_registers_where_it_is_closed(house):
    a = Actor(house, f"mallory-{house.name}@{house.domain}/desk", plugins=["xep_0077"])
    seen = []
    a.add_filter("in", lambda s: (seen.append(s), s)[1])
    await a.refused()
    for s in seen:
        check(s.xml.find("{http://jabber.org/features/iq-register}register") is None, f"registration is announced: {s}")


if __name__ == "__main__":
    play(the_host_tells_what_it_can, the_features_of_the_stream_hash_what_the_host_tells, small_questions,
         last_activity_is_for_contacts, a_card_is_for_everybody_to_read, private_xml_is_private,
         commands_are_listed_and_end_sessions, users_of_a_host_find_each_other, blocking_hides_both_ways,
         what_is_blocked_is_not_stored, a_password_is_changed_by_its_owner, an_account_is_removed_with_all_it_had,
         nobody_registers_where_it_is_closed)
