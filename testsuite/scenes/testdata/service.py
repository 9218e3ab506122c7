"""The service of nodes at pubsub.<host>: XEP-0060 as slixmpp's own calls ask for it, where many share it."""

from slixmpp.exceptions import XMPPError

from eventing_actors import (NS, OWNER, PUBSUB, cast, client, entity, event, fields, form, news, outcome, owner, payload, people, publish, refuse, thing, told)
from scene import Failed, check, child, element, equal, is_message, play

FORBIDDEN, MISSING = "auth forbidden", "cancel item-not-found"
BLOG = "urn:xmpp:microblog:0"


def service(house):
    return f"pubsub.{house.domain}"


async def troupe(house, **wants):
    """romeo, juliet and mercutio at their desks, and the service."""
    users = await people(house, "romeo", "juliet", "mercutio")
    return [service(house), *[await cast(house, u, "desk") for u in users]]


def settings(a, **values):
    """A form as slixmpp makes it."""
    f = a["xep_0004"].make_form("submit")
    f.add_field(var="FORM_TYPE", ftype="hidden", value=NS + "#node_config")
    for k, v in values.items():
        f.add_field(var="pubsub#" + k, value=v)
    return f


async def make(a, of, node, **values):
    await a["xep_0060"].create_node(of, node, config=settings(a, **values))


async def subscribe(a, node, of, **values):
    """The state and the id of a new subscription."""
    more = f"<options>{form('subscribe_options', values)}</options>" if values else ""
    answer = await a.ask("set", entity(f"<subscribe node='{node}' jid='{a.boundjid.bare}'/>{more}"), of)
    one = answer.xml.find(f"{PUBSUB}pubsub/{PUBSUB}subscription")
    return one.get("subscription"), one.get("subid")


async def a_host_says_where_its_nodes_are(house):
    of, romeo, juliet, mercutio = await troupe(house)
    listed = (await juliet["xep_0030"].get_items(jid=house.domain))["disco_items"]["items"]
    check(of in [str(i[0]) for i in listed], f"the host lists {listed}")
    info = (await juliet["xep_0030"].get_info(jid=of))["disco_info"]
    check(("pubsub", "service", None, "Publish-Subscribe") in info["identities"], f"identities {info['identities']}")
    for f in ["create-nodes", "auto-create", "access-open", "access-presence", "access-roster", "access-authorize", "access-whitelist", "subscription-options", "multi-subscribe",
              "leased-subscription", "get-pending", "publish-options", "persistent-items", "config-node-max", "manage-subscriptions", "modify-affiliations", "purge-nodes"]:
        check(f"{NS}#{f}" in info["features"], f"{f} is not announced")
    for f in ["collections", "pep", "auto-subscribe", "presence-subscribe"]:
        check(f"{NS}#{f}" not in info["features"], f"{f} is announced")


async def slixmpp_does_what_it_can(house):
    of, romeo, juliet, mercutio = await troupe(house)
    r, j = romeo["xep_0060"], juliet["xep_0060"]
    await make(romeo, of, "news", title="News of Verona", max_items="3", access_model="open", type="urn:t")
    equal(fields((await r.get_node_config(of, "news")).xml)["title"], "News of Verona", "title")
    await r.set_node_config(of, "news", settings(romeo, description="What happens"))
    one = (await j.subscribe(of, "news"))["pubsub"]["subscription"]
    equal((one["subscription"], one["subid"]), ("subscribed", "1"), "subscription")
    for i in range(4):
        await r.publish(of, "news", id=str(i), payload=element(thing(i)))
    for i in range(4):
        e = await juliet.expect("an event", event("news", str(i)))
        equal((str(e["from"]), e["type"], payload(e).text), (of, "headline", str(i)), "event")
    equal([i["id"] for i in (await j.get_items(of, "news"))["pubsub"]["items"]], ["1", "2", "3"], "items that stay")
    equal([i["id"] for i in (await j.get_items(of, "news", max_items=1))["pubsub"]["items"]], ["3"], "the last")
    equal((await j.get_item(of, "news", "2"))["pubsub"]["items"]["item"]["payload"].text, "2", "one item")
    equal(sorted(i[2] for i in (await juliet["xep_0030"].get_items(jid=of, node="news"))["disco_items"]["items"]), ["1", "2", "3"], "item ids")
    check("news" in [i[1] for i in (await j.get_nodes(jid=of))["disco_items"]["items"]], "the node is not listed")
    await r.retract(of, "news", "2", notify="true")
    await juliet.expect("the retraction", event("news", "2", "retract"))
    equal([s["node"] for s in (await j.get_subscriptions(of))["pubsub"]["subscriptions"]], ["news"], "her subscriptions")
    equal([s["jid"] for s in (await r.get_node_subscriptions(of, "news"))["pubsub_owner"]["subscriptions"]], [juliet.boundjid.bare], "subscribers")
    mine = juliet.boundjid.bare
    options = (await j.get_subscription_options(of, "news", user_jid=mine)).xml
    equal(fields(options), {"deliver": "1", "expire": []}, "options of hers")
    equal(fields((await j.get_subscription_options(of, "news")).xml)["deliver"], "1", "options by default")
    await mercutio["xep_0060"].subscribe(of, "news")
    listed = (await r.get_node_subscriptions(of, "news"))["pubsub_owner"]["subscriptions"]
    equal(sorted(str(s["jid"]) for s in listed), sorted([mine, mercutio.boundjid.bare]), "subscribers")
    await r.modify_subscriptions(of, "news", subscriptions=[(mercutio.boundjid.bare, "none"), (mine, "subscribed")])
    listed = (await r.get_node_subscriptions(of, "news"))["pubsub_owner"]["subscriptions"]
    equal([str(s["jid"]) for s in listed], [mine], "subscribers whom the owner left")
    await r.modify_affiliations(of, "news", affiliations=[(juliet.boundjid.bare, "publisher")])
    equal({str(a["jid"]): a["affiliation"] for a in (await r.get_node_affiliations(of, "news"))["pubsub_owner"]["affiliations"]},
          {romeo.boundjid.bare: "owner", juliet.boundjid.bare: "publisher"}, "affiliations")
    equal([(a["node"], a["affiliation"]) for a in (await j.get_affiliations(of))["pubsub"]["affiliations"]], [("news", "publisher")], "hers")
    await j.publish(of, "news", id="hers", payload=element(thing()))
    await r.purge(of, "news")
    await juliet.expect("the purge", news("news", "purge"))
    await j.unsubscribe(of, "news")
    await r.delete_node(of, "news")
    equal(await outcome(juliet, "get", entity("<items node='news'/>"), of), MISSING, "a node that is gone")


async def subscriptions_have_options_ids_and_ends(house):
    of, romeo, juliet, mercutio = await troupe(house)
    await make(romeo, of, "options")
    equal(await subscribe(juliet, "options", of), ("subscribed", "1"), "the first")
    equal(await subscribe(juliet, "options", of, deliver="false"), ("subscribed", "2"), "another one")
    equal(await subscribe(juliet, "options", of), ("subscribed", "1"), "the first again")
    me = juliet.boundjid.bare
    await refuse([
        ("6.2.3.1", juliet, "set", entity(f"<unsubscribe node='options' jid='{me}'/>"), of, "modify bad-request subid-required"),
        ("6.2.3.5", juliet, "set", entity(f"<unsubscribe node='options' jid='{me}' subid='7'/>"), of, "modify not-acceptable invalid-subid"),
        ("6.3.4.1", mercutio, "get", entity(f"<options node='options' jid='{me}' subid='1'/>"), of, FORBIDDEN),
        ("6.3.4.3", juliet, "get", entity("<options node='options' subid='1'/>"), of, "modify bad-request jid-required"),
        ("6.3.4.4", juliet, "get", entity(f"<options node='options' jid='{me}'/>"), of, "modify bad-request subid-required"),
        ("6.5.9.1", juliet, "get", entity("<items node='options'/>"), of, "modify bad-request subid-required"),
        ("6.3.6", juliet, "set", entity(f"<options node='options' jid='{me}' subid='2'>{form('subscribe_options', dict(expire='soon'))}</options>"), of,
         "modify bad-request invalid-options"),
    ])
    answer = await juliet.ask("get", entity(f"<options node='options' jid='{me}' subid='2'/>"), of)
    equal(fields(answer.xml), {"deliver": "0", "expire": []}, "options of the second")
    await publish(romeo, "options", "1", thing(), of)
    e = await juliet.expect("an event", event("options", "1"))
    header = child(e, "{http://jabber.org/protocol/shim}headers")[0]
    equal((header.get("name"), header.text), ("SubID", "1"), "for which subscription it is")
    await juliet.ask("set", entity(f"<options node='options' jid='{me}' subid='2'>{form('subscribe_options', dict(deliver='true', expire='2100-01-01T00:00:00Z'))}</options>"), of)
    await publish(romeo, "options", "2", thing(), of)
    e = await juliet.expect("an event", event("options", "2"))
    equal([h.text for h in child(e, "{http://jabber.org/protocol/shim}headers")], ["1", "2"], "for which subscriptions it is")
    await juliet.caught_up(romeo)
    juliet.none("an event twice", event("options", "2"))
    listed = (await juliet.ask("get", entity("<subscriptions node='options'/>"), of)).xml.iter(PUBSUB + "subscription")
    equal([(s.get("subid"), s.get("expiry") is not None) for s in listed], [("1", False), ("2", True)], "subscriptions, of which one ends")
    await juliet.ask("set", entity(f"<unsubscribe node='options' jid='{me}' subid='1'/>"), of)
    answer = await juliet.ask("get", entity("<default node='options'/>"), of)
    equal(fields(answer.xml)["deliver"], "1", "default options")


async def nodes_have_owners_who_decide(house):
    of, romeo, juliet, mercutio = await troupe(house)
    await make(romeo, of, "club", access_model="authorize")
    await publish(romeo, "club", "1", thing(), of)
    await romeo.ask("set", owner(f"<affiliations node='club'><affiliation jid='{juliet.boundjid.bare}' affiliation='owner'/></affiliations>"), of)
    equal((await subscribe(mercutio, "club", of))[0], "pending", "subscription")
    equal(await outcome(mercutio, "get", entity("<items node='club'/>"), of), "auth not-authorized not-subscribed", "who waits reads")
    for a in [romeo, juliet]:
        await a.expect("a request", is_message, lambda s: "subscribe_authorization" in str(s))
    # The list of those who wait, by the command (§8.7).
    command = f"<command xmlns='http://jabber.org/protocol/commands' node='{NS}#get-pending' action='execute'>"
    answer = await juliet.ask("set", command + "</command>", of)
    equal([v.text for v in answer.xml.iter("{jabber:x:data}value")][1:], ["club"], "nodes with requests")
    await juliet.ask("set", command + form("subscribe_authorization", dict(node="club")) + "</command>", of)
    await juliet.expect("the request again", is_message, lambda s: "subscribe_authorization" in str(s))
    equal(await outcome(mercutio, "set", command + form("subscribe_authorization", dict(node="club")) + "</command>", of), FORBIDDEN, "who owns nothing")
    juliet.send_raw(f"<message to='{of}' id='yes'>{form('subscribe_authorization', dict(node='club', subscriber_jid=mercutio.boundjid.bare, allow='true'))}</message>")
    await mercutio.expect("the approval", news("club", "subscription"))
    await mercutio.expect("the last item", event("club", "1"))
    await refuse([
        ("8.9.2.4", mercutio, "set", owner("<delete node='club'/>"), of, FORBIDDEN),
        ("8.9.2.4", romeo, "set", owner(f"<affiliations node='club'><affiliation jid='{juliet.boundjid.bare}' affiliation='none'/><affiliation jid='{romeo.boundjid.bare}' "
                                        "affiliation='none'/></affiliations>"), of, "modify not-acceptable"),
    ])
    await juliet.ask("set", owner("<delete node='club'><redirect uri='xmpp:else.example?;node=club'/></delete>"), of)
    gone = await mercutio.expect("the end", news("club", "delete"))
    check("xmpp:else.example?;node=club" in str(gone), "where it has gone is not said")


async def owners_subscribe_others(house):
    """§8.8.2: users of this server, who are told, and nobody elsewhere that has not asked."""
    of, romeo, juliet, mercutio = await troupe(house)
    hers, his, far = juliet.boundjid.bare, mercutio.boundjid.bare, "balthasar@elsewhere.example"
    await make(romeo, of, "notices", access_model="open")
    await publish(romeo, "notices", "1", thing(), of)
    await romeo.ask("set", owner(f"<affiliations node='notices'><affiliation jid='{his}' affiliation='outcast'/></affiliations>"), of)

    def entry(jid, what="subscribed"):
        return f"<subscription jid='{jid}' subscription='{what}'/>"

    def entries(*all):
        return owner(f"<subscriptions node='notices'>{''.join(all)}</subscriptions>")

    # What can be is done, and the rest is told as it is.
    try:
        await romeo.ask("set", entries(entry(hers), entry(far), entry(his), entry("@", "none")), of)
        raise Failed("no error")
    except XMPPError as e:
        left = [(s.get("jid"), s.get("subscription")) for s in e.iq.xml.iter(OWNER + "subscription")]
        equal((e.condition, left), ("not-acceptable", [(far, "none"), (his, "none"), ("@", "none")]), "entries that stay as they are")
    e = await juliet.expect("that she is subscribed", news("notices", "subscription"))
    equal(told(e, "subscription").get("subscription"), "subscribed", "what she is told")
    await juliet.expect("the last item", event("notices", "1"))
    await publish(romeo, "notices", "2", thing(), of)
    await juliet.expect("an event", event("notices", "2"))
    await mercutio.caught_up(romeo)
    mercutio.none("an event of a node that he is kept out of", event("notices"))
    await refuse([
        ("8.8.2.2", juliet, "set", entries(entry(his)), of, FORBIDDEN),
        ("8.8.2.3", romeo, "set", owner(f"<subscriptions node='none'>{entry(hers)}</subscriptions>"), of, MISSING),
        ("8.8.2.4", romeo, "set", entries(entry(hers, "pending")), of, "modify not-acceptable"),
        ("8.8.2.4", romeo, "set", entries(entry(hers, "unconfigured")), of, "modify not-acceptable"),
        ("8.8.2.4", romeo, "set", entries(entry(juliet.boundjid.full)), of, "modify not-acceptable"),
        ("8.8.2.4", romeo, "set", entries(f"<subscription jid='{hers}' subid='7' subscription='none'/>"), of, "modify not-acceptable"),
        ("8.8.2", romeo, "set", entries(f"<subscription jid='{hers}'/>"), of, "ok"),
    ])
    await romeo.ask("set", entries(entry(hers, "none")), of)
    e = await juliet.expect("that she is not any more", news("notices", "subscription"))
    equal(told(e, "subscription").get("subscription"), "none", "what she is told")
    await romeo.ask("set", owner("<delete node='notices'/>"), of)


async def posts_have_comments(house):
    """What Movim does: a post at the account, with comments at the service."""
    of, romeo, juliet, mercutio = await troupe(house)
    feed = dict(persist_items="true", access_model="open", max_items="max", send_last_published_item="never", notify_retract="true", type=BLOG)
    post = "<entry xmlns='http://www.w3.org/2005/Atom'><title>{}</title><id>tag:{}</id><updated>2026-01-01T00:00:00Z</updated></entry>"
    await publish(romeo, BLOG, "post", post.format("Juliet is the sun", "post"), **feed)
    await make(romeo, of, f"{BLOG}:comments/post", access_model="open", publish_model="open", max_items="max", persist_items="true", itemreply="publisher", type=BLOG)
    await subscribe(romeo, f"{BLOG}:comments/post", of)
    for a in [juliet, mercutio]:
        await publish(a, f"{BLOG}:comments/post", a.boundjid.user, post.format("Ay me", a.boundjid.user), of)
        e = await romeo.expect("a comment", event(f"{BLOG}:comments/post", a.boundjid.user))
        item = e.xml.find(".//{http://jabber.org/protocol/pubsub#event}item")
        equal(item.get("publisher"), a.boundjid.bare, "who has written it")
    take = entity(f"<retract node='{BLOG}:comments/post' notify='true'><item id='{juliet.boundjid.user}'/></retract>")
    equal(await outcome(mercutio, "set", take, of), FORBIDDEN, "somebody else's comment is taken back")
    equal(await outcome(juliet, "set", take, of), "ok", "her own is")
    await romeo.expect("that it is gone", event(f"{BLOG}:comments/post", juliet.boundjid.user, "retract"))
    info = await mercutio["xep_0030"].get_info(jid=of, node=f"{BLOG}:comments/post")
    said = fields(info.xml)
    equal((said["type"], said["num_subscribers"], said["owner"], said["publish_model"]), (BLOG, "1", romeo.boundjid.bare, "open"), "what the node says")
    # All comments, by the archive (XEP-0442).
    answer = await mercutio.ask("set", f"<query xmlns='urn:xmpp:mam:2' node='{BLOG}:comments/post'/>", of)
    check("complete='true'" in str(answer) or 'complete="true"' in str(answer), f"the archive ends with {answer}")
    await mercutio.expect("a result", is_message, lambda s: "urn:xmpp:mam:2" in str(s) and f'id="{mercutio.boundjid.user}"' in str(s))


async def there_is_room_for_all(house):
    """limits of the test: five nodes of each user, and items of 1000 bytes."""
    of, romeo, juliet, mercutio = await troupe(house)
    made = 0
    for i in range(6):
        if await outcome(mercutio, "set", entity(f"<create node='m{i}'/>"), of) == "ok":
            made += 1
    equal(made, 5, "nodes of one user")
    await refuse([
        ("8.1", mercutio, "set", entity("<create node='more'/>"), of, "wait resource-constraint"),
        ("7.1.3.5", mercutio, "set", entity(f"<publish node='m0'><item>{thing('x' * 1000)}</item></publish>"), of, "modify not-acceptable payload-too-big"),
        ("8.1", juliet, "set", entity("<create node='m0'/>"), of, "cancel conflict"),
        ("7.1.3.1", juliet, "set", entity(f"<publish node='m0'><item>{thing()}</item></publish>"), of, FORBIDDEN),
        ("8.4", juliet, "set", owner("<delete node='m0'/>"), of, FORBIDDEN),
    ])
    equal(await outcome(juliet, "set", entity("<create node='hers'/>"), of), "ok", "a node of somebody else")
    for i in range(5):
        await mercutio.ask("set", owner(f"<delete node='m{i}'/>"), of)
    pages, after = [], ""
    while True:
        page = f"<set xmlns='http://jabber.org/protocol/rsm'><max>1</max>{after}</set>"
        answer = await juliet.ask("get", f"<query xmlns='http://jabber.org/protocol/disco#items'>{page}</query>", of)
        found = [i.get("node") for i in answer.xml.iter("{http://jabber.org/protocol/disco#items}item")]
        if not found:
            break
        pages += found
        after = f"<after>{found[-1]}</after>"
    check(pages == sorted(pages) and "hers" in pages and "m0" not in pages, f"pages {pages}")


async def everybody_reads_what_the_host_says_of_itself(house):
    """XEP-0485, which the configuration of the test turns on."""
    of, romeo, juliet, mercutio = await troupe(house)
    info = await juliet["xep_0030"].get_info(jid=house.domain)
    check("urn:xmpp:serverinfo:0" in info["disco_info"]["features"], "it is not announced")
    equal(fields(info.xml).get("serverinfo-pubsub-node"), f"xmpp:{of}?;node=serverinfo", "where it is")
    answer = await juliet.ask("get", entity("<items node='serverinfo'/>"), of)
    said = answer.xml.find(".//{urn:xmpp:serverinfo:0}serverinfo")
    equal(said.find("{urn:xmpp:serverinfo:0}domain").get("name"), house.domain, "domain")
    equal(said.find("{jabber:iq:version}query/{jabber:iq:version}name").text, "jackdaw", "software")
    await refuse([
        ("7.1.3.1", juliet, "set", entity(f"<publish node='serverinfo'><item id='current'>{thing()}</item></publish>"), of, FORBIDDEN),
        ("8.4.3.1", juliet, "set", owner("<delete node='serverinfo'/>"), of, FORBIDDEN),
    ])


async def nodes_survive_a_crash(house):
    of, romeo, juliet, mercutio = await troupe(house)
    await make(romeo, of, "kept", max_items="3", item_expire="86400")
    await publish(romeo, "kept", "1", thing(1), of)
    await subscribe(juliet, "kept", of)
    await subscribe(juliet, "kept", of, deliver="0")
    await house.ask("crash")
    romeo, juliet = await client(house, romeo.boundjid.bare, "after"), await client(house, juliet.boundjid.bare, "after")
    await publish(romeo, "kept", "2", thing(2), of)
    e = await juliet.expect("an event of the subscription of before", event("kept", "2"))
    equal(child(e, "{http://jabber.org/protocol/shim}headers")[0].text, "1", "for which subscription it is")
    answer = await juliet.ask("get", entity("<items node='kept' subid='1'/>"), of)
    equal([i.get("id") for i in answer.xml.iter(PUBSUB + "item")], ["1", "2"], "items")
    answer = await romeo.ask("get", owner("<affiliations node='kept'/>"), of)
    equal([a.get("affiliation") for a in answer.xml.iter(OWNER + "affiliation")], ["owner"], "owners")


play(a_host_says_where_its_nodes_are, slixmpp_does_what_it_can, subscriptions_have_options_ids_and_ends, nodes_have_owners_who_decide, owners_subscribe_others,
     posts_have_comments, there_is_room_for_all, everybody_reads_what_the_host_says_of_itself, nodes_survive_a_crash)
