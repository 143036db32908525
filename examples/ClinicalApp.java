import java.io.BufferedReader;
import java.io.Console;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.List;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;
import ticketapi.Session;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/**
 * A clinical program that works in the name of the user at the desk.
 *
 * <pre>java -cp GATicket.jar ClinicalApp.java</pre>
 *
 * It asks for the PIN and the role on the terminal. Without setPrompter() the desktop's own PIN window and
 * role chooser would be used.
 */
public class ClinicalApp {
    public static void main(String[] arguments) {
        try {
            TicketApi.setPrompter(new Terminal());
            try (TicketApi api = TicketApi.open()) {
                Session session = api.logIn();
                System.out.println("user  " + session.user());
                session.role().ifPresent(role -> System.out.println("role  " + role));
                // A real program would now send it with its requests.
                char[] ticket = session.ticket().toCharArray();
                System.out.println("The ticket has " + ticket.length + " characters.");
                java.util.Arrays.fill(ticket, '\0');
                session.ticket().close();
                api.logOut();
            }
        } catch (TicketException e) {
            System.err.println(e.getMessage());
            e.triesLeft().ifPresent(tries -> System.err.println("Tries left: " + tries));
            e.remedy().ifPresent(System.err::println);
            System.exit(1);
        }
    }

    private static class Terminal implements Prompter {
        private final Console console = System.console();
        private final BufferedReader input = new BufferedReader(new InputStreamReader(System.in));

        @Override
        public char[] pin(PinRequest request) throws IOException {
            if (request.problem() == PinRequest.Problem.WRONG) {
                System.out.println("Wrong PIN.");
            }
            request.triesLeft().ifPresent(tries -> System.out.println("Tries left: " + tries));
            System.out.print("PIN for " + request.card() + " (Enter cancels): ");
            System.out.flush();
            // Without a terminal a test is at the other end.
            char[] pin = console != null ? console.readPassword() : line().toCharArray();
            return pin == null || pin.length == 0 ? null : pin;
        }

        @Override
        public boolean useLastTry(PinRequest request) throws IOException {
            System.out.print("A wrong PIN locks the card now. Use the last try (yes/no)? ");
            System.out.flush();
            return line().equals("yes");
        }

        @Override
        public Role role(List<Role> roles) throws IOException {
            for (int i = 0; i < roles.size(); i++) {
                System.out.println((i + 1) + "  " + roles.get(i));
            }
            System.out.print("Which role? ");
            System.out.flush();
            try {
                return roles.get(Integer.parseInt(line().trim()) - 1);
            } catch (NumberFormatException | IndexOutOfBoundsException e) {
                return null;
            }
        }

        @Override
        public void insertCard(String why) {
            System.out.println("Put your smartcard into the reader: " + why + ".");
        }

        @Override
        public void enterPinOnReader() {
            System.out.println("Enter your PIN on the card reader.");
        }

        private String line() throws IOException {
            String line = input.readLine();
            return line == null ? "" : line;
        }
    }
}
