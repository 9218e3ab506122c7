import org.jivesoftware.smack.provider.ProviderManager;
import org.jivesoftware.smackx.pubsub.packet.PubSubNamespace;
import org.jivesoftware.smackx.pubsub.provider.AffiliationsProvider;
import org.jivesoftware.smackx.pubsub.provider.SubscriptionProvider;

/** Has Smack ask a server for what nodes can do. Arguments: domain, host, port, password. */
public final class Main {
    private Main() {}

    public static void main(String[] args) {
        try {
            play(args[0], args[1], Integer.parseInt(args[2]), args[3]);
        } catch (Throwable e) {
            e.printStackTrace(System.out);
            System.exit(1);
        }
        System.exit(Checks.held ? 0 : 1); // Smack's threads would go on
    }

    private static void play(String domain, String host, int port, String password) throws Exception {
        // Smack 4.4 can read these and does not tell itself so. Without it getAffiliationsAsOwner takes what it has got
        // for something else, and so does what reads the news of a subscription (XEP-0060 §8.6): the connection ends.
        ProviderManager.addExtensionProvider("affiliations", PubSubNamespace.owner.getXmlns(),
                new AffiliationsProvider());
        ProviderManager.addExtensionProvider("subscription", PubSubNamespace.event.getXmlns(),
                new SubscriptionProvider());
        Actor romeo = new Actor("romeo", domain, host, port, password);
        Actor juliet = new Actor("juliet", domain, host, port, password);
        Actor mercutio = new Actor("mercutio", domain, host, port, password);
        juliet.befriend(romeo);
        romeo.befriend(juliet);
        new Service(romeo, juliet, mercutio, domain).play();
        Accounts.play(romeo, juliet, mercutio);
        for (Actor a : new Actor[] {romeo, juliet, mercutio}) {
            a.connection.disconnect();
        }
    }
}
