package ticketapi.tests;

import java.io.IOException;
import java.util.concurrent.CountDownLatch;
import java.util.function.Consumer;
import ticketapi.Browser;
import ticketapi.Session;
import ticketapi.TicketApi;

/** A program that shows login pages in windows of its own, and says when a login goes on in the browser. */
final class Windows extends TestUser implements Browser {
    /** Counted down when the page has been closed, and the notice has been taken away. */
    private final CountDownLatch over = new CountDownLatch(2);
    private final StringBuffer happened = new StringBuffer();

    private Windows() {
        super(null);
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

    /** Logs in by windows of the program's own, and checks what has happened. */
    static void logIn(Consumer<Session> check) throws Exception {
        TicketApi.set("browser", "/nowhere/browser");
        Windows windows = new Windows();
        TicketApi.setPrompter(windows);
        TicketApi.setBrowser(windows);
        try (TicketApi api = TicketApi.open()) {
            check.accept(api.logIn());
            windows.over.await();
            String happened = windows.happened.toString();
            if (!happened.startsWith("open wait ") || !happened.contains("over ") || !happened.contains("close ")) {
                throw new AssertionError(happened);
            }
            api.logOut();
        }
    }
}
