package ticketapi.tests;

import java.util.List;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/** The prompter of a C program. */
public final class Embedded {
    private Embedded() {
    }

    public static void setPrompter() throws TicketException {
        TicketApi.setPrompter(new Prompter() {
            @Override
            public char[] pin(PinRequest request) {
                return "1234".toCharArray();
            }

            @Override
            public boolean useLastTry(PinRequest request) {
                return false;
            }

            @Override
            public Role role(List<Role> roles) {
                return roles.get(roles.size() - 1);
            }
        });
    }
}
