import com.gemplus.gemauth.api.GATicket;

/** Uses the original's class while its objects are garbage-collected. */
public class OriginalClient {
    private static final int OBJECTS = 10_000;

    public static void main(String[] arguments) throws Exception {
        GATicket first = new GATicket();
        String ticket = first.getTicket();
        check(ticket != null && first.getLastError() == 0, "a ticket");
        for (int i = 0; i < OBJECTS; i++) {
            new GATicket();
        }
        while (GATicket.FINALIZED.get() < OBJECTS) {
            System.gc();
            System.runFinalization();
        }
        GATicket later = new GATicket();
        check(ticket.equals(later.getTicket()), "the same ticket after " + OBJECTS + " were collected");
        check(later.getGAVersion(0) != 0 && later.getGAVersion(1) != 0 && later.getGAVersion(2) == 0, "versions");
        check(later.dllVersion() != 0, "the library's version");
        String next = later.getNewTicket();
        check(next != null && !next.equals(ticket) && next.equals(first.getTicket()), "a new ticket");
        check(later.getErrorDescription(0x80100009L).equals("There is no ticket"), "a description");
        check(later.getErrorDescription((int) 0x80100009L).equals("There is no ticket"), "of a code that was kept in an int");
        check(later.getErrorDescription(12345).isEmpty() && later.getErrorDescription(-1).isEmpty()
                && later.getErrorDescription(Long.MIN_VALUE).isEmpty(), "no description is empty");
        later.destroyTicket();
        check(later.getLastError() == 0, "destroyed");
        System.out.println("done");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
