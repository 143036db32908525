package ticketapi.tests;

import ticketapi.AssuranceLevel;
import ticketapi.Employee;
import ticketapi.Session;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/** Programs of users of an employer's Nuts node, for {@link NutsNodeTest}; each prints "done" at its end. */
public final class NutsNode {
    private static final long REFUSED = 0x80400002L;
    private static final long INVALID_PARAMETER = 0x80100003L;

    private NutsNode() {
    }

    public static void main(String[] arguments) throws Exception {
        NutsNode.class.getMethod(arguments[0]).invoke(null);
        System.out.println("done");
    }

    public static void anEmployeeLogsIn() throws Exception {
        String employer = System.getenv("TICKETAPI_EMPLOYER");
        try (TicketApi api = TicketApi.open()) {
            api.employee(new Employee("482", "K", "Bos").role("Arts"));
            Session session = api.logIn();
            check(session.user().uid().equals("482") && session.user().name().equals("K Bos"), session.user().name());
            check(session.role().get().name().equals("Arts"), "role");
            check(session.ticket().text().startsWith("eyJAY29udGV4dCI6"), "a presentation in base64");
            check(session.claims().startsWith("{\"@context\":"), "the presentation");
            check(session.assuranceLevel().get() == AssuranceLevel.LOW, "level");
            check(!AssuranceLevel.LOW.satisfies(AssuranceLevel.SUBSTANTIAL), "low is not enough");
            String token = session.accessToken(employer, "test");
            check(session.introspect(token).contains("\"active\":true"), "a good token");
            check(session.introspect("junk").contains("\"active\":false"), "a bad token");
            TicketException refused = code(REFUSED, () -> session.accessToken(employer, "unknown"));
            check(refused.getMessage().contains("service not found in DID Document"), refused.getMessage());
            api.employee(new Employee("482", "K", "Bos").role("Arts"));
            check(api.session().isPresent(), "the same employee's session goes on");
            code(INVALID_PARAMETER, () -> {
                api.employee(new Employee("", "K", "Bos"));
                return null;
            });
            api.employee(new Employee("483", "L", "Bos"));
            check(!api.session().isPresent(), "another employee's session has ended");
            code(TicketException.TICKET_NOT_AVAILABLE, () -> session.accessToken(employer, "test"));
        }
    }

    public static void aContractIsRejected() throws Exception {
        try (TicketApi api = TicketApi.open()) {
            TicketException rejected = code(TicketException.CANCELLED, api::logIn);
            check(rejected.getMessage().contains("rejected"), rejected.getMessage());
        }
    }

    private interface Call {
        Object call() throws Exception;
    }

    private static TicketException code(long code, Call call) throws Exception {
        try {
            call.call();
        } catch (TicketException e) {
            if (e.code() != code) {
                throw e;
            }
            return e;
        }
        throw new AssertionError("no failure");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
