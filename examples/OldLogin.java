import com.gemplus.gemauth.api.GATicket;

/**
 * A program of the old API, as it was written for the original jar.
 *
 * <pre>java -cp GATicket.jar OldLogin.java</pre>
 *
 * It asks with the desktop's own PIN window and role chooser; see the settings pinentry and role_command.
 */
public class OldLogin {
    public static void main(String[] arguments) throws Exception {
        GATicket api = new GATicket();
        String ticket = api.getTicket();
        if (ticket == null) {
            long code = api.getLastError();
            System.err.println("No ticket: 0x" + Long.toHexString(code) + " " + api.getErrorDescription(code));
            System.exit(1);
        }
        System.out.println("The ticket has " + ticket.length() + " characters.");
        System.out.println("Asked again, it is the same: " + ticket.equals(api.getTicketNoAuth()));
        api.destroyTicket();
    }
}
