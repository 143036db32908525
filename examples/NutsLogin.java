import ticketapi.AssuranceLevel;
import ticketapi.Employee;
import ticketapi.Session;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/**
 * Logs an employee in at the employer's Nuts node, and gets an access token for another organisation's data.
 *
 * <pre>java -cp GATicket.jar NutsLogin.java AUTHORIZER SERVICE</pre>
 */
public class NutsLogin {
    public static void main(String[] arguments) {
        try {
            TicketApi.set("service", "nuts");
            try (TicketApi api = TicketApi.open()) {
                // A real program knows who works at the desk.
                api.employee(new Employee("481", "J", "van Dijk").role("Verpleegkundige niveau 2"));
                // Opens the node's page in the browser, and waits until the user has accepted the contract.
                Session session = api.logIn();
                System.out.println("user  " + session.user());
                System.out.println("The presentation has " + session.ticket().text().length() + " characters.");
                if (session.assuranceLevel().filter(level -> level.satisfies(AssuranceLevel.LOW)).isPresent()) {
                    // A real program would now send it with its requests to the authorizer.
                    String token = session.accessToken(arguments[0], arguments[1]);
                    System.out.println("The access token has " + token.length() + " characters.");
                }
                session.ticket().close();
                api.logOut();
            }
        } catch (TicketException e) {
            System.err.println(e.getMessage());
            e.remedy().ifPresent(System.err::println);
            System.exit(1);
        }
    }
}
