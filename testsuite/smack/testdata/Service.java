import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import org.jivesoftware.smack.packet.IQ;
import org.jivesoftware.smack.util.XmlStringBuilder;
import org.jivesoftware.smackx.disco.packet.DiscoverInfo;
import org.jivesoftware.smackx.disco.packet.DiscoverItems;
import org.jivesoftware.smackx.pubsub.AccessModel;
import org.jivesoftware.smackx.pubsub.Affiliation;
import org.jivesoftware.smackx.pubsub.Item;
import org.jivesoftware.smackx.pubsub.LeafNode;
import org.jivesoftware.smackx.pubsub.Node;
import org.jivesoftware.smackx.pubsub.NodeExtension;
import org.jivesoftware.smackx.pubsub.PayloadItem;
import org.jivesoftware.smackx.pubsub.PubSubElementType;
import org.jivesoftware.smackx.pubsub.PubSubFeature;
import org.jivesoftware.smackx.pubsub.PubSubManager;
import org.jivesoftware.smackx.pubsub.PublishItem;
import org.jivesoftware.smackx.pubsub.PublishModel;
import org.jivesoftware.smackx.pubsub.SimplePayload;
import org.jivesoftware.smackx.pubsub.Subscription;
import org.jivesoftware.smackx.pubsub.Subscription.State;
import org.jivesoftware.smackx.pubsub.form.ConfigureForm;
import org.jivesoftware.smackx.pubsub.form.FillableConfigureForm;
import org.jivesoftware.smackx.pubsub.form.FillableSubscribeForm;
import org.jivesoftware.smackx.pubsub.form.SubscribeForm;
import org.jivesoftware.smackx.pubsub.packet.PubSub;
import org.jivesoftware.smackx.xdata.FormField;
import org.jivesoftware.smackx.xdata.packet.DataForm;
import org.jxmpp.util.XmppDateTime;

/** The service of nodes, by Smack's PubSubManager. */
final class Service {
    /** How a payload comes back. */
    private static final String TEXT = "<thing xmlns='urn:t'>%s</thing>";

    private final Actor romeo;
    private final Actor juliet;
    private final Actor mercutio;
    private final String domain;

    Service(Actor romeo, Actor juliet, Actor mercutio, String domain) {
        this.romeo = romeo;
        this.juliet = juliet;
        this.mercutio = mercutio;
        this.domain = domain;
    }

    void play() throws Exception {
        service();
        nodes();
        LeafNode news = romeo.nodes.getLeafNode("news");
        items(news);
        subscriptions(news);
        options(news);
        events(news);
        affiliations(news);
        closed();
        authorized();
        near();
        publishers();
        ends(news);
    }

    private static PayloadItem<SimplePayload> item(String id, String text) {
        return new PayloadItem<>(id, new SimplePayload(text(text)));
    }

    private static String text(String text) {
        return String.format(TEXT, text);
    }

    /** The form of a new node. */
    private FillableConfigureForm form() throws Exception {
        return romeo.nodes.getDefaultConfiguration().getFillableForm();
    }

    private LeafNode make(String name, AccessModel access) throws Exception {
        FillableConfigureForm f = form();
        f.setAccessModel(access);
        return (LeafNode) romeo.nodes.createNode(name, f);
    }

    /** Opens or closes a node. */
    private static void open(Node node, AccessModel access, String... groups) throws Exception {
        FillableConfigureForm f = node.getNodeConfiguration().getFillableForm();
        f.setAccessModel(access);
        if (groups.length > 0) {
            f.setRosterGroupsAllowed(List.of(groups));
        }
        node.sendConfigurationForm(f);
    }

    private void service() throws Exception {
        Checks.equal("a host lists its service", PubSubManager.getPubSubService(romeo.connection).toString(),
                "pubsub." + domain);
        DiscoverInfo info = romeo.nodes.getSupportedFeatures();
        Checks.yes("its identity", info.hasIdentity("pubsub", "service"));
        List<String> missing = new ArrayList<>();
        for (PubSubFeature f : PubSubFeature.values()) {
            if (!info.containsFeature(f.toString())) {
                missing.add(f.name());
            }
        }
        Checks.same("the features of Smack's list that it has not", missing, "collections", "multi_collection",
                "subscriptions_notifications", "auto_subscribe", "filtered_notifications", "presence_notifications",
                "presence_subscribe");
        Checks.yes("it makes nodes for what is published", romeo.nodes.supportsAutomaticNodeCreation());
        Checks.yes("users may make nodes", romeo.nodes.canCreateNodesAndPublishItems());
        ConfigureForm f = romeo.nodes.getDefaultConfiguration();
        Checks.equal("the form of a configuration", f.getFormType(), ConfigureForm.FORM_TYPE);
        Checks.equal("who reads, if nothing is said", f.getAccessModel(), AccessModel.open);
        Checks.equal("who publishes", f.getPublishModel(), PublishModel.publishers);
        Checks.yes("items are kept", f.isPersistItems());
        Checks.yes("events have payloads", f.isDeliverPayloads());
    }

    private void nodes() throws Exception {
        LeafNode instant = romeo.nodes.createNode();
        Checks.yes("an instant node has a name", !instant.getId().isEmpty());
        Checks.equal("it is there", romeo.nodes.getNode(instant.getId()), instant);
        romeo.nodes.createNode("plain");
        Checks.refused("a name that is taken", "conflict", () -> juliet.nodes.createNode("plain"));

        FillableConfigureForm f = form();
        f.setTitle("News of Verona");
        f.setDataType("urn:t");
        f.setMaxItems(3);
        f.setNotifyConfig(true);
        f.setNotifyRetract(true);
        Node news = romeo.nodes.createNode("news", f);
        ConfigureForm made = news.getNodeConfiguration();
        Checks.equal("a title", Checks.title(made), "News of Verona");
        Checks.equal("a type", made.getDataType(), "urn:t");
        Checks.equal("how many items are kept", made.getMaxItems(), 3);
        Checks.yes("that a configuration is told", made.isNotifyConfig());

        List<String> names = new ArrayList<>();
        for (DiscoverItems.Item i : juliet.nodes.discoverNodes(null).getItems()) {
            names.add(i.getNode());
        }
        Checks.same("nodes that everybody finds", names, instant.getId(), "plain", "news");
        DiscoverInfo info = juliet.nodes.getNode("news").discoverInfo();
        Checks.yes("what a node is", info.hasIdentity("pubsub", "leaf"));
        DataForm meta = DataForm.from(info, PubSub.NAMESPACE + "#meta-data");
        Checks.equal("its title for all", meta.getField("pubsub#title").getFirstValue(), "News of Verona");
        Checks.refused("a node that is none", "item-not-found", () -> juliet.nodes.getNode("nowhere"));
        Checks.equal("a node that is there", juliet.nodes.getOrCreateLeafNode("plain").getId(), "plain");
        Checks.equal("a node that is made for it", juliet.nodes.getOrCreateLeafNode("hers").getId(), "hers");
        juliet.nodes.tryToPublishAndPossibleAutoCreate("sudden", item("1", "so"));
        Checks.equal("a node that is made by an item", Checks.ids(romeo.nodes.getLeafNode("sudden").getItems()),
                List.of("1"));

        FillableConfigureForm bad = form();
        bad.setMaxItems(0);
        Checks.refused("a configuration that makes no sense", "not-acceptable",
                () -> romeo.nodes.createNode("senseless", bad));
        Checks.refused("the configuration of others", "forbidden",
                () -> juliet.nodes.getNode("news").getNodeConfiguration());
        Checks.refused("a change of it", "forbidden", () -> juliet.nodes.getNode("news").sendConfigurationForm(form()));
    }

    private void items(LeafNode news) throws Exception {
        news.publish(item("1", "one"));
        news.publish(item(null, "of no name"));
        List<PayloadItem<?>> all = news.getItems();
        Checks.equal("an item that has an id", all.get(0).getId(), "1");
        Checks.yes("an item that gets one", !all.get(1).getId().isEmpty());
        Checks.equal("its payload", Checks.payload(all.get(1)), text("of no name"));
        String given = all.get(1).getId();
        news.publish(List.of(item("2", "two"), item("3", "three")));
        Checks.equal("the oldest goes", Checks.ids(news.getItems()), List.of(given, "2", "3"));
        news.publish(item("2", "two again"));
        Checks.equal("an item in place of another", Checks.ids(news.getItems()), List.of(given, "3", "2"));

        LeafNode read = juliet.nodes.getLeafNode("news");
        Checks.equal("the newest", Checks.ids(read.getItems(1)), List.of("2"));
        Checks.equal("the two newest", Checks.ids(read.getItems(2)), List.of("3", "2"));
        List<PayloadItem<?>> some = read.getItems(List.of("2", given, "none"));
        Checks.same("items by their ids", Checks.ids(some), given, "2");
        Checks.equal("the payload of one", Checks.payload(read.getItems(List.of("2")).get(0)), text("two again"));
        List<String> names = new ArrayList<>();
        for (DiscoverItems.Item i : read.discoverItems().getItems()) {
            names.add(i.getName());
        }
        Checks.same("items as they are found", names, given, "2", "3");

        Checks.refused("an item of who may not", "forbidden", () -> read.publish(item("4", "hers")));
        Checks.refused("an item without its payload", "bad-request payload-required",
                () -> news.publish(new Item("5")));
        Checks.refused("no item", "bad-request item-required", () -> news.publish());
        Checks.refused("too much of it", "not-acceptable payload-too-big",
                () -> news.publish(item("6", "x".repeat(140_000))));
        Checks.refused("items that are taken back by who may not", "forbidden", () -> read.deleteItem("2"));
        Checks.refused("an item that is none", "item-not-found", () -> news.deleteItem("none"));
        Checks.refused("items of a node that is none", "item-not-found", () -> {
            LeafNode hers = juliet.nodes.createNode("short");
            juliet.nodes.deleteNode("short");
            hers.getItems();
        });
        news.deleteItem(List.of("2", given));
        Checks.equal("items that stay", Checks.ids(news.getItems()), List.of("3"));

        // Smack has the element of XEP-0060 §7.1.5, but no call that sends it.
        Checks.refused("a node of another kind than was wanted", "conflict precondition-not-met",
                () -> publishIf("news", "whitelist"));
        publishIf("news", "open");
        Checks.equal("a node of the kind that was wanted", Checks.ids(news.getItems(1)), List.of("if"));
    }

    private void publishIf(String node, String access) throws Exception {
        DataForm options = DataForm.builder()
                .addField(FormField.buildHiddenFormType(PubSub.NAMESPACE + "#publish-options"))
                .addField(FormField.listSingleBuilder("pubsub#access_model").setValue(access).build()).build();
        PubSub packet = PubSub.createPubsubPacket(romeo.nodes.getServiceJid(), IQ.Type.set,
                new PublishItem<>(node, item("if", "if")));
        packet.addExtension(new NodeExtension(PubSubElementType.PUBLISH_OPTIONS) {
            @Override
            protected void addXml(XmlStringBuilder xml) {
                xml.rightAngleBracket().append(options).closeElement(this);
            }
        });
        romeo.connection.sendIqRequestAndWaitForResponse(packet);
    }

    private static List<String> written(List<Subscription> all) {
        List<String> list = new ArrayList<>();
        for (Subscription s : all) {
            list.add((s.getNode() == null ? "" : s.getNode() + " ") + s.getJid() + " " + s.getState());
        }
        return list;
    }

    private void subscriptions(LeafNode news) throws Exception {
        juliet.listenToEnds();
        LeafNode hers = juliet.listen("news");
        Subscription s = hers.subscribe(juliet.jid);
        Checks.equal("a subscription", written(List.of(s)), List.of("news " + juliet.jid + " subscribed"));
        Checks.equal("its id", s.getId(), "1");
        juliet.heard.next("the last item for it", "earlier if " + text("if"));
        Checks.equal("the same again", hers.subscribe(juliet.jid).getId(), "1");
        String mine = "news " + juliet.jid + " subscribed";
        Checks.equal("hers", written(juliet.nodes.getSubscriptions()), List.of(mine));
        Checks.same("hers to a node", juliet.nodes.getNode("news").getSubscriptions().stream().map(Subscription::getId)
                .toList(), "1");
        Checks.equal("who is subscribed", written(news.getSubscriptionsAsOwner()),
                List.of(juliet.jid + " subscribed"));
        Checks.refused("who is subscribed, for others", "forbidden", () -> hers.getSubscriptionsAsOwner());
        Checks.refused("a subscription for others", "bad-request invalid-jid", () -> hers.subscribe(romeo.jid));
        Checks.refused("one of who has none", "unexpected-request not-subscribed",
                () -> mercutio.nodes.getNode("news").unsubscribe(mercutio.jid.toString()));

        news.modifySubscriptionsAsOwner(List.of(new Subscription(mercutio.jid, State.subscribed)));
        Checks.same("whom an owner subscribes", written(news.getSubscriptionsAsOwner()), juliet.jid + " subscribed",
                mercutio.jid + " subscribed");
        news.modifySubscriptionsAsOwner(List.of(new Subscription(mercutio.jid, State.none)));
        Checks.equal("whom an owner lets go", mercutio.nodes.getSubscriptions(), List.of());
    }

    private void options(LeafNode news) throws Exception {
        String me = juliet.jid.toString();
        LeafNode hers = juliet.nodes.getLeafNode("news");
        SubscribeForm had = hers.getSubscriptionOptions(me);
        Checks.yes("options of a subscription", had.isDeliverOn());
        FillableSubscribeForm f = had.getFillableForm();
        f.setDeliverOn(false);
        Subscription quiet = hers.subscribe(juliet.jid, f);
        Checks.equal("a subscription with other options", quiet.getId(), "2");
        Checks.yes("the options of that", !hers.getSubscriptionOptions(me, "2").isDeliverOn());
        Checks.refused("the options of one of two", "bad-request subid-required",
                () -> hers.getSubscriptionOptions(me));
        Checks.refused("the end of one of two", "bad-request subid-required", () -> hers.unsubscribe(me));
        Checks.refused("a subscription that is none", "not-acceptable invalid-subid",
                () -> hers.getSubscriptionOptions(me, "9"));
        Checks.refused("the options of others", "forbidden",
                () -> mercutio.nodes.getNode("news").getSubscriptionOptions(me, "1"));

        Date end = XmppDateTime.parseDate("2100-01-01T00:00:00.000+00:00");
        FillableSubscribeForm ending = had.getFillableForm();
        ending.setExpiry(end);
        Checks.equal("a subscription that ends", hers.subscribe(juliet.jid, ending).getId(), "3");
        Date until = hers.getSubscriptionOptions(me, "3").getExpiry();
        Checks.yes("it ends within a year", until.after(new Date()) && until.before(end));
        juliet.heard.next("the last item for that", "earlier if " + text("if"));

        news.publish(item("a", "both"));
        juliet.heard.next("an item for those that want it", "item a " + text("both") + " for 1 3");
        hers.unsubscribe(me, "2");
        hers.unsubscribe(me, "3");
        news.publish(item("b", "one"));
        juliet.heard.next("an item for the one that is left", "item b " + text("one"));
    }

    private void events(LeafNode news) throws Exception {
        news.deleteItem("b");
        juliet.heard.next("an item that is taken back", "retracted b");
        FillableConfigureForm f = news.getNodeConfiguration().getFillableForm();
        f.setTitle("Gossip of Verona");
        news.sendConfigurationForm(f);
        juliet.heard.next("a new configuration", "configured Gossip of Verona");
        Checks.equal("it stays", Checks.title(news.getNodeConfiguration()), "Gossip of Verona");
        Checks.equal("and so does the rest", news.getNodeConfiguration().getMaxItems(), 3);
        news.deleteAllItems();
        juliet.heard.next("a purge", "purged");
        Checks.equal("nothing is left", news.getItems(), List.of());
        Checks.refused("a purge by others", "forbidden", () -> juliet.nodes.getLeafNode("news").deleteAllItems());

        // Events without items (XEP-0060 §4.3).
        FillableConfigureForm bell = form();
        bell.setPersistentItems(false);
        bell.setDeliverPayloads(false);
        LeafNode rings = (LeafNode) romeo.nodes.createNode("bell", bell);
        juliet.listen("bell").subscribe(juliet.jid);
        rings.publish();
        juliet.heard.next("an event without an item", "item");
        Checks.refused("an item where there are none", "bad-request item-forbidden",
                () -> rings.publish(item("1", "one")));
        Checks.refused("items that are not kept", "feature-not-implemented unsupported", () -> rings.getItems());
    }

    private static List<String> ranks(List<Affiliation> all) {
        List<String> list = new ArrayList<>();
        for (Affiliation a : all) {
            list.add((a.getNode() != null ? a.getNode() : a.getJid()) + " " + a.getAffiliation());
        }
        return list;
    }

    private void affiliations(LeafNode news) throws Exception {
        Checks.same("what she is", ranks(juliet.nodes.getAffiliations()), "hers owner", "sudden owner");
        Checks.equal("what he is to a node", ranks(news.getAffiliations()), List.of("news owner"));
        news.modifyAffiliationAsOwner(List.of(new Affiliation(juliet.jid, Affiliation.Type.publisher),
                new Affiliation(mercutio.jid, Affiliation.Type.outcast)));
        Checks.same("what all are", ranks(news.getAffiliationsAsOwner()), romeo.jid + " owner",
                juliet.jid + " publisher", mercutio.jid + " outcast");
        Checks.same("what she is now", ranks(juliet.nodes.getAffiliations()), "hers owner", "sudden owner",
                "news publisher");
        juliet.nodes.getLeafNode("news").publish(item("c", "hers"));
        juliet.heard.next("what she publishes", "item c " + text("hers"));
        Checks.refused("an outcast's subscription", "forbidden",
                () -> mercutio.nodes.getNode("news").subscribe(mercutio.jid));
        Checks.refused("what an outcast reads", "forbidden", () -> mercutio.nodes.getLeafNode("news").getItems());
        Checks.refused("what all are, for others", "forbidden",
                () -> juliet.nodes.getNode("news").getAffiliationsAsOwner());
        Checks.refused("a node without an owner", "not-acceptable", () -> news.modifyAffiliationAsOwner(
                List.of(new Affiliation(romeo.jid, Affiliation.Type.none))));
    }

    private void closed() throws Exception {
        // Whom a node is closed to does not find it, and Smack looks for it before it asks anything else. She has found
        // it before.
        LeafNode diary = make("diary", AccessModel.open);
        diary.publish(item("1", "secret"));
        LeafNode hers = juliet.listen("diary");
        hers.subscribe(juliet.jid);
        juliet.heard.next("an item for all", "earlier 1 " + text("secret"));
        open(diary, AccessModel.whitelist);
        juliet.heard.next("that it is closed", "none diary");
        Checks.refused("a node that is closed", "item-not-found", () -> mercutio.nodes.getNode("diary"));
        Checks.refused("a subscription to what is closed", "not-allowed closed-node",
                () -> hers.subscribe(juliet.jid));
        Checks.refused("items of what is closed", "not-allowed closed-node", () -> hers.getItems());
        diary.modifyAffiliationAsOwner(List.of(new Affiliation(juliet.jid, Affiliation.Type.member)));
        Checks.equal("items for a member", Checks.ids(hers.getItems()), List.of("1"));
        Checks.equal("a member's subscription", hers.subscribe(juliet.jid).getState(), State.subscribed);
        juliet.heard.next("an item for members", "earlier 1 " + text("secret"));
    }

    private void authorized() throws Exception {
        LeafNode club = make("club", AccessModel.authorize);
        club.publish(item("1", "welcome"));
        LeafNode hers = juliet.listen("club");
        Checks.equal("a subscription that waits", hers.subscribe(juliet.jid).getState(), State.pending);
        Checks.refused("what waits, again", "not-authorized pending-subscription", () -> hers.subscribe(juliet.jid));
        Checks.refused("items for who waits", "not-authorized not-subscribed", () -> hers.getItems());
        Checks.equal("who waits", written(club.getSubscriptionsAsOwner()), List.of(juliet.jid + " pending"));
        club.modifySubscriptionsAsOwner(List.of(new Subscription(juliet.jid, State.subscribed)));
        juliet.heard.next("that it is approved", "subscribed club");
        juliet.heard.next("the last item after that", "earlier 1 " + text("welcome"));
        Checks.equal("items for who waits no longer", Checks.ids(hers.getItems()), List.of("1"));
        club.modifySubscriptionsAsOwner(List.of(new Subscription(juliet.jid, State.none)));
        juliet.heard.next("that it is over", "none club");
    }

    private void near() throws Exception {
        LeafNode friends = make("friends", AccessModel.open);
        Node his = mercutio.nodes.getNode("friends");
        Node hers = juliet.nodes.getNode("friends");
        open(friends, AccessModel.presence);
        Checks.refused("what is for those who see his presence", "not-authorized presence-subscription-required",
                () -> his.subscribe(mercutio.jid));
        open(friends, AccessModel.roster, "Capulets");
        Checks.equal("the groups that may", friends.getNodeConfiguration().getRosterGroupsAllowed(),
                List.of("Capulets"));
        Checks.refused("what is for who is in a group", "not-authorized not-in-roster-group",
                () -> hers.subscribe(juliet.jid));
    }

    private void publishers() throws Exception {
        FillableConfigureForm f = form();
        f.setPublishModel(PublishModel.open);
        romeo.nodes.createNode("wall", f);
        mercutio.nodes.getLeafNode("wall").publish(item("1", "his"));
        Checks.equal("an item of anybody's", Checks.ids(romeo.nodes.getLeafNode("wall").getItems()), List.of("1"));
        f = form();
        f.setPublishModel(PublishModel.subscribers);
        romeo.nodes.createNode("forum", f);
        LeafNode his = mercutio.nodes.getLeafNode("forum");
        Checks.refused("an item of who is no subscriber", "forbidden", () -> his.publish(item("1", "his")));
        his.subscribe(mercutio.jid);
        his.publish(item("1", "his"));
        Checks.equal("an item of a subscriber's", Checks.ids(his.getItems()), List.of("1"));
    }

    private void ends(LeafNode news) throws Exception {
        Checks.refused("the end of what is another's", "forbidden", () -> juliet.nodes.deleteNode("news"));
        juliet.nodes.getNode("news").unsubscribe(juliet.jid.toString());
        Checks.same("hers that are left", written(juliet.nodes.getSubscriptions()),
                "bell " + juliet.jid + " subscribed", "diary " + juliet.jid + " subscribed");
        news.publish(item("z", "unheard"));
        Checks.yes("the end of a node", romeo.nodes.deleteNode("news"));
        Checks.yes("the end of what is gone", !romeo.nodes.deleteNode("news"));
        Checks.yes("the end of another", romeo.nodes.deleteNode("bell"));
        juliet.heard.next("the end of what she is subscribed to, and nothing else", "deleted bell");
        Checks.refused("a subscription to what is gone", "item-not-found", () -> mercutio.nodes.getNode("news")
                .subscribe(mercutio.jid));
    }
}
