package ticketapi.tests;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import ticketapi.Browser;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;

/** A program that shows login pages in windows of its own, and says when a login goes on in the browser. */
final class Windows implements Browser, Prompter {
    /** Counted down when the page has been closed, and the notice has been taken away. */
    final CountDownLatch over = new CountDownLatch(2);
    private final StringBuffer happened = new StringBuffer();

    /** What has happened up to now. */
    String happened() {
        return happened.toString();
    }

    /** The window is the program in TICKETAPI_BROWSER, which the library must not use. */
    @Override
    public void open(String address) throws IOException {
        happened.append("open ");
        new ProcessBuilder(System.getenv("TICKETAPI_BROWSER"), address).start();
    }

    @Override
    public void close() {
        happened.append("close ");
        over.countDown();
    }

    @Override
    public void browserOpened() {
        happened.append("wait ");
    }

    @Override
    public void browserWaitOver() {
        happened.append("over ");
        over.countDown();
    }

    @Override
    public char[] pin(PinRequest asked) {
        return null;
    }

    @Override
    public boolean useLastTry(PinRequest asked) {
        return false;
    }

    @Override
    public Role role(List<Role> roles) {
        return roles.get(0);
    }
}
