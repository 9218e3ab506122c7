import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jivesoftware.smack.XMPPException.XMPPErrorException;
import org.jivesoftware.smack.packet.StanzaError;
import org.jivesoftware.smackx.pubsub.Item;
import org.jivesoftware.smackx.pubsub.PayloadItem;
import org.jivesoftware.smackx.xdata.form.FormReader;

/** What is checked. Each check is a line of output, which begins with ok where it holds. */
final class Checks {
    /** How long something that must come may take. */
    static final int PATIENCE = 20_000;

    private static final String ERRORS = "http://jabber.org/protocol/pubsub#errors";

    /** Whether all have held. */
    static boolean held = true;

    private Checks() {}

    private static void say(boolean holds, String what, Object got, Object wanted) {
        held &= holds;
        System.out.println(holds ? "ok " + what : "FAILED " + what + ": " + got + ", not " + wanted);
    }

    /** A call that may be refused. */
    interface Call {
        void run() throws Exception;
    }

    static void equal(String what, Object got, Object wanted) {
        say(Objects.equals(got, wanted), what, got, wanted);
    }

    static void yes(String what, boolean is) {
        equal(what, is, true);
    }

    /** The same, in whatever order. */
    static void same(String what, Iterable<?> got, String... wanted) {
        TreeSet<String> all = new TreeSet<>();
        for (Object o : got) {
            all.add(o.toString());
        }
        equal(what, all, new TreeSet<>(Arrays.asList(wanted)));
    }

    /** A call must be refused with this condition and, behind a blank, with one of XEP-0060's own. */
    static void refused(String what, String wanted, Call call) throws Exception {
        try {
            call.run();
        } catch (XMPPErrorException e) {
            StanzaError error = e.getStanzaError();
            String got = error.getCondition().toString();
            String[] parts = wanted.split(" ");
            if (parts.length > 1 && error.getExtension(parts[1], ERRORS) != null) {
                got += " " + parts[1];
            }
            say(got.equals(wanted), what, error.toXML(), wanted);
            return;
        }
        say(false, what, "it is not refused", wanted);
    }

    static List<String> ids(List<? extends Item> items) {
        List<String> all = new ArrayList<>();
        for (Item i : items) {
            all.add(i.getId());
        }
        return all;
    }

    /** The title of a node. What Smack calls getTitle is that of the form. */
    static String title(FormReader configuration) {
        return configuration.readFirstValue("pubsub#title");
    }

    static String payload(Item i) {
        return i instanceof PayloadItem<?> p ? p.getPayload().toXML().toString() : null;
    }

    /** What a listener has heard. */
    static final class Heard {
        private final BlockingQueue<String> all = new LinkedBlockingQueue<>();

        void add(String one) {
            all.add(one);
        }

        /** The next thing must be this. */
        void next(String what, String wanted) throws InterruptedException {
            String got = all.poll(PATIENCE, TimeUnit.MILLISECONDS);
            if (got == null) {
                throw new IllegalStateException(what + ": nothing comes");
            }
            equal(what, got, wanted);
        }
    }
}
