import com.gemplus.gemauth.api.GATicket;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;

/** A program that uses the old API. The first argument selects what it does. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        GATicket api;
        try {
            api = new GATicket();
        } catch (Exception e) {
            System.out.println("no object: " + e.getMessage());
            return;
        }
        switch (arguments[0]) {
            case "everything":
                everything(api);
                break;
            case "failure":
                System.out.println(api.getTicket() + " " + Long.toHexString(api.getLastError()) + " "
                        + api.getErrorDescription(api.getLastError()));
                System.out.println(api.getNewTicket() + " " + Long.toHexString(api.getLastError()));
                break;
            case "debug":
                debug(api);
                break;
            case "threads":
                threads(api);
                break;
            case "million":
                million(api);
                break;
            case "first":
                System.out.println(api.getTicketNoAuth());
                break;
            default:
                throw new AssertionError(arguments[0]);
        }
        System.out.println("done");
    }

    private static void everything(GATicket api) throws Exception {
        check(GATicket.LIBRARY_NAME.equals("TicketApiDll") && GATicket.TCK_API_INTERNAL_ERROR == 0x100, "constants");
        check(GATicket.class.getField("TCK_API_AUTHENTICATION_NOT_POSSIBLE").getInt(null) == 0xa, "the class's own constants");
        api.destroyTicket();
        check(api.getLastError() == GATicket.TCK_API_SUCCESS, "destroying nothing");
        check(api.getTicketNoAuth() == null && api.getLastError() == 0x80100009L, "no ticket");
        check(api.getErrorDescription(api.getLastError()).contains("nobody is logged in"), "why");
        check(api.getLastError() == 0x80100009L, "the words leave the code alone");
        int kept = (int) api.getLastError();
        check(api.getErrorDescription(kept).contains("nobody is logged in")
                && api.getErrorDescription(kept & 0xffffffffL).contains("nobody is logged in"), "a code that was kept in an int");
        String ticket = api.getTicket();
        check(ticket != null && ticket.length() > 20 && api.getLastError() == 0, "a ticket");
        check(ticket.equals(api.getTicketNoAuth()) && ticket.equals(new GATicket().getTicket()), "the same ticket");
        String next = api.getNewTicket();
        check(next != null && !next.equals(ticket) && next.equals(api.getTicketNoAuth()), "a new ticket");
        api.finalize();
        check(next.equals(api.getTicket()), "after finalize()");
        api.destroyTicket();
        check(api.getTicketNoAuth() == null, "destroyed");
        check(api.getGAVersion(0) >> 24 == 1 && api.getGAVersion(1) > 0, "versions");
        check(api.getGAVersion(2) == 0 && api.getGAVersion(-1) == 0, "no version");
        check(api.getErrorDescription(12345).equals("") && api.getErrorDescription(-1).equals("")
                && api.getErrorDescription(0x180100009L).equals("") && api.getErrorDescription(Long.MIN_VALUE).equals(""), "no words");
    }

    private static void debug(GATicket api) {
        api.setIsDebug(true);
        api.getTicketNoAuth();
        String[] tickets = {api.getTicket(), api.getTicketNoAuth(), api.getNewTicket()};
        api.destroyTicket();
        api.setIsDebug(false);
        // The test expects these in the other stream.
        for (String ticket : tickets) {
            System.err.println(ticket);
        }
    }

    private static void threads(GATicket api) throws Exception {
        Set<String> tickets = ConcurrentHashMap.newKeySet();
        CountDownLatch start = new CountDownLatch(32);
        Thread[] threads = new Thread[32];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> {
                start.countDown();
                try {
                    start.await();
                    GATicket mine = new GATicket();
                    tickets.add(String.valueOf(mine.getTicket()));
                    for (int n = 0; n < 2000; n++) {
                        tickets.add(String.valueOf(mine.getTicketNoAuth()));
                    }
                    check(mine.getLastError() == 0, "no error");
                    check(mine.getErrorDescription(1).isEmpty() && mine.getLastError() == 0x80100003L, "its own error");
                } catch (Throwable e) {
                    tickets.add(e.toString());
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        check(tickets.size() == 1, "one ticket, not " + tickets.size());
    }

    private static void million(GATicket api) {
        String ticket = api.getTicket();
        Set<String> seen = new HashSet<>();
        for (int i = 0; i < 1_000_000; i++) {
            seen.add(api.getTicketNoAuth());
        }
        check(ticket != null && seen.size() == 1 && seen.contains(ticket), "a million times the same");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
