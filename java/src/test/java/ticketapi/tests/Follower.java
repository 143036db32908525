package ticketapi.tests;

import com.gemplus.gemauth.api.GATicket;

/** The same as follower.c. */
public final class Follower {
    private Follower() {
    }

    public static void main(String[] arguments) throws Exception {
        GATicket api = new GATicket();
        if (api.getTicketNoAuth() == null) {
            throw new AssertionError(Long.toHexString(api.getLastError()));
        }
        System.out.println("ticket");
        while (api.getTicketNoAuth() != null) {
            Thread.sleep(1);
        }
        System.out.println("gone=" + System.nanoTime());
    }
}
