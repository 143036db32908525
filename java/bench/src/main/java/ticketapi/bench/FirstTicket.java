package ticketapi.bench;

import com.gemplus.gemauth.api.GATicket;

/** A JVM's first request for a ticket. */
public final class FirstTicket {
    private FirstTicket() {
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println(new GATicket().getTicketNoAuth());
    }
}
