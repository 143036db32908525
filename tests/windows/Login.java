import java.util.List;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;
import ticketapi.Session;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/** Logs in on Windows, and prints what went wrong. */
public class Login {
    public static void main(String[] arguments) throws Exception {
        try {
            TicketApi.load();
            System.out.println("loaded");
            TicketApi.setPrompter(new Prompter() {
                @Override
                public char[] pin(PinRequest request) {
                    return System.getenv("TEST_PIN").toCharArray();
                }

                @Override
                public boolean useLastTry(PinRequest request) {
                    return false;
                }

                @Override
                public Role role(List<Role> roles) {
                    return roles.get(0);
                }
            });
            try (TicketApi api = TicketApi.open()) {
                Session session = api.logIn();
                System.out.println("logged in as " + session.user().uid() + " in " + System.getProperty("os.name"));
                api.logOut();
            }
        } catch (TicketException e) {
            System.out.println(e.getMessage());
            System.exit(1);
        }
        System.exit(0);
    }
}
