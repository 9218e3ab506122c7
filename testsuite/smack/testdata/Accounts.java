import java.util.List;
import java.util.Objects;
import org.jivesoftware.smackx.pep.PepManager;
import org.jivesoftware.smackx.pubsub.Item;
import org.jivesoftware.smackx.pubsub.LeafNode;
import org.jivesoftware.smackx.pubsub.PayloadItem;
import org.jivesoftware.smackx.pubsub.PubSubManager;
import org.jivesoftware.smackx.pubsub.SimplePayload;
import org.jivesoftware.smackx.usertune.UserTuneManager;
import org.jivesoftware.smackx.usertune.element.UserTuneElement;

/** The nodes of accounts, by Smack's PepManager. */
final class Accounts {
    private static final String DIARY = "urn:t:diary";

    private Accounts() {}

    static void play(Actor romeo, Actor juliet, Actor mercutio) throws Exception {
        PepManager his = PepManager.getInstanceFor(romeo.connection);
        Checks.yes("accounts have nodes", his.isSupported());

        UserTuneManager tunes = UserTuneManager.getInstanceFor(romeo.connection);
        tunes.publishUserTune(UserTuneElement.getBuilder().setArtist("Lark").setTitle("Morning").build());
        // What she listens to is in her presence, which Smack sends again (XEP-0163 §3, XEP-0115).
        UserTuneManager.getInstanceFor(juliet.connection).addUserTuneListener((from, tune, id, message) -> juliet.heard
                .add(from + " plays " + tune.getArtist() + ", " + tune.getTitle()));
        PepManager.getInstanceFor(juliet.connection).addPepEventListener(DIARY, SimplePayload.class,
                (from, payload, id, message) -> juliet.heard.add(from + " writes " + id + " " + payload.toXML()));
        juliet.heard.next("the last tune of a contact", romeo.jid + " plays Lark, Morning");
        tunes.publishUserTune(UserTuneElement.getBuilder().setArtist("Owl").setTitle("Night").build());
        juliet.heard.next("another one", romeo.jid + " plays Owl, Night");
        LeafNode diary = his.publish(DIARY, new PayloadItem<>("1", new SimplePayload("<day xmlns='urn:t'>one</day>")));
        juliet.heard.next("an item of any kind", romeo.jid + " writes 1 <day xmlns='urn:t'>one</day>");

        PubSubManager of = PubSubManager.getInstanceFor(juliet.connection, romeo.jid);
        Checks.same("nodes of a contact", of.discoverNodes(null).getItems().stream().map(i -> i.getNode())
                .filter(Objects::nonNull).toList(), UserTuneManager.USERTUNE_NODE, DIARY); // sessions are listed, too
        List<PayloadItem<?>> heard = of.getLeafNode(UserTuneManager.USERTUNE_NODE).getItems();
        Checks.equal("items of a contact", ((UserTuneElement) heard.get(0).getPayload()).getArtist(), "Owl");
        Checks.equal("and they are one", heard.size(), 1);
        Checks.refused("an item at a contact's", "forbidden",
                () -> of.getLeafNode(DIARY).publish(new Item("2")));
        PubSubManager strange = PubSubManager.getInstanceFor(mercutio.connection, romeo.jid);
        Checks.refused("a node for a stranger", "not-authorized presence-subscription-required",
                () -> strange.getLeafNode(DIARY));
        Checks.refused("an item of a stranger's", "forbidden",
                () -> strange.tryToPublishAndPossibleAutoCreate(DIARY, new Item("2")));
        Checks.equal("his own", Checks.ids(diary.getItems()), List.of("1"));
        Checks.yes("the end of a node of his", his.getPepPubSubManager().deleteNode(DIARY));
    }
}
