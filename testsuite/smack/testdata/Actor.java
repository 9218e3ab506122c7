import java.util.Collection;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jivesoftware.smack.ConnectionConfiguration.SecurityMode;
import org.jivesoftware.smack.filter.StanzaTypeFilter;
import org.jivesoftware.smack.roster.AbstractRosterListener;
import org.jivesoftware.smack.roster.Roster;
import org.jivesoftware.smack.tcp.XMPPTCPConnection;
import org.jivesoftware.smack.tcp.XMPPTCPConnectionConfiguration;
import org.jivesoftware.smack.util.TLSUtils;
import org.jivesoftware.smackx.pubsub.EventElement;
import org.jivesoftware.smackx.pubsub.EventElementType;
import org.jivesoftware.smackx.pubsub.Item;
import org.jivesoftware.smackx.pubsub.ItemDeleteEvent;
import org.jivesoftware.smackx.pubsub.ItemPublishEvent;
import org.jivesoftware.smackx.pubsub.LeafNode;
import org.jivesoftware.smackx.pubsub.PubSubManager;
import org.jivesoftware.smackx.pubsub.Subscription;
import org.jivesoftware.smackx.pubsub.listener.ItemDeleteListener;
import org.jivesoftware.smackx.pubsub.listener.ItemEventListener;
import org.jxmpp.jid.BareJid;
import org.jxmpp.jid.Jid;
import org.jxmpp.jid.impl.JidCreate;

/** A user with a client. */
final class Actor {
    final XMPPTCPConnection connection;
    final BareJid jid;
    /** The service's nodes. */
    final PubSubManager nodes;

    /** What has come of the nodes that it listens to, in the order in which it came. */
    final Checks.Heard heard = new Checks.Heard();

    Actor(String name, String domain, String host, int port, String password) throws Exception {
        XMPPTCPConnectionConfiguration.Builder config = XMPPTCPConnectionConfiguration.builder()
                .setXmppDomain(domain).setHost(host).setPort(port).setUsernameAndPassword(name, password)
                .setResource("desk").setSecurityMode(SecurityMode.required).setSendPresence(false);
        TLSUtils.acceptAllCertificates(config);
        TLSUtils.disableHostnameVerificationForTlsCertificates(config);
        connection = new XMPPTCPConnection(config.build());
        connection.setReplyTimeout(Checks.PATIENCE);
        connection.setParsingExceptionCallback(stanza -> {
            System.out.println("unreadable: " + stanza.getContent());
            System.exit(1);
        });
        connection.connect().login();
        jid = connection.getUser().asBareJid();
        nodes = PubSubManager.getInstanceFor(connection, JidCreate.bareFrom("pubsub." + domain));
    }

    /** A node, to whose items it listens. */
    LeafNode listen(String name) throws Exception {
        LeafNode node = nodes.getLeafNode(name);
        ItemEventListener<Item> items = e -> heard.add(published(e));
        node.addItemEventListener(items);
        node.addItemDeleteListener(new ItemDeleteListener() {
            @Override
            public void handleDeletedItems(ItemDeleteEvent e) {
                heard.add("retracted " + String.join(" ", e.getItemIds()));
            }

            @Override
            public void handlePurge() {
                heard.add("purged");
            }
        });
        node.addConfigurationListener(e -> heard.add("configured " + Checks.title(e.getConfiguration())));
        return node;
    }

    private static String published(ItemPublishEvent<Item> e) {
        StringBuilder s = new StringBuilder(e.isDelayed() ? "earlier" : "item");
        e.getItems().forEach(i -> s.append(' ').append(i.getId()).append(' ').append(Checks.payload(i)));
        List<String> ids = e.getSubscriptions();
        return ids == null || ids.isEmpty() ? s.toString() : s + " for " + String.join(" ", ids);
    }

    /** Listens to what Smack has no listeners for: the ends of nodes, and what became of subscriptions. */
    void listenToEnds() {
        connection.addSyncStanzaListener(stanza -> {
            EventElement e = EventElement.from(stanza);
            if (e == null) {
                return;
            } else if (e.getEventType() == EventElementType.delete) {
                heard.add("deleted " + e.getEvent().getNode());
            } else if (e.getEvent() instanceof Subscription s) {
                heard.add(s.getState() + " " + s.getNode());
            }
        }, StanzaTypeFilter.MESSAGE);
    }

    /** Sees the presence of another, who has to agree, from now on. */
    void befriend(Actor other) throws Exception {
        Roster.getInstanceFor(other.connection).setSubscriptionMode(Roster.SubscriptionMode.accept_all);
        other.appear();
        CountDownLatch agreed = new CountDownLatch(1);
        Roster roster = Roster.getInstanceFor(connection);
        roster.addRosterListener(new AbstractRosterListener() {
            @Override
            public void entriesUpdated(Collection<Jid> addresses) {
                if (roster.iAmSubscribedTo(other.jid)) {
                    agreed.countDown();
                }
            }
        });
        roster.sendSubscriptionRequest(other.jid);
        if (!agreed.await(Checks.PATIENCE, TimeUnit.MILLISECONDS)) {
            throw new IllegalStateException(other.jid + " does not agree");
        }
    }

    /** Sends presence, which says what it wants to hear of (XEP-0115). */
    void appear() throws Exception {
        connection.sendStanza(connection.getStanzaFactory().buildPresenceStanza().build());
    }
}
