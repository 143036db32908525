import com.gemplus.gemauth.api.GATicket;

/** As ticket.c, from Java, by the class of 2004. */
public class Ticket {
    public static void main(String[] words) throws Exception {
        GATicket api = new GATicket();
        String what = words.length > 0 ? words[0] : "";
        String printed;
        switch (what) {
            case "destroy":
                api.destroyTicket();
                printed = api.getLastError() == 0 ? "logged out" : null;
                break;
            case "existing":
                printed = line(api.getTicketNoAuth());
                break;
            default:
                printed = line(api.getTicket());
        }
        if (printed == null) {
            long code = api.getLastError();
            printed = String.format("failed: 0x%08x: %s", code, api.getErrorDescription(code));
        }
        System.out.println(printed);
        System.exit(printed.startsWith("failed") ? 1 : 0);
    }

    private static String line(String ticket) {
        return ticket == null ? null : "ticket: " + ticket;
    }
}
